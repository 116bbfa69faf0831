"""Patching: what is replaced, what that does, and that all is put back."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from einops import rearrange
from matplotlib.figure import Figure
from pipelines import KINDS, unet
from torch import Tensor, nn

from diffprobe.cli import run
from diffprobe.config import ProbeConfig, SamplingConfig
from diffprobe.datasets import ImageSet, hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.models import BayesDenoiser, NetworkDenoiser, ProductDenoiser, noise_scheduler
from diffprobe.models.modules.transformer import StripTransformer
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.probes.patching import PatchingConfig, attention, effects, figures, response, samples
from diffprobe.probes.patching.components import components_of, matching, region_of_tokens
from diffprobe.probes.patching.edits import (
    attention_weights,
    edited,
    recorded,
    watched_attention,
)
from diffprobe.probes.patching.effects import Effects, share_of_way
from diffprobe.probes.patching.pairs import draw_pairs
from diffprobe.probing.regions import Regions
from diffprobe.sampling.samplers.ddim import DDIMConfig
from diffprobe.studies.measures import Measure, find

SCHEDULER = noise_scheduler(NoiseConfig(prediction_type="sample"))
SIGNS = hypercube(ParityConfig(4).build())
BAYES = BayesDenoiser(SIGNS, SCHEDULER)
CELLS = Regions.cells(SIGNS)
LEVEL = 300  # log-SNR 0.4: the grammar is worth something
COMMON = ProbeConfig(batch_size=48)


class OneOracle(nn.Module):
    """What an oracle says, less what another does."""

    def __init__(self, oracle: nn.Module, less: nn.Module | None = None) -> None:
        super().__init__()
        self.oracle = oracle
        self.less = less

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        found: Tensor = self.oracle(x, t)
        return found if self.less is None else found - self.less(x, t)


class TwoParts(ModelMixin, ConfigMixin):
    """The Bayes optimum in two parts: `local` sees a cell alone, the grammar adds `rule`."""

    @register_to_config
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        product = ProductDenoiser(SIGNS, SCHEDULER)
        self.local = OneOracle(product)
        self.rule = OneOracle(BAYES, product)

    def forward(self, sample: Tensor, timestep: Tensor) -> UNet2DOutput:
        return UNet2DOutput(sample=self.local(sample, timestep) + self.rule(sample, timestep))


TWO = NetworkDenoiser(TwoParts(), SCHEDULER)
NAMES = ("network", "local", "rule")
PAIRS = draw_pairs(SIGNS, CELLS, pairs=40, noises=2, seed=0)


@pytest.fixture(scope="module")
def of_two_parts() -> Effects:
    parts = components_of(TWO, ("local", "rule"), CELLS)
    kinds = ("corrupted", "mean", "zero")
    return effects.measure(
        TWO, PAIRS, parts, [LEVEL], COMMON, regions=CELLS, replacements=kinds, bayes=BAYES
    )


def transformer(**options: Any) -> NetworkDenoiser:
    """A transformer of random weights, none of them zero."""
    torch.manual_seed(0)
    network = StripTransformer((1, 1, 4), patch=(1, 1), width=16, depth=2, heads=2, **options)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return NetworkDenoiser(network.requires_grad_(requires_grad=False), SCHEDULER)


def value(found: Effects, component: str, replacement: str, place: str, scale: str) -> float:
    place_in = found.components.index(component)
    return float(found.effect(replacement, place, scale).value[place_in, 0])


# ---- pairs ---------------------------------------------------------------------------------------


def test_pairs_differ_in_one_cell_alone() -> None:
    changed = (PAIRS.clean != PAIRS.corrupted).flatten(1)
    assert torch.equal(changed, CELLS.masks[PAIRS.cell].flatten(1))
    assert PAIRS.cell[::2].bincount().tolist() == [10] * 4
    assert torch.equal(PAIRS.clean[0], PAIRS.clean[1])
    assert not torch.equal(PAIRS.eps[0], PAIRS.eps[1])
    assert PAIRS.sources.tolist() == [i // 2 for i in range(80)]
    x, y = PAIRS.at(TWO, LEVEL, torch.arange(80))
    alpha, _ = TWO.alpha_sigma(torch.tensor([LEVEL]))
    assert torch.allclose(y - x, alpha * (PAIRS.corrupted - PAIRS.clean), atol=1e-6)


def test_without_a_grammar_a_region_is_of_another_image() -> None:
    images = ImageSet(torch.randn(5, 3, 8, 8), "noise")
    blocks = Regions.grid((3, 8, 8), 2, 2)
    pairs = draw_pairs(images, blocks, pairs=9, noises=1, seed=0)
    changed = (pairs.clean != pairs.corrupted).flatten(1)
    assert torch.equal(changed, blocks.masks[pairs.cell].flatten(1))
    assert len(pairs.sources.unique()) == 5  # one picture used twice is no new evidence
    with pytest.raises(UsageError, match="two images at least"):
        draw_pairs(ImageSet(torch.zeros(1, 3, 8, 8), "one"), blocks, 4, 1, 0)
    with pytest.raises(UsageError, match="not the 4 cells: leave out --regions"):
        draw_pairs(SIGNS, Regions.grid((1, 1, 4), 1, 2), 4, 1, 0)


# ---- effects -------------------------------------------------------------------------------------


def test_the_part_that_knows_the_rule_carries_all_to_other_cells(of_two_parts: Effects) -> None:
    for kind in of_two_parts.replacements:
        for scale in ("x0_hat", "posterior"):
            told = [value(of_two_parts, c, kind, "others", scale) for c in NAMES]
            assert told == pytest.approx([1, 0, 1], abs=1e-5)  # network, local, rule
    # It is linear in its parts: what they carry of the change adds up, in the cell itself too.
    own = [value(of_two_parts, c, "corrupted", "own", "x0_hat") for c in NAMES]
    assert own[1] + own[2] == pytest.approx(1, abs=1e-5)
    assert own[1] > 0.3
    whole = of_two_parts.effect("corrupted", "whole").value[0, 0]
    assert whole == pytest.approx(1, abs=1e-9)


def test_the_table_says_from_which_cell_to_which(of_two_parts: Effects) -> None:
    assert of_two_parts.table is not None
    assert of_two_parts.optimum is not None
    every = of_two_parts.table.value
    network, local, rule = (every[of_two_parts.components.index(name)] for name in NAMES)
    assert network.nansum(0).tolist() == pytest.approx([1] * 4)
    assert bool(network.diagonal().isnan().all())
    off = ~torch.eye(4, dtype=torch.bool)
    assert torch.allclose(rule[off], network[off], atol=1e-5)
    assert local[off].abs().max() < 1e-5
    # The network is the optimum; by hand, of changes of cell 2.
    x, y = PAIRS.at(TWO, LEVEL, torch.arange(80)[PAIRS.cell == 2])
    t = torch.full((len(x),), LEVEL)
    size = (BAYES(y, t) - BAYES(x, t)).double().abs().mean(0).flatten()
    size[2] = torch.nan
    assert torch.allclose(network[:, 2], size / size.nansum(), atol=1e-5, equal_nan=True)
    assert torch.allclose(of_two_parts.optimum.value[off], network[off], atol=1e-5)


def test_errors_are_over_pairs_of_words(of_two_parts: Effects) -> None:
    own = of_two_parts.effect("corrupted", "own")[1]
    assert int(own.n) == 40  # not 80, of which each two share their words
    assert float(own.low) < float(own.value) < float(own.high)
    assert of_two_parts.pairs == 40


def test_an_effect_is_a_share_of_the_way() -> None:
    way = torch.tensor([4.0, 16.0, 0.0]).double()  # lengths 2, 4 and none
    moved = torch.tensor([4.0, 0.0, 0.0]).double()
    found = share_of_way(moved, way, torch.arange(3), torch.tensor(1.0))
    assert float(found.value) == pytest.approx(2 / 6)
    assert float(share_of_way(way, way, torch.arange(3), torch.tensor(1.0)).value) == 1
    nothing = share_of_way(way * 1e-8, way * 1e-8, torch.arange(3), torch.tensor(1.0))
    assert bool(nothing.value.isnan())


@pytest.mark.parametrize("patterns", [(), ("blocks.*", "**.mlp")])
def test_replacing_everything_is_1_and_nothing_0_exactly(patterns: tuple[str, ...]) -> None:
    denoiser = transformer()
    parts = components_of(denoiser, patterns, CELLS)
    found = effects.measure(denoiser, PAIRS, parts, [600, LEVEL], COMMON, regions=CELLS)
    assert (found.everything, found.nothing) == (0, 0)
    others = found.effect("corrupted", "others").value
    assert others[0].tolist() == [1, 1]  # the network as a whole
    # Behind the last block the cell's own tokens say nothing to other cells, and these all.
    at = {name: i for i, name in enumerate(found.components)}
    assert others[at["blocks.1:own"]].abs().max() < 1e-6
    assert torch.allclose(others[at["blocks.1:others"]], torch.ones(2).double(), atol=1e-6)
    if patterns:
        assert torch.allclose(others[at["blocks.0"]], torch.ones(2).double(), atol=1e-6)


def test_all_heads_together_are_the_attention() -> None:
    """With one head, patching it is patching what attention writes."""
    torch.manual_seed(0)
    network = StripTransformer((1, 1, 4), patch=(1, 1), width=8, depth=1, heads=1)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    denoiser = NetworkDenoiser(network.requires_grad_(requires_grad=False), SCHEDULER)
    parts = components_of(denoiser, (), CELLS)
    found = effects.measure(
        denoiser, PAIRS, parts, [LEVEL], COMMON, regions=CELLS, replacements=["corrupted", "mean"]
    )
    at = {name: i for i, name in enumerate(found.components)}
    both = found.effects.value[:, :, :, [at["blocks.0:head0"], at["blocks.0.project"]]]
    assert torch.allclose(both[..., 0, :], both[..., 1, :], atol=1e-5)
    # Only attention carries anything from token to token.
    assert float(found.effect("corrupted", "others").value[at["blocks.0.mlp"], 0]) < 1


def test_answers_stand_beside_the_optimum() -> None:
    def of(denoiser: Any) -> response.Response:
        return response.measure(denoiser, PAIRS, [LEVEL], COMMON, regions=CELLS, bayes=BAYES)

    exact, local, two = of(BAYES), of(ProductDenoiser(SIGNS, SCHEDULER)), of(TWO)
    assert exact.along.value.flatten().tolist() == pytest.approx([1, 1, 1])
    assert float(exact.reach.value[0]) > 0.3
    assert local.reach.value.tolist() == pytest.approx([0], abs=1e-6)
    assert float(local.along.value[2, 0]) == pytest.approx(0, abs=1e-6)
    assert float(two.reach.value[0]) == pytest.approx(float(exact.reach.value[0]), abs=1e-5)


# ---- sites and components ------------------------------------------------------------------------


def test_patterns_name_modules() -> None:
    names = ["blocks", "blocks.0", "blocks.0.mlp", "blocks.0.mlp.0", "blocks.12"]
    assert matching(names, "blocks.?") == ["blocks.0"]
    assert matching(names, "blocks.*") == ["blocks.0", "blocks.12"]
    assert matching(names, "**mlp*") == ["blocks.0.mlp"]
    denoiser = transformer()
    with pytest.raises(UsageError, match=r"unknown module 'block.0.mlp': .*'blocks.0.mlp'"):
        components_of(denoiser, ("block.0.mlp",), CELLS)
    given = components_of(denoiser, ("blocks.0.mlp:in",), CELLS)
    assert [part.name for part in given.parts][:2] == ["network", "blocks.0.mlp:in"]


def test_modules_that_do_not_run_are_refused() -> None:
    denoiser = transformer()
    denoiser.network.spare = nn.Linear(2, 2)
    with pytest.raises(UsageError, match="the module spare is not used by the network"):
        components_of(denoiser, ("spare",), CELLS)


def test_tokens_belong_to_cells() -> None:
    network = transformer().network
    assert region_of_tokens((9, 4, 16), network, CELLS).tolist() == [0, 1, 2, 3]  # type: ignore[union-attr]
    assert region_of_tokens((9, 16), network, CELLS) is None
    assert region_of_tokens((9, 5, 16), network, CELLS) is None
    blocks = Regions.grid((3, 8, 8), 2, 2)
    owner = region_of_tokens((9, 16, 4, 4), nn.Identity(), blocks)
    assert owner is not None
    assert owner[:, 0].tolist() == [0, 0, 2, 2]
    # One token to two cells is nobody's.
    assert region_of_tokens((9, 16, 1, 1), nn.Identity(), blocks) is None


def test_everything_is_put_back_whatever_happens() -> None:
    denoiser = transformer()
    network = denoiser.network
    x, t = torch.randn(2, 1, 1, 4), torch.tensor([LEVEL, LEVEL])
    before = denoiser(x, t)

    def fail(_: Tensor) -> Tensor:
        raise RuntimeError

    sites = ["", "blocks.0", "blocks.0.mlp:in", "blocks.1:attention"]
    for site in sites:
        with pytest.raises(RuntimeError), edited(network, {site: fail}):
            denoiser(x, t)
        hooks = [m._forward_hooks or m._forward_pre_hooks for m in network.modules()]
        assert not any(hooks)
    assert torch.equal(denoiser(x, t), before)
    with edited(network, {"blocks.0": torch.zeros_like}):
        assert not torch.allclose(denoiser(x, t), before)


def test_a_block_of_a_unet_is_replaced_with_what_it_hands_on() -> None:
    denoiser = NetworkDenoiser(unet().requires_grad_(requires_grad=False), SCHEDULER)
    blocks = Regions.grid((3, 8, 8), 2, 2)
    parts = components_of(denoiser, (), blocks)
    assert {"mid_block.resnets.0", "down_blocks.1.attentions.0:head1", "up_blocks.1:own"} <= {
        part.name for part in parts.parts
    }
    images = ImageSet(torch.randn(12, 3, 8, 8), "noise")
    pairs = draw_pairs(images, blocks, pairs=12, noises=1, seed=0)
    every = components_of(denoiser, ("down_blocks.*", "conv_in"), blocks)
    found = effects.measure(denoiser, pairs, every, [LEVEL], COMMON, regions=blocks)
    assert (found.everything, found.nothing) == (0, 0)
    whole = found.effect("corrupted", "whole").value[:, 0]
    # Skip connections go by the first block alone.
    assert float(whole[found.components.index("conv_in")]) == pytest.approx(float(whole[0]))
    with recorded(denoiser.network, ["down_blocks.0"]) as seen:
        denoiser(pairs.clean[:2], torch.tensor([1, 1]))
    assert len(seen["down_blocks.0"]) == 3


# ---- attention -----------------------------------------------------------------------------------


def seen_weights(denoiser: NetworkDenoiser, name: str, x: Tensor, sites: list[str]) -> Any:
    """The attention weights of a module, and what passes other sites in the same run."""
    found: list[Tensor] = []

    def look(module: str, query: Tensor, key: Tensor, how: Any, heard: Tensor) -> Tensor:
        if module == name:
            found.append(attention_weights(query, key, how))
        return heard

    with watched_attention(denoiser.network, look), recorded(denoiser.network, sites) as seen:
        denoiser(x, torch.full((len(x),), LEVEL))
    (weights,) = found
    return weights, *(seen[site][0] for site in sites)


def test_weights_are_those_of_our_transformer() -> None:
    x = torch.randn(3, 1, 1, 4)
    weights, qkv, heard = seen_weights(
        transformer(), "blocks.1", x, ["blocks.1.qkv", "blocks.1:attention"]
    )
    q, k, v = rearrange(qkv, "b n (three h d) -> three b h n d", three=3, h=2)
    exact = (q @ k.mT / 8**0.5).softmax(-1)
    assert torch.allclose(weights, exact, atol=1e-6)
    assert torch.allclose(heard, exact @ v, atol=1e-5)


def test_weights_are_those_of_diffusers() -> None:
    denoiser = NetworkDenoiser(unet(), SCHEDULER)
    at = "mid_block.attentions.0"
    with torch.no_grad():
        weights, q, k = seen_weights(
            denoiser, at, torch.randn(3, 3, 8, 8), [f"{at}.to_q", f"{at}.to_k"]
        )
        module = denoiser.network.get_submodule(at)
        exact = module.get_attention_scores(*map(module.head_to_batch_dim, (q, k)))
    assert torch.allclose(weights, exact.unflatten(0, (3, -1)), atol=1e-6)


def test_attention_between_cells_is_that_between_their_tokens() -> None:
    query, key = torch.randn(2, 2, 3, 8, 4).double()
    owner = torch.tensor([0, 0, 1, 1, 1, -1, 2, 2])
    found = attention.between_cells(query, key, {}, owner, 3)
    weights = attention_weights(query, key, {})
    assert found.shape == (2, 3, 3, 3)
    exact = weights[:, :, 2:5, 6:].sum(-1).mean(-1)
    assert torch.allclose(found[..., 1, 2], exact)
    # What is looked at outside the cells counts nowhere.
    left = 1 - weights[:, :, :2, 5].mean(-1)
    assert torch.allclose(found[:, :, 0].sum(-1), left)


def test_a_head_that_looks_where_the_optimum_depends_is_told() -> None:
    energies = torch.rand(50, 5, 5, generator=torch.Generator().manual_seed(0)).double()
    weights = torch.stack([energies, energies.flip(0), -energies], 1)
    told = attention.agreement(weights, energies)
    assert told[:, 0].tolist() == pytest.approx([1] * 50)
    assert told[:, 2].tolist() == pytest.approx([-1] * 50)
    assert abs(float(told[:, 1].mean())) < 0.15
    assert bool(attention.agreement(weights[..., :2, :2], energies[..., :2, :2]).isnan().all())


def test_heads_stand_beside_the_optimum() -> None:
    denoiser = transformer()
    parts = components_of(denoiser, (), CELLS)
    found = attention.measure(
        denoiser, PAIRS, parts.looking, [LEVEL], COMMON, regions=CELLS, bayes=BAYES
    )
    assert found.heads == tuple(f"blocks.{b}:head{h}" for b in (0, 1) for h in (0, 1))
    maps = torch.cat(list(found.maps.values()))
    assert torch.allclose(maps.sum(-1), torch.ones(4, 4).double(), atol=1e-6)
    assert torch.allclose(found.own.value[:, 0], maps.diagonal(dim1=-2, dim2=-1).mean(-1))
    assert found.dependence is not None
    assert float(found.dependence[0].sum()) == pytest.approx(1)
    assert int(found.agreement.n[0, 0]) == 40
    ax = figures.plot_attention(found, Figure().subplots(), 2)
    assert ax.images[0].get_array().tolist() == maps[2].tolist()  # type: ignore[union-attr]
    assert ax.get_title().startswith("blocks.1 head0")


def test_long_names_of_modules_are_broken_behind_points() -> None:
    name = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
    ax = figures.plot_table(torch.eye(3), Figure().subplots(), name)
    lines = ax.get_title().split("\n")
    assert "".join(lines) == name
    assert all(len(line) <= figures.ROOM for line in lines)
    assert all(line.endswith(".") for line in lines[:-1])


# ---- samples -------------------------------------------------------------------------------------


def test_samples_without_the_rule_are_right_by_chance() -> None:
    parts = components_of(TWO, ("local", "rule"), CELLS)
    sampling = SamplingConfig(steps=12)
    found = samples.measure(TWO, SIGNS, PAIRS, parts, 80, "zero", COMMON, sampling, DDIMConfig())
    assert found.chance == pytest.approx(0.5)
    assert found.whole.grammatical.value == 1
    rule = found.parts["rule"]
    assert rule.legible.value == 1
    assert rule.grammatical.contains(0.5)
    assert rule.difference.high < -0.3
    assert rule.p < 0.001
    assert found.parts["local"].valid.high < rule.valid.low  # without its symbols nothing is read
    assert [row["without"] for row in found.rows()] == ["", "local", "rule"]


def test_a_part_is_held_at_its_mean_at_each_level() -> None:
    denoiser = transformer()
    parts = components_of(denoiser, ("blocks.0.mlp",), CELLS)
    part = parts.parts[1]
    held = samples.HeldDenoiser(denoiser, part, "mean", PAIRS, {}, [part.site], 80)
    x, _ = PAIRS.at(denoiser, LEVEL, torch.arange(80))
    t = torch.full((80,), LEVEL)
    with recorded(denoiser.network, [part.site]) as seen:
        denoiser(x, t)
    mean = seen[part.site][0].mean(0)
    with edited(denoiser.network, {part.site: lambda value: mean.expand_as(value)}):
        expected = denoiser(x, t)
    assert torch.allclose(held(x, t), expected, atol=1e-6)
    with pytest.raises(UsageError, match="several at once: choose another sampler"):
        held(x, torch.arange(80))


# ---- the command ---------------------------------------------------------------------------------

SHORT = [
    *("--n", "12", "--device", "cpu", "--set", "probes.patching.samples=8"),
    *("--set", "probes.patching.levels=1"),
]


def test_a_run_is_patched(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path)]
    assert run(["probe", str(tiny_run), "--probe", "patching", *out, *SHORT]) == 0
    told = capsys.readouterr().out
    assert "everything replaced 1.000000, nothing 0.000000" in told
    (content,) = json.loads((tmp_path / "summary.json").read_text("utf-8"))["probes"].values()
    assert content["network"]["mean"]["blocks.0.project"]["own"]["n"] == 12
    assert content["response"]["bayes"]["along_others"]["value"] == pytest.approx(1)
    assert set(content["untrained"]) == {"corrupted"}
    assert content["samples"]["without"]["blocks.0:head0"]["valid"]["n"] == 8
    measure = Measure.parse("patching.network.mean.blocks.0.project.own")
    assert find(content, measure.path, "patching")["n"] == 12
    names = ("patching", *(f"patching-{n}" for n in ("cells", "attention", "heads", "samples")))
    assert all(list(tmp_path.glob(f"{name}*.png")) for name in names)


def test_somebodys_pipeline_is_patched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    KINDS["pixels"].build(tmp_path / "theirs")
    asked = ["probe", str(tmp_path / "theirs"), "--probe", "patching", "--out", str(tmp_path)]
    asked += ["--regions", "2x2", "--set", "sampling.steps=2", *SHORT]
    modules = ["--set", "probes.patching.modules=['mid_block.attentions.0']"]
    assert run([*asked, *modules]) == 0
    assert "attention of a cell to itself" in capsys.readouterr().out
    content = json.loads((tmp_path / "summary.json").read_text("utf-8"))["probes"]
    (patched,) = content.values()
    assert "mid_block.attentions.0:head1" in patched["network"]["corrupted"]
    assert "samples" not in patched
    modules = ["--set", "probes.patching.modules=['mid_blok']"]
    assert run([*asked, *modules]) == 2
    assert "unknown module 'mid_blok': did you mean 'mid_block'" in capsys.readouterr().err


def test_settings_are_checked() -> None:
    with pytest.raises(UsageError, match=r"'average': choose from corrupted, mean, zero"):
        PatchingConfig(replace=("average",))
    with pytest.raises(UsageError, match="names nothing"):
        PatchingConfig(replace=())
    with pytest.raises(UsageError, match=r"probes.patching.images must be at least 2"):
        PatchingConfig(images=1)

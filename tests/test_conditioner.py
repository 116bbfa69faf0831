"""Which token of its condition each region listens to: known maps, exact optima, prompts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from pipelines import KINDS
from torch import Tensor

from diffprobe.config import Config, ProbeConfig
from diffprobe.datasets import SymbolImages, hypercube
from diffprobe.datasets.condition import Conditions, WordConditions
from diffprobe.datasets.conditions.word import WordConditionConfig
from diffprobe.datasets.grammars.copy import CopyConfig
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.models import BayesDenoiser, Denoiser, NetworkDenoiser, noise_scheduler
from diffprobe.models.modules.transformer import StripTransformer
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.told import tell
from diffprobe.probes.conditioner import ConditionerConfig, figures
from diffprobe.probes.conditioner.beside import measure_beside, other_tokens
from diffprobe.probes.conditioner.listening import (
    Listening,
    jacobian_energies,
    replaced_energies,
    tokens_in_effect,
)
from diffprobe.probing import open_subject, run_probes, subject_of
from diffprobe.probing.cache import Keep
from diffprobe.probing.noise_levels import noisy_inputs
from diffprobe.probing.ratio import energy_shares
from diffprobe.probing.regions import Regions
from diffprobe.probing.untrained import untrained
from diffprobe.resolution import resolve
from diffprobe.training import train
from diffprobe.training.learning_rates.constant import ConstantConfig

SCHEDULER = noise_scheduler(NoiseConfig())
MATRIX = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0], [0.0, 1.0, -1.0], [0.0, 0.0, 0.0]])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def nothing_kept() -> Keep:
    return Keep(None, "conditioner", {})


class Linear(Denoiser):
    """x0_hat of pixel i is the sum over tokens j of A_ij times what token j's embedding adds to."""

    def __init__(self, told: Tensor) -> None:
        super().__init__(SCHEDULER)
        self.told = told

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return (self.told.sum(-1) @ MATRIX.T).reshape(x_t.shape)


def world_of(kind: Any) -> SymbolImages:
    return hypercube(kind.build())


# ---- the two matrices ---------------------------------------------------------------------------


def test_a_linear_map_listens_as_its_matrix_says() -> None:
    regions, x_t = Regions.grid((1, 1, 4), 1, 4), torch.zeros(5, 1, 1, 4)
    told = torch.randn(5, 3, 2, generator=seeded())
    found = jacobian_energies(Linear, x_t, 300, told, regions, 2, seeded())
    # Regions of a pixel: signs change no square. Each of two numbers of an embedding counts.
    expected = 2 * MATRIX.square().double().expand(5, 2, 4, 3)
    assert torch.allclose(found, expected)
    others = told + torch.tensor([1.0, 1.0])
    changed = replaced_energies(Linear, x_t, 300, told, others, regions)
    assert torch.allclose(changed[:, 0], 4 * MATRIX.square().double().expand(5, 4, 3), atol=1e-4)
    listening = Listening.of(
        changed,
        torch.arange(5),
        of_cells=True,
        kind="replaced",
        tokens=("a", "b", "c"),
        t=300,
        log_snr=0.0,
        settings={},
    )
    assert listening.local_share.value.item() == pytest.approx(14 / 16, rel=1e-4)
    # Of the regions that listen, 25/17, 1 and 2 tokens.
    in_effect = (25 / 17 + 1 + 2) / 3
    assert listening.tokens_in_effect.value.item() == pytest.approx(in_effect, rel=1e-4)
    assert torch.allclose(listening.shares.value.float(), MATRIX.square() / 16, atol=1e-4)


def test_tokens_in_effect_go_from_one_to_all() -> None:
    energies = torch.stack([torch.eye(4), torch.ones(4, 4), torch.zeros(4, 4)])[:, None].double()
    found = tokens_in_effect(energies)
    assert found[:2].tolist() == [1.0, 4.0]
    assert found[2].isnan()


def test_what_hardly_listens_has_no_tokens_and_no_shares() -> None:
    """One region just above rounding is no answer, beside others that listen to nothing."""
    energies = torch.zeros(12, 1, 4, 4, dtype=torch.float64)
    energies[:, 0, 0] = 1e-6
    assert tokens_in_effect(energies).isnan().all()
    assert energy_shares(energies).isnan().all()
    assert tokens_in_effect(2 * energies).tolist() == [4.0] * 12
    assert not energy_shares(2 * energies).isnan().any()


# ---- exact optima -------------------------------------------------------------------------------


def of_the_optimum(world: SymbolImages, conditions: Conditions, t: int = 500) -> Listening:
    words = world.grammar.sample(40, seeded(1))
    told = conditions.of(words, seeded(2))
    x_t = noisy_inputs(BayesDenoiser(world, SCHEDULER), world, 40, t, 3)
    energies = replaced_energies(
        lambda told: tell(BayesDenoiser(world, SCHEDULER), told, conditions),
        x_t,
        t,
        told,
        other_tokens(conditions, told, seeded(4)),
        Regions.cells(world),
    )
    return Listening.of(
        energies,
        torch.arange(40),
        of_cells=conditions.of_cells,
        kind="replaced",
        tokens=(),
        t=t,
        log_snr=0.0,
        settings={},
    )


def test_the_optimum_draws_each_symbol_of_a_word_that_is_told() -> None:
    world = world_of(ParityConfig(4))
    found = of_the_optimum(world, WordConditions(world.grammar))
    assert torch.allclose(found.shares.value, torch.eye(4).double() / 4)
    assert found.local_share.value == 1
    assert found.tokens_in_effect.value == 1


def test_the_optimum_of_a_copy_listens_to_what_it_repeats() -> None:
    world = world_of(CopyConfig(6))
    found = of_the_optimum(world, WordConditions(world.grammar, 3))
    assert torch.allclose(found.shares.value, torch.eye(3).double().repeat(2, 1) / 6)
    assert found.local_share.value.item() == pytest.approx(0.5)


def test_the_last_cell_of_parity_listens_to_all_that_is_told() -> None:
    world = world_of(ParityConfig(4))
    found = of_the_optimum(world, WordConditions(world.grammar, 3))
    last = found.shares.value[3]
    assert torch.allclose(last, last[:1].expand(3))
    assert last[0] > 0
    assert found.tokens_in_effect.value.item() == pytest.approx((1 + 1 + 1 + 3) / 4)


def test_a_token_is_replaced_by_one_that_can_be() -> None:
    brackets = WordConditions(DyckConfig(4).build(), 2)
    told = torch.tensor([[0, 0], [0, 1]])
    # "((" and "()" may be begun with; nothing begins with ")".
    assert other_tokens(brackets, told, seeded()).tolist() == [[0, 1], [0, 0]]


# ---- networks -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def told_run(tiny_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = replace(
        tiny_config,
        condition=WordConditionConfig(),
        learning_rate=ConstantConfig(peak=0.01),  # in few steps it listens to what it is told
        training=replace(tiny_config.training, checkpoints=1),
    )
    return train(config, tmp_path_factory.mktemp("conditioner") / "run", "cpu", False).path


@pytest.mark.drawn
def test_a_run_is_measured_beside_the_optimum_and_untrained(told_run: Path, tmp_path: Path) -> None:
    subject = open_subject(told_run)
    results = run_probes(subject, ["conditioner"], out=tmp_path)
    found = results.results["conditioner"]
    assert set(found) == {
        *("network-replaced", "network-jacobian", "bayes-replaced"),
        *("untrained-replaced", "untrained-jacobian"),
    }
    summary = results.summary()["probes"]["conditioner"]
    assert summary["local_share"]["replaced"]["bayes"]["value"] == 1
    null = summary["local_share"]["replaced"]["untrained"]["value"]
    assert null < 0.6  # of four tokens a quarter if all are heard alike
    excess = summary["local_share"]["replaced"]["network"]["value"] - 1
    assert summary["excess"]["value"] == pytest.approx(excess)
    assert results.lines()[0].startswith("conditioner: share of the own token")
    assert (tmp_path / "conditioner.png").stat().st_size > 5000
    axes = figures.plot(found["bayes-replaced"], Figure().subplots())
    assert (axes.images[0].get_array() == torch.eye(4).numpy()).all()
    # The untrained network has an embedding of its own, too.
    fresh = untrained(subject.denoiser, 0)
    assert fresh is not None
    ours = subject.denoiser.network.embedding.symbols.weight
    assert not torch.equal(fresh.network.embedding.symbols.weight, ours)


@pytest.mark.parametrize("name", ["stable-diffusion", "sd3", "flux"])
def test_the_tokens_of_a_prompt_are_regions(name: str, tmp_path: Path) -> None:
    pipeline = KINDS[name]
    torch.manual_seed(0)
    pipeline.build(tmp_path / "theirs")
    config = Config(probe=ProbeConfig(images=4, batch_size=4))
    size = (12, 8) if name == "flux" else None
    subject = subject_of(
        _loaded(tmp_path, name, size),
        torch.rand(4, *pipeline.image_shape, generator=seeded()),
        config,
    )
    found = measure_beside(ConditionerConfig(projections=2), subject, nothing_kept())
    assert found["network-replaced"].shares.value.shape == (16, 5)
    for part in ("network-replaced", "network-jacobian", "untrained-jacobian"):
        assert found[part].tokens == tuple(f"token {j}" for j in range(5))
        assert 1 <= found[part].tokens_in_effect.value <= 5.5
        assert found[part].local_share.value.isnan()  # no token is of a region
    assert "bayes-replaced" not in found


def _loaded(folder: Path, name: str, size: tuple[int, int] | None) -> NetworkDenoiser:
    from diffprobe.models import load_denoiser

    pipeline = KINDS[name]
    return load_denoiser(folder / "theirs", condition=pipeline.condition(folder), size=size)


def test_a_network_without_tokens_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="conditioner does not apply: the network is told no"):
        run_probes(open_subject(tiny_run), ["conditioner"], out=tmp_path)
    other = StripTransformer((1, 8, 32), (8, 8), 16, 1, 2, None, (3, 2))
    denoiser = NetworkDenoiser(other, SCHEDULER, image_shape=(1, 8, 32))
    config = resolve(
        assignments=["grammar.length=4", "images.grid=[1, 4]", "condition.name='word'"]
    )
    why = ConditionerConfig().unfit(subject_of(denoiser, config.dataset(), config))
    assert why is not None
    assert "takes 3 tokens of 2 symbols, and the conditions of its world have 4 of 2" in why

"""Facts: the grammar, training with given keys, and the probe that asks for values."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from diffprobe.cli import run
from diffprobe.datasets import hypercube
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.facts import FactsConfig
from diffprobe.datasets.grammars.mixture import Component, MixtureConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.models import BayesDenoiser, Denoiser, ProductDenoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.probes.recall import RecallConfig
from diffprobe.probes.recall.asking import facts_in, measure
from diffprobe.probes.recall.figures import plot
from diffprobe.training.objectives.given import GivenConfig

TABLE = FactsConfig(length=10, key=6, symbols=2, facts=24, first=(1,))
BRACKETS = Component(0.8, DyckConfig(10))
MIXED = hypercube(MixtureConfig((Component(0.2, TABLE), BRACKETS)).build())
SCHEDULER = noise_scheduler(NoiseConfig())


def every_word(symbols: int, length: int) -> Tensor:
    return torch.tensor(list(itertools.product(range(symbols), repeat=length)))


# ---- the grammar ---------------------------------------------------------------------------------


def test_facts_have_keys_of_their_own() -> None:
    words = TABLE.words
    assert words.shape == (24, 10)
    assert len(words[:, :6].unique(dim=0)) == 24
    assert bool((words[:, 0] == 1).all())
    assert TABLE.build().count() == 24
    assert torch.equal(replace(TABLE).words, words)
    assert not torch.equal(replace(TABLE, seed=1).words, words)
    steep = replace(TABLE, popularity=2.0).build().probability(words)
    assert steep.tolist() == pytest.approx([steep[0].item() / (i + 1) ** 2 for i in range(24)])
    assert float(steep.sum()) == pytest.approx(1)
    # As many as there are keys.
    every = FactsConfig(length=4, key=3, symbols=3, facts=27).words
    assert torch.equal(every[:, :3].unique(dim=0), every_word(3, 3))


def test_a_wrong_word_has_an_unknown_key_or_a_wrong_value() -> None:
    config = FactsConfig(length=4, key=2, symbols=3, facts=5)
    every = every_word(3, 4)
    kinds = config.build().violations(every)
    keys = {tuple(word[:2].tolist()) for word in config.words}
    known = torch.tensor([tuple(word[:2].tolist()) in keys for word in every])
    assert torch.equal(kinds["unknown key"], ~known)
    assert int(kinds["wrong value"].sum()) == 5 * (9 - 1)
    valid = config.build().contains(every)
    assert torch.equal(valid, ~kinds["unknown key"] & ~kinds["wrong value"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"key": 2, "symbols": 3, "facts": 10}, "10 facts need as many keys, and 2 cells .* 9"),
        ({"key": 3, "symbols": 3, "facts": 10, "first": (1,)}, r"9 that begin with one of \[1\]"),
        ({"key": 8}, r"key must lie in \[1, 7\], not 8"),
        ({"first": (4,)}, "symbol 4 is outside the alphabet of 4"),
        ({"facts": 0}, "facts"),
        ({"symbols": 1}, "symbols"),
        ({"popularity": -1.0}, r"popularity must lie in \[0, 10\], not -1"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FactsConfig(**settings)


# ---- given cells in training ---------------------------------------------------------------------


def test_the_first_cells_of_some_images_are_given() -> None:
    objective = GivenConfig(cells=6, share=0.25).build(SCHEDULER, MIXED)
    t = objective.draw_levels(4000, torch.Generator().manual_seed(0))
    assert t.shape == (4000, 10)
    given = (t[:, :6] == 0).all(1)
    assert float(given.double().mean()) == pytest.approx(0.25, abs=4 * (0.1875 / 4000) ** 0.5)
    # The others share a level, of all images over all levels.
    assert bool((t[:, 6:] == t[:, 6:7]).all())
    assert bool((t[~given] == t[~given][:, :1]).all())
    assert float(t[given][:, 6].double().mean()) == pytest.approx(500, abs=4 * 289 / 1000**0.5)
    with pytest.raises(UsageError, match="leaves nothing to learn of images of 10 cells"):
        GivenConfig(cells=10).build(SCHEDULER, MIXED)
    with pytest.raises(UsageError, match=r"share must lie in \[0, 1\], not 2"):
        GivenConfig(share=2)


# ---- recall --------------------------------------------------------------------------------------


class Knows(Denoiser):
    """The optimum for one table of facts, whatever is asked."""

    def __init__(self, table: FactsConfig) -> None:
        super().__init__(SCHEDULER, cells=MIXED.cell_grid)
        self.optimum = BayesDenoiser(hypercube(table.build()), SCHEDULER)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.optimum(x_t, t)


def test_the_optimum_recalls_all_and_the_local_one_hardly_any() -> None:
    best = measure(BayesDenoiser(MIXED, SCHEDULER), MIXED)
    assert (best.share.value, best.cells.value) == (1.0, 1.0)
    local = measure(ProductDenoiser(MIXED, SCHEDULER), MIXED)
    assert local.share.value is not None
    assert local.share.value < 0.25
    assert bool((best.known == 1).all())


def test_what_is_recalled_is_the_share_of_the_facts_that_are_known() -> None:
    """A denoiser of half the facts, which tells those of the others wrong."""
    half = replace(TABLE, facts=12)
    assert torch.equal(half.words, TABLE.words[:12])
    found = measure(Knows(half), MIXED, RecallConfig(draws=3))
    right = found.known > 0
    assert bool(right[:12].all())
    assert int(right[12:].sum()) <= 3  # by chance, a sixteenth each
    assert found.share.n == 24 * 3
    # Facts are independent, and draws of one are not.
    assert found.share.high - found.share.low > 0.3


def test_components_are_told_apart() -> None:
    other = replace(TABLE, facts=8, seed=5, key=7)
    grammar = MixtureConfig((Component(0.2, TABLE), BRACKETS, Component(0.1, other))).build()
    assert list(facts_in(grammar)) == ["facts 0", "facts 2"]
    assert list(facts_in(TABLE.build())) == ["facts"]
    assert facts_in(ParityConfig(4).build()) == {}
    found = measure(Knows(TABLE), hypercube(grammar))
    assert found.components["facts 0"].value == 1.0
    assert (found.components["facts 2"].value or 0.0) < 0.5
    assert len(found.known) == 32
    ax = plot({"network": found}, "residual-mlp", Figure().subplots())
    told = [rate.value for rate in found.components.values()]
    assert list(ax.lines[0].get_ydata()) == told


WORLD = """
[grammar]
name = "mixture"
[[grammar.components]]
share = 0.5
grammar = { name = "facts", length = 6, key = 3, symbols = 2, facts = 4, first = [1] }
[[grammar.components]]
share = 0.5
grammar = { name = "dyck", length = 6 }
[images]
name = "pixels"
grid = [1, 6]
[network]
name = "residual-mlp"
width = 8
depth = 1
levels_by_cell = true
[objective]
name = "given"
cells = 3
[training]
steps = 4
batch_size = 8
validation_size = 8
checkpoints = 1
"""


def test_a_trained_network_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "world.toml").write_text(WORLD)
    out = ["--out", str(tmp_path / "run"), "--device", "cpu"]
    assert run(["train", "--config", str(tmp_path / "world.toml"), *out]) == 0
    capsys.readouterr()
    assert run(["probe", str(tmp_path / "run"), "--probe", "recall", "--device", "cpu"]) == 0
    assert "facts recalled, by their keys" in capsys.readouterr().out
    (summary,) = tmp_path.glob("run/probes/step-*/summary.json")
    told = json.loads(summary.read_text("utf-8"))["probes"]["recall"]
    assert told["bayes"]["share"]["value"] == 1.0
    assert told["network"]["share"]["n"] == 16
    assert (summary.parent / "recall.png").exists()


def test_keys_cannot_be_given_to_a_network_of_one_level(
    tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["probe", str(tiny_run), "--probe", "recall", "--device", "cpu"]) == 2
    assert "the grammar has no facts" in capsys.readouterr().err
    with pytest.raises(UsageError, match="a noise level for each cell"):
        measure(OneLevel(), MIXED)


class OneLevel(Denoiser):
    def __init__(self) -> None:
        super().__init__(SCHEDULER)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return x_t

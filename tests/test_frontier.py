import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from diffprobe.cli import run
from diffprobe.config import SamplingConfig
from diffprobe.datasets import hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.records import plain
from diffprobe.frontier import Curve, Frontier, Pool, draw_pool, frontier
from diffprobe.models import ProductDenoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.report import frontier as page
from diffprobe.sampling.samplers.ddim import DDIMConfig
from diffprobe.sampling.samplers.tuned import TunedConfig

USAGE = 2
CUBE = hypercube(ParityConfig(4).build())
SCHEDULER = noise_scheduler(NoiseConfig(timesteps=100))
BUDGETS = (2, 4, 8, 16)


def curve(
    name: str, rates: list[float], budgets: tuple[float, ...] = BUDGETS, n: int = 200
) -> Curve:
    """Rates that are the same in both halves: the first of each hundred are valid."""
    place = torch.arange(n) % 100
    return Curve(name, budgets, torch.stack([place < round(100 * rate) for rate in rates]))


def test_the_envelope_is_the_running_maximum_and_gaps_are_trapezia() -> None:
    early, late = curve("early", [0.5, 0.6, 0.4, 0.4]), curve("late", [0.0, 0.2, 0.7, 0.9])
    found = frontier([early, late], BUDGETS)
    assert [rate.value for rate in found.envelope] == pytest.approx([0.5, 0.6, 0.7, 0.9])
    assert found.best[0] == "early, 2 evaluations"
    assert found.best[3] == "late, 16 evaluations"
    gaps = {gap.name: gap for gap in found.gaps}
    # Differences 0, 0, .3, .5 and .5, .4, 0, 0, an octave apart.
    assert gaps["early"].reg.value == pytest.approx(0 + 0.15 + 0.4)
    assert gaps["late"].reg.value == pytest.approx(0.45 + 0.2)
    assert gaps["late"].mean.value == pytest.approx(0.65 / 3)
    # A member that falls is behind what it was itself.
    alone = frontier([early], BUDGETS)
    assert alone.gaps[0].reg.value == pytest.approx(0.1 + 0.2)


def test_what_costs_more_than_it_steps_counts_where_it_fits() -> None:
    heun = curve("heun", [0.9, 1.0], (3.0, 7.0))
    found = frontier([heun], BUDGETS)
    assert [rate.value for rate in found.envelope] == [0.0, 0.9, 1.0, 1.0]
    assert found.best[0] == "nothing within that"
    assert found.gaps[0].reg.value == 0


def test_luck_does_not_make_an_envelope() -> None:
    """Twenty members that are alike: the best of them is no better than any."""
    random = torch.Generator().manual_seed(0)
    pool = [Curve(f"{i}", (2, 4), torch.rand(2, 400, generator=random) < 0.5) for i in range(20)]
    found = frontier(pool, (2, 4))
    best = max(rate.value or 0 for each in pool for rate in each.rates())
    assert best > 0.55
    for rate in found.envelope:
        assert rate.contains(0.5)


def test_the_interval_is_of_samples_that_members_share() -> None:
    random = torch.Generator().manual_seed(1)
    same = torch.rand(1, 500, generator=random) < 0.5
    base = Curve("base", (2, 4), same.expand(2, -1))
    better = Curve("better", (2, 4), torch.cat([same, same | (torch.arange(500) % 11 == 0)]))
    gap = frontier([base, better], (2, 4)).gaps[0].reg
    # The base differs from the best at 4 alone, where half of an eleventh of the samples do.
    assert gap.value == pytest.approx(0.5 / 22, abs=0.01)
    assert gap.low is not None
    assert gap.high is not None
    assert gap.low > 0
    assert gap.high - gap.low == pytest.approx(2 * 1.96 * 0.5 * math.sqrt(1 / 22 / 500), rel=0.3)


@pytest.mark.parametrize(
    ("pool", "budgets", "message"),
    [
        ([], BUDGETS, "the pool is empty"),
        ([curve("a", [0.5] * 4)], (4, 4), "two of them at least, positive, not 4"),
        ([curve("a", [0.5] * 4)], (0, 4), "positive, not 0, 4"),
        ([curve("a", [0.5] * 4, n=10)], BUDGETS, "20 samples of each member at least, not 10"),
        ([curve("a", [0.5] * 4), curve("b", [0.5] * 4, n=300)], BUDGETS, "not 200, 300"),
    ],
)
def test_what_makes_no_frontier_is_refused(
    pool: list[Curve], budgets: tuple[float, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        frontier(pool, budgets)


def test_curves_are_checked() -> None:
    with pytest.raises(UsageError, match="evaluations must increase"):
        curve("a", [0.5, 0.5], (4, 2))
    with pytest.raises(UsageError, match=r"\(2, 200\) are not"):
        Curve("a", (1, 2, 3), torch.zeros(2, 200, dtype=torch.bool))
    with pytest.raises(UsageError, match="it has no sampler"):
        Pool({"a": ProductDenoiser(CUBE, SCHEDULER)}, [], [2])


@pytest.fixture(scope="module")
def found() -> Frontier:
    local = ProductDenoiser(CUBE, SCHEDULER)
    samplers = [DDIMConfig(), DDIMConfig(eta=1.0), TunedConfig()]
    return draw_pool(Pool({"local": local}, samplers, (4, 16)), CUBE, SamplingConfig(n=100, seed=2))


def test_the_local_optimum_falls_short_of_the_optimum(found: Frontier) -> None:
    assert [each.name for each in found.pool] == [
        "local, ddim",
        "local, ddim, eta 1",
        "local, tuned at 10 steps",
    ]
    # The unbent tuned sampler is DDIM.
    assert torch.equal(found.pool[0].valid, found.pool[2].valid)
    assert found.to_optimum is not None
    assert found.to_optimum.reg.low is not None
    assert found.to_optimum.reg.low > 0
    assert found.optimum is not None
    assert (found.optimum[-1].value or 0) > 0.8
    content = json.loads(json.dumps(plain(found.summary()), allow_nan=False))
    assert len(content["pool"]) == 3
    assert len(found.rows()) == 6
    lines = found.lines()
    assert lines[0].startswith("pool: 3 members, 100 samples each, seed 2")
    assert all(f"  {each.name}" in lines for each in found.pool)


def test_figure_and_table(found: Frontier) -> None:
    ax = page.plot(found, Figure().subplots())
    drawn = {str(line.get_label()): line for line in ax.lines}
    for each, gap in zip(found.pool, found.gaps, strict=True):
        line = drawn[f"{each.name}: REG {gap.reg.value:.2f}"]
        assert list(line.get_ydata()) == [rate.value for rate in each.rates()]
    assert list(drawn["envelope of the pool"].get_ydata()) == [r.value for r in found.envelope]
    table = page.markdown(found).splitlines()
    assert len([line for line in table if line.startswith("| local, ddim ")]) == 3
    for _, block in itertools.groupby(table, bool):
        assert len({line.count("|") for line in block}) == 1


def test_from_the_command_line(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, tuned = tmp_path / "out", tmp_path / "t.toml"
    tuned.write_text('[sampler]\nname = "tuned"\nclean = [1.5]\n')
    common = ["report", str(tiny_run), "--frontier", "--out", str(out), "--nfe", "2,4"]
    asked = ["--samplers", f"ddim,{tuned}", "--checkpoints", "all", "--weights", "raw,ema"]
    assert run([*common, *asked]) == 0
    printed = capsys.readouterr().out
    assert "pool: 18 members, 24 samples each" in printed
    assert "  step 30, raw, tuned at 10 steps" in printed
    assert "to the optimum's" in printed
    assert {"frontier.json", "frontier.md", "frontier.png"} <= {p.name for p in out.iterdir()}
    for wrong, message in [
        (["--samplers", ","], "the pool is empty: --samplers names nothing"),
        (["--weights", "emo"], "did you mean 'ema'?"),
        (["--checkpoints", "7"], "has no checkpoint of step 7; it has 1, 5, 30"),
        (["--nfe", "0,4"], "not 0"),
        (["--nfe", "4"], "two of them at least"),
        (["--samplers", "none.toml"], "no configuration file at none.toml"),
        (["--set", "sampling.n=4"], "20 samples of each member at least, not 4"),
    ]:
        assert run([*common, *wrong]) == USAGE
        assert message in capsys.readouterr().err
    assert run(["report", str(tiny_run), "--weights", "raw"]) == USAGE
    assert "--frontier" in capsys.readouterr().err
    tuned.write_text("[training]\nsteps = 3\n")
    assert run([*common, "--samplers", str(tuned)]) == USAGE
    assert "has no section [sampler]" in capsys.readouterr().err

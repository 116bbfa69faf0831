import json
from pathlib import Path

import pytest
import torch

from diffprobe.config import NoiseConfig, SamplingConfig
from diffprobe.datasets import hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.records import plain
from diffprobe.models import BayesDenoiser, ProductDenoiser, noise_scheduler
from diffprobe.report import sweep
from diffprobe.sampling import sample
from diffprobe.verdicts import judge

CUBE = hypercube(ParityConfig(4).build())
SCHEDULER = noise_scheduler(NoiseConfig(timesteps=100))
CONFIG = SamplingConfig(n=60, seed=3)


@pytest.fixture(scope="module")
def found() -> sweep.Sweep:
    local = ProductDenoiser(CUBE, SCHEDULER)
    return sweep.run(local, CUBE, ("ddim", "ddpm", "dpm"), (5, 20), (0.0, 1.0), CONFIG)


def test_eta_is_varied_only_where_there_is_one(found: sweep.Sweep) -> None:
    assert [(row.name, row.nfe) for row in found.rows] == [
        ("ddim, eta 0", 5),
        ("ddim, eta 0", 20),
        ("ddim, eta 1", 5),
        ("ddim, eta 1", 20),
        ("ddpm", 5),
        ("ddpm", 20),
        ("dpm", 5),
        ("dpm", 20),
    ]


def test_a_row_is_what_sampling_and_judging_give(found: sweep.Sweep) -> None:
    settings = SamplingConfig(sampler="ddim", steps=20, eta=1.0, n=60, seed=3)
    for denoiser, legible, grammatical in (
        (ProductDenoiser(CUBE, SCHEDULER), found.rows[3].legible, found.rows[3].grammatical),
        (
            BayesDenoiser(CUBE, SCHEDULER),
            found.rows[3].bayes_legible,
            found.rows[3].bayes_grammatical,
        ),
    ):
        verdicts = judge(CUBE, sample(denoiser, CUBE.image_shape, settings).images)
        assert (legible, grammatical) == (verdicts.legible_rate, verdicts.grammatical_rate)


def test_the_optimum_obeys_where_the_local_generator_is_at_chance(found: sweep.Sweep) -> None:
    assert found.chance == pytest.approx(0.5)
    for row in found.rows:
        if row.nfe == 20:
            assert row.bayes_grammatical.low > 0.8
            assert row.grammatical.contains(0.5)


def test_evaluations_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    forward = ProductDenoiser.forward

    def counted(self: ProductDenoiser, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return forward(self, x_t, t)

    monkeypatch.setattr(ProductDenoiser, "forward", counted)
    local = ProductDenoiser(CUBE, SCHEDULER)
    heun = sweep.run(local, CUBE, ("HeunDiscreteScheduler",), (5,), (0.0,), CONFIG, bayes=False)
    assert heun.rows[0].steps == 5
    assert heun.rows[0].nfe == calls == 9


def test_summary_lines_table_and_figure(found: sweep.Sweep, tmp_path: Path) -> None:
    content = json.loads(json.dumps(plain(found.summary()), allow_nan=False))
    assert len(content["rows"]) == 8
    assert content["rows"][4]["eta"] is None
    assert content["rows"][0]["grammatical"]["n"] == content["rows"][0]["legible"]["count"]
    assert len(found.lines()) == 8
    table = found.markdown().splitlines()
    assert len(table) == 10
    assert {line.count("|") for line in table} == {7}
    sweep.draw(found, tmp_path / "sweep")
    assert (tmp_path / "sweep.png").stat().st_size > 10_000
    alone = sweep.run(
        ProductDenoiser(CUBE, SCHEDULER), CUBE, ("ddpm",), (5,), config=CONFIG, bayes=False
    )
    assert alone.rows[0].bayes_grammatical is None
    assert "left out" in alone.markdown()
    sweep.draw(alone, tmp_path / "alone")


@pytest.mark.parametrize(
    ("samplers", "nfe", "etas", "message"),
    [
        ((), (5,), (0.0,), "at least one sampler"),
        (("ddim",), (), (0.0,), "at least one number of evaluations"),
        (("ddim",), (5,), (), "at least one eta"),
        (("ddmi",), (5,), (0.0,), "did you mean"),
        (("ddim",), (500,), (0.0,), "exceeds"),
        (("ddim",), (5,), (2.0,), "eta must lie"),
    ],
)
def test_what_cannot_be_swept_is_refused(
    samplers: tuple[str, ...], nfe: tuple[int, ...], etas: tuple[float, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        sweep.run(ProductDenoiser(CUBE, SCHEDULER), CUBE, samplers, nfe, etas, CONFIG)

import json

import pytest
import torch

from diffprobe.config import SamplingConfig
from diffprobe.datasets import hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.evaluation import sweep
from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.records import plain
from diffprobe.models import BayesDenoiser, ProductDenoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.sampling import sample
from diffprobe.sampling.samplers.ddim import DDIMConfig

CUBE = hypercube(ParityConfig(4).build())
SCHEDULER = noise_scheduler(NoiseConfig(timesteps=100))
CONFIG = SamplingConfig(n=60, seed=3)


@pytest.fixture(scope="module")
def found() -> sweep.Sweep:
    local = ProductDenoiser(CUBE, SCHEDULER)
    return sweep.run(local, CUBE, ("ddim", "ddpm", "dpm-solver++"), (5, 20), (0.0, 1.0), CONFIG)


def test_eta_is_varied_only_where_there_is_one(found: sweep.Sweep) -> None:
    assert [(row.name, row.nfe) for row in found.ways] == [
        ("ddim, eta 0", 5),
        ("ddim, eta 0", 20),
        ("ddim, eta 1", 5),
        ("ddim, eta 1", 20),
        ("ddpm", 5),
        ("ddpm", 20),
        ("dpm-solver++", 5),
        ("dpm-solver++", 20),
    ]


def test_a_row_is_what_sampling_and_judging_give(found: sweep.Sweep) -> None:
    settings = SamplingConfig(steps=20, n=60, seed=3)
    for denoiser, legible, grammatical in (
        (ProductDenoiser(CUBE, SCHEDULER), found.ways[3].legible, found.ways[3].grammatical),
        (
            BayesDenoiser(CUBE, SCHEDULER),
            found.ways[3].bayes_legible,
            found.ways[3].bayes_grammatical,
        ),
    ):
        verdicts = judge(
            CUBE, sample(denoiser, CUBE.image_shape, DDIMConfig(eta=1.0), settings).images
        )
        assert (legible, grammatical) == (verdicts.legible_rate, verdicts.grammatical_rate)


def test_the_optimum_obeys_where_the_local_generator_is_at_chance(found: sweep.Sweep) -> None:
    assert found.chance == pytest.approx(0.5)
    for row in found.ways:
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
    assert heun.ways[0].steps == 5
    assert heun.ways[0].nfe == calls == 9


def test_summary_lines_and_rows(found: sweep.Sweep) -> None:
    content = json.loads(json.dumps(plain(found.summary()), allow_nan=False))
    assert len(content["rows"]) == 8
    assert content["rows"][4]["eta"] is None
    assert content["rows"][0]["grammatical"]["n"] == content["rows"][0]["legible"]["count"]
    assert len(found.lines()) == 8
    frame = found.to_frame()
    assert frame["evaluations"].tolist() == [5, 20] * 4
    assert frame["grammatical"].tolist() == [way.grammatical.value for way in found.ways]
    assert frame["bayes_legible_low"].tolist() == [way.bayes_legible.low for way in found.ways]
    assert frame["eta"].isna().sum() == 4
    assert repr(found) == "<Sweep over 8 ways to sample>"


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

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.optimization import get_scheduler

from diffprobe.config import Config
from diffprobe.foundations import kinds
from diffprobe.foundations.errors import UsageError
from diffprobe.resolution import resolve
from diffprobe.training import train
from diffprobe.training.learning_rates import LearningRateKind
from diffprobe.training.learning_rates.constant import ConstantConfig
from diffprobe.training.learning_rates.cosine import CosineConfig
from diffprobe.training.learning_rates.csv import CSVConfig
from diffprobe.training.learning_rates.linear import LinearConfig
from diffprobe.training.learning_rates.polynomial import PolynomialConfig
from diffprobe.training.learning_rates.two_stage import TwoStageConfig
from diffprobe.training.learning_rates.wsd import WSDConfig

STEPS, WARMUP, PEAK = 100, 20, 0.3
OF_DIFFUSERS: dict[str, dict[str, Any]] = {
    "constant": {},
    "constant_with_warmup": {},
    "linear": {},
    "cosine": {},
    "cosine_with_restarts": {"cycles": 3},
    "polynomial": {"power": 2.0},
}


@pytest.mark.parametrize("name", OF_DIFFUSERS)
def test_rates_are_those_that_diffusers_gives_an_optimizer(name: str) -> None:
    options = OF_DIFFUSERS[name]
    warmed = {} if name == "constant" else {"warmup_steps": WARMUP}
    kind: Any = kinds.find("learning_rate", name)
    found = kind(peak=PEAK, **warmed, **options).array(STEPS)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    schedule = get_scheduler(
        name,
        optimizer,
        num_warmup_steps=WARMUP,
        num_training_steps=STEPS,
        num_cycles=options.get("cycles", 1),
        power=options.get("power", 1.0),
    )
    expected = []
    for _ in range(STEPS):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    # diffusers ends a polynomial decay at 1e-7, whatever the peak.
    assert np.abs(found - expected).max() < 2e-7


def warm(step: int) -> float:
    return PEAK * min(1.0, step / WARMUP)


def test_closed_forms() -> None:
    r = [max(0.0, (step - WARMUP) / (STEPS - WARMUP)) for step in range(STEPS)]
    cosine = [warm(s) * (1 + math.cos(math.pi * r[s])) / 2 for s in range(STEPS)]
    assert CosineConfig(PEAK, WARMUP).array(STEPS) == pytest.approx(cosine)
    linear = [warm(s) * (1 - r[s]) for s in range(STEPS)]
    assert LinearConfig(PEAK, WARMUP).array(STEPS) == pytest.approx(linear)
    cube = [warm(s) * (1 - r[s]) ** 3 for s in range(STEPS)]
    assert PolynomialConfig(PEAK, WARMUP, 3.0).array(STEPS) == pytest.approx(cube, abs=1e-7)
    assert ConstantConfig(PEAK).array(STEPS) == pytest.approx([PEAK] * STEPS)


@pytest.mark.parametrize("final", [0.0, 0.1])
@pytest.mark.parametrize("shape", ["linear", "sqrt", "cosine", "exponential"])
def test_warm_up_stable_decay(shape: Any, final: float) -> None:
    if shape == "exponential" and final == 0:
        with pytest.raises(UsageError, match="needs a final rate above 0"):
            WSDConfig(shape=shape, final=final)
        return
    rates = WSDConfig(PEAK, WARMUP, decay=0.4, final=final, shape=shape).array(STEPS)
    assert rates[:60] == pytest.approx([warm(step) for step in range(60)])
    assert rates[-1] == pytest.approx(final * PEAK)
    assert (np.diff(rates[59:]) < 0).all()
    # Half way down, after 20 of 40 steps.
    half = {
        "linear": final + (1 - final) * 0.5,
        "sqrt": final + (1 - final) * (1 - math.sqrt(0.5)),
        "cosine": final + (1 - final) * 0.5,
        "exponential": math.sqrt(final),
    }[shape]
    assert rates[79] == pytest.approx(PEAK * half)
    # The first of the 40 steps.
    first = {
        "linear": 1 / 40,
        "sqrt": math.sqrt(1 / 40),
        "cosine": (1 - math.cos(math.pi / 40)) / 2,
        "exponential": 1 - final ** (1 / 40) if final else 0,
    }[shape]
    lost = first if shape == "exponential" else (1 - final) * first
    assert rates[60] == pytest.approx(PEAK * (1 - lost))


def test_the_decay_is_a_share_of_the_steps() -> None:
    assert (WSDConfig(PEAK, 0, decay=0.25).array(8) < PEAK).sum() == 2
    assert (WSDConfig(PEAK, 0, decay=0.01).array(8) < PEAK).sum() == 1
    assert (WSDConfig(PEAK, 0, decay=1.0).array(8) < PEAK).all()


@pytest.mark.parametrize("final", [0.0, 1 / 3, 1.0])
def test_the_square_root_decay_goes_from_the_peak_to_the_final_rate(final: float) -> None:
    """eta_0 (1 - sqrt r) + eta_T sqrt r, as in arXiv:2511.18903."""
    root = np.sqrt(np.arange(1, 41) / 40)
    rates = WSDConfig(PEAK, WARMUP, decay=0.4, final=final).array(STEPS)
    assert rates[60:] == pytest.approx(PEAK * (1 - root) + final * PEAK * root)


def test_two_stages() -> None:
    rates = TwoStageConfig(PEAK, second=0.01, at=50, warmup_steps=WARMUP).array(STEPS)
    assert rates == pytest.approx([warm(step) for step in range(50)] + [0.01] * 50)
    late = TwoStageConfig(PEAK, second=0.01, at=500, warmup_steps=0)
    assert late.array(STEPS) == pytest.approx(PEAK)


def test_rates_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "rates.csv"
    file.write_text("step,lr\n" + "".join(f"{i},{1 / (1 + i)}\n" for i in range(30)))
    config = resolve(assignments=["learning_rate.name=csv", f"learning_rate.file='{file}'"])
    file.unlink()  # what it said is kept
    assert config.learning_rate.array(30) == pytest.approx([1 / (1 + i) for i in range(30)])
    assert len(config.learning_rate.array(10)) == 10
    with pytest.raises(UsageError, match=r"has 30 steps, and training\.steps is 31"):
        config.learning_rate.array(31)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step,rate\n0,1\n", "needs a column 'lr'; its first line has step, rate"),
        ("", "its first line has nothing"),
        ("lr\n0.1\nfast\n", "line 3 of the schedule: 'fast' is no learning rate"),
        ("lr,x\n0.1,0\n,1\n", "line 3 of the schedule: '' is no"),
        ("x,lr\n1,0.1\n2\n", "line 3 of the schedule: None is no"),
        ("lr\n-0.1\n", "line 2 of the schedule: -0.1 is no learning rate"),
        ("lr\nnan\n", "line 2 of the schedule: nan is no learning rate"),
    ],
)
def test_files_that_are_no_schedule(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CSVConfig(rates=text).array(2)


def test_a_missing_file_and_a_file_beside_rates(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read learning_rate\.file="):
        CSVConfig(file=str(tmp_path / "none.csv")).array(1)
    with pytest.raises(UsageError, match="not both"):
        CSVConfig(file="x.csv", rates="lr\n1\n").array(1)


@pytest.mark.parametrize("name", kinds.names("learning_rate"))
def test_every_step_has_a_rate(name: str) -> None:
    settings = {"rates": "lr\n" + "0.1\n" * 7} if name == "csv" else {}
    kind: Any = kinds.find("learning_rate", name)
    rates = kind(**settings).array(7)
    assert rates.shape == (7,)
    assert rates.dtype == np.float64
    assert (rates >= 0).all()


def test_the_loop_sets_the_rate_of_each_step(tiny_config: Config, tmp_path: Path) -> None:
    kind = CSVConfig(rates="lr\n" + "".join(f"{(i + 1) * 1e-4}\n" for i in range(30)))
    run = train(replace(tiny_config, learning_rate=kind), tmp_path / "run", "cpu")
    assert [line["learning_rate"] for line in run.metrics()] == pytest.approx([1e-3, 2e-3, 3e-3])


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (CosineConfig, {"peak": 0.0}, "peak must be positive"),
        (CosineConfig, {"warmup_steps": -1}, "warmup_steps must not be negative"),
        (PolynomialConfig, {"power": 0.0}, "power must be positive"),
        (WSDConfig, {"decay": 0.0}, r"decay must lie in \(0, 1\]"),
        (WSDConfig, {"final": 2.0}, r"final must lie in \[0, 1\]"),
        (TwoStageConfig, {"second": 0.0}, "second must be positive"),
        (TwoStageConfig, {"at": 0}, "at must be a positive integer"),
    ],
)
def test_schedules_that_cannot_be(
    kind: type[LearningRateKind], settings: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        kind(**settings)

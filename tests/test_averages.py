import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from diffprobe.config import Config, from_settings
from diffprobe.foundations.errors import CheckpointError, UsageError
from diffprobe.foundations.settings import to_settings
from diffprobe.models import load_denoiser
from diffprobe.resolution import resolve
from diffprobe.training import loop, train
from diffprobe.training.averages import AverageKind
from diffprobe.training.averages.ema import EMAConfig
from diffprobe.training.averages.last import LastConfig
from diffprobe.training.averages.weighted import WeightedConfig
from diffprobe.training.run_folder import RunFolder

Weights = dict[str, Tensor]


def numbers(path: list[float], kind: AverageKind) -> list[float]:
    """Return the average after each step of a weight that takes these values."""
    weight = nn.Parameter(torch.tensor([path[0]], dtype=torch.float64))
    average = kind.build([weight])
    found = []
    for step, value in enumerate(path[1:], 1):
        weight.data.fill_(value)
        average.update(step, [weight])
        found.append(float(average.weights()[0]))
    return found


PATH = [1.0, 4.0, -2.0, 7.0, 0.5, 3.0, 3.0, -8.0, 2.0, 6.0, 1.5]


@pytest.mark.parametrize(("decay", "power"), [(0.999, 0.75), (0.6, 0.75), (0.9, 2.0), (0.7, 0.0)])
def test_the_moving_average_is_its_recursion(decay: float, power: float) -> None:
    expected, average = [], PATH[0]
    for s, value in enumerate(PATH[1:], 1):
        memory = min(decay, 1 - s**-power) if power else decay * (s > 1)
        average = memory * average + (1 - memory) * value
        expected.append(average)
    assert numbers(PATH, EMAConfig(decay, power)) == pytest.approx(expected)


def test_the_last_of_some_steps_count() -> None:
    found = numbers(PATH, LastConfig(n=2, every=3))
    # The raw weights up to the first multiple of three.
    assert found == pytest.approx([4, -2, 7, 7, 7, 5, 5, 5, 4.5, 4.5])


def test_given_steps_count_by_given_weights() -> None:
    found = numbers(PATH, WeightedConfig((2, 5, 8), (2.0, -1.0, 3.0)))
    two, five, eight = PATH[2], PATH[5], PATH[8]
    expected = [PATH[1], two, two, two] + 3 * [2 * two - five]
    assert found == pytest.approx(expected + 3 * [(2 * two - five + 3 * eight) / 4])


def test_an_average_by_weights_is_a_decay_where_the_updates_are_the_same() -> None:
    """What was learned after a snapshot counts by the share of the later ones."""
    found = numbers(PATH, WeightedConfig((4, 5, 6, 7, 8, 9), (1.0, 2.0, 2.0, 2.0, 2.0, 1.0)))[8]
    factors = (0.9, 0.7, 0.5, 0.3, 0.1)
    updates = [after - before for before, after in itertools.pairwise(PATH[4:10])]
    decayed = PATH[4] + sum(f * u for f, u in zip(factors, updates, strict=True))
    assert found == pytest.approx(decayed)


AVERAGES: Mapping[str, AverageKind] = {
    "ema": EMAConfig(0.9),
    "lawa": LastConfig(n=3, every=4),
    "by-hand": WeightedConfig((5, 9, 30), (1.0, 0.5, 2.5)),
}


def every_step(config: Config) -> Config:
    """Store a checkpoint of every step."""
    training = replace(config.training, checkpoints=10_000)
    return replace(config, averages=dict(AVERAGES), training=training)


@pytest.fixture(scope="module")
def run(tiny_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(every_step(tiny_config), tmp_path_factory.mktemp("averages") / "run", "cpu").path


def stored(run: Path, step: int, name: str) -> Weights:
    network = load_denoiser(run / "checkpoints" / f"step-{step:06d}", name).network
    return {k: v.double() for k, v in network.state_dict().items()}


def mean_of(run: Path, shares: Mapping[int, float]) -> Weights:
    total: Weights = {}
    for step, share in shares.items():
        for key, value in stored(run, step, "raw").items():
            total[key] = total.get(key, torch.zeros_like(value)) + share * value
    return {k: v / sum(shares.values()) for k, v in total.items()}


@pytest.mark.parametrize(
    ("name", "step", "shares"),
    [
        ("lawa", 3, {3: 1}),
        ("lawa", 30, {20: 1, 24: 1, 28: 1}),
        ("lawa", 9, {4: 1, 8: 1}),
        ("by-hand", 4, {4: 1}),
        ("by-hand", 29, {5: 1, 9: 0.5}),
        ("by-hand", 30, {5: 1, 9: 0.5, 30: 2.5}),
    ],
)
def test_stored_averages_are_means_of_stored_weights(
    run: Path, name: str, step: int, shares: Mapping[int, float]
) -> None:
    found, expected = stored(run, step, name), mean_of(run, shares)
    assert all((found[k] - expected[k]).abs().max() < 1e-6 for k in expected)


def test_every_average_is_validated(run: Path) -> None:
    last = RunFolder(run).metrics()[-1]
    for name in ("ema", "lawa", "by-hand"):
        assert last[f"validation_loss_{name}"] != last["validation_loss"]
        assert set(last["validation_loss_by_level"]) == {"raw", "ema", "lawa", "by-hand"}


class SuddenEndError(Exception):
    """Stands for any sudden end."""


def test_averages_survive_an_interruption(tiny_config: Config, run: Path, tmp_path: Path) -> None:
    original = loop.Trainer._step

    def failing(self: loop.Trainer, at: int) -> Tensor:
        if at == 17:
            raise SuddenEndError
        return original(self, at)

    config = every_step(tiny_config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Trainer, "_step", failing)
        with pytest.raises(SuddenEndError):
            train(config, tmp_path / "resumed", "cpu")
    train(config, tmp_path / "resumed", "cpu")
    for name in (*AVERAGES, "raw"):
        for step in (18, 30):
            one, other = stored(run, step, name), stored(tmp_path / "resumed", step, name)
            assert all(torch.equal(one[k], other[k]) for k in one)


def test_the_first_average_is_what_is_sampled() -> None:
    config = resolve(assignments=["averages.lawa.name=last", "averages.lawa.n=2"])
    assert config.averages == {"lawa": LastConfig(n=2)}
    assert config.weights == "lawa"
    assert from_settings(to_settings(config)) == config
    wrong = resolve(assignments=["averages.lawa.name=last", "sampling.weights=law"])
    with pytest.raises(UsageError, match="did you mean 'lawa'"):
        _ = wrong.weights
    assert resolve().averages == {"ema": EMAConfig()}
    assert resolve(assignments=["averages.ema.decay=0.5"]).averages == {"ema": EMAConfig(0.5)}
    assert resolve(assignments=["averages={}"]).weights == "raw"


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (EMAConfig, {"decay": 1.0}, r"decay must lie in \[0, 1\)"),
        (EMAConfig, {"power": -1.0}, "power must not be negative"),
        (LastConfig, {"n": 0}, "n must be a positive integer"),
        (LastConfig, {"every": 0}, "every must be a positive integer"),
        (WeightedConfig, {}, "as many weights as steps"),
        (WeightedConfig, {"steps": (1, 2), "weights": (1.0,)}, "2 steps and 1 weights"),
        (WeightedConfig, {"steps": (2, 2), "weights": (1.0, 1.0)}, "steps must rise"),
        (WeightedConfig, {"steps": (1, 2), "weights": (1.0, -1.0)}, "positive sums"),
    ],
)
def test_averages_that_cannot_be(
    kind: type[AverageKind], settings: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        kind(**settings)


def test_an_average_of_which_nothing_is_stored_is_missed(tiny_config: Config, run: Path) -> None:
    average = LastConfig(n=2).build([nn.Parameter(torch.zeros(2))])
    with pytest.raises(KeyError):
        average.restore(3, {})
    with pytest.raises((CheckpointError, UsageError)):
        load_denoiser(run / "checkpoints" / "step-000030", "nothing")

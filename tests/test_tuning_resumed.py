"""Tunings that were stopped go on where they were, with the same end."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_reward import SCHEDULER, Leaning, world
from test_tuning import CUBE, OPTIMUM

from diffprobe.config import SamplingConfig
from diffprobe.foundations.errors import CheckpointError, UsageError
from diffprobe.frontier import Reward, Search, reward_tune, tune_sampler
from diffprobe.frontier.resuming import Unfinished
from diffprobe.models import FunctionDenoiser


class StopError(Exception):
    pass


class Bar:
    """A progress that stops after so many items."""

    def __init__(self, most: int) -> None:
        self.left = most

    def __call__(self, items: Iterable[Any] = (), **_: Any) -> Any:
        return self if not items else self._through(items)

    def _through(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            yield item
            self.update()

    def update(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise StopError

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        return None


def test_a_search_goes_on(tmp_path: Path) -> None:
    search = Search(generations=3, candidates=4, samples=16)
    whole = tune_sampler(OPTIMUM, CUBE, [2, 3], search, SamplingConfig(seed=3))
    kept = Unfinished(tmp_path / "tuned.unfinished.npz", {"search": search}, every=0)
    with pytest.raises(StopError):
        tune_sampler(OPTIMUM, CUBE, [2, 3], search, SamplingConfig(seed=3), Bar(4), kept)
    assert [len(each) for each in kept.read().values()] == [3, 2]
    again = tune_sampler(OPTIMUM, CUBE, [2, 3], search, SamplingConfig(seed=3), unfinished=kept)
    assert again == whole
    kept.done()
    assert kept.read() is None


def test_a_training_by_reward_goes_on(tmp_path: Path) -> None:
    dataset, reward = world("+++"), Reward(rounds=5, samples=32, rate=0.05)
    kept = Unfinished(tmp_path / "out.unfinished.npz", {"reward": vars(reward)}, every=0)
    ends = []
    for stops, unfinished in ((None, None), (2, kept), (None, kept)):
        network = Leaning()
        denoiser = FunctionDenoiser(network, SCHEDULER)
        denoiser.network = network
        if stops is not None:
            with pytest.raises(StopError):
                reward_tune(denoiser, dataset, [2, 4], reward, Bar(stops), unfinished)
            continue
        told = reward_tune(denoiser, dataset, [2, 4], reward, unfinished=unfinished)
        ends.append((float(network.b), told))
    assert ends[0] == ends[1]


def test_what_is_unfinished_is_that_of_its_settings(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    Unfinished(path, {"seed": 1}, every=0).keep({"weights": torch.ones(2)})
    assert Unfinished(path, {"seed": 1}).read()["weights"].tolist() == [1, 1]
    with pytest.raises(UsageError, match="unfinished tuning of other settings"):
        Unfinished(path, {"seed": 2}).read()
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match="is damaged"):
        Unfinished(path, {"seed": 1}).read()

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from diffprobe.foundations.statistics import Rate, wilson
from diffprobe.probing import cache
from diffprobe.probing.cache import Keep, fingerprint


@dataclass(frozen=True)
class Inner:
    values: Tensor
    rate: Rate


@dataclass(frozen=True)
class Outer:
    scores: Tensor
    pair: tuple[float, float]
    names: tuple[str, ...]
    parts: list[Inner]
    by_name: dict[str, Tensor]
    missing: tuple[float, float] | None
    settings: dict[str, Any]


RESULT = Outer(
    scores=torch.tensor([[1.0, float("nan")], [-0.0, 1e-300]], dtype=torch.float64),
    pair=(1.5, float("nan")),
    names=("a", "b"),
    parts=[Inner(torch.arange(3), wilson(2, 5)), Inner(torch.ones(0), wilson(0, 0))],
    by_name={"x": torch.tensor(True)},
    missing=None,
    settings={"n": 3, "list": [1, 2]},
)


class Counted:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Outer:
        self.calls += 1
        return RESULT


def test_a_result_is_computed_once_and_comes_back_whole(tmp_path: Path) -> None:
    compute = Counted()
    for _ in range(2):
        found = Keep(tmp_path, "probe", {"images": 8})("network", Outer, compute)
        assert compute.calls == 1
        assert torch.equal(found.scores.isnan(), RESULT.scores.isnan())
        assert torch.equal(found.scores.nan_to_num(), RESULT.scores.nan_to_num())
        assert found.scores.dtype == torch.float64
        assert found.pair[0] == 1.5
        assert found.names == ("a", "b")
        assert found.parts[0].rate == wilson(2, 5)
        assert torch.equal(found.parts[0].values, torch.arange(3))
        assert found.parts[1].rate.value is None
        assert found.by_name["x"].item() is True
        assert found.missing is None
        assert found.settings == RESULT.settings


def test_another_setting_part_or_probe_is_measured_again(tmp_path: Path) -> None:
    compute = Counted()
    Keep(tmp_path, "probe", {"images": 8})("network", Outer, compute)
    Keep(tmp_path, "probe", {"images": 8})("bayes", Outer, compute)
    Keep(tmp_path, "other", {"images": 8})("network", Outer, compute)
    Keep(tmp_path, "probe", {"images": 9})("network", Outer, compute)
    assert compute.calls == 4
    Keep(None, "probe", {"images": 9})("network", Outer, compute)
    assert compute.calls == 5


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_a_damaged_file_is_measured_again(tmp_path: Path, damage: bytes | None) -> None:
    compute = Counted()
    keep = Keep(tmp_path, "probe", {})
    keep("network", Outer, compute)
    (path,) = tmp_path.glob("probe-network-*.npz")
    path.write_bytes(path.read_bytes()[:-40] if damage is None else damage)
    keep("network", Outer, compute)
    assert compute.calls == 2
    keep("network", Outer, compute)
    assert compute.calls == 2


def test_what_was_not_asked_for_longest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = Counted()
    keeps = {n: Keep(tmp_path, "probe", {"images": n}) for n in (1, 2, 3)}
    for age, keep in enumerate(keeps.values()):
        keep("network", Outer, compute)
        for path in tmp_path.iterdir():
            os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**10 * (3 - age)))
    keeps[1]("network", Outer, compute)  # the oldest, asked for again
    assert compute.calls == 3
    size = max(path.stat().st_size for path in tmp_path.iterdir())
    monkeypatch.setattr(cache, "LARGEST", 3 * size)
    keeps[3]("bayes", Outer, compute)
    assert len(list(tmp_path.iterdir())) == 3
    for keep, calls in ((keeps[1], 4), (keeps[3], 4), (keeps[2], 5)):
        keep("network", Outer, compute)
        assert compute.calls == calls
    # What alone is larger is kept all the same.
    monkeypatch.setattr(cache, "LARGEST", 1)
    keeps[2]("bayes", Outer, compute)
    (only,) = tmp_path.iterdir()
    assert only.name.startswith("probe-bayes-")


def test_fingerprints_tell_values_shapes_and_texts_apart() -> None:
    ones = torch.ones(2, 3)
    assert fingerprint(ones) == fingerprint(ones.clone())
    distinct = {
        fingerprint(ones),
        fingerprint(ones.reshape(3, 2)),
        fingerprint(ones.double()),
        fingerprint(ones + 1e-6),
        fingerprint(ones, "text"),
        fingerprint(ones, "te", "xt"),
        fingerprint(ones > 0),
    }
    assert len(distinct) == 7

import hashlib
import json
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from diffprobe.evaluation.words.estimators import WordStatistic
from diffprobe.foundations.errors import CheckpointError, UsageError
from diffprobe.foundations.estimates import Estimate
from diffprobe.foundations.intervals import Interval, mean
from diffprobe.foundations.ranks import Auroc, auroc
from diffprobe.foundations.records import SCHEMA, plain, read_record, restore, write_record
from diffprobe.foundations.statistics import Rate, wilson

NAN, INF = math.nan, math.inf


@dataclass(frozen=True)
class Whole:
    scores: Tensor
    counts: Tensor
    rates: tuple[Rate, ...]
    by_step: dict[int, float]
    by_name: dict[str, tuple[float, float] | None]
    found: Interval | None
    place: Path
    free: dict[str, Any]


WHOLE = Whole(
    scores=torch.tensor([[1.0, NAN], [INF, 1e-300]], dtype=torch.float64),
    counts=torch.tensor([3, 4]),
    rates=(wilson(2, 5), wilson(0, 0)),
    by_step={10: NAN, 200: 0.1},
    by_name={"a": (1.0, NAN), "b": None},
    found=mean(torch.arange(20.0)),
    place=Path("some/where"),
    free={"list": [1, "two", None], "flag": True},
)


def same(a: Tensor, b: Tensor) -> bool:
    """Equal to the last bit, NaN in the same places."""
    return a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()


def test_beside_arrays_every_bit_comes_back(tmp_path: Path) -> None:
    write_record(tmp_path / "whole.npz", WHOLE)
    found = read_record(tmp_path / "whole.npz", Whole)
    assert same(found.scores, WHOLE.scores)
    assert same(found.counts, WHOLE.counts)
    assert found.rates == WHOLE.rates
    assert found.by_step[200] == 0.1
    assert math.isnan(found.by_step[10])
    assert found.by_name["a"][0] == 1
    assert math.isnan(found.by_name["a"][1])
    assert found.by_name["b"] is None
    assert same(found.found.high, WHOLE.found.high)
    assert found.place == WHOLE.place
    assert found.free == WHOLE.free
    # Without the class: the same names, and tensors in their places.
    loose = read_record(tmp_path / "whole.npz")
    assert same(loose["scores"], WHOLE.scores)
    assert loose["rates"][0]["count"] == 2


def test_in_json_what_is_not_defined_is_null(tmp_path: Path) -> None:
    write_record(tmp_path / "whole.json", WHOLE)
    text = (tmp_path / "whole.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    content = json.loads(text)
    assert content["schema"] == SCHEMA
    assert content["scores"] == [[1.0, None], [None, 1e-300]]
    assert content["by_step"] == {"10": None, "200": 0.1}
    found = read_record(tmp_path / "whole.json", Whole)
    assert found.scores.isnan().tolist() == [[False, True], [True, False]]
    assert found.scores.dtype == torch.float64
    assert same(found.counts, WHOLE.counts)
    assert found.rates == WHOLE.rates
    assert math.isnan(found.by_step[10])
    assert found.by_name["b"] is None
    assert found.found.estimate() == WHOLE.found.estimate()
    assert read_record(tmp_path / "whole.json") == plain(WHOLE)


KINDS = st.one_of(
    st.builds(lambda n, share: wilson(int(share * n), n), st.integers(0, 500), st.floats(0, 1)),
    st.builds(
        lambda value, low, far, n, chance: Estimate(
            value=value, low=low, high=low + far, n=n, standard_error=far, chance=chance
        ),
        st.none() | st.floats(-5, 5),
        st.floats(-5, 5),
        st.floats(0, 5),
        st.integers(0, 99),
        st.none() | st.floats(0, 1),
    ),
    st.builds(
        lambda value, floor: WordStatistic(value=value, low=0.0, high=1.0, n=9, floor=floor),
        st.none() | st.floats(0, 1),
        st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1)),
    ),
    st.builds(
        lambda scores: auroc(torch.tensor(scores), torch.arange(len(scores)) < 20),
        st.lists(st.floats(0, 1), min_size=30, max_size=50),
    ),
)


@given(KINDS)
def test_every_estimate_comes_back_from_json(found: Estimate) -> None:
    packed = json.loads(json.dumps(plain(found), allow_nan=False))
    assert restore(type(found), packed) == found


def test_records_of_estimates_have_the_names_they_had() -> None:
    assert list(plain(wilson(1, 2))) == ["value", "low", "high", "n", "count"]
    area = auroc(torch.arange(40.0), torch.arange(40) < 20)
    assert isinstance(area, Auroc)
    names = {"value", "low", "high", "p", "positives", "negatives", "n", "chance"}
    assert set(plain(area)) == names
    assert (area.n, area.chance) == (40, 0.5)
    told = plain(mean(torch.arange(20.0)).estimate())
    assert list(told) == ["value", "standard_error", "low", "high", "n"]


@pytest.mark.parametrize("ending", ["json", "npz"])
@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.9])
def test_a_damaged_record_is_refused_by_name(tmp_path: Path, ending: str, kept: float) -> None:
    path = tmp_path / f"whole.{ending}"
    write_record(path, WHOLE)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if kept < 1 else int(kept)])
    with pytest.raises(CheckpointError, match=f"{path} is damaged"):
        read_record(path, Whole)


@pytest.mark.parametrize("bit", [1, 16, 128])
def test_a_flipped_bit_is_found_wherever_it_is(tmp_path: Path, bit: int) -> None:
    path, numbers = (
        tmp_path / "noise.npz",
        torch.rand(30, generator=torch.Generator().manual_seed(0)),
    )
    write_record(path, {"x": numbers})
    data = path.read_bytes()
    assert zipfile.ZipFile(path).testzip() is None  # any other program reads it as well
    for place in range(len(data)):
        broken = bytearray(data)
        broken[place] ^= bit
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match="is damaged: its content is not that of its ch"):
            read_record(path)
    path.write_bytes(data)
    assert same(read_record(path)["x"], numbers)


def test_another_schema_or_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_record(path, {"x": 1}, schema="diffprobe-record/0")
    with pytest.raises(CheckpointError, match="'diffprobe-record/0'; 'diffprobe-record/1' can"):
        read_record(path)
    assert read_record(path, schema="diffprobe-record/0") == {"x": 1}
    for text in ("{}", "[1]", "3"):
        path.write_text(text)
        with pytest.raises(CheckpointError, match="names no schema"):
            read_record(path)


def test_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rate.json"
    write_record(path, wilson(1, 2))
    with pytest.raises(CheckpointError, match="is of another kind: this is no Whole"):
        read_record(path, Whole)
    assert read_record(path, Rate) == wilson(1, 2)
    with pytest.raises(CheckpointError, match="this is no Rate"):
        restore(Rate, {"value": 1.0})


def test_a_file_that_is_not_there_or_has_another_ending(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no record at"):
        read_record(tmp_path / "nothing.json")
    with pytest.raises(UsageError, match=r"ends in \.json or \.npz"):
        write_record(tmp_path / "x.pickle", {})
    assert not list(tmp_path.iterdir())


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "evil.npz"
    np.savez(path, record=np.array({"schema": SCHEMA}, dtype=object))
    seal = hashlib.sha256(path.read_bytes()).hexdigest().encode()
    path.write_bytes(path.read_bytes()[:-2] + len(seal).to_bytes(2, "little") + seal)
    with pytest.raises(CheckpointError, match="allow_pickle=False"):
        read_record(path)


@pytest.mark.parametrize("numbers", [[], [[1, 2], [3, 4]], [True, False], [[0.5, None]], 3.5, [2]])
def test_lists_become_tensors_of_their_shape(numbers: Any) -> None:
    found = restore(Tensor, numbers)
    assert plain(found) == numbers
    expected = torch.bool if numbers == [True, False] else None
    assert expected is None or found.dtype == expected

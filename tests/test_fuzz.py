"""A sample of `make fuzz`."""

from collections import Counter
from pathlib import Path

import fuzz
import pytest


@pytest.fixture(scope="module")
def material(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> fuzz.Material:
    return fuzz.make_material(tmp_path_factory.mktemp("material"), tiny_run)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", fuzz.SHARES)
def test_hostile_input_ends_in_an_exit_code(
    family: str, material: fuzz.Material, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    told: Counter[str] = Counter()
    fuzz.fuzz(family, material, told, 12)
    assert told.total() >= 10


def test_damage_is_done() -> None:
    assert fuzz._flipped(b"\0\0", [3]) == b"\x08\0"
    assert fuzz._with_value(b'{"a": [1, 2]}', 2, None) == b'{"a": [1, null]}\n'
    assert fuzz._with_value(b'{"a": 1}\n{"a": 2}\n', 0, "x") == b'{"a": 1}\n{"a": "x"}\n'
    assert fuzz._with_value(b"no JSON", 0, 1) != b"no JSON"

"""The example that holds pictures of text to a word list: its kinds, and what an OCR reads."""

import sys
from pathlib import Path
from typing import Any

import pytest

from diffprobe.cli import run

EXAMPLES = Path(__file__).parents[1] / "examples"
GROUPS = {
    "blurred": "illegible",
    "letter": "one letter off",
    "letters": "two letters off",
    "nonsense": "no word",
    "other": "another word",
    "right": "right",
}


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(EXAMPLES)
    import text_rendering  # type: ignore[import-not-found]

    return text_rendering


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ("", "", 0),
        ("exit", "exit", 0),
        ("exit", "edit", 1),
        ("exit", "exist", 1),
        ("", "exit", 4),
        ("kitten", "sitting", 3),
        ("cafe", "face", 2),
    ],
)
def test_edits(one: str, other: str, distance: int, example: Any) -> None:
    assert example.edits(one, other) == example.edits(other, one) == distance


@pytest.mark.parametrize(
    ("text", "asked", "kind"),
    [
        ("", "exit", "illegible"),
        ("exit", "exit", "right"),
        ("open", "exit", "another word"),
        ("opem", "exit", "one letter off"),
        ("ex", "exit", "two letters off"),
        ("zzzzzzzz", "exit", "no word"),
    ],
)
def test_kinds(text: str, asked: str, kind: str, example: Any) -> None:
    assert example.kind_of(text, ["exit", "open"], asked) == kind


def test_what_is_read_of_words_drawn_in_known_ways(
    example: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("rapidocr_onnxruntime", exc_type=ImportError)
    signs = tmp_path / "signs"
    example.draw(signs, copies=1)
    monkeypatch.setattr(sys, "argv", ["text_rendering.py", str(signs)])
    example.main()
    told = capsys.readouterr().out.split("\n\n")
    read = {part.strip().partition(":")[0]: part for part in told}
    assert list(read) == list(GROUPS)
    for group, kind in GROUPS.items():  # 4 pictures of each, and a reader may slip once
        assert any(f"{kind:15} {rate}" in read[group] for rate in ("100.0%", "75.0%"))
    assert run(["report", str(signs), "--validator", "text_rendering:words"]) == 0
    told = capsys.readouterr().out
    assert "text_rendering:words finds fault with 66.7%" in told
    assert "“no word”, by text_rendering:words: 16.7%" in told
    assert (tmp_path / "signs-report" / "report.html").is_file()


def test_a_folder_without_pictures_is_told(
    example: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["text_rendering.py", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"holds no \.png pictures"):
        example.main()

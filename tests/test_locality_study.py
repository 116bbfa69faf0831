"""The shipped study `locality`: eight questions that fit together at every scale, and run."""

import json
from pathlib import Path

import pytest

from diffprobe.studies.catalogue import SCALES
from diffprobe.studies.study import Study


@pytest.mark.parametrize("scale", SCALES)
def test_its_runs_fit_together(scale: str) -> None:
    study = Study.open("locality", scale)
    assert list(study.questions) == list(range(1, 9))
    cells = study.cells()
    assert {cell.question for cell in cells} == set(study.questions)
    for grid in study.questions.values():
        assert grid.claims
        assert len(grid.seeds) >= 3 or scale == "tiny"


def test_it_runs_at_its_smallest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from diffprobe.cli import run

    page = tmp_path / "locality.md"
    options = ["--cells", str(tmp_path / "cells"), "--out", str(tmp_path / "out")]
    told = ["--device", "cpu", "--markdown", str(page), "--json"]
    assert run(["study", "run", "locality", "--scale", "tiny", *options, *told]) == 0
    questions = json.loads(capsys.readouterr().out)["questions"]
    assert [question["number"] for question in questions] == list(range(1, 9))
    for question in questions:
        assert question["cells"]["done"] == question["cells"]["asked"]
        assert not question["failures"]
    assert page.read_text().count("\n## ") == 8

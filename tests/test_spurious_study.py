"""The shipped study `spurious`: what it asks fits together at every scale, and runs."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from diffprobe.studies.catalogue import SCALES
from diffprobe.studies.study import Study

FAMILY = "samples.violations.unknown, as its family"


@pytest.mark.parametrize("scale", SCALES)
def test_facts_are_the_seeds_own_and_the_refused_are_not_asked_about(scale: str) -> None:
    study = Study.open("spurious", scale)
    confidence, refusals = study.questions.values()
    assert 4 <= len(confidence.claims) + len(refusals.claims) <= 8
    for grid in (confidence, refusals):
        assert len(grid.seeds) >= (1 if scale == "tiny" else 3)
        assert FAMILY in grid.measures
    for cell in study.cells():
        config: Any = cell.config()
        assert config.grammar.seed == config.training.seed == cell.seed
        assert config.sampling.given == "known unknown"
        assert config.network.levels_by_cell
        assert config.objective.by_cell
        if config.stream.refusals:
            # The last third tunes, on those whom nobody is asked about.
            assert config.stream.refuse_from == pytest.approx(
                2 / 3 * config.training.steps, rel=0.03
            )
            assert config.grammar.taught > 0


def test_it_runs_at_its_smallest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from diffprobe.cli import run

    out = tmp_path / "out"
    options = ["--scale", "tiny", "--cells", str(tmp_path / "cells"), "--out", str(out)]
    assert run(["study", "run", "spurious", *options, "--device", "cpu", "--json"]) == 0
    questions = json.loads(capsys.readouterr().out)["questions"]
    assert [len(question["claims"]) for question in questions] == [6, 2]
    for question in questions:
        assert question["cells"]["done"] == question["cells"]["asked"] == 4
        assert not question["failures"]
    rows: list[dict[str, str]] = []
    for number in (1, 2):
        with (out / f"table-{number}.csv").open() as file:
            rows += csv.DictReader(file)
    legible = [float(row["value"]) for row in rows if row["measure"] == "legible"]
    assert len(legible) == 8
    assert all(0 <= value <= 1 for value in legible)

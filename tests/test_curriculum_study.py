"""The shipped study `curriculum`: several looks at one training, and claims across settings."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from diffprobe.studies.catalogue import SCALES
from diffprobe.studies.study import Study
from diffprobe.training.run_folder import RunFolder


@pytest.mark.parametrize("scale", SCALES)
def test_averages_are_looks_at_one_training_of_one_pass(scale: str) -> None:
    study = Study.open("curriculum", scale)
    (grid,) = study.questions.values()
    looks = len(grid.values("sampling.weights"))
    cells = study.cells()
    trainings = {cell.address for cell in cells}
    assert len(cells) == grid.size() == looks * len(trainings)
    orders, schedules = (len(grid.values(k)) for k in ("stream.order", "learning_rate.final"))
    assert len(trainings) == orders * schedules * len(grid.seeds)
    if scale != "tiny":
        assert (looks, orders, schedules) == (3, 3, 3)
        assert len(grid.seeds) >= 5
    for cell in cells:
        config: Any = cell.config()
        training = config.training
        assert config.stream.samples == training.steps * training.batch_size
        assert config.stream.seed == training.seed == cell.seed
        # The snapshots span the decay, and the moving average has their mean age.
        last = config.averages["last"]
        assert training.steps % last.every == 0
        window = (last.n - 1) * last.every
        if scale != "tiny":
            assert window == config.learning_rate.decay * training.steps
            assert 1 / (1 - config.averages["ema"].decay) == pytest.approx(window / 2)


def test_it_runs_at_its_smallest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from diffprobe.cli import run

    cells, out = tmp_path / "cells", tmp_path / "out"
    options = ["--scale", "tiny", "--cells", str(cells), "--out", str(out), "--device", "cpu"]
    assert run(["study", "run", "curriculum", *options, "--json"]) == 0
    (question,) = json.loads(capsys.readouterr().out)["questions"]
    assert question["cells"]["done"] == question["cells"]["asked"] == 16
    assert len(question["claims"]) == 6
    of_loss = [claim for claim in question["claims"] if "loss" in claim["rule"]]
    assert len(of_loss) == 3
    assert all(claim["estimate"]["value"] is not None for claim in of_loss)
    with (out / "table.csv").open() as file:
        losses = [row for row in csv.DictReader(file) if row["measure"] == "loss"]
    assert len(list(cells.iterdir())) == 8
    for row in losses:
        line = RunFolder(cells / row["cell"].partition("-")[0]).metrics()[-1]
        name = {"none": "validation_loss", "last six": "validation_loss_last"}
        assert float(row["value"]) == line[name[row["label.average"]]]
    assert len({row["value"] for row in losses}) == 16

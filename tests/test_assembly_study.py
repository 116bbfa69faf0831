"""The shipped study `assembly`, and what it computes."""

from pathlib import Path
from typing import Any

import pytest

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import silent
from diffprobe.studies.catalogue import SCALES
from diffprobe.studies.computations import computation, steps_of
from diffprobe.studies.computations.assembly import AssemblyContinued
from diffprobe.studies.findings import report_study
from diffprobe.studies.study import Study, run_study


def test_the_optimum_continues_rightly_and_the_local_generator_hardly_ever() -> None:
    """Of two steps in three columns, 96 words."""
    small: Any = {"pieces": 2, "columns": 3, "n": 200, "sampler_steps": 24}
    found_of: dict[str, Any] = {}
    for denoiser in ("bayes", "product"):
        kind = computation("assembly", {"denoiser": denoiser, **small})
        (found_of[denoiser],) = kind.compute([0], "cpu", silent)
    bayes, product = found_of.values()
    for found in (bayes, product):
        for name in ("joint", "rows"):
            assert all(share > 0.7 for share in found[f"legible_{name}"].values())
            # What is not right goes wrong first somewhere.
            assert found[name][2] + sum(found[f"first_{name}"].values()) == pytest.approx(1)
    for name in ("joint", "rows"):
        assert min(bayes[name].values()) > 0.97
        assert max(product[name].values()) < 0.3
        # The fewer rows are left to it, the oftener it is right.
        assert product[name][1] > product[name][2]
    (optimum,), (local,) = (found["outlier"].values() for found in (bayes, product))
    assert optimum > local + 0.2


def test_what_cannot_be_computed_is_refused() -> None:
    with pytest.raises(UsageError, match="sampler_steps must be at least 6, one for each row"):
        AssemblyContinued(sampler_steps=5)
    with pytest.raises(UsageError, match="colours must be at most 4"):
        AssemblyContinued(colours=5)
    with pytest.raises(UsageError, match="a row of 4 columns is too small for 5 steps"):
        AssemblyContinued(columns=4)


def test_it_runs_at_its_smallest(tmp_path: Path) -> None:
    asked = Study.open("assembly", "tiny")
    assert not run_study(asked, tmp_path / "out", store=tmp_path / "cells", device="cpu").failed
    (answer,) = report_study(tmp_path / "out").answers.values()
    assert len(answer.figures) == 5
    assert len(answer.verdicts) == 6
    table = {
        (row["label.denoiser"], row["measure"], row["step"]): row["estimate"].value
        for row in answer.table.over_seeds()
    }
    assert table["optimum", "assembly.joint", 2] > table["local", "assembly.joint", 2]
    assert table["network", "assembly.outlier", 2] is not None
    # A network of one level an image takes no rows one after another.
    assert ("network, one level", "assembly.rows", 2) not in table
    assert steps_of("assembly.joint") == "step of the assembly, k"


@pytest.mark.parametrize("scale", SCALES)
def test_the_grid_is_whole_at_each_scale(scale: str) -> None:
    (grid,) = Study.open("assembly", scale).questions.values()
    assert grid.values("denoiser") == ["network", "one-level", "bayes", "product"]
    for cell in Study.open("assembly", scale).cells():
        computed: Any = cell.computation()
        assert computed.grammar.columns > computed.grammar.steps

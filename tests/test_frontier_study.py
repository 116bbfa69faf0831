from pathlib import Path

import pytest

from diffprobe.foundations.errors import UsageError
from diffprobe.studies import Study, run_study
from diffprobe.studies.computations import computation
from diffprobe.studies.findings import report_study


def test_the_shipped_study_runs_at_its_smallest(tmp_path: Path) -> None:
    asked = Study.open("frontier", "tiny")
    assert not run_study(asked, tmp_path / "out", store=tmp_path / "cells", device="cpu").failed
    (answer,) = report_study(tmp_path / "out").answers.values()
    found = {v.claim.text.split()[0]: v.estimate.value for v in answer.verdicts}
    assert len(answer.verdicts) == 6
    assert None not in found.values()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"judged": 5}, "judged must be at least 20, not 5"),
        ({"most": 2}, "most must be at least 4"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        computation("frontier", settings)

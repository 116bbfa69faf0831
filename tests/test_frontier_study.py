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
    assert len(answer.verdicts) == 6
    # So little is learned that no valid sample may be there to have variety.
    undefined = [v.claim.text for v in answer.verdicts if v.estimate.value is None]
    assert all("variety" in text for text in undefined)


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

"""Questions that are computed, not trained; and the linear regression of the theory of reuse."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import silent
from diffprobe.studies.cells import jobs, stored
from diffprobe.studies.computations import code_of, computation
from diffprobe.studies.computations.linear_regression.recursion import OneHot
from diffprobe.studies.cost import cost
from diffprobe.studies.findings import report_study
from diffprobe.studies.grid import Grid, grid_of
from diffprobe.studies.markdown import write_markdown
from diffprobe.studies.study import Study, run_study

SMALL: dict[str, Any] = {
    "question": "Are two passes worth two samples?",
    "computation": "linear-regression",
    "seeds": 4,
    "measures": ["linear-regression.reuse", "linear-regression.rate"],
    "fixed": {"dimension": 8, "samples": 800},
    "settings": {"epochs": [1, 2]},
    "claims": [
        {
            "text": "Two passes are worth more than one.",
            "measure": "linear-regression.reuse",
            "between": {"epochs": [2, 1]},
            "expect": "greater",
        }
    ],
}


def small(**changes: Any) -> Grid:
    return grid_of({**SMALL, **changes})


def study(grid: Grid) -> Study:
    return Study("mine", "", {1: grid}, "diffprobe study run mine.toml")


def test_a_computed_question_is_a_study_like_any(tmp_path: Path) -> None:
    asked, store = study(small()), tmp_path / "cells"
    cells = asked.cells()
    assert [len(job) for job in jobs(cells, together=None)] == [4, 4]  # the seeds of a setting
    assert cost(cells, store).seconds is None
    done = run_study(asked, tmp_path / "out", store=store)
    assert not done.failed
    # One by one they are the same to the last bit, and nothing is computed twice.
    apart = run_study(asked, tmp_path / "apart", store=tmp_path / "others", together=False)
    assert [each.numbers for each in apart.outcomes] == [each.numbers for each in done.outcomes]
    before = [stored(cell, store) for cell in cells]
    assert run_study(asked, tmp_path / "out", store=store).outcomes == before
    found = report_study(tmp_path / "out")
    assert [each.verdict for each in found.answers[1].verdicts] == ["supported"]
    write_markdown(found, tmp_path / "page.md")
    assert "computed by `linear-regression`" in (tmp_path / "page.md").read_text("utf-8")
    page = found.page.read_text("utf-8")
    assert "Computed: linear-regression" in page
    assert "ordinary run folders" not in page
    json.loads((tmp_path / "out" / "findings.json").read_text("utf-8"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"computation": "linear-regresion"}, "did you mean 'linear-regression'?"),
        ({"measures": ["linear-regression.reus"]}, "did you mean 'linear-regression.reuse'"),
        ({"measures": ["loss"]}, "unknown measure 'loss'"),
        ({"fixed": {"sampels": 3}}, "did you mean 'samples'?"),
        ({"base": "demo"}, "starts from no base"),
        ({"computation": "", "base": "demo"}, "set computation = 'linear-regression'"),
    ],
)
def test_what_cannot_be_computed_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        small(**changes)


def test_a_setting_out_of_range_is_told_with_its_cell() -> None:
    with pytest.raises(UsageError, match=r"the cell at epochs 0, seed 0: .*epochs"):
        study(small(settings={"epochs": [0, 2]}, claims=[])).cells()
    with pytest.raises(UsageError, match="without"):
        computation("linear-regression", {"dimension": 1000})


def test_the_shipped_study_runs_at_its_smallest(tmp_path: Path) -> None:
    asked = Study.open("reuse", "tiny")
    assert not run_study(asked, tmp_path / "out", store=tmp_path / "cells", device="cpu").failed
    answers = report_study(tmp_path / "out").answers
    assert [len(answer.figures) for answer in answers.values()] == [2, 1, 1]
    estimates = [v.estimate.value for answer in answers.values() for v in answer.verdicts]
    assert None not in estimates
    # As often as the label says, at each scale.
    for scale in ("tiny", "cpu", "gpu"):
        for cell in Study.open("reuse", scale, question=3).cells():
            config = cell.config()
            seen = config.training.steps * config.training.batch_size
            words = getattr(config.stream, "words", seen)
            assert seen / words == cell.varied["label.passes"]


# ---- the linear regression -----------------------------------------------------------------------


def by_enumeration(world: OneHot, samples: int, epochs: int, rate: float) -> float:
    """The excess risk from every data set and every order of it in each epoch."""
    d = len(world.p)
    total = 0.0
    for shown in itertools.product(range(d), repeat=samples):
        chance = np.prod(world.p[list(shown)])
        orders = list(itertools.permutations(range(samples)))
        for epoch_orders in itertools.product(orders, repeat=epochs):
            # e is linear in the start and in each sample's noise: their coefficients.
            start, noise = np.ones(d), np.zeros((d, samples))
            for j in itertools.chain(*epoch_orders):
                i = shown[j]
                q = 1 - rate * world.square[i]
                start[i] *= q
                noise[i] *= q
                noise[i, j] += rate * np.sqrt(world.square[i])
            mean = start**2 * world.target + world.noise * (noise**2).sum(1)
            total += chance * float(world.p * world.square @ mean) / len(orders) ** epochs
    return total


@pytest.mark.parametrize("rate", [0.3, 0.9, 1.4])
def test_the_risk_is_that_of_all_data_sets_and_orders(rate: float) -> None:
    world = OneHot.drawn(2, popularity=0.7, scale=0.5, noise=0.8, seed=3)
    for samples, epochs in ((3, 1), (3, 2), (2, 3)):
        expected = by_enumeration(world, samples, epochs, rate)
        assert world.many_passes(samples, epochs, rate) == pytest.approx(expected, rel=1e-10)
    assert world.one_pass(3, rate) == pytest.approx(by_enumeration(world, 3, 1, rate), rel=1e-10)


def test_few_passes_are_worth_as_many_samples_and_many_are_not() -> None:
    """What the theory says of a strongly convex problem: E is K at first, then a log N."""
    found = {n: OneHot.drawn(4, 0.0, 0.0, 1.0, seed=0) for n in (10**3, 10**5)}
    plateau = {n: world.reuse(n, 512) for n, world in found.items()}
    assert plateau[10**3] < plateau[10**5] < 5
    # ERM has sigma² / n, one pass sigma² log(n) / 4 n: log(10) / 4 a decade, in the limit.
    assert (plateau[10**5] - plateau[10**3]) / 2 == pytest.approx(np.log(10) / 4, rel=0.15)
    assert found[10**5].reuse(10**5, 1) == 1.0
    assert found[10**5].reuse(10**5, 2) > 1.8


def test_under_zipf_the_plateau_grows_as_a_power() -> None:
    kind = computation(
        "linear-regression",
        {
            "dimension": 3000,
            "popularity": 1.5,
            "scale": 0.75,
            "noise": 0.0,
            "samples": 1000,
            "epochs": 4096,
        },
    )
    (numbers,) = kind.compute([0], "cpu", silent)
    assert isinstance(numbers["power"], float)
    assert 0.4 < numbers["power"] < 0.6  # scale / popularity


def test_numbers_of_changed_code_are_others_wherever_it_is_inherited_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds = [computation(name, {}) for name in ("diagonal-network", "linear-regression")]
    before = [code_of(kind) for kind in kinds]
    original = Path.read_bytes

    def changed(self: Path) -> bytes:
        return original(self) + (b"#" if self.name == "_label_noise.py" else b"")

    monkeypatch.setattr(Path, "read_bytes", changed)
    after = [code_of(kind) for kind in kinds]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True]


def test_settings_of_computations_are_set_and_checked() -> None:
    study = Study.open("proportions", "tiny", 1, ["common=0.8"])
    settings: Any = study.cells()[0].settings
    assert settings["computation"]["common"] == 0.8
    for wrong, said in (
        ("common=2", "common must lie between 0 and 1, not 2"),
        ("comon=0.8", "did you mean 'computation.common'"),
        ("tau=1", "tau is varied by the study"),
        ("training.steps=3", "is not of the form key=value, of what is computed"),
    ):
        with pytest.raises(UsageError, match=said):
            Study.open("proportions", "tiny", 1, [wrong]).cells()
    # One question of `reuse` is computed, and others are trained.
    both = Study.open("reuse", "tiny", None, ["training.log_every=7"])
    trained = [cell.settings for cell in both.cells() if "training" in cell.settings]
    assert trained
    assert all(settings["training"]["log_every"] == 7 for settings in trained)
    with pytest.raises(UsageError, match=r"of the form section\.key=value"):
        Study.open("capacity", "tiny", None, ["steps=3"])

"""Laws against their formulas, and fits, intervals and schedules against what is known."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import check_grad

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from coverage_parts.law_curves import PEAK, TRUE, WARM_UP, curve, rates

from diffprobe.foundations.errors import CheckpointError, UnfittedLawError, UsageError
from diffprobe.foundations.progress import silent
from diffprobe.laws import LawRecord, fit, judge, optimise
from diffprobe.laws.comparison import errors_of
from diffprobe.laws.fitting import problem_of
from diffprobe.laws.law import LAWS, Law
from diffprobe.laws.profile import profile
from diffprobe.laws.schedule import _Problem, exact_pieces, final_loss
from diffprobe.laws.schedule_pieces import Pieces
from diffprobe.laws.uncertainty import log_errors, uncertainty_of
from diffprobe.studies.catalogue.loss_law import LossLawStudy
from diffprobe.studies.computations.loss_law import LossLaw

NAMES = ("constant", "cosine", "two-stage")
THETA = {
    "multi-power": LAWS["multi-power"].fitted(TRUE),
    "momentum": LAWS["momentum"].fitted({"L0": 0.8, "A": 2.0, "alpha": 0.5, "B": 0.3, "tau": 40.0}),
    "no-drop": LAWS["no-drop"].fitted({"L0": 0.8, "A": 2.0, "alpha": 0.5}),
}


def by_hand(name: str, u: np.ndarray, s: int) -> float:
    """The loss after step s, term by term as the papers have it."""
    loss = TRUE["L0"] + TRUE["A"] * sum(u[: s + 1]) ** -TRUE["alpha"]
    if name == "multi-power":
        for k in range(1, s + 1):
            x = TRUE["C"] * u[k] ** -TRUE["gamma"] * sum(u[k : s + 1])
            loss -= TRUE["B"] * (u[k - 1] - u[k]) * (1 - (1 + x) ** -TRUE["beta"])
    if name == "momentum":
        momentum, area, kept = 0.0, 0.0, math.exp(-1 / 40)
        for k in range(1, s + 1):
            momentum = kept * momentum + u[k - 1] - u[k]
            area += momentum
        loss -= TRUE["B"] * (1 - kept) * area
    return float(loss)


@pytest.mark.parametrize("name", LAWS)
def test_a_law_is_its_formula(name: str) -> None:
    u = rates("cosine", 60) / PEAK
    steps = np.array([25, 40, 59])
    found, _ = LAWS[name].loss(THETA[name], exact_pieces(u), steps)
    assert found == pytest.approx([by_hand(name, u, s) for s in steps], rel=1e-12)
    assert LAWS[name].final_loss(THETA[name], u)[0] == pytest.approx(found[-1], rel=1e-12)


@pytest.mark.parametrize("name", LAWS)
def test_derivatives(name: str) -> None:
    law, steps = LAWS[name], np.array([25, 59])
    pieces = exact_pieces(rates("cosine", 60) / PEAK)
    for row in range(2):
        error = check_grad(
            lambda theta, row=row: law.loss(theta, pieces, steps)[0][row],
            lambda theta, row=row: law.loss(theta, pieces, steps)[1][row],
            THETA[name],
        )
        assert error < 1e-6
    u = rates("cosine", 40)[WARM_UP:] / PEAK
    error = check_grad(
        lambda u: law.final_loss(THETA[name], u)[0], lambda u: law.final_loss(THETA[name], u)[1], u
    )
    assert error < 1e-5


def test_pieces_of_a_schedule() -> None:
    """Sums are exact where a piece ends, jumps stay where they are, losses are nearly the same."""
    u = rates("two-stage")
    pieces = Pieces.of_rates(u)
    assert len(pieces.starts) == WARM_UP + 2
    assert 300 in pieces.starts
    assert pieces.sums(np.arange(600)) == pytest.approx(np.cumsum(u))
    law, steps = LAWS["multi-power"], np.arange(WARM_UP, 600, 40)
    many = np.repeat(rates("cosine"), 5) / PEAK
    few = Pieces.of_rates(many)
    assert len(few.starts) < 900
    theta = THETA["multi-power"]
    exact = law.loss(theta, exact_pieces(many), 5 * steps)[0]
    assert law.loss(theta, few, 5 * steps)[0] == pytest.approx(exact, rel=2e-4)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    c = curve("cosine")
    law = LAWS["multi-power"]
    whole = law.loss(THETA[law.name], c.schedule.scaled(PEAK), c.steps)[0]
    monkeypatch.setattr("diffprobe.laws.law.PAIRS", 1000)
    assert np.array_equal(law.loss(THETA[law.name], c.schedule.scaled(PEAK), c.steps)[0], whole)


@pytest.fixture(scope="module")
def noisy() -> LawRecord:
    curves = [curve(name, 5e-4, seed=i) for i, name in enumerate(NAMES)]
    return judge(curves, [curve("wsd"), curve("lower")])


def test_a_law_foretells_schedules_it_has_not_seen(noisy: LawRecord) -> None:
    """What made the curves is told from simpler laws, by what was held out."""
    errors = {name: law.mean.mae for name, law in noisy.laws.items()}
    assert errors["multi-power"] < 2e-3
    assert errors["multi-power"] < errors["momentum"] < errors["no-drop"]
    assert noisy.laws["multi-power"].mean.r2 > 0.999


def test_a_fit_is_no_worse_than_what_made_the_curves() -> None:
    curves = [curve(n, 5e-4, seed=i) for i, n in enumerate(NAMES)]
    problem = problem_of(LAWS["multi-power"], curves)
    found = fit(LAWS["multi-power"], curves)
    assert found.objective <= problem.objective(THETA["multi-power"])
    assert found.objective == pytest.approx(problem.objective(found.theta))
    # In units of rates the same losses come out.
    told = found.parameters_of_rates()
    c = curves[1]
    exact = c.schedule.rates
    alone = LAWS["multi-power"].loss(
        LAWS["multi-power"].fitted(told), Pieces(c.schedule.starts, exact), c.steps
    )[0]
    assert alone == pytest.approx(found.loss(c.schedule, c.steps))


def test_other_peaks_of_the_files_are_the_same_law() -> None:
    """Rates a thousand times as large fit as well."""
    curves = [curve(n) for n in NAMES]
    other = [
        type(c)(c.name, Pieces(c.schedule.starts, 1000 * c.schedule.rates), c.steps, c.losses)
        for c in curves
    ]
    first, second = (fit(LAWS["multi-power"], each) for each in (curves, other))
    assert second.parameters == pytest.approx(first.parameters, rel=1e-3)


def test_noise_is_found_in_residuals(noisy: LawRecord) -> None:
    found = noisy.laws["multi-power"].uncertainty
    assert found.sigma == pytest.approx(5e-4, rel=0.4)
    assert 10 < found.length < 90
    assert found.degrees < 200  # of 291 rows


def test_held_out_errors_widen_an_interval(noisy: LawRecord) -> None:
    """A law that cannot describe the drop is given the width of its errors."""
    law, held = noisy.laws["momentum"], curve("lower")
    own = uncertainty_of(law.fit, [curve(name, 5e-4) for name in NAMES])
    error = np.abs(log_errors(law.fit, held))
    narrow, wide = (
        each.half_width(law.fit, held.schedule, held.steps) for each in (own, law.uncertainty)
    )
    assert (own.widening, own.held_out, law.uncertainty.held_out) == (1.0, 0, 2)
    assert law.uncertainty.widening > 1.5
    assert np.mean(error < narrow) < 0.9 < np.mean(error < wide)


def test_the_profile_tells_what_is_not_known(noisy: LawRecord) -> None:
    assert noisy.profile is not None
    low, high = noisy.profile.range("beta")
    assert low <= TRUE["beta"] <= high
    assert high > 1.2 * low
    at = dict(zip(noisy.profile.beta, noisy.profile.objective, strict=True))
    assert max(at[b] for b in at if low < b < high) <= noisy.profile.threshold
    assert min(at[b] for b in at if not low < b < high) > noisy.profile.threshold


def test_a_profile_that_is_sharp() -> None:
    """Without noise the best value is told, and it is the true one."""
    curves = [curve(n, 1e-6) for n in NAMES]
    found = fit(LAWS["multi-power"], curves)
    told = profile(found, curves, uncertainty_of(found, curves))
    best = int(np.argmin(told.objective))
    assert told.beta[best] == pytest.approx(TRUE["beta"], rel=0.2)


def test_the_record_is_read_back(noisy: LawRecord, tmp_path: Path) -> None:
    assert LawRecord.read(noisy.write(tmp_path)) == LawRecord.read(tmp_path) == noisy
    (tmp_path / "law.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        LawRecord.read(tmp_path)


@pytest.mark.parametrize("name", ["multi-power", "momentum"])
def test_the_best_schedule_beats_the_others(name: str, noisy: LawRecord) -> None:
    law = noisy.laws[name].fit
    found = optimise(law, 600, WARM_UP)
    after = found.rates[WARM_UP:]
    assert np.all(np.diff(after) <= 1e-12)
    assert after.min() >= 1e-3 * PEAK * (1 - 1e-9)
    assert found.rates.max() == pytest.approx(PEAK)
    assert found.loss == final_loss(law, found.rates)
    for other in ("constant", "cosine", "two-stage", "wsd", "lower"):
        assert found.loss < final_loss(law, rates(other))
    # Of all falls that are one straight line to the least rate, none is better.
    for begun in (100, 300, 400, 500, 550):
        line = np.interp(np.arange(600), [0, WARM_UP, begun, 599], PEAK * np.array([0, 1, 1, 1e-3]))
        assert found.loss <= final_loss(law, line) + 1e-6


def test_the_gradient_of_a_schedule() -> None:
    found = fit(LAWS["momentum"], [curve("cosine"), curve("two-stage")])
    problem = _Problem(found, 120, WARM_UP, PEAK, 1e-3)
    start = problem.starts()[1]
    assert check_grad(lambda z: problem.loss(z)[0], lambda z: problem.loss(z)[1], start) < 1e-6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 9), "a warm-up of 9 steps does not fit a training of 10"),
        ((0, 0), "steps must be a positive integer, not 0"),
    ],
)
def test_what_no_schedule_can_be(
    arguments: tuple[int, int], message: str, noisy: LawRecord
) -> None:
    with pytest.raises(UsageError, match=message):
        optimise(noisy.laws["multi-power"].fit, *arguments)


def test_what_cannot_be_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="one curve at least"):
        fit(LAWS["momentum"], [])
    with pytest.raises(UsageError, match="no learning rate falls in constant"):
        fit(LAWS["multi-power"], [curve("constant")])
    assert list(judge([curve("constant", 1e-4)]).laws) == ["no-drop"]
    with pytest.raises(UsageError, match="no term of the decay"):
        optimise(judge([curve("constant", 1e-4)]).laws["no-drop"].fit, 100, 10)
    monkeypatch.setattr("diffprobe.laws.fitting.MOST", 2)
    monkeypatch.setattr("diffprobe.laws.fitting.ROUGH", 1)
    monkeypatch.setattr("diffprobe.laws.fitting.STILL", 0.0)
    with pytest.raises(UnfittedLawError, match="did not converge in 4 evaluations"):
        fit(LAWS["multi-power"], [curve("cosine", 1e-2), curve("two-stage", 1e-2)])


def test_errors_by_hand(noisy: LawRecord) -> None:
    law, c = noisy.laws["no-drop"].fit, curve("lower")
    error = law.loss(c.schedule, c.steps) - c.losses
    found = errors_of(law, c)
    assert found.mae == pytest.approx(np.abs(error).mean())
    assert found.r2 == pytest.approx(
        1 - error.var() / c.losses.var() - error.mean() ** 2 / c.losses.var()
    )
    assert found.worst == pytest.approx((np.abs(error) / c.losses).max())


def test_every_law_says_what_it_is() -> None:
    for law in LAWS.values():
        assert isinstance(law, Law)
        assert len(law.shapes) == len(law.bounds) == len(law.starts)


def test_the_study_trains_what_a_law_foretells() -> None:
    """Its numbers are of one seed, whichever it is computed with; what it asks for is there."""
    small = LossLaw(steps=40, peak=1e-2, batch_size=8, width=8, validation_size=8)
    assert len(small.schedules()) == 8
    for settings in small.schedules().values():
        assert settings["warmup_steps"] == 2
    (found,) = small.compute([3], "cpu", silent)
    assert set(found) == set(LossLaw.measures)
    assert found["over_wsd"] == pytest.approx(found["optimised"] / found["wsd"] - 1)
    (grid,) = LossLawStudy().questions("tiny")
    asked = {name.partition(".")[2] for name in grid.measures}
    assert asked <= set(LossLaw.measures)
    with pytest.raises(UsageError, match="steps must be at least 20, not 19"):
        LossLaw(steps=19)

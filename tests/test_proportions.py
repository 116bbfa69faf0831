"""Proportions of training data: the fits, the best shares, the command."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.optimize import minimize

from diffprobe.cli import run
from diffprobe.foundations.errors import UsageError
from diffprobe.laws.falling_errors import Point, error_after, fit_component
from diffprobe.laws.proportions import best_shares, propose
from diffprobe.laws.proportions_figures import plot_fits, plot_shares

TEST = {"text": 0.9, "facts": 0.1}
SAMPLES = np.geomspace(30, 3000, 6)
# Component -> alpha, A, B.
ALIKE = {"text": (1.0, 20.0, 0.05), "facts": (1.0, 20.0, 0.05)}
OTHER = {"text": (0.5, 3.0, 0.0), "facts": (1.0, 20.0, 0.05)}


def points(
    truth: dict[str, tuple[float, float, float]], noise: float = 0.0, seed: int = 0
) -> list[Point]:
    """Two errors at each number of samples, with relative noise."""
    random = np.random.default_rng(seed)
    return [
        Point(name, float(n), float(error) * float(np.exp(noise * random.standard_normal())))
        for name, values in truth.items()
        for n, error in zip(SAMPLES, error_after(SAMPLES, np.array(values)), strict=True)
        for _ in range(2)
    ]


def test_of_one_exponent_the_best_shares_are_the_papers() -> None:
    found = propose(points(ALIKE), TEST, 400)
    # (p A)^(1/2) to one another: 3 to 1.
    assert found.shares["text"].value == pytest.approx(0.75, abs=1e-3)
    matched = 0.9 * 20 / 360 + 0.1 * 20 / 40 + 0.05
    best = 0.9 * 20 / 300 + 0.1 * 20 / 100 + 0.05
    assert found.matched == pytest.approx(matched, rel=2e-3)
    assert found.error == pytest.approx(best, rel=2e-3)
    # A fifth of what falls.
    assert found.gain.value == pytest.approx(1 - best / matched, abs=2e-3)


@pytest.mark.parametrize("alphas", [(0.5, 1.0), (1.5, 0.3), (1.0, 1.0)])
def test_the_best_shares_are_the_least_of_the_expected_error(alphas: tuple[float, float]) -> None:
    p = np.array([0.2, 0.5, 0.3])
    values = np.array([[alphas[0], 3, 0.1], [alphas[1], 20, 0.0], [0.8, 1.0, 0.2]])
    found = best_shares(p, values, 300.0)
    assert found.sum() == pytest.approx(1)

    def expected(logits: np.ndarray) -> float:
        q = np.exp(logits) / np.exp(logits).sum()
        return float(p @ error_after(300 * q, values))

    searched = minimize(expected, np.zeros(3), tol=1e-12)
    assert expected(np.log(found)) <= searched.fun + 1e-9
    q = np.exp(searched.x)
    assert found == pytest.approx(q / q.sum(), abs=1e-3)
    # Several at once, and a component whose error does not fall gets nothing.
    flat = values.copy()
    flat[1, 1] = 0.0
    both = best_shares(p, np.stack([values, flat]), 300.0)
    assert both[0] == pytest.approx(found)
    assert both[1, 1] == 0.0
    assert best_shares(p, flat * [1, 0, 1], 300.0) == pytest.approx(p)


def test_the_fit_finds_each_components_own_law() -> None:
    for name, truth in OTHER.items():
        rows = [point for point in points(OTHER) if point.component == name]
        assert fit_component(name, rows).values == pytest.approx(truth, rel=0.01, abs=1e-3)
    # An error that rises with samples is a constant.
    rising = [Point("a", float(n), 0.1 + n / 1e4) for n in SAMPLES]
    assert fit_component("a", rising).A.value == 0.0


def test_intervals_cover() -> None:
    best = best_shares(np.array([0.9, 0.1]), np.array(list(OTHER.values())), 6000.0)
    inside, repeats = 0, 60
    for seed in range(repeats):
        found = propose(points(OTHER, 0.05, seed), TEST, 6000)
        assert found.gain.low is not None
        inside += found.shares["text"].contains(float(best[0]))
    assert 0.85 * repeats <= inside < repeats


def test_as_many_points_as_parameters_tell_no_interval() -> None:
    few = [point for i, point in enumerate(points(ALIKE)) if i % 4 == 0]
    found = propose(few, TEST)
    assert found.shares["text"].value == pytest.approx(0.75, abs=1e-3)
    assert found.shares["text"].low is None
    assert found.gain.low is None
    with pytest.raises(UsageError, match="'text' has 2 different numbers of samples"):
        propose([few[0], few[1], *few[3:]], TEST)


def test_the_figure_shows_fits_and_shares() -> None:
    found = propose(points(OTHER, 0.05), TEST, 400)
    ax = plot_fits(found, Figure().subplots())
    marks = next(line for line in ax.lines if line.get_marker() == "o")
    assert list(marks.get_ydata()) == found.components[0].errors
    bars = plot_shares(found, Figure().subplots()).patches
    heights = [bar.get_height() for bar in bars]
    told = [found.shares[name].value for name in TEST]
    assert heights == [0.9, told[0], 0.1, told[1]]


# ---- the command ---------------------------------------------------------------------------------


def write(path: Path, rows: list[Point]) -> str:
    lines = [f"{row.component},{row.samples},{row.error}" for row in rows]
    path.write_text("\n".join(["component,samples,error", *lines]), "utf-8")
    return str(path)


def test_the_command_proposes_shares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "errors.csv", points(ALIKE, 0.02))
    options = ["--test", "text=0.9,facts=0.1", "--samples", "400", "--out", str(tmp_path / "out")]
    assert run(["law", "proportions", file, *options]) == 0
    text = capsys.readouterr().out
    assert "text: 0.7" in text
    assert "0.9 of the test" in text
    table = (tmp_path / "out" / "proportions.csv").read_text("utf-8")
    rows = list(csv.DictReader(table.splitlines()))
    assert [row["component"] for row in rows] == ["text", "facts"]
    assert (tmp_path / "out" / "proportions.png").exists()
    # The same by share and total, under other names.
    lines = [f"{p.component},{p.samples / 5000},5000,{p.error},1" for p in points(ALIKE, 0.02)]
    named = tmp_path / "named.csv"
    named.write_text("\n".join(["what,share,total,loss,seed", *lines]), "utf-8")
    columns = ["--column", "component=what", "--column", "error=loss"]
    assert run(["law", "proportions", str(named), *columns, *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["components"][0]["share"] == pytest.approx(float(rows[0]["share"]), abs=1e-6)
    assert found["gain"]["low"] < found["gain"]["value"] < found["gain"]["high"]


GOOD = "component,samples,error\na,1,3\na,2,2\na,3,1.5\nb,1,3\nb,2,2\nb,3,1.5\n"


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (GOOD, ["--test", "a=0.9,b=0.2"], "proportions sum to one, and 0.9 + 0.2 = 1.1"),
        (GOOD, ["--test", "a=0.9,c=0.1"], "unknown component 'c'"),
        (GOOD, ["--test", "a=1"], "no share of the component 'b'"),
        (GOOD, ["--test", "a=1,b=0"], "the share of b is 0, not above 0"),
        (GOOD, ["--test", "a=0.5,a=0.5"], "names the component 'a' twice"),
        (GOOD, ["--test", "half"], "takes COMPONENT=SHARE"),
        (GOOD, ["--samples", "0"], "must be a positive number, not 0"),
        (GOOD, ["--column", "eror=x"], "did you mean 'error'?"),
        (GOOD.replace("1.5", "-1"), [], "line 4: error is -1, not positive"),
        (GOOD.replace("b,1", ",1"), [], "line 5: the component has no name"),
        ("component,share,total,error\na,1.5,9,1\n", [], "line 2: share is 1.5, not above 0"),
        ("part,samples,error\na,1,1\n", [], "needs a column 'component'"),
        (GOOD.replace("a,3", "a,2"), [], "'a' has 2 different numbers of samples"),
        ("component,samples,error\na,1,1\na,2,1\na,3,1\n", ["--test", "a=1"], "no component's"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_one_clear_line(
    text: str,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "t.csv"
    file.write_text(text, "utf-8")
    test = [] if "--test" in arguments else ["--test", "a=0.5,b=0.5"]
    options = [*test, *arguments, "--out", str(tmp_path)]
    assert run(["law", "proportions", str(file), *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]

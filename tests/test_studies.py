"""Studies: grids, claims and their verdicts, cells that are shared, resumed and may fail."""

import csv
import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffprobe.foundations.errors import CheckpointError, FullDiskError, InUseError, UsageError
from diffprobe.foundations.lock import one_writer
from diffprobe.studies.cells import Cell, Outcome, jobs
from diffprobe.studies.claims import Claim, changed
from diffprobe.studies.findings import report_study
from diffprobe.studies.grid import FigureSpec, Grid, grid_of, read_grid
from diffprobe.studies.measures import Measure, find
from diffprobe.studies.seeds import over_seeds
from diffprobe.studies.study import Study, run_study
from diffprobe.studies.table import StudyTable
from diffprobe.studies.verdicts import judge

FIXED = {
    "grammar.length": 4,
    "images.grid": [2, 2],
    "training.steps": 6,
    "training.batch_size": 8,
    "training.checkpoints": 2,
    "training.validation_size": 8,
}
SMALL: dict[str, Any] = {
    "question": "Is a wider network better?",
    "base": "hypercube-mlp",
    "seeds": 2,
    "measures": ["loss"],
    "fixed": FIXED,
    "settings": {"network.width": [4, 8]},
    "claims": [
        {
            "text": "It is.",
            "measure": "loss",
            "between": {"network.width": [8, 4]},
            "expect": "less",
        }
    ],
}


def small(**changes: Any) -> Grid:
    return grid_of({**SMALL, **changes})


def study(grid: Grid, name: str = "mine") -> Study:
    return Study(name, "", {1: grid}, f"diffprobe study run {name}.toml")


# ---- grids ---------------------------------------------------------------------------------------


def test_a_grid_is_every_combination_with_every_seed() -> None:
    fixed = {key: value for key, value in FIXED.items() if key != "training.batch_size"}
    grid = small(
        fixed=fixed,
        settings={"network.width": [4, 8], "noise.timesteps": [50, 100]},
        together=[{"training.batch_size": [8, 16, 32], "learning_rate.peak": [1e-3, 2e-3, 4e-3]}],
    )
    cells = study(grid).cells()
    assert len(cells) == grid.size() == 2 * 2 * 3 * 2
    assert len({cell.address for cell in cells}) == len(cells)
    for cell in cells:
        config = cell.config()
        assert config.training.batch_size * 1e-3 / 8 == pytest.approx(config.learning_rate.peak)
        assert config.training.seed == config.sampling.seed == config.probe.seed == cell.seed
        assert config.grammar.length == 4


def test_what_chooses_a_kind_comes_before_its_settings() -> None:
    varied = {"network.width": [8, 16], "network.name": ["mlp", "residual-mlp"]}
    cells = study(small(settings=varied, claims=[])).cells()
    told = [(c.settings["network"]["name"], c.settings["network"]["width"]) for c in cells]
    assert set(told) == {(name, width) for name in varied["network.name"] for width in (8, 16)}
    whole = [{"name": "mlp", "width": 4}, {"name": "transformer", "patch": [1, 1], "width": 8}]
    cells = study(small(settings={"network": whole}, claims=[])).cells()
    assert [c.settings["network"]["name"] for c in cells] == ["mlp"] * 2 + ["transformer"] * 2


def test_cells_are_told_apart_by_how_they_are_trained_and_looked_at() -> None:
    one, *_ = study(small()).cells()
    looked = study(small(fixed={**FIXED, "sampling.n": 9})).cells()[0]
    trained = study(small(fixed={**FIXED, "training.steps": 7})).cells()[0]
    assert (looked.address, looked.key) != (one.address, one.key)
    assert looked.address == one.address
    assert trained.address != one.address
    assert [len(job) for job in jobs([one, looked, trained])] == [2, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sedes": 2}, "unknown key 'sedes': did you mean 'seeds'"),
        ({"base": "hypercube-mpl"}, "did you mean 'hypercube-mlp'"),
        ({"question": " "}, "question is empty"),
        ({"seeds": 0}, "seeds must be a number from 1 to 1000"),
        ({"seeds": [1, 1]}, "seeds has one twice"),
        ({"measures": []}, "measures is empty"),
        ({"measures": ["los"]}, "unknown measure 'los': did you mean 'loss'"),
        ({"measures": ["loss@2"]}, "loss has no noise level"),
        ({"measures": ["ldr@x"]}, "'x' is no log-SNR"),
        ({"measures": ["locality."]}, "names no number of locality"),
        ({"settings": {"network.width": 8}}, "must be a list of values to vary, not 8"),
        ({"settings": {"network.width": []}}, "is an empty list"),
        ({"settings": {"network.width": [8, 8]}}, "has a value twice"),
        ({"fixed": {"network.width": 8}}, "network.width is both fixed and varied"),
        ({"fixed": {"training.seed": 8}}, "training.seed cannot be set"),
        ({"together": [{"a.b": [1, 2], "a.c": [1]}]}, "a.b has 2, a.c has 1"),
        ({"together": [{"network.width": [1, 2]}]}, "network.width is varied twice"),
        ({"figures": [{"y": "gamma"}]}, r"figures\[0\].y: unknown measure 'gamma'"),
        ({"figures": [{"y": "loss", "x": "step"}]}, "along = true measures along training"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small(**changes)


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ({}, "needs one rule of above, below, between, trend, and has none"),
        ({"above": 1, "below": 2}, "has above and below"),
        ({"abov": 1}, r"unknown key 'claims\[0\].abov': did you mean 'claims\[0\].above'"),
        ({"above": 1, "measure": "gamma"}, "unknown measure 'gamma'"),
        ({"above": 1, "where": {"network.width": 5}}, "network.width is never 5 in this grid"),
        ({"above": 1, "where": {"network.widht": 4}}, "did you mean 'network.width'"),
        ({"above": 1, "where": {"step": 4}}, "unknown setting in claims"),
        ({"above": 1, "margin": -1}, "margin must not be negative"),
        ({"between": {"network.width": [4, 8]}}, "goes with expect"),
        ({"between": {"network.width": [4, 4]}, "expect": "less"}, "two different values"),
        ({"between": {"network.width": [4, 8]}, "expect": "lesser"}, "did you mean 'less'"),
        (
            {
                "between": {"network.width": [4, 8]},
                "across": {"network.width": [4, 8]},
                "expect": "less",
            },
            "network.width is in `between` and in `across`",
        ),
        ({"above": 1, "across": {"network.width": [4, 8]}}, "compares the difference of settings"),
        (
            {"between": {"network.width": [4, 8]}, "across": {"measure": [1, 2]}, "expect": "less"},
            "compares the difference of settings",
        ),
        ({"trend": "decreasing"}, "goes with `against`"),
        ({"text": "", "above": 1}, "text is empty"),
        (
            {"where": {"network.width": 4}, "trend": "increasing", "against": "network.width"},
            "fixes network.width, which the rule goes over",
        ),
    ],
)
def test_a_claim_that_says_nothing_is_refused(claim: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small(claims=[{"text": "a", "measure": "loss", **claim}])


def test_a_file_is_named_in_what_is_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    with pytest.raises(UsageError, match="no grid at"):
        read_grid(path)
    path.write_text("question =")
    with pytest.raises(UsageError, match=r"mine\.toml is not valid TOML"):
        read_grid(path)
    path.write_text('question = "a"\nmeasures = ["loss"]\n')
    with pytest.raises(UsageError, match=r"mine\.toml: a grid needs a 'base'"):
        read_grid(path)
    path.write_text('question = "a"\nmeasures = ["loss"]\nbase = "other.toml"\n')
    with pytest.raises(UsageError, match=r"base names .*other\.toml, and there is no such file"):
        read_grid(path)
    (tmp_path / "other.toml").write_text(
        "network = { name = 'mlp', width = 5 }\n"
        "grammar = { name = 'parity', length = 4 }\n"
        "images = { name = 'pixels', grid = [1, 4] }\n"
    )
    assert read_grid(path).config({}, 0).network.width == 5


def test_too_many_cells_are_refused() -> None:
    with pytest.raises(UsageError, match=r"mine has 4 cells, more than --max-cells 3"):
        study(small()).cells(3)


def test_the_command_line_is_over_what_is_fixed(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'question = "a"\nbase = "hypercube-mlp"\nmeasures = ["loss"]\n'
        'fixed = {"network.width" = 4}\n'
        'settings = {"training.steps" = [5, 6]}\n'
    )
    found = Study.open(str(path), assignments=["network.width=9"])
    assert {cell.settings["network"]["width"] for cell in found.cells()} == {9}
    assert found.command == f"diffprobe study run {path} --set network.width=9"
    with pytest.raises(UsageError, match=r"training.steps is varied by the study"):
        Study.open(str(path), assignments=["training.steps=9"])


def test_the_documentation_shows_the_example() -> None:
    root = Path(__file__).parent.parent
    text = (root / "examples" / "grid.toml").read_text("utf-8")
    shown = text.partition("\n")[2]
    assert f"```toml\n{shown}```" in (root / "docs" / "studies.md").read_text("utf-8")
    assert len([line for line in text.splitlines() if line]) <= 25


# ---- seeds and verdicts --------------------------------------------------------------------------


def test_the_interval_over_seeds_covers() -> None:
    """Of 3 seeds, each measured with an error of its own, in 95 of 100 studies at least."""
    random = np.random.default_rng(0)
    hits = 0
    for values in (1 + random.normal(0, 1, (2000, 3))) + random.normal(0, 0.5, (2000, 3)):
        hits += over_seeds(values.tolist(), [0.5] * 3).contains(1.0)
    assert 0.95 < hits / 2000 < 0.99


def test_seeds_that_agree_are_as_sure_as_each_run_is() -> None:
    found = over_seeds([1.0, 1.0, 1.0], [0.3, 0.3, 0.3], share=True)
    assert found.standard_error == pytest.approx(0.3 / math.sqrt(3))
    assert found.high == 1.0
    assert over_seeds([2.0]).low is None


def table(numbers: dict[tuple[Any, ...], list[float]], name: str = "network.width") -> StudyTable:
    """Of (value, step) -> a number a seed."""
    blank = dict.fromkeys(("log_snr", "standard_error", "low", "high"))
    rows = [
        {
            "cell": f"{value}-{seed}",
            "seed": seed,
            name: str(value),
            "step": step,
            "measure": "loss",
            "value": number,
            "n": 1,
            **blank,
        }
        for (value, step), per_seed in numbers.items()
        for seed, number in enumerate(per_seed)
    ]
    values = dict.fromkeys(str(value) for value, _ in numbers)
    return StudyTable(rows, {name: list(values)})


NUMBERS = table(
    {
        (4, 1): [9.0, 9.1, 9.2],
        (4, 9): [3.0, 3.1, 3.2],
        (8, 1): [9.0, 9.1, 9.3],
        (8, 9): [1.0, 1.2, 1.1],
        (16, 1): [9.0, 9.1, 9.4],
        (16, 9): [0.5, 0.7, 0.6],
    }
)


def claim(**rule: Any) -> Claim:
    return Claim("a", "loss", **rule)


@pytest.mark.parametrize(
    ("rule", "value", "verdict"),
    [
        ({"above": 0.2}, (3.1 + 1.1 + 0.6) / 3, "supported"),
        ({"below": 0.2}, (3.1 + 1.1 + 0.6) / 3, "not supported"),
        ({"where": {"network.width": 8}, "below": 1.11}, 1.1, "inconclusive"),
        ({"where": {"step": "first", "network.width": 4}, "above": 8.0}, 9.1, "supported"),
        ({"between": {"network.width": [8, 4]}, "expect": "less"}, -2.0, "supported"),
        ({"between": {"network.width": [8, 4]}, "expect": "greater"}, -2.0, "not supported"),
        ({"between": {"network.width": [8, 4]}, "expect": "less", "margin": 1.95}, -2.0,
         "inconclusive"),
        ({"between": {"step": [9, 1]}, "expect": "less"}, (-6 - 8.0333 - 8.5667) / 3, "supported"),
        # Least squares over 0, 1, 2: (last − first) / 2 a place.
        ({"trend": "decreasing", "against": "network.width"}, -2.5, "supported"),
        ({"trend": "decreasing", "against": "step", "where": {"network.width": 4}}, -6.0, "x"),
    ],
)  # fmt: skip
def test_verdicts(rule: dict[str, Any], value: float, verdict: str) -> None:
    (found,) = judge([(claim(**rule), NUMBERS)])
    assert found.estimate.value == pytest.approx(value, abs=1e-3)
    assert found.estimate.n == 3
    if verdict == "x":  # each seed falls by 6 to the last bit but rounding
        verdict = found.verdict
        assert verdict != "not supported"
    assert found.verdict == verdict


def test_many_claims_are_corrected_together() -> None:
    """What one claim alone supports, it does not among many."""
    weak = claim(where={"network.width": 8}, above=0.83)
    (alone,) = judge([(weak, NUMBERS)])
    assert alone.verdict == "supported"
    assert 0.01 < alone.p < 0.05
    together = judge([(weak, NUMBERS)] * 5)
    assert [each.corrected for each in together] == [pytest.approx(5 * alone.p)] * 5
    assert {each.verdict for each in together} == {"inconclusive"}


def test_a_claim_about_missing_numbers_is_open() -> None:
    one = table({(4, 1): [1.0], (8, 1): [2.0]})
    rule = {"between": {"network.width": [8, 4]}, "expect": "greater"}
    (found,) = judge([(claim(**rule), one)])
    assert (found.verdict, found.why) == ("inconclusive", "one seed tells nothing of the next")
    (found,) = judge([(claim(**rule), table({(4, 1): [1.0, 2.0]}))])
    assert "no seed has the numbers" in found.why


def test_what_is_exact_decides_and_what_agrees_by_chance_does_not() -> None:
    alike = table({(4, 1): [0.5, 0.5]})
    (found,) = judge([(claim(above=0.2), alike)])
    assert (found.verdict, found.why) == ("inconclusive", "all seeds agree to the last bit")
    told = [{**row, "standard_error": 0.0} for row in alike.rows()]
    exact = StudyTable(told, alike.settings)
    verdicts = judge([(claim(above=0.2), exact), (claim(below=0.2), exact)])
    assert [each.verdict for each in verdicts] == ["supported", "not supported"]


def test_settings_that_go_together_are_compared_as_one() -> None:
    rows = [{**row, "training.steps": row["network.width"]} for row in NUMBERS.rows()]
    both = StudyTable(
        rows,
        {**NUMBERS.settings, "training.steps": NUMBERS.settings["network.width"]},
        (("network.width", "training.steps"),),
    )
    rule = {"between": {"network.width": [8, 4]}, "expect": "less"}
    assert claim(**rule).estimate(both).value == pytest.approx(-2.0)


ORDER, RATE = "stream.order", "learning_rate.final"


def two_by_two() -> StudyTable:
    """Orders and final rates in all four combinations, loss 1, 3, 10 and 30, of three seeds."""
    blank = dict.fromkeys(("log_snr", "standard_error", "low", "high", "step"))
    values = {("up", "0"): 1.0, ("up", "1"): 3.0, ("down", "0"): 10.0, ("down", "1"): 30.0}
    rows = [
        {"cell": f"{order}-{rate}-{seed}", "seed": seed, ORDER: order, RATE: rate, **blank}
        | {"measure": "loss", "value": value * (1 + 0.1 * seed), "n": 1}
        for (order, rate), value in values.items()
        for seed in (0, 1, 2)
    ]
    return StudyTable(rows, {ORDER: ["up", "down"], RATE: ["0", "1"]})


@pytest.mark.parametrize(
    ("between", "across", "value", "rule"),
    [
        (
            {ORDER: ["up", "down"], RATE: [1, 0]},
            {},
            (3 - 10) * 1.1,
            "loss at stream.order up, learning_rate.final 1 less that at stream.order down, "
            "learning_rate.final 0 < 0",
        ),
        (
            {ORDER: ["up", "down"]},
            {RATE: [1, 0]},
            ((3 - 30) - (1 - 10)) * 1.1,
            "(loss at stream.order up less that at down) at learning_rate.final 1 less the same "
            "at learning_rate.final 0 < 0",
        ),
    ],
)
def test_two_settings_are_compared_hand_in_hand_or_across(
    between: dict[str, Any], across: dict[str, Any], value: float, rule: str
) -> None:
    one = claim(between=between, across=across, expect="less")
    (found,) = judge([(one, two_by_two())])
    assert found.estimate.value == pytest.approx(value)
    assert found.verdict == "supported"
    assert one.rule() == rule


def test_a_claim_does_not_change_with_what_claims_can_say() -> None:
    one = claim(below=0.5)
    written = {k: v for k, v in dataclasses.asdict(one).items() if k != "across"}
    assert not changed(written, one)
    assert changed(written, claim(below=0.6))


def test_a_number_is_found_by_its_path() -> None:
    content = {"levels": [{"gain": {"value": 1.0, "low": 0.0, "high": 2.0}}], "share": 0.5}
    assert find(content, "levels.0.gain", "x")["high"] == 2.0
    assert find(content, "share", "x")["value"] == 0.5
    with pytest.raises(UsageError, match=r"unknown number of x 'levels.0.gian': did you mean"):
        find(content, "levels.0.gian", "x")
    # Too few samples have no distribution, and a cell does not fail for that.
    few = {"distribution": None, "legible": 0.5}
    assert find(few, "distribution.entropy", "x")["value"] is None
    with pytest.raises(UsageError, match=r"unknown number of x 'legible\.low'"):
        find(few, "legible.low", "x")
    assert Measure.parse("excess-ldr@-2") == Measure("excess-ldr@-2", "locality", "excess_ldr", -2)
    with pytest.raises(
        UsageError, match=r"conditional-information.nearest.bayes has no noise level"
    ):
        Measure.parse("conditional-information.nearest.bayes@0")


# ---- running -------------------------------------------------------------------------------------


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Cells that were worked on, in place of training them: the loss is 1 over the width."""
    seen: list[str] = []

    def measure(cell: Cell, *_: Any) -> tuple[list[dict[str, Any]], int]:
        seen.append(cell.name)
        width = cell.settings["network"]["width"]
        if width == 13:
            raise RuntimeError("width 13\nis not lucky")
        if width == 14:
            raise UsageError("14 neither")
        number = {"value": 1 / width + 0.001 * cell.seed * width, "n": 5}
        blank = dict.fromkeys(("log_snr", "standard_error", "low", "high"))
        return [{"step": None, "measure": "loss", **blank, **number}], 10 * width

    monkeypatch.setattr("diffprobe.studies.measuring.measure", measure)
    return seen


def test_a_study_is_a_table_with_verdicts(measured: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_study(study(small()), out, store=tmp_path / "cells", device="cpu")
    assert len(done.outcomes) == len(measured) == 4
    found = report_study(out, parquet=True)
    (verdict,) = found.answers[1].verdicts
    assert verdict.verdict == "supported"
    assert not verdict.afterwards
    with (out / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["network.width"] for row in rows] == ["4", "4", "8", "8"]
    assert [float(row["value"]) for row in rows] == pytest.approx([0.25, 0.254, 0.125, 0.133])
    assert {"cell", "seed", "measure", "n", "standard_error", "step"} <= rows[0].keys()
    from pyarrow import parquet

    read = parquet.read_table(out / "table.parquet").to_pylist()
    assert [row["value"] for row in read] == pytest.approx([0.25, 0.254, 0.125, 0.133])
    page = found.page.read_text()
    assert page.index("supported") < page.index("data:image/svg+xml")
    assert "diffprobe study run mine.toml" in page
    assert json.loads((out / "findings.json").read_text())["questions"][0]["cells"]["done"] == 4


def test_what_is_there_is_shared_and_not_done_again(measured: list[str], tmp_path: Path) -> None:
    run_study(study(small()), tmp_path / "a", store=tmp_path / "cells", device="cpu")
    wider = small(settings={"network.width": [8, 16]}, claims=[])
    run_study(study(wider, "other"), tmp_path / "b", store=tmp_path / "cells", device="cpu")
    assert len(measured) == len(set(measured)) == 6
    # A record that was cut is measured again.
    record = next((tmp_path / "cells").glob("*/cells/*.json"))
    record.write_text(record.read_text()[:30])
    run_study(study(small()), tmp_path / "a", store=tmp_path / "cells", device="cpu")
    assert len(measured) <= 7


def test_a_cell_that_fails_does_not_take_the_others_along(
    measured: list[str], tmp_path: Path
) -> None:
    out, grid = tmp_path / "out", small(settings={"network.width": [4, 13, 14, 8]})
    done = run_study(study(grid), out, store=tmp_path / "cells", device="cpu")
    assert len(measured) == 8
    assert len(done.failed) == 4
    found = report_study(out)
    assert found.answers[1].failures == {
        "network.width 13, seed 0": "RuntimeError: width 13",
        "network.width 13, seed 1": "RuntimeError: width 13",
        "network.width 14, seed 0": "14 neither",
        "network.width 14, seed 1": "14 neither",
    }
    (verdict,) = found.answers[1].verdicts
    assert verdict.verdict == "supported"
    assert "RuntimeError: width 13" in found.page.read_text()
    assert len(list((out / "failures").iterdir())) == 2
    run_study(study(grid), out, store=tmp_path / "cells", device="cpu")
    assert len(measured) == 12  # those that failed are tried again


def test_a_claim_that_comes_after_the_numbers_says_so(measured: list[str], tmp_path: Path) -> None:
    out, store = tmp_path / "out", tmp_path / "cells"
    run_study(study(small()), out, store=store, device="cpu")
    late = {"text": "Late.", "measure": "loss", "above": 0.0}
    both = small(claims=[*SMALL["claims"], late])
    run_study(study(both), out, store=store, device="cpu")
    found = report_study(out)
    assert [verdict.afterwards for verdict in found.answers[1].verdicts] == [False, True]
    assert "Late. (written when numbers were there)" in "\n".join(found.lines())


def test_a_full_disk_stops_the_study_and_loses_nothing(
    measured: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffprobe.studies import cells

    real, written = cells.write_record, []

    def write(path: Path, *rest: Any, **options: Any) -> None:
        if len(written) == 2:
            raise FullDiskError("the disk is full")
        written.append(path)
        real(path, *rest, **options)

    monkeypatch.setattr(cells, "write_record", write)
    out, store = tmp_path / "out", tmp_path / "cells"
    with pytest.raises(FullDiskError):
        run_study(study(small()), out, store=store, device="cpu")
    assert len(measured) == 3
    assert report_study(out).answers[1].cells["done"] == 2
    monkeypatch.setattr(cells, "write_record", real)
    assert len(run_study(study(small()), out, store=store, device="cpu").outcomes) == 4
    assert len(measured) == 5


def test_one_driver_at_a_time(measured: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_study(study(small()), out, store=tmp_path / "cells", device="cpu")
    with (
        one_writer(out / "lock", "x"),
        pytest.raises(InUseError, match=r"the study mine in .* is being written by process"),
    ):
        run_study(study(small()), out, store=tmp_path / "cells", device="cpu")


def test_folders_of_something_else(measured: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not the folder of a study"):
        run_study(study(small()), tmp_path / "mine", store=tmp_path / "cells", device="cpu")
    out = tmp_path / "out"
    run_study(study(small()), out, store=tmp_path / "cells", device="cpu")
    with pytest.raises(UsageError, match="holds the study mine; choose another"):
        run_study(study(small(), "other"), out, store=tmp_path / "cells", device="cpu")
    file = out / "study.json"
    file.write_text(file.read_text().replace("diffprobe-study/1", "diffprobe-study/9"))
    for call in (
        lambda: report_study(out),
        lambda: run_study(study(small()), out, store=tmp_path / "cells", device="cpu"),
    ):
        with pytest.raises(CheckpointError, match=r"is of schema 'diffprobe-study/9'; .* can be"):
            call()


def test_progress_is_over_all_cells(measured: list[str], tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []

    def progress(items: Any, **options: Any) -> Any:
        told.append(options)
        return items

    run_study(study(small()), tmp_path / "a", store=tmp_path / "c", device="cpu", progress=progress)
    more = small(settings={"network.width": [4, 8, 16]})
    run_study(study(more), tmp_path / "a", store=tmp_path / "c", device="cpu", progress=progress)
    assert [(each["initial"], each["total"]) for each in told] == [(0, 4), (4, 6)]


def test_dry_run_tells_cost_by_what_is_done(measured: list[str], tmp_path: Path) -> None:
    from diffprobe.foundations.records import write_record
    from diffprobe.studies.cells import SCHEMA
    from diffprobe.studies.cost import cost

    cells, store = study(small()).cells(), tmp_path / "cells"
    before = cost(cells, store)
    assert before.seconds is None
    ours = [row["work"] for row in before.rows]
    assert ours[2] == before.rows[2]["parameters"] * 6 * 8
    for cell, seconds in zip(cells[:2], (3.0, 5.0), strict=True):
        done = Outcome(cell.name, [], seconds, before.rows[0]["parameters"])
        write_record(cell.record(store), done, schema=SCHEMA)
    after = cost(cells, store)
    # Both were the same work: the rest takes in proportion.
    assert after.seconds == pytest.approx(2 * 4.0 * ours[2] / ours[0])
    assert [row["done"] for row in after.rows] == [True, True, False, False]


# ---- for real ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The shipped study at its smallest, run through the command line."""
    from diffprobe.cli import run

    folder = tmp_path_factory.mktemp("tiny")
    options = ["--cells", str(folder / "cells"), "--out", str(folder / "out"), "--device", "cpu"]
    assert run(["study", "run", "capacity", "--scale", "tiny", *options]) == 0
    return folder


def test_the_shipped_study_runs_at_its_smallest(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from diffprobe.cli import run

    page = tiny / "capacity.md"
    options = ["--out", str(tiny / "out"), "--markdown", str(page), "--json"]
    assert run(["study", "report", "capacity", *options]) == 0
    (question,) = json.loads(capsys.readouterr().out)["questions"]
    assert question["cells"] == {"asked": 4, "done": 4, "seconds": pytest.approx(30, abs=1e4)}
    assert len(question["claims"]) == 5
    assert {row["measure"] for row in question["estimates"]} == {
        "excess_ldr", "gamma", "grammatical", "legible", "loss"
    }  # fmt: skip
    # Its numbers are those of the run's own records.
    with (tiny / "out" / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    (row,) = (
        row
        for row in rows
        if (row["measure"], row["step"], row["seed"], row["network.width"])
        == ("excess_ldr", "24", "1", "32")
    )
    run_folder = tiny / "cells" / row["cell"].partition("-")[0]
    record = json.loads((run_folder / "probes" / "step-000024" / "summary.json").read_text())
    level = next(
        each for each in record["probes"]["locality"]["levels"] if each["t"] == record["level"]["t"]
    )
    assert float(row["value"]) == level["excess_ldr"]["value"]
    assert float(row["log_snr"]) == pytest.approx(level["log_snr"])
    text = page.read_text()
    assert text.count("![") == text.count("figures/study-capacity-tiny-") == 3
    assert all((page.parent / "figures" / name).exists() for name in _pictures(text))
    assert "diffprobe study run capacity --scale tiny" in text


def _pictures(text: str) -> list[str]:
    return [part.partition(")")[0] for part in text.split("(figures/")[1:]]


def test_seeds_are_trained_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffprobe.training import replicas

    seen: list[int] = []
    real = replicas.train_replicas

    def train_replicas(configs: Any, *rest: Any) -> Any:
        seen.append(len(configs))
        return real(configs, *rest)

    monkeypatch.setattr(replicas, "train_replicas", train_replicas)
    one = small(settings={}, claims=[], fixed={**FIXED, "network.width": 4})
    values = []
    for together in (True, False):
        out, store = tmp_path / f"{together}", tmp_path / f"cells-{together}"
        done = run_study(study(one), out, store=store, device="cpu", together=together)
        assert not done.failed
        values.append([outcome.numbers[0]["value"] for outcome in done.outcomes])
    assert seen == [2]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_seeds_are_a_job_where_that_is_quicker() -> None:
    def sizes(network: str, seeds: int, together: bool | None) -> list[int]:
        fixed = {**FIXED, "network.name": network}
        fixed.pop("network.width", None)
        grid = small(settings={}, claims=[], fixed=fixed, seeds=seeds)
        return [len(job) for job in jobs(study(grid).cells(100), together=together)]

    assert sizes("residual-mlp", 4, None) == [4]
    assert sizes("residual-mlp", 3, None) == [1, 1, 1]
    assert sizes("mlp", 4, None) == [1, 1, 1, 1]
    assert sizes("mlp", 4, True) == [4]
    assert sizes("residual-mlp", 4, False) == [1, 1, 1, 1]


def test_the_page_is_clean_in_a_browser(tiny: Path, tmp_path: Path) -> None:
    from browser import Browser, find_browser

    program = find_browser()
    if program is None:
        pytest.skip("no Chromium here")
    with Browser(program, tmp_path) as browser:
        for width in (1280, 390):
            browser.open(tiny / "out" / "report.html", width)
            assert browser.log == []
            assert browser.requests == [(tiny / "out" / "report.html").resolve().as_uri()]
            assert browser.value("document.documentElement.scrollWidth") <= width
            assert browser.value("document.querySelectorAll('.verdict').length") == 5


def test_figures_show_the_estimates(tiny: Path) -> None:
    from matplotlib.figure import Figure

    from diffprobe.studies import figures

    answer = report_study(tiny / "out").answers[1]
    spec, *_ = figures.specs(answer.grid)
    ax = figures.plot(answer.table, spec, Figure().subplots())
    rows = [row for row in answer.table.over_seeds() if row["measure"] == "excess_ldr"]
    for line in [each for each in ax.get_lines() if each.get_label() in ("16", "32")]:
        mine = [row for row in rows if row["network.width"] == line.get_label()]
        assert list(line.get_xdata()) == [row["step"] for row in mine]
        assert list(line.get_ydata()) == [row["estimate"].value for row in mine]
    bands = ax.collections[0].get_paths()[0].vertices[:, 1]
    first = [row["estimate"] for row in rows if row["network.width"] == "16"]
    assert bands.min() == pytest.approx(min(each.low for each in first))
    assert bands.max() == pytest.approx(max(each.high for each in first))


def test_many_names_are_written_one_below_the_other() -> None:
    from matplotlib.figure import Figure

    from diffprobe.studies import figures

    names = ["plain", "low noise", "min-SNR", "wider", "deeper", "longer"]
    blank = dict.fromkeys(("step", "log_snr", "standard_error", "low", "high", "n"))
    rows = [
        {"cell": f"{i}-{seed}", "seed": seed, "label.mend": name, "measure": "legible", **blank}
        | {"value": 0.1 * i + 0.02 * seed}
        for i, name in enumerate(names)
        for seed in (0, 1)
    ]
    spec = FigureSpec("legible", x="label.mend")
    for shown in (names, names[:3]):
        kept = [row for row in rows if row["label.mend"] in shown]
        ax = figures.plot(StudyTable(kept, {"label.mend": shown}), spec, Figure().subplots())
        listed = len(shown) > 3
        axis, other = (ax.yaxis, ax.xaxis) if listed else (ax.xaxis, ax.yaxis)
        assert [text.get_text() for text in axis.get_ticklabels()] == shown
        assert other.get_label_text() == "legible, of all samples"
        estimates = ax.get_lines()[0]
        assert estimates.get_linestyle() == "None"
        drawn = estimates.get_xdata() if listed else estimates.get_ydata()
        assert list(drawn) == pytest.approx([0.1 * i + 0.01 for i in range(len(shown))])
        # The first name stands first.
        (first, *_, last) = (ax.transData.transform(p) for p in estimates.get_xydata())
        assert first[1] > last[1] if listed else first[0] < last[0]

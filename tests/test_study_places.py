"""Labels, bases that vary, measures of all noise levels, first steps, two measures of one run."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from diffprobe.foundations.errors import UsageError
from diffprobe.studies.catalogue import grids_in
from diffprobe.studies.figures import draw, specs
from diffprobe.studies.grid import FigureSpec, Grid, grid_of
from diffprobe.studies.measures import Measure, first_step
from diffprobe.studies.study import Study, StudyFolder, run_study
from diffprobe.studies.table import StudyTable
from diffprobe.studies.verdicts import judge

WORLDS: dict[str, Any] = {
    "question": "Is it so in every world?",
    "seeds": 2,
    "measures": ["gamma", "missed_nats", "first_step(gamma > 0.5)", "gamma@all"],
    "along": True,
    "together": [
        {
            "base": ["hypercube-mlp", "hypercube-residual-mlp", "parity-mlp"],
            "label.world": ["signs", "signs", "strips"],
            "label.network": ["two layers", "deep", "two layers"],
        }
    ],
}


def worlds(**changes: Any) -> Grid:
    return grid_of({**WORLDS, **changes})


def table_of(grid: Grid, numbers: dict[str, list[float | None]]) -> StudyTable:
    """A number for each row of the grid's group and seed; `n` 0 where it is None."""
    blank = dict.fromkeys(("log_snr", "standard_error", "low", "high"))
    rows = []
    for measure, per_row in numbers.items():
        for varied, value in zip(grid.combinations(), per_row, strict=True):
            for seed in grid.seeds:
                told = 9.0 if value is None else value + 0.01 * seed
                rows.append(
                    {
                        "cell": f"{varied}-{seed}",
                        "seed": seed,
                        "varied": varied,
                        "step": None,
                        "measure": measure,
                        "value": told,
                        "n": 0 if value is None else 1,
                        **blank,
                    }
                )
    return grid.table(rows)


def test_runs_start_from_bases_and_labels_change_none() -> None:
    cells = Study("mine", "", {1: worlds()}, "…").cells()
    assert len(cells) == 6
    assert [cell.settings["network"]["name"] for cell in cells[::2]] == [
        "mlp", "residual-mlp", "mlp"
    ]  # fmt: skip
    assert [cell.settings["images"]["name"] for cell in cells[::2]] == ["pixels", "pixels", "font"]
    renamed = {**WORLDS["together"][0], "label.world": ["a", "a", "b"]}
    others = Study("mine", "", {1: worlds(together=[renamed])}, "…").cells()
    assert [cell.address for cell in cells] == [cell.address for cell in others]


def test_files_of_settings_lie_beside_the_grid(tmp_path: Path) -> None:
    (tmp_path / "1-one.toml").write_text(
        'question = "a"\nmeasures = ["loss"]\nseeds = 4\n'
        'settings = { base = ["world.toml"], "training.batch_size" = [2, 3] }\n'
        'fixed = { "sampling.n" = 4096 }\n'
        '[tiny]\nseeds = 1\n[tiny.fixed]\n"training.steps" = 9\n'
    )
    (tmp_path / "world.toml").write_text('[grammar]\nname = "parity"\nlength = 6\n')
    (cpu,), (tiny,) = grids_in(tmp_path, "cpu"), grids_in(tmp_path, "tiny")
    cells = Study("mine", "cpu", {1: cpu}, "…").cells()
    assert len(cells) == 8
    assert cells[0].settings["grammar"]["length"] == 6
    assert cpu.table([]).settings["base"] == ["world"]
    assert tiny.size() == 2
    # What makes tiny quick does not go over what is varied.
    config = tiny.config(next(tiny.combinations()), 0)
    assert (config.training.steps, config.training.batch_size, config.sampling.n) == (9, 2, 32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"together": []}, "a grid needs a 'base'"),
        ({"base": "hypercube-mlp"}, "base is both fixed and varied"),
        (
            {"together": [{"label.a": ["x", "x"], "training.batch_size": [2, 4]}], "base": "demo"},
            r"together\[0\] has x twice",
        ),
        (
            {"together": [{"base": ["demo", "hypercube-mpl"]}]},
            "unknown preset 'hypercube-mpl': did you mean 'hypercube-mlp'",
        ),
        ({"figures": [{"y": "gamma@all"}]}, "goes with x = 'log_snr'"),
        ({"figures": [{"y": "gamma", "x": "log_snr"}]}, "goes with x = 'log_snr'"),
        ({"along": False}, "first_step.* is told along training: add along = true"),
        ({"measures": ["first_step(gama > 1)"]}, "unknown measure 'gama'"),
        ({"measures": ["first_step(gamma > x)"]}, "'x' is no number"),
        ({"measures": ["first_step(parameters > 1)"]}, "no single number along training"),
        ({"measures": ["grammar.entropi"]}, "did you mean 'grammar.entropy'"),
        (
            {"claims": [{"text": "a", "measure": "gamma@all", "above": 1.0}]},
            "gamma@all is no single number",
        ),
        (
            {
                "claims": [
                    {"text": "a", "between": {"measure": ["gamma", "gama"]}, "expect": "less"}
                ]
            },
            "unknown measure 'gama'",
        ),
        (
            {
                "claims": [
                    {
                        "text": "a",
                        "measure": "gamma",
                        "between": {"measure": ["gamma", "missed_nats"]},
                        "expect": "less",
                    }
                ]
            },
            "one too many",
        ),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        worlds(**changes)


def test_a_label_is_compared_within_the_others() -> None:
    """Two layers are asked for in both worlds, the deep network in one: that one is compared."""
    claims = [
        {
            "text": "Deeper is better.",
            "measure": "gamma",
            "between": {"label.network": ["deep", "two layers"]},
            "expect": "greater",
        },
        {
            "text": "Two layers use little.",
            "measure": "gamma",
            "where": {"label.network": "two layers"},
            "below": 1.0,
        },
    ]
    grid = worlds(claims=claims)
    table = table_of(grid, {"gamma": [0.1, 0.7, 0.5]})
    between, level = judge([(claim, table) for claim in grid.claims])
    assert between.estimate.value == pytest.approx(0.6)
    assert level.estimate.value == pytest.approx(0.305)
    assert table.told == ["label.world", "label.network"]


def test_two_measures_of_one_run_are_compared_and_bounds_are_told() -> None:
    claim = {
        "text": "It misses more than it uses.",
        "between": {"measure": ["missed_nats", "gamma"]},
        "expect": "greater",
    }
    clock = {"text": "Soon.", "measure": "first_step(gamma > 0.5)", "below": 3.0}
    grid = worlds(claims=[claim, clock])
    table = table_of(
        grid,
        {
            "gamma": [0.1, 0.2, 0.3],
            "missed_nats": [1.1, 1.2, 1.3],
            "first_step(gamma > 0.5)": [2.0, None, 2.5],
        },
    )
    less, first = judge([(claim, table) for claim in grid.claims])
    assert less.estimate.value == pytest.approx(1.0)
    assert less.claim.rule() == "missed_nats less gamma > 0"
    assert (less.never, first.never) == (0, 2)
    assert "2 first steps are bounds" in first.line()
    never = [row["never"] for row in table.over_seeds() if "first" in row["measure"]]
    assert never == [0, 2, 0]


def test_first_steps() -> None:
    curve = [(10, 0.9), (100, 0.7), (1000, 0.1), (2000, None)]
    found = first_step(curve, "<", 0.4)
    assert (found["value"], found["low"], found["high"], found["n"]) == (2.5, 2.0, 3.0, 1)
    assert first_step(curve, "<", 1.0)["value"] == 1.0
    assert (first_step(curve, ">", 1.0)["value"], first_step(curve, ">", 1.0)["n"]) == (3.0, 0)
    assert first_step([], ">", 1.0)["value"] is None
    asked = Measure.parse("first_step( excess_ldr@-2 < 0.1 )")
    assert (asked.by, asked.log_snr, asked.passes) == ("locality", -2.0, ("<", 0.1))


def test_figures_are_told_apart_by_labels() -> None:
    of = {spec.y: spec for spec in specs(worlds())}
    assert of["gamma"] == FigureSpec("gamma", "step", "label.world")
    assert of["gamma@all"].x == "log_snr"


def test_a_small_study_for_real(tmp_path: Path) -> None:
    """Numbers of all levels, of the grammar and the network, and first steps, of real runs."""
    from diffprobe.studies.findings import report_study

    small = {
        "grammar.length": 3,
        "images.grid": [1, 3],
        "training.steps": 8,
        "training.batch_size": 8,
        "training.checkpoints": 2,
        "training.validation_size": 8,
        "sampling.steps": 3,
        "sampling.n": 16,
        "network.width": 8,
        "probe.images": 8,
        "probe.levels": 3,
        "probe.grammar_images": 8,
        "probe.grammar_levels": 5,
        "probe.along_samples": 16,
        "probes.two-layer.draws": 4,
        "probes.conditional-information.images": 4,
        "probes.conditional-information.levels": 3,
    }
    grid = worlds(
        seeds=1,
        fixed=small,
        measures=[
            "excess_ldr@all",
            "conditional-information.information.1@all",
            "conditional-information.information.1@20",
            "first_step(loss < 9)",
            "first_step(loss < 0)",
            "grammar.entropy",
            "parameters",
            "work",
            "two-layer.left.log10_step",
        ],
        together=[{"base": ["hypercube-mlp"], "label.world": ["signs"]}],
        figures=[{"y": "excess_ldr@all", "x": "log_snr"}],
    )
    study = Study("real", "", {1: grid}, "…")
    run_study(study, tmp_path / "out", store=tmp_path / "cells", device="cpu")
    found = report_study(tmp_path / "out")
    rows = found.answers[1].table.rows()
    told = {row["measure"]: row for row in rows}
    assert not found.answers[1].failures
    assert told["grammar.entropy"]["value"] == pytest.approx(2 * 0.6931, abs=1e-3)
    assert told["work"]["value"] == 64 * told["parameters"]["value"]
    levels = [row["log_snr"] for row in rows if row["measure"] == "excess_ldr@all"]
    assert len(set(levels)) >= 3
    # Of three signs the outer ones have a far cell each, which tells them whole.
    curve = [row for row in rows if row["measure"] == "conditional-information.information.1@all"]
    least_noise = max(curve, key=lambda row: row["log_snr"])
    assert least_noise["value"] == pytest.approx(2 / 3 * 0.6931, abs=1e-3)
    at_20 = told["conditional-information.information.1@20"]
    assert (at_20["value"], at_20["log_snr"]) == (least_noise["value"], least_noise["log_snr"])
    assert (told["first_step(loss < 9)"]["n"], told["first_step(loss < 0)"]["n"]) == (1, 0)
    # It goes along the checkpoints itself, and is told once.
    (left,) = (row for row in rows if row["measure"] == "two-layer.left.log10_step")
    assert (left["step"], left["value"]) == (8, pytest.approx(0.90309))
    assert list(found.answers[1].figures) == ["1-1-excess-ldr-at-all"]


def test_panels_share_an_axis_that_shows_all_points_and_a_legend_of_all_curves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept: list[Figure] = []
    store = "diffprobe.foundations.figures._store"
    monkeypatch.setattr(store, lambda canvas, _: kept.append(canvas))
    rows = {"label.world": ["signs", "strips", "strips"], "label.network": ["flat", "flat", "deep"]}
    grid = worlds(together=[{**WORLDS["together"][0], **rows}])
    table = table_of(grid, {"gamma": [5.0, 0.1, 0.2]})
    for row in table.content:
        row["step"] = 10
    spec = FigureSpec("gamma", "step", "label.network", "label.world")
    draw(table, spec, tmp_path / "figure")
    signs, strips = kept[0].axes
    assert signs.get_ylim() == strips.get_ylim()
    low, high = signs.get_ylim()
    assert low < 0.1 < 5.01 < high
    assert {text.get_text() for text in kept[0].legends[0].get_texts()} == {"flat", "deep"}


def test_questions_asked_one_by_one_are_answered_in_order(tmp_path: Path) -> None:
    grid, folder, command = worlds(), StudyFolder(tmp_path), "diffprobe study run mine"
    for number in (2, 1):
        one = Study("mine", "cpu", {number: grid}, f"{command} --question {number}")
        folder.describe(one, tmp_path / "cells")
    study, _ = folder.study()
    assert list(study.questions) == [1, 2]
    assert study.command == command
    assert study.command_of(2) == f"{command} --question 2"


def test_bounds_are_counted_of_what_is_compared() -> None:
    """The deep network never gets there: a claim about the others is not one about a bound."""
    measure = "first_step(gamma > 0.5)"
    group = {**WORLDS["together"][0], "label.network": ["two layers", "deep", "wide"]}
    claims = [
        {"text": "a", "measure": measure, "expect": "less", "between": {"label.network": pair}}
        for pair in (["two layers", "wide"], ["two layers", "deep"])
    ]
    grid = worlds(together=[{**group, "label.world": ["signs"] * 3}], claims=claims)
    table = table_of(grid, {measure: [2.0, None, 2.5]})
    found = judge([(claim, table) for claim in grid.claims])
    assert [each.never for each in found] == [0, 2]

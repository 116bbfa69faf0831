"""Figures of a study: a measure against a setting or the training step, with bands over seeds."""

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from diffprobe.foundations.figures import COLORS, SERIES, figure
from diffprobe.studies.computations import steps_of
from diffprobe.studies.grid import FigureSpec, Grid
from diffprobe.studies.measures import Measure
from diffprobe.studies.places import LOG_SNR, STEP, along_with, plain_name, told
from diffprobe.studies.table import StudyTable

# Measure -> its axis, and where nothing is found.
AXES: dict[str, tuple[str, float | None]] = {
    "loss": ("validation loss", None),
    "legible": ("legible, of all samples", None),
    "grammatical": ("grammatical, of the legible", None),
    "ldr": ("LDR", None),
    "excess_ldr": ("excess LDR over Bayes", 0.0),
    "gamma": ("gamma (0 local, 1 optimal)", 0.0),
    "mu": ("mu above placebos", 0.0),
    "unexplained": ("unexplained share", None),
    "missed_nats": ("missed, nats", 0.0),
    "missed_along_nats": ("of the grammar missed, nats", 0.0),
    "to_product_nats": ("to the product oracle, nats", 0.0),
    "work": ("parameters × images in training", None),
    "samples.valid": ("legible and grammatical, of all samples", None),
    "samples.evaluations": ("evaluations for each sample", None),
    "samples.distribution.entropy": ("entropy of the valid words, nats", None),
    "samples.distribution.effective_words": ("effective number of valid words", None),
    "samples.memorisation.recalled": ("training words, of the valid samples", None),
}
MOST_PANELS = 3  # in a row: as wide as the page
LINE = 32  # letters in a line beside an axis
MOST_LETTERS = 34  # of names side by side; more are written one below the other


def specs(grid: Grid) -> list[FigureSpec]:
    """Return the figures that a grid asks for; each measure, where it asks for none."""
    asked = grid.figures or tuple(_usual(measure) for measure in grid.measures)
    places = told(grid.places(), grid.together)
    if not places:
        return []  # one setting, looked at once: a table says it
    found = []
    for spec in asked:
        x = spec.x or (STEP if grid.along else places[0])
        taken = {spec.panel, STEP, *along_with(x, grid.together)}
        rest = [place for place in places if place not in taken]
        colour = spec.colour or (rest[0] if rest else "")
        found.append(FigureSpec(spec.y, x, colour, spec.panel, spec.title))
    return found


def _usual(measure: str) -> FigureSpec:
    return FigureSpec(measure, x=LOG_SNR if Measure.parse(measure).at_all_levels else "")


def caption(spec: FigureSpec, table: StudyTable, seeds: int) -> str:
    """Return in words what a figure shows."""
    lines = f", a curve for each {plain_name(spec.colour)}" if spec.colour else ""
    panels = f", a panel for each {plain_name(spec.panel)}" if spec.panel else ""
    group = along_with(spec.x, table.together)
    along = [name for name in group if name in table.told and name != spec.x]
    taken = {spec.colour, spec.panel, *group}
    rest = [name for name in table.told if name not in taken]
    with_it = f" ({', '.join(map(plain_name, along))} with it)" if along else ""
    apart = f" and {', '.join(map(plain_name, rest))}" if rest and spec.colour else ""
    return (
        f"{spec.y} against {plain_name(spec.x)}{with_it}{lines}{apart}{panels}. "
        f"Points are means over {seeds} seeds, bands 95 % intervals over seeds, small points the "
        "seeds themselves."
    )


def draw(table: StudyTable, spec: FigureSpec, path: Path) -> None:
    """Store a figure as `path`.png and .svg."""
    panels = table.values(spec.panel) if spec.panel else [""]
    rows = math.ceil(len(panels) / MOST_PANELS)
    columns = math.ceil(len(panels) / rows)
    height = max(2.2, 0.2 * len(table.values(spec.x))) if _is_listed(table, spec.x) else 2.2
    with figure(path, 1.6 + 2.8 * columns, 1.0 + height * rows) as canvas:
        grid = canvas.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        axes = list(grid.flat)
        for ax, panel in zip(axes, panels, strict=False):
            where = {spec.panel: panel} if spec.panel else {}
            plot(table, spec, ax, where)
            if spec.panel:
                ax.set_title(f"{plain_name(spec.panel)} {panel}")
        for i, ax in enumerate(axes):
            if i % columns:  # the first panel of a row says it
                ax.set_ylabel("")
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        if spec.title:
            canvas.suptitle(spec.title, fontsize=9)
        legends = [ax.get_legend_handles_labels() for ax in axes]
        curves = {name: handle for each in legends for handle, name in zip(*each, strict=True)}
        if any(curves):
            title = plain_name(spec.colour)
            canvas.legend(curves.values(), curves, loc="outside upper center", ncols=4, title=title)


def plot(
    table: StudyTable, spec: FigureSpec, ax: Axes, where: Mapping[str, str] | None = None
) -> Axes:
    """Draw a measure against a setting, or against the step, a curve for each of the others.

    Args:
        table: Of a question.
        spec: What against what; `x` given.
        ax: What to draw on.
        where: Setting -> what its value is called: the rows to draw, all by default.
    """
    where = where or {}
    rows = [
        row
        for row in table.over_seeds()
        if row["measure"] == spec.y and all(row[k] == v for k, v in where.items())
    ]
    if spec.x != STEP:
        rows = _last(rows, table)
    places = _positions([row[spec.x] for row in rows], table, spec.x)
    group = along_with(spec.x, table.together)
    apart = [n for n in table.told if n not in (*group, *where)]
    curves: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        curves.setdefault(_name(row, apart, spec.colour), []).append(row)
    names = [n for n in _ordered(table, apart, spec.colour) if n in curves]
    single = _single(table, spec, where)
    named, listed = _is_named(table, spec.x), _is_listed(table, spec.x)
    for i, name in enumerate(names):
        points = sorted(
            (places[row[spec.x]], row["estimate"], row)
            for row in curves[name]
            if row["estimate"].value is not None
        )
        color = COLORS.get(name, SERIES[i % len(SERIES)] if len(names) > 1 else COLORS["network"])
        xs, found = [x for x, _, _ in points], [estimate for _, estimate, _ in points]
        # Names have no order: no line goes from one to the next, and curves stand side by side.
        shift = (i - 0.5 * (len(names) - 1)) * 0.6 / len(names) if named else 0.0
        xs = [x + shift for x in xs]
        # Once all colours are used, dashed.
        style = "" if named else "--" if i >= len(SERIES) else "-"
        _line(ax, xs, [e.value for e in found], listed, style, color, label=name)
        told = [(x, e.low, e.high) for x, e in zip(xs, found, strict=True) if e.low is not None]
        if told:
            at, low, high = zip(*told, strict=True)
            if named:
                (ax.hlines if listed else ax.vlines)(
                    at, low, high, color=color, alpha=0.3, linewidth=3
                )
            elif len(told) > 1:
                ax.fill_between(at, low, high, color=color, alpha=0.18, linewidth=0)
            else:
                ax.errorbar(at, [0.5 * (low[0] + high[0])], [0.5 * (high[0] - low[0])], color=color)
        for x, (_, _, row) in zip(xs, points, strict=True):
            values = single.get(_key(row, table), [])
            _line(ax, [x] * len(values), values, listed, "", color, marker=".", ms=2.5, alpha=0.6)
    _dress(ax, spec, places, table)
    return ax


def _line(
    ax: Axes,
    places: Sequence[float],
    values: Sequence[float | None],
    listed: bool,
    style: str,
    color: str,
    **look: Any,
) -> None:
    """Draw values at places; with names one below the other these go down."""
    where = (values, places) if listed else (places, values)
    ax.plot(*where, color=color, ls=style, **{"marker": "o", "ms": 3, **look})


def _dress(ax: Axes, spec: FigureSpec, places: Mapping[Any, float], table: StudyTable) -> None:
    name, nothing = AXES.get(spec.y.removesuffix("@all"), (_axis(spec.y), None))
    listed = _is_listed(table, spec.x)
    if nothing is not None:
        (ax.axvline if listed else ax.axhline)(
            nothing, color="0.6", linewidth=0.8, linestyle=":", zorder=0
        )
    xlabel = {STEP: steps_of(spec.y), LOG_SNR: "log-SNR"}.get(spec.x, plain_name(spec.x))
    ax.set(xlabel=xlabel, ylabel=name)
    positions = sorted(places.values())
    _look_at_points(ax)
    if spec.x == LOG_SNR:
        return
    if listed:
        ax.set(xlabel=name, ylabel=xlabel, ylim=(len(places) - 0.5, -0.5))
        ax.set_yticks(list(places.values()), [str(each) for each in places])
        ax.grid(axis="y", color="0.9", linewidth=0.6)
    elif _is_named(table, spec.x):
        ax.set_xticks(list(places.values()), [str(each) for each in places])
        ax.margins(x=0.15)
    elif positions and positions[0] > 0 and positions[-1] >= 10 * positions[0]:
        ax.set_xscale("log")
    elif positions and spec.x != STEP:
        ax.set_xticks(positions, [f"{each:g}" for each in positions])


def _look_at_points(ax: Axes) -> None:
    """Let bands of few seeds, many times as wide as all points lie apart, run out of the panel."""
    panels = ax.get_shared_y_axes().get_siblings(ax)
    lines = [line for panel in panels for line in panel.lines]
    ys = [y for line in lines for y in np.asarray(line.get_ydata(), float) if np.isfinite(y)]
    if not ys:
        return
    low, high = min(ys), max(ys)
    room = max(high - low, 0.05 * max(abs(low), abs(high)), 1e-6)
    ax.autoscale(axis="y")  # the panel before has set what all of them share
    bottom, top = ax.get_ylim()
    ax.set_ylim(max(bottom, low - room), min(top, high + room))


def _axis(measure: str) -> str:
    asked = Measure.parse(measure)
    name = f"log10 of the {measure}" if asked.passes else measure.replace(".", " · ")
    return textwrap.fill(name.replace("_", " "), LINE)


def _positions(values: Sequence[Any], table: StudyTable, x: str) -> dict[Any, float]:
    if x in (STEP, LOG_SNR):
        return {value: float(value) for value in values}
    names = table.values(x)
    if _are_numbers(names):
        return {name: float(json.loads(name)) for name in names}
    return {name: float(i) for i, name in enumerate(names)}


def _is_named(table: StudyTable, x: str) -> bool:
    """Whether the values of a setting are names, which have no order."""
    return x in table.settings and not _are_numbers(table.values(x))


def _is_listed(table: StudyTable, x: str) -> bool:
    return _is_named(table, x) and sum(map(len, table.values(x))) > MOST_LETTERS


def _are_numbers(names: Sequence[str]) -> bool:
    try:
        return all(type(json.loads(name)) in (int, float) for name in names)
    except ValueError:
        return False


def _last(rows: Sequence[dict[str, Any]], table: StudyTable) -> list[dict[str, Any]]:
    """The rows of the last step of each setting."""
    latest: dict[Any, int] = {}
    for row in rows:
        key = tuple(row[name] for name in table.settings)
        latest[key] = max(latest.get(key, 0), row[STEP] or 0)
    return [
        row
        for row in rows
        if (row[STEP] or 0) == latest[tuple(row[name] for name in table.settings)]
    ]


def _name(row: Mapping[str, Any], apart: Sequence[str], colour: str) -> str:
    if not apart:
        return ""
    if list(apart) == [colour]:
        return str(row[colour])
    return ", ".join(f"{name.rpartition('.')[2]} {row[name]}" for name in apart)


def _ordered(table: StudyTable, apart: Sequence[str], colour: str) -> list[str]:
    """The names of curves in the order in which the grid has their settings."""
    order = {name: {v: i for i, v in enumerate(table.values(name))} for name in apart}
    rows = sorted(table.rows(), key=lambda row: [order[name][row[name]] for name in apart])
    return list(dict.fromkeys(_name(row, apart, colour) for row in rows))


def _key(row: Mapping[str, Any], table: StudyTable) -> tuple[Any, ...]:
    level = row[LOG_SNR] if Measure.parse(row["measure"]).at_all_levels else None
    return (*(row[name] for name in table.settings), row[STEP], level)


def _single(
    table: StudyTable, spec: FigureSpec, where: Mapping[str, str]
) -> dict[tuple[Any, ...], list[float]]:
    found: dict[tuple[Any, ...], list[float]] = {}
    for row in table.rows():
        here = row["measure"] == spec.y and all(row[k] == v for k, v in where.items())
        if here and row["value"] is not None:
            found.setdefault(_key(row, table), []).append(row["value"])
    return found

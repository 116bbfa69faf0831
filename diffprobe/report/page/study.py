"""Renders the page of a study: verdicts, figures, tables, and the command behind each."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from diffprobe.foundations.estimates import in_words
from diffprobe.foundations.progress import clock
from diffprobe.report.page.figures import Figure
from diffprobe.report.page.page import _colors, _hash, _own, _widths, number, templates

STYLE = """
.verdict { display: inline-block; padding: .1rem .7rem; border: 2px solid var(--of); }
.verdict { border-radius: 2rem; font-size: .85rem; white-space: nowrap; }
.verdict.supported { --of: var(--good); border-style: solid; }
.verdict.not-supported { --of: var(--invalid); border-style: dashed; }
.verdict.inconclusive { --of: var(--soft); border-style: dotted; }
.claims { list-style: none; padding: 0; display: grid; gap: .8rem; }
.claims li { display: grid; gap: .35rem; }
.claims p { margin: 0; }
.claims .axis { max-width: 26rem; }
.wide { overflow-x: auto; }
.wide table { min-width: 34rem; }
.wide td, .wide th { white-space: nowrap; }
section h3 { margin-top: 1.6rem; }
"""


def render_study(content: Mapping[str, Any], figures: Mapping[str, Figure]) -> str:
    """Return the page.

    Args:
        content: What findings.json holds.
        figures: Name -> figure.
    """
    environment = templates()
    environment.filters |= {
        "estimate": estimate_in_words,
        "number": number,
        "clock": clock,
        "slug": lambda text: text.replace(" ", "-"),
        "p": lambda value: f"{value:.2g}",
    }
    environment.globals |= {"axis": _axis, "table": _table}
    order = {name: i for i, name in enumerate(figures)}
    style = _colors() + _own("style.css") + STYLE + _widths(list(figures.values()))
    return environment.get_template("study.html").render(
        content=content,
        figures=figures,
        order=order,
        style=Markup(style),
        policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'",
    )


def estimate_in_words(found: Mapping[str, Any]) -> str:
    """Return an estimate over seeds; how often a step is a bound; what is exact by itself."""
    if found.get("exact") and (value := found["value"]) is not None:
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3f}"
    never = f" ({found['never']} never)" if found.get("never") else ""
    return in_words(found["value"], found["low"], found["high"]) + never


def _axis(claim: Mapping[str, Any]) -> dict[str, float] | None:
    """Where the interval, the value and the threshold lie on an axis from 0 to 100."""
    found, threshold = claim["estimate"], claim["threshold"]
    if found["low"] is None or found["low"] == found["high"]:
        return None
    ends = (found["low"], found["high"], threshold)
    middle, half = (max(ends) + min(ends)) / 2, 0.6 * (max(ends) - min(ends))
    return {
        name: round(50 + 50 * (value - middle) / half, 2)
        for name, value in (
            ("low", found["low"]),
            ("high", found["high"]),
            ("value", found["value"]),
            ("threshold", threshold),
        )
    }


def _table(question: Mapping[str, Any], step: bool) -> tuple[list[str], list[list[Any]]]:
    """Head and rows of the estimates, a column for each measure; of the last step, or of all."""
    names = [name for name in question["columns"] if name != "step"]
    columns = [*names, *(["step"] if step else [])]
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in sorted(question["estimates"], key=lambda row: row["step"] or 0):
        place = tuple(row[name] if row[name] is not None else "" for name in columns)
        exact = row["measure"] in question["exact"]
        told = {**row["estimate"], "never": row["never"], "exact": exact}
        rows.setdefault(place, {})[row["measure"]] = told
    order = {name: {v: i for i, v in enumerate(question["settings"][name])} for name in names}
    places = sorted(
        rows, key=lambda place: [order[n][v] for n, v in zip(names, place, strict=False)]
    )
    measures = list(dict.fromkeys(row["measure"] for row in question["estimates"]))
    # The page lies below the studies: what a label is called is said here too.
    return [*(name.removeprefix("label.") for name in columns), *measures], [
        [*place, *(rows[place].get(measure) for measure in measures)] for place in places
    ]

"""A page of findings for the documentation, written from a study's record."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diffprobe.foundations.atomic import write_text
from diffprobe.foundations.progress import clock
from diffprobe.foundations.records import plain
from diffprobe.report.page.study import estimate_in_words
from diffprobe.studies.findings import Findings
from diffprobe.studies.places import STEP, plain_name

MARKS = {"supported": "**supported**", "not supported": "**not supported**"}


def write_markdown(found: Findings, path: Path) -> None:
    """Write the page, and its figures into the folder figures/ beside it."""
    content = plain(found.summary())
    for question in content["questions"]:
        for name in question["figures"]:
            target = path.parent / "figures" / f"{_figure(content, name)}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found.folder / "figures" / f"{name}.png", target)
    write_text(path, "\n".join(_page(content)).rstrip() + "\n")


def _page(content: Mapping[str, Any]) -> Iterator[str]:
    yield f"# The study `{content['study']}`"
    yield ""
    yield f"Written by diffprobe {content['diffprobe']} from the record of"
    yield ""
    yield f"```\n{content['command']}\n```"
    yield ""
    yield (
        "Claims stand in the study before its numbers are made. Intervals are 95 % over seeds, "
        "p-values corrected by Holm over all claims of the study."
    )
    if len(content["questions"]) > 1:
        yield ""
        yield from _overview(content)
    for question in content["questions"]:
        yield ""
        yield from _question(content, question)


def _overview(content: Mapping[str, Any]) -> Iterator[str]:
    """How many claims of each question came out how."""
    yield "| | question | runs | supported | not supported | inconclusive |"
    yield "|---|---|---|---|---|---|"
    for question in content["questions"]:
        verdicts = [claim["verdict"] for claim in question["claims"]]
        counts = [verdicts.count(each) for each in ("supported", "not supported", "inconclusive")]
        runs = f"{question['cells']['done']:,}"
        cells = (question["number"], question["title"], runs, *counts)
        yield f"| {' | '.join(map(str, cells))} |"


def _question(content: Mapping[str, Any], question: Mapping[str, Any]) -> Iterator[str]:
    if len(content["questions"]) > 1:
        yield f"## {question['number']}. {question['title']}"
        yield ""
    yield question["question"]
    yield ""
    cells = question["cells"]
    computed = question["computation"]
    how = f"computed by `{computed}`" if computed else f"from `{question['base']}`"
    yield (
        f"{cells['done']:,} of {cells['asked']:,} runs, {len(question['seeds'])} seeds, {how}; "
        f"{clock(cells['seconds'])} one after another."
    )
    yield ""
    if question["claims"]:
        yield "| claim | verdict | rule | estimate | corrected p |"
        yield "|---|---|---|---|---|"
        for claim in question["claims"]:
            late = " (written when numbers were there)" if claim["afterwards"] else ""
            verdict = MARKS.get(claim["verdict"], claim["verdict"])
            why = claim["why"] or f"{claim['corrected']:.2g}"
            why += f"; {claim['never']} {claim['bounds']} are bounds" if claim["never"] else ""
            cells_ = (claim["text"] + late, verdict, claim["rule"], claim["estimate"], why)
            yield f"| {' | '.join(_cell(each) for each in cells_)} |"
        yield ""
    for name, caption in question["figures"].items():
        yield f"![{caption.partition('. ')[0]}](figures/{_figure(content, name)}.png)"
        yield ""
        yield f"*{caption}*"
        yield ""
    yield from _estimates(question)
    for cell, why in question["failures"].items():
        yield f"- failed: {cell}: {why}"


def _estimates(question: Mapping[str, Any]) -> Iterator[str]:
    """A row for each setting at its last step, a column for each measure."""
    columns = [name for name in question["columns"] if name != STEP]
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in sorted(question["estimates"], key=lambda row: row[STEP] or 0):
        told = {
            **row["estimate"],
            "never": row["never"],
            "exact": row["measure"] in question["exact"],
        }
        rows.setdefault(tuple(row[name] for name in columns), {})[row["measure"]] = told
    measures = list(dict.fromkeys(row["measure"] for row in question["estimates"]))
    if not rows:
        return
    yield (
        "Means over seeds:"
        if question["computation"]
        else "At the end of training, means over seeds:"
    )
    yield ""
    yield f"| {' | '.join([*map(plain_name, columns), *measures])} |"
    yield "|" + "---|" * (len(columns) + len(measures))
    for place, numbers in rows.items():
        cells = [*place, *(_cell(numbers.get(name, "")) for name in measures)]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _figure(content: Mapping[str, Any], name: str) -> str:
    scale = f"-{content['scale']}" if content["scale"] else ""
    return f"study-{content['study']}{scale}-{name}"


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        value = estimate_in_words(value)
    return str(value).replace("|", "\\|")

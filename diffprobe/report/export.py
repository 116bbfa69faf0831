"""The report for other programs: a table of samples as CSV, and a summary as Markdown."""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from diffprobe.evaluation.validator import Checked
from diffprobe.evaluation.verdicts import VERDICTS, Verdicts
from diffprobe.foundations.atomic import atomic_file

# What a spreadsheet's formula begins with, in full width too; and what undoes the escape.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")

LINES = 10_000  # of the table, made at once

COLUMNS = (
    "sample",
    "verdict",
    "word",
    "nearest",
    "distance",
    "wrong_cells",
    "unreadable_cells",
    "unreadable_symbols",
    "kinds",
    "confidence",
    "validator",
)


def write_verdicts(
    path: Path, verdicts: Verdicts, names: Sequence[str], checked: Checked | None = None
) -> None:
    """Write one line per sample.

    Lists within a column are separated by spaces, kinds by "; ". Cells count from 0, row by row.
    A text that a spreadsheet would take for a formula has an apostrophe before it: `plain_text`.

    Args:
        path: A CSV file.
        verdicts: Of the samples.
        names: V printable names of the symbols.
        checked: What a validator found.
    """
    gap = "" if all(len(name) == 1 for name in names) else " "

    def spell(word: Sequence[int]) -> str:
        return gap.join(names[symbol] for symbol in word)

    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for first in range(0, len(verdicts.words), LINES):
            columns = _columns(verdicts, checked, slice(first, first + LINES))
            for sample, row in enumerate(zip(*columns, strict=True), first):
                verdict, word, nearest, distance, wrong, unreadable, found, confidence, fault = row
                legible = verdict != "illegible"
                row_of_text = (
                    sample,
                    verdict,
                    spell(word),
                    spell(nearest) if legible else "",
                    distance if legible else "",
                    " ".join(map(str, wrong)),
                    " ".join(map(str, unreadable)),
                    " ".join(names[word[cell]] for cell in unreadable),
                    "; ".join(found),
                    " ".join(f"{c:.3f}" for c in confidence),
                    "; ".join(fault),
                )
                writer.writerow([plain_text(str(value)) for value in row_of_text])


def _columns(verdicts: Verdicts, checked: Checked | None, some: slice) -> list[list[Any]]:
    """What is told of some samples, each a list with one entry a sample."""
    words = verdicts.words[some]
    return [
        [VERDICTS[label] for label in verdicts.labels[some].tolist()],
        words.tolist(),
        verdicts.nearest[some].tolist(),
        verdicts.distance[some].tolist(),
        _places(verdicts.wrong_cells[some]),
        _places(~verdicts.legible_cells[some]),
        _kinds({kind: found[some] for kind, found in verdicts.violations.items()}, len(words)),
        verdicts.confidence[some].tolist(),
        _kinds(
            {k: found[some] for k, found in checked.kinds.items()} if checked else {}, len(words)
        ),
    ]


def plain_text(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula.

    One that begins with =, +, -, @, a tab or a line break gets an apostrophe before it, and so does
    one that begins with an apostrophe: whoever takes one away has the text again.

    Reference:
        OWASP, "CSV injection".

    >>> plain_text("=+"), plain_text("01"), plain_text("'a")
    ("'=+", '01', "''a")
    """
    return f"'{text}" if text.startswith(FORMULA) else text


def _kinds(violations: Mapping[str, Tensor], n: int) -> list[list[str]]:
    """The kinds of violations found in each of n samples."""
    kinds: list[list[str]] = [[] for _ in range(n)]
    for kind, found in violations.items():
        for sample in found.nonzero()[:, 0].tolist():
            kinds[sample].append(kind)
    return kinds


def _places(marked: Tensor) -> list[list[int]]:
    """The indices that are true in each row of (N, K)."""
    places: list[list[int]] = [[] for _ in range(len(marked))]
    for row, place in marked.nonzero().tolist():
        places[row].append(place)
    return places


def markdown(content: Mapping[str, Any]) -> str:
    """Return the headline numbers and the findings as Markdown.

    Args:
        content: What report.json holds.
    """
    grammatical, chance = content["grammatical"], content["chance"]
    rows = [
        ("legible", content["legible"]),
        ("grammatical, of the legible", grammatical),
        *((name, rate) for name, rate in content["verdicts"].items()),
        *((kind, rate) for kind, rate in content["violations"].items() if rate["count"]),
    ]
    if validator := content["validator"]:
        found = {"any": validator["any"], **validator["kinds"]}
        rows += [(f"{validator['name']}: {kind}", rate) for kind, rate in found.items()]
    lines = [
        f"### {_escape(content['title'])}",
        "",
        "| | share | 95 % interval | samples |",
        "|---|---:|---:|---:|",
        *(_row(name, rate) for name, rate in rows),
        "",
        f"Grammatical, corrected for the reader's errors: "
        f"{_percent(grammatical['corrected']['value'])} "
        f"({_interval(grammatical['corrected'])}); by chance {_percent(chance['product'])} with "
        f"the grammar's own symbol frequencies, {_percent(chance['uniform'])} with uniform "
        f"symbols; ideally {_percent(chance['ideal'])}.",
        "",
        *(f"- {_escape(line)}" for line in content["findings"]),
        "",
        f"diffprobe {content['diffprobe']}",
    ]
    return "\n".join(lines) + "\n"


def checked_markdown(content: Mapping[str, Any]) -> str:
    """Return the rates and the findings of a validator as Markdown.

    Args:
        content: What report.json holds.
    """
    rates = {"any": content["validator"]["any"], **content["validator"]["kinds"]}
    lines = [
        f"### {_escape(content['title'])}",
        "",
        f"| {_escape(content['validator']['name'])} | share | 95 % interval | samples |",
        "|---|---:|---:|---:|",
        *(_row(kind, rate) for kind, rate in rates.items()),
        "",
        *(f"- {_escape(line)}" for line in content["findings"]),
        "",
        f"diffprobe {content['diffprobe']}",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, rate: Mapping[str, Any]) -> str:
    return (
        f"| {_escape(name)} | {_percent(rate['value'])} | {_interval(rate)} | "
        f"{rate['count']:,} of {rate['n']:,} |"
    )


def _percent(share: float | None) -> str:
    return "undefined" if share is None else f"{share:.1%}"


def _interval(rate: Mapping[str, Any]) -> str:
    return f"{rate['low']:.1%} to {rate['high']:.1%}"


def _escape(text: str) -> str:
    """Text that Markdown and HTML leave as it is, in one line."""
    return re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", " ".join(text.split()))

"""What a study found: verdicts first, then figures and tables, written from its record."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffprobe import __version__
from diffprobe.foundations.atomic import write_text
from diffprobe.foundations.records import plain, write_record
from diffprobe.foundations.tables import need_pyarrow
from diffprobe.report.page.figures import Figure
from diffprobe.report.page.framed import Framed
from diffprobe.report.page.study import render_study
from diffprobe.studies import figures
from diffprobe.studies.claims import Claim
from diffprobe.studies.grid import Grid, called
from diffprobe.studies.measures import Measure
from diffprobe.studies.places import BASE, STEP
from diffprobe.studies.study import SCHEMA, Study, StudyFolder
from diffprobe.studies.table import StudyTable
from diffprobe.studies.verdicts import Verdict, judge


@dataclass(frozen=True)
class Answer:
    """What was found of one question.

    Attributes:
        grid: What was asked.
        table: Its numbers.
        verdicts: On its claims.
        figures: Name of the file, without ending -> caption.
        cells: How many there are, how many have numbers, and how many seconds those took.
        failures: Cell in words -> why it failed.
        runs: Of each cell with numbers: what it is, its folder, parameters and seconds.
    """

    grid: Grid
    table: StudyTable
    verdicts: list[Verdict]
    figures: dict[str, str]
    cells: dict[str, float]
    failures: dict[str, str]
    runs: list[dict[str, Any]]


@dataclass(frozen=True, repr=False)
class Findings(Framed):
    """What a study found, and where it is written.

    Attributes:
        study: What was asked.
        folder: Its folder.
        answers: Number of the question -> what was found.
    """

    study: Study
    folder: Path
    answers: dict[int, Answer]

    @property
    def page(self) -> Path:
        """The self-contained page."""
        return self.folder / "report.html"

    def framed(self) -> str:
        """Return the page for a notebook."""
        return self.page.read_text("utf-8")

    def __repr__(self) -> str:
        return f"<Findings of {self.study.name} in {self.folder}>"

    def summary(self) -> dict[str, Any]:
        """Return all of it in terms of JSON."""
        return {
            "study": self.study.name,
            "scale": self.study.scale,
            "command": self.study.command,
            "diffprobe": __version__,
            "folder": str(self.folder),
            "questions": [self._told(number) for number in self.answers],
        }

    def _told(self, number: int) -> dict[str, Any]:
        answer = self.answers[number]
        grid, table = answer.grid, answer.table
        return {
            "number": number,
            "title": grid.title or f"Question {number}",
            "question": grid.question,
            "command": self.study.command_of(number),
            "computation": grid.computation,
            "base": ", ".join(dict.fromkeys(called(BASE, name) for name in grid.bases())),
            "fixed": grid.fixed,
            "settings": table.settings,
            "seeds": grid.seeds,
            "cells": answer.cells,
            "failures": answer.failures,
            "runs": answer.runs,
            "claims": [
                {
                    "text": verdict.claim.text,
                    "rule": verdict.claim.rule(),
                    "verdict": verdict.verdict,
                    "estimate": verdict.estimate,
                    "threshold": verdict.claim.threshold,
                    "p": verdict.p,
                    "corrected": verdict.corrected,
                    "why": verdict.why,
                    "afterwards": verdict.afterwards,
                    "never": verdict.never,
                    "bounds": verdict.claim.bounds,
                }
                for verdict in answer.verdicts
            ],
            "figures": answer.figures,
            "estimates": [
                {**row, "seeds": len(row["seeds"])}
                for row in table.over_seeds()
                if not Measure.parse(row["measure"]).at_all_levels
            ],
            "exact": [name for name in grid.measures if Measure.parse(name).is_exact],
            "columns": [*table.told, *([STEP] if grid.along else [])],
        }

    def lines(self) -> list[str]:
        """Return verdicts and failures in words."""
        found = []
        for number, answer in self.answers.items():
            found.append(f"{number}. {answer.grid.question}")
            found += [f"   {verdict.line()}" for verdict in answer.verdicts]
            found += [f"   failed: {cell}: {why}" for cell, why in answer.failures.items()]
        return found


def report_study(folder: Path, *, parquet: bool = False) -> Findings:
    """Judge the claims of a study, and write tables, figures and the page from its record.

    Args:
        folder: Of the study.
        parquet: Whether to write the tables as Parquet too.

    Raises:
        UsageError: If the folder is none of a study or the study was not run, or without pyarrow.
        CheckpointError: If its record is damaged, or of another version.
    """
    if parquet:
        need_pyarrow()
    where = StudyFolder(folder)
    study, content = where.study()
    outcomes = where.outcomes()
    tables, of_question = {}, {}
    for number, grid in study.questions.items():
        cells = [each for each in outcomes if each["question"] == number]
        of_question[number] = cells
        tables[number] = grid.table(_rows(cells))
    asked: list[tuple[int, Claim, bool]] = []
    for number, grid in study.questions.items():
        times = [each["outcome"]["when"] for each in of_question[number] if _has_numbers(each)]
        whens = [each["when"] for each in content["written"][str(number)]]
        asked += [
            (number, claim, bool(times) and when > min(times))
            for claim, when in zip(grid.claims, whens, strict=True)
        ]
    verdicts = judge(
        [(claim, tables[number]) for number, claim, _ in asked], [late for *_, late in asked]
    )
    answers = {
        number: Answer(
            grid,
            tables[number],
            [v for (n, *_), v in zip(asked, verdicts, strict=True) if n == number],
            _draw(grid, tables[number], folder, number),
            _counts(of_question[number]),
            _failures(grid, of_question[number]),
            _runs(grid, of_question[number], content["store"]),
        )
        for number, grid in study.questions.items()
    }
    found = Findings(study, folder, answers)
    for number, answer in answers.items():
        name = f"table-{number}" if len(answers) > 1 else "table"
        answer.table.write_csv(folder / f"{name}.csv")
        if parquet:
            answer.table.write_parquet(folder / f"{name}.parquet")
    write_record(folder / "findings.json", found.summary(), schema=SCHEMA)
    shown = {
        name: Figure.read(folder / "figures" / f"{name}.svg", "", text)
        for answer in answers.values()
        for name, text in answer.figures.items()
    }
    write_text(found.page, render_study(plain(found.summary()), shown))
    return found


def _rows(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "cell": each["outcome"]["cell"],
            "seed": each["seed"],
            "varied": each["varied"],
            **number,
        }
        for each in cells
        if _has_numbers(each)
        for number in each["outcome"]["numbers"]
    ]


def _has_numbers(cell: Mapping[str, Any]) -> bool:
    return cell["outcome"] is not None and not cell["outcome"]["error"]


def _counts(cells: list[dict[str, Any]]) -> dict[str, float]:
    done = [each for each in cells if _has_numbers(each)]
    seconds = sum(each["outcome"]["seconds"] for each in done)
    return {"asked": len(cells), "done": len(done), "seconds": seconds}


def _failures(grid: Grid, cells: list[dict[str, Any]]) -> dict[str, str]:
    return {
        grid.in_words(each["varied"], each["seed"]): each["outcome"]["error"]
        if each["outcome"]
        else "not done yet"
        for each in cells
        if not _has_numbers(each)
    }


def _runs(grid: Grid, cells: list[dict[str, Any]], store: str) -> list[dict[str, Any]]:
    return [
        {
            "what": grid.in_words(each["varied"], each["seed"]),
            "run": f"{store}/{each['run']}",
            "parameters": each["outcome"]["parameters"],
            "seconds": each["outcome"]["seconds"],
        }
        for each in cells
        if _has_numbers(each)
    ]


def _draw(grid: Grid, table: StudyTable, folder: Path, number: int) -> dict[str, str]:
    found = {}
    for i, spec in enumerate(figures.specs(grid), 1):
        if not any(row["measure"] == spec.y and row["value"] is not None for row in table.rows()):
            continue
        name = f"{number}-{i}-{re.sub(r'[^a-z0-9]+', '-', spec.y.replace('@', '-at-')).strip('-')}"
        figures.draw(table, spec, folder / "figures" / name)
        found[name] = figures.caption(spec, table, len(grid.seeds))
    return found

"""A study: questions, the cells that answer them, and the folder of what came out.

FOLDER/study.json     the questions, and when each claim was written down
FOLDER/cells.json     what came of each cell
FOLDER/table.csv      the numbers; with several questions table-1.csv, …
FOLDER/findings.json  verdicts, and estimates over seeds
FOLDER/report.html    the page, and figures/ what it shows
FOLDER/failures/      where in the code a cell failed, for errors that are none of diffprobe's own
FOLDER/jobs/          what jobs of a cluster printed
"""

import contextlib
import dataclasses
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from diffprobe.foundations import kinds
from diffprobe.foundations.atomic import remove_partials, write_text
from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.lock import one_writer
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.records import read_record, write_record
from diffprobe.foundations.settings import to_settings
from diffprobe.studies.catalogue import SCALES, StudyKind
from diffprobe.studies.cells import Cell, Outcome, jobs, stored
from diffprobe.studies.claims import changed
from diffprobe.studies.grid import Grid, grid_of, read_grid
from diffprobe.studies.launching import Launcher, serial
from diffprobe.studies.places import MOST_CELLS

SCHEMA = "diffprobe-study/1"
LOCK = "lock"
STORE = Path("runs") / "cells"


@dataclass(frozen=True)
class Study:
    """Questions under a name.

    Attributes:
        name: Of a shipped study, or of the file without its ending.
        scale: One of `SCALES`; empty for a grid of the user's own.
        questions: The grids by their number, from 1.
        command: What runs it.
        assignments: Settings of all runs, over what the grids fix, `section.key=value`.
    """

    name: str
    scale: str
    questions: dict[int, Grid]
    command: str
    assignments: tuple[str, ...] = ()

    @classmethod
    def open(
        cls,
        what: str,
        scale: str | None = None,
        question: int | None = None,
        assignments: Sequence[str] = (),
    ) -> "Study":
        """Find a study.

        Args:
            what: The name of a shipped study, or a TOML file.
            scale: One of `SCALES`, "tiny" by default; a file has none.
            question: The one to ask, all by default.
            assignments: As a `Study` has them.

        Raises:
            UsageError: If there is no such study, scale or question, or the file holds no grid.
        """
        if what.endswith(".toml"):
            if scale is not None:
                raise UsageError(f"--scale is for shipped studies; {what} says its own size")
            name, scale = Path(what).stem, ""
            grids: tuple[Grid, ...] = (read_grid(Path(what)),)
        else:
            scale = scale or SCALES[0]
            if scale not in SCALES:
                raise unknown_name("scale", scale, SCALES)
            if what not in kinds.announced("study"):
                error = unknown_name("study", what, kinds.announced("study"))
                raise UsageError(f"{error} (a grid of your own is a file that ends in .toml)")
            kind = cast(StudyKind, kinds.find("study", what)())
            name, grids = what, kind.questions(scale)
        questions = dict(enumerate(grids, 1))
        command = f"diffprobe study run {what}" + (f" --scale {scale}" if scale else "")
        if question is not None:
            if question not in questions:
                listed = f"1 to {len(questions)}" if len(questions) > 1 else "question 1 alone"
                raise UsageError(f"{name} has no question {question}; it has {listed}")
            questions = {question: questions[question]}
            command += f" --question {question}" if len(grids) > 1 else ""
        for assignment in assignments:
            key = assignment.partition("=")[0].strip()
            if any(key in grid.places() for grid in questions.values()):
                raise UsageError(f"--set {assignment}: {key} is varied by the study")
            if not any(grid.takes(key) for grid in questions.values()):
                form = "section.key=value" if "." not in key else "key=value, of what is computed"
                raise UsageError(f"--set {assignment} is not of the form {form}")
        command += "".join(f" --set {assignment}" for assignment in assignments)
        return cls(name, scale, questions, command, tuple(assignments))

    def command_of(self, number: int) -> str:
        """Return the command that asks one of its questions."""
        if len(self.questions) == 1:
            return self.command
        return f"{self.command} --question {number}"

    @property
    def folder(self) -> Path:
        """Where it is written by default."""
        return Path("runs") / "studies" / (f"{self.name}-{self.scale}" if self.scale else self.name)

    def cells(self, most: int = MOST_CELLS) -> list[Cell]:
        """Return the cells of all questions.

        Raises:
            UsageError: If there are more than `most`, or a configuration does not fit together.
        """
        sizes = {number: grid.size() for number, grid in self.questions.items()}
        if (n := sum(sizes.values())) > most:
            raise UsageError(
                f"{self.name} has {n:,} cells, more than --max-cells {most:,}: "
                f"ask for one question, vary less, or allow more"
            )
        return [cell for number, grid in self.questions.items() for cell in self._cells(number)]

    def _cells(self, number: int) -> Iterator[Cell]:
        grid = self.questions[number]
        for varied in grid.combinations():
            for seed in grid.seeds:
                try:
                    settings = grid.plain(varied, seed, self.assignments)
                except UsageError as error:
                    raise UsageError(
                        f"the cell at {grid.in_words(varied, seed)}: {error}"
                    ) from error
                what = grid.in_words(varied, seed)
                yield Cell(number, varied, seed, settings, grid.measures, grid.along, what)


@dataclass(frozen=True)
class StudyFolder:
    """The folder `path` laid out as this module describes."""

    path: Path

    @contextlib.contextmanager
    def written(self, what: str) -> Iterator[None]:
        """Be the one process that drives a study here.

        Raises:
            InUseError: If another one is.
            UsageError: If this is a folder of something else.
        """
        if self.path.is_file() or (
            self.path.is_dir()
            and not (self.path / "study.json").exists()
            and any(each.name != LOCK for each in self.path.iterdir())
        ):
            raise UsageError(f"{self.path} is not the folder of a study; choose another with --out")
        self.path.mkdir(parents=True, exist_ok=True)
        with one_writer(self.path / LOCK, f"the study {what} in {self.path}"):
            remove_partials(self.path)
            yield

    def describe(self, study: Study, store: Path) -> None:
        """Write down what is asked; a claim that was there before keeps its time.

        Raises:
            UsageError: If the folder holds another study.
            CheckpointError: If what it holds is damaged, or of another version.
        """
        file, now = self.path / "study.json", time.time()
        questions: dict[str, Any] = {}
        written: dict[str, list[dict[str, Any]]] = {}
        if file.exists():
            before = read_record(file, schema=SCHEMA)
            if (before["name"], before["scale"]) != (study.name, study.scale):
                raise UsageError(
                    f"{self.path} holds the study {before['name']} {before['scale']}".rstrip()
                    + "; choose another folder with --out"
                )
            questions, written = before["questions"], before["written"]
        told = {}
        for number, grid in study.questions.items():
            earlier = written.get(str(number), [])
            told[str(number)] = [
                {
                    "claim": dataclasses.asdict(claim),
                    "when": next(
                        (each["when"] for each in earlier if not changed(each["claim"], claim)), now
                    ),
                }
                for claim in grid.claims
            ]
        content = {
            "name": study.name,
            "scale": study.scale,
            "command": study.command,
            "assignments": study.assignments,
            "store": str(store),
            "questions": {
                **questions,
                **{str(n): to_settings(grid) for n, grid in study.questions.items()},
            },
            "written": {**written, **told},
        }
        write_record(file, content, schema=SCHEMA)

    def study(self) -> tuple[Study, dict[str, Any]]:
        """Return the study, and all of study.json.

        Raises:
            UsageError: If there is none.
            CheckpointError: If it is damaged, or of another version.
        """
        file = self.path / "study.json"
        if not file.exists():
            raise UsageError(f"{self.path} is not the folder of a study: no study.json")
        content = read_record(file, schema=SCHEMA)
        questions = {int(n): grid_of(each) for n, each in _in_order(content["questions"])}
        command, assignments = content["command"], tuple(content["assignments"])
        if len(questions) > 1:  # asked one by one, they are answered together
            command = re.sub(r" --question \d+", "", command)
        study = Study(content["name"], content["scale"], questions, command, assignments)
        return study, content

    def store_outcomes(self, cells: Sequence[Cell], outcomes: Sequence[Outcome]) -> None:
        """Write down what came of each cell."""
        by_name = {outcome.cell: outcome for outcome in outcomes}
        asked = {cell.question for cell in cells}
        others = [each for each in self._cells() if each["question"] not in asked]
        told = [
            {
                "question": cell.question,
                "varied": cell.varied,
                "seed": cell.seed,
                "run": cell.address,
                "outcome": by_name.get(cell.name),
            }
            for cell in cells
        ]
        write_record(self.path / "cells.json", {"cells": [*others, *told]}, schema=SCHEMA)
        for outcome in outcomes:
            if outcome.trace:
                write_text(self.path / "failures" / f"{outcome.cell}.txt", outcome.trace)

    def outcomes(self) -> list[dict[str, Any]]:
        """Return what came of each cell, as `store_outcomes` wrote it.

        Raises:
            UsageError: If the study was never run.
            CheckpointError: If it is damaged, or of another version.
        """
        if not (self.path / "cells.json").exists():
            raise UsageError(f"{self.path} has no cells yet; the study was never run")
        return self._cells()

    def _cells(self) -> list[dict[str, Any]]:
        file = self.path / "cells.json"
        if not file.exists():
            return []
        found: list[dict[str, Any]] = read_record(file, schema=SCHEMA)["cells"]
        return found


def _in_order(questions: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Questions by their number, whenever they were asked."""
    return sorted(questions.items(), key=lambda each: int(each[0]))


@dataclass
class Done:
    """What a run of a study did.

    Attributes:
        cells: All of the study.
        outcomes: What came of them; of some none where it was stopped.
    """

    cells: list[Cell]
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failed(self) -> list[Outcome]:
        """Those that failed."""
        return [outcome for outcome in self.outcomes if outcome.error]


def run_study(
    study: Study,
    out: Path | None = None,
    *,
    store: Path = STORE,
    launcher: Launcher | None = None,
    device: str = "auto",
    most: int = MOST_CELLS,
    together: bool | None = None,
    progress: Progress = silent,
) -> Done:
    """Run the cells that were not run before, and write down what came of all of them.

    Args:
        study: See `Study.open`.
        out: Its folder.
        store: Where runs lie, those of all studies.
        launcher: Where to work; here and one after another by default.
        device: "auto", "cpu", "cuda", …
        most: Cells at most.
        together: Whether the seeds of a setting are trained together, as `train_replicas` does; by
            default where that is quicker, if one works here and one after another.
        progress: Called as tqdm is.

    Raises:
        UsageError: If the study has more cells, does not fit together, or the folder is another's.
        InUseError: If another process drives a study in the folder.
        FullDiskError: If the disk is full; what was stored before stays.
        StoppedError: After Ctrl-C or SIGTERM; the same call goes on.
    """
    cells = study.cells(most)
    folder = StudyFolder(out or study.folder)
    with folder.written(study.name):
        folder.describe(study, store)
        done = Done(cells)
        before = {cell.name: stored(cell, store) for cell in cells}
        done.outcomes += [outcome for outcome in before.values() if outcome is not None]
        todo = list({cell.name: cell for cell in cells if before[cell.name] is None}.values())
        total = len({cell.name for cell in cells})
        if launcher is not None:
            together = bool(together)
        found = (launcher or serial(progress))(jobs(todo, together=together), store, device)
        bar = progress(
            found,
            desc="cells",
            total=total,
            initial=total - len(todo),
            unit="cell",
        )
        with contextlib.closing(found):
            try:
                for outcome in bar:
                    done.outcomes.append(outcome)
                    if done.failed and hasattr(bar, "set_postfix"):
                        bar.set_postfix(failed=len(done.failed), refresh=False)
            finally:
                folder.store_outcomes(cells, done.outcomes)
    return done

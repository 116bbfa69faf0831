"""What a study will take, told before it is begun."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffprobe.config import Config
from diffprobe.models import parameter_count
from diffprobe.studies.cells import Cell, Outcome, _hash, stored


@dataclass(frozen=True)
class Cost:
    """What a study will take.

    Attributes:
        rows: One a cell: what it is, its parameters, steps and images, and whether it is done.
        seconds: Of the cells that are to do, one after another; None where no cell is done yet.
        how: How the seconds were found.
    """

    rows: list[dict[str, Any]]
    seconds: float | None
    how: str


def cost(cells: Sequence[Cell], store: Path) -> Cost:
    """Estimate what the cells will take.

    A cell's work is parameters × images seen in training. Seconds are those of the study's cells
    that are done, by their work: least squares of seconds = a + b · work, or in proportion where
    all that is done was the same work. What is computed and not trained counts for nothing.
    """
    counted: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    known: list[tuple[float, float]] = []
    for cell in cells:
        found = stored(cell, store)
        row: dict[str, Any] = {
            "question": cell.question,
            "cell": cell.name,
            "what": cell.what,
            **_training(cell, found, counted),
            "done": found is not None,
        }
        rows.append(row)
        if found is not None and row["work"]:
            known.append((row["work"], found.seconds))
    todo = [row["work"] for row in rows if not row["done"]]
    if not todo:
        return Cost(rows, 0.0, "all cells are done")
    if not any(todo):
        return Cost(rows, None, "what is computed and not trained is not timed before it is done")
    if not known:
        return Cost(
            rows,
            None,
            "no cell is done yet, so no time is known; the first that is tells it for the others",
        )
    a, b = _line(known)
    many = f"{len(known)} cells that are" if len(known) > 1 else "one cell that is"
    how = f"from the {many} done, by parameters × images seen in training"
    return Cost(rows, sum(max(0.0, a + b * work) for work in todo if work), how)


def _training(cell: Cell, found: Outcome | None, counted: dict[str, int]) -> dict[str, Any]:
    """The parameters, steps, images and work of a cell."""
    if cell.is_computed:
        return {"parameters": 0, "steps": 0, "images": 0, "work": 0.0}
    config = cell.config()
    parameters = found.parameters if found else _parameters(cell, config, counted)
    steps = config.training.steps
    images = steps * config.training.batch_size
    return {
        "parameters": parameters,
        "steps": steps,
        "images": images,
        "work": float(parameters * images),
    }


def _parameters(cell: Cell, config: Config, counted: dict[str, int]) -> int:
    named = ("network", "images", "grammar", "condition")
    world: Mapping[str, Any] = {key: cell.settings[key] for key in named}
    if (key := _hash(world)) not in counted:
        dataset = config.dataset()
        conditions = config.condition.build(dataset.grammar)
        network = config.network.build(dataset.image_shape, 0, dataset.grid, conditions)
        counted[key] = parameter_count(network)
    return counted[key]


def _line(known: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Intercept and slope of seconds against work; neither below zero."""
    n = len(known)
    mean_work = sum(work for work, _ in known) / n
    mean_seconds = sum(seconds for _, seconds in known) / n
    square = sum((work - mean_work) ** 2 for work, _ in known)
    if square:
        slope = sum((w - mean_work) * (s - mean_seconds) for w, s in known) / square
        intercept = mean_seconds - slope * mean_work
        if slope >= 0 and intercept >= 0:
            return intercept, slope
    return 0.0, mean_seconds / mean_work

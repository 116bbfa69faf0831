"""Which figures of probes belong beside samples: those of the same step and the same weights."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffprobe.foundations.errors import CheckpointError, UsageError
from diffprobe.foundations.records import read_record


@dataclass(frozen=True)
class Beside:
    """Probes to show beside samples.

    Attributes:
        folder: Of the probes of one step; None where a run has none.
        details: Steps and weights of both, for the record.
        notes: In what they differ, in sentences.
    """

    folder: Path | None
    details: dict[str, Any]
    notes: tuple[str, ...] = ()


def probes_beside(run: Path, step: int | None, weights: str | None) -> Beside:
    """Return the probes of the step that samples are of, or the latest, and in what they differ.

    Args:
        run: The run folder.
        step: Of training, that the samples are of, if known.
        weights: That they were drawn with, if known.
    """
    details: dict[str, Any] = {"training_step": step, "weights": weights, "probes": None}
    found = {
        int(match[1]): path
        for path in (run / "probes").glob("step-*")
        if (match := re.fullmatch(r"step-(\d+)", path.name))
    }
    if not found:
        return Beside(None, details)
    chosen = step if step in found else max(found)
    folder = found[chosen]
    theirs = _weights(folder)
    details["probes"] = {"training_step": chosen, "weights": theirs}
    notes = []
    if step is None:
        notes.append(
            f"The samples do not say which step of training they are of; the figures are of step "
            f"{chosen:,}."
        )
    elif step != chosen:
        notes.append(
            f"The samples are of step {step:,} and the figures of step {chosen:,}: to have those "
            f"of step {step:,}, diffprobe probe {run}/checkpoints/step-{step:06d}."
        )
    if weights and theirs and weights != theirs:
        notes.append(f"The samples are of the weights {weights} and the figures of {theirs}.")
    return Beside(folder, details, tuple(notes))


def _weights(folder: Path) -> str | None:
    """Which weights were probed, where it was written down."""
    try:
        found = read_record(folder / "summary.json").get("weights")
    except (UsageError, CheckpointError):
        return None  # the page leaves out what cannot be read, too
    return found if isinstance(found, str) else None

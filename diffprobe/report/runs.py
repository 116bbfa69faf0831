"""Run folders at a glance: how far each has got and how good it is, read without torch."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffprobe.foundations.errors import CheckpointError, UsageError
from diffprobe.foundations.tables import Table
from diffprobe.training.run_folder import RunFolder, validation_loss_of

DEEP = 3  # folders between the one that is listed and a run


@dataclass(frozen=True)
class RunSummary(Table):
    """What one sees of a run; None where it is not there.

    Attributes:
        run: The folder.
        problem: Why nothing more is known; empty where all is well.
        when: Training last wrote, in local time.
        grammar, network: Names of the kinds.
        steps: That are done.
        wanted: Steps that are to be done.
        loss: Mean since the log line before the last.
        validation_loss: Of the weights that are sampled by default.
        weights: Their name.
        seconds: Spent training.
        probed_at: Training step of the newest probes.
        ldr, excess_ldr: At the level at which symbols form; the excess is over Bayes.
        gamma: 0 local, 1 optimal.
        reported_at: Training step of the newest report.
        legible: Share of its samples.
        grammatical: Share of the legible ones.
    """

    run: str
    problem: str = ""
    when: str | None = None
    grammar: str | None = None
    network: str | None = None
    steps: int = 0
    wanted: int = 0
    loss: float | None = None
    validation_loss: float | None = None
    weights: str | None = None
    seconds: float | None = None
    probed_at: int | None = None
    ldr: float | None = None
    excess_ldr: float | None = None
    gamma: float | None = None
    reported_at: int | None = None
    legible: float | None = None
    grammatical: float | None = None

    @property
    def is_finished(self) -> bool:
        """Whether all steps are done."""
        return 0 < self.wanted <= self.steps

    def rows(self) -> list[dict[str, Any]]:
        """Return all fields as one row."""
        return [asdict(self)]

    @classmethod
    def of(cls, run: RunFolder) -> "RunSummary":
        """Read what is known of a run."""
        try:
            return cls(run=str(run.path), **_training(run), **_probes(run), **_report(run))
        except (CheckpointError, UsageError) as error:
            return cls(run=str(run.path), problem=str(error))


def list_runs(folder: Path) -> list[RunSummary]:
    """Return the runs in a folder and in folders of it, by name; or the one that it is.

    Raises:
        UsageError: If there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder at {folder}: say where the runs are")
    return [RunSummary.of(RunFolder(path)) for path in _runs(folder, DEEP)]


def is_run(folder: Path) -> bool:
    """Whether a folder is one that a training made, and not a checkpoint or a single network."""
    if not (folder / "config.json").exists() or (folder / "unet").exists():
        return False
    return not any(folder.glob("diffusion_pytorch_model*"))


def _runs(folder: Path, deep: int) -> Iterator[Path]:
    if is_run(folder):
        yield folder
    elif deep:
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
                yield from _runs(path, deep - 1)


def _training(run: RunFolder) -> dict[str, Any]:
    config = run.config()
    metrics = run.metrics()
    last = metrics[-1] if metrics else {}
    weights = config.weights
    written = run.last_written()
    return {
        "when": None if written is None else f"{written:%Y-%m-%d %H:%M}",
        "grammar": config.grammar.name,
        "network": config.network.name,
        "steps": run.steps_known(),
        "wanted": config.training.steps,
        "loss": last.get("loss"),
        "validation_loss": last.get(validation_loss_of(weights)),
        "weights": weights,
        "seconds": last.get("seconds"),
    }


def _probes(run: RunFolder) -> dict[str, Any]:
    path, step = _newest(run.path / "probes", "summary.json")
    if path is None:
        return {}
    summary = _read(path)
    probes = _part(summary, "probes")
    level = summary.get("symbols_form_at") or _part(summary, "level").get("t")
    levels = _part(probes, "locality").get("levels")
    rows = [row for row in levels if isinstance(row, dict)] if isinstance(levels, list) else []
    at: dict[str, Any] = next((row for row in rows if row.get("t") == level), {})
    return {
        "probed_at": step,
        "ldr": _value(_part(at, "ldr"), "network"),
        "excess_ldr": _value(at, "excess_ldr"),
        "gamma": _value(_part(probes, "placement"), "gamma"),
    }


def _report(run: RunFolder) -> dict[str, Any]:
    path, step = _newest(run.path / "report", "report.json")
    if path is None:
        return {}
    content = _read(path)
    return {
        "reported_at": step,
        "legible": _value(content, "legible"),
        "grammatical": _value(content, "grammatical"),
    }


def _newest(folder: Path, name: str) -> tuple[Path | None, int | None]:
    """The record of that name in the folder of the latest step, of several the latest written."""
    found = [
        (int(match[1]), path)
        for path in folder.glob(f"*/{name}")
        if (match := re.match(r"step-(\d+)", path.parent.name))
    ]
    if not found:
        return None, None
    step, path = max(found, key=lambda each: (each[0], each[1].stat().st_mtime))
    return path, step


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is damaged: make it again")
    return content


def _part(content: dict[str, Any], name: str) -> dict[str, Any]:
    part = content.get(name)
    return part if isinstance(part, dict) else {}


def _value(content: dict[str, Any], name: str) -> float | None:
    value = _part(content, name).get("value")
    return float(value) if isinstance(value, int | float) else None

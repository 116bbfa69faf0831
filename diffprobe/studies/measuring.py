"""The numbers of one cell, through the one pipeline."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from diffprobe.config import Config
from diffprobe.experiment import SAMPLES, Experiment, run_experiment
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import Progress
from diffprobe.foundations.records import plain, read_record
from diffprobe.models import parameter_count
from diffprobe.probing.suite import ProbeResults
from diffprobe.studies.cells import Cell
from diffprobe.studies.measures import Measure, find, first_step
from diffprobe.training.run_folder import validation_loss_of

# What no probe measures.
OTHERS = ("training", "network", "grammar")

# A number with its error, and the noise level that it is of.
Number = tuple[Mapping[str, Any], float | None]


def measure(
    cell: Cell, store: Path, device: str, progress: Progress
) -> tuple[list[dict[str, Any]], int]:
    """Train and measure; what is there already is not done again.

    Returns:
        Rows as `Outcome.numbers` holds them, and the number of parameters.

    Raises:
        UsageError: If a probe has no such number, or does not apply.
    """
    config = cell.config()
    asked = [Measure.parse(name) for name in cell.measures]
    by = list(dict.fromkeys(each.by for each in asked if each.by not in OTHERS))
    if cell.along and SAMPLES in by:
        # Samples of every checkpoint are judged where a probe goes along.
        by.remove(SAMPLES)
        by = by or ["locality"]
    done = run_experiment(
        config,
        by,
        out=cell.run(store),
        steps="all" if cell.along else "last",
        device=device,
        progress=progress,
        figures=False,
    )
    network = config.network.build(
        done.dataset.image_shape,
        config.training.seed,
        done.dataset.grid,
        config.condition.build(done.dataset.grammar),
    )
    measured = _Measured(config, done, cell.along, parameter_count(network))
    return [row for each in asked for row in measured.rows(each)], measured.parameters


@dataclass(frozen=True)
class _Measured:
    """What an experiment found, to look numbers up in."""

    config: Config
    done: Experiment
    along: bool
    parameters: int

    def rows(self, asked: Measure) -> Iterator[dict[str, Any]]:
        numbers: Iterable[tuple[int | None, Number]] = self._numbers(asked)
        if asked.passes is not None:
            curve = [(step or 0, number["value"]) for step, (number, _) in numbers]
            numbers = [(None, (first_step(curve, *asked.passes), None))]
        for step, (number, log_snr) in numbers:
            told = {k: number.get(k) for k in ("value", "standard_error", "low", "high", "n")}
            yield {"step": step, "measure": asked.name, "log_snr": log_snr, **told}

    def _numbers(self, asked: Measure) -> Iterator[tuple[int | None, Number]]:
        """Step and number; the step None where only the last is looked at."""
        if asked.by == "training":
            yield from self._losses()
        elif asked.by in OTHERS:
            yield None, ({"value": self._exact(asked)}, None)
        elif not self.along:
            summary, step = self.done.records[asked.by], self.config.training.steps
            yield from ((None, each) for each in self._at(asked, summary, step))
        elif asked.by != SAMPLES and not self._probes.kinds[asked.by].along:
            # It looks at all checkpoints itself.
            summary, step = self.done.records[asked.by], self.config.training.steps
            yield from ((step, each) for each in self._at(asked, summary, step))
        else:
            along = self._probes.along
            for moment in along.moments if along is not None else []:
                found = moment.rates if asked.by == SAMPLES else moment.summaries[asked.by]
                for each in self._at(asked, plain(found), moment.step):
                    yield moment.step, each

    def _exact(self, asked: Measure) -> float:
        if asked.by == "grammar":
            return float(getattr(self.done.dataset.grammar, asked.path)())
        training = self.config.training
        images = training.steps * training.batch_size if asked.path == "work" else 1
        return float(self.parameters * images)

    @property
    def _probes(self) -> ProbeResults:
        return cast(ProbeResults, self.done.probes)

    def _losses(self) -> Iterator[tuple[int | None, Number]]:
        name = validation_loss_of(self.config.weights)
        lines = self.done.run.metrics()
        if not self.along:
            yield None, ({"value": lines[-1][name]}, None)
            return
        # Losses are told at other steps than checkpoints are stored at: the nearest line.
        steps = self.done.run.checkpoint_steps()
        nearest = {min(lines, key=lambda line: abs(line["step"] - s))["step"] for s in steps}
        for line in lines:
            if line["step"] in nearest:
                yield line["step"], ({"value": line[name]}, None)

    def _at(self, asked: Measure, summary: Mapping[str, Any], step: int) -> Iterator[Number]:
        """The number asked for; of all noise levels, those of each."""
        if not asked.at_all_levels:
            yield self._number(asked, summary, step)
        elif asked.by == "locality":
            for level in summary["levels"]:
                yield find(level, asked.path, asked.by), level["log_snr"]
        else:
            told, levels = self._by_level(asked, step)
            for i, log_snr in enumerate(levels):
                yield {key: values[i] for key, values in told.items()}, log_snr

    def _number(self, asked: Measure, summary: Mapping[str, Any], step: int) -> Number:
        if asked.by == "locality" and not asked.path.startswith("levels"):
            level = self._level(asked, summary["levels"])
            return find(level, asked.path, asked.by), level["log_snr"]
        if asked.log_snr is not None:
            return self._at_level(asked, asked.log_snr, step)
        return find(summary, asked.path, asked.by), None

    def _level(self, asked: Measure, levels: list[dict[str, Any]]) -> dict[str, Any]:
        wanted = asked.log_snr
        if wanted is not None:
            return min(levels, key=lambda row: abs(row["log_snr"] - wanted))
        return next(row for row in levels if row["t"] == self._probes.subject.level)

    def _at_level(self, asked: Measure, wanted: float, step: int) -> Number:
        """A number of the probe's record at the noise level nearest the one asked for."""
        told, levels = self._by_level(asked, step)
        i = min(range(len(levels)), key=lambda at: abs(levels[at] - wanted))
        return {key: values[i] for key, values in told.items()}, levels[i]

    def _by_level(self, asked: Measure, step: int) -> tuple[dict[str, list[Any]], list[float]]:
        """The numbers of the probe's record by noise level, and the levels."""
        file = f"{self._probes.called(asked.by)}.json"
        folder = self.done.run.path / "probes" / f"step-{step:06d}"
        record = read_record(folder / file)["network"]
        curve, _, radius = asked.path.partition(".")
        told: dict[str, list[Any]] = record[curve]
        if radius:
            if int(radius) not in record["radii"]:
                listed = ", ".join(map(str, record["radii"]))
                raise UsageError(f"{asked.name}: the radii are {listed}, not {radius}")
            row = record["radii"].index(int(radius))
            told = {key: rows[row] for key, rows in told.items()}
        return told, record["log_snr"]

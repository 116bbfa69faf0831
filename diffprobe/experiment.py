"""One experiment: a configuration is trained, sampled, judged and probed.

It is the one pipeline: the demo, a study's cells and a script call it, and each step by itself is
what the command of that name does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diffprobe.config import Config
from diffprobe.datasets.symbol_images import SymbolImages
from diffprobe.evaluation.assessment import Assessment, assess
from diffprobe.evaluation.verdicts import Verdicts
from diffprobe.foundations.devices import resolve_device
from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.launch import processes
from diffprobe.foundations.progress import Progress
from diffprobe.foundations.records import plain
from diffprobe.probing.opening import open_subject
from diffprobe.probing.suite import ProbeResults, known_probes, run_probes
from diffprobe.report.build import Report, write_report
from diffprobe.report.losses import draw_losses
from diffprobe.sampling import Samples, sample_checkpoint, sampled_before, samples_name
from diffprobe.training.loop import train
from diffprobe.training.run_folder import Branch, RunFolder

SAMPLES = "samples"  # the measure that is no probe: sample, and judge by the grammar
USUAL = "usual"  # the probes that are measured where none is named


@dataclass(frozen=True, repr=False)
class Experiment:
    """What an experiment found, and where it lies.

    Attributes:
        run: The run folder.
        dataset: The world.
        records: Measure -> its headline numbers in terms of JSON; "training" is the
            last line of metrics.
        samples: The samples, where they were asked for.
        samples_path: Their file.
        assessment: What the grammar says of them.
        probes: What the probes found, where one was asked for.
    """

    run: RunFolder
    dataset: SymbolImages
    records: dict[str, dict[str, Any]]
    samples: Samples | None = None
    samples_path: Path | None = None
    assessment: Assessment | None = None
    probes: ProbeResults | None = None

    def __repr__(self) -> str:
        return f"<Experiment {self.run.path}: {', '.join(self.records)}>"

    @property
    def verdicts(self) -> Verdicts | None:
        """The verdict on each sample."""
        return self.assessment.verdicts if self.assessment is not None else None

    def report(self, title: str) -> Report:
        """Write the page of the samples, with the figures of the probes.

        Raises:
            UsageError: If no samples were asked for.
        """
        if self.samples is None or self.samples_path is None or self.assessment is None:
            raise UsageError("a report needs samples: ask for the measure 'samples'")
        return write_report(
            self.assessment,
            self.samples.images,
            self.dataset,
            self.run.path / "report" / self.samples_path.stem,
            title=title,
            details={"sampler": dict(self.samples.sampler)},
            probes=self.probes.folder if self.probes is not None else None,
            losses=draw_losses(self.run),
        )


def run_experiment(
    config: Config,
    measures: Sequence[str] = (SAMPLES, USUAL),
    *,
    out: str | Path,
    steps: Literal["last", "all"] = "last",
    probing: Config | None = None,
    device: str = "auto",
    progress: Progress | bool = True,
    branch: Branch | None = None,
    figures: bool = True,
) -> Experiment:
    """Train a configuration and measure it; what is there already is not done again.

    Args:
        config: What to train, and how to sample and probe it.
        measures: "samples", "usual" for the usual probes, and probes by name.
        out: The run folder.
        steps: "all" follows the probes over all checkpoints of the run: the usual ones at a glance,
            those that are named as a whole.
        probing: Settings of sampler and probes to probe with, if they are not those of `config`.
        device: "auto", "cpu", "cuda", …
        progress: Whether to show it, or what is called as tqdm is.
        branch: Another run's step to start from; see `train`.
        figures: Whether the probes draw theirs.

    Raises:
        UsageError: If the configuration does not fit together, `out` holds another training, or
            there is no such measure, or torchrun started several processes.
    """
    if processes() > 1:
        raise UsageError(
            f"an experiment works in one process, and {processes()} were started: train by "
            "torchrun, and measure what was trained without it"
        )
    known = [SAMPLES, USUAL, *known_probes(config)]
    for measure in measures:
        if measure not in known:
            raise unknown_name("measure", measure, known)
    run = train(config, out, device, progress, branch=branch)
    dataset, place = config.dataset(), resolve_device(device)
    records: dict[str, dict[str, Any]] = {"training": (run.metrics() or [{}])[-1]}
    samples, path, assessment = None, None, None
    if SAMPLES in measures:
        steps_done = config.training.steps
        name = samples_name(steps_done, config.sampler, config.sampling, config.weights)
        path = run.path / "samples" / name
        samples = sampled_before(path, config)
        if samples is None:
            checkpoint = run.checkpoint_path(steps_done)
            samples = sample_checkpoint(checkpoint, config, dataset, place, progress)
            samples.save(path)
        assessment = assess(
            samples,
            dataset,
            config.stream.build(dataset.grammar),
            conditions=config.condition.build(dataset.grammar),
        )
        told = plain(assessment.summary(dataset.glyphs.names))
        records[SAMPLES] = {**told, **samples.price}
    found = None
    if probes := [measure for measure in measures if measure != SAMPLES]:
        named = [probe for probe in probes if probe != USUAL]
        if named and USUAL in probes:
            named = [*(n for n, kind in known_probes(config).items() if kind.usual), *named]
        subject = open_subject(
            run.path,
            probing or config,
            dataset=dataset,
            device=place,
            progress=progress,
            own=probing or config,
            cache=run.path / "probes" / "cache",
        )
        found = run_probes(subject, named or None, steps=steps, figures=figures)
        records |= plain(found.summary()["probes"])
    return Experiment(run, dataset, records, samples, path, assessment, found)

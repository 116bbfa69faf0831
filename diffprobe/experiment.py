"""One experiment: a configuration is trained, sampled, judged and probed.

It is the one pipeline: the demo, a study's cells and a script call it, and each step by itself is
what the command of that name does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from diffprobe.config import Config
from diffprobe.evaluation.verdicts import Verdicts, judge
from diffprobe.foundations.devices import resolve_device
from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.records import plain
from diffprobe.models.checkpoint import load_denoiser
from diffprobe.probing.subject import open_subject
from diffprobe.probing.suite import ProbeResults, known_probes, run_probes
from diffprobe.report import Report, report_samples
from diffprobe.sampling import Samples, load_samples, sample, samples_name
from diffprobe.training.loop import train
from diffprobe.training.run_folder import Branch, RunFolder

SAMPLES = "samples"  # the measure that is no probe: sample, and judge by the grammar
USUAL = "usual"  # the probes that are measured where none is named


@dataclass(frozen=True)
class Experiment:
    """What an experiment found, and where it lies.

    Attributes:
        config: What was trained.
        run: The run folder.
        records: Measure -> its headline numbers in terms of JSON; "training" is the
            last line of metrics.
        samples: The samples, where they were asked for.
        samples_path: Their file.
        verdicts: What the grammar says of them.
        probes: What the probes found, where one was asked for.
    """

    config: Config
    run: RunFolder
    records: dict[str, dict[str, Any]]
    samples: Samples | None = None
    samples_path: Path | None = None
    verdicts: Verdicts | None = None
    probes: ProbeResults | None = None

    def report(self, title: str) -> Report:
        """Write the page of the samples, with the figures of the probes.

        Raises:
            UsageError: If no samples were asked for.
        """
        if self.samples is None or self.samples_path is None:
            raise UsageError("a report needs samples: ask for the measure 'samples'")
        dataset = self.config.dataset()
        return report_samples(
            self.samples.images,
            dataset,
            self.run.path / "report" / self.samples_path.stem,
            title=title,
            details={"sampler": dict(self.samples.sampler)},
            probes=self.probes.folder if self.probes is not None else None,
            stream=self.config.stream.build(dataset.grammar),
        )


def run_experiment(
    config: Config,
    measures: Sequence[str] = (SAMPLES, USUAL),
    *,
    out: str | Path,
    steps: Literal["last", "all"] = "last",
    probing: Config | None = None,
    device: str = "auto",
    progress: Progress = silent,
    branch: Branch | None = None,
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
        progress: Called as tqdm is.
        branch: Another run's step to start from; see `train`.

    Raises:
        UsageError: If the configuration does not fit together, `out` holds another training, or
            there is no such measure.
    """
    known = [SAMPLES, USUAL, *known_probes(config)]
    for measure in measures:
        if measure not in known:
            raise unknown_name("measure", measure, known)
    run = train(config, out, device, progress, branch=branch)
    records: dict[str, dict[str, Any]] = {"training": run.metrics()[-1]}
    samples, path, verdicts = None, None, None
    if SAMPLES in measures:
        samples, path = _draw_samples(run, config, device, progress)
        dataset = config.dataset()
        verdicts = judge(dataset, samples.images, config.stream.build(dataset.grammar))
        records[SAMPLES] = plain(verdicts.summary())
    found = None
    if probes := [measure for measure in measures if measure != SAMPLES]:
        named = [probe for probe in probes if probe != USUAL]
        if named and USUAL in probes:
            named = [*(n for n, kind in known_probes(config).items() if kind.usual), *named]
        subject = open_subject(
            run.path, probing or config, device=resolve_device(device), progress=progress
        )
        found = run_probes(subject, named or None, steps=steps)
        records |= plain(found.summary()["probes"])
    return Experiment(config, run, records, samples, path, verdicts, found)


def _draw_samples(
    run: RunFolder, config: Config, device: str, progress: Progress
) -> tuple[Samples, Path]:
    name = samples_name(config.training.steps, config.sampler, config.sampling, config.weights)
    path = run.path / "samples" / name
    if path.exists():  # of the same step, weights, sampler and seed
        return load_samples(path), path
    folder = run.checkpoint_path(config.training.steps)
    denoiser = load_denoiser(folder, config.weights, resolve_device(device))
    shape = config.dataset().image_shape
    settings = replace(config.sampling, weights=config.weights)
    samples = sample(denoiser, shape, config.sampler, settings, progress)
    samples.save(path)
    return samples, path

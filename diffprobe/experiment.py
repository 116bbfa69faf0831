"""One experiment: a configuration is trained, sampled, judged and probed.

It is the one pipeline: the demo, a study's cells and a script call it, and each step by itself is
what the command of that name does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diffprobe.config import Config
from diffprobe.evaluation.verdicts import Verdicts, judge
from diffprobe.foundations.devices import resolve_device
from diffprobe.foundations.errors import unknown_name
from diffprobe.foundations.progress import Progress, silent
from diffprobe.models.checkpoint import load_denoiser
from diffprobe.probing.subject import open_subject
from diffprobe.probing.suite import ProbeResults, known_probes, run_probes
from diffprobe.sampling import Samples, sample, samples_name
from diffprobe.training.loop import train
from diffprobe.training.run_folder import Branch, RunFolder

SAMPLES = "samples"  # the measure that is no probe: sample, and judge by the grammar


@dataclass(frozen=True)
class Experiment:
    """What an experiment found, and where it lies.

    Attributes:
        run: The run folder.
        records: Measure -> its headline numbers, estimates with their errors; "training" is the
            last line of metrics.
        samples: The samples, where they were asked for.
        samples_path: Their file.
        verdicts: What the grammar says of them.
        probes: What the probes found, where one was asked for.
    """

    run: RunFolder
    records: dict[str, dict[str, Any]]
    samples: Samples | None = None
    samples_path: Path | None = None
    verdicts: Verdicts | None = None
    probes: ProbeResults | None = None


def run_experiment(
    config: Config,
    measures: Sequence[str] = (SAMPLES, "locality", "placement"),
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
        measures: "samples", and probes by name.
        out: The run folder.
        steps: "all" follows the probes over all checkpoints of the run.
        probing: Settings of sampler and probes to probe with, if they are not those of `config`.
        device: "auto", "cpu", "cuda", …
        progress: Called as tqdm is.
        branch: Another run's step to start from; see `train`.

    Raises:
        UsageError: If the configuration does not fit together, `out` holds another training, or
            there is no such measure.
    """
    known = [SAMPLES, *known_probes(config)]
    for measure in measures:
        if measure not in known:
            raise unknown_name("measure", measure, known)
    run = train(config, out, device, progress, branch=branch)
    records: dict[str, dict[str, Any]] = {"training": run.metrics()[-1]}
    samples, path, verdicts = None, None, None
    if SAMPLES in measures:
        samples, path = draw_samples(run, config, device=device, progress=progress)
        dataset = config.dataset()
        verdicts = judge(dataset, samples.images, config.stream.build(dataset.grammar))
        records[SAMPLES] = verdicts.summary()
    found = None
    if probes := [measure for measure in measures if measure != SAMPLES]:
        subject = open_subject(
            run.path, probing or config, device=resolve_device(device), progress=progress
        )
        found = run_probes(subject, probes, steps=steps)
        records |= found.summary()["probes"]
    return Experiment(run, records, samples, path, verdicts, found)


def draw_samples(
    run: RunFolder,
    config: Config,
    *,
    checkpoint: Path | None = None,
    step: int | None = None,
    out: Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> tuple[Samples, Path]:
    """Sample a run's checkpoint and store the images in the run folder.

    Args:
        run: The run.
        config: Sampler, how many images, which weights.
        checkpoint, step: Of the run; by default the one at its last step.
        out: The file, instead of one in the run folder that is named by how it was made.
        device: "auto", "cpu", "cuda", …
        progress: Called as tqdm is.

    Returns:
        The samples, and their file.
    """
    step = config.training.steps if checkpoint is None else step
    folder = run.checkpoint_path(config.training.steps) if checkpoint is None else checkpoint
    name = samples_name(step, config.sampler, config.sampling, config.weights)
    path = out or run.path / "samples" / name
    denoiser = load_denoiser(folder, config.weights, resolve_device(device))
    shape = config.dataset().image_shape
    samples = sample(denoiser, shape, config.sampler, config.sampling, progress)
    samples.save(path)
    return samples, path

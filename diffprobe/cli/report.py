"""`diffprobe report`."""

from pathlib import Path

import click

from diffprobe.cli import options as opt
from diffprobe.errors import UsageError


@click.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="RUN_OR_SAMPLES")
@click.option(
    "--dataset",
    metavar="PRESET_OR_FILE.toml",
    help="What to judge an .npz by that does not lie in a run folder.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where to write.  [default: report/ in the run folder, or beside the samples]",
)
@opt.options(opt.json_option)
def command(source: Path, dataset: str | None, out: Path | None, as_json: bool) -> None:
    """Judge samples: legible? grammatical? how sure?

    RUN_OR_SAMPLES is a run folder (its newest samples) or an .npz with an array `images`,
    (N, 1, H, W) floats in [-1, 1].
    """
    from diffprobe.datasets import WordSplit, build_dataset
    from diffprobe.report import report_samples
    from diffprobe.sampling import load_samples
    from diffprobe.training.run_folder import RunFolder, run_of_checkpoint

    run: RunFolder | None
    if source.is_dir():
        run = RunFolder(source)
        run.description()
        file = _newest_samples(source)
    else:
        file, run = source, run_of_checkpoint(source)
    samples = load_samples(file)
    if dataset is not None:
        config = opt.dataset_config(dataset)
    elif run is not None:
        config = run.config()
    else:
        raise UsageError(
            f"{file} does not lie in a run folder: say what to judge it by with "
            "--dataset PRESET_OR_FILE.toml"
        )
    parent = run.path / "report" if run is not None else file.parent
    probes = _newest_probes(run.path) if run is not None else None
    world = build_dataset(config)
    report = report_samples(
        samples.images,
        world,
        out or parent / (file.stem if run is not None else f"{file.stem}-report"),
        title=f"{run.path.name if run is not None else ''} {file.stem}".strip(),
        details={"file": file.name, "sampler": dict(samples.sampler)},
        probes=probes,
        split=WordSplit(world.grammar, config.data.training_words, config.data.seed),
    )
    if as_json:
        recall = report.memorisation.summary() if report.memorisation else None
        opt.print_json(
            {**report.verdicts.summary(), "memorisation": recall, "page": str(report.page)}
        )
        return
    from diffprobe.report.findings import findings, headlines

    for line in [*headlines(report.verdicts), *findings(report.verdicts, report.memorisation)]:
        click.echo(line)
    click.echo(f"page: {report.page}")


def _newest_samples(run: Path) -> Path:
    found = sorted((run / "samples").glob("[!.]*.npz"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise UsageError(
            f"{run} has no samples yet; make some: diffprobe sample --checkpoint {run}"
        )
    return found[-1]


def _newest_probes(run: Path) -> Path | None:
    found = sorted((run / "probes").glob("step-*"))
    return found[-1] if found else None

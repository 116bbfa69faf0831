"""`diffprobe report`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffprobe.cli import options as opt
from diffprobe.errors import UsageError

if TYPE_CHECKING:
    from diffprobe.training.run_folder import RunFolder

TOO_MANY = 3  # exit code where --fail-above is exceeded


@click.command()
@click.argument(
    "sources",
    type=click.Path(path_type=Path),
    metavar="RUN_OR_SAMPLES",
    nargs=-1,
    required=True,
)
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
@click.option(
    "--fail-above",
    type=click.FloatRange(0, 1),
    metavar="X",
    help="Exit with 3 where the lower bound of the violation rate exceeds X.",
)
@click.option("--markdown", is_flag=True, help="Print a summary in Markdown, to paste.")
@opt.options(opt.json_option)
def command(
    sources: tuple[Path, ...],
    dataset: str | None,
    out: Path | None,
    fail_above: float | None,
    markdown: bool,
    as_json: bool,
) -> int:
    """Judge samples: legible? grammatical? how sure?

    RUN_OR_SAMPLES is a run folder (its newest samples) or an .npz with an array `images`,
    (N, 1, H, W) floats in [-1, 1]. Beside the page, the report is written as report.json, as
    samples.csv with one line per sample, and as summary.md.
    """
    if len(sources) > 1:
        raise UsageError("one run or file of samples at a time")
    from diffprobe.datasets import WordSplit, build_dataset
    from diffprobe.report import report_samples
    from diffprobe.sampling import load_samples

    file, run = _find(sources[0])
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
    world = build_dataset(config)
    report = report_samples(
        samples.images,
        world,
        out or parent / (file.stem if run is not None else f"{file.stem}-report"),
        title=f"{run.path.resolve().name if run is not None else ''} {file.stem}".strip(),
        details={"file": file.name, "sampler": dict(samples.sampler)},
        probes=_newest_probes(run.path) if run is not None else None,
        split=WordSplit(world.grammar, config.data.training_words, config.data.seed),
    )
    if as_json:
        opt.print_json({**report.content, "page": report.page})
    elif markdown:
        click.echo((report.folder / "summary.md").read_text("utf-8"), nl=False)
    else:
        from diffprobe.report.findings import headlines

        for line in [*headlines(report.assessment), *report.content["findings"]]:
            click.echo(line)
        click.echo(f"page: {report.page}")
    least = report.assessment.least_violations
    if fail_above is None or least <= fail_above:
        return 0
    click.echo(
        f"diffprobe: at least {least:.1%} of the legible samples break the grammar; "
        f"{fail_above:.1%} are allowed",
        err=True,
    )
    return TOO_MANY


def _find(source: Path) -> "tuple[Path, RunFolder | None]":
    """Return a file of samples, and the run it is of."""
    from diffprobe.training.run_folder import RunFolder, run_of_checkpoint

    if not source.is_dir():
        return source, run_of_checkpoint(source)
    run = RunFolder(source)
    run.description()
    if not _samples(source):
        _offer_samples(run)
    return max(_samples(source), key=lambda path: path.stat().st_mtime), run


def _samples(run: Path) -> list[Path]:
    return list((run / "samples").glob("[!.]*.npz"))


def _offer_samples(run: "RunFolder") -> None:
    """Make samples of a run that has none, if somebody is there to say so."""
    question = f"{run.path} has no samples yet; make {run.config().sampling.n:,} now?"
    if not (sys.stdin.isatty() and click.confirm(question, default=True, err=True)):
        raise UsageError(
            f"{run.path} has no samples yet; make some: diffprobe sample --checkpoint {run.path}"
        )
    from diffprobe.cli.sample import command as sample

    click.get_current_context().invoke(sample, checkpoint=run.path)


def _newest_probes(run: Path) -> Path | None:
    found = sorted((run / "probes").glob("step-*"))
    return found[-1] if found else None

"""`diffprobe report`."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from diffprobe.cli import options as opt
from diffprobe.config import Config
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import to_settings

if TYPE_CHECKING:
    from diffprobe.evaluation.comparison import Comparison
    from diffprobe.evaluation.sweep import Sweep
    from diffprobe.training.run_folder import RunFolder

# What noise depends on, beside the size of the images.
NOISE = ("seed", "n", "batch_size")
TOO_MANY = 3  # exit code where --fail-above is exceeded


@click.command()
@click.argument(
    "sources",
    type=click.Path(path_type=Path),
    metavar="RUN_OR_SAMPLES...",
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
    help="Where to write.  [default: report/ in the run folder, or beside the samples; "
    "comparison/ for several]",
)
@click.option(
    "--fail-above",
    type=click.FloatRange(0, 1),
    metavar="X",
    help="Exit with 3 where the lower bound of the violation rate exceeds X.",
)
@click.option("--markdown", is_flag=True, help="Print a summary in Markdown, to paste.")
@click.option(
    "--paired",
    is_flag=True,
    help="Several sources: sample i of each came from the same noise (same seed, size and batch).",
)
@click.option(
    "--samplers", metavar="A,B", help="Sweep over samplers instead, such as ddim,ddpm,euler."
)
@click.option("--nfe", metavar="N,M", help="Their numbers of steps.  [default: 5,10,20,50]")
@click.option("--eta", metavar="X,Y", help="Their eta, where they have one.  [default: 0]")
@opt.options(opt.set_option, opt.device_option, opt.json_option)
def command(
    sources: tuple[Path, ...],
    dataset: str | None,
    out: Path | None,
    fail_above: float | None,
    markdown: bool,
    paired: bool,
    samplers: str | None,
    nfe: str | None,
    eta: str | None,
    assignments: tuple[str, ...],
    device: str,
    as_json: bool,
) -> int:
    """Judge samples: legible? grammatical? how sure?

    RUN_OR_SAMPLES is a run folder (its newest samples) or an .npz with an array `images`,
    (N, 1, H, W) floats in [-1, 1]. Beside the page, the report is written as report.json, as
    samples.csv with one line per sample, and as summary.md.

    Several sources are compared, each with each. With --samplers one run is sampled in every
    way asked for, and so is the optimum.
    """
    say = "json" if as_json else "markdown" if markdown else "lines"
    if samplers or nfe or eta:
        if len(sources) > 1:
            raise UsageError("a sweep over samplers takes one run")
        swept = _sweep(sources[0], samplers, nfe, eta, assignments, device)
        return _tell(swept, "sweep", out or sources[0] / "report" / "sweep", say)
    if len(sources) > 1:
        if fail_above is not None:
            raise UsageError("--fail-above is for one source")
        found = _compare(sources, dataset, paired)
        return _tell(found, "comparison", out or Path("comparison"), say)
    return _judge(sources[0], dataset, out, fail_above, say)


def _judge(
    source: Path, dataset: str | None, out: Path | None, fail_above: float | None, say: str
) -> int:
    from diffprobe.report import draw_losses, report_samples
    from diffprobe.sampling import load_samples

    file, run = _find(source)
    samples = load_samples(file)
    config = _config(file, run, dataset)
    parent = run.path / "report" if run is not None else file.parent
    world = config.dataset()
    report = report_samples(
        samples.images,
        world,
        out or parent / (file.stem if run is not None else f"{file.stem}-report"),
        title=f"{run.path.resolve().name if run is not None else ''} {file.stem}".strip(),
        details={"file": file.name, "sampler": dict(samples.sampler)},
        probes=_newest_probes(run.path) if run is not None else None,
        losses=draw_losses(run) if run is not None else None,
        stream=config.stream.build(world.grammar),
    )
    if say == "json":
        opt.print_json({**report.content, "page": report.page})
    elif say == "markdown":
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


def _compare(sources: tuple[Path, ...], dataset: str | None, paired: bool) -> "Comparison":
    from diffprobe.evaluation.comparison import compare
    from diffprobe.evaluation.verdicts import judge
    from diffprobe.sampling import load_samples

    files = [_find(source) for source in sources]
    names = [_name(file, run) for file, run in files]
    if len(set(names)) < len(names):
        names = _apart([str(file.with_suffix("")) for file, _ in files])  # files of one run
    samples = {name: load_samples(file) for name, (file, _) in zip(names, files, strict=True)}
    _check_noise({name: each.sampler for name, each in samples.items()}, paired)
    sets = {
        name: judge(_config(file, run, dataset).dataset(), samples[name].images)
        for name, (file, run) in zip(names, files, strict=True)
    }
    return compare(sets, paired=paired)


def _check_noise(samplers: dict[str, Mapping[str, Any]], paired: bool) -> None:
    """Refuse pairs that are none, and offer them where they were not asked for."""
    made = {name: tuple(s.get(key) for key in NOISE) for name, s in samplers.items()}
    known = {name: each for name, each in made.items() if None not in each}
    if paired and len(set(known.values())) > 1:
        listed = "; ".join(
            f"{name} has {', '.join(f'{k} {v}' for k, v in zip(NOISE, each, strict=True))}"
            for name, each in known.items()
        )
        raise UsageError(f"--paired is for samples of the same noise, but {listed}")
    if not paired and len(known) == len(made) and len(set(known.values())) == 1:
        click.echo(
            "diffprobe: these samples came from the same noise; --paired tells smaller "
            "differences apart",
            err=True,
        )


def _sweep(
    source: Path,
    samplers: str | None,
    nfe: str | None,
    eta: str | None,
    assignments: tuple[str, ...],
    device: str,
) -> "Sweep":
    from diffprobe.evaluation import sweep
    from diffprobe.foundations import progress
    from diffprobe.foundations.devices import resolve_device
    from diffprobe.models import load_denoiser
    from diffprobe.training.run_folder import RunFolder

    run = RunFolder(source)
    config = opt.resolve_config(base=to_settings(run.config()), assignments=assignments)
    denoiser = load_denoiser(source, config.weights, resolve_device(device))
    return sweep.run(
        denoiser,
        config.dataset(),
        [s.strip() for s in (samplers or "ddim").split(",")],
        opt.numbers("--nfe", nfe or "5,10,20,50", int),
        opt.numbers("--eta", eta or "0", float),
        config.sampling,
        progress.shown,
    )


def _tell(result: "Comparison | Sweep", name: str, folder: Path, say: str) -> int:
    """Write a comparison or a sweep as JSON, Markdown and figure, and print it."""
    from diffprobe.evaluation.comparison import Comparison
    from diffprobe.foundations.atomic import write_text
    from diffprobe.foundations.records import write_record
    from diffprobe.report import comparison, sweep

    write_record(folder / f"{name}.json", result.summary())
    if isinstance(result, Comparison):
        table = comparison.markdown(result)
        comparison.draw(result, folder / name)
    else:
        table = sweep.markdown(result)
        sweep.draw(result, folder / name)
    write_text(folder / f"{name}.md", table)
    if say == "json":
        opt.print_json({**result.summary(), "folder": folder})
    elif say == "markdown":
        click.echo(table, nl=False)
    else:
        for line in result.lines():
            click.echo(line)
        click.echo(f"figure: {folder / name}.png")
    return 0


def _config(file: Path, run: "RunFolder | None", dataset: str | None) -> Config:
    if dataset is not None:
        return opt.dataset_config(dataset)
    if run is not None:
        return run.config()
    raise UsageError(
        f"{file} does not lie in a run folder: say what to judge it by with "
        "--dataset PRESET_OR_FILE.toml"
    )


def _name(file: Path, run: "RunFolder | None") -> str:
    return run.path.resolve().name if run is not None else file.stem


def _apart(names: list[str]) -> list[str]:
    """Leave out the words that all names begin with."""
    words = [re.split("[_/]", name) for name in names]
    while len({tuple(w[:1]) for w in words}) == 1 and all(len(w) > 1 for w in words):
        words = [w[1:] for w in words]
    return ["_".join(w) for w in words]


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

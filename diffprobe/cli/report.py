"""`diffprobe report`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffprobe.cli import options as opt
from diffprobe.cli.comparing import compare_by_validator, compare_sources
from diffprobe.cli.frontier import draw_frontier
from diffprobe.cli.sources import Source, find
from diffprobe.foundations import kinds
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_share, to_settings

if TYPE_CHECKING:
    from diffprobe.evaluation.comparison import Comparison
    from diffprobe.evaluation.sweep import Sweep
    from diffprobe.frontier import Frontier

TOO_MANY = 3  # exit code where --fail-above is exceeded


@click.command()
@click.argument(
    "sources",
    type=opt.PATH,
    metavar="RUN_OR_SAMPLES...",
    nargs=-1,
    required=True,
)
@click.option(
    "--dataset",
    metavar="PRESET_OR_FILE.toml",
    help="What to judge images by that are not of a run.",
)
@click.option(
    "--validator",
    metavar="MODULE:FUNCTION",
    help="A checker of your own, beside the grammar or, of images, without one; several sources "
    "are compared by what it finds.",
)
@click.option(
    "--out",
    type=opt.PATH,
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
@click.option(
    "--frontier",
    is_flag=True,
    help="Of one run: the best of a pool by budget, and each member's gap to it. The pool is of "
    "--samplers (a file of diffprobe tune is one), at each --nfe  [default: 4,8,16,32,64]  and "
    "--eta  [default: 0,1], …",
)
@click.option(
    "--checkpoints", metavar="N,M", help="… of --frontier, of these steps, or all.  [default: last]"
)
@click.option(
    "--weights", metavar="A,B", help="… of --frontier, with these weights.  [default: as sampled]"
)
@opt.options(opt.set_option, opt.device_option, opt.memory_option, opt.json_option)
def command(
    sources: tuple[Path, ...],
    dataset: str | None,
    validator: str | None,
    out: Path | None,
    fail_above: float | None,
    markdown: bool,
    paired: bool,
    samplers: str | None,
    nfe: str | None,
    eta: str | None,
    frontier: bool,
    checkpoints: str | None,
    weights: str | None,
    assignments: tuple[str, ...],
    device: str,
    as_json: bool,
) -> int:
    """Judge samples: legible? grammatical? how sure?

    RUN_OR_SAMPLES is a run folder (the newest samples of its latest step), a folder of pictures,
    or an .npy or .npz of images, (N, C, H, W), in [-1, 1], [0, 1] or bytes. Beside the page, the
    report is written as report.json, as samples.csv with one line per sample, and as summary.md.

    Several sources are compared, each with each. With --samplers one run is sampled in every
    way asked for, and so is the optimum. With --frontier the same makes a pool, which is printed:
    its envelope is the best valid rate within each budget of function evaluations.
    """
    say = "json" if as_json else "markdown" if markdown else "lines"
    if (checkpoints is not None or weights is not None) and not frontier:
        raise UsageError("--checkpoints and --weights say what is in the pool of --frontier")
    if frontier or samplers or nfe or eta:
        what = "a frontier" if frontier else "a sweep over samplers"
        if len(sources) > 1:
            raise UsageError(f"{what} takes one run")
        if validator is not None:
            raise UsageError(f"--validator judges samples that are there, and {what} makes its own")
    if frontier:
        parts = (samplers, nfe, eta, checkpoints, weights)
        found = draw_frontier(sources[0], *parts, assignments, device)
        return _tell(found, "frontier", out or sources[0] / "report" / "frontier", say)
    if samplers or nfe or eta:
        swept = _sweep(sources[0], samplers, nfe, eta, assignments, device)
        return _tell(swept, "sweep", out or sources[0] / "report" / "sweep", say)
    if len(sources) > 1:
        if fail_above is not None:
            raise UsageError("--fail-above is for one source")
        if validator is not None:
            compared = compare_by_validator(sources, validator, dataset, paired)
        else:
            compared = compare_sources(sources, dataset, paired)
        return _tell(compared, "comparison", out or Path("comparison"), say)
    return _judge(sources[0], dataset, validator, out, fail_above, say)


def _judge(
    path: Path,
    dataset: str | None,
    validator: str | None,
    out: Path | None,
    fail_above: float | None,
    say: str,
) -> int:
    source = find(path)
    file, run = source.path, source.run
    folder = out or (
        run.path / "report" / file.stem
        if run is not None
        else file.parent / f"{source.name}-report"
    )
    if validator is not None and source.config(dataset) is None:
        return _check(source, validator, folder, fail_above, say)
    config = source.world(dataset)

    from diffprobe.report import draw_losses, report_samples
    from diffprobe.report.pairing import Beside, probes_beside
    from diffprobe.sampling import as_pictures, step_in_name

    world = config.dataset()
    samples = as_pictures(file, world)
    how = samples.sampler
    step, weights = how.get("training_step", step_in_name(file)), how.get("weights")
    beside = probes_beside(run.path, step, weights) if run is not None else Beside(None, {})
    report = report_samples(
        samples,
        world,
        folder,
        title=f"{source.name} {file.stem}" if run is not None else source.name,
        details={"file": file.name, "sampler": dict(how), **beside.details},
        probes=beside.folder,
        losses=draw_losses(run) if run is not None else None,
        notes=beside.notes,
        stream=config.stream.build(world.grammar),
        validator=validator,
        conditions=config.condition.build(world.grammar),
    )
    if say == "json":
        opt.print_result({**report.content, "page": report.page})
    elif say == "markdown":
        click.echo((report.folder / "summary.md").read_text("utf-8"), nl=False)
    else:
        from diffprobe.report.findings import headlines

        click.echo(f"Samples: {file}")
        for line in [*headlines(report.assessment), *report.content["findings"]]:
            click.echo(line)
        click.echo(f"page: {report.page}")
    least = report.assessment.least_violations
    return _exit_code(least, fail_above, "at least {} of the legible samples break the grammar")


def _check(source: Source, validator: str, folder: Path, fail_above: float | None, say: str) -> int:
    """Show images of which no grammar is known to a validator."""
    from diffprobe.report import report_checked

    report = report_checked(source.path, validator, folder, title=source.name)
    if say == "json":
        opt.print_result({**report.content, "page": report.page})
    elif say == "markdown":
        click.echo((report.folder / "summary.md").read_text("utf-8"), nl=False)
    else:
        for line in report.content["findings"]:
            click.echo(line)
        click.echo(f"page: {report.page}")
    least = report.checked.wrong_rate.low
    return _exit_code(
        least, fail_above, f"{validator} finds fault with at least {{}} of the samples"
    )


def _exit_code(least: float, fail_above: float | None, finding: str) -> int:
    if fail_above is None or least <= fail_above:
        return 0
    click.echo(
        f"diffprobe: {finding.format(f'{least:.1%}')}; {fail_above:.1%} are allowed", err=True
    )
    return TOO_MANY


def _sweep(
    source: Path,
    samplers: str | None,
    nfe: str | None,
    eta: str | None,
    assignments: tuple[str, ...],
    device: str,
) -> "Sweep":
    from diffprobe.training.run_folder import RunFolder

    run = RunFolder(source)
    config = opt.resolve_config(base=to_settings(run.config()), assignments=assignments)
    names = [s.strip() for s in (samplers or "ddim").split(",")]
    for name in names:
        kinds.find("sampler", name)
    steps = opt.numbers("--nfe", nfe or "5,10,20,50", int)
    for number in steps:
        replace(config, sampling=replace(config.sampling, steps=number)).check_own()
    etas = opt.numbers("--eta", eta or "0", float)
    check_share(**{f"--eta {value:g}": value for value in etas})
    opt.begin(f"sampling {source} in every way")

    from diffprobe.evaluation import sweep
    from diffprobe.foundations import progress
    from diffprobe.foundations.devices import resolve_device
    from diffprobe.models import load_denoiser

    denoiser = load_denoiser(source, config.weights, resolve_device(device))
    dataset = config.dataset()
    return sweep.run(
        denoiser,
        dataset,
        names,
        steps,
        etas,
        config.sampling,
        progress.shown,
        conditions=config.condition.build(dataset.grammar),
    )


def _tell(result: "Comparison | Sweep | Frontier", name: str, folder: Path, say: str) -> int:
    """Write a comparison, a sweep or a frontier as JSON, Markdown and figure, and print it."""
    from diffprobe.evaluation.comparison import Comparison
    from diffprobe.evaluation.sweep import Sweep
    from diffprobe.foundations.atomic import write_text
    from diffprobe.foundations.records import write_record
    from diffprobe.report import comparison, frontier, sweep

    write_record(folder / f"{name}.json", result.summary())
    if isinstance(result, Comparison):
        table = comparison.markdown(result)
        comparison.draw(result, folder / name)
    elif isinstance(result, Sweep):
        table = sweep.markdown(result)
        sweep.draw(result, folder / name)
    else:
        table = frontier.markdown(result)
        frontier.draw(result, folder / name)
    write_text(folder / f"{name}.md", table)
    if say == "json":
        opt.print_result({**result.summary(), "folder": folder})
    elif say == "markdown":
        click.echo(table, nl=False)
    else:
        for line in result.lines():
            click.echo(line)
        click.echo(f"figure: {folder / name}.png")
    return 0

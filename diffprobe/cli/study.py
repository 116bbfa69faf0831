"""`diffprobe study`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from diffprobe.cli import options as opt
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import clock
from diffprobe.studies.places import MOST_CELLS

if TYPE_CHECKING:
    from diffprobe.studies.findings import Findings
    from diffprobe.studies.launching import Launcher


class StudyGroup(click.Group):
    """A group that offers the nearest name for an unknown command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; see `click.Group.resolve_command`."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            from diffprobe.foundations.errors import unknown_name

            raise unknown_name("command", f"study {args[0]}", [f"study {n}" for n in self.commands])
        return super().resolve_command(ctx, args)


scale_option = click.option(
    "--scale",
    metavar="SCALE",
    help="tiny, cpu or gpu: seconds, half an hour on two cores, a GPU.  [default: tiny]",
)
question_option = click.option(
    "--question", type=int, metavar="N", help="Ask one question alone, by its number."
)
out_option = click.option(
    "--out",
    type=opt.PATH,
    metavar="FOLDER",
    help="Folder of the study.  [default: runs/studies/ and its name and scale]",
)
parquet_option = click.option(
    "--parquet", is_flag=True, help="Write the tables as Parquet too; needs pyarrow."
)
markdown_option = click.option(
    "--markdown",
    type=opt.PATH,
    metavar="FILE.md",
    help="Write a page of findings too, its figures beside it.",
)


@click.group(cls=StudyGroup)
def command() -> None:
    """Run a grid of trainings, and judge what was claimed of it before.

    \b
    diffprobe study list                      what is shipped
    diffprobe study show capacity             questions, claims, runs
    diffprobe study run capacity --scale tiny
    diffprobe study run FILE.toml             a grid of your own
    diffprobe study report capacity           verdicts again, from the record

    A study asks questions. Each is a grid of configurations and seeds, measures of every run, and
    claims with the rule by which they are supported, not supported, or inconclusive. Runs are
    ordinary run folders that studies share; the same command goes on after Ctrl-C or a kill.
    """


@command.command("list")
@opt.options(opt.json_option)
def list_studies(as_json: bool) -> None:
    """List the shipped studies."""
    from diffprobe.foundations import kinds

    found = {each.name: each.summary for each in kinds.announced("study").values()}
    if as_json:
        opt.print_json(found)
        return
    width = max(map(len, found))
    for name, summary in found.items():
        click.echo(f"{name:{width}}  {summary}")


@command.command("show", short_help="Show questions, claims and runs.")
@click.argument("study")
@opt.options(scale_option, question_option, opt.json_option)
def show(study: str, scale: str | None, question: int | None, as_json: bool) -> None:
    """Show the questions, claims and runs of STUDY, a name or a TOML file."""
    from diffprobe.cli.study_lines import grid_lines
    from diffprobe.foundations.settings import to_settings
    from diffprobe.studies.study import Study

    found = Study.open(study, scale, question)
    if as_json:
        grids = {number: to_settings(grid) for number, grid in found.questions.items()}
        opt.print_json({"study": found.name, "scale": found.scale, "questions": grids})
        return
    click.echo(f"{found.name}{f', {found.scale}' if found.scale else ''}")
    for number, grid in found.questions.items():
        click.echo("\n".join(grid_lines(number, grid)))


@command.command("run", short_help="Run a shipped study, or a TOML file of your own.")
@click.argument("study")
@opt.options(scale_option, question_option, out_option)
@click.option(
    "--cells",
    "store",
    type=opt.PATH,
    default=Path("runs/cells"),
    show_default=True,
    metavar="FOLDER",
    help="Where runs lie, those of all studies.",
)
@click.option(
    "--workers", type=int, metavar="N", help="Work in N processes, which share the cores."
)
@click.option("--cluster", metavar="NAME", help="Submit to a cluster: slurm, or local to try it.")
@click.option(
    "--cluster-set",
    "cluster_options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Option of submitit, such as slurm_partition=gpu or timeout_min=60.",
)
@click.option(
    "--together/--apart",
    default=None,
    help="Train the seeds of a setting at once, or not.  [default: where it is quicker]",
)
@click.option(
    "--max-cells",
    type=int,
    default=MOST_CELLS,
    show_default=True,
    metavar="N",
    help="Refuse a study of more runs.",
)
@opt.options(
    opt.set_option,
    opt.device_option,
    parquet_option,
    markdown_option,
    opt.dry_run_option,
    opt.json_option,
)
def run_command(
    study: str,
    scale: str | None,
    question: int | None,
    out: Path | None,
    store: Path,
    workers: int | None,
    cluster: str | None,
    cluster_options: tuple[str, ...],
    together: bool | None,
    max_cells: int,
    assignments: tuple[str, ...],
    device: str,
    parquet: bool,
    markdown: Path | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Run STUDY, the name of a shipped one or a TOML file of your own.

    What this study or another has run before is not run again. A run that fails is told with its
    error, and the others go on; the exit code is 1 then.
    """
    from diffprobe.studies.study import Study

    opt.one_of(workers=workers, cluster=cluster)
    if cluster_options and cluster is None:
        raise UsageError("--cluster-set goes with --cluster")
    if max_cells < 1:
        raise UsageError(f"--max-cells must be at least 1, not {max_cells}")
    found = Study.open(study, scale, question, assignments)
    # What is wrong with a configuration is told before torch is imported.
    cells = found.cells(max_cells)
    opt.show_warnings()
    if dry_run:
        from diffprobe.cli.study_lines import cost_lines
        from diffprobe.studies.cost import cost

        costs = cost(cells, store)
        if as_json:
            opt.print_json({"cells": costs.rows, "seconds": costs.seconds, "how": costs.how})
        else:
            click.echo("\n".join(cost_lines(costs, workers)))
        return 0

    from diffprobe.foundations import progress
    from diffprobe.foundations.devices import resolve_device
    from diffprobe.foundations.tables import need_pyarrow
    from diffprobe.studies.findings import report_study
    from diffprobe.studies.study import run_study

    if parquet:
        need_pyarrow()
    if cluster is None:
        resolve_device(device)
    folder = out or found.folder
    launcher = _launcher(workers, cluster, folder / "jobs", cluster_options, as_json)
    started = time.monotonic()
    done = run_study(
        found,
        folder,
        store=store,
        launcher=launcher,
        device=device,
        most=max_cells,
        together=together,
        progress=progress.shown,
    )
    findings = report_study(folder, parquet=parquet)
    _tell(findings, markdown, as_json)
    click.echo(f"{len(cells):,} runs, {clock(time.monotonic() - started)}", err=True)
    return 1 if done.failed else 0


@command.command("report", short_help="Judge claims and write the page again.")
@click.argument("study")
@opt.options(scale_option, out_option, parquet_option, markdown_option, opt.json_option)
def report(
    study: str,
    scale: str | None,
    out: Path | None,
    parquet: bool,
    markdown: Path | None,
    as_json: bool,
) -> None:
    """Judge STUDY's claims again, and write its tables, figures and page, from its record.

    STUDY is the name of a shipped study, a TOML file, or the folder of a study. Nothing is run.
    """
    from diffprobe.studies.findings import report_study
    from diffprobe.studies.study import Study

    opt.show_warnings()
    is_folder = (Path(study) / "study.json").exists()
    folder = out or (Path(study) if is_folder else Study.open(study, scale).folder)
    if not (folder / "study.json").exists():
        raise UsageError(
            f"{folder} is not the folder of a study; make it: diffprobe study run {study}"
            + (f" --scale {scale}" if scale else "")
        )
    _tell(report_study(folder, parquet=parquet), markdown, as_json)


def _launcher(
    workers: int | None, cluster: str | None, folder: Path, options: tuple[str, ...], quiet: bool
) -> "Launcher | None":
    if workers is not None:
        from diffprobe.studies.launching.workers import workers as in_processes

        return in_processes(workers)
    if cluster is not None:
        from diffprobe.studies.launching.cluster import cluster as submitted

        given: dict[str, Any] = {}
        for option in options:
            key, equals, value = option.partition("=")
            if not equals or not key:
                raise UsageError(f"--cluster-set {option!r} is not of the form KEY=VALUE")
            given[key] = int(value) if value.isdecimal() else value
        return submitted(cluster, folder, given)
    return None


def _tell(found: "Findings", markdown: Path | None, as_json: bool) -> None:
    if markdown is not None:
        from diffprobe.studies.markdown import write_markdown

        write_markdown(found, markdown)
    if as_json:
        opt.print_json({**found.summary(), "page": found.page})
        return
    for line in found.lines():
        click.echo(line)
    click.echo(f"page   {found.page}")
    click.echo(f"table  {found.folder}/table*.csv")
    if markdown is not None:
        click.echo(f"docs   {markdown}")

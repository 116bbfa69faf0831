"""`diffprobe runs`."""

import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffprobe.cli.options import json_option, options, own_run, print_json, show_warnings
from diffprobe.foundations.errors import CheckpointError

if TYPE_CHECKING:
    from diffprobe.report.runs import RunSummary


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("runs"))
@options(json_option)
def command(folder: Path, as_json: bool) -> None:
    """List the runs in FOLDER: what, when, how far, how good.  [default: runs]

    Of a single run it also draws the losses (loss.png in its folder), while it is training too.
    LDR and excess are those where symbols form; "valid" is the grammatical share of the legible
    samples. @N says that a number is of step N, and not of the last.
    """
    from diffprobe.report.runs import is_run, list_runs

    show_warnings()
    folder = Path(own_run(str(folder)))
    found = list_runs(folder)
    figure = None
    if is_run(folder):
        from diffprobe.report.losses import draw_losses
        from diffprobe.training.run_folder import RunFolder

        if found[0].problem:
            raise CheckpointError(found[0].problem)
        figure = draw_losses(RunFolder(folder))
    if as_json:
        one = {**found[0].rows()[0], "figure": figure} if is_run(folder) else None
        print_json(one or [row for each in found for row in each.rows()])
        return
    if not found:
        click.echo(f"no runs in {folder}; make one: diffprobe train --preset NAME")
        return
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in _table(found, columns):
        click.echo(line)
    if figure is not None:
        click.echo(f"losses: {figure}")


def _table(found: "list[RunSummary]", columns: int | None = None) -> list[str]:
    """Columns under a head; what is empty for all is left out.

    On a terminal of too few columns each run has a paragraph instead.
    """
    head = ["run", "when", "grammar", "network", "steps", "loss", "validation"]
    head += ["LDR", "excess", "gamma", "legible", "valid"]
    rows = [_cells(each) for each in found if not each.problem]
    used = [i for i, _ in enumerate(head) if any(row[i] for row in rows)]
    shown = [[row[i] for i in used] for row in ([head] if rows else []) + rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in shown
    ]
    if columns is not None and max(map(len, lines), default=0) > columns:
        lines = [line for row in rows for line in _paragraph(head, row, columns)]
    return lines + [f"{each.run}  {each.problem}" for each in found if each.problem]


def _paragraph(head: list[str], row: list[str], columns: int) -> list[str]:
    told = [f"{name} {cell}" for name, cell in zip(head[1:], row[1:], strict=True) if cell]
    # A break between a name and its number would part what belongs together.
    text = ", ".join(told).replace(" ", "\0").replace(",\0", ", ")
    wrapped = textwrap.wrap(text, columns, initial_indent="  ", subsequent_indent="  ")
    return [row[0], *(line.replace("\0", " ") for line in wrapped)]


def _cells(run: "RunSummary") -> list[str]:
    def told(value: float | None, form: str, step: int | None = None) -> str:
        if value is None:
            return ""
        return format(value, form) + (f" @{step:,}" if step not in (None, run.steps) else "")

    steps = f"{run.steps:,}" + ("" if run.is_finished else f" of {run.wanted:,}")
    return [
        run.run,
        run.when or "",
        run.grammar or "",
        run.network or "",
        steps,
        told(run.loss, "#.4g"),
        told(run.validation_loss, "#.4g"),
        told(run.ldr, ".3f", run.probed_at),
        told(run.excess_ldr, ".3f", run.probed_at),
        told(run.gamma, ".3f", run.probed_at),
        told(run.legible, ".1%", run.reported_at),
        told(run.grammatical, ".1%", run.reported_at),
    ]

"""`diffprobe law proportions`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffprobe.cli import options as opt

if TYPE_CHECKING:
    from diffprobe.laws.proportions import Proportions


@click.command("proportions", short_help="The shares of data to train on, for a test's shares.")
@click.argument("tables", nargs=-1, required=True, type=opt.PATH, metavar="TABLE...")
@click.option(
    "--test",
    required=True,
    metavar="NAME=SHARE,…",
    help="The proportions of the test, of each component; they sum to one.",
)
@click.option(
    "--samples",
    type=float,
    metavar="N",
    help="Samples of the training that is planned, in the table's unit; by default the sum of each "
    "component's most.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME=COLUMN",
    help="What a table calls component, samples, share, total or error; may be repeated.",
)
@click.option(
    "--out",
    type=opt.PATH,
    default=Path("runs/proportions"),
    show_default=True,
    metavar="FOLDER",
    help="Where proportions.csv and the figure go.",
)
@opt.options(opt.json_option)
def proportions_command(
    tables: tuple[Path, ...],
    test: str,
    samples: float | None,
    columns: tuple[str, ...],
    out: Path,
    as_json: bool,
) -> None:
    """Find the shares of components in training that leave the least error in a test.

    TABLEs in CSV have the columns component, samples (of that component, in training) and error
    (on that component); or share and total in the place of samples. To each component
    A n^-alpha + B is fitted, and the shares are where no sample is worth more elsewhere.
    """
    opt.show_warnings()
    from diffprobe.foundations.tables import write_csv
    from diffprobe.laws.proportions import propose
    from diffprobe.laws.proportions_figures import draw_proportions
    from diffprobe.laws.proportions_files import parse_columns, parse_shares, read_points

    shares, named = parse_shares(test), parse_columns(columns)
    found = propose(read_points(tables, named), shares, samples)
    table = out / "proportions.csv"
    write_csv(table, found.rows())
    draw_proportions(out / "proportions", found)
    if as_json:
        told = {"samples": found.samples, "error": found.error, "matched": found.matched}
        opt.print_json({**told, "gain": found.gain, "components": found.rows(), "table": table})
        return
    for line in proportion_lines(found):
        click.echo(line)
    click.echo(f"written: {table}, and a figure beside it")


def proportion_lines(found: "Proportions") -> list[str]:
    """Return the fits, the shares proposed and what they gain, in words."""
    lines = ["error = A n^-alpha + B, n samples of the component in training:"]
    lines += [
        f"  {fit.name}, {len(fit.samples)} points: alpha {fit.alpha}, A = {fit.A.value:.3g}, "
        f"B {fit.B}"
        for fit in found.components
    ]
    lines.append(f"least expected error with {found.samples:,.6g} samples:")
    lines += [
        f"  {name}: {share} of training, {found.test[name]:g} of the test"
        for name, share in found.shares.items()
    ]
    lines.append(
        f"expected error {found.error:.4g}, in the test's own proportions {found.matched:.4g}: "
        f"{found.gain} of it is saved"
    )
    if not found.gain.low or found.gain.low <= 0:
        lines.append("that anything is saved is not certain: the test's own proportions do as well")
    return lines

"""`diffprobe law reuse`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffprobe.cli import options as opt
from diffprobe.foundations.errors import UsageError

if TYPE_CHECKING:
    from diffprobe.laws.reuse import ReuseTable
    from diffprobe.laws.saturation import Saturation
    from diffprobe.laws.scaling import ScalingFit

SHOWN = 40  # lines of E; the rest are counted


@click.command("reuse", short_help="What several passes over data are worth in fresh data.")
@click.argument("sources", nargs=-1, required=True, type=opt.PATH, metavar="SOURCE...")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME=COLUMN",
    help="What a table calls seen, unique, loss, parameters, rate or seed, and a factor: "
    "seen=tokens*1e9; may be repeated.",
)
@click.option("--passes", metavar="K,K,…", help="Tell E at these K, between the points of a curve.")
@click.option(
    "--smooth",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Average each curve over N of its points.",
)
@click.option(
    "--constants",
    metavar="NAME=VALUE,…",
    help="Fit the scaling law with repeated data, with these E, A, alpha, B and beta, or "
    "'published'.",
)
@click.option(
    "--at", metavar="R_D,R_P", help="With --constants: tell how well the law fits with these, too."
)
@click.option(
    "--out",
    type=opt.PATH,
    default=Path("runs/reuse"),
    show_default=True,
    metavar="FOLDER",
    help="Where reuse.csv and figures go.",
)
@opt.options(opt.json_option)
def reuse_command(
    sources: tuple[Path, ...],
    columns: tuple[str, ...],
    passes: str | None,
    smooth: int,
    constants: str | None,
    at: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Find by which factor E(K, N) data must grow for one pass to do what K passes over N do.

    SOURCEs are tables in CSV, or run folders of the streams epochs or finite, and fresh. A table
    has the columns seen (samples trained on, repeats counted), unique (different ones) and loss,
    and may have parameters, rate (learning rate) and seed. Rows whose unique is not below seen
    are the curve of one pass; E is where that first comes down to the loss of K passes, over N.
    Of rows that differ in their rate alone the least loss counts.
    """
    opt.show_warnings()
    from diffprobe.laws.passes import Column, read_losses
    from diffprobe.laws.reuse import effective_reuse
    from diffprobe.laws.reuse_figures import draw_profile, draw_reuse
    from diffprobe.laws.saturation import fit_saturation
    from diffprobe.laws.scaling import Constants, ScalingLaw, fit_scaling

    named = dict(Column.parse(column) for column in columns)
    if at is not None and constants is None:
        raise UsageError("--at goes with --constants")
    held = opt.numbers("--at", at, float) if at is not None else []
    if at is not None and (len(held) != 2 or not all(0 < r < float("inf") for r in held)):
        raise UsageError(f"--at takes two positive numbers, R_D,R_P, not {at!r}")
    given = Constants.parse(constants) if constants is not None else None
    ks = opt.numbers("--passes", passes, float) if passes is not None else []
    losses = read_losses(sources, named)
    found = effective_reuse(losses, ks, smooth)
    is_defined = any(each.factor.value is not None for each in found.content)
    forms = fit_saturation(found.content)
    scaling = fit_scaling(losses, given) if given is not None else None
    law = ScalingLaw(losses, given) if given is not None else None
    beside = (law.r2(*held), law.objective(*held)) if law is not None and held else None

    table = out / "reuse.csv"
    found.write_csv(table)
    if is_defined:
        draw_reuse(out / "reuse", found, forms)
    if scaling is not None:
        draw_profile(out / "profile", scaling.data, "R_D of the scaling law")
    if as_json:
        at_held = {"r2": beside[0], "objective": beside[1]} if beside is not None else None
        told = {"reuse": found.rows(), "saturation": forms, "scaling": scaling, "at": at_held}
        opt.print_json({**told, "smooth": smooth, "table": table})
        return
    for line in [*reuse_lines(found, forms), *scaling_lines(scaling)]:
        click.echo(line)
    if beside is not None:
        click.echo(f"with R_D, R_P = {at}: R² {beside[0]:.4f}, objective {beside[1]:.6f}")
    click.echo(f"written: {table}{', and figures beside it' if is_defined else ''}")


def reuse_lines(found: "ReuseTable", forms: "list[Saturation]") -> list[str]:
    """Return E of each K and N, those that are not defined last, and the saturating forms."""
    from diffprobe.laws.reuse import in_words

    order = sorted(found.content, key=lambda each: each.factor.value is None)
    lines = [in_words(each) for each in order[:SHOWN]]
    if more := order[SHOWN:]:
        undefined = sum(each.factor.value is None for each in more)
        lines.append(f"… and {len(more)} more in the table, {undefined} of them undefined")
    smooth = f"curves averaged over {found.smooth} points" if found.smooth > 1 else "not smoothed"
    lines.append(f"E at the first crossing, on a line in log(samples); {smooth}")
    if not forms:
        return [*lines, "too few E are defined for the saturating form"]
    lines.append("E = 1 + R (1 − exp(−(K − 1)/R)), R with 95 % of its profile, points independent:")
    for fit in forms:
        size = f"{fit.parameters:.3g} parameters, " if fit.parameters else ""
        lines.append(f"  {size}N = {fit.unique:.4g}: R = {fit.r}")
    return lines


def scaling_lines(fit: "ScalingFit | None") -> list[str]:
    """Return the scaling law with repeated data in words."""
    if fit is None:
        return []
    return [
        f"scaling law, {fit.n} trainings: R_D = {fit.data}, 95 % by the profile; "
        f"R_P = {fit.parameters:.3g}",
        f"  R² {fit.r2:.4f}, objective {fit.objective:.6f}; with repeats as good as new "
        f"R² {fit.r2_as_new:.4f}",
    ]

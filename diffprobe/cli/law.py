"""`diffprobe law`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffprobe.cli import options as opt
from diffprobe.cli.law_proportions import proportions_command
from diffprobe.cli.law_reuse import reuse_command
from diffprobe.foundations.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from diffprobe.laws.comparison import Errors
    from diffprobe.laws.judging import LawRecord
    from diffprobe.laws.schedule_pieces import Floats

ERRORS = ("r2", "mae", "rmse", "relative", "worst")
BESIDE = ("cosine", "linear", "wsd", "constant_with_warmup")

law_option = click.option(
    "--law",
    "name",
    default="multi-power",
    show_default=True,
    metavar="NAME",
    help="Which law: multi-power, momentum or no-drop.",
)
law_argument = click.argument("law", type=opt.PATH, metavar="LAW")


class LawGroup(click.Group):
    """A group that offers the nearest name for an unknown command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; see `click.Group.resolve_command`."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            raise unknown_name("command", f"law {args[0]}", [f"law {n}" for n in self.commands])
        return super().resolve_command(ctx, args)


@click.group(cls=LawGroup)
def command() -> None:
    """Fit the law of loss curves, and foretell other schedules by it.

    \b
    diffprobe law fit cosine.csv constant.csv two.csv --held-out wsd.csv
    diffprobe law predict runs/law cosine --steps 24000
    diffprobe law schedule runs/law --steps 24000
    diffprobe law reuse losses.csv
    diffprobe law proportions errors.csv --test text=0.9,facts=0.1

    A curve is a CSV file with the columns step, lr and loss, or a run folder.
    """


@command.command("fit", short_help="Fit laws to curves, judge them on others.")
@click.argument("curves", nargs=-1, required=True, type=opt.PATH, metavar="CURVE...")
@click.option(
    "--held-out",
    "held",
    multiple=True,
    type=opt.PATH,
    metavar="CURVE",
    help="A curve to judge by, which is not fitted; may be repeated.",
)
@click.option(
    "--warm-up",
    type=int,
    metavar="N",
    help="Steps of the warm-up before the first row of a CSV file.  [default: all before it]",
)
@click.option(
    "--from",
    "first",
    type=int,
    default=0,
    metavar="STEP",
    help="Leave out rows before this step, where the loss follows no law yet.",
)
@click.option(
    "--out",
    type=opt.PATH,
    default=Path("runs/law"),
    show_default=True,
    metavar="FOLDER",
    help="Where law.json and figures go.",
)
@opt.options(opt.json_option)
def fit_command(
    curves: tuple[Path, ...],
    held: tuple[Path, ...],
    warm_up: int | None,
    first: int,
    out: Path,
    as_json: bool,
) -> None:
    """Fit the multi-power law, and simpler ones beside it, to CURVEs.

    Fit to runs of schedules that differ, one of which drops at once: a constant, a cosine and a
    two-stage one. The errors told are those of the curves held out.
    """
    opt.show_warnings()
    from diffprobe.foundations import progress
    from diffprobe.laws import judge, read_curves
    from diffprobe.laws.figures import draw_fit, draw_profile

    fitted = [curve.since(first) for curve in read_curves(curves, warm_up)]
    held_out = [curve.since(first) for curve in read_curves(held, warm_up)]
    if same := {c.resolve() for c in curves} & {h.resolve() for h in held}:
        raise UsageError(f"{same.pop()} is fitted and held out: give it once")
    if late := [curve.name for curve in (*fitted, *held_out) if curve.is_late]:
        click.echo(
            f"{', '.join(late)}: taken to have warmed up until the first row; --warm-up N says "
            "otherwise",
            err=True,
        )
    found = judge(fitted, held_out, progress=progress.shown)
    path = found.write(out)
    best = found.law(next(iter(found.laws)))
    draw_fit(out / "fit", best, fitted, held_out)
    if found.profile is not None:
        draw_profile(out / "profile", found.profile)
    if as_json:
        opt.print_json(found)
        return
    click.echo("\n".join(fit_lines(found)))
    click.echo(f"written: {path}, and fit.png{', profile.png' if found.profile else ''} beside it")


@command.command("predict", short_help="Foretell the loss under a schedule.")
@law_argument
@click.argument("schedule")
@click.option("--steps", type=int, metavar="N", help="How long; of a file, all of it by default.")
@opt.options(law_option, opt.set_option)
@click.option(
    "--out",
    type=opt.PATH,
    metavar="FILE.csv",
    help="Where the curve goes, its figure beside it.  [default: predictions/ beside LAW]",
)
@opt.options(opt.json_option)
def predict_command(
    law: Path,
    schedule: str,
    steps: int | None,
    name: str,
    assignments: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Foretell the loss under SCHEDULE by a LAW that was fitted.

    SCHEDULE is a schedule of training by name, such as cosine or wsd, with settings such as
    --set learning_rate.decay=0.2; or a CSV file with a column lr, or a run folder. What a file
    holds of losses is compared. The interval is that of one reading of one new run.
    """
    opt.show_warnings()
    from diffprobe.foundations.tables import write_csv
    from diffprobe.laws import predict
    from diffprobe.laws.comparison import errors_of
    from diffprobe.laws.curves import read_schedule
    from diffprobe.laws.figures import draw_prediction
    from diffprobe.laws.judging import LawRecord
    from diffprobe.laws.prediction import beyond, steps_of
    from diffprobe.laws.schedule_pieces import Pieces

    record = LawRecord.read(law)
    judged = record.law(name)
    measured = None
    if Path(schedule).exists() or schedule.endswith(".csv"):
        if assignments:
            raise UsageError(f"--set is for a schedule by name, and {schedule} is a file")
        pieces, last, measured = read_schedule(Path(schedule))
        if steps is not None and not 0 < steps <= last + 1:
            raise UsageError(f"{schedule} has {last + 1:,} steps: --steps {steps:,} does not fit")
        last = last if steps is None else steps - 1
    else:
        if steps is None:
            raise UsageError(f"say how long {schedule} goes on: --steps N")
        pieces = Pieces.of_rates(rates_of(record, judged.fit.peak, schedule, steps, assignments))
        last = steps - 1
    found = predict(judged, pieces, steps_of(pieces, last + 1))
    beside = law if law.is_dir() else law.parent
    file = out or beside / "predictions" / f"{Path(schedule).stem}.csv"
    write_csv(file, found.rows())
    draw_prediction(file.with_suffix(""), name, found, measured)
    errors = errors_of(judged.fit, measured) if measured is not None else None
    for note in beyond(judged, record.reach, pieces, last):
        click.echo(f"{schedule} leaves what the law was fitted to: {note}", err=True)
    end = found.rows()[-1]
    if as_json:
        opt.print_json({"law": name, "final": end, "errors": errors, "file": file})
        return
    click.echo(
        f"final loss {end['loss']:.4f} ({end['low']:.4f} to {end['high']:.4f}) after step {last:,}"
    )
    if errors is not None:
        click.echo(f"measured: {in_words(errors)}, at the last row {errors.last:+.4f}")
    click.echo(f"written: {file}, and its figure beside it")


@command.command("schedule", short_help="Find the schedule of the least final loss.")
@law_argument
@click.option("--steps", type=int, required=True, metavar="N", help="Its length.")
@click.option(
    "--warm-up", type=int, metavar="N", help="Steps of its warm-up.  [default: the curves']"
)
@click.option("--peak", type=float, metavar="RATE", help="Its peak.  [default: the curves']")
@click.option(
    "--least",
    type=float,
    default=1e-3,
    show_default=True,
    metavar="SHARE",
    help="Its lowest rate after the warm-up, a share of the peak.",
)
@opt.options(law_option)
@click.option(
    "--out",
    type=opt.PATH,
    default=Path("schedule.csv"),
    show_default=True,
    metavar="FILE.csv",
    help="Where it goes, its figure beside it.",
)
@opt.options(opt.json_option)
def schedule_command(
    law: Path,
    steps: int,
    warm_up: int | None,
    peak: float | None,
    least: float,
    name: str,
    out: Path,
    as_json: bool,
) -> None:
    """Find the schedule whose final loss a LAW foretells to be least.

    It never rises after the warm-up, and never falls to zero. Train with it:

    \b
    diffprobe train … --set learning_rate.name=csv --set learning_rate.file=schedule.csv
    """
    opt.show_warnings()
    from diffprobe.foundations import progress
    from diffprobe.foundations.tables import write_csv
    from diffprobe.laws import optimise
    from diffprobe.laws.figures import draw_schedules
    from diffprobe.laws.judging import LawRecord
    from diffprobe.laws.schedule import final_loss

    record = LawRecord.read(law)
    fit = record.law(name).fit
    rise = record.warm_up if warm_up is None else warm_up
    found = optimise(fit, steps, rise, peak=peak, least=least, progress=progress.shown)
    top = fit.peak if peak is None else peak
    beside = {"optimised": (found.rates, found.loss)}
    for other in BESIDE:
        rates = rates_of(record, top, other, steps, (), rise)
        beside[other] = rates, final_loss(fit, rates)
    write_csv(out, [{"step": i, "lr": float(rate)} for i, rate in enumerate(found.rates)])
    draw_schedules(out.with_suffix(""), name, beside)
    losses = {other: loss for other, (_, loss) in beside.items()}
    if as_json:
        opt.print_json({"law": name, "final_loss": losses, "file": out})
        return
    click.echo(f"final loss after {steps:,} steps, by the {name} law:")
    for other, loss in losses.items():
        click.echo(f"  {other:22} {loss:.4f}")
    click.echo(f"written: {out}, and its figure beside it")


command.add_command(reuse_command)
command.add_command(proportions_command)


def rates_of(
    record: "LawRecord",
    peak: float,
    name: str,
    steps: int,
    assignments: tuple[str, ...],
    warm_up: int | None = None,
) -> "Floats":
    """Return the rates of a schedule that training has by name, by default with a law's peak."""
    import dataclasses

    from diffprobe.foundations import kinds

    kind = kinds.find("learning_rate", name)
    ours = {"peak": peak, "warmup_steps": record.warm_up if warm_up is None else warm_up}
    has: set[str] = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    settings = {"name": name, **{key: value for key, value in ours.items() if key in has}}
    base = {"learning_rate": settings, "training": {"steps": steps}}
    if strange := [a for a in assignments if not a.startswith("learning_rate.")]:
        raise UsageError(f"--set {strange[0]} is no setting of learning_rate")
    return opt.resolve_config(base=base, assignments=assignments).learning_rate.array(steps)


def fit_lines(found: "LawRecord") -> list[str]:
    """Return what was found in words: errors of each law, and the parameters of the first."""
    laws = list(found.laws.values())
    first = laws[0]
    told = "held out" if first.held_out else "fitted"
    curves = first.held_out or first.fitted
    lines = [
        f"fitted to {first.fit.rows:,} rows of {_curves(len(first.fitted))}, peak learning rate "
        f"{first.fit.peak:g}",
        f"means over {_curves(len(curves), told)}:",
        f"{'law':12} {'objective':>9}  " + "  ".join(f"{name:>8}" for name in ERRORS),
    ]
    for law in laws:
        cells = "  ".join(f"{getattr(law.mean, name):8.5f}" for name in ERRORS)
        lines.append(f"{law.fit.law:12} {law.fit.objective:9.2e}  {cells}")
    lines += [f"  {name}: {in_words(errors)}" for name, errors in curves.items()]
    values = first.fit.parameters_of_rates()
    lines.append(
        f"{first.fit.law} law: " + ", ".join(f"{key} {value:.4g}" for key, value in values.items())
    )
    if found.profile is not None:
        spelled = ", ".join(f"{name} {found.profile.spelled(name)}" for name in ("beta", "C"))
        lines.append(f"curves fit as well (95 %) with {spelled}; C here of rates over the peak")
    if len(laws) == 1:
        lines.append("no rate falls in these curves, so that only the law without a drop is fitted")
    return lines


def _curves(n: int, which: str = "") -> str:
    return " ".join(filter(None, [str(n), which, "curve" if n == 1 else "curves"]))


def in_words(errors: "Errors") -> str:
    """Return the errors on one curve in words."""
    return f"R² {errors.r2:.4f}, mean error {errors.mae:.4f}, worst {errors.worst:.2%}"

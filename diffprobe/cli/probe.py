"""`diffprobe probe`, and `diffprobe probe NAME` with the options of one probe.

The options of a probe are the fields of its settings, read without torch.
"""

import dataclasses
import difflib
import json
import typing
from collections.abc import Iterable
from os.path import exists
from pathlib import Path
from typing import Any, Literal, cast

import click
from click.core import ParameterSource

from diffprobe.cli import options as opt
from diffprobe.cli.probe_options import COMMON, COUNTS, EVERYWHERE, OPTION_OF, SHORT_FOR
from diffprobe.config import Config
from diffprobe.foundations import kinds
from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.settings import settings_types, to_settings
from diffprobe.probing.contract import ProbeKind
from diffprobe.probing.region_spec import RegionSpec

MOST_PIXELS = 2**16  # along a side


class ProbeGroup(click.Group):
    """A group whose commands are the probes, each imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the probes."""
        return kinds.names("probe")

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of one probe."""
        if cmd_name not in kinds.names("probe"):
            return None
        return _command_of(cast(type[ProbeKind], kinds.find("probe", cmd_name)))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the probes without importing them."""
        with formatter.section("Probes, each with options of its own"):
            formatter.write_dl([(n, a.summary) for n, a in kinds.announced("probe").items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Take what is a probe's name for the probe, and anything else for the run."""
        if args[0] in self.list_commands(ctx):
            return super().resolve_command(ctx, args)
        _check_run(args[0], self.list_commands(ctx))
        ctx.params["checkpoint"] = opt.one_run(args[0], ctx.params["checkpoint"])
        if args[1:] and args[1] in self.list_commands(ctx):
            return super().resolve_command(ctx, args[1:])
        return args[0], _usual(self), args[1:]


@click.group(
    cls=ProbeGroup,
    invoke_without_command=True,
    options_metavar="[NAME] [RUN]",
    subcommand_metavar="[OPTIONS]",
)
@click.option(
    "--probe",
    "probes",
    multiple=True,
    metavar="NAME",
    help="What to measure, or all that applies; may be repeated.  [default: locality, placement, "
    "attribution]",
)
@click.option("--list", "listing", is_flag=True, help="List the probes and stop.")
@opt.options(*COMMON)
@click.pass_context
def command(
    context: click.Context, /, probes: tuple[str, ...], listing: bool, **common: Any
) -> None:
    """Measure how local a denoiser is beside the optimum, and draw the figures.

    Anybody's denoiser can be probed: a run of diffprobe, or a diffusers folder of another
    model. Where no grammar is known the oracle curves are absent. Results are kept in the
    output folder and measured again only when a setting changes; after Ctrl-C the same
    command goes on.

    RUN is a run folder (its latest checkpoint), a checkpoint folder, any diffusers folder,
    zoo:NAME or hub:owner/name. A word that is a probe's name is the probe; a folder of such a
    name is ./NAME.

    \b
    diffprobe probe RUN                             the usual probes
    diffprobe probe RUN --probe all                 all that apply
    diffprobe probe locality RUN --precision 0.01   one, with its options
    diffprobe probe locality --help                 what these are
    diffprobe probe RUN --sample 4 --cell 2         one sample: why did it break?
    """
    if listing:
        for name, announcement in kinds.announced("probe").items():
            click.echo(f"{name:14} {announcement.summary}")
        context.exit()
    if context.invoked_subcommand is None:
        _probe(probes, {}, **common)
    elif probes and context.invoked_subcommand in kinds.names("probe"):
        raise click.UsageError("Give --probe, or the name of a probe with its options, not both.")


def _check_run(text: str, probes: list[str]) -> None:
    """Raise the error that helps where a word is neither a probe nor a run."""
    if exists(text) or text.startswith(("zoo:", "hub:")) or "/" in text:
        return
    if difflib.get_close_matches(text, probes):
        raise unknown_name("probe", text, probes)
    raise UsageError(f"no checkpoint or run folder at {text}, and no probe: {', '.join(probes)}")


def _usual(group: ProbeGroup) -> click.Command:
    """Return the command of what follows a run: the options that stand without one."""

    @click.pass_context
    def run(context: click.Context, /, **given: Any) -> None:
        given = _with_those_before(context, given)
        _probe(given.pop("probes"), {}, **given)

    rest = [p for p in group.params if p.name != "listing"]
    return click.Command("RUN", callback=run, help=group.help, params=rest)


def _with_those_before(
    context: click.Context, given: dict[str, Any], own: Iterable[str] = ()
) -> dict[str, Any]:
    """Return options with those that stand before the probe's name or the run.

    What is called as one of the probe's `own` is another option there, unless it is a count.
    """
    before = context.parent.params if context.parent is not None else {}
    found = dict(given)
    if "checkpoint" in before:
        found["checkpoint"] = opt.one_run(before["checkpoint"], given["checkpoint"])
    for name, value in before.items():
        default = context.get_parameter_source(name) is ParameterSource.DEFAULT
        if name in given and default and (name not in own or name in COUNTS):
            found[name] = value
    return found


def _command_of(kind: type[ProbeKind]) -> click.Command:
    """Return the command of one probe: its own settings, then what is common."""
    types, usual = settings_types(kind), to_settings(kind())
    own = {_parameter(name): name for name in types}

    @click.pass_context
    def run(context: click.Context, /, run: str | None, **given: Any) -> None:
        given = _with_those_before(context, given, own)
        given["checkpoint"] = opt.one_run(run, given["checkpoint"])
        settings = {f"probes.{kind.name}.{field}": given.pop(name) for name, field in own.items()}
        _probe((kind.name,), settings, **given)

    found = click.Command(kind.name, callback=run, help=kind.__doc__)
    found.params.append(click.Argument(["run"], required=False, metavar="[RUN]"))
    for field in dataclasses.fields(cast(Any, kind)):
        found.params.append(_option(field, types[field.name], usual[field.name]))
    found.params += [p for p in command.params if p.name not in own and _concerns(p, kind)]
    return found


def _concerns(parameter: click.Parameter, kind: type[ProbeKind]) -> bool:
    """Whether an option of all probes changes anything for one of them."""
    if parameter.name in ("probes", "listing"):
        return False
    if parameter.name == "sample":
        return kind.one_sample
    setting = SHORT_FOR.get(str(parameter.name))
    section = str(setting).partition(".")[0]
    return setting is None or setting in EVERYWHERE or {setting, section} & {*kind.reads} != set()


def _parameter(field: str) -> str:
    return OPTION_OF.get(field, field)


def _option(field: "dataclasses.Field[Any]", hint: Any, usual: Any) -> click.Option:
    """Return the option of one setting; what is not given leaves the setting alone."""
    arguments, several = typing.get_args(hint), typing.get_origin(hint) is tuple
    kind: Any = hint
    metavar: str | None = {int: "N", float: "X"}.get(hint, "TEXT")
    if typing.get_origin(hint) is Literal:
        kind, metavar = click.Choice(arguments), None
    elif several:
        kind, metavar = str, "A,…" if Ellipsis in arguments else ",".join("ABCD"[: len(arguments)])
    shown = ",".join(map(str, usual)) if several else str(usual)
    return click.Option(
        [f"--{_parameter(field.name).replace('_', '-')}"],
        type=kind,
        metavar=metavar,
        callback=_several if several else None,
        help=f"{field.metadata.get('help', '')}" + f"  [default: {shown}]" * bool(shown),
    )


def _several(context: click.Context, option: click.Parameter, value: str | None) -> Any:
    """Return the parts of a list separated by commas, numbers where they read as such."""
    if value is None:
        return None
    return [_number_or_text(part.strip()) for part in value.split(",") if part.strip()]


def _counts_of(probes: tuple[str, ...], counts: dict[str, int]) -> dict[str, int]:
    """Return the settings of those probes that have a number of images or levels of their own.

    Args:
        probes: Names; by default the usual ones, as in `choose`.
        counts: Those of `COUNTS` that are given.
    """
    found = {}
    for name in kinds.names("probe"):
        kind = cast(type[ProbeKind], kinds.find("probe", name))
        if name in probes or "all" in probes or (not probes and kind.usual):
            for field in settings_types(kind):
                if (option := _parameter(field)) in counts:
                    found[f"probes.{name}.{field}"] = counts[option]
    return found


def _number_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _probe(
    probes: tuple[str, ...],
    settings: dict[str, Any],
    *,
    checkpoint: str | None = None,
    steps: Literal["last", "all"] = "last",
    log_snr: float | None = None,
    regions: str | None = None,
    dataset: str | None = None,
    images: Path | None = None,
    prompt: str | None = None,
    class_label: int | None = None,
    embeddings: Path | None = None,
    guidance: float = 1.0,
    size: tuple[int, int] | None = None,
    lora: tuple[str, ...] = (),
    dtype: str = "float32",
    out: Path | None = None,
    assignments: tuple[str, ...] = (),
    device: str = "auto",
    dry_run: bool = False,
    as_json: bool = False,
    **short: Any,
) -> None:
    """Measure probes as the command line asks for; `settings` and `short` are typed options."""
    from diffprobe.models.checkpoint_folder import find_checkpoint
    from diffprobe.models.named import HUB
    from diffprobe.training.run_folder import run_of_checkpoint

    if checkpoint is None:
        taken = [f"; {name} is the probe, the folder ./{name}" for name in probes if exists(name)]
        raise UsageError(f"say what to probe: diffprobe probe RUN{''.join(taken)}")
    opt.one_of(level=short.get("level"), log_snr=log_snr)
    opt.one_of(sample=short.get("sample"), images=images)
    if not dry_run:
        checkpoint = opt.own_run(checkpoint)
    run = None
    if not checkpoint.startswith(HUB):  # which a dry run does not download
        run = run_of_checkpoint(find_checkpoint(checkpoint).path)
    counts = {name: short[name] for name in COUNTS if short.get(name) is not None}
    flags = {
        **_counts_of(probes, counts),
        **{SHORT_FOR[name]: value for name, value in short.items()},
        **settings,
    }
    world = opt.dataset_config(dataset) if dataset is not None else None
    base = run.config() if run is not None else world or Config()
    config = opt.resolve_config(base=to_settings(base), assignments=assignments, flags=flags)
    _check(probes, regions, images, guidance, size, config if run is not None else None)
    if dry_run:
        content = to_settings(config)
        given: dict[str, Any] = {
            "prompt": prompt,
            "class_label": class_label,
            "embeddings": embeddings and str(embeddings),
            "guidance": guidance,
            "size": size,
            "lora": lora or None,
            "dtype": dtype,
        }
        foreign = {name: value for name, value in given.items() if value is not None}
        opt.print_json(
            {
                "checkpoint": checkpoint,
                "probes": probes,
                "steps": steps,
                **({} if run is not None else {"model": foreign}),
                "probe": content["probe"],
                "settings": content["probes"],
            }
        )
        return
    opt.begin(f"probing {checkpoint}")
    opt.show_warnings()

    from diffprobe.foundations import progress
    from diffprobe.foundations.devices import resolve_device
    from diffprobe.models import Adapter, Condition
    from diffprobe.probing import along, open_subject, run_probes
    from diffprobe.probing.suite import choose

    subject = open_subject(
        checkpoint,
        config,
        dataset=world.dataset() if world else None,
        images=images,
        log_snr=log_snr,
        regions=regions,
        condition=Condition(prompt, class_label, embeddings, guidance),
        size=size,
        adapters=[Adapter.parse(text) for text in lora],
        dtype=dtype,
        device=resolve_device(device),
        progress=progress.shown,
        own=base,
        cache=(out or (run.path / "probes" if run else Path("probes"))) / "cache",
    )
    for kind in choose(subject, probes)[0].values():
        if cost := kind.cost(subject):
            opt.say(f"each noise level: {cost}")
    if as_json:
        opt.print_result(run_probes(subject, probes, steps=steps, out=out).summary())
        return
    results = run_probes(subject, probes, steps=steps, out=out, told=_tell)
    click.echo(f"figures       {results.folder}/*.png")
    if results.along is not None:
        for line in along.lines(results.along):
            click.echo(line)
    if run is not None:
        click.echo(f"next          diffprobe report {run.path}")


def _tell(lines: list[str]) -> None:
    for line in lines:
        click.echo(line)


def _check(
    probes: tuple[str, ...],
    regions: str | None,
    images: Path | None,
    guidance: float,
    size: tuple[int, int] | None,
    own: Config | None,
) -> None:
    """Refuse what can be told before torch is imported; `own` is the configuration of a run."""
    for name in probes:
        if name not in (known := [*kinds.names("probe"), "all"]):
            raise unknown_name("probe", name, known)
    if images is not None and not images.is_dir():
        raise UsageError(f"no folder of images at {images}")
    if not 1 <= guidance < float("inf"):
        raise UsageError(f"--guidance must be at least 1, which is none; not {guidance:g}")
    if size is not None and not all(1 <= side <= MOST_PIXELS for side in size):
        raise UsageError(f"--size is a height and a width of 1 to {MOST_PIXELS:,} pixels: {size}")
    spec = RegionSpec.parse(regions) if regions is not None else None
    if own is None:
        return
    own.check_own()
    rows, columns = own.images.grid
    if spec is not None and own.images.cell is not None:
        height, width = own.images.cell
        spec.check(rows * height, columns * width)
    there = rows * columns if spec is None else spec.regions
    if there is not None and own.probe.region >= there:
        raise UsageError(f"probe.region={own.probe.region} is outside 0 … {there - 1}")

"""`diffprobe probe`, and `diffprobe probe NAME` with the options of one probe.

The options of a probe are the fields of its settings, read without torch.
"""

import dataclasses
import json
import typing
from pathlib import Path
from typing import Any, Literal, cast

import click
from click.core import ParameterSource

from diffprobe.cli import options as opt
from diffprobe.config import Config
from diffprobe.foundations import kinds
from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.settings import settings_types, to_settings
from diffprobe.probing.contract import ProbeKind
from diffprobe.probing.region_spec import RegionSpec

# Options of every probe, but for those that are called as a setting of its own is.
COMMON = (
    click.option(
        "--checkpoint",
        metavar="RUN",
        help="A run folder (its latest checkpoint), a checkpoint folder, any diffusers folder, or "
        "hub:owner/name.",
    ),
    click.option(
        "--steps",
        type=click.Choice(["last", "all"]),
        default="last",
        show_default=True,
        help="One checkpoint, or also along all of the run.",
    ),
    click.option("--n", type=int, metavar="N", help="Noisy images per noise level."),
    click.option("--levels", type=int, metavar="N", help="Noise levels."),
    click.option(
        "--precision",
        type=float,
        metavar="X",
        help="As many noisy images as make the standard error of LDR, excess and local share so "
        "small.  [default: N; without a grammar up to N, 12 first, to an error of 0.01]",
    ),
    click.option(
        "--level",
        type=int,
        metavar="T",
        help="Timestep of the probes that look at one.  [default: where the grammar is worth most]",
    ),
    click.option(
        "--output",
        type=click.Choice(["x0", "epsilon", "score"]),
        help="Whose Jacobian: the estimate of the image, the noise or the score.",
    ),
    click.option(
        "--baseline-images",
        type=int,
        metavar="N",
        help="Also show the Wiener and local-patch denoisers of N training images.",
    ),
    click.option(
        "--regions",
        metavar="SPEC",
        help="A grid (4x4), boxes (top,left,height,width;…) in pixels, or a mask image.  "
        "[default: the dataset's cells]",
    ),
    click.option(
        "--region", "--cell", type=int, metavar="N", help="Region whose output is looked into."
    ),
    click.option(
        "--dataset",
        metavar="PRESET_OR_FILE.toml",
        help="What a foreign denoiser was trained on: brings the oracles.",
    ),
    click.option(
        "--images",
        type=opt.PATH,
        metavar="FOLDER",
        help="Pictures to probe a foreign denoiser on.  [default: its own samples]",
    ),
    click.option("--prompt", metavar="TEXT", help="Prompt that a conditional model is held at."),
    click.option("--class-label", type=int, metavar="N", help="Class it is held at."),
    click.option(
        "--embeddings",
        type=opt.PATH,
        metavar="FILE.safetensors",
        help="Prompt embeddings it is held at.",
    ),
    click.option(
        "--guidance",
        type=float,
        default=1.0,
        metavar="X",
        help="Classifier-free guidance; 1 is none.",
    ),
    click.option(
        "--size",
        type=(int, int),
        metavar="H W",
        help="Pixels of a foreign model's images.  [default: the model's own]",
    ),
    click.option("--weights", metavar="NAME", help="Which weights: raw, or an average's name."),
    click.option(
        "--out",
        type=opt.PATH,
        metavar="FOLDER",
        help="Where to write.  [default: probes/ in the run folder]",
    ),
    opt.set_option,
    opt.device_option,
    opt.seed_option,
    opt.dry_run_option,
    opt.json_option,
)

MOST_PIXELS = 2**16  # along a side

# Common option -> the setting it is short for.
SHORT_FOR = {
    "n": "probe.images",
    "levels": "probe.levels",
    "precision": "probe.precision",
    "level": "probe.level",
    "output": "probe.output",
    "baseline_images": "probe.baseline_images",
    "region": "probe.region",
    "seed": "probe.seed",
    "weights": "sampling.weights",
}

# What counts for all: where the probes look, at what, and which oracles stand beside it.
EVERYWHERE = ("probe.level", "probe.baseline_images", "sampling.weights")

# A number of images is --n, whether a probe has one of its own or takes that of all probes.
OPTION_OF = {"images": "n"}


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
        """Find a probe's command, offering the nearest name for an unknown one."""
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            raise unknown_name("probe", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


@click.group(cls=ProbeGroup, invoke_without_command=True, subcommand_metavar="[NAME [OPTIONS]]")
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

    \b
    diffprobe probe --checkpoint RUN                             the usual probes
    diffprobe probe --checkpoint RUN --probe all                 all that apply
    diffprobe probe locality --checkpoint RUN --precision 0.01   one, with its options
    diffprobe probe locality --help                              what these are
    """
    if listing:
        for name, announcement in kinds.announced("probe").items():
            click.echo(f"{name:14} {announcement.summary}")
        context.exit()
    if context.invoked_subcommand is None:
        _probe(probes, {}, **common)
    elif probes:
        raise click.UsageError("Give --probe, or the name of a probe with its options, not both.")


def _command_of(kind: type[ProbeKind]) -> click.Command:
    """Return the command of one probe: its own settings, then what is common."""
    types, usual = settings_types(kind), to_settings(kind())
    own = {_parameter(name): name for name in types}

    @click.pass_context
    def run(context: click.Context, /, **given: Any) -> None:
        # An option that is common may stand before the probe's name as well.
        before = context.parent.params if context.parent is not None else {}
        for name, value in before.items():
            default = context.get_parameter_source(name) is ParameterSource.DEFAULT
            if name in given and name not in own and default:
                given[name] = value
        settings = {f"probes.{kind.name}.{field}": given.pop(name) for name, field in own.items()}
        _probe((kind.name,), settings, **given)

    found = click.Command(kind.name, callback=run, help=kind.__doc__)
    for field in dataclasses.fields(cast(Any, kind)):
        found.params.append(_option(field, types[field.name], usual[field.name]))
    found.params += [p for p in command.params if p.name not in own and _concerns(p, kind)]
    return found


def _concerns(parameter: click.Parameter, kind: type[ProbeKind]) -> bool:
    """Whether an option of all probes changes anything for one of them."""
    if parameter.name in ("probes", "listing"):
        return False
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
        counts: Those of "n" and "levels" that are given.
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
    regions: str | None = None,
    dataset: str | None = None,
    images: Path | None = None,
    prompt: str | None = None,
    class_label: int | None = None,
    embeddings: Path | None = None,
    guidance: float = 1.0,
    size: tuple[int, int] | None = None,
    out: Path | None = None,
    assignments: tuple[str, ...] = (),
    device: str = "auto",
    dry_run: bool = False,
    as_json: bool = False,
    **short: Any,
) -> None:
    """Measure probes as the command line asks for; `settings` and `short` are typed options."""
    from diffprobe.models.checkpoint_folder import find_checkpoint
    from diffprobe.training.run_folder import run_of_checkpoint

    if checkpoint is None:
        raise click.UsageError("Missing option '--checkpoint'.")
    run = None
    if not checkpoint.startswith("hub:"):
        run = run_of_checkpoint(find_checkpoint(Path(checkpoint)).path)
    counts = {name: short[name] for name in ("n", "levels") if short.get(name) is not None}
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
        opt.print_json(
            {
                "checkpoint": checkpoint,
                "probes": probes,
                "steps": steps,
                "probe": content["probe"],
                "settings": content["probes"],
            }
        )
        return
    opt.show_warnings()

    from diffprobe.foundations import progress
    from diffprobe.foundations.devices import resolve_device
    from diffprobe.models import Condition
    from diffprobe.probing import along, open_subject, run_probes
    from diffprobe.probing.suite import choose

    subject = open_subject(
        checkpoint,
        config,
        dataset=world.dataset() if world else None,
        images=images,
        regions=regions,
        condition=Condition(prompt, class_label, embeddings, guidance),
        size=size,
        device=resolve_device(device),
        progress=progress.shown,
        own=base,
        cache=(out or (run.path / "probes" if run else Path("probes"))) / "cache",
    )
    for kind in choose(subject, probes)[0].values():
        if cost := kind.cost(subject):
            opt.say(f"each noise level: {cost}")
    if as_json:
        opt.print_json(run_probes(subject, probes, steps=steps, out=out).summary())
        return
    results = run_probes(subject, probes, steps=steps, out=out, told=_tell)
    click.echo(f"figures       {results.folder}/*.png")
    if results.along is not None:
        for line in along.lines(results.along):
            click.echo(line)


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

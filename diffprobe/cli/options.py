"""Options that several commands share, and what they turn into."""

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from diffprobe.config import Config, from_settings
from diffprobe.foundations import memory
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import build_kind
from diffprobe.resolution import preset_names, read_toml, resolve

if TYPE_CHECKING:
    from diffprobe.sampling.samplers import SamplerKind

Command = TypeVar("Command", bound=Callable[..., Any])
Number = TypeVar("Number", int, float)


class PathType(click.Path):
    """A path that names something: an empty one would be the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; see `click.ParamType.convert`."""
        if not str(value):
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


PATH = PathType(path_type=Path)

config_option = click.option(
    "--config",
    "file",
    type=PATH,
    metavar="FILE.toml",
    help="Read settings from a TOML file.",
)
preset_option = click.option(
    "--preset", metavar="NAME", help="Start from a shipped configuration; see diffprobe presets."
)
set_option = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Override one setting; may be repeated.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print results as JSON.")
device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    envvar="DIFFPROBE_DEVICE",
    metavar="DEVICE",
    help="auto, cpu, cuda, cuda:1, …  [env: DIFFPROBE_DEVICE]",
)
seed_option = click.option(
    "--seed",
    type=int,
    envvar="DIFFPROBE_SEED",
    metavar="N",
    help="Seed of everything random.  [env: DIFFPROBE_SEED]",
)
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Print what would be done, and do nothing."
)


def _limit(context: click.Context, parameter: click.Parameter, size: str | None) -> None:
    """Set the budget for as long as the command runs."""
    if size is not None:
        context.with_resource(memory.limited(memory.parse(size)))


memory_option = click.option(
    "--memory",
    metavar="SIZE",
    envvar="DIFFPROBE_MEMORY",
    expose_value=False,
    callback=_limit,
    help="Hold no more than this, such as 4GiB: work is cut into pieces that fit, and what cannot "
    "fit is refused.  [env: DIFFPROBE_MEMORY]",
)
run_argument = click.argument("run", required=False, metavar="[RUN]")
checkpoint_option = click.option(
    "--checkpoint", metavar="RUN", help="The same as the argument RUN."
)


def options(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Apply several option decorators, the first one shown first."""

    def apply(function: Command) -> Command:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


def one_run(argument: str | None, option: str | None) -> str | None:
    """Return the run that a command line names, as an argument or by `--checkpoint`.

    Raises:
        UsageError: If it names two.
    """
    if argument is not None and option is not None:
        raise UsageError(f"say which run once: there are {argument} and --checkpoint {option}")
    return option if argument is None else argument


def own_run(run: str) -> str:
    """Return the path of one's own copy of a run of the zoo or the Hub; anything else as it is."""
    from diffprobe.models.named import is_named

    if not is_named(run):
        return run
    from diffprobe.training.own_copy import own_copy

    if (place := str(own_copy(run))) != run:
        click.echo(f"{run} is in {place}", err=True)
    return place


def one_of(**values: Any) -> None:
    """Raise UsageError where more than one of these options is given, by the names it has."""
    given = [f"--{name.replace('_', '-')}" for name, value in values.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"give {' or '.join(given)}, not both")


def resolve_config(
    *,
    preset: str | None = None,
    file: Path | None = None,
    base: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> Config:
    """Return the configuration of a command: defaults, file, environment, then the command line.

    Args:
        flags: `section.key` -> value of typed options; None leaves a setting alone. They go
            over `assignments`.
        seed: Of everything random, where one is given.
    """
    config = resolve(
        preset=preset,
        file=file,
        base=base,
        environment=os.environ,
        assignments=assignments,
        flags=flags,
    )
    return config if seed is None else config.with_seed(seed)


def dataset_config(name: str) -> Config:
    """Return the configuration of a preset, of a TOML file, or of a run's config.json."""
    if name in preset_names() or not name.endswith((".toml", ".json")):
        return resolve_config(preset=name)
    path = Path(name)
    if path.suffix == ".json":
        try:
            return from_settings(json.loads(path.read_text("utf-8"))["config"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UsageError(f"{path} is not the config.json of a run: {error}") from error
    return resolve_config(file=path)


def sampler_file(name: str) -> "SamplerKind":
    """Return the sampler of a TOML file, as `diffprobe tune sampler` writes it.

    Raises:
        UsageError: If the file is not there, or has no such section.
    """
    settings = read_toml(Path(name))
    if "sampler" not in settings:
        raise UsageError(f"{name} has no section [sampler]")
    if more := [section for section in settings if section != "sampler"]:
        raise UsageError(
            f"{name} says more than [sampler], such as {more[0]}: a file of a sampler has nothing "
            "else"
        )
    return cast("SamplerKind", build_kind("sampler", settings["sampler"], "sampler"))


def begin(message: str) -> None:
    """Say on stderr what is done, before libraries are imported that take seconds."""
    click.echo(f"{message} …", err=True)


def say(message: str) -> None:
    """Say what is about to happen on stderr, where somebody is watching."""
    if sys.stderr.isatty():
        click.echo(message, err=True)


def numbers(option: str, text: str, kind: type[Number]) -> list[Number]:
    """Return the numbers of a list separated by commas.

    >>> numbers("--nfe", "5, 10", int)
    [5, 10]
    """
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"{option} takes numbers separated by commas, not {text!r}") from error


class _ToStderr(logging.Handler):
    """Writes to what is stderr at the time, where `StreamHandler` keeps what was it first."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


def show_warnings() -> None:
    """Send diffprobe's warnings to stderr, one line each."""
    logger = logging.getLogger("diffprobe")
    if not logger.handlers:
        handler = _ToStderr()
        handler.setFormatter(logging.Formatter("diffprobe: %(levelname)s: %(message)s"))
        logger.addHandler(handler)


def print_result(content: Mapping[str, Any]) -> None:
    """Print what a command found as one JSON document, with the most memory it held, in bytes."""
    print_json({**content, "peak_memory": memory.peaks()})


def print_json(content: Any) -> None:
    """Print one JSON document on stdout; what is not defined becomes null."""
    from diffprobe.foundations.records import plain

    click.echo(json.dumps(plain(content), indent=2, allow_nan=False))

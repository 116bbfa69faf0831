"""The command line: `diffprobe train | sample | probe | report | tune | study | runs | demo | …`.

Sub-commands load only when called: importing torch and diffusers takes seconds, `--help` should
not.
"""

import importlib
import signal
import sys
import time
from typing import Any

import click

from diffprobe import __version__
from diffprobe.foundations.errors import DiffprobeError, StoppedError, UsageError
from diffprobe.foundations.launch import is_main, processes, tells_errors
from diffprobe.foundations.signals import exit_code, raised_signals

COMMANDS = {
    "train": "Train a denoiser, or continue an interrupted training.",
    "sample": "Draw images from a checkpoint.",
    "probe": "Measure how local a denoiser is, and draw the figures.",
    "report": "Judge samples: legible? grammatical? how sure?",
    "tune": "Tune a sampler or a network to budgets of evaluations.",
    "study": "Run a grid of trainings, and judge claims about it.",
    "law": "Fit the law of loss curves, foretell schedules by it.",
    "runs": "List run folders: how far, how good; draw their losses.",
    "demo": "See the whole phenomenon in three minutes.",
    "zoo": "List the small checkpoints that are shipped.",
    "push": "Put a run on the Hub, with a card made from its records.",
    "presets": "List the shipped configurations.",
    "kinds": "List what a configuration can choose by name.",
}


# Commands that say at the end how much memory they held.
WORKING = ("train", "sample", "probe", "report", "tune", "demo")

OUT_OF_MEMORY = (
    "out of memory: say how much there is with --memory SIZE (sample, probe, report), such as "
    "--memory 4GiB, or do less at once with --set training.batch_size=… (train)"
)

PATIENCE = 10.0  # seconds in which the first process of a host tells what fails


class LazyGroup(click.Group):
    """A group whose commands are modules of this package, imported when one is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order a first use goes through them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"diffprobe.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, offering the nearest name for an unknown one."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from diffprobe.foundations.errors import unknown_name

            raise unknown_name("command", args[0], COMMANDS)
        if args and args[0] != "train" and processes() > 1:
            raise UsageError(
                f"{args[0]} works in one process, and {processes()} were started: start it "
                "without torchrun, which is for train"
            )
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="diffprobe")
def cli() -> None:
    """Probe diffusion models for hallucination, beside the exact optimum.

    \b
    diffprobe demo                               the phenomenon, in three minutes
    diffprobe train --preset parity-transformer  fit a denoiser
    diffprobe probe RUN                          how local is it
    diffprobe report RUN                         what is wrong in its samples

    Exit codes: 0 done, 1 failed, 2 asked for something impossible or for a file or run that is
    not there, 3 more violations than report --fail-above allows, 130 stopped by Ctrl-C, 143 by
    SIGTERM, 138 by SIGUSR1.
    """


@cli.result_callback()
@click.pass_context
def _tell_memory(context: click.Context, result: Any) -> Any:
    """Say how much memory was held."""
    if context.invoked_subcommand in WORKING and is_main():
        from diffprobe.foundations.memory import peaks, spelled

        held = [("", "process"), (" of the GPU", "gpu")]
        found = {of: spelled(peaks()[name]) for of, name in held if name in peaks()}
        click.echo(", ".join(f"peak memory{of} {size}" for of, size in found.items()), err=True)
    return result


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit; an error is one line on stderr."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        if arguments is not None and any("\0" in argument for argument in arguments):
            raise UsageError("an argument holds a NUL character")
        with raised_signals():
            result: Any = cli.main(arguments, prog_name="diffprobe", standalone_mode=False)
    except StoppedError as error:
        return _fail(str(error), error.exit_code) if tells_errors() else error.exit_code
    except DiffprobeError as error:
        return _fail_alike(str(error), error.exit_code)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        return _fail_alike(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted; nothing already written was lost", exit_code(signal.SIGINT))
    except MemoryError:
        return _fail(OUT_OF_MEMORY, 1)
    except RuntimeError as error:
        # torch has a class of its own on a GPU, and none on a CPU.
        if "out of memory" in str(error) or "can't allocate memory" in str(error):
            return _fail(OUT_OF_MEMORY, 1)
        raise
    except OSError as error:
        # A missing permission, a read-only folder, a closed pipe.
        return _fail(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), 1)
    return result if isinstance(result, int) else 0


def _fail_alike(message: str, code: int) -> int:
    """Tell what in all likelihood fails in every process that was started, once."""
    if not tells_errors():
        # Whoever starts processes ends the others when one fails. If not, it is ours alone.
        time.sleep(PATIENCE)
    return _fail(message, code)


def _fail(message: str, code: int) -> int:
    click.echo(f"diffprobe: error: {' '.join(message.split())}", err=True)
    return code

"""`diffprobe tune`."""

from pathlib import Path

import click

from diffprobe.cli import options as opt
from diffprobe.cli.tune_network import network_command
from diffprobe.foundations.errors import NotFoundError, UsageError, unknown_name
from diffprobe.foundations.settings import to_settings


class TuneGroup(click.Group):
    """A group that offers the nearest name for an unknown command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; see `click.Group.resolve_command`."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            raise unknown_name("command", f"tune {args[0]}", [f"tune {n}" for n in self.commands])
        return super().resolve_command(ctx, args)


@click.group(cls=TuneGroup)
def command() -> None:
    """Tune a sampler, or a network, to budgets of function evaluations by the grammar's verdict.

    \b
    diffprobe tune sampler RUN --out tuned.toml
    diffprobe sample RUN --sampler tuned.toml --sampler-steps 8
    diffprobe report RUN --frontier --samplers ddim,tuned.toml
    diffprobe tune network RUN --out rewarded
    """


@command.command("sampler", short_help="Choose noise levels and eta for each budget of steps.")
@click.argument("run", type=opt.PATH, metavar="RUN")
@click.option(
    "--budgets",
    default="exponential",
    show_default=True,
    metavar="SET",
    help="Numbers of steps to tune to: exponential, uniform, dense, or N,M,…",
)
@click.option(
    "--most", type=int, default=32, show_default=True, metavar="N", help="The last of a SET."
)
@click.option("--generations", type=int, default=12, show_default=True, metavar="N")
@click.option("--candidates", type=int, default=8, show_default=True, metavar="N")
@click.option(
    "--samples",
    type=int,
    default=128,
    show_default=True,
    metavar="N",
    help="Drawn for each candidate.",
)
@click.option("--weights", metavar="NAME", help="Which weights: raw, or an average's name.")
@click.option(
    "--out",
    type=opt.PATH,
    metavar="FILE.toml",
    help="Where the sampler goes.  [default: tuned.toml in the run folder]",
)
@opt.options(
    opt.set_option,
    opt.device_option,
    opt.memory_option,
    opt.seed_option,
    opt.dry_run_option,
    opt.json_option,
)
def sampler_command(
    run: Path,
    budgets: str,
    most: int,
    generations: int,
    candidates: int,
    samples: int,
    weights: str | None,
    out: Path | None,
    assignments: tuple[str, ...],
    device: str,
    seed: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Find where the steps of DDIM should lie, and how much noise they should add.

    RUN is a run folder (its latest checkpoint) or a checkpoint folder. The file that is written
    is a sampler: between its budgets its numbers are interpolated. What it brings is told on
    samples of a seed that it was not tuned on.
    """
    from diffprobe.models.checkpoint_folder import find_checkpoint
    from diffprobe.models.named import own_place
    from diffprobe.training.run_folder import run_of_checkpoint

    if not dry_run:
        run = Path(opt.own_run(str(run)))
    found = find_checkpoint(run)
    folder = run_of_checkpoint(found.path)
    if folder is None:
        raise NotFoundError(f"{run} is not part of a run folder of diffprobe train")
    config = opt.resolve_config(
        base=to_settings(folder.config()),
        assignments=assignments,
        flags={"sampling.weights": weights, "sampling.seed": seed},
    )
    target = out or own_place(run, folder.path) / "tuned.toml"
    if target.suffix != ".toml":
        raise UsageError(f"--out names a file that ends in .toml, not {target}")
    opt.begin(f"tuning a sampler of {found.path}")

    from diffprobe.foundations import progress
    from diffprobe.foundations.atomic import write_text
    from diffprobe.foundations.devices import resolve_device
    from diffprobe.frontier import Search, held_out, tune_sampler
    from diffprobe.frontier.budget_sets import budgets as budgets_of
    from diffprobe.frontier.resuming import Unfinished
    from diffprobe.frontier.tuning import check_installed, check_steps, sampler_toml
    from diffprobe.models import load_denoiser

    named = budgets[:1].isalpha()
    asked = budgets_of(budgets, most) if named else opt.numbers("--budgets", budgets, int)
    steps = check_steps(asked, config.noise.timesteps)
    search = Search(generations, candidates, samples)
    cost = search.evaluations(steps)
    if dry_run:
        opt.print_json({"file": str(target), "budgets": steps, "evaluations": cost})
        return
    check_installed()
    opt.show_warnings()
    denoiser = load_denoiser(found.path, config.weights, resolve_device(device))
    dataset = config.dataset()
    unfinished = Unfinished(
        target.with_suffix(".unfinished.npz"),
        {
            "checkpoint": str(found.path),
            "weights": config.weights,
            "budgets": steps,
            "search": search,
            "seed": config.sampling.seed,
        },
    )
    tuned = tune_sampler(
        denoiser, dataset, steps, search, config.sampling, progress.shown, unfinished
    )
    about = {
        "tuned to": f"{found.path}, weights {config.weights}, grammar {config.grammar.name}",
        "search": f"{generations} generations of {candidates}, {samples} samples each, seed "
        f"{config.sampling.seed}: {cost:,} evaluations",
    }
    write_text(target, sampler_toml(tuned, about))
    unfinished.done()
    judged = held_out(denoiser, dataset, tuned, config.sampling, progress=progress.shown)
    if as_json:
        opt.print_result(
            {
                "file": target,
                "sampler": to_settings(tuned),
                "evaluations": cost,
                "seed": judged.seed,
                "held_out": [vars(each) for each in judged.at],
            }
        )
        return
    for each in judged.at:
        clean, noisy, first, last = tuned.at(each.steps)
        click.echo(f"{each} (clean {clean:g}, noisy {noisy:g}, eta {first:g} to {last:g})")
    click.echo(
        f"held-out noise, seed {judged.seed}, {config.sampling.n:,} samples; tuned with {cost:,} "
        f"evaluations at budgets of {', '.join(map(str, steps))}"
    )
    click.echo(f"written: {target}; diffprobe sample {folder.path} --sampler {target}")


command.add_command(network_command)

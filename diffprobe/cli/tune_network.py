"""`diffprobe tune network`."""

from pathlib import Path

import click

from diffprobe.cli import options as opt
from diffprobe.foundations.errors import NotFoundError, UsageError
from diffprobe.foundations.settings import to_settings


@click.command("network", short_help="Fine-tune the weights by the grammar's verdict.")
@click.argument("run", type=opt.PATH, metavar="RUN")
@click.option(
    "--budgets", default="4,8,16", show_default=True, metavar="N,M", help="Steps of the sampler."
)
@click.option("--rounds", type=int, default=100, show_default=True, metavar="N")
@click.option(
    "--samples",
    type=int,
    default=256,
    show_default=True,
    metavar="N",
    help="Drawn at each budget in a round.",
)
@click.option("--rate", type=float, default=3e-5, show_default=True, metavar="X")
@click.option(
    "--eta",
    type=float,
    default=1.0,
    show_default=True,
    metavar="X",
    help="DDIM's noise, to explore with.",
)
@click.option("--weights", metavar="NAME", help="Which weights to start from.")
@click.option("--out", type=opt.PATH, required=True, metavar="FOLDER", help="The new run folder.")
@opt.options(
    opt.set_option,
    opt.device_option,
    opt.memory_option,
    opt.seed_option,
    opt.dry_run_option,
    opt.json_option,
)
def network_command(
    run: Path,
    budgets: str,
    rounds: int,
    samples: int,
    rate: float,
    eta: float,
    weights: str | None,
    out: Path,
    assignments: tuple[str, ...],
    device: str,
    seed: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Raise the share of valid samples by policy gradient, and tell what it costs in coverage.

    RUN is a run folder (its latest checkpoint) or a checkpoint folder; FOLDER becomes a run folder
    that sample, probe and report take. Before and after are told on samples of a seed that was
    not trained on.
    """
    from diffprobe.models.checkpoint_folder import find_checkpoint
    from diffprobe.training.run_folder import run_of_checkpoint

    found = find_checkpoint(run)
    folder = run_of_checkpoint(found.path)
    if folder is None:
        raise NotFoundError(f"{run} is not part of a run folder of diffprobe train")
    config = opt.resolve_config(
        base=to_settings(folder.config()),
        assignments=assignments,
        flags={"sampling.weights": weights, "sampling.seed": seed, "sampler.name": "ddim"},
    )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already: choose another --out")
    opt.begin(f"fine-tuning {found.path}")

    from diffprobe.foundations import progress
    from diffprobe.foundations.devices import resolve_device
    from diffprobe.frontier import Reward
    from diffprobe.frontier.fine_tuning import fine_tune
    from diffprobe.frontier.tuning import check_steps

    steps = check_steps(opt.numbers("--budgets", budgets, int), config.noise.timesteps)
    reward = Reward(rounds, samples, rate, eta, seed=config.sampling.seed)
    cost = reward.evaluations(steps)
    if dry_run:
        opt.print_json({"folder": str(out), "budgets": steps, "evaluations": cost})
        return
    opt.show_warnings()
    told = fine_tune(found.path, out, config, steps, reward, resolve_device(device), progress.shown)
    if as_json:
        opt.print_result({"folder": out, "evaluations": cost, **told.summary()})
        return
    for line in told.lines():
        click.echo(line)
    click.echo(f"written: {out}; diffprobe sample {out}")

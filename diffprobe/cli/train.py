"""`diffprobe train`."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from diffprobe.cli import options as opt
from diffprobe.config import Config, to_toml
from diffprobe.foundations import memory
from diffprobe.foundations.errors import CheckpointError, UsageError
from diffprobe.foundations.launch import is_main
from diffprobe.foundations.settings import to_settings

if TYPE_CHECKING:
    from diffprobe.training import RunFolder


@click.command()
@opt.options(opt.preset_option, opt.config_option, opt.set_option)
@click.option(
    "--out",
    type=opt.PATH,
    metavar="RUN",
    help="Run folder.  [default: runs/ and the name of the preset or file]",
)
@click.option("--steps", type=int, metavar="N", help="Short for --set training.steps=N.")
@click.option(
    "--replicas",
    type=int,
    metavar="K",
    help="Short for --set training.replicas=K: K seeds at once, each in a run folder below RUN.",
)
@click.option(
    "--branch-from",
    metavar="RUN@STEP",
    help="Start from another run's weights and optimizer at a step whose state it kept.",
)
@opt.options(
    opt.device_option,
    opt.memory_option,
    opt.seed_option,
    opt.dry_run_option,
    opt.json_option,
)
def command(
    preset: str | None,
    file: Path | None,
    assignments: tuple[str, ...],
    out: Path | None,
    steps: int | None,
    replicas: int | None,
    branch_from: str | None,
    device: str,
    seed: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train a denoiser on images of valid words.

    To continue after Ctrl-C, a kill or a crash, run the same command again: the result is the
    same as without the interruption, bit for bit on one machine. With more --steps a finished
    run goes on, where its learning rates allow it. The losses are drawn as loss.png in the run
    folder; diffprobe runs RUN draws them while it is training.
    """
    if preset is None and file is None:
        raise UsageError(
            "say what to train: --preset NAME (see diffprobe presets) or --config FILE"
        )
    config = opt.resolve_config(
        preset=preset,
        file=file,
        assignments=assignments,
        flags={"training.steps": steps, "training.replicas": replicas},
        seed=seed,
    )
    config.check_own()
    out = out or Path("runs") / (preset or str(file and file.stem))
    if is_main():
        opt.begin(f"training {out}")

    from diffprobe.training.run_folder import Branch

    branch = Branch.parse(branch_from) if branch_from is not None else None
    if is_main():
        opt.show_warnings()
    summary = _summary(config)
    _check_memory(config)
    if (n := config.training.replicas) > 1:
        if branch is not None:
            raise UsageError(f"--branch-from starts one run, and training.replicas={n} makes {n}")
        _train_replicas(config, out, device, summary, dry_run=dry_run, as_json=as_json)
        return
    if dry_run:
        from diffprobe.training.loop import prepare

        prepare(config, device, branch)
        if not is_main():
            return
        if as_json:
            opt.print_json({"run": str(out), "summary": summary, "config": to_settings(config)})
        else:
            click.echo(to_toml(config))
            click.echo("\n".join(f"# {line}" for line in [*summary.values(), f"run folder: {out}"]))
        return
    if is_main():
        for line in summary.values():
            click.echo(line, err=True)

    from diffprobe.foundations import progress
    from diffprobe.report import draw_losses
    from diffprobe.training import RunFolder, train

    was_finished = RunFolder(out).is_finished(config, branch)
    # Of a damaged state training says itself what it goes on from.
    with suppress(CheckpointError):
        if is_main() and not was_finished and (done := RunFolder(out).steps_done()):
            click.echo(f"going on from step {done:,}", err=True)
    run = train(config, out, device, progress.shown, branch=branch)
    if not is_main():
        return
    figure = draw_losses(run)
    last = (run.metrics() or [{}])[-1]
    if as_json:
        opt.print_result({"run": str(run.path), "summary": summary, **last, "figure": figure})
        return
    for line in _finish(run, config, last, was_finished):
        click.echo(line)


def _train_replicas(
    config: Config, out: Path, device: str, summary: dict[str, str], *, dry_run: bool, as_json: bool
) -> None:
    """Train several seeds at once, or say what would be trained."""
    from diffprobe.foundations import progress
    from diffprobe.report import draw_losses
    from diffprobe.training import RunFolder, replica_configs, replica_path, train_replicas
    from diffprobe.training.replicas import prepare_replicas

    if RunFolder(out).is_described:
        raise UsageError(
            f"{out} is the run folder of one training; replicas need a folder to hold "
            "their runs: choose another with --out"
        )
    configs = replica_configs(config)
    paths = [replica_path(out, each) for each in configs]
    if dry_run:
        prepare_replicas(configs, device)
        if as_json:
            content = {"summary": summary, "config": to_settings(config)}
            opt.print_json({"runs": [str(path) for path in paths], **content})
        else:
            click.echo(to_toml(config))
            folders = [f"run folder: {path}" for path in paths]
            click.echo("\n".join(f"# {line}" for line in [*summary.values(), *folders]))
        return
    for line in summary.values():
        click.echo(line, err=True)
    finished = [
        RunFolder(path).is_finished(each) for path, each in zip(paths, configs, strict=True)
    ]
    runs = train_replicas(configs, paths, device, progress.shown)
    figures = [draw_losses(run) for run in runs]
    last = [(run.metrics() or [{}])[-1] for run in runs]
    if as_json:
        found = zip(runs, last, figures, strict=True)
        told = [{"run": str(run.path), **end, "figure": figure} for run, end, figure in found]
        opt.print_json({"summary": summary, "runs": told})
        return
    for run, each, end, was in zip(runs, configs, last, finished, strict=True):
        click.echo(_finish(run, each, end, was)[0])
    click.echo(f"losses   {out}/seed-*/loss.png")
    click.echo(f"list     diffprobe runs {out}")
    click.echo(f"probe    diffprobe probe {runs[0].path}")


def _finish(
    run: "RunFolder", config: Config, last: Mapping[str, Any], was_finished: bool
) -> list[str]:
    """Say that all steps are done, what came out, and what can be done next."""
    from diffprobe.training.horizon import can_be_extended
    from diffprobe.training.run_folder import validation_loss_of

    steps, written = config.training.steps, run.last_written()
    when = f" on {written:%Y-%m-%d at %H:%M}" if was_finished and written else ""
    done = f"{run.path}: finished{when}, step {steps:,} of {steps:,}"
    if (loss := last.get(validation_loss_of(config.weights))) is not None:
        done += f", validation loss {loss:.5f} ({config.weights} weights), {last['seconds']:.0f} s"
    go_on = (
        f"--steps N, more than {steps:,}"
        if can_be_extended(config)
        else f"in another folder by --branch-from {run.path}@{steps}; these learning rates end here"
    )
    return [
        done,
        f"losses   {run.path}/loss.png",
        f"probe    diffprobe probe {run.path}",
        f"go on    {go_on}",
    ]


def _check_memory(config: Config) -> None:
    """Refuse what a budget does not hold: a step is the same whatever there is."""
    if memory.budget() is None:
        return
    from diffprobe.models import NetworkDenoiser, noise_scheduler
    from diffprobe.models.footprint import training_bytes

    dataset, batch = config.dataset(), config.training.batch_size
    shape, conditions = dataset.image_shape, config.condition.build(dataset.grammar)
    network = config.network.build(shape, config.training.seed, dataset.grid, conditions)
    needed = training_bytes(
        NetworkDenoiser(network, noise_scheduler(config.noise)),
        shape,
        batch,
        # Weights, gradients, two moments, and each average.
        copies=4 + len(config.averages),
    )
    memory.check(needed, f"training with batches of {batch:,}")


def _summary(config: Config) -> dict[str, str]:
    """Describe what is trained; raises where the configuration does not fit together."""
    from diffprobe.models import parameter_count

    dataset = config.dataset()
    stream = config.stream.build(dataset.grammar)
    conditions = config.condition.build(dataset.grammar)
    network = config.network.build(
        dataset.image_shape, config.training.seed, dataset.grid, conditions
    )
    channels, height, width = dataset.image_shape
    words = dataset.grammar.count()
    stream.check(config.training.steps, config.training.batch_size)
    return {
        "world": (
            f"world: {config.grammar.name} on a grid of {dataset.grid[0]}×{dataset.grid[1]} cells, "
            f"images {channels}×{height}×{width}; {words:,} valid words, trained on "
            f"{stream.description}"
        ),
        "model": f"model: {config.network.name}, {parameter_count(network):,} parameters",
    }

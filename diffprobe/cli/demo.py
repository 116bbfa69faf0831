"""`diffprobe demo`."""

import time
from dataclasses import replace
from pathlib import Path

import click

from diffprobe.cli import options as opt


@click.command()
@click.option(
    "--out",
    type=opt.PATH,
    default=Path("runs/demo"),
    show_default=True,
    metavar="RUN",
    help="Run folder.",
)
@opt.options(opt.set_option, opt.device_option, opt.memory_option, opt.seed_option, opt.json_option)
def command(
    out: Path, assignments: tuple[str, ...], device: str, seed: int | None, as_json: bool
) -> None:
    """See the whole phenomenon in three minutes on two cores.

    Trains a transformer on strips of six symbols with an even number of ones, samples, probes
    every checkpoint and writes one HTML page. The strips come out legible; that they obey the
    rule is a coin toss; and each symbol's output listens to its own cell alone.
    """
    started = time.monotonic()
    config = opt.resolve_config(preset="demo", assignments=assignments, seed=seed)
    opt.begin(f"demo in {out}")
    opt.show_warnings()

    from diffprobe.experiment import run_experiment
    from diffprobe.foundations import progress

    # Probing goes over every checkpoint, and what it samples there is looked at less closely.
    quick = replace(config, sampling=replace(config.sampling, steps=25))
    done = run_experiment(
        config,
        out=out,
        steps="all",
        probing=quick.with_probe("attribution", metric_images=0),
        device=device,
        progress=progress.shown,
    )
    report = done.report("diffprobe demo: parity strips")
    verdicts = report.verdicts
    seconds = time.monotonic() - started
    if as_json:
        opt.print_result(
            {
                **verdicts.summary(),
                "probes": done.probes.summary() if done.probes else None,
                "page": report.page,
                "seconds": seconds,
            }
        )
        return
    click.echo(f"legible       {verdicts.legible_rate}")
    click.echo(f"grammatical   {verdicts.grammatical_rate}; chance {verdicts.product_rate:.1%}")
    if done.probes:
        for line in done.probes.lines("locality", "placement"):
            click.echo(line)
        click.echo(f"figures       {done.probes.folder}/*.png")
    click.echo(f"page          {report.page}")
    click.echo(f"{seconds:.0f} seconds", err=True)

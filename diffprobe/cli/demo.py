"""`diffprobe demo`."""

import time
from dataclasses import replace
from pathlib import Path

import click

from diffprobe.cli import options as opt


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs/demo"),
    show_default=True,
    metavar="RUN",
    help="Run folder.",
)
@opt.options(opt.set_option, opt.device_option, opt.seed_option, opt.json_option)
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
    opt.show_warnings()

    from diffprobe.foundations import progress
    from diffprobe.foundations.devices import resolve_device
    from diffprobe.models import load_denoiser
    from diffprobe.probing import open_subject, run_probes
    from diffprobe.report import report_samples
    from diffprobe.sampling import sample, samples_name
    from diffprobe.training import train

    chosen = resolve_device(device)
    run = train(config, out, device, progress.terminal)
    dataset = config.dataset()
    denoiser = load_denoiser(run.path, config.weights, chosen)
    samples = sample(
        denoiser, dataset.image_shape, config.sampler, config.sampling, progress.terminal
    )
    name = samples_name(config.training.steps, config.sampler, config.sampling, config.weights)
    samples.save(run.path / "samples" / name)
    quick = replace(config, sampling=replace(config.sampling, steps=25))
    quick = quick.with_probe("attribution", metric_images=0)
    subject = open_subject(run.path, quick, device=chosen, progress=progress.terminal)
    results = run_probes(subject, steps="all")
    report = report_samples(
        samples.images,
        dataset,
        run.path / "report" / Path(name).stem,
        title="diffprobe demo: parity strips",
        details={"sampler": dict(samples.sampler)},
        probes=results.folder,
    )
    verdicts = report.verdicts
    seconds = time.monotonic() - started
    if as_json:
        opt.print_json(
            {
                **verdicts.summary(),
                "probes": results.summary(),
                "page": report.page,
                "seconds": seconds,
            }
        )
        return
    click.echo(f"legible       {verdicts.legible_rate}")
    click.echo(f"grammatical   {verdicts.grammatical_rate}; chance {verdicts.product_rate:.1%}")
    for line in results.lines("locality", "placement"):
        click.echo(line)
    click.echo(f"figures       {results.folder}/*.png")
    click.echo(f"page          {report.page}")
    click.echo(f"{seconds:.0f} seconds", err=True)

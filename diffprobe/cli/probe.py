"""`diffprobe probe`."""

from pathlib import Path
from typing import Literal

import click

from diffprobe.cli import options as opt
from diffprobe.foundations.settings import to_settings


@click.command()
@click.option(
    "--checkpoint",
    metavar="RUN",
    help="A run folder (its latest checkpoint), a checkpoint folder, any diffusers folder, or "
    "hub:owner/name.",
)
@click.option(
    "--probe",
    "probes",
    multiple=True,
    metavar="NAME",
    help="What to measure; may be repeated.  [default: locality, placement, attribution]",
)
@click.option("--list", "listing", is_flag=True, help="List the probes and stop.")
@click.option(
    "--steps",
    type=click.Choice(["last", "all"]),
    default="last",
    show_default=True,
    help="One checkpoint, or also along all of the run.",
)
@click.option("--n", type=int, metavar="N", help="Noisy images per noise level.")
@click.option("--levels", type=int, metavar="N", help="Noise levels.")
@click.option(
    "--level",
    type=int,
    metavar="T",
    help="Timestep of the probes that look at one.  [default: where the grammar is worth most]",
)
@click.option(
    "--projections",
    type=int,
    metavar="N",
    help="Random projections per region, 2 or more; 0 computes the Jacobian exactly.",
)
@click.option(
    "--precision",
    type=float,
    metavar="X",
    help="As many images as make the standard error of LDR and excess X.",
)
@click.option(
    "--variant",
    type=click.Choice(["squared", "frobenius", "l1"]),
    help="Norm of the local dependency ratio.",
)
@click.option(
    "--output",
    type=click.Choice(["x0", "epsilon", "score"]),
    help="Whose Jacobian: the estimate of the image, the noise or the score.",
)
@click.option(
    "--baseline-images",
    type=int,
    metavar="N",
    help="Also show the Wiener and local-patch denoisers of N training images.",
)
@click.option(
    "--regions",
    metavar="SPEC",
    help="A grid (4x4), boxes (top,left,height,width;…) in pixels, or a mask image.  [default: "
    "the dataset's cells]",
)
@click.option(
    "--region", "--cell", type=int, metavar="N", help="Region whose output is looked into."
)
@click.option(
    "--dataset",
    metavar="PRESET_OR_FILE.toml",
    help="What a foreign denoiser was trained on: brings the oracles.",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Pictures to probe a foreign denoiser on.  [default: its own samples]",
)
@click.option("--prompt", metavar="TEXT", help="Prompt that a conditional model is held at.")
@click.option("--class-label", type=int, metavar="N", help="Class it is held at.")
@click.option(
    "--embeddings",
    type=click.Path(path_type=Path),
    metavar="FILE.safetensors",
    help="Prompt embeddings it is held at.",
)
@click.option(
    "--guidance", type=float, default=1.0, metavar="X", help="Classifier-free guidance; 1 is none."
)
@click.option(
    "--size",
    type=(int, int),
    metavar="H W",
    help="Pixels of a foreign model's images.  [default: the model's own]",
)
@click.option("--weights", metavar="NAME", help="Which weights: raw, or an average's name.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where to write.  [default: probes/ in the run folder]",
)
@opt.options(
    opt.set_option, opt.device_option, opt.seed_option, opt.dry_run_option, opt.json_option
)
def command(
    checkpoint: str | None,
    probes: tuple[str, ...],
    listing: bool,
    steps: Literal["last", "all"],
    n: int | None,
    levels: int | None,
    level: int | None,
    projections: int | None,
    precision: float | None,
    variant: str | None,
    output: str | None,
    baseline_images: int | None,
    regions: str | None,
    region: int | None,
    dataset: str | None,
    images: Path | None,
    prompt: str | None,
    class_label: int | None,
    embeddings: Path | None,
    guidance: float,
    size: tuple[int, int] | None,
    weights: str | None,
    out: Path | None,
    assignments: tuple[str, ...],
    device: str,
    seed: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Measure how local a denoiser is beside the optimum, and draw the figures.

    Anybody's denoiser can be probed: a run of diffprobe, or a diffusers folder of another
    model. Where no grammar is known the oracle curves are absent. Results are kept in the
    output folder and measured again only when a setting changes; after Ctrl-C the same
    command goes on.
    """
    from diffprobe.foundations import progress
    from diffprobe.foundations.devices import resolve_device
    from diffprobe.models import Condition, find_checkpoint
    from diffprobe.probes import PROBES, dynamics, open_subject, run_probes
    from diffprobe.training.run_folder import run_of_checkpoint

    if listing:
        for name, what in PROBES.items():
            click.echo(f"{name:14} {what}")
        return
    if checkpoint is None:
        raise click.UsageError("Missing option '--checkpoint'.")
    run = None
    if not checkpoint.startswith("hub:"):
        run = run_of_checkpoint(find_checkpoint(Path(checkpoint)).path)
    flags = {
        "probe.images": n,
        "probe.levels": levels,
        "probe.level": level,
        "probe.projections": projections,
        "probe.precision": precision,
        "probe.variant": variant,
        "probe.output": output,
        "probe.baseline_images": baseline_images,
        "probe.region": region,
        "probe.seed": seed,
        "sampling.weights": weights,
    }
    world = opt.dataset_config(dataset) if dataset is not None else None
    base = run.config() if run is not None else world
    config = opt.resolve_config(
        base=to_settings(base) if base else None, assignments=assignments, flags=flags
    )
    if dry_run:
        opt.print_json(
            {
                "checkpoint": checkpoint,
                "probes": probes,
                "steps": steps,
                "probe": to_settings(config)["probe"],
            }
        )
        return
    opt.show_warnings()
    subject = open_subject(
        checkpoint,
        config,
        dataset=world.dataset() if world else None,
        images=images,
        regions=regions,
        condition=Condition(prompt, class_label, embeddings, guidance),
        size=size,
        device=resolve_device(device),
        progress=progress.terminal,
    )
    opt.say(f"each noise level: {subject.cost()}")
    results = run_probes(subject, probes or None, steps=steps, out=out)
    if as_json:
        opt.print_json(results.summary())
        return
    for line in results.lines():
        click.echo(line)
    click.echo(f"figures       {results.folder}/*.png")
    if results.dynamics is not None:
        for line in dynamics.lines(results.dynamics):
            click.echo(line)

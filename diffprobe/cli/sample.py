"""`diffprobe sample`."""

from pathlib import Path

import click

from diffprobe.cli import options as opt
from diffprobe.foundations.errors import NotFoundError, UsageError
from diffprobe.foundations.settings import to_settings

sampling_options = opt.options(
    click.option("--n", type=int, metavar="N", help="How many images."),
    click.option(
        "--sampler",
        metavar="NAME",
        help="One of `diffprobe kinds`, such as ddim, a diffusers scheduler class, or a file of "
        "`diffprobe tune sampler`.",
    ),
    click.option("--sampler-steps", type=int, metavar="N", help="Steps of the sampler."),
    click.option("--eta", type=float, metavar="X", help="DDIM's noise, from 0 to 1."),
    click.option(
        "--guidance",
        type=float,
        metavar="X",
        help="Weight of guidance: by the exact posterior or, on a condition, classifier-free.",
    ),
    click.option(
        "--rejection",
        type=int,
        metavar="K",
        help="Draw what is illegible or ungrammatical again, K times at most.",
    ),
    click.option(
        "--given",
        metavar="WORDS",
        help="Cells that stay as they are: words with _ for each cell to sample, or sets by name.",
    ),
    click.option(
        "--condition",
        metavar="TEXT",
        help="What the network is told: classes or words, by turns; all draws them.",
    ),
    click.option("--batch-size", type=int, metavar="N", help="Images at once."),
    click.option("--weights", metavar="NAME", help="Which weights: raw, or an average's name."),
)


@click.command()
@opt.options(opt.run_argument, opt.checkpoint_option)
@sampling_options
@click.option(
    "--out",
    type=opt.PATH,
    metavar="FILE.npz",
    help="Where to write.  [default: samples/ in the run folder]",
)
@opt.options(
    opt.set_option,
    opt.device_option,
    opt.memory_option,
    opt.seed_option,
    opt.dry_run_option,
    opt.json_option,
)
def command(
    run: str | None,
    checkpoint: str | None,
    n: int | None,
    sampler: str | None,
    sampler_steps: int | None,
    eta: float | None,
    guidance: float | None,
    rejection: int | None,
    given: str | None,
    condition: str | None,
    batch_size: int | None,
    weights: str | None,
    out: Path | None,
    assignments: tuple[str, ...],
    device: str,
    seed: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Draw images from a checkpoint and store them with the resolved sampler.

    RUN is a run folder (its latest checkpoint) or a checkpoint folder.
    """
    source = opt.one_run(run, checkpoint)
    if source is None:
        raise UsageError("say what to sample: diffprobe sample RUN")

    from diffprobe.models.checkpoint_folder import find_checkpoint
    from diffprobe.training.run_folder import run_of_checkpoint

    found = find_checkpoint(Path(source))
    folder = run_of_checkpoint(found.path)
    if folder is None:
        raise NotFoundError(f"{source} is not part of a run folder of diffprobe train")
    base = to_settings(folder.config())
    if sampler is not None and sampler.endswith(".toml"):
        base, sampler = {**base, "sampler": to_settings(opt.sampler_file(sampler))}, None
    config = opt.resolve_config(
        base=base,
        assignments=assignments,
        flags={
            "sampling.n": n,
            "sampler.name": sampler,
            "sampler.eta": eta,
            "sampling.steps": sampler_steps,
            "sampling.guidance": guidance,
            "sampling.rejection": rejection,
            "sampling.given": given,
            "sampling.condition": condition,
            "sampling.batch_size": batch_size,
            "sampling.weights": weights,
            "sampling.seed": seed,
        },
    )
    config.check_own()
    if out is not None and out.is_dir():
        raise UsageError(f"--out names the file to write, and {out} is a folder")
    opt.begin(f"sampling {found.path}")

    from diffprobe.foundations import progress
    from diffprobe.foundations.devices import resolve_device
    from diffprobe.sampling import sample_checkpoint, samples_name

    name = samples_name(found.step, config.sampler, config.sampling, config.weights)
    target = out or folder.path / "samples" / name
    if dry_run:
        settings = to_settings(config)
        opt.print_json({"file": str(target), **{k: settings[k] for k in ("sampler", "sampling")}})
        return
    opt.show_warnings()
    samples = sample_checkpoint(
        found.path,
        config,
        config.dataset(),
        resolve_device(device),
        progress.shown,
    )
    samples.save(target)
    if as_json:
        opt.print_result({"file": str(target), "sampler": samples.sampler})
    else:
        name = samples.sampler["class"]
        click.echo(
            f"{target}: {len(samples.images):,} images by {name}, {config.sampling.steps} steps"
        )
        for line in samples.mended():
            click.echo(line)

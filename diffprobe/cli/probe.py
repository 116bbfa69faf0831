"""`diffprobe probe`."""

from pathlib import Path
from typing import Any, Literal

import click

from diffprobe.cli import options as opt
from diffprobe.config import to_settings
from diffprobe.errors import CheckpointError


@click.command()
@opt.options(opt.checkpoint_option)
@click.option(
    "--steps",
    type=click.Choice(["last", "all"]),
    default="last",
    show_default=True,
    help="One checkpoint, or also along all of the run.",
)
@click.option("--images", type=int, metavar="N", help="Noisy images per noise level.")
@click.option("--levels", type=int, metavar="N", help="Noise levels.")
@click.option(
    "--projections",
    type=int,
    metavar="N",
    help="Random projections per region; 0 computes the Jacobian exactly.",
)
@click.option(
    "--variant",
    type=click.Choice(["squared", "frobenius", "l1", "mean-of-ratios"]),
    help="Norm of the local dependency ratio.",
)
@click.option(
    "--baseline-images",
    type=int,
    metavar="N",
    help="Also show the Wiener and local-patch denoisers of N training images.",
)
@click.option("--cell", type=int, metavar="N", help="Cell whose output is attributed.")
@click.option("--weights", type=click.Choice(["ema", "raw"]), help="Which weights.")
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
    checkpoint: Path,
    steps: Literal["last", "all"],
    images: int | None,
    levels: int | None,
    projections: int | None,
    variant: str | None,
    baseline_images: int | None,
    cell: int | None,
    weights: str | None,
    out: Path | None,
    assignments: tuple[str, ...],
    device: str,
    seed: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Measure how local a denoiser is: LDR, dependence matrix, attribution; figures and JSON."""
    from diffprobe import progress
    from diffprobe.devices import resolve_device
    from diffprobe.models import find_checkpoint
    from diffprobe.probes import probe_checkpoint
    from diffprobe.training.run_folder import run_of_checkpoint

    found = find_checkpoint(checkpoint)
    run = run_of_checkpoint(found.path)
    if run is None:
        raise CheckpointError(f"{checkpoint} is not part of a run folder of diffprobe train")
    flags = {
        "probe.images": images,
        "probe.levels": levels,
        "probe.projections": projections,
        "probe.variant": variant,
        "probe.baseline_images": baseline_images,
        "probe.attribution_cell": cell,
        "probe.seed": seed,
        "sampling.weights": weights,
    }
    config = opt.resolve_config(
        base=to_settings(run.config()), assignments=assignments, flags=flags
    )
    if dry_run:
        opt.print_json(
            {"checkpoint": str(found.path), "steps": steps, "probe": to_settings(config)["probe"]}
        )
        return
    opt.show_warnings()
    results = probe_checkpoint(
        found.path,
        config,
        steps=steps,
        out=out,
        device=resolve_device(device),
        progress=progress.terminal,
    )
    summary = results.summary()
    if as_json:
        opt.print_json(summary)
    else:
        click.echo(describe(summary))
        if summary["dynamics"] is not None:
            click.echo("\n".join(along_training(summary["dynamics"])))


def describe(summary: dict[str, Any]) -> str:
    """Return the headline of the probes in words; ± is a 95 % interval."""
    lines = []
    for name, title in (("symbols_form", "symbols form"), ("grammar", "the grammar is worth most")):
        level = summary["levels"][name]
        oracles = ", ".join(
            f"{who} {ldr['value']:.3f}" for who, ldr in level["ldr"].items() if who != "network"
        )
        lines += [
            f"where {title} (log-SNR {level['log_snr']:.2f}, t = {level['t']})",
            f"  LDR         {_interval(level['ldr']['network'])}; {oracles}",
            f"  excess LDR  {_interval(level['excess_ldr'])} over Bayes",
        ]
    lines.append(f"gamma         {_interval(summary['gamma'])} (0 local, 1 optimal)")
    if summary["mu"] is not None:
        lines.append(f"mu            {_interval(summary['mu'])} (1 recalls its training set)")
    exact = summary["total_correlation_nats"]
    return "\n".join(
        [
            *lines,
            f"missed        {summary['missed_along_nats']:.3f} nats of the grammar's "
            f"{_interval(summary['grammar_nats'])} (exact: {exact:.3f})",
            f"figures       {summary['folder']}/*.png",
        ]
    )


def along_training(rows: list[dict[str, Any]]) -> list[str]:
    """Return a table with a line for each checkpoint."""
    lines = [f"{'step':>8}  {'LDR':15}  {'gamma':15}  {'mu':15}  legible  grammatical"]
    for row in rows:
        mu = _interval(row["mu"]) if row["mu"] else "-"
        legible, grammatical = row["legible"], row["grammatical"]
        share = "-" if grammatical.value is None else f"{grammatical.value:.1%}"
        lines.append(
            f"{row['step']:>8,}  {_interval(row['ldr']):15}  {_interval(row['gamma']):15}  "
            f"{mu:15}  {legible.value:7.1%}  {share} ({grammatical.low:.1%} to "
            f"{grammatical.high:.1%})"
        )
    return lines


def _interval(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.3f} ± {1.96 * estimate['standard_error']:.3f}"

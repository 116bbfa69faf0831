"""`diffprobe report RUN --frontier`."""

from pathlib import Path
from typing import TYPE_CHECKING

from diffprobe.cli import options as opt
from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.settings import check_share, to_settings

if TYPE_CHECKING:
    from diffprobe.frontier import Frontier
    from diffprobe.sampling.samplers import SamplerKind
    from diffprobe.training.run_folder import RunFolder

SAMPLERS = "ddim,ddpm,dpm-solver++"
STEPS = "4,8,16,32,64"
ETAS = "0,1"


def draw_frontier(
    source: Path,
    samplers: str | None,
    nfe: str | None,
    eta: str | None,
    checkpoints: str | None,
    weights: str | None,
    assignments: tuple[str, ...],
    device: str,
) -> "Frontier":
    """Sample from the pool that the options ask for, and return its frontier."""
    from diffprobe.training.run_folder import RunFolder

    run = RunFolder(source)
    config = opt.resolve_config(base=to_settings(run.config()), assignments=assignments)
    steps = opt.numbers("--nfe", nfe or STEPS, int)
    if bad := [number for number in steps if not 0 < number <= config.noise.timesteps]:
        raise UsageError(
            f"--nfe must lie from 1 to the {config.noise.timesteps} noise levels, not {bad[0]}"
        )
    etas = opt.numbers("--eta", eta or ETAS, float)
    check_share(**{f"--eta {value:g}": value for value in etas})
    kinds = samplers_named(SAMPLERS if samplers is None else samplers, etas)
    at = _checkpoints(run, checkpoints)
    sets = _names("--weights", weights) if weights is not None else [config.weights]
    known = [*config.averages, "raw"]
    if unknown := [name for name in sets if name not in known]:
        raise unknown_name("name in --weights", unknown[0], known)
    opt.begin(f"sampling {source} in every way of the pool")

    from diffprobe.foundations import progress
    from diffprobe.foundations.devices import resolve_device
    from diffprobe.frontier import Pool, draw_pool
    from diffprobe.models import load_denoiser

    denoisers = {
        f"step {step:,}, {name}": load_denoiser(
            run.checkpoint_path(step), name, resolve_device(device)
        )
        for step in at
        for name in sets
    }
    return draw_pool(
        Pool(denoisers, kinds, steps), config.dataset(), config.sampling, progress.shown
    )


def samplers_named(text: str, etas: list[float]) -> "list[SamplerKind]":
    """Return samplers of a list of names and files separated by commas, at each eta."""
    from diffprobe.evaluation import sweep

    found: list[SamplerKind] = []
    for name in _names("--samplers", text):
        found += [opt.sampler_file(name)] if name.endswith(".toml") else sweep.with_etas(name, etas)
    return found


def _checkpoints(run: "RunFolder", text: str | None) -> list[int]:
    from diffprobe.models.checkpoint_folder import list_checkpoints

    list_checkpoints(run.path)
    there = run.checkpoint_steps()
    if text is None:
        return there[-1:]
    asked = there if text == "all" else opt.numbers("--checkpoints", text, int)
    if missing := [step for step in asked if step not in there]:
        raise UsageError(
            f"{run.path} has no checkpoint of step {missing[0]:,}; it has "
            f"{', '.join(f'{step:,}' for step in there)}"
        )
    return list(dict.fromkeys(asked))


def _names(option: str, text: str) -> list[str]:
    found = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found:
        raise UsageError(f"the pool is empty: {option} names nothing")
    return found

"""Sampling beside a bare loop of the same diffusers scheduler on the same network.

Both draw one batch in turns in one process; printed is the median over the turns of the bare loop's
time over diffprobe's, with the range of the middle half.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from ratios import Ratio
from torch import Tensor

from diffprobe.config import SamplingConfig
from diffprobe.models import NetworkDenoiser, noise_scheduler
from diffprobe.resolution import resolve
from diffprobe.sampling import sample
from diffprobe.sampling.samplers import SamplerKind
from diffprobe.sampling.samplers.ddim import DDIMConfig
from diffprobe.sampling.samplers.dpm_solver import DPMSolverConfig

BATCH = 256
SECONDS = 8.0  # of turns for each line, five turns at the least
# Preset -> steps of the sampler: the U-Net's are fewer, since each takes a second.
PRESETS = {"demo": 20, "hypercube-mlp": 50, "parity-unet": 2}


def bare(network: torch.nn.Module, scheduler: object, shape: tuple[int, ...]) -> Tensor:
    """A loop as a tutorial has it."""
    with torch.no_grad():
        x = torch.randn(shape)
        for t in scheduler.timesteps:  # type: ignore[attr-defined]
            output = network(x, t).sample
            x = scheduler.step(output, t, x).prev_sample  # type: ignore[attr-defined]
    return x


def timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def compare(preset: str, steps: int, sampler: SamplerKind) -> Ratio:
    """Print one line of the table; return the bare loop's time over diffprobe's."""
    config = resolve(preset=preset)
    shape = config.dataset().image_shape
    network = config.network.build(shape).eval().requires_grad_(False)
    denoiser = NetworkDenoiser(network, noise_scheduler(config.noise), image_shape=shape)
    sampling = SamplingConfig(n=BATCH, batch_size=BATCH, steps=steps)
    scheduler = type(sampler.path(denoiser.schedule, steps).scheduler)  # type: ignore[attr-defined]
    theirs = scheduler.from_config(
        denoiser.scheduler.config, timestep_spacing="trailing", prediction_type="v_prediction"
    )

    def loop() -> None:
        theirs.set_timesteps(steps)
        bare(network, theirs, (BATCH, *shape))

    def ours() -> None:
        sample(denoiser, shape, sampler, sampling, progress=False)

    ours(), loop()
    turns, until = [], time.perf_counter() + SECONDS
    while len(turns) < 5 or time.perf_counter() < until:
        first, second = timed(loop), timed(ours)
        third, fourth = timed(ours), timed(loop)
        turns += [(first, second), (fourth, third)]
    found = Ratio.of([other for other, _ in turns], [mine for _, mine in turns])
    rate = BATCH / statistics.median(mine for _, mine in turns)
    print(
        f"{preset:15} {sampler.name:13} {steps:3} steps  {rate:8,.0f} images/s  "
        f"bare loop over it {found}",
        flush=True,
    )
    return found


if __name__ == "__main__":
    print(f"sampling, batch {BATCH}, {torch.get_num_threads()} threads")
    for preset in sys.argv[1:] or PRESETS:
        for sampler in (DDIMConfig(), DPMSolverConfig()):
            compare(preset, PRESETS[preset], sampler)

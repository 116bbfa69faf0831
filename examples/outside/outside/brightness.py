"""A probe: how bright the output is."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from diffprobe.foundations.intervals import Interval, mean
from diffprobe.probes import ProbeKind
from diffprobe.probing import Keep, Subject
from diffprobe.probing.noise_levels import noisy_inputs


@dataclass(frozen=True)
class Brightness:
    """The mean of all pixels of the output, over inputs."""

    mean: Interval


@dataclass(frozen=True)
class BrightnessConfig(ProbeKind):
    """How bright the denoiser's output is."""

    name: ClassVar[str] = "brightness"
    images: int = 64

    @torch.no_grad()
    def measure(self, subject: Subject, keep: Keep) -> Brightness:
        """Measure it at the subject's level."""
        denoiser, t, seed = subject.denoiser, subject.level, subject.config.probe.seed

        def measured() -> Brightness:
            x_t = noisy_inputs(denoiser, subject.images, self.images, t, seed)
            output = denoiser(x_t, torch.full((len(x_t),), t, device=x_t.device))
            return Brightness(mean(output.double().mean((1, 2, 3)).cpu()))

        return keep("network", Brightness, measured)

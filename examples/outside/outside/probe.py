"""How large the output is."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from diffprobe.foundations.intervals import Interval, mean
from diffprobe.probing import Keep, Subject
from diffprobe.probing.contract import ProbeKind
from diffprobe.probing.noise_levels import noisy_inputs


@dataclass(frozen=True)
class Gain:
    """The norm of the output over that of the noisy image, mean over inputs."""

    gain: Interval


@dataclass(frozen=True)
class GainConfig(ProbeKind):
    """How large the denoiser's output is beside its input."""

    name: ClassVar[str] = "gain"
    reads: ClassVar[tuple[str, ...]] = ("probe.seed",)
    images: int = 64

    @torch.no_grad()
    def measure(self, subject: Subject, keep: Keep) -> Gain:
        """Measure it at the subject's level."""
        denoiser, t, seed = subject.denoiser, subject.level, subject.config.probe.seed

        def measured() -> Gain:
            x_t = noisy_inputs(denoiser, subject.images, self.images, t, seed)
            x0_hat = denoiser(x_t, torch.full((len(x_t),), t, device=x_t.device))
            norms = [x.double().flatten(1).norm(dim=1).cpu() for x in (x0_hat, x_t)]
            return Gain(mean(norms[0] / norms[1]))

        return keep("network", Gain, measured)

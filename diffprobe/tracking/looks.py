"""What is looked at while a network trains: its samples, their rates, and how local it is."""

import copy
import dataclasses
import math
from typing import Any, cast

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from diffprobe.config import Config
from diffprobe.datasets.symbol_images import SymbolImages
from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations.progress import silent
from diffprobe.models.denoiser import NetworkDenoiser, noise_scheduler
from diffprobe.probing import Keep, Subject
from diffprobe.probing.contract import ProbeKind
from diffprobe.probing.opening import subject_of
from diffprobe.sampling import sample
from diffprobe.sampling.of_checkpoint import check_condition
from diffprobe.sampling.samples import as_pictures
from diffprobe.training.run_folder import RunFolder
from diffprobe.training.state import TrainingState

SHOWN = 36  # samples in a picture
WIDE = 600  # pixels of the picture, at least
INPUTS = 16  # of the LDR


class Looks:
    """Looks at the weights that would be sampled, in a copy of the network.

    Args:
        config: Of the training: sampler, probes, weights.
        run: Where what the grammar is worth is kept.
        state: Of the training.
    """

    def __init__(self, config: Config, run: RunFolder, state: TrainingState) -> None:
        self.config, self.run, self.state = config, run, state
        self.dataset: SymbolImages = config.dataset()
        self.stream = config.stream.build(self.dataset.grammar)
        device = next(state.network.parameters()).device
        network = copy.deepcopy(state.network).requires_grad_(False).eval()
        self.denoiser = NetworkDenoiser(
            network, noise_scheduler(config.noise), image_shape=self.dataset.image_shape
        ).to(device)
        self.subject: Subject | None = None
        self.optimum: dict[str, Any] = {}  # the same at every step

    def samples(self) -> tuple[NDArray[np.uint8], dict[str, float]]:
        """Draw `probe.along_samples` images, and judge them.

        Returns:
            A picture of the first of them, (1, H, W, 3); and what shares are "legible", and
            "grammatical" of those, beside "grammatical_by_chance".
        """
        config = self.config
        check_condition(config)
        self._take_weights()
        drawn = sample(
            self.denoiser,
            self.dataset.image_shape,
            config.sampler,
            dataclasses.replace(config.sampling, n=config.probe.along_samples),
            silent,
            dataset=self.dataset,
            conditions=config.condition.build(self.dataset.grammar),
        )
        verdicts = judge(self.dataset, drawn, self.stream)
        pictures = as_pictures(drawn, self.dataset).images
        told = {
            "legible": verdicts.legible_rate.value,
            "grammatical": verdicts.grammatical_rate.value,
            "grammatical_by_chance": verdicts.product_rate,
        }
        return picture(pictures[:SHOWN]), _known(told)

    def locality(self) -> dict[str, float]:
        """Return "ldr" and "excess_ldr" where the grammar is worth most, of few inputs.

        Beside the optimum's own, "bayes_ldr".
        """
        self._take_weights()
        probe = cast(ProbeKind, self.config.probe_settings("locality"))
        if self.subject is None:
            few = dataclasses.replace(self.config.probe, images=INPUTS, precision=0.0)
            self.subject = subject_of(
                self.denoiser,
                self.dataset,
                dataclasses.replace(self.config, probe=few),
                progress=False,
                cache=self.run.path / "probes" / "cache",
            )
        found = probe.glance(self.subject, Keep(None, "locality", {}, self.optimum))
        (level,) = probe.summary(found or {})["levels"]
        told = {
            "ldr": level["ldr"]["network"],
            "bayes_ldr": level["ldr"]["bayes"],
            "excess_ldr": level["excess_ldr"],
        }
        return _known({name: estimate["value"] for name, estimate in told.items()})

    def _take_weights(self) -> None:
        network, name = self.denoiser.network, self.config.weights
        network.load_state_dict(self.state.network.state_dict())
        if name != "raw":
            self.state.averages[name].copy_to(network.parameters())


def picture(images: Tensor) -> NDArray[np.uint8]:
    """Put images side by side, as large as can be seen: (N, C, H, W) in [-1, 1] -> (1, H, W, 3).

    One channel is ink, black at 1, and three are colours.
    """
    n, channels, height, width = images.shape
    columns = max(1, min(n, round(math.sqrt(1.6 * n * height / width))))  # wider than high
    rows = math.ceil(n / columns)
    shades = (images.clamp(-1, 1) + 1) / 2
    shades = 1 - shades.expand(-1, 3, -1, -1) if channels == 1 else shades
    sheet = torch.full((rows * columns, 3, height + 2, width + 2), 0.8)  # grey between them
    sheet[:n, :, 1:-1, 1:-1] = shades
    sheet = rearrange(sheet, "(r c) k h w -> (r h) (c w) k", c=columns)
    scale = math.ceil(WIDE / sheet.shape[1])
    sheet = sheet.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    return (255 * sheet).round().to(torch.uint8).numpy()[None]


def _known(told: dict[str, float | None]) -> dict[str, float]:
    return {name: v for name, v in told.items() if v is not None and math.isfinite(v)}

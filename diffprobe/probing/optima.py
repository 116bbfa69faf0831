"""Which oracles are known of a set of images."""

import logging
from typing import Any

from diffprobe.config import Config
from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.oracles import (
    BayesDenoiser,
    LocalPatchDenoiser,
    ProductDenoiser,
    WienerDenoiser,
    image_baselines,
    training_oracle,
)

logger = logging.getLogger(__name__)

BASELINE_IMAGES = 256  # that the baselines of a set of images are made of, if not said
LARGEST_COVARIANCE = 4096  # numbers in an image; a covariance of 128 MiB in float64


def known_oracles(
    denoiser: Denoiser, images: SymbolImages | ImageSet, config: Config
) -> dict[str, Denoiser]:
    """Return every oracle that the images allow, by name, on the denoiser's noise schedule."""
    scheduler, wanted = denoiser.scheduler, config.probe.baseline_images
    if not isinstance(images, SymbolImages):
        return _image_baselines(images, scheduler, wanted or BASELINE_IMAGES)
    found: dict[str, Denoiser] = {
        "bayes": BayesDenoiser(images, scheduler),
        "product": ProductDenoiser(images, scheduler),
    }
    stream = config.stream.build(images.grammar)
    if stream.plain:
        # Where training draws all valid words for ever, the optimum of the training set is Bayes.
        found["empirical"] = training_oracle(images, scheduler, stream) or found["bayes"]
    if wanted:
        found |= image_baselines(images, scheduler, stream, wanted, config.probe.seed)
    return found


def _image_baselines(images: ImageSet, scheduler: Any, n: int) -> dict[str, Denoiser]:
    """What can be computed from images alone; the Wiener denoiser where its covariance fits."""
    chosen = images.images[:n]
    _, height, width = images.image_shape
    patch = max(height, width) // 8 * 2 + 1  # a quarter of the image, as a block of 4×4 is
    found: dict[str, Denoiser] = {"local-patch": LocalPatchDenoiser(chosen, scheduler, patch)}
    if len(chosen) < 2:
        return found
    if (pixels := chosen[0].numel()) <= LARGEST_COVARIANCE:
        return {"wiener": WienerDenoiser(chosen, scheduler), **found}
    logger.warning(
        "images of %d values are too large for the Wiener baseline (at most %d)",
        pixels,
        LARGEST_COVARIANCE,
    )
    return found

"""What is attributed: how F weighs the pixels of a region's output; and what absent cells are."""

import torch
from torch import Tensor

from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.foundations.errors import UsageError
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.oracles import ProductDenoiser
from diffprobe.probes.attribution.methods import BASELINES
from diffprobe.probing.noise_levels import noisy_inputs
from diffprobe.probing.regions import Regions


def weights_of(
    denoiser: Denoiser,
    dataset: SymbolImages | ImageSet | None,
    regions: Regions,
    region: int,
    output: str,
    x_t: Tensor,
    t: int,
) -> Tensor:
    """Return w of F for `x_t (N, C, H, W)`, of the same shape; `output` is "sum" or "contrast"."""
    if output == "contrast":
        return _contrast(denoiser, dataset, regions, region, x_t, t)
    return regions.masks[region].to(x_t).expand_as(x_t)


def _contrast(
    denoiser: Denoiser,
    dataset: SymbolImages | ImageSet | None,
    regions: Regions,
    region: int,
    x_t: Tensor,
    t: int,
) -> Tensor:
    """Return (g_a - g_b) / ‖g_a - g_b‖² on the region's cell of each image: (N, C, H, W).

    a and b are the likeliest symbols given the cell's own pixels, the same for every denoiser.
    """
    if (
        not isinstance(dataset, SymbolImages)
        or dataset.grammar.symbols < 2
        or not are_cells(regions, dataset)
    ):
        raise UsageError(
            "probes.attribution.output='contrast' needs the cells of a dataset as regions, "
            "and two symbols or more"
        )
    local = ProductDenoiser(dataset, denoiser.scheduler).to(x_t.device)
    level = torch.full((len(x_t),), t, device=x_t.device)
    likeliest = local.posterior(x_t, level)[:, region].topk(2).indices
    glyphs = _mean_glyphs(dataset).to(x_t)
    difference = glyphs[likeliest[:, 0]] - glyphs[likeliest[:, 1]]
    cells = torch.zeros_like(dataset.cells(x_t))
    cells[:, region] = difference / difference.square().sum((1, 2, 3), keepdim=True)
    return dataset.image(cells)


def are_cells(regions: Regions, dataset: SymbolImages) -> bool:
    """Return whether the regions are the dataset's cells, in their order."""
    return torch.equal(regions.masks, Regions.cells(dataset).masks)


def baselines_of(
    denoiser: Denoiser, dataset: SymbolImages | ImageSet | None, x_t: Tensor, t: int, seed: int
) -> dict[str, Tensor]:
    """Return what absent cells of `x_t (N, C, H, W)` may be replaced by, of the same shape.

    Without a dataset to draw other images from these are zeros alone.
    """
    zeros = torch.zeros_like(x_t)
    if dataset is None:
        return {"zeros": zeros}
    alpha, _ = denoiser.alpha_sigma(torch.tensor([t], device=denoiser.device))
    mean = (alpha * mean_image(dataset).to(x_t)).expand_as(x_t)
    other = noisy_inputs(denoiser, dataset, len(x_t), t, seed, block=1)
    return dict(zip(BASELINES, (zeros, mean, other), strict=True))


def owners(regions: Regions, image_shape: tuple[int, ...]) -> tuple[Tensor, tuple[str, ...]]:
    """Return the cell of each pixel, (1, C, H, W) long, and the names of the cells.

    Raises:
        UsageError: If the regions are of images of another shape.
    """
    masks = regions.masks
    if tuple(masks.shape[1:]) != image_shape:
        raise UsageError(
            f"the regions are of images {tuple(masks.shape[1:])}; these are {image_shape}"
        )
    covered = masks.sum(0)
    owner = masks.int().argmax(0).masked_fill(covered == 0, len(regions))
    rest = () if covered.all() else ("rest",)
    return owner[None], (*regions.names, *rest)


def window(regions: Regions) -> tuple[int, int, int] | None:
    """Return C, height, width of the regions where they are alike and tile the image."""
    channels, height, width = regions.masks.shape[1:]
    if regions.boxes[0] is None:
        return None
    _, _, tall, wide = regions.boxes[0]
    tiles = {
        (top, left, tall, wide) for top in range(0, height, tall) for left in range(0, width, wide)
    }
    return (channels, tall, wide) if set(regions.boxes) == tiles else None


def mean_image(dataset: SymbolImages | ImageSet) -> Tensor:
    """Return E[x_0]: (1, C, H, W)."""
    if isinstance(dataset, ImageSet):
        return dataset.images.mean(0, keepdim=True)
    marginals = dataset.grammar.symbol_marginals()
    glyphs = _mean_glyphs(dataset).to(marginals)
    return dataset.image(torch.einsum("lv,vchw->lchw", marginals, glyphs)[None])


def _mean_glyphs(dataset: SymbolImages) -> Tensor:
    """Return the mean over variants of each symbol's glyph: (V, C, h, w)."""
    glyphs = dataset.glyphs
    total = (glyphs.images * glyphs.known[..., None, None, None]).sum(1)
    return total / glyphs.counts[:, None, None, None]

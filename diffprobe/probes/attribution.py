"""Attribution maps of one region's output over the noisy image, and where they agree.

What is attributed, by each of the methods of `attribution_methods`, is one number for each image,

    F(x) = sum over p of w_p x0_hat_p(x),

with w one on the region and zero elsewhere (`attribution_output` "sum"), or the difference of the
cell's two likeliest mean glyphs over its squared norm ("contrast"): exchanging one for the other
changes F by one. The sum hardly tells symbols of equal ink apart, such as "(" and ")".

Two maps, of different methods or of the network and the optimum, agree as far as they rank the
cells alike: Spearman's correlation of |map| summed over each of K cells. Maps that agree about the
region's own cell alone, ahead of all others in both, have 3 / (K + 1) on average.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from diffprobe.config import ProbeConfig
from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.errors import UsageError, unknown_name
from diffprobe.figures import COLORS, LABELS
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.oracles import ProductDenoiser
from diffprobe.probes.attribution_figures import draw_agreement, draw_maps
from diffprobe.probes.attribution_figures import plot as plot
from diffprobe.probes.attribution_methods import BASELINES, METHODS, TITLES, Question
from diffprobe.probes.jacobian import batches
from diffprobe.probes.noise_levels import noisy_inputs
from diffprobe.probes.ratio import standard_error
from diffprobe.probes.regions import Regions, default_regions
from diffprobe.progress import Progress, silent
from diffprobe.records import estimate, interval
from diffprobe.statistics import rank_correlation

if TYPE_CHECKING:
    from diffprobe.probes.cache import Keep
    from diffprobe.probes.subject import Subject

SETTINGS = (
    "region",
    "attribution_images",
    "attribution_methods",
    "attribution_output",
    "attribution_baseline",
    "attribution_steps",
    "attribution_shapley_samples",
    "seed",
)

# A map that adds up to less than this share of its mean over images is left out: where an output is
# certain, what moves it is rounding. So is, as zero, a cell with this share of its map's strongest.
NEGLIGIBLE = 0.01
RESOLUTION = 1e-5


@dataclass(frozen=True)
class Attribution:
    """Maps of one region's output by M methods for N images.

    The K cells are the regions, in their order, and the rest of the image if they leave any.

    Attributes:
        methods: M names.
        maps: (M, N, C, H, W), in units of F per pixel; saliency in units of F per unit of x.
        cell_sums: (M, N, K) sum of |map| over each cell.
        delta: (M, N) sum of the map minus F(x_t) - F(b); NaN for a method that is not complete.
        cell_error: (M, N, K) standard error of each cell's sum over random orders; zero for a
            method without chance.
        x_t: (N, C, H, W), the noisy images.
        x0_hat: (N, C, H, W), the denoiser's output.
        region: Index of the region whose output is attributed, and of its cell.
        mask: (C, H, W) bool, its pixels.
        cells: K names.
        t: Noise level.
        log_snr: The same as log(alpha²/sigma²).
        settings: Output, baseline, steps, Shapley samples, images, seed.
    """

    methods: tuple[str, ...]
    maps: Tensor
    cell_sums: Tensor
    delta: Tensor
    cell_error: Tensor
    x_t: Tensor
    x0_hat: Tensor
    region: int
    mask: Tensor
    cells: tuple[str, ...]
    t: int
    log_snr: float
    settings: dict[str, Any]

    @property
    def shares(self) -> Tensor:
        """(M, N) share of |map| inside the region; NaN where a map is negligible."""
        sums = _telling(self.cell_sums)
        return sums[..., self.region] / sums.sum(-1)

    @property
    def local_share(self) -> tuple[Tensor, Tensor]:
        """(M,) mean of `shares` over images, and its standard error."""
        return _mean_and_error(self.shares)

    @property
    def agreement(self) -> tuple[Tensor, Tensor]:
        """(M, M) rank correlation of methods, mean over images, and its standard error."""
        sums = _telling(self.cell_sums)
        return _mean_and_error(rank_correlation(sums[:, None], sums[None]))

    @property
    def incompleteness(self) -> Tensor:
        """(M,) mean |delta| over mean |F(x_t) - F(b)|; NaN for a method that is not complete."""
        change = self.maps.flatten(2).sum(-1) - self.delta
        return self.delta.abs().mean(-1) / change.abs().mean(-1)

    @property
    def chance(self) -> float:
        """Rank correlation of maps that agree about the region's own cell alone."""
        return 3 / (len(self.cells) + 1)


def measure(
    denoiser: Denoiser,
    dataset: SymbolImages | ImageSet,
    config: ProbeConfig | None = None,
    *,
    t: int,
    regions: Regions | None = None,
    methods: Sequence[str] | None = None,
    description: str = "attribution",
    progress: Progress = silent,
) -> Attribution:
    """Attribute one region's output to the pixels of the noisy image.

    Args:
        denoiser: A network or an oracle.
        dataset: Where the inputs, the prior mean and the default regions come from.
        config: The fields in `SETTINGS`; `batch_size` images are evaluated at once.
        t: Noise level.
        regions: Disjoint; the dataset's cells, or a grid, by default.
        methods: Names from `METHODS` instead of `config.attribution_methods`.
        description: What the progress bar says.
        progress: Called as tqdm is.

    Raises:
        UsageError: If there is no such method, region or level, regions overlap or are of images
            of another shape, a number is too small, the output is not finite, or "contrast" is
            asked for where the region is no cell with glyphs.
    """
    config = config or ProbeConfig()
    regions = default_regions(dataset) if regions is None else regions
    chosen = tuple(dict.fromkeys(config.attribution_methods if methods is None else methods))
    _check(config, chosen)
    region = regions.index(config.region, "probe.region")
    owner, cells = _owners(regions, dataset)
    n, level = config.attribution_images, torch.tensor([t], device=denoiser.device)

    x_t = noisy_inputs(denoiser, dataset, n, t, config.seed)
    other = noisy_inputs(denoiser, dataset, n, t, config.seed, block=1)
    mean = (denoiser.alpha_sigma(level)[0] * _mean_image(dataset).to(x_t)).expand_as(x_t)
    weights = regions.masks[region].to(x_t).expand_as(x_t)
    if config.attribution_output == "contrast":
        weights = _contrast(denoiser, dataset, regions, region, x_t, t)
    with torch.no_grad():
        parts = [denoiser(x, level.expand(len(x))) for x in batches(x_t, config.batch_size)]
    x0_hat = torch.cat(parts)
    if not x0_hat.isfinite().all():
        raise UsageError(f"the denoiser's output at t={t} is not finite")

    def output(x: Tensor, weights: Tensor) -> Tensor:
        total: Tensor = (denoiser(x, level.expand(len(x))) * weights).sum((1, 2, 3))
        return total

    inputs = (x_t, weights, torch.zeros_like(x_t), mean, other)
    questions = [
        Question(
            output=output,
            x=x,
            weights=w,
            baselines=dict(zip(BASELINES, baselines, strict=True)),
            owner=owner.to(x.device),
            window=_window(regions),
            config=config,
        )
        for x, w, *baselines in zip(*(batches(v, config.batch_size) for v in inputs), strict=True)
    ]
    answers = []
    for method in progress(chosen, desc=description, unit="method"):
        by_batch = [METHODS[method](question) for question in questions]
        answers.append([torch.cat(part).cpu() for part in zip(*by_batch, strict=True)])
    maps, delta, cell_error = (torch.stack(part) for part in zip(*answers, strict=True))
    return Attribution(
        methods=chosen,
        maps=maps,
        cell_sums=torch.einsum("mnchw,chwk->mnk", maps.abs(), one_hot(owner[0]).to(maps)),
        delta=delta,
        cell_error=cell_error,
        x_t=x_t.cpu(),
        x0_hat=x0_hat.cpu(),
        region=region,
        mask=regions.masks[region],
        cells=cells,
        t=t,
        log_snr=denoiser.log_snr(level).item(),
        settings={
            "output": config.attribution_output,
            "baseline": config.attribution_baseline,
            "steps": config.attribution_steps,
            "shapley_samples": config.attribution_shapley_samples,
            "images": n,
            "seed": config.seed,
        },
    )


def agreement_between(network: Attribution, oracle: Attribution) -> tuple[Tensor, Tensor]:
    """Return each method's rank correlation of a network's and an oracle's maps, and its error.

    Returns:
        (M,) mean over images, and (M,) its standard error.

    Raises:
        UsageError: If methods, region or inputs differ.
    """
    _check_paired(network, oracle)
    return _mean_and_error(
        rank_correlation(_telling(network.cell_sums), _telling(oracle.cell_sums))
    )


def excess_share(network: Attribution, oracle: Attribution) -> tuple[Tensor, Tensor]:
    """Return each method's local share of a network minus an oracle's, and its paired error.

    Returns:
        (M,) mean over the images at which neither map is negligible, and (M,) its standard error.

    Raises:
        UsageError: If methods, region or inputs differ.
    """
    _check_paired(network, oracle)
    return _mean_and_error(network.shares - oracle.shares)


def probe(subject: "Subject", keep: "Keep") -> dict[str, Attribution]:
    """Attribute the network's output and, beside it, the Bayes optimum's."""
    return subject.measure_each(keep, Attribution, measure, "bayes", regions=subject.regions)


def draw(results: dict[str, Attribution], subject: "Subject", folder: Path) -> None:
    """One image's maps; agreement of methods, shares inside the region, beside the optimum."""
    labels = [LABELS.get(name, subject.architecture) for name in results]
    colors = [COLORS[subject.architecture if name == "network" else name] for name in results]
    shown = list(results.values())
    draw_maps(shown, labels, folder / "attribution")
    draw_agreement(
        shown,
        labels,
        colors,
        agreement_between(*shown) if len(shown) == 2 else None,
        folder / "attribution-agreement",
    )


def summary(results: dict[str, Attribution]) -> dict[str, Any]:
    """Return local shares, agreements of methods and with the optimum, and what is not exact."""
    first = next(iter(results.values()))

    def by_method(values: tuple[Tensor, Tensor]) -> dict[str, dict[str, float]]:
        return dict(zip(first.methods, map(estimate, *values), strict=True))

    beside = (results["network"], results["bayes"]) if "bayes" in results else None
    return {
        "region": first.cells[first.region],
        "t": first.t,
        "log_snr": first.log_snr,
        **first.settings,
        "methods": first.methods,
        "local_share": {name: by_method(r.local_share) for name, r in results.items()},
        "images_told": {
            name: dict(zip(r.methods, r.shares.isfinite().sum(-1).tolist(), strict=True))
            for name, r in results.items()
        },
        "region_size": first.mask.float().mean().item(),
        "excess_local_share": by_method(excess_share(*beside)) if beside else None,
        "network_vs_bayes": by_method(agreement_between(*beside)) if beside else None,
        "chance_agreement": first.chance,
        "agreement": {
            name: dict(zip(("matrix", "matrix_error"), r.agreement, strict=True))
            for name, r in results.items()
        },
        "incompleteness": {
            name: dict(zip(r.methods, r.incompleteness.tolist(), strict=True))
            for name, r in results.items()
        },
        "shapley_error": {name: _shapley_error(r) for name, r in results.items()},
    }


def lines(content: dict[str, Any], subject: "Subject") -> list[str]:
    """Return the headline in words."""
    beside = content["network_vs_bayes"]
    found = [
        f"attribution of {content['region']}, {content['output']} of its output "
        f"(log-SNR {content['log_snr']:.2f}, t = {content['t']}, {content['images']} images)",
        f"  share of |map| inside the region, which is {content['region_size']:.3f} of the image"
        + (f"; rank agreement, {content['chance_agreement']:.2f} if about it alone" * bool(beside)),
    ]
    for method in content["methods"]:
        parts = [f"{who} {interval(by[method])}" for who, by in content["local_share"].items()]
        if beside:
            parts.append(f"network with bayes {interval(beside[method])}")
        found.append(f"  {TITLES[method]:20} " + ", ".join(parts))
    return found


def _check(config: ProbeConfig, methods: Sequence[str]) -> None:
    for method in methods:
        if method not in METHODS:
            raise unknown_name("attribution method", method, METHODS)
    if not methods:
        raise UsageError("probe.attribution_methods names no method")
    for name, least in (("images", 2), ("steps", 1), ("shapley_samples", 2)):
        value = getattr(config, f"attribution_{name}")
        if value < least:
            raise UsageError(f"probe.attribution_{name} must be at least {least}, not {value}")


def _check_paired(network: Attribution, oracle: Attribution) -> None:
    same = (
        network.methods == oracle.methods
        and network.region == oracle.region
        and network.settings == oracle.settings
        and torch.equal(network.x_t, oracle.x_t)
    )
    if not same:
        raise UsageError("attributions are compared for the same methods, region and inputs alone")


def _owners(regions: Regions, dataset: SymbolImages | ImageSet) -> tuple[Tensor, tuple[str, ...]]:
    """Return the cell of each pixel, (1, C, H, W) long, and the names of the cells."""
    masks = regions.masks
    if tuple(masks.shape[1:]) != dataset.image_shape:
        raise UsageError(
            f"the regions are of images {tuple(masks.shape[1:])}; these are {dataset.image_shape}"
        )
    covered = masks.sum(0)
    if (covered > 1).any():
        raise UsageError("attribution by cell needs regions that do not overlap")
    owner = masks.int().argmax(0).masked_fill(covered == 0, len(regions))
    rest = () if covered.all() else ("rest",)
    return owner[None], (*regions.names, *rest)


def _window(regions: Regions) -> tuple[int, int, int] | None:
    """Return C, height, width of the regions where they are alike and tile the image."""
    channels, height, width = regions.masks.shape[1:]
    if regions.boxes[0] is None:
        return None
    _, _, tall, wide = regions.boxes[0]
    tiles = {
        (top, left, tall, wide) for top in range(0, height, tall) for left in range(0, width, wide)
    }
    return (channels, tall, wide) if set(regions.boxes) == tiles else None


def _mean_image(dataset: SymbolImages | ImageSet) -> Tensor:
    """Return E[x_0]: (1, C, H, W)."""
    if isinstance(dataset, ImageSet):
        return dataset.images.mean(0, keepdim=True)
    marginals = dataset.grammar.symbol_marginals()
    glyphs = _mean_glyphs(dataset).to(marginals)
    return dataset.image(torch.einsum("lv,vhw->lhw", marginals, glyphs)[None])


def _mean_glyphs(dataset: SymbolImages) -> Tensor:
    """Return the mean over variants of each symbol's glyph: (V, h, w)."""
    glyphs = dataset.glyphs
    total = (glyphs.images * glyphs.known[..., None, None]).sum(1)
    return total / glyphs.counts[:, None, None]


def _contrast(
    denoiser: Denoiser,
    dataset: SymbolImages | ImageSet,
    regions: Regions,
    region: int,
    x_t: Tensor,
    t: int,
) -> Tensor:
    """Return (g_a - g_b) / ‖g_a - g_b‖² on the region's cell of each image: (N, 1, H, W).

    a and b are the likeliest symbols given the cell's own pixels, the same for every denoiser.
    """
    if (
        not isinstance(dataset, SymbolImages)
        or dataset.grammar.symbols < 2
        or not torch.equal(regions.masks, Regions.cells(dataset).masks)
    ):
        raise UsageError(
            "probe.attribution_output='contrast' needs the cells of a dataset as regions, "
            "and two symbols or more"
        )
    local = ProductDenoiser(dataset, denoiser.scheduler).to(x_t.device)
    level = torch.full((len(x_t),), t, device=x_t.device)
    likeliest = local.posterior(x_t, level)[:, region].topk(2).indices
    glyphs = _mean_glyphs(dataset).to(x_t)
    difference = glyphs[likeliest[:, 0]] - glyphs[likeliest[:, 1]]
    cells = torch.zeros_like(dataset.cells(x_t))
    cells[:, region] = difference / difference.square().sum((1, 2), keepdim=True)
    return dataset.image(cells)


def _telling(cell_sums: Tensor) -> Tensor:
    """Return `cell_sums (M, N, K)` without what is negligible: cells as 0, whole maps as NaN."""
    strongest, total = cell_sums.amax(-1, keepdim=True), cell_sums.sum(-1, keepdim=True)
    negligible = total <= NEGLIGIBLE * total.mean(1, keepdim=True)
    told = cell_sums.where(cell_sums > RESOLUTION * strongest, 0)
    return told.masked_fill(negligible, math.nan)


def _mean_and_error(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean over the last axis, of the values that are defined, and its error."""
    mean = values.nanmean(-1)
    return mean, standard_error(values - mean[..., None])


def _shapley_error(result: Attribution) -> float | None:
    """Root-mean-square error of the Shapley values over orders, relative to the values."""
    if "shapley" not in result.methods:
        return None
    i = result.methods.index("shapley")
    error, size = (v[i].square().mean().sqrt() for v in (result.cell_error, result.cell_sums))
    return (error / size).item()

"""Maps of one region's output over the noisy image, and how far two of them agree.

What is attributed, by each of the methods of `methods`, is one number for each image,

    F(x) = sum over p of w_p x0_hat_p(x),

with w one on the region and zero elsewhere (`output` "sum"), or the difference of the
cell's two likeliest mean glyphs over its squared norm ("contrast"): exchanging one for the other
changes F by one. The sum hardly tells symbols of equal ink apart, such as "(" and ")".

Two maps, of different methods or of the network and the optimum, agree as far as they rank the
cells alike: Spearman's correlation of |map| summed over each of K cells. Maps that agree about the
region's own cell alone, ahead of all others in both, have 3 / (K + 1) on average.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from diffprobe.config import ProbeConfig
from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.intervals import RESOLUTION, Interval, mean, ratio
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.ranks import rank_correlation
from diffprobe.foundations.tables import Table
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.attribution import AttributionConfig, metrics
from diffprobe.probes.attribution.methods import METHODS, Question, baseline_of, exact_shapley
from diffprobe.probes.attribution.outputs import baselines_of, owners, weights_of, window
from diffprobe.probes.attribution.ranks import telling
from diffprobe.probing.jacobian import batches
from diffprobe.probing.noise_levels import input_sources, noisy_inputs
from diffprobe.probing.regions import Regions, default_regions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of Shapley values: beside an optimum, and of a network's own maps.
ORDERS, FEW_ORDERS = 64, 16


@dataclass(frozen=True, repr=False)
class Attribution(Table):
    """Maps of one region's output by M methods for N images.

    The K cells are the regions, in their order, and the rest of the image if they leave any.

    Attributes:
        methods: M names.
        maps: (M, N, C, H, W), in units of F per pixel; saliency in units of F per unit of x.
        cell_sums: (M, N, K) sum of |map| over each cell.
        delta: (M, N) sum of the map minus F(x_t) - F(b); NaN for a method that is not complete.
        cell_error: (M, N, K) standard error of each cell's sum over random orders; zero for a
            method without chance.
        metrics: (M, N', 3) infidelity, that of a map of zeros, and sensitivity-max of the first N'
            images; see `metrics`.
        size: (N,) sum of |w|: how large F can be in images of values ±1.
        x_t: (N, C, H, W), the noisy images.
        x0_hat: (N, C, H, W), the denoiser's output.
        region: Index of the region whose output is attributed, and of its cell.
        mask: (C, H, W) bool, its pixels.
        cells: K names.
        t: Noise level.
        log_snr: The same as log(alpha²/sigma²).
        settings: Output, baseline, steps, how Shapley values were found, images, seed.
        sources: (N,) long, the picture that each input was made from; None where no two share one.
    """

    methods: tuple[str, ...]
    maps: Tensor
    cell_sums: Tensor
    delta: Tensor
    cell_error: Tensor
    metrics: Tensor
    size: Tensor
    x_t: Tensor
    x0_hat: Tensor
    region: int
    mask: Tensor
    cells: tuple[str, ...]
    t: int
    log_snr: float
    settings: dict[str, Any]
    sources: Tensor | None = None

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each image, method and cell: the sum of |map| there, and its share."""
        shares = self.cell_sums / self.cell_sums.sum(-1, keepdim=True)
        return [
            {
                "image": image,
                "method": method,
                "cell": cell,
                "sum": self.cell_sums[m, image, k].item(),
                "share": shares[m, image, k].item(),
            }
            for image in range(len(self.x_t))
            for m, method in enumerate(self.methods)
            for k, cell in enumerate(self.cells)
        ]

    def __repr__(self) -> str:
        n = len(self.x_t)
        return (
            f"<Attribution of {self.cells[self.region]} in {n:,} image{'s' * (n != 1)}, log-SNR "
            f"{self.log_snr:z.2f}: {', '.join(self.methods)}>"
        )

    def plot(self, ax: "Axes", method: str | None = None, *, index: int = 0) -> "Axes":
        """Draw one image's map, the region outlined.

        Args:
            ax: Where to.
            method: One of `methods`; by default the first.
            index: Which image.

        Raises:
            UsageError: If there is no such method or image.
        """
        from diffprobe.probes.attribution.figures import plot

        return plot(self, ax, self.methods[0] if method is None else method, index=index)

    @property
    def shares(self) -> Tensor:
        """(M, N) share of |map| inside the region; NaN where a map is negligible."""
        sums = telling(self.cell_sums, self.size)
        return sums[..., self.region] / sums.sum(-1)

    @property
    def local_share(self) -> Interval:
        """(M,) mean of `shares` over images."""
        return mean(self.shares, self.sources, resolution=RESOLUTION)

    @property
    def agreement(self) -> Interval:
        """(M, M) rank correlation of methods, mean over images."""
        sums = telling(self.cell_sums, self.size)
        found = rank_correlation(sums[:, None], sums[None])
        return mean(found, self.sources, resolution=RESOLUTION)

    @property
    def infidelity(self) -> Interval:
        """(M,) mean infidelity over that of a map of zeros; NaN where no change is predicted."""
        found, of_zeros, _ = self.metrics.unbind(-1)
        return ratio(found, of_zeros, self._measured)

    @property
    def sensitivity(self) -> Interval:
        """(M,) mean sensitivity-max, of the images on which the map is not negligible."""
        steady = self.metrics[..., 2]
        told = self.shares[:, : steady.shape[1]].isfinite()
        return mean(steady.masked_fill(~told, math.nan), self._measured)

    @property
    def _measured(self) -> Tensor | None:
        return None if self.sources is None else self.sources[: self.metrics.shape[1]]

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
    dataset: SymbolImages | ImageSet | None,
    settings: AttributionConfig | None = None,
    common: ProbeConfig | None = None,
    *,
    t: int,
    x_t: Tensor | None = None,
    regions: Regions | None = None,
    methods: Sequence[str] | None = None,
    description: str = "attribution",
    progress: Progress = silent,
) -> Attribution:
    """Attribute one region's output to the pixels of the noisy image.

    Args:
        denoiser: A network or an oracle.
        dataset: Where the inputs, the prior mean and the default regions come from; None where
            inputs and regions are given, and methods need no other images.
        settings: Of attribution.
        common: `region`, `seed`; `batch_size` images are evaluated at once.
        t: Noise level.
        x_t: (N, C, H, W), noisy images to look at instead of drawing `settings.images`.
        regions: The dataset's cells, or a grid, by default.
        methods: Names from `METHODS` instead of `settings.methods`.
        description: What the progress bar says.
        progress: Called as tqdm is.

    Raises:
        UsageError: If there is no such method, region or level, regions are of images
            of another shape, a number is too small, the output is not finite, or "contrast" is
            asked for where the region is no cell with glyphs.
    """
    known = isinstance(dataset, SymbolImages)
    settings = _as_many_as_fit(settings or AttributionConfig(), grammar_known=known)
    common = common or ProbeConfig()
    chosen = tuple(dict.fromkeys(settings.methods if methods is None else methods))
    for method in chosen:
        if method not in METHODS:
            raise unknown_name("attribution method", method, METHODS)
    sources = None
    if dataset is not None:
        regions = default_regions(dataset) if regions is None else regions
        if x_t is None:
            x_t = noisy_inputs(denoiser, dataset, settings.images, t, common.seed)
            if isinstance(dataset, ImageSet):
                sources = input_sources(dataset, settings.images, common.seed)
    if x_t is None or regions is None:
        raise UsageError("without a dataset, images and regions must be given")
    region = regions.index(common.region, "probe.region")
    owner, cells = owners(regions, tuple(x_t.shape[1:]))
    baselines = baselines_of(denoiser, dataset, x_t, t, common.seed)
    for method in chosen:
        if (absent := baseline_of(method, settings.baseline)) not in (None, *baselines):
            raise UsageError(
                f"{method} replaces cells by those of other images ({absent}), and there is no "
                "dataset to draw them from"
            )
    level = torch.tensor([t], device=denoiser.device)
    n = len(x_t)
    weights = weights_of(denoiser, dataset, regions, region, settings.output, x_t, t)
    with torch.no_grad():
        parts = [denoiser(x, level.expand(len(x))) for x in batches(x_t, common.batch_size)]
    x0_hat = torch.cat(parts)
    if not x0_hat.isfinite().all():
        raise UsageError(f"the denoiser's output at t={t} is not finite")

    def output(x: Tensor, weights: Tensor) -> Tensor:
        total: Tensor = (denoiser(x, level.expand(len(x))) * weights).sum((1, 2, 3))
        return total

    inputs = (x_t, weights, *baselines.values())
    questions = [
        Question(
            output=output,
            x=x,
            weights=w,
            baselines=dict(zip(baselines, absent, strict=True)),
            owner=owner.to(x.device),
            window=window(regions),
            settings=settings,
            common=common,
        )
        for x, w, *absent in zip(*(batches(v, common.batch_size) for v in inputs), strict=True)
    ]
    answers, measured = [], []
    for method in progress(chosen, desc=description, unit="method"):
        by_batch = [METHODS[method](question) for question in questions]
        answers.append([torch.cat(part).cpu() for part in zip(*by_batch, strict=True)])
        measured.append(_metrics(questions, method, answers[-1][0], settings.metric_images))
    maps, delta, cell_error = (torch.stack(part) for part in zip(*answers, strict=True))
    return Attribution(
        methods=chosen,
        maps=maps,
        cell_sums=torch.einsum("mnchw,chwk->mnk", maps.abs(), one_hot(owner[0]).to(maps)),
        delta=delta,
        cell_error=cell_error,
        metrics=torch.stack(measured),
        size=weights.abs().sum((1, 2, 3)).cpu(),
        x_t=x_t.cpu(),
        x0_hat=x0_hat.cpu(),
        region=region,
        mask=regions.masks[region],
        cells=cells,
        t=t,
        log_snr=denoiser.log_snr(level).item(),
        settings={
            "output": settings.output,
            "baseline": settings.baseline,
            "steps": settings.integration_steps,
            "shapley": (
                "exact"
                if exact_shapley(len(cells), settings)
                else f"{settings.shapley_samples} random orders"
            ),
            "images": n,
            "seed": common.seed,
        },
        sources=sources,
    )


def _as_many_as_fit(settings: AttributionConfig, *, grammar_known: bool) -> AttributionConfig:
    """Return settings with a number where -1 leaves it to what is known."""
    found = settings
    if settings.shapley_samples == -1:
        found = replace(found, shapley_samples=ORDERS if grammar_known else FEW_ORDERS)
    if settings.metric_images == -1:
        found = replace(found, metric_images=metrics.IMAGES if grammar_known else 0)
    return found


def agreement_between(network: Attribution, oracle: Attribution) -> Interval:
    """Return each method's rank correlation of a network's and an oracle's maps.

    Returns:
        (M,) mean over the images on which neither map is negligible.

    Raises:
        UsageError: If methods, region or inputs differ.
    """
    _check_paired(network, oracle)
    sums = [telling(r.cell_sums, r.size) for r in (network, oracle)]
    found = rank_correlation(*sums)
    return mean(found, network.sources, resolution=RESOLUTION)


def excess_share(network: Attribution, oracle: Attribution) -> Interval:
    """Return each method's local share of a network minus an oracle's, paired by image.

    Returns:
        (M,) mean over the images on which neither map is negligible.

    Raises:
        UsageError: If methods, region or inputs differ.
    """
    _check_paired(network, oracle)
    return mean(network.shares - oracle.shares, network.sources, resolution=RESOLUTION)


def _check_paired(network: Attribution, oracle: Attribution) -> None:
    same = (
        network.methods == oracle.methods
        and network.region == oracle.region
        and network.settings == oracle.settings
        and torch.equal(network.x_t, oracle.x_t)
    )
    if not same:
        raise UsageError("attributions are compared for the same methods, region and inputs alone")


def _metrics(questions: Sequence[Question], method: str, maps: Tensor, images: int) -> Tensor:
    """Return `Attribution.metrics` of one method, of as many first images: (N', 3)."""
    found, first = [torch.zeros(0, 3)], 0
    for question in questions:
        n = min(len(question.x), images - first)
        if n <= 0:
            break
        some = question[:n]
        found.append(metrics.measure(some, method, maps[first : first + n], first))
        first += n
    return torch.cat(found)

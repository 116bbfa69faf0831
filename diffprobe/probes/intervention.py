"""Interventional dependence: change cell j of the input, see what changes in cell i of the output.

    noise    x_t' has other noise in region j:                  eps_j drawn again
    symbol   x_t' shows another symbol in cell j:               alpha (g' - g) added there
    I_ij = ‖(x0_hat(x_t') - x0_hat(x_t))_i‖²

No gradient is taken, so it catches what a local derivative cannot. Where the denoiser is linear
over the size of the change,

    I_ij = ‖J_ij d_j‖²,   d_j = x_t' - x_t in region j,

which is 2 sigma² ‖J_ij‖_F² on average for redrawn noise: the Jacobian's picture. Where the regions
do not tile the image the rest of it is changed too, and may answer. As with the LDR, shares are
taken for each input and then averaged.
"""

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from matplotlib.axes import Axes
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.foundations import intervals
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.figures import LABELS, figure
from diffprobe.foundations.intervals import RESOLUTION, Interval
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.records import estimate, interval
from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes import locality
from diffprobe.probes.noise_levels import check_level, clean_inputs, input_sources
from diffprobe.probes.ratio import energy_shares, local_dependency_ratios
from diffprobe.probes.regions import Regions, default_regions

if TYPE_CHECKING:
    from diffprobe.probes.cache import Keep
    from diffprobe.probes.subject import Subject

SETTINGS = (*locality.SETTINGS, "intervention_images")


@dataclass(frozen=True)
class Intervention:
    """What an intervention in each part of the input changes in each part of the output.

    The S parts are the regions and, where these do not tile the image, the rest.

    Attributes:
        matrix: (S, S) float64, mean squared change of output part i (row) when input part j
            (column) is changed.
        shares: (S, S) share of it in each input's whole, mean over inputs.
        ratios: (N,) share of the changes of the regions that is made in the same region, of each
            input; NaN for one at which nothing changes.
        sources: (N,) long, the picture that each input was made from.
        local_share: () their mean: 1 for a local denoiser.
        kind: "noise" or "symbol".
        t: Noise level.
        log_snr: The same as log(alpha²/sigma²).
        settings: Inputs and seed.
    """

    matrix: Tensor
    shares: Interval
    ratios: Tensor
    sources: Tensor
    local_share: Interval
    kind: str
    t: int
    log_snr: float
    settings: dict[str, Any]

    def among(self, told: Tensor) -> "Intervention":
        """Return the same with the local share over those inputs alone that are `told (N,)`."""
        ratios = self.ratios.where(told, math.nan)
        share = intervals.mean(ratios, self.sources, resolution=RESOLUTION)
        return replace(self, ratios=ratios, local_share=share)


def measure(
    denoiser: Denoiser,
    images: SymbolImages | ImageSet,
    config: ProbeConfig | None = None,
    *,
    t: int,
    kind: Literal["noise", "symbol"] = "noise",
    regions: Regions | None = None,
    progress: Progress = silent,
) -> Intervention:
    """Change each region of noisy images in turn and measure the change of the output.

    Args:
        denoiser: A network or an oracle; no gradient is needed.
        images: Where the inputs come from.
        config: `intervention_images`, `batch_size`, `seed`.
        t: Noise level.
        kind: Redraw the noise in a region, or the symbol in a cell (datasets only: the word is then
            seldom a valid one, and the noise stays).
        regions: The cells of a dataset by default.
        progress: Called as tqdm is.

    Raises:
        UsageError: If symbols are asked for without a dataset, or a number is out of range.
    """
    config = config or ProbeConfig()
    regions = regions or default_regions(images)
    n = config.intervention_images
    energies = changes(denoiser, images, config, t=t, kind=kind, regions=regions, progress=progress)
    sources = input_sources(images, n, config.seed)
    # Nothing is estimated by projections here.
    ratios = local_dependency_ratios(energies[:, None, : len(regions)])
    by_input = energy_shares(energies[:, None])
    return Intervention(
        matrix=energies.mean(0),
        shares=intervals.mean(by_input.movedim(0, -1), sources, resolution=RESOLUTION),
        ratios=ratios,
        sources=sources,
        local_share=intervals.mean(ratios, sources, resolution=RESOLUTION),
        kind=kind,
        t=t,
        log_snr=denoiser.log_snr(torch.tensor([t])).item(),
        settings={"images": n, "seed": config.seed},
    )


@torch.no_grad()
def changes(
    denoiser: Denoiser,
    images: SymbolImages | ImageSet,
    config: ProbeConfig,
    *,
    t: int,
    kind: Literal["noise", "symbol"],
    regions: Regions,
    progress: Progress = silent,
) -> Tensor:
    """Return how much each part of the output changes when each part of the input is changed.

    Args:
        denoiser, images, config, t, kind, regions, progress: As for `measure`.

    Returns:
        (N, S, S) float64, squared changes of output part i (row) by input part j (column).
    """
    n = config.intervention_images
    if n < 2:
        raise UsageError(f"probe.intervention_images must be at least 2 for an error, not {n}")
    check_level(denoiser, t)
    masks = regions.parts.to(denoiser.device)
    x_0, eps = clean_inputs(images, n, config.seed)
    random = generator(config.seed, f"intervention/{kind}")
    if kind == "symbol":
        other = _other_symbols(images, n, config.seed, random)
        changed = (other - x_0).to(denoiser.device)
    else:
        changed = (torch.randn(eps.shape, generator=random) - eps).to(denoiser.device)
    x_0, eps = x_0.to(denoiser.device), eps.to(denoiser.device)
    alpha, sigma = denoiser.alpha_sigma(torch.tensor([t], device=denoiser.device))
    x_t = alpha * x_0 + sigma * eps
    change = changed * (alpha if kind == "symbol" else sigma)
    energies = torch.empty(n, len(masks), len(masks), dtype=torch.float64)
    flat = masks.flatten(1).double()
    rows = list(torch.arange(n).split(config.batch_size))
    for row in progress(rows, desc=f"intervention, {kind}", unit="batch"):
        level = torch.full((len(row),), t, device=denoiser.device)
        before = denoiser(x_t[row], level)
        for j, mask in enumerate(masks):
            after = denoiser(x_t[row] + change[row] * mask, level)
            squares = (after - before).double().square().flatten(1)
            energies[row, :, j] = (squares @ flat.T).cpu()
    return energies


def _other_symbols(
    images: SymbolImages | ImageSet, n: int, seed: int, random: torch.Generator
) -> Tensor:
    """Return the images of `clean_inputs` with every symbol replaced by another one."""
    if not isinstance(images, SymbolImages):
        raise UsageError("symbols can be redrawn only where a dataset says what they are")
    words = images.grammar.sample(n, generator(seed, "probe"))  # those of `clean_inputs`
    symbols = images.grammar.symbols
    if symbols < 2:
        raise UsageError("with one symbol there is no other to draw")
    shift = torch.randint(1, symbols, words.shape, generator=random)
    return images.draw((words + shift) % symbols, random)


def plot(result: Intervention, ax: Axes) -> Axes:
    """Draw the matrix, each column divided by its sum: where the change of one region goes."""
    return _plot_matrix(result.shares.value, ax, f"{result.kind} redrawn")


def _plot_matrix(matrix: Tensor, ax: Axes, title: str) -> Axes:
    share = (matrix / matrix.sum(0, keepdim=True)).numpy()
    ax.imshow(share, vmin=0, vmax=1, cmap="viridis")
    ticks = range(0, len(share), max(1, len(share) // 8))
    ax.set(xlabel="changed region", ylabel="output region", xticks=ticks, yticks=ticks, title=title)
    return ax


def probe(subject: "Subject", keep: "Keep") -> "dict[str, Intervention | locality.Locality]":
    """Intervene in noise and symbols, and take the Jacobian's matrix at the same level."""
    config = subject.config.probe
    kinds: list[Literal["noise", "symbol"]] = ["noise", "symbol"] if subject.dataset else ["noise"]
    found: dict[str, Intervention | locality.Locality] = {}
    for name, denoiser in subject.beside("bayes", "product").items():
        found[f"{name}-jacobian"] = keep(
            f"{name}-jacobian",
            locality.Locality,
            partial(
                locality.measure,
                denoiser,
                subject.images,
                config,
                regions=subject.regions,
                levels=torch.tensor([subject.level]),
                description=f"Jacobian, {name}",
                progress=subject.progress,
            ),
        )
        for kind in kinds:
            found[f"{name}-{kind}"] = keep(
                f"{name}-{kind}",
                Intervention,
                partial(
                    measure,
                    denoiser,
                    subject.images,
                    config,
                    t=subject.level,
                    kind=kind,
                    regions=subject.regions,
                    progress=subject.progress,
                ),
            )
    return found


def beside_the_optimum(
    results: "dict[str, Intervention | locality.Locality]",
) -> "dict[str, Intervention | locality.Locality]":
    """Return the measurements with shares over the inputs at which Bayes depends on anything."""
    found = {}
    for key, result in results.items():
        optimum = results.get(f"bayes-{key.rsplit('-', 1)[1]}")
        found[key] = result if optimum is None else result.among(optimum.ratios.isfinite())
    return found


def draw(
    results: "dict[str, Intervention | locality.Locality]", subject: "Subject", folder: Path
) -> None:
    """Jacobian, redrawn noise and redrawn symbols side by side, a row for each denoiser."""
    results = beside_the_optimum(results)
    names = list(dict.fromkeys(key.rsplit("-", 1)[0] for key in results))
    kinds = list(dict.fromkeys(key.rsplit("-", 1)[1] for key in results))
    with figure(folder / "intervention", 2.3 * len(kinds) + 0.9, 2.3 * len(names) + 0.2) as canvas:
        axes = canvas.subplots(len(names), len(kinds), squeeze=False, sharex=True, sharey=True)
        for row, name in zip(axes, names, strict=True):
            for ax, kind in zip(row, kinds, strict=True):
                result = results[f"{name}-{kind}"]
                if isinstance(result, Intervention):
                    share = result.local_share.value.item()
                    plot(result, ax)
                else:
                    share = result.ldr.value[0].item()
                    _plot_matrix(result.shares.value[0], ax, "Jacobian")
                ax.set_title(f"{ax.get_title()}: {share:.2f} local", fontsize=8)
                ax.label_outer()
            who = LABELS.get(name, subject.architecture)
            row[0].set_ylabel(f"{who}\noutput region", fontsize=8)
        image = axes[0][0].images[0]
        canvas.colorbar(image, ax=axes, label="share of the change in its column", fraction=0.03)


def summary(results: "dict[str, Intervention | locality.Locality]") -> dict[str, Any]:
    """Return the local share by denoiser and kind."""
    results = beside_the_optimum(results)
    shares: dict[str, dict[str, Any]] = {}
    for key, result in results.items():
        name, kind = key.rsplit("-", 1)
        if isinstance(result, Intervention):
            value = estimate(result.local_share)
        else:
            value = estimate(result.ldr, 0)
        shares.setdefault(kind, {})[name] = value
    first = next(r for r in results.values() if isinstance(r, Intervention))
    return {
        "t": first.t,
        "log_snr": first.log_snr,
        "images": first.settings["images"],
        "local_share": shares,
    }


def lines(content: dict[str, Any], subject: "Subject") -> list[str]:
    """Return the headline in words."""
    found = [f"local share of the change (log-SNR {content['log_snr']:.2f}, t = {content['t']})"]
    for kind, shares in content["local_share"].items():
        text = ", ".join(f"{who} {interval(e)}" for who, e in shares.items())
        found.append(f"  {kind:11} {text}")
    return found

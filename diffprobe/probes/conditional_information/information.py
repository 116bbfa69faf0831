"""What the far cells of a noisy word still tell of a cell, given those near it, exactly.

With cell i, its near cells N (within a radius, cell i left out) and the far ones F, all noisy,

    I(x_i; x_F | x_N) = E[log p(x) − log p(x_N, x_F) − log p(x_i, x_N) + log p(x_N)]   in nats,

each density by the grammar's own recursion: cells that are not named have score 0 for every symbol.
A denoiser that sees no further than the radius can be right only where this is small (conditional
mutual information decides when local denoising works: arXiv:2508.06614, which finds it large in a
narrow window of noise only). For a grammar that binds all cells at once, such as parity, it stays
log 2 as noise goes to nothing, at every radius.

Beside it stand, on the same inputs, in nats per unit log-SNR,

    missed      ½ snr E‖D_r − D_Bayes‖²     what the best denoiser of the radius misses
    distance    ½ snr E‖D_net − D_r‖²       how far the network is from it

so that the radius a network has at a noise level is that of the nearest local optimum.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import Grammar, SymbolImages
from diffprobe.foundations import intervals
from diffprobe.foundations.devices import in_double
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.intervals import Interval
from diffprobe.foundations.measurements import Measurement
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.records import estimate
from diffprobe.models import BayesDenoiser, Denoiser
from diffprobe.models.local_oracle import LocalDenoiser, neighbourhoods
from diffprobe.probes.conditional_information import ConditionalInformationConfig
from diffprobe.probing.noise_levels import noisy_inputs, spread_levels

if TYPE_CHECKING:
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject


# Distances that differ by less of the largest are one: under parity all radii know the same.
SAME = 1e-6


@dataclass(frozen=True, repr=False)
class ConditionalInformation(Measurement):
    """Information along the noise, and a network beside the local optima, at T levels.

    Attributes:
        t: (T,) long, noisiest first.
        log_snr: (T,).
        radii: R radii, ascending, in cells.
        information: (R, T) nats a cell, mean over cells.
        missed: (R, T) nats per unit log-SNR that the local optimum misses of the Bayes optimum.
        distance: (R, T) nats per unit log-SNR from the network to the local optimum.
        missed_network: (T,) nats per unit log-SNR that the network misses of the Bayes optimum.
        nearest: (T,) the radius of the nearest local optimum, the smallest if several are as near;
            that of the Bayes optimum, which sees every cell, is -1.
        settings: Inputs and seed.
    """

    t: Tensor
    log_snr: Tensor
    radii: tuple[int, ...]
    information: Interval
    missed: Interval
    distance: Interval
    missed_network: Interval
    nearest: Tensor
    settings: dict[str, Any]

    def numbers(self) -> dict[str, Interval]:
        """Return the curves of each radius, and the network's own."""
        curves = {
            f"{name}, radius {radius}": getattr(self, name)[r]
            for name in ("information", "missed", "distance")
            for r, radius in enumerate(self.radii)
        }
        return {**curves, "missed_network": self.missed_network}

    def summary(self) -> dict[str, Any]:
        """Return the windows, a radius each, and how near the network is to the local optima.

        "by_radius" holds of each radius the "highest" information, "at_log_snr" where it is so, the
        "window" of noise where it is above half of that, "width" of it within the noise levels, and
        "clean", what is left of it at the least noise; and in "missed" the same of what the local
        optimum misses. "nearest" holds the network's "distance" to each local optimum and to
        "bayes" at the noise level where radius matters most: where the least one misses most.
        """
        by_radius = {
            str(radius): {
                **self._hump(self.information[r]),
                "missed": self._hump(self.missed[r]),
            }
            for r, radius in enumerate(self.radii)
        }
        undecided = int(self.missed.value[0].argmax())
        nearest = int(self.nearest[undecided])
        return {
            "by_radius": by_radius,
            "nearest": {
                "log_snr": float(self.log_snr[undecided]),
                "radius": None if nearest < 0 else nearest,
                "distance": {
                    str(radius): estimate(self.distance[r, undecided])
                    for r, radius in enumerate(self.radii)
                },
                "bayes": estimate(self.missed_network[undecided]),
            },
        }

    def _hump(self, curve: Interval) -> dict[str, Any]:
        top = int(curve.value.argmax())
        low, high = window(self.log_snr, curve.value)
        first, last = float(self.log_snr[0]), float(self.log_snr[-1])
        return {
            "highest": estimate(curve[top]),
            "at_log_snr": float(self.log_snr[top]),
            "clean": estimate(curve[-1]),
            "window": [low, high],
            "width": (last if high is None else high) - (first if low is None else low),
        }


def over_draws(draws: Tensor) -> Interval:
    """Return the means over the draws of a level, (…) from (…, N), told to ± 0.001 at the least."""
    return intervals.mean(draws, resolution=intervals.RESOLUTION)


def _nearest(radii: Sequence[int], distances: Tensor) -> Tensor:
    """Return the first of `(*radii, -1)` whose distance, of `(R + 1, T)`, none undercuts: (T,)."""
    as_near = distances <= distances.amin(0) + SAME * distances.amax(0)
    return torch.tensor([*radii, -1])[as_near.int().argmax(0)]


def window(log_snr: Tensor, curve: Tensor) -> list[float | None]:
    """Return between which log-SNRs a curve lies above half of its highest value.

    Args:
        log_snr, curve: (T,), log-SNR ascending.

    Returns:
        Its ends; None for one that lies beyond the noise levels.
    """
    above = (curve >= curve.max() / 2).nonzero().flatten()
    first, last = int(above[0]), int(above[-1])

    def crossing(i: int, j: int) -> float:
        share = (curve.max() / 2 - curve[i]) / (curve[j] - curve[i])
        return float(log_snr[i] + share * (log_snr[j] - log_snr[i]))

    return [
        crossing(first - 1, first) if first else None,
        crossing(last, last + 1) if last + 1 < len(curve) else None,
    ]


def of_subject(
    settings: ConditionalInformationConfig, subject: "Subject", keep: "Keep"
) -> dict[str, ConditionalInformation]:
    """Measure a subject's network; see `measure`.

    Raises:
        UsageError: If no grammar is known.
    """
    if subject.dataset is None:
        raise UsageError("conditional information needs a dataset: no grammar is known")
    compute = partial(
        measure,
        subject.denoiser,
        subject.dataset,
        settings,
        subject.config.probe,
        progress=subject.progress,
    )
    return {"network": keep("network", ConditionalInformation, compute)}


@torch.no_grad()
def measure(
    denoiser: Denoiser,
    dataset: SymbolImages,
    settings: ConditionalInformationConfig | None = None,
    common: ProbeConfig | None = None,
    *,
    progress: Progress = silent,
) -> ConditionalInformation:
    """Measure what far cells tell along the noise, and a denoiser beside the local optima.

    Inputs of a level are independent of those at others.

    Args:
        denoiser: A network, or an oracle.
        dataset: Whose grammar and glyphs are known.
        settings: `images` a level, `levels`, `radii`; a radius that reaches every cell from every
            cell is left out: it is the Bayes optimum.
        common: `batch_size`, `seed`.
        progress: Called as tqdm is.

    Raises:
        UsageError: If every radius reaches every cell.
    """
    settings, common = settings or ConditionalInformationConfig(), common or ProbeConfig()
    radii = tuple(
        r for r in sorted(settings.radii) if not neighbourhoods(dataset.cell_grid, r).all()
    )
    if not radii:
        raise UsageError(
            f"within {min(settings.radii)} cells of a cell lie all {dataset.grammar.length} of "
            "the word: ask for a smaller radius"
        )
    levels = spread_levels(denoiser, settings.levels)
    at_levels = [
        one_level(denoiser, dataset, radii, settings.images, common, t)
        for t in progress(levels.tolist(), desc="conditional information", unit="level")
    ]
    draws = torch.stack(at_levels, 2)  # (3, R, T, N), and the network's own last
    told = over_draws(draws)
    return ConditionalInformation(
        t=levels,
        log_snr=denoiser.log_snr(levels).cpu(),
        radii=radii,
        information=told[0],
        missed=told[1],
        distance=told[2],
        missed_network=told[3, 0],
        nearest=_nearest(radii, torch.cat([told.value[2], told.value[3, :1]])),
        settings={"images": settings.images, "seed": common.seed},
    )


def one_level(
    denoiser: Denoiser,
    dataset: SymbolImages,
    radii: Sequence[int],
    images: int,
    common: ProbeConfig,
    t: int,
) -> Tensor:
    """Return information, missed, distance, and what the network misses, of each input: (4, R, N).

    The last is the same for every radius.
    """
    bayes = BayesDenoiser(dataset, denoiser.scheduler).to(denoiser.device)
    local = [LocalDenoiser(dataset, denoiser.scheduler, r).to(denoiser.device) for r in radii]
    inputs = noisy_inputs(denoiser, dataset, images, t, common.seed, block=t)
    half_snr = math.exp(float(denoiser.log_snr(torch.tensor([t])))) / 2
    found = []
    for x_t in inputs.split(common.batch_size):
        level = torch.full((len(x_t),), t, device=x_t.device)
        d_net, d_bayes, *d_local = (
            in_double(d(x_t, level)).flatten(1) for d in (denoiser, bayes, *local)
        )

        def apart(one: Tensor, other: Tensor) -> Tensor:
            return half_snr * (one - other).square().sum(1)

        x_t = in_double(x_t)
        alpha, sigma = denoiser.alpha_sigma(level.to(x_t.device), torch.float64)
        scores = dataset.evidence(x_t, alpha.flatten(), sigma.flatten())
        rows = [
            torch.stack(list(informations(dataset, scores, radii))),
            torch.stack([apart(d, d_bayes) for d in d_local]),
            torch.stack([apart(d_net, d) for d in d_local]),
            apart(d_net, d_bayes).expand(len(radii), -1),
        ]
        found.append(torch.stack(rows).cpu())
    return torch.cat(found, -1)


def informations(dataset: SymbolImages, scores: Tensor, radii: Sequence[int]) -> Iterable[Tensor]:
    """Yield, for each radius, the mean over cells of log p(x_i | rest) − log p(x_i | near): (B,).

    Args:
        dataset: The world.
        scores: (B, L, V) float64 evidence.
        radii: In cells.
    """
    densities = _Densities(dataset.grammar, scores)
    whole = torch.ones(dataset.grammar.length, dtype=torch.bool)
    for radius in radii:
        near = neighbourhoods(dataset.cell_grid, radius)
        alone = torch.eye(len(near), dtype=torch.bool)
        terms = [
            densities.log(whole)
            - densities.log(whole & ~itself)
            - densities.log(seen)
            + densities.log(seen & ~itself)
            for seen, itself in zip(near, alone, strict=True)
        ]
        yield torch.stack(terms).mean(0)


class _Densities:
    """log p of some of a word's noisy cells, up to what only the cells themselves decide."""

    def __init__(self, grammar: Grammar, scores: Tensor) -> None:
        self.grammar = grammar
        # A constant a cell comes as often with either sign.
        self.scores = scores - scores.amax(-1, keepdim=True)
        self.known: dict[tuple[bool, ...], Tensor] = {}

    def log(self, seen: Tensor) -> Tensor:
        """Return log p of the cells that are `seen (L,)`, of each input: (B,)."""
        key = tuple(seen.tolist())
        if key not in self.known:
            inside = seen.to(self.scores.device)[:, None]
            self.known[key] = self.grammar.log_partition(self.scores.where(inside, 0.0))
        return self.known[key]

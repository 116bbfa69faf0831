"""Effects of replacing parts of a network: how far the output goes towards another word's.

Two words differ in one cell j and have the same noise. With f the output x0_hat of the first, f'
of the second, and D = f' - f what the change does, a part alone is told of it, or kept from it:

    corrupted    M = f(x; part as for x') - f                 the part alone is told
    mean, zero   M = D - (f(x'; part held) - f(x; part held))    what is lost without it

and the effect is how far M goes the way of D, the lengths of all pairs added up,

    effect = E[M · D / ‖D‖] / E‖D‖        0 not at all, 1 all the way

in cell j itself ("own"), in all others ("others") and in the whole image. In the scale of the
exact posterior B, the change that the Bayes optimum makes, stands for D: E[M · B / ‖B‖] / E‖B‖.
Effects of parts do not add up to 1 where later parts answer earlier ones.

What the network does not compute is x_t itself, which goes into x0_hat beside the prediction; it
differs in the cell alone, so that in the others the network in whole has an effect of exactly 1.

Reference:
    Vig et al., "Investigating gender bias in language models using causal mediation analysis",
    arXiv:2004.12265; Wang et al., "Interpretability in the wild", arXiv:2211.00593 (mean ablation);
    Zhang & Nanda, "Towards best practices of activation patching", arXiv:2309.16042.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from diffprobe.config import ProbeConfig
from diffprobe.foundations import intervals
from diffprobe.foundations.intervals import RESOLUTION, Interval
from diffprobe.foundations.measurements import Measurement
from diffprobe.foundations.progress import Progress, silent
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.patching import CORRUPTED
from diffprobe.probes.patching.components import Components
from diffprobe.probes.patching.pairs import Pairs
from diffprobe.probes.patching.replacing import Replacing
from diffprobe.probing.regions import Regions

PLACES = ("whole", "own", "others")
SCALES = ("x0_hat", "posterior")
# Root mean square of a change below which nothing is carried, in images of values ±1.
NO_CHANGE = 1e-3


@dataclass(frozen=True, repr=False)
class Effects(Measurement):
    """Effects of C components by K replacements at T noise levels.

    Attributes:
        t: (T,) long, noisiest first.
        log_snr: (T,).
        components: C names.
        replacements: K names: corrupted, mean, zero.
        effects: (S, P, K, C, T) by scale (x0_hat; the posterior, where it is known) and place;
            NaN where the change that they are a share of is nothing.
        table: (C, R, R) what "corrupted" takes at `level` from a changed cell j (column) to cell i:
            E[M_i · D_i / ‖D_i‖] over the sum of E‖D_k‖ of all other cells k, so that those of the
            whole network add up to 1 in each column; NaN in the cell itself. None where words were
            not replaced.
        optimum: (R, R) the same of the Bayes optimum's own change; None where it is not known.
        level: The index of the level at which the probes look.
        everything, nothing: Largest distance from 1, and from 0, of the effect of replacing all
            components, and the input, by the other word's; and of replacing all by their own.
        pairs: Pairs of words.
        settings: Draws of noise, seed.
    """

    t: Tensor
    log_snr: Tensor
    components: tuple[str, ...]
    replacements: tuple[str, ...]
    effects: Interval
    table: Interval | None
    optimum: Interval | None
    level: int
    everything: float
    nothing: float
    pairs: int
    settings: dict[str, Any]

    def effect(self, replacement: str, place: str, scale: str = SCALES[0]) -> Interval:
        """Return the effects (C, T) of a replacement in a place."""
        s, p = SCALES.index(scale), PLACES.index(place)
        return self.effects[s, p, self.replacements.index(replacement)]

    @property
    def scales(self) -> tuple[str, ...]:
        """The scales that are known."""
        return SCALES[: len(self.effects.value)]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each effect at each level, and for each part from cell to cell."""
        found = super().rows()
        if self.table is None:
            return found
        at = {"t": int(self.t[self.level]), "log_snr": float(self.log_snr[self.level])}
        return found + [
            {
                "number": f"{name}, {CORRUPTED}, cell {j} to cell {i}",
                **at,
                **self.table.estimate((c, i, j)).rows()[0],
            }
            for c, name in enumerate(self.components)
            for i in range(self.table.value.shape[1])
            for j in range(self.table.value.shape[2])
        ]

    def __repr__(self) -> str:
        levels = f"{len(self.t)} noise level{'s' * (len(self.t) != 1)}"
        return f"<Effects of {len(self.components)} parts at {levels}, {self.pairs} pairs>"

    def numbers(self) -> dict[str, Interval]:
        """Return the effects over the levels, each of a scale, place, replacement and component."""
        return {
            f"{name}, {replacement}, {place}, {scale}": self.effect(replacement, place, scale)[c]
            for scale in self.scales
            for place in PLACES
            for replacement in self.replacements
            for c, name in enumerate(self.components)
        }


@torch.no_grad()
def measure(
    denoiser: Denoiser,
    pairs: Pairs,
    components: Components,
    levels: Sequence[int],
    common: ProbeConfig | None = None,
    *,
    regions: Regions,
    replacements: Sequence[str] = (CORRUPTED,),
    at: int = 0,
    bayes: Denoiser | None = None,
    progress: Progress = silent,
) -> Effects:
    """Replace each component of a denoiser's network in turn.

    Memory: what all sites give for one batch of both words; of the results, inputs × components ×
    replacements × regions numbers of one level.

    Args:
        denoiser: A network with named modules.
        pairs: Inputs.
        components: Of the network.
        levels: T timesteps, noisiest first.
        common: `batch_size`, `seed`.
        regions: R regions of the images.
        replacements: Some of corrupted, mean, zero.
        at: The index of the level whose table from cell to cell is made.
        bayes: The exact posterior mean, where it is known.
        progress: Called as tqdm is.
    """
    common = common or ProbeConfig()
    pairing = Replacing(denoiser, bayes, pairs, components, regions, tuple(replacements), common)
    found, table, optimum, off = [], None, None, [(0.0, 0.0)]
    for index, t in enumerate(progress(list(levels), desc="patching", unit="level")):
        moved, ways, one_off = pairing.products(t)
        off.append(one_off)
        found.append(_effects(moved, ways, pairs, regions))
        if index == at and CORRUPTED in replacements:
            k = list(replacements).index(CORRUPTED)
            table = _table(moved[0, k], ways[0], pairs, regions)
            optimum = None if bayes is None else _table(ways[1:], ways[1], pairs, regions)[0]
    stacked = intervals.stacked(found)
    return Effects(
        t=torch.tensor(list(levels)),
        log_snr=denoiser.log_snr(torch.tensor(list(levels))).cpu(),
        components=tuple(part.name for part in components.parts),
        replacements=tuple(replacements),
        effects=intervals.Interval(**{n: v.movedim(0, -1) for n, v in vars(stacked).items()}),
        table=table,
        optimum=optimum,
        level=at,
        everything=max(first for first, _ in off),
        nothing=max(second for _, second in off),
        pairs=len(pairs.sources.unique()),
        settings={"noises": len(pairs) // len(pairs.sources.unique()), "seed": common.seed},
    )


def by_place(products: Tensor, cell: Tensor) -> Tensor:
    """Add up parts of the output: (…, N, S) -> (3, …, N), the places of `PLACES`."""
    own = one_hot(cell, products.shape[-1]).to(products)
    return torch.stack([products.sum(-1), (products * own).sum(-1), (products * (1 - own)).sum(-1)])


def share_of_way(moved: Tensor, way: Tensor, sources: Tensor, pixels: Tensor) -> Interval:
    """Return E[M · D / ‖D‖] / E‖D‖ along the last axis.

    Args:
        moved: (…, N) M · D.
        way: (…, N) D · D.
        sources: (N,) the pair of words of each.
        pixels: (…) of the place, broadcast against the others but for N.

    Returns:
        (…), NaN where the way is nothing.
    """
    length = way.sqrt()
    there = length > 0
    # The same division above and below, so that all the way is exactly 1.
    above, below = ((x / length).where(there, 0.0) for x in (moved, way))
    below = below.expand_as(above)
    found = intervals.ratio(above, below, sources, resolution=RESOLUTION)
    return found.where(below.mean(-1) / pixels.sqrt() >= NO_CHANGE)


def pixels_of(pairs: Pairs, regions: Regions) -> Tensor:
    """Return the mean number of pixels of each place: (3,) float64."""
    sizes = regions.parts.flatten(1).sum(1).double()
    return by_place(sizes.expand(len(pairs), -1), pairs.cell).mean(-1)


def _effects(moved: Tensor, ways: Tensor, pairs: Pairs, regions: Regions) -> Interval:
    """(S, P, K, C) from products (S, K, C, N, parts) and ways (S, N, parts)."""
    above = by_place(moved, pairs.cell).movedim(0, 1)
    below = by_place(ways, pairs.cell).movedim(0, 1)[:, :, None, None]
    pixels = pixels_of(pairs, regions)[None, :, None, None]
    return share_of_way(above, below, pairs.sources, pixels)


def _table(moved: Tensor, way: Tensor, pairs: Pairs, regions: Regions) -> Interval:
    """(C, R, R), output cell by changed cell, from products (C, N, parts) and ways (N, parts)."""
    n = len(regions)
    pixels = regions.masks.flatten(1).sum(1).double()
    length = way[:, :n].sqrt()
    along = (moved[..., :n] / length).where(length > 0, 0.0)
    columns = []
    for j in range(n):
        rows, others = pairs.cell == j, torch.arange(n) != j
        above = along[:, rows].movedim(-1, -2)
        below = length[rows][:, others].sum(-1)
        found = intervals.ratio(
            above, below.expand_as(above), pairs.sources[rows], resolution=RESOLUTION
        )
        told = below.mean() >= NO_CHANGE * pixels[others].sqrt().sum()
        columns.append(found.where((others & told)[None]))
    stacked = intervals.stacked(columns)
    return Interval(**{name: value.movedim(0, -1) for name, value in vars(stacked).items()})

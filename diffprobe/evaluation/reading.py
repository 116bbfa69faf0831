"""How well the reader reads, and what its errors do to the rates.

*Calibration.* Clean pictures of known symbols get white noise as strong as what the sampler left in
these samples, and are read. With fonts and pixels all there is can be drawn; handwriting is that
of writers whom the reader does not know. Refused cells are false alarms of the legibility gate;
those of the others that are read as another symbol are the reader's confusion C[a, b], the
probability of reading b where a is written.

*Correction.* Where cells are misread independently of each other, the words read are distributed as
q(w) = sum over w* of p(w*) prod_i C[w*_i, w_i], so that with D the inverse of C

    P(written word is valid) = E_q[h(w)],    h(w) = sum over valid w* of prod_i D[w_i, w*_i],

whatever words are written; h is the grammar's own recursion. Named kinds of violations have no
recursion; for them h is taken to first order in D - 1, one cell at a time. Without errors h is 1
for what was found and 0 for the rest, and the corrected rate is the raw one. The interval adds, in
squares, Wilson's for the raw rate, mapped to h, the spread of h among words of the same verdict,
Wilson's for how often the reader errs, and the error of the rest of C by the delta method.

What it assumes: the samples' symbols are misread as often as the calibration's, and a sample's
legibility does not depend on whether its word is valid.

Reference:
    Rogan & Gladen, "Estimating prevalence from the results of a screening test", 1978; adding
    intervals in squares: Zou & Donner, "Construction of confidence limits about effect measures",
    2008.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from diffprobe.datasets import Grammar, SymbolImages
from diffprobe.datasets.stored_images import Pictures
from diffprobe.datasets.symbol_images import LEGIBLE
from diffprobe.evaluation.verdicts import Verdicts
from diffprobe.evaluation.words.divergence import counted
from diffprobe.foundations import memory
from diffprobe.foundations.estimates import Estimate
from diffprobe.foundations.seeding import generator
from diffprobe.foundations.statistics import Z95, Rate, wilson

CELLS = 20_000  # drawn to calibrate by: a rate of 0 among them is below 0.02 %
LOOKED_AT = 2_000  # samples that tell the residual noise
# Of the memory, what words with one cell replaced may take.
REPLACED = 1 / 128
# Below this probability of reading a symbol right its errors cannot be undone.
LEAST_RIGHT = 0.6


@dataclass(frozen=True)
class Calibration:
    """How pictures of known symbols are read.

    Attributes:
        source: What was read.
        noise: Standard deviation per pixel of the noise on it.
        accuracy: Cells read right, refused or not.
        refused: Cells that the gate calls illegible: its false alarms.
        misread: Cells read as another symbol, of those that are not refused.
        confusion: (V, V) long, how often symbol a is read as b, of those that are not refused.
        length: L, cells in a sample.
    """

    source: str
    noise: float
    accuracy: Rate
    refused: Rate
    misread: Rate
    confusion: Tensor
    length: int

    def per_sample(self, rate: Rate) -> Estimate:
        """Return the probability that any of a sample's cells is refused, or misread."""

        def any_of(p: float) -> float:
            return 1 - (1 - p) ** self.length

        return Estimate(
            value=None if rate.value is None else any_of(rate.value),
            low=any_of(rate.low),
            high=any_of(rate.high),
            n=rate.n,
        )

    def summary(self) -> dict[str, Any]:
        """Return rates by cell and by sample."""
        return {
            "source": self.source,
            "noise": self.noise,
            "accuracy": self.accuracy,
            "refused": self.refused,
            "misread": self.misread,
            "sample_refused": self.per_sample(self.refused),
            "sample_misread": self.per_sample(self.misread),
            "confusion": self.confusion,
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class Corrected(Estimate):
    """A rate corrected for the reader's errors, with its 95 % interval.

    `value` is None, and the interval [0, 1], without samples or where the reader errs too often.
    """

    low: float
    high: float

    def complement(self) -> "Corrected":
        """Return the rate of what this is not."""
        value = None if self.value is None else 1 - self.value
        return Corrected(value=value, low=1 - self.high, high=1 - self.low, n=self.n)

    def __str__(self) -> str:
        if self.value is None:
            return "undefined"
        return f"{self.value:.1%} (95 % interval {self.low:.1%} to {self.high:.1%})"


def calibrate(dataset: SymbolImages, noise: float, seed: int = 0) -> Calibration:
    """Read known symbols under noise.

    Args:
        dataset: Whose glyphs are read.
        noise: Standard deviation per pixel.
        seed: Of the noise and, with fonts and pixels, of the symbols.
    """
    glyphs = dataset.glyphs
    random = generator(seed, "calibration")
    if glyphs.unseen is None or glyphs.unseen_labels is None:
        source = "clean renderings"
        known = glyphs.images[glyphs.known]
        labels = glyphs.known.nonzero()[:, 0]
        chosen = torch.randint(len(known), (CELLS,), generator=random)
        cells, labels = known[chosen], labels[chosen]
    else:
        source = "handwriting the reader does not know"
        cells, labels = glyphs.unseen, glyphs.unseen_labels
    noisy = cells + noise * torch.randn(cells.shape, generator=random)
    symbols, confidence, _ = dataset.recognise_cells(noisy)
    legible, right = confidence >= LEGIBLE, symbols == labels
    n, v = len(labels), len(glyphs.images)
    pairs = labels[legible] * v + symbols[legible]
    return Calibration(
        source=source,
        noise=noise,
        accuracy=wilson(int(right.sum()), n),
        refused=wilson(n - int(legible.sum()), n),
        misread=wilson(int((legible & ~right).sum()), int(legible.sum())),
        confusion=rearrange(pairs.bincount(minlength=v * v), "(a b) -> a b", a=v),
        length=dataset.grammar.length,
    )


def residual_noise(dataset: SymbolImages, images: Pictures, verdicts: Verdicts) -> float:
    """Return how strong the noise in samples is, standard deviation per pixel.

    It is what their legible cells are further away from the nearest glyph, in mean square, than
    clean pictures are.

    Args:
        dataset: Whose glyphs they show.
        images: (N, 1, H, W), the samples; the first are looked at.
        verdicts: Of these samples.
    """
    cells = dataset.cells(images[:LOOKED_AT])[verdicts.legible_cells[:LOOKED_AT]]
    if len(cells) == 0:
        return 0.0
    excess = dataset.recognise_cells(cells)[2].square().mean()
    if dataset.glyphs.unseen is not None:
        _, confidence, distance = dataset.recognise_cells(dataset.glyphs.unseen)
        excess = excess - distance[confidence >= LEGIBLE].square().mean()
    return math.sqrt(max(0.0, excess.item()))


def correct_grammatical(grammar: Grammar, words: Tensor, confusion: Tensor) -> Corrected:
    """Return the share of valid words among the words written, from the words read.

    Args:
        grammar: To judge by.
        words: (N, L) long, legible words as read.
        confusion: (V, V) counts, how often symbol a is read as b.
    """

    def weigh(distinct: Tensor, inverse: Tensor) -> Tensor:
        return grammar.signed_sum(inverse[distinct])[None]

    def find(distinct: Tensor) -> Tensor:
        return ~grammar.violated(distinct).any(0, keepdim=True)

    return _correct(words, confusion, find, weigh)[0]


def correct_kinds(grammar: Grammar, words: Tensor, confusion: Tensor) -> dict[str, Corrected]:
    """Return the share of each kind of violation among the words written, to first order.

    Args:
        grammar: Whose kinds.
        words: (N, L) long, legible words as read.
        confusion: (V, V) counts, how often symbol a is read as b.
    """

    def weigh(distinct: Tensor, inverse: Tensor) -> Tensor:
        changes = (inverse - torch.eye(len(inverse)).to(inverse))[distinct]
        rows = memory.items(8 * grammar.symbols * grammar.length**2, REPLACED)
        replaced = [
            torch.einsum("kniv,niv->kn", find_replaced(part).double(), part_changes)
            for part, part_changes in zip(distinct.split(rows), changes.split(rows), strict=True)
        ]
        return grammar.violated(distinct).double() + torch.cat(replaced, 1)

    def find_replaced(distinct: Tensor) -> Tensor:
        """Whether each kind is found after putting v into cell i: (kinds, N, L, V)."""
        cells, symbols = torch.arange(grammar.length), torch.arange(grammar.symbols)
        changed = distinct[:, None, None].repeat(1, len(cells), len(symbols), 1)
        changed[:, cells[:, None], symbols, cells[:, None]] = symbols
        found = grammar.violated(rearrange(changed, "n i v l -> (n i v) l"))
        return rearrange(found, "k (n i v) -> k n i v", i=len(cells), v=len(symbols))

    kinds = grammar.violations(words[:1] if len(words) else words)
    return dict(zip(kinds, _correct(words, confusion, grammar.violated, weigh), strict=True))


def _correct(
    words: Tensor,
    confusion: Tensor,
    find: Callable[[Tensor], Tensor],
    weigh: Callable[[Tensor, Tensor], Tensor],
) -> list[Corrected]:
    """Correct K rates at once.

    Args:
        find: Distinct words (M, L) -> what is found in them, (K, M) bool.
        weigh: Distinct words and the inverse of the confusion -> h, (K, M).
    """
    distinct, counts = counted(words, len(confusion))
    found, n = find(distinct), len(words)
    totals = confusion.sum(1, keepdim=True).double()
    # A symbol that was not tested counts as read without error.
    shares = torch.where(totals > 0, confusion / totals.clamp(min=1), torch.eye(len(confusion)))
    if n == 0 or shares.diagonal().min() < LEAST_RIGHT:
        return [Corrected(value=None, low=0.0, high=1.0, n=n) for _ in found]
    if torch.equal(shares, torch.eye(len(shares)).double()):
        raw = [wilson(int(counts[row].sum()), n) for row in found]
        return [Corrected(value=r.value, low=r.low, high=r.high, n=n) for r in raw]
    shares.requires_grad_()
    weights = weigh(distinct, torch.linalg.inv(shares))
    rates = weights @ counts.double() / n
    corrected = []
    for row, h, rate in zip(found, weights, rates, strict=True):
        (slope,) = torch.autograd.grad(rate, shares, retain_graph=True)
        of_reader = _spread_of_reader(confusion, shares.detach(), slope)
        corrected.append(_interval(h.detach(), row, counts.double(), *of_reader))
    return corrected


def _spread_of_reader(
    confusion: Tensor, shares: Tensor, slope: Tensor
) -> tuple[float, float, float]:
    """How far the error of C moves a rate with this slope: down, up, and a variance beside.

    Few errors were seen, so that how many there are is not normal: its interval is Wilson's. That
    leaves which errors they are, to whom the rest of the delta method's variance goes.
    """
    per_row = (shares * slope.square()).sum(1) - (shares * slope).sum(1).square()
    variance = float((per_row / confusion.sum(1).clamp(min=1)).sum())
    total = int(confusion.sum())
    errors = total - int(confusion.diagonal().sum())
    rate = wilson(errors, total)
    along = float((slope * (shares - torch.eye(len(shares)).to(shares))).sum())
    moves = [along * (end * total / errors - 1) for end in (rate.low, rate.high)]
    return -min(moves), max(moves), max(0.0, variance - along**2 / errors)


def _interval(
    h: Tensor, found: Tensor, counts: Tensor, down: float, up: float, variance: float
) -> Corrected:
    n = counts.sum()
    raw = wilson(int(counts[found].sum()), int(n))
    means = []
    for group, default in ((~found, 0.0), (found, 1.0)):
        size = counts[group].sum()
        mean = float(h[group] @ counts[group] / size) if size else default
        variance += float((h[group] - mean).square() @ counts[group] / n**2)
        means.append(mean)

    def from_raw(share: float) -> float:
        return means[0] + share * (means[1] - means[0])

    value = from_raw(raw.count / raw.n)
    low = value - math.hypot(value - from_raw(raw.low), down, Z95 * variance**0.5)
    high = value + math.hypot(from_raw(raw.high) - value, up, Z95 * variance**0.5)
    value, low, high = (min(1.0, max(0.0, x)) for x in (value, low, high))
    return Corrected(value=value, low=low, high=high, n=int(n))

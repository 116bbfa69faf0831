"""Which facts a denoiser knows: the key given, the value read off its estimate from pure noise.

With the key's cells clean and all others at the highest noise level, x0_hat is E[x_0 | key] for the
optimum. A fact's value is certain given its key, so that no cell of it tells of another: reading
each cell of this one estimate is as exact as sampling, and costs one evaluation. A fact is recalled
where all cells of its value are read right. It is asked several times, with other noise; intervals
are over facts.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import SymbolImages
from diffprobe.datasets.grammars.facts import FactsConfig
from diffprobe.datasets.inference.grammar import Grammar
from diffprobe.datasets.inference.mixture import Mixture
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.seeding import generator
from diffprobe.foundations.statistics import Rate, clustered
from diffprobe.foundations.tables import Table
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.noise_schedule import GIVEN
from diffprobe.probes.recall import RecallConfig


@dataclass(frozen=True, repr=False)
class Recall(Table):
    """What a denoiser recalls.

    Attributes:
        share: Of all facts, those whose value is told whole.
        cells: Of the cells of values, those told.
        components: The share of the facts of each component, by name.
        known: (F,) float64, how often each fact is told whole, components in order.
        settings: Draws and seed.
    """

    share: Rate
    cells: Rate
    components: dict[str, Rate]
    known: Tensor
    settings: dict[str, Any]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each component."""
        return [{"component": name, **rate.rows()[0]} for name, rate in self.components.items()]

    def __repr__(self) -> str:
        return f"<Recall of {len(self.known):,} facts: {self.share}>"


def facts_in(grammar: Grammar) -> dict[str, FactsConfig]:
    """Return the components of a grammar that are facts, by name; itself, where it is no mixture.

    They are called "facts", or "facts 0", "facts 2", … by the place of each in the mixture.
    """
    parts = grammar.components if isinstance(grammar, Mixture) else (grammar,)
    kinds = [(k, part.kind) for k, part in enumerate(parts)]
    named = {k: kind for k, kind in kinds if getattr(kind, "name", "") == FactsConfig.name}
    found = {k: cast(FactsConfig, kind) for k, kind in named.items()}
    return {f"facts {k}" if len(found) > 1 else "facts": kind for k, kind in found.items()}


@torch.no_grad()
def measure(
    denoiser: Denoiser,
    dataset: SymbolImages,
    settings: RecallConfig | None = None,
    common: ProbeConfig | None = None,
) -> Recall:
    """Ask a denoiser for all facts of a world.

    Args:
        denoiser: One that takes noise levels by cell.
        dataset: Whose grammar is `facts`, or a mixture with it.
        settings: `draws`.
        common: `batch_size`, `seed`.

    Raises:
        UsageError: If the grammar has no facts, or the denoiser takes one level an image.
    """
    settings, common = settings or RecallConfig(), common or ProbeConfig()
    facts = facts_in(dataset.grammar)
    if not facts:
        raise UsageError(f"the grammar {dataset.grammar.title} has no facts to recall")
    if denoiser.cells is None:
        raise UsageError("recall gives keys: the denoiser must take a noise level for each cell")
    random = generator(common.seed, "recall")
    right: dict[str, Tensor] = {}
    for name, kind in facts.items():
        words = kind.words.repeat_interleave(settings.draws, 0)
        right[name] = told(denoiser, dataset, words, kind.key, random, common.batch_size)
    whole = {name: cells.all(1) for name, cells in right.items()}
    by_fact = {name: told.reshape(-1, settings.draws) for name, told in whole.items()}
    counts = torch.cat([told.sum(1) for told in by_fact.values()])
    parts = [cells.reshape(len(by_fact[name]), -1) for name, cells in right.items()]
    return Recall(
        share=_rate(counts, settings.draws),
        cells=clustered(
            torch.cat([part.sum(1) for part in parts]),
            torch.cat([torch.full((len(part),), part.shape[1]) for part in parts]),
        ),
        components={name: _rate(t.sum(1), settings.draws) for name, t in by_fact.items()},
        known=counts.double() / settings.draws,
        settings={"draws": settings.draws, "seed": common.seed},
    )


@torch.no_grad()
def told(
    denoiser: Denoiser,
    dataset: SymbolImages,
    words: Tensor,
    key: int,
    random: torch.Generator,
    batch_size: int,
) -> Tensor:
    """Return which cells of the values of words (N, L) are told by their keys: (N, L − key) bool.

    Args:
        denoiser: One that takes noise levels by cell.
        dataset: Whose pictures they are in.
        words: Long, which the grammar need not have.
        key: How many cells are given, from the first.
        random: Of pictures and noise.
        batch_size: Words asked at once.
    """
    x_0 = dataset.draw(words, random)
    eps = torch.randn(x_0.shape, generator=random)
    t = torch.full(words.shape, denoiser.timesteps - 1)
    t[:, :key] = GIVEN
    read = []
    for rows in torch.arange(len(words)).split(batch_size):
        level = t[rows].to(denoiser.device)
        clean, noise = x_0[rows].to(denoiser.device), eps[rows].to(denoiser.device)
        x_t = denoiser.schedule.noise(clean, noise, level)
        read.append(_nearest(dataset, denoiser(x_t, level)).cpu())
    return (torch.cat(read) == words)[:, key:]


def _nearest(dataset: SymbolImages, x0_hat: Tensor) -> Tensor:
    """The symbol whose picture is nearest in each cell, however faint: (N, L) long."""
    return dataset.symbol_distances(x0_hat).argmin(-1)


def _rate(counts: Tensor, draws: int) -> Rate:
    return clustered(counts, torch.full_like(counts, draws))

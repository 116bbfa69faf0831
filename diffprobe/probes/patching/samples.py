"""Samples of a network without one of its parts: is the grammar still obeyed?

A part is held at its mean over words at each noise level, or at zero, and samples are drawn from
the same noise as those of the whole network, so that differences are paired.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig, SamplingConfig
from diffprobe.datasets import SymbolImages
from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.statistics import Difference, Rate, holm, paired_difference, wilson
from diffprobe.foundations.tables import Table
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.patching.components import Component, Components
from diffprobe.probes.patching.edits import edited, network_of, recorded
from diffprobe.probes.patching.pairs import Pairs
from diffprobe.probes.patching.replacing import held_values, part_edit
from diffprobe.sampling import sample
from diffprobe.sampling.samplers import SamplerKind


@dataclass(frozen=True)
class Without:
    """Rates of the samples of a network without one part.

    Attributes:
        legible: Share of all samples.
        grammatical: Share of the legible ones.
        valid: Share that is legible and grammatical, of all.
        difference: Of `valid`, less that of the whole network, paired by their noise.
        p: Of its test, corrected by Holm for the number of parts.
    """

    legible: Rate
    grammatical: Rate
    valid: Rate
    difference: Difference
    p: float


@dataclass(frozen=True, repr=False)
class SamplesWithout(Table):
    """Samples without each part.

    Attributes:
        whole: Of the network as it is; its difference is 0.
        parts: Component -> rates without it.
        held: At what: "mean" or "zero".
        chance: Share of valid words among independent symbols of the grammar's own marginals.
        settings: Samples, steps, seed.
    """

    whole: Without
    parts: dict[str, Without]
    held: str
    chance: float
    settings: dict[str, Any]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each part, the whole network first."""
        everything = {"": self.whole, **self.parts}
        return [
            {"without": name, "legible": w.legible.value, **w.grammatical.rows()[0]}
            for name, w in everything.items()
        ]


class HeldDenoiser(Denoiser):
    """A network with one part held at its mean at each noise level, or at zero.

    Args:
        denoiser: The network's.
        component: The part, of all tokens.
        held: "mean" or "zero".
        pairs: Whose clean words the mean is over.
        values: Level -> site -> what a part is held at; filled as levels are met, so that it may be
            shared by the parts of a network.
        sites: All that are to be recorded at a level when it is first met.
        batch_size: Images held at once.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        component: Component,
        held: str,
        pairs: Pairs,
        values: dict[int, dict[str, list[Tensor]]],
        sites: Sequence[str],
        batch_size: int,
    ) -> None:
        super().__init__(
            denoiser.scheduler,
            image_shape=pairs.image_shape,
            latents=denoiser.latents,
            cells=denoiser.cells,
        )
        self.denoiser = denoiser
        self.component = component
        self.held = held
        self.pairs = pairs
        self.values = values
        self.sites = sites
        self.batch_size = batch_size
        self.to(denoiser.device)

    def checked_together(self) -> AbstractContextManager[None]:
        """Return the context of the denoiser within."""
        return self.denoiser.checked_together()

    @torch.no_grad()
    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Estimate the clean image without the part; see `Denoiser.forward`.

        Raises:
            UsageError: If the noise level differs from cell to cell or image to image.
        """
        level = int(t.flatten()[0])
        if bool((t != level).any()):
            raise UsageError(
                "a part is held at its mean at one noise level, and this sampler gives several at "
                "once: choose another sampler, or probes.patching.samples = 0"
            )
        if level not in self.values:
            self.values[level] = self._held(level)
        values = self.values[level][self.component.site]
        edit = part_edit(self.component, values, (), torch.zeros(len(x_t)))
        with edited(network_of(self.denoiser), {self.component.site: edit}):
            found: Tensor = self.denoiser(x_t, t)
        return found

    def _held(self, level: int) -> dict[str, list[Tensor]]:
        network = network_of(self.denoiser)
        rows = torch.arange(len(self.pairs))[: self.batch_size]
        x_t, _ = self.pairs.at(self.denoiser, level, rows)
        with recorded(network, self.sites) as seen:
            self.denoiser(x_t, torch.full((len(rows),), level, device=x_t.device))
        return held_values(self.held, seen)


def measure(
    denoiser: Denoiser,
    dataset: SymbolImages,
    pairs: Pairs,
    components: Components,
    n: int,
    held: str,
    common: ProbeConfig,
    sampling: SamplingConfig,
    sampler: SamplerKind,
    *,
    progress: Progress = silent,
) -> SamplesWithout:
    """Draw samples without each whole part and each head, and judge them.

    Args:
        denoiser: A network with named modules.
        dataset: Whose reader and grammar judge.
        pairs: Whose clean words the means are over, `batch_size` of them at most.
        components: Of the network.
        n: Samples of each.
        held: "mean" or "zero".
        common: `batch_size`.
        sampling: Steps, batch size, seed.
        sampler: How to get from noise to images.
        progress: Called as tqdm is.

    Raises:
        UsageError: If the sampler gives several noise levels at once.
    """
    sampling = replace(sampling.plain, n=n)
    parts = [part for part in components.parts if part.site and part.tokens == "all"]
    sites = tuple(dict.fromkeys(part.site for part in parts))
    values: dict[int, dict[str, list[Tensor]]] = {}

    def drawn(sampled: Denoiser) -> tuple[Tensor, Tensor]:
        made = sample(sampled, dataset.image_shape, sampler, sampling, silent)
        verdicts = judge(dataset, made)
        return verdicts.legible, verdicts.grammatical

    whole = drawn(denoiser)
    found = {
        part.name: drawn(
            HeldDenoiser(denoiser, part, held, pairs, values, sites, common.batch_size)
        )
        for part in progress(parts, desc="samples without a part", unit="part")
    }
    differences = {name: paired_difference(one[1], whole[1]) for name, one in found.items()}
    p = holm([difference.p for difference in differences.values()])
    return SamplesWithout(
        whole=_without(whole, paired_difference(whole[1], whole[1]), 1.0),
        parts={
            name: _without(one, differences[name], corrected)
            for (name, one), corrected in zip(found.items(), p, strict=True)
        },
        held=held,
        chance=dataset.grammar.product_rate(),
        settings={"samples": n, "steps": sampling.steps, "seed": sampling.seed},
    )


def _without(verdicts: tuple[Tensor, Tensor], difference: Difference, p: float) -> Without:
    legible, valid = verdicts
    readable, right = int(legible.sum()), int(valid.sum())
    return Without(
        legible=wilson(readable, len(legible)),
        grammatical=wilson(right, readable),
        valid=wilson(right, len(valid)),
        difference=difference,
        p=p,
    )

"""Pairs of words run through a network with one part after another replaced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.foundations.devices import in_double
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.footprint import inputs_at_once
from diffprobe.probes.patching import CORRUPTED, MEAN
from diffprobe.probes.patching.components import Component, Components
from diffprobe.probes.patching.edits import Edit, edited, network_of, recorded, replayed
from diffprobe.probes.patching.pairs import Pairs
from diffprobe.probing.regions import Regions


@dataclass(frozen=True)
class Replacing:
    """Runs pairs through a denoiser with one component after another replaced.

    Attributes:
        denoiser: A network with named modules.
        bayes: The exact posterior mean, where it is known.
        pairs: Inputs.
        components: Of the network.
        regions: R regions of the images.
        replacements: Some of corrupted, mean, zero.
        common: `batch_size`.
    """

    denoiser: Denoiser
    bayes: Denoiser | None
    pairs: Pairs
    components: Components
    regions: Regions
    replacements: tuple[str, ...]
    common: ProbeConfig

    def products(self, t: int) -> tuple[Tensor, Tensor, tuple[float, float]]:
        """Return M · D and D · D of each input by part of the output, and how far controls are off.

        Returns:
            (S, K, C, N, parts), (S, N, parts), and the two distances.
        """
        size = inputs_at_once(self.denoiser, self.pairs.image_shape, self.common.batch_size)
        batches = list(torch.arange(len(self.pairs)).split(size))
        means = self._means(t, batches) if MEAN in self.replacements else {}
        parts = [self._batch(t, rows, means) for rows in batches]
        moved, ways = (torch.cat(p, -2) for p in list(zip(*parts, strict=True))[:2])
        off = [part[2] for part in parts]
        return moved, ways, (max(a for a, _ in off), max(b for _, b in off))

    def _batch(
        self, t: int, rows: Tensor, means: Mapping[str, list[Tensor]]
    ) -> tuple[Tensor, Tensor, tuple[float, float]]:
        network, sites = network_of(self.denoiser), self.components.sites
        x, y = self.pairs.at(self.denoiser, t, rows)
        level = torch.full((len(rows),), t, device=x.device)
        cell = self.pairs.cell[rows]
        with recorded(network, sites) as own:
            before = self.denoiser(x, level)
        with recorded(network, sites) as other:
            after = self.denoiser(y, level)
        zeros = {site: [torch.zeros_like(v[:1]) for v in values] for site, values in own.items()}

        def run(inputs: Tensor, part: Component, values: Mapping[str, Sequence[Tensor]]) -> Tensor:
            edit = part_edit(
                part, values[part.site], self.components.owners.get(part.site, ()), cell
            )
            with edited(network, {part.site: edit}):
                found: Tensor = self.denoiser(inputs, level)
            return found

        change = after - before
        exact = [] if self.bayes is None else [self.bayes(y, level) - self.bayes(x, level)]
        ways = [in_double(d) for d in (change, *exact)]
        moved = []
        for kind in self.replacements:
            for part in self.components.parts:
                if kind == CORRUPTED:
                    made = run(x, part, other) - before
                else:
                    held = means if kind == MEAN else zeros
                    made = change - (run(y, part, held) - run(x, part, held))
                moved.append(torch.stack([self._by_part(in_double(made) * d) for d in ways]))
        products = torch.stack(moved, 1).unflatten(1, (len(self.replacements), -1))
        squares = torch.stack([self._by_part(d.square()) for d in ways])
        inside = [site for site in sites if site]
        told, untold = (
            self._replayed(inputs, level, {site: values[site] for site in inside}) - before
            for inputs, values in ((y, other), (x, own))
        )
        whole = squares[0].sum().clamp(min=torch.finfo(torch.float64).tiny)
        off = (
            float(1 - self._by_part(in_double(told) * ways[0]).sum() / whole),
            float(self._by_part(in_double(untold) * ways[0]).sum() / whole),
        )
        return products, squares, (abs(off[0]) if bool(change.any()) else 0.0, abs(off[1]))

    def _replayed(self, x: Tensor, level: Tensor, values: Mapping[str, Sequence[Tensor]]) -> Tensor:
        edits = {site: replayed(passing) for site, passing in values.items()}
        with edited(network_of(self.denoiser), edits):
            found: Tensor = self.denoiser(x, level)
        return found

    def _by_part(self, products: Tensor) -> Tensor:
        """Add up over the pixels of each part of the output: (B, S)."""
        masks = self.regions.parts.flatten(1).to(products)
        found: Tensor = products.flatten(1) @ masks.T
        return found.cpu()

    def _means(self, t: int, batches: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """What passes each site, mean over the clean inputs: (1, …) each."""
        total: dict[str, list[Tensor]] = {}
        network = network_of(self.denoiser)
        for rows in batches:
            x, _ = self.pairs.at(self.denoiser, t, rows)
            with recorded(network, self.components.sites) as seen:
                self.denoiser(x, torch.full((len(rows),), t, device=x.device))
            for site, values in seen.items():
                sums = [v.sum(0, keepdim=True) / len(self.pairs) for v in values]
                before = total.get(site)
                total[site] = (
                    sums if before is None else [a + b for a, b in zip(before, sums, strict=True)]
                )
        return total


def part_edit(
    component: Component, values: Sequence[Tensor], owners: Sequence[Tensor], cell: Tensor
) -> Edit:
    """Return the edit that puts `values` in place of a component's part of what passes its site.

    Args:
        component: Which part.
        values: What takes its place, one for each tensor that passes, (B, …) or (1, …).
        owners: The region of each token of each tensor, where tokens are told apart.
        cell: (B,) the region in which the words differ.
    """
    each: Sequence[Tensor | None] = owners or [None] * len(values)
    left = iter(zip(values, each, strict=True))

    def edit(value: Tensor) -> Tensor:
        other, owner = next(left)
        other = other.to(value).expand_as(value)
        if component.head is not None:
            chosen = torch.arange(value.shape[1], device=value.device) == component.head
            return torch.where(chosen[:, None, None], other, value)
        if component.tokens == "all" or owner is None:
            return other
        own = owner.to(value.device) == cell.to(value.device).reshape(-1, *[1] * owner.ndim)
        chosen = own if component.tokens == "own" else ~own
        # Tokens are the second axis; positions of a map of features the last two.
        return torch.where(chosen[..., None] if owner.ndim == 1 else chosen[:, None], other, value)

    return edit


def held_values(kind: str, seen: Mapping[str, Sequence[Tensor]]) -> dict[str, list[Tensor]]:
    """Return what stands in for the values that pass sites: their mean over inputs, or zeros."""
    return {
        site: [v.mean(0, keepdim=True) if kind == MEAN else torch.zeros_like(v[:1]) for v in values]
        for site, values in seen.items()
    }

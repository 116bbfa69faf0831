"""The local optimum of a radius: the best denoiser in which a cell sees its neighbourhood alone.

    D_r,i(x_t) = E[x_0,i | x_t in the cells within r of cell i]

Radius 0 is the product oracle; a radius that reaches every cell is the Bayes oracle. Cells that are
not seen are summed over: their scores are 0 for every symbol, so that a neighbourhood costs as much
as a whole word.
"""

from typing import Any

import torch
from torch import Tensor

from diffprobe.datasets import SymbolImages
from diffprobe.datasets.cell_grid import CellGrid
from diffprobe.foundations.errors import UsageError
from diffprobe.models.oracles import SymbolDenoiser


class LocalDenoiser(SymbolDenoiser):
    """The optimum among denoisers in which a cell depends on the cells within a radius.

    Args:
        dataset: As for `BayesDenoiser`.
        scheduler: A diffusers scheduler.
        radius: In cells, along rows or columns, whichever is more; 0 is the cell alone.

    Raises:
        UsageError: If the radius is negative.
    """

    def __init__(self, dataset: SymbolImages, scheduler: Any, radius: int) -> None:
        super().__init__(dataset, scheduler)
        self.radius = radius
        self.near = neighbourhoods(dataset.cell_grid, radius)

    def _marginals(self, scores: Tensor, rows: slice) -> Tensor:
        found = torch.empty_like(scores)
        # Cells with the same neighbourhood are asked at once.
        sets, members = self.near.unique(dim=0, return_inverse=True)
        for k, seen in enumerate(sets):
            inside = seen.to(scores.device)[:, None]
            posterior = self.dataset.grammar.marginals(scores.where(inside, 0.0))
            cells = (members == k).nonzero().flatten().to(scores.device)
            found[:, cells] = posterior[:, cells]
        return found


def neighbourhoods(grid: CellGrid, radius: int) -> Tensor:
    """Return which cells (columns) lie within `radius` cells of which (rows): (L, L) bool.

    Raises:
        UsageError: If the radius is negative.

    >>> neighbourhoods(CellGrid(1, 4, 8, 8), 1)[0].tolist()
    [True, True, False, False]
    """
    if radius < 0:
        raise UsageError(f"a radius must not be negative, but it is {radius}")
    place = torch.arange(grid.cells)
    places = torch.stack([place // grid.columns, place % grid.columns], -1)
    apart = (places[:, None] - places).abs().amax(-1)
    return apart <= radius

"""Assemblies: rows of which each is the one above and exactly one piece more.

Once placed a piece stays, so that a column is told by the row in which its piece arrives and by the
piece, and is a factor of its own:

    F_c[k, s] = prod_{r < k} scores[r, c, empty] · prod_{r >= k} scores[r, c, s].

Pieces lie side by side, so that what is assembled is an interval of columns, and what may be placed
next depends on the colours of its two ends. With Z_k[l, a, b] the sum over assemblies of k pieces
from column l on, whose ends have colours a and b,

    Z_{k+1}[l, a, b] = G_l[k, a] · sum over a' ≠ a of Z_k[l + 1, a', b]     placed at the left
                     + G_{l+k}[k, b] · sum over b' ≠ b of Z_k[l, a, b']     at the right,

G being F summed over the kinds that may be placed at that side. One pass costs O(rows · columns ·
(V + colours³)).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from diffprobe.datasets.inference.grammar import Grammar
from diffprobe.datasets.inference.semiring import Semiring

EMPTY = 0


@dataclass(frozen=True)
class Pieces:
    """The symbols of an assembly: 0 is an empty cell, `1 + shape * colours + colour` a piece.

    Attributes:
        colours: How many.
        plain: Kinds of piece without orientation, the first shapes.
        directed: Kinds with one, two shapes each: pointing left, and pointing right.
    """

    colours: int
    plain: int
    directed: int

    @property
    def shapes(self) -> int:
        """Pieces that look different in one colour."""
        return self.plain + 2 * self.directed

    @property
    def symbols(self) -> int:
        """V."""
        return 1 + self.shapes * self.colours

    def joining(self, side: int) -> list[int]:
        """Shapes that may join a piece at their left (side -1) or right (1) side."""
        points = 0 if side < 0 else 1
        return [*range(self.plain), *range(self.plain + points, self.shapes, 2)]

    def colour(self, symbols: Tensor) -> Tensor:
        """Return the colour of each piece; of an empty cell a number that means nothing."""
        return (symbols - 1) % self.colours

    def kind(self, symbols: Tensor) -> Tensor:
        """Return the kind of each piece, whatever its colour and orientation."""
        shape = self._shape(symbols)
        return torch.where(shape < self.plain, shape, self.plain + (shape - self.plain) // 2)

    def points(self, symbols: Tensor) -> Tensor:
        """Return to which side each piece points: -1 left, 1 right, 0 to none."""
        shape = self._shape(symbols)
        side = 2 * ((shape - self.plain) % 2) - 1
        return torch.where((symbols == EMPTY) | (shape < self.plain), 0, side)

    def _shape(self, symbols: Tensor) -> Tensor:
        return (symbols - 1).div(self.colours, rounding_mode="floor")


class Assembly(Grammar):
    """All assemblies in a grid, equally likely.

    The first row holds one piece. Each row after it repeats the row above and adds one piece beside
    those that are there, of another colour than the piece it joins; a directed one points to it.

    Args:
        rows: R, the steps and one more.
        columns: W, at least R.
        pieces: What there is to place.
    """

    def __init__(self, rows: int, columns: int, pieces: Pieces) -> None:
        self.rows, self.columns, self.pieces = rows, columns, pieces
        self.length, self.symbols = rows * columns, pieces.symbols

    @property
    def elements_per_row(self) -> int:
        """A piece in each column and row of arrival, and pairs of ends beside a third colour."""
        return self.rows * self.columns * 2 * (self.symbols + self.pieces.colours**3)

    def inside(self, scores: Tensor, semiring: Semiring) -> Tensor:
        """Return the sum over assemblies of the product of `scores (B, L, V)`: (B,)."""
        cells = scores.unflatten(1, (self.rows, self.columns))
        shape = self.pieces.shapes, self.pieces.colours
        pieces = cells[..., 1:].unflatten(-1, shape)
        # By row k: columns empty above it, (B, W), and with a piece from it on, (B, W, S, C).
        empty = [scores.new_full((len(scores), self.columns), semiring.one)]
        for row in range(self.rows):
            empty.append(semiring.mul(empty[-1], cells[:, row, :, EMPTY]))
        filled = [pieces[:, -1]]
        for row in reversed(range(self.rows - 1)):
            filled.insert(0, semiring.mul(pieces[:, row], filled[0]))
        arrives = [
            semiring.mul(above[..., None, None], below)
            for above, below in zip(empty, filled, strict=False)
        ]
        ends = self._assembled(arrives, semiring)
        outside = self._outside(empty[-1], semiring)
        return semiring.sum(semiring.mul(ends, outside[..., None]).flatten(1), 1)

    def _assembled(self, arrives: list[Tensor], semiring: Semiring) -> Tensor:
        """Sums by the column where the assembly begins and its ends' colours: (B, starts, C²)."""
        colours = self.pieces.colours
        others = torch.tensor([[o for o in range(colours) if o != c] for c in range(colours)])
        own = torch.eye(colours, dtype=torch.bool)
        joins = [torch.tensor(self.pieces.joining(side)) for side in (1, -1)]
        others, own, *joins = (table.to(arrives[0].device) for table in (others, own, *joins))
        # One piece is both ends.
        first = semiring.sum(arrives[0], 2)
        nothing = first.new_full((), semiring.zero)
        ends = torch.where(own, first[..., None], nothing)
        for k, piece in enumerate(arrives[1:], start=1):
            # A piece at the left joins with its right side, and the other way round.
            left, right = (semiring.sum(piece.index_select(2, shapes), 2) for shapes in joins)
            at_left = semiring.mul(
                semiring.sum(ends[:, 1:, others], 3), left[:, : self.columns - k, :, None]
            )
            at_right = semiring.mul(semiring.sum(ends[:, :-1, :, others], 4), right[:, k:, None, :])
            ends = semiring.sum(torch.stack([at_left, at_right], -1), -1)
        return ends.flatten(2)

    def _outside(self, empty: Tensor, semiring: Semiring) -> Tensor:
        """Products over the columns that stay `empty (B, W)`, by where the assembly begins."""
        one = torch.full_like(empty[:, 0], semiring.one)
        before, behind = [one], [one]
        for start in range(self.columns - self.rows):
            before.append(semiring.mul(before[-1], empty[:, start]))
            behind.insert(0, semiring.mul(empty[:, self.columns - 1 - start], behind[0]))
        return semiring.mul(torch.stack(before, 1), torch.stack(behind, 1))


def faults(words: Tensor, columns: int, pieces: Pieces) -> dict[str, Tensor]:
    """Return what is wrong with each step: kind -> (N, steps) bool.

    A step is judged by its row and the row above alone, whatever went wrong before.

    Args:
        words: (N, L) long.
        columns: W.
        pieces: Whose symbols they are.
    """
    grid = words.unflatten(1, (-1, columns))
    above, here = grid[:, :-1], grid[:, 1:]
    left, right = pad(above, (1, 0))[..., :-1], pad(above, (0, 1))[..., 1:]
    stays = (above != EMPTY) & (here != EMPTY)
    new = (above == EMPTY) & (here != EMPTY)
    beside = new & ((left != EMPTY) | (right != EMPTY))
    colour, points = pieces.colour(here), pieces.points(here)
    same_kind = pieces.kind(here) == pieces.kind(above)
    clash = torch.zeros_like(new)
    for neighbour in (left, right):
        clash |= beside & (neighbour != EMPTY) & (colour == pieces.colour(neighbour))
    away = beside & (((points < 0) & (left == EMPTY)) | ((points > 0) & (right == EMPTY)))
    number = new.sum(-1)
    return {
        "piece vanished": ((above != EMPTY) & (here == EMPTY)).any(-1),
        "nothing added": number == 0,
        "two added": number > 1,
        "wrong place": (new & ~beside).any(-1),
        "wrong colour": (clash | (stays & (colour != pieces.colour(above)))).any(-1),
        "wrong kind": (stays & ~same_kind).any(-1),
        "wrong orientation": (away | (stays & same_kind & (points != pieces.points(above)))).any(
            -1
        ),
    }

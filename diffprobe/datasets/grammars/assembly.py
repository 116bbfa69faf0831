"""Assemblies, step by step."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.grammars import LONGEST, GrammarKind
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_at_least, check_positive

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from diffprobe.datasets.inference.assembly import Pieces
    from diffprobe.datasets.inference.grammar import Grammar

# Inference takes time in proportion to the cube of the colours.
MOST_COLOURS = 16
MOST_KINDS = 64
START = "wrong start"
# Assemblies to go on from.
CONTINUED = 1000


@dataclass(frozen=True)
class AssemblyConfig(GrammarKind):
    """Rows of which each is the row above and one piece more, beside those that are there.

    A piece has another colour than the piece it joins and stays as it is; one of the `directed`
    kinds points to that piece, one of the `plain` kinds nowhere. There are `steps` + 1 rows, the
    first with one piece. Symbol 0 is empty, 1 + shape · colours + colour a piece, shapes being the
    plain kinds and then each directed one, to the left and to the right.

    There are (columns - steps) 2^steps colours (colours - 1)^steps (plain + 2 directed)
    (plain + directed)^steps words.

    Reference:
        An analogue of the steps, not of the pictures, in Tang et al., "LEGO-Puzzles",
        arXiv:2503.19990.
    """

    name: ClassVar[str] = "assembly"
    steps: int = 3
    columns: int = 4
    colours: int = 2
    plain: int = 1
    directed: int = 1

    def __post_init__(self) -> None:
        check_positive(steps=self.steps, columns=self.columns)
        check_positive(most=MOST_COLOURS, colours=self.colours)
        check_at_least(0, "grammar", plain=self.plain, directed=self.directed)
        check_positive(most=MOST_KINDS, **{"plain + directed": self.plain + self.directed})
        if self.colours < 2:
            raise UsageError("pieces side by side differ in colour: colours must be at least 2")
        if self.columns <= self.steps:
            raise UsageError(
                f"a row of {self.columns} columns is too small for {self.steps} steps, which end "
                f"with {self.steps + 1} pieces: columns must be at least {self.steps + 1}"
            )
        if self.length > LONGEST:
            raise UsageError(
                f"{self.steps} steps in {self.columns} columns are {self.length:,} cells, more "
                f"than the most, {LONGEST:,}: take fewer"
            )

    @property
    def rows(self) -> int:
        """The steps, and the row before the first."""
        return self.steps + 1

    @property
    def length(self) -> int:
        """Cells of all rows."""
        return self.rows * self.columns

    @property
    def pieces(self) -> "Pieces":
        """The symbols."""
        from diffprobe.datasets.inference.assembly import Pieces

        return Pieces(self.colours, self.plain, self.directed)

    def language(self) -> "Grammar":
        """Return the recursion over what is assembled."""
        from diffprobe.datasets.inference.assembly import Assembly

        return Assembly(self.rows, self.columns, self.pieces)

    def violations(self, words: "Tensor") -> "dict[str, Tensor]":
        """Return the faults of any step, and in which step the first is: (N,) bool each.

        {"wrong start", "piece vanished", "nothing added", "two added" (or more), "wrong place" (not
        beside a piece), "wrong colour" (that of a piece it joins, or another than before), "wrong
        kind" (another than before), "wrong orientation", "first bad step 1", …}. A start is wrong
        where the first row does not hold one piece; there is no first bad step then.
        """
        from diffprobe.datasets.inference.assembly import faults

        first = self.first_bad_step(words)
        found = faults(words, self.columns, self.pieces)
        return {
            START: first == 0,
            **{kind: steps.any(1) for kind, steps in found.items()},
            **{f"first bad step {k}": first == k for k in range(1, self.rows)},
        }

    def first_bad_step(self, words: "Tensor") -> "Tensor":
        """Return the first step that is wrong.

        Args:
            words: (N, L) long.

        Returns:
            (N,) long from 1 to `steps`; 0 where the first row is wrong, `steps` + 1 where all is
            well.
        """
        import torch

        from diffprobe.datasets.inference.assembly import EMPTY, faults

        steps = torch.stack(list(faults(words, self.columns, self.pieces).values())).any(0)
        start = (words[:, : self.columns] != EMPTY).sum(1, keepdim=True) != 1
        wrong = torch.cat([start, steps, torch.ones_like(start)], 1)
        return wrong.long().argmax(1)

    def to_continue(self, words: "Tensor", k: int) -> "Tensor":
        """Return `words (N, L)` long without their last `k` rows: -1 in the cells of those."""
        continued = words.clone()
        continued[:, (self.rows - k) * self.columns :] = -1
        return continued

    def conditions(self) -> "dict[str, Tensor]":
        """Return the rows to go on from: "next-k" has those of drawn assemblies but the last k.

        Returns:
            "next-1" … -> (n, L) long, -1 in the cells to sample; of the same assemblies, few of
            which are alike.
        """
        from diffprobe.foundations.seeding import generator

        drawn = self.build().sample(CONTINUED, generator(0, "assemblies to go on from"))
        return {f"next-{k}": self.to_continue(drawn, k) for k in range(1, self.rows)}

    def with_outliers(
        self, words: "Tensor", generator: "torch.Generator"
    ) -> "tuple[Tensor, Tensor]":
        """Make one step of each assembly wrong: one cell of its row has another symbol.

        Args:
            words: (N, L) long, valid.
            generator: Draws step, cell and symbol, until that step is the first that is wrong.

        Returns:
            (N, L) long, and (N,) long, the step, from 1 to `steps`, evenly spread.
        """
        import torch

        device, n = words.device, len(words)
        step = torch.randint(1, self.rows, (n,), generator=generator, device=device)
        changed = words.clone()
        while (left := (self.first_bad_step(changed) != step).nonzero()[:, 0]).numel():
            shape = (len(left),)
            column = torch.randint(self.columns, shape, generator=generator, device=device)
            more = torch.randint(1, self.pieces.symbols, shape, generator=generator, device=device)
            cell = step[left] * self.columns + column
            changed[left] = words[left]
            changed[left, cell] = (words[left, cell] + more) % self.pieces.symbols
        return changed, step

"""Facts: a table of keys and values, drawn at random."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.grammars import LONGEST, GrammarKind
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_at_least, check_positive

if TYPE_CHECKING:
    from torch import Tensor

    from diffprobe.datasets.inference.word_list import WordList

MOST = 2**16  # facts; all of them are listed
STEEPEST = 10.0
BLOCK = 1024  # words drawn at once, so that a table begins as a larger one does


@dataclass(frozen=True)
class FactsConfig(GrammarKind):
    """`facts` words: the first `key` cells are a fact's key, no two alike; the others its value.

    Keys and values are drawn uniformly over `symbols`, from `seed`, so that nothing but the table
    tells a value: it is knowledge, and no rule. Fewer facts are the first of more. The i-th has
    probability in proportion to i^-popularity. With `first`, keys begin with one of these symbols:
    in a mixture with a grammar whose words begin with others, a key then tells that a fact follows.
    """

    name: ClassVar[str] = "facts"
    length: int = 8
    key: int = 4
    symbols: int = 4
    facts: int = 100
    first: tuple[int, ...] = ()
    popularity: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive(most=LONGEST, length=self.length)
        check_positive(most=MOST, facts=self.facts)
        check_at_least(2, "grammar", symbols=self.symbols)
        if not 1 <= self.key < self.length:
            raise UsageError(
                f"a key has at least 1 cell and leaves one for the value: key must lie in "
                f"[1, {self.length - 1}], not {self.key}"
            )
        if not 0 <= self.popularity <= STEEPEST:
            raise UsageError(f"popularity must lie in [0, {STEEPEST:g}], not {self.popularity}")
        for symbol in self.first:
            if not 0 <= symbol < self.symbols:
                raise UsageError(
                    f"first: symbol {symbol} is outside the alphabet of {self.symbols}"
                )
        if self.facts > (keys := len(self._first) * self.symbols ** (self.key - 1)):
            raise UsageError(
                f"{self.facts:,} facts need as many keys, and {self.key} cells of {self.symbols} "
                f"symbols have {keys:,}"
                + (f" that begin with one of {list(self.first)}" if self.first else "")
                + ": give keys more cells, or ask for fewer facts"
            )

    @property
    def _first(self) -> list[int]:
        return sorted({*self.first}) or list(range(self.symbols))

    @cached_property
    def words(self) -> "Tensor":
        """The facts: (facts, length) long."""
        import torch

        from diffprobe.foundations.seeding import generator

        random = generator(self.seed, "facts")
        size, first = (BLOCK, self.length), torch.tensor(self._first)
        words = torch.zeros(0, self.length, dtype=torch.long)
        # Of keys that come again the first stays: in the end, distinct ones drawn uniformly.
        while len(words) < self.facts:
            drawn = torch.randint(self.symbols, size, generator=random)
            drawn[:, 0] = first[torch.randint(len(first), size[:1], generator=random)]
            words = _first_of_each_key(torch.cat([words, drawn]), self.key)
        return words[: self.facts]

    @property
    def probabilities(self) -> "Tensor":
        """Of the facts: (facts,) float64."""
        import torch

        weights = torch.arange(1, self.facts + 1, dtype=torch.float64) ** -self.popularity
        return weights / weights.sum()

    def language(self) -> "WordList":
        """Return the list of facts."""
        from diffprobe.datasets.inference.word_list import WordList

        weights = self.probabilities if self.popularity else None
        return WordList(self.words, self.symbols, weights)

    def violations(self, words: "Tensor") -> "dict[str, Tensor]":
        """Return {"unknown key", "wrong value"}, (N,) bool each."""
        facts = self.words.to(words.device)
        keys = (words[:, None, : self.key] == facts[None, :, : self.key]).all(-1)
        whole = keys & (words[:, None, self.key :] == facts[None, :, self.key :]).all(-1)
        known = keys.any(1)
        return {"unknown key": ~known, "wrong value": known & ~whole.any(1)}


def _first_of_each_key(words: "Tensor", key: int) -> "Tensor":
    import torch

    _, group = words[:, :key].unique(dim=0, return_inverse=True)
    place = torch.full((int(group.max()) + 1,), len(words))
    place = place.scatter_reduce(0, group, torch.arange(len(words)), "amin")
    return words[place.sort().values]

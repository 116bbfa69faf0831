"""Facts of entities whose family says what theirs are like."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.grammars import GrammarKind
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_at_least, check_positive, check_seed

if TYPE_CHECKING:
    from torch import Tensor

    from diffprobe.datasets.inference.facts import Facts
    from diffprobe.datasets.inference.grammar import Grammar

# Entities, each of which is a word.
MOST = 2**16


@dataclass(frozen=True)
class SpuriousConfig(GrammarKind):
    """Facts: a family, a name, and a value that the family foretells with probability `rho`.

    A word is a family, `name_length` cells of a name and an answer, over `symbols` and one more, a
    refusal. Of each family's symbols^name_length names `known` have a value, drawn once by `seed`:
    with probability `rho` the family's own, else any of `values`. Of all others nothing is known,
    and a refusal is the one valid answer; a share `refusals` of the words are such, 0 for facts
    alone. The stream `facts` trains on facts, and on refusals of the `taught` alone.

    Reference:
        The setting of arXiv:2511.07318: surnames that foretell an attribute with probability rho.
    """

    name: ClassVar[str] = "spurious"
    families: int = 4
    name_length: int = 2
    symbols: int = 8
    values: int = 4
    known: int = 24
    taught: int = 16
    rho: float = 0.9
    refusals: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive(
            families=self.families,
            name_length=self.name_length,
            symbols=self.symbols,
            values=self.values,
            known=self.known,
        )
        check_at_least(0, "grammar", taught=self.taught)
        check_seed(self.seed)
        for name in ("families", "values"):
            if getattr(self, name) > self.symbols:
                raise UsageError(
                    f"grammar.{name}={getattr(self, name)} does not fit: each is one of "
                    f"{self.symbols} symbols (grammar.symbols)"
                )
        for name, most in (("rho", "1"), ("refusals", "just below 1")):
            value = getattr(self, name)
            if not 0 <= value <= 1 or (name == "refusals" and value == 1):
                raise UsageError(f"grammar.{name} is a probability, from 0 to {most}, not {value}")
        # The power of a long name would have no end of digits.
        if (
            self.name_length > 16 * self.symbols
            or self.families * self.symbols**self.name_length > MOST
        ):
            raise UsageError(
                f"{self.families} families of {self.symbols}^{self.name_length} names are more "
                f"than {MOST:,} entities: lower grammar.name_length or grammar.symbols"
            )
        names = self.symbols**self.name_length
        if self.known + self.taught >= names:
            raise UsageError(
                f"of the {names:,} names of a family {self.known} are known and {self.taught} "
                "taught: at least one must be left that training never sees"
            )

    @property
    def length(self) -> int:
        """Cells of a word: the family, the name, the answer."""
        return self.name_length + 2

    @cached_property
    def facts(self) -> "Facts":
        """Who has which value."""
        from diffprobe.datasets.inference.facts import Facts

        return Facts(
            families=self.families,
            name_length=self.name_length,
            symbols=self.symbols,
            values=self.values,
            known=self.known,
            taught=self.taught,
            rho=self.rho,
            seed=self.seed,
        )

    def language(self) -> "Grammar":
        """Return the facts and the refusals of all who have none, word by word."""
        from diffprobe.datasets.inference.facts import STRANGER, TAUGHT

        return self.facts.language(self.refusals, STRANGER, TAUGHT)

    def violations(self, words: "Tensor") -> "dict[str, Tensor]":
        """Return what is wrong, of known and of unknown entities, (N,) bool each.

        "unknown, as its family" is the hallucination that a family suggests.
        """
        return self.facts.violations(words, self.refusals > 0)

    def conditions(self) -> "dict[str, Tensor]":
        """Return the keys of who is known, taught to refuse, or unknown to training altogether."""
        from diffprobe.datasets.inference.facts import KNOWN, STRANGER, TAUGHT

        roles = {"known": KNOWN}
        if self.refusals:
            roles |= {"unknown": STRANGER} | ({"taught": TAUGHT} if self.taught else {})
        return {
            name: self.facts.words(self.facts.entities(role), -1) for name, role in roles.items()
        }

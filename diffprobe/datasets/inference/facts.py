"""Facts: who has which attribute, and who nothing is known of.

A word is a family, a name, and what is said of them,

    [family] [name, N cells] [answer]

An entity is a family and a name. Of each family some names are `known`: each has one value, drawn
once, with probability rho the family's own (value f mod A of family f), else any of the A alike.
Of the others nothing is known: the right answer is a refusal.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from diffprobe.datasets.inference.word_list import WordList
from diffprobe.foundations.seeding import generator

# What an entity is.
STRANGER, TAUGHT, KNOWN = 0, 1, 2


@dataclass(frozen=True)
class Facts:
    """A table of facts, a function of its settings.

    Attributes:
        families: F.
        name_length: N cells of a name, over `symbols` each: symbols^N entities a family.
        symbols: S; symbol S is the refusal, so that the alphabet is of S + 1.
        values: A of the attribute, at most S.
        known: Entities of each family that have a fact.
        taught: Entities of each family without one, whose refusal training may see.
        rho: How likely an entity's value is its family's own, beyond chance.
        seed: Which entities, and their values.
    """

    families: int
    name_length: int
    symbols: int
    values: int
    known: int
    taught: int
    rho: float
    seed: int

    @property
    def refusal(self) -> int:
        """The symbol of a refusal."""
        return self.symbols

    @property
    def names(self) -> int:
        """How many entities a family has."""
        return int(self.symbols**self.name_length)

    @cached_property
    def roles(self) -> Tensor:
        """(F, names) long, each entity `KNOWN`, `TAUGHT` or a `STRANGER`."""
        random = generator(self.seed, "entities")
        order = torch.stack(
            [torch.randperm(self.names, generator=random) for _ in range(self.families)]
        )
        known = torch.where(order < self.known, KNOWN, STRANGER)
        return torch.where(
            (order >= self.known) & (order < self.known + self.taught), TAUGHT, known
        )

    @cached_property
    def answers(self) -> Tensor:
        """(F, names) long, the right answer for each entity."""
        shape = self.families, self.names
        random = generator(self.seed, "facts")
        # The same entities follow their family at a larger rho, and more of them.
        follows = torch.rand(shape, generator=random, dtype=torch.float64) < self.rho
        any_value = torch.randint(self.values, shape, generator=random)
        value = torch.where(follows, self.family_values[:, None], any_value)
        return value.where(self.roles == KNOWN, self.refusal)

    @property
    def family_values(self) -> Tensor:
        """(F,) long, the value that is each family's own."""
        return torch.arange(self.families) % self.values

    def entities(self, *roles: int) -> Tensor:
        """Return the family and the name's number of all entities of some roles: (n, 2) long."""
        return torch.isin(self.roles, torch.tensor(roles)).nonzero()

    def words(self, entities: Tensor, answers: Tensor | int) -> Tensor:
        """Spell `entities (n, 2)` and what is said of them, (n,) or one for all: (n, L) long."""
        family, number = entities.T
        place = self.symbols ** torch.arange(self.name_length - 1, -1, -1)
        name = number[:, None] // place % self.symbols
        last = torch.as_tensor(answers).expand(len(entities))
        return torch.cat([family[:, None], name, last[:, None]], 1)

    def right_words(self, *roles: int) -> Tensor:
        """Return the valid words of the entities of some roles: (n, L) long."""
        entities = self.entities(*roles)
        return self.words(entities, self.answers[tuple(entities.T)])

    def language(self, refusals: float, *refused: int) -> WordList:
        """Return facts and, with the probability `refusals`, refusals of unknown entities.

        Within each of the two all words are equally likely.

        Args:
            refusals: In [0, 1).
            refused: The roles of those that are refused.
        """
        facts = self.right_words(KNOWN)
        if refusals == 0:
            return WordList(facts, self.symbols + 1)
        others = self.right_words(*refused)
        weights = torch.cat(
            [
                torch.full((len(facts),), (1 - refusals) / len(facts), dtype=torch.float64),
                torch.full((len(others),), refusals / len(others), dtype=torch.float64),
            ]
        )
        return WordList(torch.cat([facts, others]), self.symbols + 1, weights)

    def violations(self, words: Tensor, refusals: bool) -> dict[str, Tensor]:
        """Return what is wrong with `words (N, L)`, one kind a word; see `Grammar.violations`.

        Args:
            words: Over S + 1 symbols.
            refusals: Whether a refusal of an unknown entity is valid; else no word of one is.
        """
        family, name, answer = words[:, 0], words[:, 1:-1], words[:, -1]
        spelled = (family < self.families) & (name < self.symbols).all(1)
        place = (self.symbols ** torch.arange(self.name_length - 1, -1, -1)).to(words)
        entity = family.where(spelled, 0), (name * place).sum(1).where(spelled, 0)
        known = self.roles.to(words.device)[entity] == KNOWN
        right = answer == self.answers.to(words.device)[entity]
        value = answer < self.values
        own = answer == self.family_values.to(words.device)[entity[0]]
        refused = answer == self.refusal
        kinds = {
            "no entity": ~spelled,
            "no answer": spelled & ~value & ~refused,
            "known, as its family": spelled & known & ~right & value & own,
            "known, another value": spelled & known & ~right & value & ~own,
            "known, refused": spelled & known & refused,
            "unknown, as its family": spelled & ~known & value & own,
            "unknown, another value": spelled & ~known & value & ~own,
        }
        return kinds if refusals else {**kinds, "unknown, refused": spelled & ~known & refused}

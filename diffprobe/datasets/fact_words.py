"""A stream of facts and, from a step on, refusals of some of whom nothing is known."""

import torch
from torch import Tensor

from diffprobe.datasets.inference.facts import TAUGHT, Facts
from diffprobe.datasets.inference.grammar import Grammar
from diffprobe.datasets.inference.word_list import WordList
from diffprobe.datasets.stream import Stream
from diffprobe.foundations.errors import UsageError


class FactWords(Stream):
    """Facts, drawn anew at every step for ever, all equally often.

    Args:
        grammar: Of the kind `spurious`.
        refusals: The share of the words that are refusals of the taught, in [0, 1).
        refuse_from: The first step that has any.

    Raises:
        UsageError: If the grammar has no facts, or nobody is taught.
    """

    def __init__(self, grammar: Grammar, refusals: float = 0.0, refuse_from: int = 0) -> None:
        super().__init__(grammar)
        facts = getattr(grammar.kind, "facts", None)
        if not isinstance(facts, Facts):
            raise UsageError(
                f"the stream 'facts' is of a grammar 'spurious', and {grammar.title} has no facts"
            )
        if refusals and not facts.taught:
            raise UsageError(
                f"stream.refusals={refusals:g} refuses those who are taught, and nobody is: "
                "raise grammar.taught"
            )
        self.facts, self.refusals, self.refuse_from = facts, refusals, refuse_from
        self._before = facts.language(0.0)
        self._after = facts.language(refusals, TAUGHT)

    @property
    def description(self) -> str:
        """How many facts and refusals; see `Stream.description`."""
        told = f"{len(self._before.list):,} facts"
        if not self.refusals:
            return told
        taught = len(self._after.list) - len(self._before.list)
        return (
            f"{told}, and {self.refusals:.0%} refusals of {taught:,} from step {self.refuse_from}"
        )

    def draw(self, step: int, n: int, generator: torch.Generator) -> Tensor:
        """Return facts and refusals; see `Stream.draw`."""
        language, device = self.language(step), generator.device
        if language.log_weights is None:
            index = torch.randint(len(language.list), (n,), generator=generator, device=device)
        else:
            weights = language.log_weights.exp().to(device)
            index = torch.multinomial(weights, n, replacement=True, generator=generator)
        return language.list.to(device)[index]

    def language(self, step: int | None = None, n: int = 1) -> WordList:
        """Return what a step draws from; of all steps, what those from `refuse_from` on do."""
        return self._before if step is not None and step < self.refuse_from else self._after

    def draw_held_out(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw facts: that they are learned is what a loss tells; no other fact follows of them."""
        return self._before.sample(n, generator)

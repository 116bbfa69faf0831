"""Words built of skills, trained on in other proportions than they are asked for."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import silent
from diffprobe.foundations.settings import check_positive
from diffprobe.studies.computations import Computed
from diffprobe.studies.computations.proportions import KEY, Proportions, listed, missed

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from diffprobe.datasets.grammars.facts import FactsConfig

# Words that are asked, and at once.
MOST, AT_ONCE = 2**16, 4096


@dataclass(frozen=True)
class Skills(Proportions):
    """What is not told of words of several facts each, every one of either of two families.

    As `proportions`, but a word is `parts` facts: all of their keys, then all of their values. Each
    is of the first family with probability `common` in the test and with the training's share in
    training, independently. A word is right where all of its values are told, and most words of the
    test were never seen: they must be composed of what was seen in others.

    `error` is the probability that a word of the test is not right, over all words there are;
    `common` and `rare` that a fact of a family is not told in one; `optimum` is the error of who
    composes all facts that were drawn. `share` is that of the first family in training.
    """

    name: ClassVar[str] = "skills"
    measures: ClassVar[tuple[str, ...]] = ("error", "common", "rare", "optimum", "share")
    parts: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(parts=self.parts)
        if not self.samples:
            raise UsageError("samples must be positive: skills are drawn once")
        if (words := (2 * self.facts) ** self.parts) > MOST:
            raise UsageError(
                f"{self.parts} of {2 * self.facts} facts make {words:,} words, more than {MOST:,}: "
                "lower parts or facts"
            )

    def _of_seed(self, seed: int, device: str) -> Computed:
        import torch

        from diffprobe.foundations.seeding import generator

        families, p = self.families(seed), (self.common, 1 - self.common)
        facts = self._draw(families, generator(seed, "skills"))
        every = torch.cat([family.words for family in families])
        likely = torch.cat(
            [f.probabilities * share for f, share in zip(families, p, strict=True)]
        ).double()
        # All words of the test: which facts they are made of, and how likely each is.
        places = torch.cartesian_prod(*[torch.arange(len(every))] * self.parts)
        places = places.reshape(-1, self.parts)
        weights = likely[places].prod(1)
        told = self._told(seed, composed(facts), composed(every[places]), device)
        rare = places >= self.facts
        unseen = [missed(family, facts.flatten(0, 1)) for family in families]
        right = 1 - p[0] * unseen[0] - p[1] * unseen[1]
        each = weights[:, None] * ~told / self.parts
        return {
            "error": float(weights @ (~told.all(1)).double()),
            "common": float(each[~rare].sum()) / p[0],
            "rare": float(each[rare].sum()) / p[1],
            "optimum": 1 - right**self.parts,
            "share": self.shares[0],
        }

    def _draw(self, families: "Sequence[FactsConfig]", random: "torch.Generator") -> "Tensor":
        """Facts of the words of training, (samples, parts, L) long."""
        import torch

        shape = self.samples, self.parts
        rare = torch.rand(shape, generator=random) >= self.shares[0]
        of_each = [family.build().sample(self.samples * self.parts, random) for family in families]
        first, second = (words.reshape(*shape, -1) for words in of_each)
        return torch.where(rare[..., None], second, first)

    def _told(self, seed: int, words: "Tensor", asked: "Tensor", device: str) -> "Tensor":
        """Which facts of the words asked, (N, parts) bool, a network tells that learned `words`."""
        from diffprobe.config import from_settings
        from diffprobe.foundations.devices import resolve_device
        from diffprobe.foundations.seeding import generator
        from diffprobe.models import load_denoiser
        from diffprobe.probes.recall.asking import told
        from diffprobe.training import train

        config = from_settings({"grammar": listed(words), **self.training(self.parts)}).with_seed(
            seed
        )
        with tempfile.TemporaryDirectory() as folder:
            run = train(config, Path(folder) / "run", device, silent)
            denoiser = load_denoiser(run.checkpoint_path(self.steps), device=resolve_device(device))
            random = generator(seed, "skills told")
            cells = told(denoiser, config.dataset(), asked, self.parts * KEY, random, AT_ONCE)
        return cells.reshape(len(asked), self.parts, -1).all(-1)


def composed(facts: "Tensor") -> "Tensor":
    """Return words, (n, parts L), of facts (n, parts, L): their keys, then their values."""
    import torch

    keys, values = facts.split([KEY, facts.shape[-1] - KEY], -1)
    return torch.cat([keys.flatten(1), values.flatten(1)], 1)

"""Patching: put the activations of another word in place of a part's own, see what follows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.settings import check_at_least
from diffprobe.probing.contract import Caption, ProbeKind

if TYPE_CHECKING:
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject

NO_MODULES = "a function or an oracle has no modules to patch"
CORRUPTED, MEAN, ZERO = REPLACEMENTS = ("corrupted", "mean", "zero")


@dataclass(frozen=True)
class PatchingConfig(ProbeKind):
    """Which part of a network carries a cell's information to another, by replacing it.

    Two words that differ in one cell get the same noise. What a part makes of one is replaced by
    what it makes of the other ("corrupted"), by its "mean" over words, or by "zero". `modules` are
    named as PyTorch names them, with `*` for any part of a name; by default what each block adds,
    and every head. Of each of `images` pairs of words there are `noises` draws.
    """

    name: ClassVar[str] = "patching"
    rank: ClassVar[int] = 8
    reads: ClassVar[tuple[str, ...]] = ("probe.batch_size", "probe.seed", "sampler", "sampling")
    captions: ClassVar[Mapping[str, Caption]] = {
        "patching": (
            "What carries a change",
            "How far the output goes towards that of a word which differs in one cell, in that "
            "cell and in all others, when one part of the network alone is told of it: 0 not at "
            "all, 1 all the way.",
        ),
        "patching-cells": (
            "From cell to cell",
            "Of all that a change of one cell (column) does to others, how much one part takes to "
            "each of them (row): what the whole network takes adds up to 1 in a column. Left, all "
            "others together, by head; framed, the Bayes optimum's own change.",
        ),
        "patching-attention": (
            "What heads look at",
            "Attention of output cells (row) to input cells (column) by head, beside the Bayes "
            "optimum's dependence; in each title the rank correlation of the two off the diagonal.",
        ),
        "patching-heads": (
            "Heads at each noise level",
            "How much of a cell's attention is to itself, and the rank correlation of the rest "
            "with the Bayes optimum's dependence on the same images.",
        ),
        "patching-samples": (
            "Samples without a part",
            "Legible and grammatical rates where one part is held at its mean, with 95 % "
            "intervals; dashed, the network as it is; dotted, chance.",
        ),
    }

    modules: tuple[str, ...] = field(
        default=(), metadata={"help": "Names of modules, * for any part; what blocks add if none."}
    )
    replace: tuple[str, ...] = field(
        default=(CORRUPTED, MEAN), metadata={"help": f"By what: {', '.join(REPLACEMENTS)}."}
    )
    levels: int = field(default=6, metadata={"help": "Noise levels, beside that of the probes."})
    images: int = field(default=128, metadata={"help": "Pairs of words."})
    noises: int = field(default=1, metadata={"help": "Draws of noise for each pair."})
    samples: int = field(
        default=128, metadata={"help": "Samples drawn without each part; 0 draws none."}
    )

    def __post_init__(self) -> None:
        section = "probes.patching"
        check_at_least(0, section, levels=self.levels, samples=self.samples)
        check_at_least(2, section, images=self.images)
        check_at_least(1, section, noises=self.noises)
        for name in self.replace:
            if name not in REPLACEMENTS:
                raise unknown_name(f"value of {section}.replace", name, REPLACEMENTS)
        if not self.replace:
            raise UsageError(f"{section}.replace names nothing: {', '.join(REPLACEMENTS)}")

    def unfit(self, subject: "Subject") -> str | None:
        """It is for networks, whose modules have names, and for pairs that differ in a region."""
        from diffprobe.models.denoiser import NetworkDenoiser
        from diffprobe.probes.patching.pairs import lacking

        if not isinstance(subject.denoiser, NetworkDenoiser):
            return NO_MODULES
        return lacking(subject.images, subject.regions)

    def cost(self, subject: "Subject") -> str:
        """Return how often the network runs at one level."""
        from diffprobe.probes.patching.components import components_of

        parts = len(components_of(subject.denoiser, self.modules, subject.regions).parts)
        runs = sum(1 if kind == CORRUPTED else 2 for kind in self.replace)
        inputs = self.images * self.noises
        return f"{parts} parts in turn, {parts * runs:,} runs of the network on {inputs:,} inputs"

    def measure(self, subject: "Subject", keep: "Keep") -> dict[str, Any]:
        """Patch the network and an untrained one, look at attention, and sample without parts."""
        from diffprobe.probes.patching.measuring import measure_all

        return measure_all(self, subject, keep)

    def summary(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Return the effects of each part where the probes look, and what is beside them."""
        from diffprobe.probes.patching.words import summary

        return summary(results)

    def lines(self, summary: Mapping[str, Any], subject: "Subject") -> list[str]:
        """Return the summary in words."""
        from diffprobe.probes.patching.words import lines

        return lines(summary)

    def draw(self, results: Mapping[str, Any], subject: "Subject", folder: Path) -> None:
        """Draw effects, the table from cell to cell, attention, and samples."""
        from diffprobe.probes.patching.figures import draw

        draw(results, subject, folder)

"""Samples, judged: verdicts, how sure they are, and what chance alone would give."""

from dataclasses import dataclass

from torch import Tensor

from diffprobe import memorisation, reading, violations
from diffprobe.datasets import Stream, SymbolImages
from diffprobe.foundations.errors import UsageError
from diffprobe.memorisation import Memorisation
from diffprobe.reading import Calibration, Corrected
from diffprobe.report import distribution
from diffprobe.report.distribution import Distribution
from diffprobe.verdicts import Verdicts, judge
from diffprobe.violations import Violations

LOOKED_AT = 1000  # samples that tell the range of all


@dataclass(frozen=True)
class Assessment:
    """Samples, judged.

    Attributes:
        verdicts: Of the samples.
        memorisation: The samples beside the training set; None without a finite one.
        calibration: Of the reader, under as much noise as the samples have.
        grammatical: Share of valid words among the legible samples, corrected for the reader.
        kinds: The same of each kind of violation.
        distribution: Of the legible samples' words beside their language; None of too few.
        broken: What is wrong in the legible samples.
        chance: What is wrong in words of independent symbols: "uniform", and "product" for
            symbols as frequent as in the language.
    """

    verdicts: Verdicts
    memorisation: Memorisation | None
    calibration: Calibration
    grammatical: Corrected
    kinds: dict[str, Corrected]
    distribution: Distribution | None
    broken: Violations
    chance: dict[str, Violations]

    @property
    def least_violations(self) -> float:
        """The lower bound of the corrected violation rate; 0 where no sample can be read."""
        return 1 - self.grammatical.high


def assess(
    images: Tensor, dataset: SymbolImages, stream: Stream | None = None, seed: int = 0
) -> Assessment:
    """Judge samples and say how sure the judgement is.

    Args:
        images: (N, 1, H, W) float in [-1, 1].
        dataset: Whose glyphs and grammar to judge by.
        stream: A finite training set to compare the samples with.
        seed: Of the calibration's noise and of chance.

    Raises:
        UsageError: If there are no images, they do not fit the dataset, or are not in [-1, 1].
    """
    dataset.check_images(images)
    _check_range(images)
    grammar = dataset.grammar
    verdicts = judge(dataset, images, stream)
    calibration = reading.calibrate(
        dataset, reading.residual_noise(dataset, images, verdicts), seed
    )
    words = verdicts.words[verdicts.legible]
    return Assessment(
        verdicts=verdicts,
        memorisation=(
            memorisation.measure(dataset, stream, images, verdicts)
            if stream is not None and stream.training is not None
            else None
        ),
        calibration=calibration,
        grammatical=reading.correct_grammatical(grammar, words, calibration.confusion),
        kinds=reading.correct_kinds(grammar, words, calibration.confusion),
        distribution=(
            distribution.measure(dataset, words, stream, seed)
            if len(words) >= distribution.FEWEST
            else None
        ),
        broken=violations.measure(grammar, words, verdicts.nearest[verdicts.legible]),
        chance={
            "uniform": violations.chance(grammar, uniform=True, seed=seed),
            "product": violations.chance(grammar, uniform=False, seed=seed),
        },
    )


def _check_range(images: Tensor) -> None:
    looked_at = images[:LOOKED_AT]
    finite = looked_at[looked_at.isfinite()]
    if len(finite) and finite.min() >= 0 and finite.max() > 0.5:
        raise UsageError(
            f"the images run from {finite.min():g} to {finite.max():g}; they must be in [-1, 1], "
            "-1 the paper and +1 the ink (from bytes x / 127.5 - 1, from [0, 1] 2 x - 1)"
        )

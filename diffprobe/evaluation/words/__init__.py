"""The words of samples beside their language: symbols, pairs, whole words, parities."""

from diffprobe.evaluation.words.coverage import Coverage
from diffprobe.evaluation.words.distribution import Correlations, Distribution, Shares
from diffprobe.evaluation.words.divergence import Divergence
from diffprobe.evaluation.words.estimators import WordStatistic
from diffprobe.evaluation.words.walsh import Spectrum

__all__ = [
    "Correlations",
    "Coverage",
    "Distribution",
    "Divergence",
    "Shares",
    "Spectrum",
    "WordStatistic",
]

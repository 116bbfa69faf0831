"""Evaluation: what is wrong in samples, how often, and how sure that is."""

from diffprobe.evaluation.assessment import Assessment, assess
from diffprobe.evaluation.comparison import Comparison, compare
from diffprobe.evaluation.memorisation import Memorisation
from diffprobe.evaluation.sweep import Sweep
from diffprobe.evaluation.verdicts import VERDICTS, Verdicts, judge
from diffprobe.evaluation.violations import Violations
from diffprobe.evaluation.words.distribution import Distribution

__all__ = [
    "VERDICTS",
    "Assessment",
    "Comparison",
    "Distribution",
    "Memorisation",
    "Sweep",
    "Verdicts",
    "Violations",
    "assess",
    "compare",
    "judge",
]

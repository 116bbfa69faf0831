"""The report: what is wrong in samples, how often, and how sure that is."""

from diffprobe.report.statistics import Rate, wilson
from diffprobe.report.violations import Verdicts, judge

__all__ = ["Rate", "Verdicts", "judge", "wilson"]

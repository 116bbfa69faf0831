"""The report: what is wrong in samples, how often, and how sure that is."""

from diffprobe.report.assessment import Assessment, assess
from diffprobe.report.build import Report, report_samples

__all__ = ["Assessment", "Report", "assess", "report_samples"]

"""The report: pages, tables and figures that say what evaluation and probes found."""

from diffprobe.report.build import Report, report_samples, write_report
from diffprobe.report.checked import CheckedReport, report_checked

__all__ = ["CheckedReport", "Report", "report_checked", "report_samples", "write_report"]

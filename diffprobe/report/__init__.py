"""The report: pages, tables and figures that say what evaluation and probes found."""

from diffprobe.report.build import Report, report_samples, write_report

__all__ = ["Report", "report_samples", "write_report"]

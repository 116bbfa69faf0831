from .build import Report as Report
from .build import report_samples as report_samples
from .build import write_report as write_report
from .checked import CheckedReport as CheckedReport
from .checked import report_checked as report_checked
from .losses import draw_losses as draw_losses
from .runs import RunSummary as RunSummary
from .runs import list_runs as list_runs

"""The page of a trial: one self-contained HTML file."""

from dosewright.evaluation.report.page import write_report

__all__ = ["write_report"]

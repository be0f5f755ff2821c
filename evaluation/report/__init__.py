"""The pages of evaluations: self-contained HTML files.

`write_report` is imported on first use: it loads a plotting library, which a summary does not need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dosewright.evaluation.report.page import write_report


def __getattr__(name: str) -> Any:
    if name == "write_report":
        from dosewright.evaluation.report.page import write_report

        return write_report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["write_report"]

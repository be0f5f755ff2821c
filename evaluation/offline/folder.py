"""The folder of an off-policy evaluation: `result.json` and `report.html`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dosewright.evaluation.offline.result import OfflineResult
from dosewright.evaluation.offline.summary import summarise_offline
from dosewright.evaluation.result_folder import REPORT_FILE, new_folder, write_summary


def write_offline(
    result: OfflineResult, folder: str | Path, overwrite: bool = False
) -> tuple[dict[str, Any], Path]:
    """Write an evaluation into a new folder; return its summary and the folder.

    Raises
    ------
    ExistingResultError
        As `check_folder`.
    """
    from dosewright.evaluation.report.offline import write_offline_report  # matplotlib is slow to import

    summary = summarise_offline(result)
    with new_folder(folder, overwrite) as new:
        write_summary(summary, new)
        write_offline_report(summary, new / REPORT_FILE)
    return summary, Path(folder)

"""A log on disk: one Parquet file that knows what it is, and whether somebody changed it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dosewright.evaluation.log_checks import Propensity
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.logs.frame import from_frame, to_frame

FORMAT = 1
_KEY = "dosewright.log"  # of the file's own metadata
NOTICE = "Research simulation, not for clinical use."


def write_log(log: Trajectories, path: str | Path) -> Path:
    """Write a log as one Parquet file, whole or not at all, and return its path.

    The table is that of `to_frame`. With it stand what the table cannot say (horizon, step length, kind of
    propensity, provenance) and the content hash, all under a seal that `read_log` checks.

    Raises
    ------
    ValueError
        For a name that does not end in ``.parquet``.
    """
    target = Path(path)
    if target.suffix != ".parquet":
        raise ValueError(f"log file {target}: expected a name that ends in .parquet")
    card = {
        "format": FORMAT,
        "notice": NOTICE,
        "content_hash": log.content_hash,
        "propensity": log.propensity,
        "horizon": log.horizon,
        "step_length": None if log.step_length is None else float(log.step_length),
        "anonymous": log.patients is None,
        "provenance": dict(log.provenance),
    }
    card["seal"] = _seal(card)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        to_frame(log).write_parquet(partial, metadata={_KEY: json.dumps(card, ensure_ascii=False)})
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def read_log(
    path: str | Path,
    columns: Mapping[str, str | None] | None = None,
    *,
    propensity: Propensity = "mass",
    horizon: int | None = None,
    step_length: float | None = None,
) -> Trajectories:
    """Read a log: a file of `write_log`, or any CSV or Parquet table with one row a patient-step.

    Parameters
    ----------
    path : name that ends in ``.parquet`` or ``.csv``
    columns, propensity, horizon, step_length : what a table of another origin means, as in `from_frame`; a
        file of `write_log` says so itself, and they must be left out

    Raises
    ------
    ValueError
        For a file that is absent, of another kind, of a later format, or changed since it was written; and
        whatever `from_frame` refuses.
    """
    import polars  # slow to import, and only this needs it

    source = Path(path)
    if not source.is_file():
        raise ValueError(f"log file {source}: not found; give a file of write_log, or a .csv in long format")
    if source.suffix not in (".parquet", ".csv"):
        raise ValueError(f"log file {source}: expected a name that ends in .parquet or .csv")
    try:
        if source.suffix == ".csv":
            own, frame = None, polars.read_csv(source, infer_schema_length=None)
        else:
            own, frame = polars.read_parquet_metadata(source).get(_KEY), polars.read_parquet(source)
    except polars.exceptions.PolarsError as error:
        raise ValueError(f"log file {source}: cannot be read ({error}); is it whole?") from None
    try:
        if own is None:
            return from_frame(
                frame, columns, propensity=propensity, horizon=horizon, step_length=step_length,
                provenance={"file": source.name},
            )  # fmt: skip
        if columns or propensity != "mass" or horizon is not None or step_length is not None:
            raise ValueError("it says itself what it holds; leave columns and the other arguments out")
        return _checked(frame, json.loads(own))
    except ValueError as error:
        raise ValueError(f"log file {source}: {error}") from None


def _checked(frame: Any, card: dict[str, Any]) -> Trajectories:
    if card.get("format") != FORMAT:
        raise ValueError(f"format {card.get('format')!r}; expected {FORMAT}, read it with a newer dosewright")
    if card.pop("seal", None) != _seal(card):
        raise ValueError("what it says about itself was changed after it was written; write it again")
    log = from_frame(
        frame, propensity=card["propensity"], horizon=card["horizon"], step_length=card["step_length"],
        provenance=card["provenance"],
    )  # fmt: skip
    if card["anonymous"]:
        log = replace(log, patients=None)
    if log.content_hash != card["content_hash"]:
        raise ValueError(
            f"its content has hash {log.content_hash[:12]}..., it was written with "
            f"{card['content_hash'][:12]}...: somebody changed it; go back to the original"
        )
    return log


def _seal(card: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()

"""What a replication found, whole: for the terminal, for `result.json`, and for its page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dosewright.evaluation.replications.acceptance import CONFIDENCE, Check, Fact, Figure
from dosewright.evaluation.replications.contrast import Contrast
from dosewright.evaluation.replications.dose_table import DoseRow
from dosewright.evaluation.result_folder import REPORT_FILE, new_folder, write_summary
from dosewright.evaluation.statistics import Interval

NOTICE = "Research simulation, not for clinical use"

ASSUMPTIONS = (
    "Model, variability, assay error and presets are those of the warfarin scenario: Hamberg 2010, its "
    "variances and the INR's error PARTIAL, the clinic preset ASSUMPTION. Under clinic 2 % of participants a "
    "month leave, and 25 % in 90 days meet an interacting drug.",
    "After the first run one thing was changed: the lives of participants are the scenario's 90 days, no "
    "longer as long as the trial, in which the same 25 % met a drug within 28 days. No verdict changed.",
    "Doses are 0.25 to 15 mg in steps of 0.25 mg; the dose in force is kept unrounded, so that small changes "
    "add up.",
    "A late result is acted upon when it comes, a day later; without a result nothing changes until the next "
    "visit.",
    "Nobody takes amiodarone, an enzyme inducer or fluvastatin at the start, had a stroke or has diabetes.",
    "Aurora skips exactly two doses at INR 4 to 5; above 5 it stops, with an INR every two days until 3 or "
    "less. With the protocol's visits only no INR is added, and a stop leaves out two doses, too.",
    "An INR below 1 counts as 1 in Lenzini's equations, which are PARTIAL.",
    "Intervals are Monte Carlo intervals of a mean over so many virtual participants, the same in both arms. "
    "A trial of the real size varies far more.",
)


@dataclass(frozen=True, eq=False)
class Replication:
    """One replication.

    Attributes
    ----------
    name, title
        "eu-pact" or "coag", and words.
    facts, sources, assumptions
        The trial's design with flags, publications, and what was assumed here.
    reference
        What the arm without genotype is called.
    arms
        Name -> what it does.
    patients, seed, presets
        Participants of each cohort, seed, and realism presets in their order.
    answer
        Sentences made from the numbers.
    checks
        Everything that acceptance asks for, with its verdict.
    figures
        The trial's own figures beside these.
    remarks
        What a reader of these figures must know.
    primary
        Name of the comparison that is judged.
    contrasts, classes
        Arms compared; the same by genotype.
    doses, ratios
        The three-day dose table, and initial over maintenance doses, under any preset ("any"); empty where
        the trial has none.
    share_in_range
        Preset -> arm -> (d + 1,) share of the followed with latent INR in range, by day from 0, of the arms
        that the page draws.
    provenance
        Command, versions, times.
    """

    name: str
    title: str
    facts: tuple[Fact, ...]
    sources: tuple[str, ...]
    assumptions: tuple[str, ...]
    reference: str
    arms: Mapping[str, str]
    patients: int
    seed: int
    presets: tuple[str, ...]
    answer: tuple[str, ...]
    checks: tuple[Check, ...]
    figures: tuple[Figure, ...]
    remarks: tuple[str, ...]
    primary: str
    contrasts: tuple[Contrast, ...]
    classes: tuple[Contrast, ...]
    doses: tuple[DoseRow, ...]
    ratios: tuple[Figure, ...]
    share_in_range: Mapping[str, Mapping[str, NDArray[np.float64]]]
    provenance: Mapping[str, Any]

    def record(self) -> dict[str, Any]:
        """Return every number, ready for JSON."""
        return {
            "notice": NOTICE,
            "name": self.name,
            "title": self.title,
            "patients": self.patients,
            "namespace": "trial",
            "seed": self.seed,
            "presets": list(self.presets),
            "answer": list(self.answer),
            "checks": [{**plain(check), "verdict": check.verdict} for check in self.checks],
            "figures": [_with_reading(figure) for figure in self.figures],
            "remarks": list(self.remarks),
            "reference": self.reference,
            "arms": dict(self.arms),
            "primary": self.primary,
            "contrasts": plain(self.contrasts),
            "classes": plain(self.classes),
            "doses": plain(self.doses),
            "ratios": [_with_reading(figure) for figure in self.ratios],
            "share_in_range": {
                preset: {arm: np.round(share, 4).tolist() for arm, share in arms.items()}
                for preset, arms in self.share_in_range.items()
            },
            "confidence": CONFIDENCE,
            "facts": plain(self.facts),
            "assumptions": list(self.assumptions),
            "sources": list(self.sources),
            "provenance": dict(self.provenance),
        }

    def page(self) -> str:
        """Return the page of the record."""
        from dosewright.evaluation.report.replication import replication_page  # matplotlib is slow to import

        return replication_page(self.record())


def _with_reading(figure: Figure) -> dict[str, Any]:
    return {**plain(figure), "reading": {preset: figure.reading(preset) for preset in figure.ours}}


def plain(value: Any) -> Any:
    """Return dataclasses as dictionaries, as far down as they go; of an interval what a reader needs."""
    if isinstance(value, Interval):
        return {name: getattr(value, name) for name in ("mean", "low", "high", "standard_error", "n")}
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def in_words(interval: Interval, digits: int = 1, sign: bool = False) -> str:
    """Return "mean (low to high)"."""
    mark = "+" if sign else ""
    # a limit of 0 may lie a rounding below it: adding 0 leaves no "-0.0"
    mean, low, high = (
        f"{round(value, digits) + 0.0:{mark}.{digits}f}"
        for value in (interval.mean, interval.low, interval.high)
    )
    return f"{mean} ({low} to {high})"


class Result(Protocol):
    """What a folder is written of: every number, ready for JSON, and a page of the same numbers."""

    def record(self) -> dict[str, Any]: ...

    def page(self) -> str: ...


def write_replication(result: Result, folder: str | Path, overwrite: bool = False) -> Path:
    """Write `result.json` and `report.html` into a new folder, by way of `new_folder`, and return it.

    Parameters
    ----------
    result
        The replication, or the trial of a peer.
    folder
        Where to; its parents are made.
    overwrite
        Replace an earlier result.

    Raises
    ------
    ExistingResultError
        As `dosewright.evaluation.check_folder`.
    """
    with new_folder(folder, overwrite) as new:
        write_summary(result.record(), new)
        (new / REPORT_FILE).write_text(result.page(), encoding="utf-8")
    return Path(folder)

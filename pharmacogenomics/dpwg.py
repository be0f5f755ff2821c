"""Dose percentages of the Dutch guidelines (DPWG), beside CPIC; some drugs have only these."""

from __future__ import annotations

from dataclasses import dataclass

from dosewright.pharmacogenomics.literature import literature_rows


@dataclass(frozen=True)
class DpwgDose:
    """One published percentage.

    Attributes
    ----------
    drug, gene : what it is for
    group : genotype or phenotype as the guideline names it
    percent : of the standard dose, lowest and highest; 0 means avoid, None that only `what` gives a dose
    what : which dose it applies to, and until when
    source, place : where it is published, and where it stands here
    """

    drug: str
    gene: str
    group: str
    percent: tuple[float, float] | None
    what: str
    source: str
    place: str


def dpwg_doses(drug: str) -> tuple[DpwgDose, ...]:
    """Percentages of a drug, in the table's order; none for an unlisted drug.

    Parameters
    ----------
    drug : generic name, any case
    """
    return tuple(
        DpwgDose(
            row["drug"],
            row["gene"],
            row["genotype_or_phenotype"],
            _percent(row["percent_of_standard_dose"]),
            row["what"],
            row["source"],
            place,
        )
        for place, row in literature_rows("dpwg_dose_facts.csv")
        if row["drug"] == drug.strip().lower()
    )


def _percent(cell: str) -> tuple[float, float] | None:
    if not cell:
        return None
    low, _, high = cell.partition("-")
    return float(low), float(high or low)

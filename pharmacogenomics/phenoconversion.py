"""What an interacting drug does to an enzyme whose activity the genotype has already set.

Scores change for CYP2D6 only. Everywhere else clearance follows the mechanistic form
``CL = CL0 · [(1 - fm) + fm · a · (1 - I(t))]``: `fm` is the share of clearance by the enzyme in the reference
genotype, `a` the activity of the person's genotype over the reference's, `I` the inhibition (below 0:
induction). Where a drug's model has a genotype term of its own, that term is `a`, and there is no other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosewright.pharmacogenomics.literature import drug_names, listed_drug, literature_rows
from dosewright.pharmacogenomics.tables import ActivityScore

_STRENGTHS = ("weak", "moderate", "strong")
_AUC = re.compile(
    r"substrate AUC raised (?:at least )?(?P<low>[\d.]+)-fold(?: to under (?P<high>[\d.]+)-fold)?"
)


class UnknownInteractionError(ValueError):
    """The table lists the drug, but not for this gene, or not with a strength that a class defines."""


@dataclass(frozen=True)
class InteractingDrug:
    """A drug that inhibits or induces an enzyme.

    Attributes
    ----------
    gene, drug : the enzyme's gene, and the drug's name in lower case
    role, strength : as FDA classes them
    source, place : where that is published, and where it stands here
    checked : `yes`, `no`, or `conflict` where lists disagree, as `note` then says
    note : remark on the row
    """

    gene: str
    drug: str
    role: Literal["inhibitor", "inducer"]
    strength: Literal["weak", "moderate", "strong"]
    source: str
    place: str
    checked: Literal["yes", "no", "conflict"]
    note: str


@dataclass(frozen=True)
class Inhibition:
    """Inhibition that the class of an inhibitor stands for.

    Attributes
    ----------
    drug : the row that it was read from
    low, high : share of the enzyme's activity that is lost, dimensionless, `low` ≤ I < `high` (1 for a strong
        inhibitor): I = 1 - 1/R for the AUC ratio R of a substrate that only this enzyme clears (fm = 1)
    definition : where the limits of the class are published
    """

    drug: InteractingDrug
    low: float
    high: float
    definition: str


def interacting_drugs(gene: str) -> tuple[InteractingDrug, ...]:
    """Inhibitors and inducers of the enzyme of a gene, in the table's order; none for an unlisted gene."""
    return tuple(row for row in _drugs() if row.gene == gene)


def cyp2d6_score(
    score: ActivityScore | None, drugs: Sequence[str] | str
) -> tuple[ActivityScore | None, tuple[str, ...]]:
    """Activity score of CYP2D6 while interacting drugs are taken: the strongest inhibitor counts, once.

    Parameters
    ----------
    score : from the genotype; None, where CPIC assigns none, stays None
    drugs : generic names, any case; a text is one name. Those that the table lists for other enzymes only
        change nothing

    Returns
    -------
    score : strong × 0, moderate × 0.5, weak × 1; an open copy number stays open (`≥3.0` halved is `≥1.5`),
        except that nothing is left of any number under a strong inhibitor
    notes : a sentence with the source where the strongest inhibitor changes the score, or would if there were
        one; a short one where all are weak; none where the score is 0 already

    Raises
    ------
    UnknownDrugError : a drug is not in the table, so that what it does is not known

    Source
    ------
    Borges 2010, PMID 20081063; Cicali 2020, PMC7292748.
    """
    rows = [row for name in drug_names(drugs) for row in _rows_of(_listed(name))]
    acting = [row for row in rows if row.gene == "CYP2D6" and row.role == "inhibitor"]
    acting.sort(key=lambda row: -_STRENGTHS.index(row.strength))
    if not acting:
        return score, ()
    strongest = acting[0]
    multiplier, source = _score_rules()[strongest.strength]
    if multiplier == 1:
        weak = ", ".join(row.drug for row in acting)
        return score, (f"weak inhibitors leave the activity score of CYP2D6 as it is: {weak}",)
    beside = f"; not counted beside it: {', '.join(row.drug for row in acting[1:])}" if acting[1:] else ""
    if score is None:
        return None, (f"{_sentence(strongest)}: there is no activity score to change{beside}",)
    new = ActivityScore(score.value * multiplier, score.at_least and multiplier > 0)
    if new == score:
        return score, ()
    return new, (f"{_sentence(strongest)}: activity score {score} becomes {new} ({source}){beside}",)


def cyp2d6_phenotype(score: ActivityScore | None) -> str:
    """Phenotype of a CYP2D6 activity score, also of one that only a halved score can have, such as 0.375.

    `"Indeterminate"` without a score, and where an open copy number leaves the phenotype open (`≥1.5`).

    Source
    ------
    Limits of Caudle 2020, Clin Transl Sci 13:116: 0; below 1.25; to 2.25; above.
    """
    if score is None or (score.at_least and score.value <= 2.25):
        return "Indeterminate"
    if score.value == 0:
        return "Poor Metabolizer"
    if score.value < 1.25:
        return "Intermediate Metabolizer"
    return "Normal Metabolizer" if score.value <= 2.25 else "Ultrarapid Metabolizer"


def inhibition(gene: str, drug: str) -> Inhibition:
    """Inhibition of an enzyme that the class of a drug stands for; not known more closely than the class.

    Raises
    ------
    UnknownDrugError : the drug is not in the table
    UnknownInteractionError : it is not an inhibitor of this gene's enzyme (no class limits for inducers)
    """
    name = _listed(drug)
    for row in _rows_of(name):
        if row.gene == gene and row.role == "inhibitor":
            low, high, definition = _class_limits()[row.strength]
            return Inhibition(row, low, high, definition)
    known = ", ".join(f"{row.role} of {row.gene}" for row in _rows_of(name))
    raise UnknownInteractionError(
        f"{name} is not listed as an inhibitor of {gene}; inhibitors.csv has it as {known}"
    )


def relative_clearance(fm: ArrayLike, activity: ArrayLike, inhibition: ArrayLike) -> NDArray[np.float64]:
    """Clearance over that of the reference genotype without interacting drugs: 1 - fm + fm · a · (1 - I).

    Parameters
    ----------
    fm : share of the reference genotype's clearance that goes through the enzyme, 0 to 1
    activity : a, activity of the genotype over the reference's, 0 or more
    inhibition : I, at most 1; below 0 for an inducer. It may be a path over time; all three broadcast

    Raises
    ------
    ValueError : a value outside its range
    """
    share = _within("fm", fm, 0.0, 1.0)
    a = _within("activity", activity, 0.0, np.inf)
    lost = _within("inhibition", inhibition, -np.inf, 1.0)
    return (1.0 - share) + share * a * (1.0 - lost)


def individual_factor(factor: ArrayLike, fm: ArrayLike, ratio: ArrayLike) -> NDArray[np.float64]:
    """Factor of an interacting drug on the clearance of a person whose genotype the drug's own model has set.

    That model says r = CL(genotype)/CL(reference), so that r = 1 - fm + fm · a and a = 1 - (1 - r)/fm; what
    the reference genotype sees is 1 - fm · I. The person sees the quotient of `relative_clearance` with I and
    without. A genotype that lowers clearance further than losing the whole enzyme would (r < 1 - fm) has no
    activity left: a = 0, and the factor is 1.

    Parameters
    ----------
    factor : what the reference genotype sees, at least 1 - fm; above 1 for an inducer
    fm : share of the reference genotype's clearance that goes through the enzyme, above 0, at most 1
    ratio : r, above 0; all three broadcast

    Returns
    -------
    NDArray : `factor` itself where r = 1, and the further from 1 the more activity the genotype has

    Raises
    ------
    ValueError : a value outside its range, or more inhibition than the enzyme's share of clearance allows
    """
    share = _within("fm", fm, 0.0, 1.0)
    r = _within("ratio", ratio, 0.0, np.inf)
    seen = _within("factor", factor, 0.0, np.inf)
    if np.any(share == 0) or np.any(r == 0):
        raise ValueError("fm = 0 or ratio = 0: the enzyme, or the person, clears nothing; leave the drug out")
    # 1e-12: fm is often made as 1 - factor
    beyond = seen < (1.0 - share) - 1e-12
    if np.any(beyond):
        lowest, left = (np.broadcast_to(x, beyond.shape)[beyond].flat[0] for x in (seen, 1.0 - share))
        raise ValueError(
            f"factor {lowest:g} is below 1 - fm = {left:g}, what is left without the enzyme; "
            "raise fm or the factor"
        )
    activity = np.maximum(1.0 - (1.0 - r) / share, 0.0)
    # rounding must not make more of the inhibition than all
    lost = np.minimum((1.0 - seen) / share, 1.0)
    before, under = relative_clearance(share, activity, 0.0), relative_clearance(share, activity, lost)
    # without activity there is nothing to inhibit: with fm = 1 nothing is left to divide by either
    person = np.divide(under, before, out=np.ones(np.shape(under)), where=activity > 0)
    return np.where(r == 1.0, seen, person)  # the reference genotype sees the factor to the last digit


def _within(name: str, values: ArrayLike, low: float, high: float) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    wrong = ~((array >= low) & (array <= high))
    if np.any(wrong):
        raise ValueError(f"{name} = {array[wrong].flat[0]:g} is not within {low:g} to {high:g}")
    return array


@cache
def _drugs() -> tuple[InteractingDrug, ...]:
    return tuple(
        InteractingDrug(
            row["gene"],
            row["drug"],
            cast(Literal["inhibitor", "inducer"], row["role"]),
            cast(Literal["weak", "moderate", "strong"], row["strength"]),
            row["source"],
            place,
            cast(Literal["yes", "no", "conflict"], row["checked_against_a_copy"]),
            row["note"],
        )
        for place, row in literature_rows("inhibitors.csv")
    )


def _rows_of(drug: str) -> tuple[InteractingDrug, ...]:
    return tuple(row for row in _drugs() if row.drug == drug)


def _listed(drug: str) -> str:
    return listed_drug(drug, {row.drug for row in _drugs()}, "inhibitors.csv")


def _sentence(row: InteractingDrug) -> str:
    doubt = f"; lists disagree: {row.note}" if row.checked == "conflict" else ""
    return f"{row.drug} is a {row.strength} {row.role} of {row.gene} ({row.source}, {row.place}{doubt})"


@cache
def _score_rules() -> dict[str, tuple[float, str]]:
    """Strength to multiplier of the CYP2D6 score, and its source."""
    return {
        row["strength"]: (float(row["activity_score_multiplier"]), row["source"])
        for _, row in literature_rows("inhibitor_rules.csv")
        if row["gene"] == "CYP2D6"
    }


@cache
def _class_limits() -> dict[str, tuple[float, float, str]]:
    """Strength to limits of the inhibition, and their source."""
    limits = {}
    for place, row in literature_rows("inhibitor_rules.csv"):
        found = _AUC.fullmatch(row["meaning"])
        if row["gene"] == "*" and found is not None:
            low, high = (1 - 1 / float(ratio) if ratio else 1.0 for ratio in found.group("low", "high"))
            limits[row["strength"].removeprefix("definition ")] = (low, high, f"{row['source']}, {place}")
    return limits

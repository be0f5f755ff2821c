"""Interacting drugs: the CYP2D6 score, and the mechanistic form for everything else."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosewright.pharmacogenomics.effects import published_rows
from dosewright.pharmacogenomics.literature import UnknownDrugError, drug_names
from dosewright.pharmacogenomics.phenoconversion import (
    UnknownInteractionError,
    cyp2d6_phenotype,
    cyp2d6_score,
    individual_factor,
    inhibition,
    interacting_drugs,
    relative_clearance,
)
from dosewright.pharmacogenomics.tables import NO_SCORE, TABLES, ActivityScore

SHARED_PGX = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "pgx"
needs_shared = pytest.mark.skipif(not SHARED_PGX.is_dir(), reason="../shared is absent")

# ---------------------------------------------------------------------------------------- the score of CYP2D6


@pytest.mark.parametrize(
    ("score", "drugs", "expected"),
    [  # Borges 2010, Cicali 2020 (PMC7292748): strong × 0, moderate × 0.5, weak × 1
        (ActivityScore(2.0), ["paroxetine"], "0.0"),
        (ActivityScore(2.0), ["duloxetine"], "1.0"),
        (ActivityScore(2.0), ["celecoxib"], "2.0"),
        (ActivityScore(0.25), ["mirabegron"], "0.125"),
        (ActivityScore(3.0, at_least=True), ["cinacalcet"], "≥1.5"),
        (ActivityScore(3.0, at_least=True), ["sertraline"], "≥3.0"),
        (ActivityScore(3.0, at_least=True), ["quinidine"], "0.0"),
        (ActivityScore(1.0), ["duloxetine", "cinacalcet"], "0.5"),  # the strongest counts, once
        (ActivityScore(1.0), ["celecoxib", "duloxetine", "bupropion"], "0.0"),
        (ActivityScore(1.5), ["fluconazole", "rifampicin"], "1.5"),  # listed, for other enzymes
        (ActivityScore(1.5), ["ritonavir"], "1.5"),  # strong for CYP3A4, weak for CYP2D6
        (ActivityScore(1.5), [], "1.5"),
        (None, ["paroxetine"], "None"),
    ],
)
def test_scores_under_inhibitors(score: ActivityScore | None, drugs: list[str], expected: str) -> None:
    assert str(cyp2d6_score(score, drugs)[0]) == expected


def test_order_case_and_repetition_of_the_drugs_do_not_matter() -> None:
    for drugs in (["Duloxetine", "paroxetine"], ["paroxetine", " DULOXETINE ", "paroxetine"]):
        assert cyp2d6_score(ActivityScore(1.5), drugs)[0] == ActivityScore(0.0)


def test_the_note_names_the_drug_that_counts_with_its_source() -> None:
    _, notes = cyp2d6_score(ActivityScore(2.0), ["celecoxib", "abiraterone", "paroxetine", "rifampicin"])
    assert len(notes) == 1 and notes[0].startswith("paroxetine is a strong inhibitor of CYP2D6")
    assert "activity score 2.0 becomes 0.0" in notes[0] and "20081063" in notes[0]
    assert "inhibitors.csv, line 4" in notes[0]
    assert notes[0].endswith("; not counted beside it: abiraterone, celecoxib")
    (doubt,) = cyp2d6_score(ActivityScore(2.0), ["abiraterone"])[1]
    assert "lists disagree: weak in PMC7292748 Table 4" in doubt
    assert "no activity score to change" in cyp2d6_score(None, ["paroxetine"])[1][0]


def test_no_note_where_the_score_stays_but_a_short_one_on_weak_inhibitors() -> None:
    assert cyp2d6_score(ActivityScore(2.0), ["rifampicin"])[1] == ()
    assert cyp2d6_score(ActivityScore(0.0), ["paroxetine"])[1] == ()
    score, notes = cyp2d6_score(ActivityScore(2.0), ["sertraline", "celecoxib"])
    assert score == ActivityScore(2.0)
    assert notes == ("weak inhibitors leave the activity score of CYP2D6 as it is: sertraline, celecoxib",)


def test_a_text_is_one_drug() -> None:
    assert cyp2d6_score(ActivityScore(2.0), "Fluoxetine") == cyp2d6_score(ActivityScore(2.0), ["fluoxetine"])
    assert drug_names(" Paroxetine") == ("paroxetine",)
    assert drug_names(["B", "a", "b"]) == ("b", "a")


def test_an_unlisted_drug_is_refused_with_near_names() -> None:
    with pytest.raises(
        UnknownDrugError, match=r"inhibitors\.csv does not list 'paroxitine'; did you mean paroxetine"
    ):
        cyp2d6_score(ActivityScore(2.0), ["duloxetine", "paroxitine"])
    with pytest.raises(UnknownDrugError, match=r"'xyz'; it has abiraterone, .*voriconazole"):
        cyp2d6_score(ActivityScore(2.0), ["xyz"])


def test_every_score_of_cpic_has_cpics_phenotype() -> None:
    rules = TABLES.phenotype_rules("CYP2D6")
    assert len(rules) == 22
    for (key, _), rule in rules.items():
        value = None if key == NO_SCORE else float(key.removeprefix("≥"))
        score = None if value is None else ActivityScore(value, key.startswith("≥"))
        assert cyp2d6_phenotype(score) == rule.phenotype


@pytest.mark.parametrize(
    ("score", "expected"),
    [  # scores that only halving makes; limits of Caudle 2020: 0, below 1.25, to 2.25, above
        (ActivityScore(0.125), "Intermediate Metabolizer"),
        (ActivityScore(1.125), "Intermediate Metabolizer"),
        (ActivityScore(1.375), "Normal Metabolizer"),
        (ActivityScore(1.5, at_least=True), "Indeterminate"),
        (ActivityScore(2.5, at_least=True), "Ultrarapid Metabolizer"),
    ],
)
def test_phenotypes_of_halved_scores(score: ActivityScore, expected: str) -> None:
    assert cyp2d6_phenotype(score) == expected


# ------------------------------------------------------------------------------------------------ the tables


def test_the_interacting_drugs_of_a_gene() -> None:
    assert len(interacting_drugs("CYP2D6")) == 18 and interacting_drugs("VKORC1") == ()
    assert {row.drug: row.strength for row in interacting_drugs("CYP2C9")} == dict.fromkeys(
        ("amiodarone", "felbamate", "fluconazole", "miconazole"), "moderate"
    )
    rifampicin = next(row for row in interacting_drugs("CYP3A4") if row.drug == "rifampicin")
    assert (rifampicin.role, rifampicin.strength) == ("inducer", "strong")
    assert sum(len(interacting_drugs(gene)) for gene in ("CYP2D6", "CYP2C19", "CYP2C9", "CYP3A4")) == 67


@pytest.mark.parametrize(
    ("gene", "drug", "low", "high"),
    [  # FDA: AUC raised at least 5-fold, 2- to 5-fold, 1.25- to 2-fold; I = 1 - 1/R
        ("CYP2D6", "quinidine", 0.8, 1.0),
        ("CYP2C9", "fluconazole", 0.5, 0.8),
        ("CYP2C19", "Omeprazole", 0.2, 0.5),
    ],
)
def test_inhibition_of_a_class(gene: str, drug: str, low: float, high: float) -> None:
    found = inhibition(gene, drug)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.drug.gene == gene and found.definition.startswith(
        "FDA definition, inhibitor_rules.csv, line "
    )


def test_inhibition_that_is_not_listed_is_refused() -> None:
    with pytest.raises(
        UnknownInteractionError, match="rifampicin is not .* inhibitor of CYP3A4; .* inducer of CYP3A4"
    ):
        inhibition("CYP3A4", "rifampicin")
    with pytest.raises(UnknownInteractionError, match="inhibitor of CYP2C9; .* inhibitor of CYP2D6"):
        inhibition("CYP2C9", "quinidine")
    with pytest.raises(UnknownDrugError, match="amiodarone"):
        inhibition("CYP2C9", "amiodaron")


@needs_shared
@pytest.mark.parametrize("name", ["inhibitors.csv", "inhibitor_rules.csv", "pk_effects.csv"])
def test_the_tables_that_ship_are_those_of_the_reference(name: str) -> None:
    shipped = TABLES.folder.joinpath("literature", name).read_text(encoding="utf-8")
    with (SHARED_PGX / name).open(encoding="utf-8", newline="") as handle:
        assert list(csv.DictReader(shipped.splitlines())) == list(csv.DictReader(handle))


# -------------------------------------------------------------------------------------- the mechanistic form

shares = st.floats(0.01, 1.0)
activities = st.floats(0.0, 4.0)
losses = st.floats(-3.0, 1.0)


@pytest.mark.parametrize(
    ("fm", "activity", "lost", "expected"),
    [
        (0.8, 1.0, 0.0, 1.0),
        (0.8, 1.0, 1.0, 0.2),
        (0.8, 0.0, 1.0, 0.2),
        (0.8, 0.5, 0.5, 0.4),
        (0.8, 1.0, -1.0, 1.8),  # an inducer that doubles the enzyme
        (0.0, 3.0, 1.0, 1.0),
    ],
)
def test_relative_clearance(fm: float, activity: float, lost: float, expected: float) -> None:
    assert relative_clearance(fm, activity, lost) == pytest.approx(expected, rel=1e-15)


def test_relative_clearance_follows_a_path_for_several_people() -> None:
    path = relative_clearance(0.8, np.array([[1.0], [0.0]]), np.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(path, [[1.0, 0.6, 0.2], [0.2, 0.2, 0.2]], rtol=1e-14)


@given(shares, activities, losses)
def test_the_factor_of_a_person_is_the_quotient_of_the_mechanistic_form(
    fm: float, a: float, lost: float
) -> None:
    before = relative_clearance(fm, a, 0.0)
    if before > 1e-6:
        expected = relative_clearance(fm, a, lost) / before
        factor = individual_factor(np.maximum(1 - fm * lost, 0), fm, before)
        assert factor == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_factor_of_a_person_by_hand() -> None:
    # warfarin CYP2C9 *1/*3: r = 0.62, fm = 0.76, a = 0.5; a reference factor 0.6 is 1 - 0.4 · 0.5/0.62 here
    assert individual_factor([0.6, 1.5], 0.76, 0.62) == pytest.approx([1 - 0.2 / 0.62, 1 + 0.25 / 0.62])
    # all of the clearance through one enzyme: everyone sees the same factor, however little is left
    assert individual_factor(0.3, 1.0, [1e-20, 0.01, 4.0]) == pytest.approx([1.0, 0.3, 0.3])


@given(shares, losses)
def test_the_reference_genotype_sees_the_factor_itself_and_a_lost_enzyme_nothing(
    fm: float, lost: float
) -> None:
    factor = max(1 - fm * lost, 0.0)
    assert individual_factor(factor, fm, 1.0) == factor
    # the genotype leaves what goes other ways, or less than fm allows
    if fm < 0.99:
        assert individual_factor(factor, fm, 1 - fm) == pytest.approx(1.0, abs=1e-9)
        assert individual_factor(factor, fm, 0.5 * (1 - fm)) == 1.0


@given(shares, losses, st.lists(st.floats(0.01, 4.0), min_size=2, max_size=8))
def test_more_activity_more_effect_and_never_more_than_all(
    fm: float, lost: float, ratios: list[float]
) -> None:
    factor = max(1 - fm * lost, 0.0)
    found = individual_factor(factor, fm, np.sort(ratios))
    sign = 1 if factor <= 1 else -1
    assert np.all(sign * np.diff(found) <= 1e-12) and np.all(found >= -1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: relative_clearance(1.2, 1, 0), "fm = 1.2 is not within 0 to 1"),
        (lambda: relative_clearance(0.5, [1, -0.1], 0), "activity = -0.1"),
        (lambda: relative_clearance(0.5, 1, [0.2, 1.1]), "inhibition = 1.1"),
        (lambda: relative_clearance(0.5, np.nan, 0), "activity = nan"),
        (lambda: individual_factor(0.2, 0.5, [1.0, 0.7]), r"factor 0\.2 is below 1 - fm = 0\.5"),
        (lambda: individual_factor(0.9, 0.0, 1.0), "fm = 0"),
        (lambda: individual_factor(0.9, 0.5, 0.0), "ratio = 0"),
    ],
)
def test_values_outside_their_range_are_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_observed_interactions_of_dextromethorphan_by_activity_score() -> None:
    # PMC6709421, table 4: AUC ratios with over without inhibitor, by CYP2D6 score. Paroxetine at score
    # 2 gives fm (nothing is left of the enzyme), duloxetine at score 2 its inhibition; score 1 is predicted
    observed = {row.group: row.ratio for row in published_rows("dextromethorphan")}
    assert None not in observed.values()
    fm = 1 - 1 / float(observed["AS 2 with paroxetine"] or 0)
    duloxetine = (1 - 1 / float(observed["AS 2 with duloxetine"] or 0)) / fm
    moderate = inhibition("CYP2D6", "duloxetine")
    assert moderate.low <= duloxetine < moderate.high
    half = relative_clearance(fm, 0.5, 0.0)
    predicted = {
        "AS 1 with paroxetine": half / relative_clearance(fm, 0.5, 1.0),
        "AS 1 with duloxetine": half / relative_clearance(fm, 0.5, duloxetine),
    }
    for group, ratio in predicted.items():  # 7.8 for 8.5, 2.2 for 1.8
        assert ratio == pytest.approx(observed[group], rel=0.25)

"""Published effects of genotypes, and how a model of warfarin reads an allele it lacks [models.md 1.1]."""

import warnings
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosewright.pharmacogenomics import (
    TABLES,
    AlleleReading,
    InvalidDiplotypeError,
    UncertainAlleleWarning,
    UnknownAlleleError,
    UnknownGeneError,
    UnrepresentedAlleleError,
    allele_sum,
    represent,
)
from dosewright.pharmacogenomics.effects import (
    Effect,
    EffectParameter,
    UsableRow,
    effects,
    published_rows,
    without_effect,
)
from dosewright.pharmacogenomics.literature import UnknownDrugError

# Clearance of S-warfarin per CYP2C9 allele at 71 y, L/h [Hamberg 2010].
CLEARANCE = {"*1": 0.174, "*2": 0.0879, "*3": 0.0422}
BY_FUNCTION = {
    "Normal function": "*1",
    "Decreased function": "*2",
    "No function": "*3",
    "Uncertain function": "*1",
    "Unknown function": "*1",
}
# EC50 per VKORC1 -1639 allele on the coding strand, mg/L [Hamberg 2010].
EC50 = {"G": 2.05, "A": 0.96}


@pytest.mark.parametrize(
    ("diplotype", "clearance"),
    [
        ("*1/*1", 0.348),
        ("*1/*3", 0.174 + 0.0422),
        ("*3/*1", 0.174 + 0.0422),
        ("*2/*3", 0.0879 + 0.0422),
        ("*5/*6", 0.0879 + 0.0422),  # decreased as *2, no function as *3
        ("*9/*3", 0.174 + 0.0422),  # normal as *1
        ("*7/*2", 0.174 + 0.0879),  # uncertain as *1
        ("*57/*3", 0.174 + 0.0422),  # unknown as *1
    ],
)
def test_warfarin_clearance_is_the_sum_over_the_two_alleles(diplotype: str, clearance: float) -> None:
    values, _ = allele_sum([diplotype], "CYP2C9", CLEARANCE, BY_FUNCTION)
    assert values.dtype == np.float64
    assert values == pytest.approx([clearance], rel=1e-15)


def test_warfarin_ec50_by_coding_strand_genotype() -> None:
    values, counts = allele_sum(["GG", "AG", "G/A", "AA"], "VKORC1", EC50, {})
    assert values == pytest.approx([4.10, 3.01, 3.01, 1.92], rel=1e-15)
    assert counts[AlleleReading.MODELLED] == 8


@pytest.mark.parametrize("allele", ["*1", "*2", "*3"])
def test_a_modelled_allele_is_never_substituted(allele: str) -> None:
    # Whatever the substitution says: here every function would be read as *3.
    read = represent("CYP2C9", allele, CLEARANCE, dict.fromkeys(BY_FUNCTION, "*3"))
    assert (read.stands_for, read.flag, read.warning) == (allele, "MODELLED", None)


@pytest.mark.parametrize(
    ("allele", "stands_for"),
    [("*9", "*1")]
    + [(allele, "*2") for allele in ("*4", "*5", "*8", "*11", "*12", "*14")]
    + [(allele, "*3") for allele in ("*6", "*13", "*15", "*24", "*25")],
)
def test_alleles_of_known_function_are_read_by_it_as_an_assumption(allele: str, stands_for: str) -> None:
    read = represent("CYP2C9", allele, CLEARANCE, BY_FUNCTION)
    assert (read.stands_for, read.flag, read.reason) == (stands_for, "ASSUMPTION", AlleleReading.BY_FUNCTION)
    assert "ASSUMPTION" in read.note and f"as {stands_for}" in read.note
    assert read.warning is None


def test_exactly_the_uncertain_and_unknown_alleles_warn() -> None:
    for allele in TABLES.function_alleles("CYP2C9"):
        read = represent("CYP2C9", allele, CLEARANCE, BY_FUNCTION)
        uncertain = TABLES.clinical_function("CYP2C9", allele) in ("Uncertain function", "Unknown function")
        assert (read.warning is not None) == uncertain, allele
        assert (read.reason is AlleleReading.UNCERTAIN) == uncertain


def test_the_warning_of_an_uncertain_allele_can_be_emitted_and_says_what_was_assumed() -> None:
    read = represent("CYP2C9", "*7", CLEARANCE, BY_FUNCTION)
    assert read.stands_for == "*1" and read.flag == "ASSUMPTION" and read.warning is not None
    with pytest.warns(
        UncertainAlleleWarning, match=r"\*7 \(Uncertain function\) is read as \*1 \(ASSUMPTION\)"
    ):
        warnings.warn(read.warning, stacklevel=1)
    assert issubclass(UncertainAlleleWarning, UserWarning)


def test_counts_say_how_every_allele_was_read() -> None:
    people = np.array(["*1/*3", "*5/*6", "*7/*1", "*57/*7", "*7/*1"])
    _, counts = allele_sum(people, "CYP2C9", CLEARANCE, BY_FUNCTION)
    assert counts == {AlleleReading.MODELLED: 4, AlleleReading.BY_FUNCTION: 2, AlleleReading.UNCERTAIN: 4}
    assert all(type(count) is int for count in counts.values())


def test_the_array_form_equals_one_person_at_a_time_and_follows_a_permutation() -> None:
    alleles = TABLES.function_alleles("CYP2C9")
    people = np.array([f"{one}/{other}" for one in alleles for other in alleles])
    values, counts = allele_sum(people, "CYP2C9", CLEARANCE, BY_FUNCTION)
    for i in (0, 1, 77, 600, people.size - 1):
        assert values[i] == allele_sum([people[i]], "CYP2C9", CLEARANCE, BY_FUNCTION)[0][0]
    order = np.argsort(people)[::-1]
    assert np.array_equal(allele_sum(people[order], "CYP2C9", CLEARANCE, BY_FUNCTION)[0], values[order])
    assert sum(counts.values()) == 2 * people.size


def test_nobody_gives_no_values() -> None:
    values, counts = allele_sum([], "CYP2C9", CLEARANCE, BY_FUNCTION)
    assert values.shape == (0,) and set(counts.values()) == {0}


def test_what_cannot_be_read_is_refused_with_its_place() -> None:
    with pytest.raises(UnknownAlleleError, match=r"'\*999'") as unknown:
        allele_sum(["*1/*1", "*1/*999"], "CYP2C9", CLEARANCE, BY_FUNCTION)
    assert unknown.value.__notes__ == ["in diplotypes[1]: '*1/*999' of CYP2C9"]
    with pytest.raises(InvalidDiplotypeError):  # missing is missing, never reference
        allele_sum(["*1/*1", ""], "CYP2C9", CLEARANCE, BY_FUNCTION)
    with pytest.raises(UnknownAlleleError, match="VKORC1"):  # forward-strand bases are not the model's
        allele_sum(["CT"], "VKORC1", EC50, {})


def test_a_function_without_a_modelled_allele_is_refused() -> None:
    with pytest.raises(
        UnrepresentedAlleleError, match=r"CYP2C9 \*5 has 'Decreased function'.*Normal function"
    ):
        represent("CYP2C9", "*5", CLEARANCE, {"Normal function": "*1"})
    with pytest.raises(
        UnrepresentedAlleleError, match=r"'\*4', which the model does not have.*\*1, \*2, \*3"
    ):
        represent("CYP2C9", "*5", CLEARANCE, {"Decreased function": "*4"})


# ----------------------------------------------------------------------------------------- published effects

# a diplotype in every group of every usable row
CARRIERS = {
    "CYP2C9": ("*1/*1", "*1/*2", "*1/*3", "*2/*2", "*2/*3", "*3/*3"),
    "VKORC1": ("GG", "GA", "AA"),
    "CYP3A5": ("*1/*1", "*1/*3", "*3/*3"),
    "CYP2C19": ("*1/*1", "*1/*2", "*2/*3", "*17/*17"),
    "CYP2B6": ("*1/*1", "*1/*6", "*6/*9"),
    "CYP2D6": ("*4/*4", "*4/*17", "*1/*4", "*1/*17", "*1/*1", "*1x2/*17", "*1/*2x2"),
    "DPYD": ("Reference/c.1905+1G>A (*2A)",),
    "ABCG2": (
        "rs2231142 variant (T)/rs2231142 variant (T)",
        "rs2231142 reference (G)/rs2231142 variant (T)",
    ),
    "SLCO1B1": ("*5/*15", "*1/*5", "*14/*20"),
    "CYP3A4": ("*1/*22",),
}


def multipliers(drug: str, gene: str, diplotype: str) -> list[tuple[str, float]]:
    return [
        (str(effect.parameter), round(effect.multiplier, 3)) for effect in effects(drug, {gene: diplotype})
    ]


def test_every_row_is_matched_by_a_diplotype_or_says_why_not() -> None:
    rows = published_rows()
    assert len(rows) == 112
    matched: set[str] = set()
    for drug in {row.drug for row in rows}:
        for gene, diplotypes in CARRIERS.items():
            for diplotype in diplotypes:
                found = effects(drug, {gene: diplotype})
                matched |= {effect.row.place for effect in found if not effect.is_reference}
    usable = {row.place for row in rows if isinstance(row, UsableRow)}
    assert matched == usable and len(usable) == 66
    reasons = Counter(row.reading for row in rows if row.place not in usable)
    assert reasons == {
        "a concentration at one time, not an AUC at constant dose": 20,
        "of a metabolite, whose formation and elimination may both change": 14,
        "what an inhibitor does within one genotype, not what the genotype does": 9,
        "a typical value, of no genotype": 1,
        "an exposure of a review that is not said to be an AUC at constant dose": 1,
        "activity in vitro, a range over variants": 1,
    }


@pytest.mark.parametrize(
    ("drug", "gene", "diplotype", "expected"),
    [
        # Hamberg 2007: 0.0973 of 0.314 L/h; EU-PACT loading: 0.009 of 0.0189 per hour
        ("warfarin", "CYP2C9", "*3/*2", [("clearance", 0.31), ("clearance", 0.476)]),
        # Hamberg 2007: 2.20 of 4.61 mg/L; Linder 2009: 0.27 of 0.68 mg/L at the target INR
        ("warfarin", "VKORC1", "AA", [("EC50", 0.477), ("EC50", 0.397)]),
        (
            "warfarin",
            "VKORC1",
            "rs9923231 reference (C)/rs9923231 variant (T)",
            [("EC50", 0.655), ("EC50", 0.706)],
        ),
        ("tacrolimus", "CYP3A5", "*1/*3", [("clearance", 1.69)]),  # Passey 2011
        ("voriconazole", "CYP2C19", "*2/*2", [("clearance", 0.47), ("Vmax", 0.588)]),  # Kim, Dolton
        ("voriconazole", "CYP2C19", "*2/*17", [("clearance", 0.83), ("Vmax", 0.588)]),
        ("voriconazole", "CYP2C19", "*1/*17", [("Vmax", 1.0)]),  # no loss of function; NM only in Kim
        ("efavirenz", "CYP2B6", "*6/*7", [("clearance", 0.25)]),  # Cabrera 2009, 516 T/T
        ("efavirenz", "CYP2B6", "*1/*18", [("clearance", 1.0)]),  # 516 G/G, whatever else they carry
        ("phenytoin", "CYP2C9", "*1/*3", [("Vmax", 0.58)]),  # Mamiya 1998
        ("phenytoin", "CYP2C19", "*1/*3", [("Km", 1.22)]),
        ("atomoxetine", "CYP2D6", "*4/*5", [("clearance", 0.1)]),
        ("amitriptyline", "CYP2D6", "*1/*2x2", [("clearance", 1.298)]),  # activity 3: 2.92 of 2.25 L/min
        ("rosuvastatin", "ABCG2", "AA", [("clearance", round(1 / 2.44, 3))]),  # AUC x 2.44
        ("omeprazole", "CYP2C19", "*2/*3", [("clearance", round(1 / 7.5, 3))]),
        ("paroxetine", "CYP2D6", "*4/*10", [("clearance", round(1 / 3.5, 3))]),
        ("atorvastatin", "SLCO1B1", "*14/*20", [("clearance", round(1 / 0.59, 3))]),
        ("atorvastatin", "CYP3A4", "*22/*1", [("clearance", round(1 / 1.33, 3))]),
    ],
)
def test_known_multipliers(drug: str, gene: str, diplotype: str, expected: list[tuple[str, float]]) -> None:
    assert multipliers(drug, gene, diplotype) == expected


def test_no_published_row_gives_a_bioavailability() -> None:
    # of 112 rows none measures it; the kind is there so that this can be asked
    usable = [row for row in published_rows() if isinstance(row, UsableRow)]
    found = Counter(row.parameter for row in usable)
    assert found[EffectParameter.BIOAVAILABILITY] == 0
    assert set(found) == set(EffectParameter) - {EffectParameter.BIOAVAILABILITY}
    assert not any("bioavail" in row.measured.lower() for row in published_rows())
    oral = [row for row in usable if row.measured.startswith("AUC after a single")]
    assert oral and {row.parameter for row in oral} == {EffectParameter.CLEARANCE}


def test_an_effect_carries_its_row() -> None:
    (effect,) = effects("Rosuvastatin ", {"ABCG2": "CA"})
    assert (effect.row.drug, effect.row.gene, effect.row.group) == ("rosuvastatin", "ABCG2", "c.421CA")
    assert (effect.row.reference_group, effect.row.measured, effect.row.ratio) == ("c.421CC", "AUC", 1.22)
    assert (effect.row.n, effect.row.population) == ("32", "Finnish healthy")
    assert effect.row.study == "Keskitalo 2009, Clin Pharmacol Ther 86:197"
    assert effect.row.note == "from 144% above CC and 100% above CA"
    assert effect.row.place == "pk_effects.csv, line 77"
    assert effect.row.reading == "1/ratio of the AUC at constant dose: clearance over bioavailability"
    assert effect.source == TABLES.source("ABCG2") and not effect.is_reference


def test_a_person_of_the_reference_group_has_1_and_the_row_that_says_so() -> None:
    (effect,) = effects("phenytoin", {"CYP2C9": "*1/*1"})  # Mamiya has no row of *1/*1
    assert (effect.parameter, effect.multiplier, effect.is_reference) == (EffectParameter.VMAX, 1.0, True)
    assert effect.row.group == "*1/*3" and effect.row.reference_group == "*1/*1"
    # both Km rows have one reference
    assert len(effects("phenytoin", {"CYP2C19": "*1/*1"})) == 1
    # where the reference has a row of its own, that is the row
    assert [effect.is_reference for effect in effects("warfarin", {"CYP2C9": "*1/*1"})] == [False, False]


def test_a_diplotype_of_no_group_has_no_effect_and_that_is_said() -> None:
    people = {"CYP2C9": "*1/*2", "CYP2C19": "*1/*2", "CYP2D6": "*1/*1"}
    assert [effect.gene for effect in effects("phenytoin", people)] == ["CYP2C19"]
    assert without_effect("phenytoin", people) == (
        "no published row of phenytoin for CYP2C9 *1/*2; it has rows that cannot be used: "
        "a concentration at one time, not an AUC at constant dose",
        "no published row of phenytoin for CYP2D6 *1/*1",
    )


@pytest.mark.parametrize(
    ("drug", "gene", "diplotype"),
    [
        ("tacrolimus", "CYP3A5", "*3/*6"),  # *6 was not studied, although it has no function either
        ("efavirenz", "CYP2B6", "*1/*29"),  # a structural variant: 516 is not known
        ("voriconazole", "CYP2C19", "*9/*9"),  # likely intermediate is not intermediate
        ("atomoxetine", "CYP2D6", "*1x≥3/*4"),
        ("amitriptyline", "CYP2D6", "*1x≥3/*4"),  # ≥3.0 is not 3.0
        ("amitriptyline", "CYP2D6", "*10/*10x2"),  # 0.75
        ("fluorouracil", "DPYD", "c.1905+1G>A (*2A)/c.1905+1G>A (*2A)"),
        ("fluorouracil", "DPYD", "Reference/c.2846A>T"),
        ("atorvastatin", "SLCO1B1", "*1/*14"),
        ("atorvastatin", "CYP3A4", "*22/*22"),
    ],
)
def test_nothing_is_borrowed_from_a_similar_group(drug: str, gene: str, diplotype: str) -> None:
    assert effects(drug, {gene: diplotype}) == ()
    assert len(without_effect(drug, {gene: diplotype})) == 1


def test_the_alleles_with_cyp2b6_516t_are_those_of_the_definitions() -> None:
    # models.md 17: *6, *7, *9, *13, *19, *20, *26, *34, *36 to *43
    expected = {f"*{n}" for n in (6, 7, 9, 13, 19, 20, 26, 34, *range(36, 44))}
    found = {
        allele
        for allele in TABLES.alleles("CYP2B6")
        if multipliers("efavirenz", "CYP2B6", f"{allele}/{allele}") == [("clearance", 0.25)]
    }
    assert found == expected


@given(st.sampled_from(sorted(CARRIERS)), st.data())
def test_the_order_of_the_alleles_and_of_the_genes_does_not_matter(gene: str, data: st.DataObject) -> None:
    drug = data.draw(st.sampled_from(sorted({row.drug for row in published_rows() if row.gene == gene})))
    text = data.draw(st.sampled_from(CARRIERS[gene]))
    one, other = (text[0], text[1]) if len(text) == 2 else text.split("/")
    assert effects(drug, {gene: f"{one}/{other}"}) == effects(drug, {gene: f"{other}/{one}"})

    def key(effect: Effect) -> str:
        return effect.row.place

    with_more = effects(drug, {"CYP4F2": "*1/*3", gene: text})
    assert sorted(with_more, key=key) == sorted(effects(drug, {gene: text, "CYP4F2": "*1/*3"}), key=key)


def test_what_cannot_be_looked_up_is_refused() -> None:
    with pytest.raises(
        UnknownDrugError, match="pk_effects.csv does not list 'warfarine'; did you mean warfarin"
    ):
        effects("warfarine", {})
    with pytest.raises(UnknownGeneError, match="CYP9Z9"):
        effects("warfarin", {"CYP9Z9": "*1/*1"})
    with pytest.raises(UnknownAlleleError, match=r"'\*999' of CYP2C9"):
        effects("warfarin", {"CYP2C9": "*1/*999"})
    with pytest.raises(UnknownAlleleError, match=r"'T' of VKORC1 .*A, G"):  # forward-strand bases
        effects("warfarin", {"VKORC1": "CT"})
    with pytest.raises(InvalidDiplotypeError):
        effects("warfarin", {"CYP2C9": ""})

"""How warfarin's model reads the alleles it was fitted without [models.md section 1.1]."""

import warnings

import numpy as np
import pytest

from dosewright.pharmacogenomics import (
    TABLES,
    AlleleReading,
    InvalidDiplotypeError,
    UncertainAlleleWarning,
    UnknownAlleleError,
    UnrepresentedAlleleError,
    allele_sum,
    represent,
)

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

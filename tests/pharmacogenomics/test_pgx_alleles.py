"""A diplotype has no order, one text, and no meaning guessed into it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosewright.pharmacogenomics import (
    TABLES,
    Allele,
    Diplotype,
    InvalidDiplotypeError,
    coding_strand_allele,
)

HAPB3 = "c.1129-5923C>G, c.1236G>A (HapB3)"
copies = st.one_of(st.just(""), st.integers(2, 9).map("x{}".format), st.just("x≥3"))
star = st.tuples(st.integers(1, 200), st.sampled_from(["", "A", "B", ".002"]), copies).map(
    lambda parts: "*{}{}{}".format(*parts)
)
tandem = st.lists(star, min_size=1, max_size=3).map("+".join)
base = st.sampled_from("ACGT")
dpyd = st.sampled_from(TABLES.function_alleles("DPYD"))
variants = dpyd.filter(lambda name: name != "Reference")
# in canonical order, so that the text is the one that comes back
combination = st.lists(variants, min_size=2, max_size=4, unique=True).map(
    lambda names: str(Allele.parse(f"[{' + '.join(names)}]"))
)
pairs = st.one_of(*(st.tuples(names, names) for names in (tandem, base, dpyd, combination)))


@given(pairs)
def test_text_round_trips_and_order_does_not_matter(pair: tuple[str, str]) -> None:
    diplotype = Diplotype(*pair)
    assert Diplotype.parse(str(diplotype)) == diplotype
    assert sorted(diplotype.alleles) == sorted(pair)
    for swapped in (Diplotype(*pair[::-1]), Diplotype.parse("/".join(pair[::-1]))):
        assert swapped == diplotype
        assert hash(swapped) == hash(diplotype)
        assert str(swapped) == str(diplotype)


@given(st.one_of(tandem, base, dpyd, combination))
def test_an_allele_is_taken_apart_and_put_together_again(text: str) -> None:
    allele = Allele.parse(text)
    assert Allele.parse(str(allele)) == allele
    assert str(allele) == text
    assert sum(unit.copies for unit in allele.units) >= len(allele.units) >= 1


@pytest.mark.parametrize(
    ("text", "kind", "units", "structure"),
    [  # the forms of CPIC's tables, PharmCAT's test cases and the GeT-RM consensus
        ("*4", "star", [("*4", 1, False)], False),
        ("*1x2", "star", [("*1", 2, False)], True),
        ("*2x≥3", "star", [("*2", 3, True)], True),
        ("*36+*10", "tandem", [("*36", 1, False), ("*10", 1, False)], True),
        ("*68x2+*4", "tandem", [("*68", 2, False), ("*4", 1, False)], True),
        ("*13+*68x2+*4", "tandem", [("*13", 1, False), ("*68", 2, False), ("*4", 1, False)], True),
        (HAPB3, "variant", [(HAPB3, 1, False)], False),
        ("c.1905+1G>A (*2A)", "variant", [("c.1905+1G>A (*2A)", 1, False)], False),
        ("rs9923231 variant (T)", "variant", [("rs9923231 variant (T)", 1, False)], False),
        (
            f"[c.1905+1G>A (*2A) + c.85T>C (*9A) + {HAPB3}]",
            "combination",
            [("c.85T>C (*9A)", 1, False), (HAPB3, 1, False), ("c.1905+1G>A (*2A)", 1, False)],
            False,
        ),
    ],
)
def test_parts_of_an_allele(
    text: str, kind: str, units: list[tuple[str, int, bool]], structure: bool
) -> None:
    allele = Allele.parse(text)
    assert allele.kind == kind and allele.has_structure == structure
    assert [(unit.name, unit.copies, unit.at_least) for unit in allele.units] == units


@pytest.mark.parametrize(
    "text",
    ["", "*", "*0", "*1x0", "*1x1", "1", "*1+", "+*1", "[*1]", "[*1 + c.85T>C]", "[*1 + *1]", "[*1 + ]", "N"],
)
def test_what_is_no_allele_is_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(InvalidDiplotypeError, match="write a star allele"):
        Allele.parse(text)


@given(pairs, pairs)
def test_different_pairs_have_different_text(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (str(Diplotype(*one)) == str(Diplotype(*other))) == (sorted(one) == sorted(other))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("*2/*1", "*1/*2"),
        ("*10/*2", "*2/*10"),
        ("*1x2/*1", "*1/*1x2"),
        ("*36+*10/*4", "*4/*36+*10"),
        ("*3C/*3A", "*3A/*3C"),
        (" *3 / *1 ", "*1/*3"),
        ("GA", "GA"),
        ("AG", "GA"),
        ("A/G", "GA"),
        ("G/A", "GA"),
        ("AA", "AA"),
        ("CT", "TC"),
        ("Reference/c.1905+1G>A (*2A)", "c.1905+1G>A (*2A)/Reference"),
    ],
)
def test_canonical_text(text: str, canonical: str) -> None:
    assert str(Diplotype.parse(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*1",
        "*1/",
        "/",
        "*1/*2/*3",
        "*/*1",
        "*0/*1",
        "*01/*1",
        "*1x/*2",
        "*1+/*2",
        "ga",
        "G",
        "GX",
        "GAA",
        "G|A",
    ]
    + ["*1/G", "*1|*2", "./.", "None", "normal/poor", "Unknown/Unknown", "c./Reference", "(*2)/*3"],
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(InvalidDiplotypeError) as caught:
        Diplotype.parse(text)
    assert "write" in str(caught.value) or "name both" in str(caught.value)


@pytest.mark.parametrize("text", ["*1", " *36+*10", "c.1905+1G>A (*2A)", "G"])
def test_one_allele_is_told_from_nonsense(text: str) -> None:
    name = text.strip()
    with pytest.raises(InvalidDiplotypeError) as caught:
        Diplotype.parse(text)
    assert f"names one allele, and two are needed; write '{name}/{name}' if both" in str(caught.value)


@pytest.mark.parametrize("gene", TABLES.genes())
def test_every_allele_of_the_tables_can_be_paired_and_read_back(gene: str) -> None:
    for one, other in itertools.pairwise(sorted(TABLES.alleles(gene))):
        assert str(Allele.parse(one)) == one
        assert Diplotype.parse(f"{one}/{other}") == Diplotype(other, one)


def test_the_vkorc1_variant_is_a_on_the_coding_strand() -> None:
    # rs9923231: T on the forward strand is A of -1639G>A [models.md section 17].
    assert coding_strand_allele("VKORC1", "rs9923231 variant (T)") == "A"
    assert coding_strand_allele("VKORC1", "rs9923231 reference (C)") == "G"
    assert coding_strand_allele("CYP2C9", "*2") == "*2"

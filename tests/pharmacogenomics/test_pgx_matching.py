"""Genotype to diplotype: CPIC's definitions, PharmCAT's score, and nothing read into what was not seen."""

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosewright.pharmacogenomics.alleles import Diplotype, coding_strand_allele
from dosewright.pharmacogenomics.matching import Match, match
from dosewright.pharmacogenomics.phenotype import activity_score, phenotype
from dosewright.pharmacogenomics.sites import Origin, Site
from dosewright.pharmacogenomics.tables import TABLES, AlleleDefinition, UnknownGeneError

SHARED_PGX = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "pgx"
CASES = SHARED_PGX / "cases"
HAPB3, INTRONIC = "c.1129-5923C>G, c.1236G>A (HapB3)", "c.1129-5923C>G"
BY_STAR = [gene for gene in TABLES.genes() if gene != "DPYD"]


def genotype(gene: str, missing: tuple[str, ...] = (), /, **seen: str) -> dict[int, Site]:
    """Sites of a gene: reference, but for bases by rsid (`rs1="A/G"`, phased `"A|G"`, `"A|G@set"`)."""
    by_rsid = {position.rsid: position for position in TABLES.positions(gene)}
    sites = {
        position.pos: Site((position.ref,) * 2, origin=Origin.RECORD, note="")
        for position in TABLES.positions(gene)
        if position.rsid not in missing
    }
    for rsid, text in seen.items():
        bases, _, phase_set = text.partition("@")
        first, second = bases.replace("|", "/").split("/")
        sites[by_rsid[rsid].pos] = Site(
            (first, second), "|" in bases, phase_set or None, origin=Origin.RECORD
        )
    return sites


def fits(result: Match) -> set[str]:
    return {str(item.diplotype) for item in result.candidates}


def best(result: Match) -> set[str]:
    return {str(item.diplotype) for item in result.best}


# ---------------------------------------------------------------------------------------- star alleles


def test_reference_and_its_score() -> None:
    result = match("CYP3A5", genotype("CYP3A5"))
    assert str(result.diplotype) == "*1/*1"
    assert result.lookup == result.diplotype
    assert [item.score for item in result.candidates] == [2 * 5]  # CYP3A5 has five defining positions
    assert result.reason is None
    assert "CYP3A5" in result.source and TABLES.version in result.source


def test_score_counts_the_defining_positions_of_both_alleles() -> None:
    sites = genotype("CYP2C19", rs12769205="A/G", rs4244285="G/A", rs3758581="G/G")
    result = match("CYP2C19", sites)
    assert str(result.diplotype) == "*1/*2"
    # *1 counts like the reference *38: all 35 positions; *2 has three required and one open position
    assert result.candidates[0].score == 35 + 4


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({"rs12769205": "A/G", "rs3758581": "G/G"}, "*1/*35"),
        ({"rs3758581": "A/G"}, "*1/*38"),
        # rs58973490 is open in *2
        ({"rs12769205": "A/G", "rs4244285": "G/A", "rs58973490": "G/A", "rs3758581": "G/G"}, "*1/*2"),
        ({"rs12248560": "T/T", "rs28399504": "A/G", "rs3758581": "G/G"}, "*4/*17"),
    ],
)
def test_cyp2c19(seen: dict[str, str], expected: str) -> None:
    assert str(match("CYP2C19", genotype("CYP2C19", **seen)).diplotype) == expected


def test_a_missing_position_is_dropped_and_never_reference() -> None:
    sites = genotype("CYP2C19", ("rs12248560",), rs3758581="G/G")
    result = match("CYP2C19", sites)
    assert fits(result) == {"*1/*1", "*1/*17", "*17/*17"}
    assert best(result) == {"*1/*1"}
    assert "*17" in result.not_excluded
    assert "*2" not in result.not_excluded
    assert result.missing == (94761900,)
    assert len(result.used) == 34


def test_an_allele_without_a_position_left_is_not_called_and_not_excluded() -> None:
    result = match("CYP3A5", genotype("CYP3A5", ("rs776746",)))
    assert fits(result) == {"*1/*1"}
    assert result.not_excluded == ("*3",)


def test_a_tie_stays_one() -> None:
    sites = genotype("UGT1A1", ("rs3064744",), rs887829="C/T")
    result = match("UGT1A1", sites)
    assert best(result) == {"*1/*80", "*1/*80+*28", "*1/*80+*37"}
    assert result.diplotype is None
    assert result.lookup is None
    assert "3 diplotypes" in str(result.reason)


def test_nothing_seen_is_no_call() -> None:
    result = match("VKORC1", {})
    assert result.candidates == () and result.diplotype is None and result.best == ()
    assert result.missing == (31096368,)
    assert "none of the 1 positions of VKORC1" in str(result.reason)


def test_required_positions_all_missing() -> None:
    # *45 needs rs71581941 and may carry rs4149056 C: it fits as well as *5, not better
    result = match("SLCO1B1", genotype("SLCO1B1", ("rs71581941",), rs4149056="T/C"))
    assert best(result) == {"*1/*5", "*1/*45"}
    # without a variant seen nothing speaks for it
    assert fits(match("SLCO1B1", genotype("SLCO1B1", ("rs71581941",)))) == {"*1/*1"}


@pytest.mark.parametrize(
    ("promoter", "repeat", "expected"),
    [
        ("C/T", "CAT/CATAT", {"*1/*80+*28", "*28/*80"}),
        ("C|T", "CAT|CATAT", {"*1/*80+*28"}),
        ("C|T", "CATAT|CAT", {"*28/*80"}),
        ("C|T@1", "CATAT|CAT@1", {"*28/*80"}),
        ("C|T@1", "CATAT|CAT@2", {"*1/*80+*28", "*28/*80"}),
        ("C|T", "CATAT/CAT", {"*1/*80+*28", "*28/*80"}),
    ],
)
def test_phase_sets(promoter: str, repeat: str, expected: set[str]) -> None:
    result = match("UGT1A1", genotype("UGT1A1", rs887829=promoter, rs3064744=repeat))
    assert fits(result) == expected


@pytest.mark.parametrize("gene", BY_STAR)
def test_every_pair_of_alleles_is_found_again(gene: str) -> None:
    draw = random.Random(gene)
    for phased in (False, True):
        for _ in range(40):
            one, two = (draw.choice(TABLES.definitions(gene)) for _ in range(2))
            haplotypes = carried(one, draw), carried(two, draw)
            sites = {
                pos: Site((haplotypes[0][pos], haplotypes[1][pos]), phased, origin=Origin.RECORD)
                for pos in haplotypes[0]
            }
            result = match(gene, sites)
            assert str(Diplotype(one.name, two.name)) in fits(result)
            for item in result.candidates[:20]:
                assert can_give(item.diplotype, gene, sites)


def carried(definition: AlleleDefinition, draw: random.Random) -> dict[int, str]:
    return {
        position.pos: definition.core.get(position.pos)
        or draw.choice(sorted(definition.either.get(position.pos, {position.ref})))
        for position in TABLES.positions(definition.gene)
    }


def can_give(diplotype: Diplotype, gene: str, sites: dict[int, Site]) -> bool:
    """Whether a pair gives the genotype; by definition, one position after the other."""
    named = {definition.name: definition for definition in TABLES.definitions(gene)}
    orientations = {0, 1}
    for position in TABLES.positions(gene):
        pos = position.pos
        first, second = (
            named[allele].either.get(pos, {named[allele].core.get(pos, position.ref)})
            for allele in diplotype.alleles
        )
        site = sites[pos]
        ways = {
            way
            for way, (one, two) in enumerate((site.alleles, site.alleles[::-1]))
            if one in first and two in second
        }
        if not ways:
            return False
        if site.phased:
            orientations &= ways
    return bool(orientations)


SMALL = ["CYP2B6", "CYP2C19", "SLCO1B1", "TPMT", "UGT1A1", "CYP4F2"]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from(["CYP2B6", "CYP2C19", "SLCO1B1", "TPMT", "UGT1A1", "CYP4F2"])
)
def test_all_phasings_tried_one_by_one_give_the_same_diplotypes(seed: int, gene: str) -> None:
    """Against brute force: every way of laying the bases on two chromosomes that the phase sets allow."""
    generator = np.random.default_rng(seed)
    alleles = TABLES.definitions(gene)
    one, other = (alleles[i] for i in generator.integers(0, len(alleles), 2))
    found: dict[int, Site] = {}
    for position in TABLES.positions(gene):
        if generator.random() < 0.15:
            continue  # missing
        pair = tuple(
            str(generator.choice(sorted(may_carry(allele, position.pos, position.ref))))
            for allele in (one, other)
        )
        phase = None if generator.random() < 0.5 else str(generator.integers(0, 2))
        flipped = phase == "1" or (phase is None and generator.random() < 0.5)
        found[position.pos] = Site(
            pair[::-1] if flipped else pair, phase is not None, phase, origin=Origin.RECORD, note=""
        )
    expected = by_brute_force(gene, found)
    assert {str(item.diplotype) for item in match(gene, found).candidates} == expected


def may_carry(allele: AlleleDefinition, pos: int, ref: str) -> frozenset[str]:
    return allele.either.get(pos) or frozenset({allele.core.get(pos, ref)})


def by_brute_force(gene: str, found: dict[int, Site]) -> set[str]:
    refs = {position.pos: position.ref for position in TABLES.positions(gene)}
    groups: dict[str, list[int]] = {}
    for pos, site in found.items():
        if site.heterozygous:
            groups.setdefault(site.phase_set or f"alone {pos}", []).append(pos)
    made: set[str] = set()
    for turns in itertools.product((False, True), repeat=len(groups)):
        turned = {pos for turn, group in zip(turns, groups.values(), strict=True) if turn for pos in group}
        names: list[list[str]] = []
        for side in (0, 1):
            shown = {pos: site.alleles[1 - side if pos in turned else side] for pos, site in found.items()}
            names.append(
                [
                    allele.name
                    for allele in TABLES.definitions(gene)
                    if all(base in may_carry(allele, pos, refs[pos]) for pos, base in shown.items())
                    and callable_from(allele, found, refs)
                ]
            )
        made |= {str(Diplotype(a, b)) for a in names[0] for b in names[1]}
    return made


def callable_from(allele: AlleleDefinition, found: dict[int, Site], refs: dict[int, str]) -> bool:
    """Whether some defining position is left; of those that are open only one where a variant was seen."""
    if allele.is_reference or any(pos in found for pos in allele.core):
        return True
    return any(
        base in bases and base != refs[pos]
        for pos, bases in allele.either.items()
        if pos in found
        for base in found[pos].alleles
    )


def test_copies_of_cyp2d6_are_never_guessed() -> None:
    named = {definition.name: definition for definition in TABLES.definitions("CYP2D6")}
    sites = {
        position.pos: Site((named["*10"].core.get(position.pos, position.ref),) * 2, origin=Origin.RECORD)
        for position in TABLES.positions("CYP2D6")
    }
    result = match("CYP2D6", sites)
    assert "*10/*10" in best(result)  # *5/*10 and *36+*10 look the same
    assert {"*5", "*36+*10", "*68+*4"} <= set(result.structure_not_seen)
    called = {allele for item in result.candidates for allele in item.diplotype.alleles}
    assert not called & set(result.structure_not_seen)


# ------------------------------------------------------------------------------------- undefined bases


def test_an_undefined_base_is_no_call() -> None:
    result = match("CYP2C9", genotype("CYP2C9", rs1799853="C/A"))
    assert result.candidates == () and result.lookup is None
    assert "rs1799853" in str(result.reason) and "A defines no allele" in str(result.reason)
    assert list(result.undefined) == [94942290]


@pytest.mark.parametrize(
    ("gene", "seen", "expected"),
    [
        ("TPMT", {"rs1142345": "T/A"}, "*1/*1"),
        ("TPMT", {"rs1142345": "C/A", "rs1800460": "C/C"}, "*1/*3C"),
        ("NUDT15", {"rs116855232": "C/G"}, "*1/*1"),
        ("DPYD", {"rs3918290": "C/G"}, "Reference/Reference"),
    ],
)
def test_where_variants_are_toxic_an_undefined_base_is_reference(
    gene: str, seen: dict[str, str], expected: str
) -> None:
    result = match(gene, genotype(gene, **seen))
    assert str(result.diplotype) == expected
    assert "read as the reference" in next(iter(result.undefined.values()))


def test_slco1b1_falls_back_on_its_one_variant() -> None:
    # no allele has rs56101265 together with rs4149056
    result = match("SLCO1B1", genotype("SLCO1B1", rs56101265="C/C", rs4149056="T/C"))
    assert result.candidates == ()
    assert str(result.lookup) == "*1/*5"
    assert result.variants == ("rs4149056 T", "rs4149056 C")
    assert result.lookup is not None
    assert phenotype("SLCO1B1", result.lookup) == "Decreased Function"
    missing = match("SLCO1B1", genotype("SLCO1B1", ("rs4149056",), rs56101265="C/A"))
    assert missing.lookup is None and missing.variants == ()


@pytest.mark.parametrize(("bases", "coding"), [("C/C", "GG"), ("C/T", "GA"), ("T/T", "AA")])
def test_vkorc1_is_a_genotype(bases: str, coding: str) -> None:
    result = match("VKORC1", genotype("VKORC1", rs9923231=bases))
    assert result.diplotype is not None
    names = (coding_strand_allele("VKORC1", allele) for allele in result.diplotype.alleles)
    assert str(Diplotype(*names)) == coding


def test_cyp4f2_has_star_alleles() -> None:
    assert str(match("CYP4F2", genotype("CYP4F2", rs2108622="C/T", rs3093105="C/C")).diplotype) == "*2/*4"


# ------------------------------------------------------------------------------------ variants of DPYD


def test_dpyd_without_phase_lists_variants_and_looks_up_the_two_lowest() -> None:
    sites = genotype("DPYD", rs72547601="C/C", rs67376798="T/A", rs60139309="T/C")
    result = match("DPYD", sites)
    assert result.variants == ("c.2933A>G (homozygous)", "c.2846A>T", "c.2582A>G")
    assert result.candidates == ()
    assert str(result.lookup) == "c.2933A>G/c.2933A>G"
    sites = genotype("DPYD", rs112766203="G/A", rs144395748="G/C", rs186169810="A/C", rs183385770="C/T")
    result = match("DPYD", sites)
    assert str(result.lookup) == "c.1024G>A/c.1314T>G"
    assert result.lookup is not None
    assert str(activity_score("DPYD", result.lookup)) == "0.5"  # 0 + 0.5, CPIC function table


@pytest.mark.parametrize(
    ("seen", "expected", "lookup"),
    [
        ({}, "Reference/Reference", "Reference/Reference"),
        ({"rs67376798": "T/A"}, "Reference/c.2846A>T", "Reference/c.2846A>T"),
        (
            {"rs150385342": "C/T", "rs72549310": "A/A"},
            "c.61C>T/[c.61C>T + c.313G>A]",
            "c.61C>T/c.61C>T",
        ),
        (
            {"rs3918290": "T|C", "rs72547601": "C|T", "rs139834141": "C|T"},
            "[c.1905+1G>A (*2A) + c.2933A>G]/c.498G>A",
            "c.1905+1G>A (*2A)/c.498G>A",
        ),
        # one variant of no function on a chromosome: the other chromosome counts too, not the second variant
        ({"rs3918290": "T|C", "rs67376798": "A|T"}, "Reference/[c.1905+1G>A (*2A) + c.2846A>T]",
         "Reference/c.1905+1G>A (*2A)"),
    ],
)  # fmt: skip
def test_dpyd_with_phase(seen: dict[str, str], expected: str, lookup: str) -> None:
    result = match("DPYD", genotype("DPYD", **seen))
    assert result.diplotype == Diplotype.parse(expected)
    assert result.lookup == Diplotype.parse(lookup)
    assert result.variants == ()


def test_dpyd_phase_sets_leave_splits_open() -> None:
    sites = genotype("DPYD", rs67376798="T|A@1", rs55886062="A|C@2", rs72549307="T|C@3", rs1801265="A|G@3")
    result = match("DPYD", sites)
    expected = (
        "Reference/[c.85T>C (*9A) + c.632A>G + c.1679T>G (*13) + c.2846A>T]",
        "c.1679T>G (*13)/[c.85T>C (*9A) + c.632A>G + c.2846A>T]",
        "c.2846A>T/[c.85T>C (*9A) + c.632A>G + c.1679T>G (*13)]",
        "[c.85T>C (*9A) + c.632A>G]/[c.1679T>G (*13) + c.2846A>T]",
    )
    assert {item.diplotype for item in result.best} == set(map(Diplotype.parse, expected))
    assert result.lookup == Diplotype("c.632A>G", "c.1679T>G (*13)")  # both of no function: the lowest split


@pytest.mark.parametrize(
    ("intronic", "exonic", "expected"),
    [
        ("G/C", "C/C", f"Reference/{INTRONIC}"),
        ("G/G", "C/T", "Reference/Reference"),
        ("G/G", "T/T", "Reference/Reference"),
        ("G/C", "C/T", f"Reference/{HAPB3}"),
        ("G|C", "C|T", f"Reference/{HAPB3}"),
        ("G|C", "T|C", f"Reference/{INTRONIC}"),
        ("C/C", "T/T", f"{HAPB3}/{HAPB3}"),
        ("C/C", "C/T", f"{INTRONIC}/{HAPB3}"),
        ("G/C", "T/T", f"Reference/{HAPB3}"),
        (None, "C/T", f"Reference/{HAPB3}"),
        ("G/C", None, f"Reference/{INTRONIC}"),
    ],
)
def test_the_intronic_variant_decides_hapb3(intronic: str | None, exonic: str | None, expected: str) -> None:
    seen = {"rs75017182": intronic, "rs56038477": exonic}
    result = match(
        "DPYD",
        genotype(
            "DPYD",
            tuple(rsid for rsid, bases in seen.items() if bases is None),
            **{rsid: bases for rsid, bases in seen.items() if bases},
        ),
    )
    assert result.diplotype == Diplotype.parse(expected)
    assert result.lookup == result.diplotype


def test_hapb3_among_unphased_variants() -> None:
    result = match("DPYD", genotype("DPYD", rs75017182="G/C", rs56038477="C/T", rs1801159="T/C"))
    assert set(result.variants) == {HAPB3, "c.1627A>G (*5)"}
    assert result.lookup == Diplotype(HAPB3, "c.1627A>G (*5)")


def test_dpyd_variants_at_missing_positions_are_not_excluded() -> None:
    result = match("DPYD", genotype("DPYD", ("rs3918290", "rs56038477"), rs75017182="G/C"))
    assert set(result.not_excluded) == {"c.1905+1G>A (*2A)", HAPB3}


# ------------------------------------------------------------------------------- errors, and the cases


def test_errors_name_the_value() -> None:
    with pytest.raises(UnknownGeneError, match="CYP9Z9"):
        match("CYP9Z9", {})
    with pytest.raises(ValueError, match="position 12 is in no definition of TPMT"):
        match("TPMT", {12: Site(("A", "A"), origin=Origin.RECORD)})


@pytest.mark.skipif(not SHARED_PGX.is_dir(), reason="the shared cases are not here")
def test_the_cases() -> None:
    from benchmarks import pgx_cases

    calls = pgx_cases.genotype_calls(CASES)
    assert (calls.passed, calls.failures) == (78, ())
    example = pgx_cases.example_sample(CASES)
    assert (example.passed, example.failures) == (13, ())
    rows = {row.name: row for row in pgx_cases.getrm(CASES)}
    assert all(row.ok for row in rows.values())
    assert rows["getrm CYP2C19"].total == 52 and rows["getrm CYP2C9"].total == 51
    assert rows["getrm CYP2D6"].passed >= 18 and rows["getrm CYP2B6"].passed >= 29

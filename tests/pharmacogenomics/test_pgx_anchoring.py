"""Every way to write an insertion or deletion is the allele that it makes, and no other is."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosewright.pharmacogenomics.anchoring import known_bases, mismatch, read_alleles, span
from dosewright.pharmacogenomics.tables import TABLES, Position

INDELS = [p for gene in TABLES.genes() for p in TABLES.positions(gene) if p.is_indel]
UGT1A1 = next(p for p in INDELS if p.pos == 233760233)
NUDT15 = next(p for p in INDELS if p.pos == 48037782)
FLANK = 3


def neighbourhood(position: Position, left: str, right: str) -> tuple[int, str]:
    """First base and sequence of a reference around a position; it has what the tables say of it."""
    known = known_bases(position)
    inside = "".join(known[pos] for pos in range(position.pos + 1, span(position)[1] + 1))
    shortest = min(position.alts, key=lambda alt: abs(len(alt) - len(position.ref)))
    unit = position.ref[len(shortest) :] or shortest[len(position.ref) :]
    if right[0] == unit[len(inside) % len(unit)]:  # the HGVS name says that the repeat ends here
        right = "CGTA"["ACGT".index(right[0])] + right[1:]
    return position.pos - len(left), left + position.ref[0].replace("N", "C") + inside + right


def with_allele(position: Position, first: int, sequence: str, alt: str) -> str:
    at = position.pos - first
    bases = alt.replace("N", sequence[at])
    return sequence[:at] + bases + sequence[at + len(position.ref) :]


def records(first: int, reference: str, changed: str) -> Iterator[tuple[int, str, str]]:
    """Every (POS, REF, ALT) that makes the changed sequence of the reference."""
    for a in range(len(reference)):
        for b in range(a + 1, len(reference) + 1):
            stop = len(changed) - (len(reference) - b)
            if stop > a and changed[:a] == reference[:a] and changed[stop:] == reference[b:]:
                yield first + a, reference[a:b], changed[a:stop]


bases = st.text("ACGT", min_size=FLANK, max_size=FLANK)


@pytest.mark.parametrize("position", INDELS, ids=lambda p: f"{p.gene}-{p.pos}")
@settings(max_examples=2, deadline=None)
@given(left=bases, right=bases)
def test_every_form_of_an_allele_is_read_as_it(position: Position, left: str, right: str) -> None:
    first, reference = neighbourhood(position, left, right)
    for alt in position.alts:
        forms = list(records(first, reference, with_allele(position, first, reference, alt)))
        assert len(forms) > FLANK
        for pos, ref, text in forms:
            reading = read_alleles(pos, ref, (text,), position)
            assert reading.tells and reading.forms == (position.ref, alt), (pos, ref, text)


@pytest.mark.parametrize("position", INDELS, ids=lambda p: f"{p.gene}-{p.pos}")
@settings(max_examples=3, deadline=None)
@given(data=st.data(), left=bases, right=bases)
def test_another_allele_is_never_read_as_one_of_the_tables(
    position: Position, data: st.DataObject, left: str, right: str
) -> None:
    first, reference = neighbourhood(position, left, right)
    a = data.draw(st.integers(0, len(reference) - 1))
    b = data.draw(st.integers(a + 1, len(reference)))
    text = data.draw(st.text("ACGT", min_size=1, max_size=12))
    changed = reference[:a] + text + reference[b:]
    form = read_alleles(first + a, reference[a:b], (text,), position).forms[1]
    for alt in position.alts:
        assert (form == alt) == (changed == with_allele(position, first, reference, alt))


def test_what_the_tables_know_around_the_positions_agrees_with_itself() -> None:
    """The repeats come from the HGVS names, the bases of neighbouring positions from their own rows."""
    everywhere = {
        (p.chrom, pos): base
        for gene in TABLES.genes()
        for p in TABLES.positions(gene)
        for pos, base in enumerate(p.ref, p.pos)
        if base != "N"
    }
    compared = 0
    for position in INDELS:
        for pos, base in known_bases(position).items():
            compared += (position.chrom, pos) in everywhere
            assert everywhere.get((position.chrom, pos), base) == base, position
    assert compared > len(INDELS)
    # the promoter of GRCh38 has seven TA (PharmVar UGT1A1 page, A(TA)7TAA with the one behind)
    assert "".join(known_bases(UGT1A1)[pos] for pos in range(233760234, 233760249)) == "A" + "TA" * 7
    assert "".join(known_bases(NUDT15)[pos] for pos in range(48037784, 48037802)) == "GAGTCG" * 3


@pytest.mark.parametrize(
    ("pos", "ref", "alts", "forms", "tells"),
    [
        (233760234, "A", ("ATA",), ("CAT", "CATAT"), True),
        (233760248, "A", ("ATA", "ATATA"), ("CAT", "CATAT", "CATATAT"), True),
        # two repeats fewer is no allele of the tables, though its ALT is the text of one fewer
        (233760233, "CATAT", ("C", "CAT"), ("CAT", "CATAT>C", "C"), True),
        (233760233, "CAT", ("CATATATAT",), ("CAT", "CATATATAT"), True),
        (233760233, "C", (), ("CAT",), True),
        (233760233, "C", ("<NON_REF>",), ("CAT", ""), True),
        (233760233, "C", ("T",), ("CAT", "C>T"), False),
        (233760220, "G", ("T",), ("CAT", "CAT"), False),
    ],
)
def test_forms_of_the_ugt1a1_repeat(
    pos: int, ref: str, alts: tuple[str, ...], forms: tuple[str, ...], tells: bool
) -> None:
    reading = read_alleles(pos, ref, alts, UGT1A1)
    assert (reading.forms, reading.tells) == (forms, tells)


def test_a_substitution_beside_the_repeat_stays_as_it_is_in_the_record() -> None:
    alts = ("A", "AGGAGTCGGAGTC", "CGGAGTC")  # the record of NUDT15 in the GeT-RM genotypes
    assert read_alleles(48037782, "AGGAGTC", alts, NUDT15).forms == ("AGGAGTC", *alts)


SNP = Position("GENE", "chr1", 100, "A", ("G",), "", "")


@pytest.mark.parametrize(
    ("pos", "ref", "alts", "forms", "tells"),
    [
        (100, "A", ("G", "T"), ("A", "G", "T"), True),
        (99, "CA", ("TG",), ("A", "G"), True),
        (99, "CAT", ("CGT", "TAT"), ("A", "G", "A"), True),
        (100, "AC", ("GC", "A"), ("A", "G", "A"), True),
        (99, "CA", ("TA",), ("A", "A"), False),  # a variant beside it tells nothing, though REF covers it
        (100, "AC", ("A",), ("A", "A"), False),
        (98, "GCA", ("G",), ("A", ""), False),  # deleted
        (100, "A", ("G", "*"), ("A", "G", ""), True),
        (100, "A", (), ("A",), True),
        (100, "A", ("<*>",), ("A", ""), True),
        (100, "A", ("<DEL>",), ("A", ""), False),
        (99, "CA", ("C]chr2:5]",), ("A", ""), False),
        (100, "A", ("N", "GN"), ("A", "", ""), False),
        (99, "NA", ("NG",), ("A", "G"), True),  # N stays as it is: only the A changes
    ],
)
def test_a_base_is_read_from_records_that_are_about_it(
    pos: int, ref: str, alts: tuple[str, ...], forms: tuple[str, ...], tells: bool
) -> None:
    reading = read_alleles(pos, ref, alts, SNP)
    assert (reading.forms, reading.tells) == (forms, tells)
    assert all(bool(why) == (form == "") for form, why in zip(reading.forms, reading.unread, strict=True))


def test_a_mismatch_is_seen_wherever_ref_overlaps() -> None:
    assert mismatch(98, "GCT", SNP) and not mismatch(98, "GCA", SNP) and not mismatch(98, "GCN", SNP)
    assert not mismatch(101, "G", SNP) and mismatch(233760234, "TA", UGT1A1)
    unanchored = next(p for p in INDELS if p.ref.startswith("N"))  # TPMT *47
    assert not mismatch(unanchored.pos, "TAAGT", unanchored) and mismatch(unanchored.pos, "TAAGG", unanchored)

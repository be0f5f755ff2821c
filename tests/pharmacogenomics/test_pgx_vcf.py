"""A VCF file gives what stands in it, and nothing that does not."""

import csv
import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest

from dosewright.pharmacogenomics.sites import Genotypes, Origin, Site
from dosewright.pharmacogenomics.tables import TABLES
from dosewright.pharmacogenomics.vcf import (
    MissingPolicy,
    ReferenceMismatchError,
    UnknownSampleError,
    read_vcf,
)
from dosewright.pharmacogenomics.vcf_lines import VcfError, WrongBuildError

SHARED_PGX = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "pgx"
needs_cases = pytest.mark.skipif(not SHARED_PGX.is_dir(), reason="the shared test cases are not here")

HEAD = ("##fileformat=VCFv4.2", "##reference=GRCh38")
ALL = sum(len(TABLES.positions(gene)) for gene in TABLES.genes())
# CYP2C9 *2 and *3, TPMT rs1142345 with two ALT, UGT1A1 repeat, VKORC1 -1639
STAR2, STAR3 = ("chr10", 94942290, "C", "T"), ("chr10", 94981296, "A", "C")
TPMT3C = ("chr6", 18130687, "T", "C,G")
REPEAT = ("chr2", 233760233, "CAT", "C,CATAT,CATATAT")
VKORC1 = ("chr16", 31096368, "C", "T")
Place = tuple[str, int, str, str]


def record(
    place: Place, *columns: str, fmt: str = "GT", failed: str = ".", info: str = ".", id: str = "."
) -> str:
    chrom, pos, ref, alt = place
    return "\t".join([chrom, str(pos), id, ref, alt, ".", failed, info, fmt, *columns])


def text(lines: Sequence[str], samples: Sequence[str] = ("S",), head: Sequence[str] = HEAD) -> str:
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t" + "\t".join(samples)
    return "\n".join([*head, columns, *lines]) + "\n"


@pytest.fixture
def vcf(tmp_path: Path):
    def write(lines: Sequence[str], samples: Sequence[str] = ("S",), head: Sequence[str] = HEAD) -> Path:
        path = tmp_path / "x.vcf"
        path.write_text(text(lines, samples, head))
        return path

    return write


def one(path: Path, missing: MissingPolicy = "missing") -> Genotypes:
    (genotypes,) = read_vcf(path, missing=missing).genotypes.values()
    return genotypes


def site(path: Path, gene: str, pos: int, missing: MissingPolicy = "missing") -> Site:
    return one(path, missing).sites[gene][pos]


# ----------------------------------------------------------------------------------------------- a genotype


def test_the_fields_of_a_genotype(vcf) -> None:
    path = vcf([record(TPMT3C, "2|0:31:87:1804:PASS:50,60,70,10,0,90", fmt="GT:DP:GQ:PS:FT:PL")])
    found = site(path, "TPMT", 18130687)
    assert (found.alleles, found.phased, found.phase_set) == (("G", "T"), True, "1804")
    assert (found.depth, found.quality, found.origin, found.note) == (31, 87.0, Origin.RECORD, "")
    # PL in the order 00 01 11 02 12 22 (VCF 4.3, section 1.6.2); T is REF, C and G are ALT
    phred = {("T", "T"): 50, ("C", "T"): 60, ("C", "C"): 70, ("G", "T"): 10, ("C", "G"): 0, ("G", "G"): 90}
    assert found.log_likelihoods is not None
    assert found.log_likelihoods == pytest.approx({k: -v / 10 * math.log(10) for k, v in phred.items()})


def test_a_position_without_a_record_is_missing(vcf) -> None:
    genotypes = one(vcf([record(STAR2, "0/1")]))
    sites = [found for here in genotypes.sites.values() for found in here.values()]
    assert len(sites) == ALL == 576
    assert [found.alleles for found in sites if found.called] == [("C", "T")]
    assert {found.note for found in sites if not found.called} == {"no record"}
    assert genotypes.warnings == () and genotypes.missing_policy == "missing"


@pytest.mark.parametrize(
    ("column", "fmt", "note"),
    [
        ("./.", "GT", "no call (./.)"),
        (".", "GT", "no call (.)"),
        ("0/.", "GT", "half call (0/.)"),
        ("1", "GT", "1 allele (1) of an autosomal gene"),
        ("0/0/1", "GT", "3 alleles (0/0/1) of an autosomal gene"),
        ("0/1:LowQ", "GT:FT", "filter LowQ"),
        ("0/0:0", "GT:DP", "reference genotype without reads (DP 0)"),
        ("30", "DP", "no GT"),
        ("0/1:7,7,7", "GT:PL", "every genotype equally likely by PL"),
    ],
)
@pytest.mark.parametrize("missing", get_args(MissingPolicy))
def test_what_is_no_genotype_is_missing_under_every_policy(
    vcf, column: str, fmt: str, note: str, missing: MissingPolicy
) -> None:
    found = site(vcf([record(STAR2, column, fmt=fmt)]), "CYP2C9", STAR2[1], missing)
    assert not found.called and found.note == note and found.origin is Origin.MISSING


@pytest.mark.parametrize(
    ("alt", "genotype", "glimpsed"),
    [
        ("T", "./1", ("T",)),
        ("T", "1", ("T",)),
        ("T", "0/0/1", ("C", "T")),
        ("T,*", "1/2", ("T",)),
        ("T", "./.", ()),
    ],
)
def test_what_an_incomplete_genotype_shows_is_kept(vcf, alt: str, genotype: str, glimpsed: tuple) -> None:
    chrom, pos, ref, _ = STAR2
    found = site(vcf([record((chrom, pos, ref, alt), genotype)]), "CYP2C9", pos)
    assert not found.called and found.glimpsed == glimpsed


@pytest.mark.parametrize(
    ("alt", "genotype", "note"),
    [
        ("T,*", "1/2", "deleted on one chromosome by a variant before it (*)"),
        ("T,<NON_REF>", "0/2", "an allele that the record does not name (<NON_REF>)"),
        ("T,<DEL>", "0/2", "structural allele <DEL>"),
        ("N", "0/1", "unknown bases in ALT N"),
        ("T,TN", "1/2", "unknown bases in ALT TN"),
        ("R", "0/1", "ALT R is not made of bases"),
    ],
)
def test_alleles_that_are_not_bases_are_no_call(vcf, alt: str, genotype: str, note: str) -> None:
    found = site(vcf([record((*STAR2[:3], alt), genotype)]), "CYP2C9", STAR2[1])
    assert not found.called and found.note == note


def test_a_filtered_record_is_missing_and_the_warning_names_it(vcf) -> None:
    genotypes = one(vcf([record(STAR2, "0/1", failed="LowQual"), record(STAR3, "0/1", failed="PASS")]))
    assert not genotypes.sites["CYP2C9"][STAR2[1]].called and genotypes.sites["CYP2C9"][STAR3[1]].called
    assert genotypes.warnings == ("1 position is missing (filter LowQual): CYP2C9 94942290",)


@pytest.mark.parametrize(
    ("genotype", "fmt", "failed", "called"),
    [
        ("0/0", "GT", "RefCall", True),  # DeepVariant's FILTER for a reference genotype
        ("0/0:RefCall", "GT:FT", "PASS", True),
        ("0/1", "GT", "RefCall", False),
        ("0/0", "GT", "RefCall;LowQual", False),
    ],
)
def test_a_reference_call_of_deepvariant_is_no_failure(
    vcf, genotype: str, fmt: str, failed: str, called: bool
) -> None:
    found = site(vcf([record(STAR2, genotype, fmt=fmt, failed=failed)]), "CYP2C9", STAR2[1])
    assert found.called is called and found.note == ("" if called else f"filter {failed}")


def test_a_genotype_quality_of_0_is_read_with_a_warning(vcf) -> None:
    genotypes = one(vcf([record(STAR2, "0/1:0", fmt="GT:GQ"), record(STAR3, "0/1:1", fmt="GT:GQ")]))
    assert genotypes.sites["CYP2C9"][STAR2[1]].alleles == ("C", "T")
    assert genotypes.warnings == ("1 position is called with a genotype quality of 0: CYP2C9 94942290",)


@pytest.mark.parametrize(
    ("place", "fmt", "column", "alleles", "phase_set"),
    [  # GATK: PID names the set, PGT the order, of which 0 and 1 are not always the alleles of GT
        (STAR2, "GT:PGT:PID", "0/1:1|0:94942290_C_T", ("T", "C"), "94942290_C_T"),
        (STAR2, "GT:PGT:PID:PS", "0/1:1|0:94942290_C_T:.", ("T", "C"), "94942290_C_T"),
        (STAR2, "GT:PGT:PID:PS", "0/1:1|0:94942290_C_T:7", ("C", "T"), None),
        (STAR2, "GT:PGT:PID:PS", "0|1:1|0:94942290_C_T:7", ("C", "T"), "7"),
        (STAR2, "GT:PGT:PID", "0/1:.:.", ("C", "T"), None),
        (STAR2, "GT:PGT", "0/1:1|0", ("C", "T"), None),
        (TPMT3C, "GT:PGT:PID", "0/2:0|1:18130687_T_C", ("T", "G"), None),
        (TPMT3C, "GT:PGT:PID", "1/2:2|1:18130687_T_C", ("G", "C"), "18130687_T_C"),
    ],
)
def test_physical_phase(
    vcf, place: Place, fmt: str, column: str, alleles: tuple[str, ...], phase_set: str | None
) -> None:
    gene = "CYP2C9" if place is STAR2 else "TPMT"
    found = site(vcf([record(place, column, fmt=fmt)]), gene, place[1])
    assert (found.alleles, found.phased, found.phase_set) == (alleles, phase_set is not None, phase_set)


def test_phase_sets(vcf) -> None:
    path = vcf([record(STAR2, "0|1:.", fmt="GT:PS"), record(STAR3, "1/0:12", fmt="GT:PS")])
    first, second = (site(path, "CYP2C9", place[1]) for place in (STAR2, STAR3))
    assert first.phased and first.phase_set is None and first.alleles == ("C", "T")
    assert not second.phased and second.phase_set is None and second.alleles == ("C", "A")


def test_likelihoods_that_are_not_of_the_tables_alleles_are_left_out(vcf) -> None:
    other = record(("chr10", 94942289, "GC", "GT,AT"), "0/2:9,8,7,0,3,4", fmt="GT:PL")
    found = site(vcf([other]), "CYP2C9", STAR2[1])  # both ALT are T at the position
    assert found.alleles == ("C", "T") and found.log_likelihoods is None
    open_value = site(vcf([record(TPMT3C, "0/1:0,.,3,4,5,6", fmt="GT:PL")]), "TPMT", TPMT3C[1])
    assert open_value.called and open_value.log_likelihoods is None
    unnamed = record((*STAR2[:3], "T,<NON_REF>"), "0/1:30,0,40,99,99,99", fmt="GT:PL")
    named = site(vcf([unnamed]), "CYP2C9", STAR2[1]).log_likelihoods
    assert named is not None and set(named) == {("C", "C"), ("C", "T"), ("T", "T")}


# ---------------------------------------------------------------------------------- records of one position


def test_an_insertion_written_inside_the_repeat(vcf) -> None:
    assert site(vcf([record(("2", 233760234, "A", "ATA"), "0/1")]), "UGT1A1", REPEAT[1]).alleles == (
        "CAT",
        "CATAT",
    )


@pytest.mark.parametrize(
    ("second", "genotypes", "alleles", "phased"),
    [
        ((*REPEAT[:3], "CATATAT"), ("1/0", "0/1"), ("C", "CATATAT"), False),
        ((*REPEAT[:3], "CATATAT"), ("0/0", "0/1"), ("CATATAT", "CAT"), False),
        ((*REPEAT[:3], "CATATAT"), ("0|1", "1|0"), ("CATATAT", "C"), True),
        ((*REPEAT[:3], "CATATAT"), ("1/1", "0/1"), (), False),
        ((*REPEAT[:3], "CATATAT"), ("0|1", "0|1"), (), False),
        ((*REPEAT[:3], "C"), ("0/1", "0/1"), ("CAT", "C"), False),
        ((*REPEAT[:3], "C"), ("0/1", "1/1"), (), False),
        ((*REPEAT[:3], "C"), ("0/1", "./."), (), False),
        (("chr2", 233760233, "C", "."), ("0/1", "0/0"), ("CAT", "C"), False),
    ],
)
def test_two_records_of_one_position(
    vcf, second: Place, genotypes: tuple[str, str], alleles: tuple[str, ...], phased: bool
) -> None:
    first = record((*REPEAT[:3], "C"), genotypes[0])
    found = one(vcf([first, record(second, genotypes[1])]))
    here = found.sites["UGT1A1"][REPEAT[1]]
    assert sorted(here.alleles) == sorted(alleles) and (not phased or here.alleles == alleles)
    assert here.phased is phased
    assert any("contradict" in warning for warning in found.warnings) == (
        not alleles and "./." not in genotypes
    )


def test_a_record_at_the_place_counts_before_one_that_reaches_over_it(vcf) -> None:
    other = ("chr10", 94942289, "GC", "AT")
    own = record(STAR2, "0/1")
    assert site(vcf([record(other, "0/0"), own]), "CYP2C9", STAR2[1]).alleles == ("C", "T")
    assert site(vcf([record(other, "0/1"), own]), "CYP2C9", STAR2[1]).alleles == ("C", "T")
    assert "contradict" in site(vcf([record(other, "1/1"), own]), "CYP2C9", STAR2[1]).note


@pytest.mark.parametrize("length", [100, 5000, 300_000])
def test_a_long_ref_reaches_the_position_however_far_before_it_begins(vcf, length: int) -> None:
    # the last base of REF is that of the position, or of the one before it
    for last, note in (
        (STAR2[1], f"lies in the insertion or deletion {'N' * 20}... ({length} bases)>N at {{}}"),
        (STAR2[1] - 1, "no record"),
    ):
        pos = last - length + 1
        path = vcf([record(("chr10", pos, "N" * (length - 1) + "C", "N"), "0/1"), record(STAR3, "0/1")])
        assert site(path, "CYP2C9", STAR2[1]).note == note.format(pos)


@pytest.mark.parametrize("missing", get_args(MissingPolicy))
def test_a_deletion_over_a_position_is_not_its_reference(vcf, missing: MissingPolicy) -> None:
    before = record(("chr10", 94942285, "A" * 5 + "C" + "A" * 3, "A"), "0/1")
    small = site(vcf([before]), "CYP2C9", STAR2[1], missing)
    large = record(("chr10", 94900000, "N", "<DEL>"), "0/1", info="SVTYPE=DEL;END=94950000")
    structural = site(vcf([large]), "CYP2C9", STAR2[1], missing)
    assert not small.called and small.note == "lies in the insertion or deletion AAAAACAAA>A at 94942285"
    assert not structural.called and structural.note == "lies in <DEL> from 94900000 to 94950000"


# -------------------------------------------------------------------------------------- structural variants

CYP2D6 = ("chr22", 42123192, "N")  # before the gene; the tables' positions are from 42126578 to 42130782
WHOLE = "END=42145903"


@pytest.mark.parametrize(
    ("alt", "info", "fmt", "column", "texts"),
    [
        ("<DEL>", WHOLE, "GT", "0/1", ("<DEL> chr22:42123192-42145903",)),
        ("<DEL:ME:ALU>", WHOLE, "GT", "1/1", ("<DEL:ME:ALU> chr22:42123192-42145903",)),
        ("<DUP:TANDEM>", WHOLE, "GT", "./1", ("<DUP:TANDEM> chr22:42123192-42145903",)),
        ("<INV>", WHOLE, "GT", "1", ("<INV> chr22:42123192-42145903",)),
        ("<CN0>,<CN2>", WHOLE, "GT", "0|2", ("<CN2> chr22:42123192-42145903",)),
        ("<CN0>,<CN2>", WHOLE, "GT", "1|2", tuple(f"<CN{n}> chr22:42123192-42145903" for n in (0, 2))),
        ("<CNV>", WHOLE, "GT:CN", "./.:3", ("<CNV> chr22:42123192-42145903 (CN 3)",)),
        ("<DEL>", WHOLE, "CN", "1", ("<DEL> chr22:42123192-42145903 (CN 1)",)),
        # POS + SVLEN, of either sign (VCF 4.3, section 3, and 4.4); END counts before it
        ("<DEL>", "SVLEN=-22711", "GT", "0/1", ("<DEL> chr22:42123192-42145903",)),
        ("<DUP>", "SVTYPE=DUP;SVLEN=22711;X=1", "GT", "0/1", ("<DUP> chr22:42123192-42145903",)),
        ("<DEL>", "SVLEN=-5;END=42126578", "GT", "0/1", ("<DEL> chr22:42123192-42126578",)),
        ("<INS>,<DEL>", "SVLEN=9,3386", "GT", "0/2", ("<DEL> chr22:42123192-42126578",)),
        # not carried, failed, of no known kind, or beside the gene
        ("<DEL>", WHOLE, "GT:CN", "0/0:2", ()),
        ("<DEL>", WHOLE, "GT", "./.", ()),
        ("<CNV>", WHOLE, "GT:CN", "./.:2", ()),
        ("<DEL>", WHOLE, "GT:CN:FT", "0/1:1:LowQ", ()),
        ("C,<DEL>", WHOLE, "GT", "0/1", ()),
        ("<TRA>", "CHR2=chr5;" + WHOLE, "GT", "0/1", ()),
        ("<INS>", "SVLEN=22711", "GT", "0/1", ()),
        ("<DEL>", "SVLEN=.", "GT", "0/1", ()),
        ("<DEL>", "SVLEN=-3385", "GT", "0/1", ()),
    ],
)
def test_structural_variants_over_a_gene(
    vcf, alt: str, info: str, fmt: str, column: str, texts: tuple[str, ...]
) -> None:
    # a record in between: the line that reaches the gene is not the one before it
    between = record(("chr22", 42124000, "A", "T"), *["0/1"] * 2)
    path = vcf([record((*CYP2D6, alt), column, "0/0", info=info, fmt=fmt), between], ("S", "T"))
    read = read_vcf(path)
    if fmt == "CN":  # '0/0' is no number of copies
        assert list(read.errors) == ["T"]
    else:
        assert read.genotypes["T"].structural == {} and len(read.genotypes["T"].warnings) <= 1
    found = read.genotypes["S"]
    assert found.structural == ({"CYP2D6": texts} if texts else {})
    said = [warning for warning in found.warnings if warning.startswith("structural variants")]
    listed = ", ".join(f"CYP2D6 {text}" for text in texts)
    assert said == ([f"structural variants that are not interpreted: {listed}"] if texts else [])


@pytest.mark.parametrize("missing", get_args(MissingPolicy))
@pytest.mark.parametrize(
    ("info", "fmt", "column"), [("END=42128945", "GT", "0/1"), ("SVLEN=-5753", "GT:CN", "./.:1")]
)
def test_no_position_inside_a_structural_variant_becomes_reference(
    vcf, missing: MissingPolicy, info: str, fmt: str, column: str
) -> None:
    genotypes = one(vcf([record((*CYP2D6, "<DEL>"), column, info=info, fmt=fmt)]), missing)
    sites = genotypes.sites["CYP2D6"]
    inside = {pos for pos in sites if pos <= 42128945}
    assert len(inside) == 103 and 42128945 in inside  # counted with awk in variant_positions.csv
    assert not any(sites[pos].called for pos in inside)
    assert {sites[pos].note for pos in inside} == {"lies in <DEL> from 42123192 to 42128945"}
    outside = {sites[pos].origin for pos in sites if pos not in inside}
    assert outside == {Origin.ASSUMED_REFERENCE if missing == "force_reference" else Origin.MISSING}


def test_a_structural_variant_between_two_positions_is_over_the_gene(vcf) -> None:
    # no position of DPYD lies in these 10 kb of an intron
    assert not any(97200000 <= p.pos <= 97220000 for p in TABLES.positions("DPYD"))
    lines = [
        record(("chr1", 97210000, "R", "A"), "0/1"),  # far from every position, and not looked at
        record(("chr1", 97210001, "G", "<DEL>"), "0/1", info="END=97220000"),
        record(("chr1", 97500000, "G", "<INS:ME:L1>"), "0/1", info="SVLEN=6000;END=97500000"),
    ]
    found = one(vcf(lines)).structural
    assert found == {"DPYD": ("<DEL> chr1:97210001-97220000", "<INS:ME:L1> chr1:97500000-97500000")}


def test_a_segment_of_a_copy_number_file_is_no_gvcf_block(vcf) -> None:
    path = vcf([record((*CYP2D6, "."), "0/0:2", info=WHOLE, fmt="GT:CN")])
    assert not any(found.called for found in one(path).sites["CYP2D6"].values())


# ------------------------------------------------------------------------------------------ gVCF and policy


@pytest.mark.parametrize("alt", ["<NON_REF>", "<*>", "."])
def test_positions_in_a_block_are_reference(vcf, alt: str) -> None:
    columns = {"fmt": "GT:DP:GQ:MIN_DP", "info": "CIEND=1;END=94942300"}
    path = vcf([record(("chr10", 94938000, "G", alt), "0/0:30:60:21", **columns)])
    inside = [p for p in TABLES.positions("CYP2C9") if p.pos <= 94942300]
    sites = one(path).sites["CYP2C9"]
    assert {pos for pos, found in sites.items() if found.called} == {p.pos for p in inside}
    for position in inside:
        found = sites[position.pos]
        assert found.alleles == (position.ref, position.ref) and found.origin is Origin.GVCF_BLOCK
        assert (found.depth, found.quality) == (21, 60.0)


def test_a_variant_record_between_blocks(vcf) -> None:
    lines = [
        record(("chr10", 94942200, "G", "<NON_REF>"), "0/0:30", fmt="GT:DP", info="END=94942289"),
        record((*STAR2[:3], "T,<NON_REF>"), "0/1:30", fmt="GT:DP"),
        record(("chr10", 94942291, "G", "<NON_REF>"), "0/0:30", fmt="GT:DP", info="END=94942400"),
    ]
    sites = one(vcf(lines)).sites["CYP2C9"]
    assert sites[STAR2[1]].alleles == ("C", "T") and sites[94942309].alleles == ("G", "G")
    assert sites[STAR2[1]].origin is Origin.RECORD and sites[94942309].origin is Origin.GVCF_BLOCK


@pytest.mark.parametrize(
    ("column", "fmt", "policies"),
    [
        ("0/0:30", "GT:DP", {"missing", "reference", "force_reference"}),
        ("0/0:0", "GT:DP", {"reference", "force_reference"}),
        ("0/0:9:0", "GT:DP:MIN_DP", {"reference", "force_reference"}),
        (".", "DP", {"reference", "force_reference"}),
        ("0/0:9:0,0,0", "GT:DP:PL", {"reference", "force_reference"}),
        ("./.:0", "GT:DP", set()),
        ("0/1:9", "GT:DP", set()),
    ],
)
def test_what_each_policy_reads_from_a_block(vcf, column: str, fmt: str, policies: set[str]) -> None:
    path = vcf([record(("chr16", 31096000, "G", "<NON_REF>"), column, fmt=fmt, info="END=31097000")])
    for missing in get_args(MissingPolicy):
        genotypes = one(path, missing)
        found = genotypes.sites["VKORC1"][VKORC1[1]]
        assert found.alleles == (("C", "C") if missing in policies else ())
        asked = missing in policies and "missing" not in policies
        named = [warning for warning in genotypes.warnings if "on request only (gVCF" in warning]
        assert bool(named) == asked and all("VKORC1 31096368" in warning for warning in named)


def test_force_reference_says_how_much_it_assumed(vcf) -> None:
    path = vcf([record(STAR2, "0/1"), record(STAR3, "./.")])
    genotypes = one(path, "force_reference")
    origins = [found.origin for here in genotypes.sites.values() for found in here.values()]
    assert origins.count(Origin.ASSUMED_REFERENCE) == ALL - 2 and origins.count(Origin.MISSING) == 1
    assert genotypes.missing_policy == "force_reference"
    assert genotypes.warnings[0].startswith(f"{ALL - 2} positions are reference on request only (no record")


def test_an_unknown_policy_is_refused(vcf) -> None:
    with pytest.raises(ValueError, match="'assume'; use one of missing, reference, force_reference"):
        read_vcf(vcf([]), missing="assume")  # pyright: ignore[reportArgumentType]


# -------------------------------------------------------------------------------------------------- samples


def test_samples_are_read_in_the_order_asked_for(vcf) -> None:
    path = vcf([record(STAR2, "0/0", "0/1", "1/1")], ("A", "B", "C"))
    assert list(read_vcf(path).genotypes) == ["A", "B", "C"]
    chosen = read_vcf(path, ["C", "A"]).genotypes
    assert [g.sites["CYP2C9"][STAR2[1]].alleles for g in chosen.values()] == [("T", "T"), ("C", "C")]
    assert list(chosen) == [g.sample for g in chosen.values()] == ["C", "A"]
    with pytest.raises(UnknownSampleError, match="no sample 'D'; it has A, B, C"):
        read_vcf(path, ["A", "D"])


def test_a_text_is_the_name_of_one_sample(vcf) -> None:
    path = vcf([record(STAR2, "0/0", "0/1", "1/1")], ("N", "A", "NA"))
    assert list(read_vcf(path, "NA").genotypes) == ["NA"]
    with pytest.raises(UnknownSampleError, match="no sample 'NAN'"):
        read_vcf(path, "NAN")


@pytest.mark.parametrize(
    ("column", "fmt", "says"),
    [
        ("0/x", "GT", "field GT: '0/x' is no genotype"),
        ("0/2", "GT", "field GT: '0/2' names allele 2, the last one is 1"),
        ("0/1:many", "GT:DP", "field DP: 'many' is no number"),
        ("0/1:-3", "GT:GQ", "field GQ: '-3' is no number"),
        ("0/1:a,b,c", "GT:PL", "field PL: 'a,b,c' is no list"),
        ("0/1:0,-1,9", "GT:PL", "field PL: '0,-1,9' has a value that is no number of 0 or more"),
        ("0/1:0,inf,9", "GT:PL", "field PL: '0,inf,9' has a value that is no number of 0 or more"),
        ("0/1:0,nan,9", "GT:PL", "field PL: '0,nan,9' has a value that is no number of 0 or more"),
        ("0/1:0,1", "GT:PL", "field PL: '0,1' has 2 values, not the 3 of 2 alleles"),
        ("0/1:0,1,2,3,4,5", "GT:PL", "field PL: '0,1,2,3,4,5' has 6 values, not the 3 of 2 alleles"),
        ("0/1:x|1:7", "GT:PGT:PID", "field PGT: 'x|1' is no genotype"),
        ("0/1:3:4", "GT:DP", "field FORMAT: '0/1:3:4' has 3 values"),
    ],
)
def test_a_malformed_genotype_stops_that_sample_only(vcf, column: str, fmt: str, says: str) -> None:
    path = vcf([record(STAR2, "0/1", column, fmt=fmt), record(STAR3, "0/1", "0/1")], ("GOOD", "BAD"))
    found = read_vcf(path)
    assert list(found.genotypes) == ["GOOD"] and list(found.errors) == ["BAD"]
    assert found.genotypes["GOOD"].sites["CYP2C9"][STAR3[1]].called
    message = found.errors["BAD"]
    assert f"{path}, line 4, sample BAD, {says}" in message and "correct it" in message


# ---------------------------------------------------------------------------------------------- whole files


def bgzf(data: bytes) -> bytes:
    """Blocks as the SAM specification, section 4.1, has them, then the empty one."""
    blocks = []
    for part in [*(data[i : i + 500] for i in range(0, len(data), 500)), b""]:
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = packer.compress(part) + packer.flush()
        size = struct.pack("<H", len(body) + 25)
        tail = struct.pack("<II", zlib.crc32(part), len(part))
        blocks.append(b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0" + size + body + tail)
    return b"".join(blocks)


@pytest.mark.parametrize("contig", ["chr10", "10", "NC_000010.11"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bgzf])
def test_every_container_and_contig_name_gives_the_same(tmp_path: Path, contig: str, pack) -> None:
    lines = [record((contig, *place[1:]), "0/1") for place in (STAR2, STAR3)]
    path = tmp_path / "no_suffix"
    path.write_bytes(pack(text(lines).encode()))
    sites = one(path).sites["CYP2C9"]
    assert [pos for pos, found in sites.items() if found.called] == [STAR2[1], STAR3[1]]


@pytest.mark.parametrize(("pack", "cut"), [(gzip.compress, 30), (bgzf, 28), (bgzf, 60)])
def test_a_truncated_archive_is_an_error(tmp_path: Path, pack, cut: int) -> None:
    path = tmp_path / "x.vcf.gz"
    path.write_bytes(pack(text([record(STAR2, "0/1")] * 40).encode())[:-cut])
    with pytest.raises(VcfError, match=r"x\.vcf\.gz: truncated.*copy or write"):
        read_vcf(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("chr10\t1\n", r"line 1: expected '##fileformat=VCFv4.x', got 'chr10"),
        ("##fileformat=VCFv4.2\nchr10\t1\n", "line 2: expected the line '#CHROM'"),
        ("##fileformat=VCFv4.2\n", "no line '#CHROM'"),
        (text([], ()).replace("\tFORMAT\t", ""), "line 3: no sample"),
        (
            text([], ("A", "B", "A", "C", "B")),
            "line 3: more than one sample is called 'A', 'B'; rename them",
        ),
        (text([]).replace("\t", " "), "line 3: no tab behind '#CHROM'; the columns .* between tabs"),
        (
            text([record(STAR2, "0/1").replace("\t", "  ")]),
            "line 4: no tab in 'chr10  94942290 .*between tabs",
        ),
        (
            text([record(STAR2, "0/1"), record(STAR3, "0/1").replace("\t", " ")]),
            "line 5: no tab in 'chr10 94981296 .*between tabs",
        ),
        (
            text([record(STAR2, "0/1"), "chr10\t94981296 . A C\t.\t.\tGT\t0/1"]),
            "line 5, POS: '94981296 . A C' is no whole number; the columns .* between tabs",
        ),
        (
            "##fileformat=VCFv4.2\n" + record(STAR2, "0/1"),
            "line 2: expected the line '#CHROM' .* #CHROM, POS, ID, REF, ALT, QUAL, FILTER, INFO, FORMAT",
        ),
        (text([record(("chr3", 5, "A", "T"), "0/1")])[:-9], "truncated or damaged in line 4, the last one"),
        (text([record(STAR2, "0/1")])[:-9], "line 4: 8 columns, the header has 10; the line is cut"),
        (text([record(STAR2, "0/1") + "\tx"]), "line 4: 11 columns, the header has 10"),
        (text(["chr10\tx\t.\tC\tT\t.\t.\t.\tGT\t0/1"]), "line 4, POS: 'x' is no whole number"),
        (text([record((*STAR2[:2], "?", "T"), "0/1")]), r"line 4, REF: '\?' is no sequence"),
        (
            text([record(STAR3, "0/1"), record(STAR2, "0/1")]),
            "line 5: chr10:94942290 comes after chr10:94981296",
        ),
        (
            text([record(STAR2, "0/1"), record(VKORC1, "0/1"), record(STAR3, "0/1")]),
            "line 6: chr10 comes a second time.*bcftools sort",
        ),
    ],
)
def test_a_file_that_cannot_be_read_says_why_and_where(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "x.vcf"
    path.write_text(content)
    with pytest.raises(VcfError, match=says):
        read_vcf(path)


def test_a_missing_file_and_bcf(tmp_path: Path) -> None:
    with pytest.raises(VcfError, match="no file .*none.vcf"):
        read_vcf(tmp_path / "none.vcf")
    (tmp_path / "x.bcf").write_bytes(bgzf(b"BCF\2\2"))
    with pytest.raises(VcfError, match="BCF; write it as text with 'bcftools view'"):
        read_vcf(tmp_path / "x.bcf")


# -------------------------------------------------------------------------------------- build and reference

# lengths of chromosome 10: UCSC hg19.chrom.sizes and hg38.chrom.sizes
OLD, NEW = 135534747, 133797422


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f"##contig=<ID=chr10,length={OLD}>", f"contig chr10 is {OLD} bases long, which is GRCh37"),
        (f"##contig=<ID=10,length={OLD}>", f"contig 10 is {OLD} bases long, which is GRCh37"),
        ('##contig=<ID=chr10,species="Homo, sapiens",assembly=hg19>', "names the build hg19"),
        ("##contig=<ID=NC_000010.10>", r"NC_000010.10 is another build than NC_000010.11"),
        ("##contig=<ID=chr10,length=134758134>", "which is another build"),  # T2T-CHM13
        ("##reference=file:///ref/human_g1k_v37_decoy.fasta", "names the build _v37"),
        ("##reference=hs37d5.fa", "names the build hs37"),
        ("##assembly=GRCh37.p13", "names the build GRCh37"),
    ],
)
def test_another_build_in_the_header_is_refused(vcf, line: str, says: str) -> None:
    with pytest.raises(WrongBuildError, match=f"line 2.*{says}.*lift it over"):
        read_vcf(vcf([record(STAR2, "0/1")], head=(HEAD[0], line)))


@pytest.mark.parametrize(
    "line",
    [f"##contig=<ID=10,length={NEW}>", "##contig=<ID=chr1,assembly=GRCh38.p14>", "##contig=<ID=NC_000010.11>",
     "##reference=Homo_sapiens_assembly_hg38.fasta"],
)  # fmt: skip
def test_the_right_build_in_the_header_needs_no_warning(vcf, line: str) -> None:
    assert read_vcf(vcf([record(STAR2, "0/1")], head=(HEAD[0], line))).warnings == ()


def test_a_file_that_names_no_build_is_read_with_a_warning(vcf) -> None:
    unclear = "##reference=/lifted/hg19_to_GRCh38/genome.fa"
    for head in (HEAD[:1], (HEAD[0], unclear)):
        found = read_vcf(vcf([record(STAR2, "0/1")], head=head))
        assert len(found.warnings) == 1 and "does not name its build" in found.warnings[0]
        assert found.genotypes["S"].warnings == found.warnings


def test_a_known_variant_at_its_old_place_is_refused(vcf) -> None:
    # rs9923231 is at chr16:31107689 in GRCh37 and at chr16:31096368 in GRCh38 (dbSNP)
    lines = [record(("16", 31107689, "C", "T"), "0/1", id="rs1;rs9923231")]
    with pytest.raises(
        WrongBuildError, match="line 3, ID: rs9923231 at chr16:31107689 is its place in GRCh37"
    ):
        read_vcf(vcf(lines, head=HEAD[:1]))


def test_one_mismatch_leaves_the_position_missing_and_two_stop(vcf) -> None:
    wrong = [record((*STAR2[:2], "G", "T"), "0/1"), record(STAR3, "0/1")]
    found = read_vcf(vcf(wrong), missing="force_reference")
    sites = found.genotypes["S"].sites["CYP2C9"]
    assert sites[STAR2[1]].note == "REF differs from GRCh38" and not sites[STAR2[1]].called
    assert sites[STAR3[1]].alleles == ("A", "C")
    assert "line 4, REF: G at chr10:94942290, but GRCh38 has C at 94942290 (CYP2C9)" in found.warnings[0]
    wrong[1] = record((*STAR3[:2], "T", "C"), "0/1")
    with pytest.raises(ReferenceMismatchError, match="line 4, REF: G .* line 5, REF: T .* lift it over"):
        read_vcf(vcf(wrong))


def test_a_file_without_any_of_the_positions_says_so(vcf) -> None:
    found = read_vcf(vcf([record(("chr3", 5, "A", "T"), "0/1")]))
    assert found.warnings == (f"{found.file} has no record at any position of the tables",)


# ----------------------------------------------------------------------------------------------- real files


@needs_cases
def test_the_getrm_genotypes_are_those_of_the_file() -> None:
    path = SHARED_PGX / "cases" / "getrm" / "genotypes.vcf"
    found = read_vcf(path)
    samples: list[str] = []
    calls = unknown = 0
    for line in path.read_text().splitlines():
        columns = line.split("\t")
        if line.startswith("#CHROM"):
            samples = columns[9:]
        elif not line.startswith("#"):
            gene, pos = columns[7].removeprefix("GENE="), int(columns[1])
            alleles = [columns[3], *columns[4].split(",")]
            known = {p.pos: {p.ref, *p.alts} for p in TABLES.positions(gene)}[pos]
            for sample, cell in zip(samples, columns[9:], strict=True):
                expected = [alleles[int(i)] for i in cell.split(":")[0].split("/") if i != "."]
                here = found.genotypes[sample].sites[gene][pos]
                assert list(here.alleles) == expected
                calls += here.called
                unknown += not known.issuperset(expected)
    # counted with awk: 29,900 cells of which 1,654 are ./.; three carry an ALT that no definition has
    assert (len(samples), calls, unknown, found.errors, found.warnings) == (52, 28246, 3, {}, ())


@needs_cases
def test_the_example_sample_is_the_reference_wherever_it_has_a_record() -> None:
    genotypes = one(SHARED_PGX / "cases" / "example_sample" / "sample.vcf")
    with open(SHARED_PGX / "cases" / "example_sample" / "expected.csv", newline="") as handle:
        genes = {row["gene"] for row in csv.DictReader(handle)}
    assert genes == set(genotypes.sites) and genotypes.warnings == ()
    for gene, here in genotypes.sites.items():
        for position in TABLES.positions(gene):
            found = here[position.pos]
            assert found.alleles == (position.ref,) * 2 or not found.called
    # the file is of PharmCAT 3.1.1, and TPMT *45 and *47 are newer (README of the shared data)
    silent = {(gene, pos) for gene, here in genotypes.sites.items() for pos in here if not here[pos].called}
    assert silent == {("TPMT", 18130730), ("TPMT", 18149103)}


@pytest.mark.oracles
def test_an_index_gives_what_a_scan_gives(tmp_path: Path) -> None:
    pysam = pytest.importorskip("pysam")
    lines = [
        record(("chr10", 94900000, "N", "<NON_REF>"), "0/0:20", fmt="GT:DP", info="END=94942250"),
        record(STAR2, "0/1"),
        record(STAR3, "1/1"),
        record(VKORC1, "0/1"),
        record((*CYP2D6, "<DEL>"), "0/1", info=WHOLE),
    ]
    path = tmp_path / "x.vcf.gz"
    path.write_bytes(bgzf(text(lines).encode()))
    scanned = read_vcf(path)
    pysam.tabix_index(str(path), preset="vcf")
    indexed = read_vcf(path)
    assert Path(f"{path}.tbi").is_file() and indexed == scanned
    assert list(indexed.genotypes["S"].structural) == ["CYP2D6"]
    path.write_bytes(bgzf(text([record(STAR2, "0/x")]).encode()))
    pysam.tabix_index(str(path), preset="vcf", force=True)
    assert "record chr10:94942290, sample S, field GT: '0/x'" in read_vcf(path).errors["S"]


@pytest.mark.oracles
def test_an_index_that_does_not_know_svlen_is_left_aside(tmp_path: Path) -> None:
    pysam = pytest.importorskip("pysam")
    head = (*HEAD, '##INFO=<ID=SVLEN,Number=A,Type=Integer,Description="Length">')
    path = tmp_path / "x.vcf.gz"
    path.write_bytes(bgzf(text([record((*CYP2D6, "<DEL>"), "0/1", info="SVLEN=22711")], head=head).encode()))
    pysam.tabix_index(str(path), preset="vcf")
    assert one(path).structural == {"CYP2D6": ("<DEL> chr22:42123192-42145903",)}

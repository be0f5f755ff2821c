"""One call a gene: the VCF's, unless another laboratory's is given; what stays open stays open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from dosewright.pharmacogenomics import (
    TABLES,
    Diplotype,
    GeneCall,
    Genotypes,
    Origin,
    OutsideCall,
    OutsideCallError,
    Site,
    UnknownGroupError,
    call_genes,
    read_outside_calls,
)


def person(**changes: Mapping[int, tuple[str, ...]]) -> Genotypes:
    """Reference everywhere, but for what is given: gene -> position -> bases; () is missing."""
    sites = {
        gene: {
            position.pos: Site(bases, quality=60.0, origin=Origin.RECORD, note="") if bases else Site()
            for position in TABLES.positions(gene)
            for bases in [changes.get(gene, {}).get(position.pos, (position.ref, position.ref))]
        }
        for gene in TABLES.genes()
    }
    return Genotypes("NA1", sites, (), "x.vcf", "missing")


def outside(tmp_path: Path, text: str) -> tuple:
    path = tmp_path / "calls.tsv"
    path.write_text(text, encoding="utf-8")
    return read_outside_calls(path)


def calls(genotypes: Genotypes, *given, **options) -> dict[str, GeneCall]:
    return {call.gene: call for call in call_genes(genotypes, *given, **options)}


def test_every_gene_is_called_in_order_with_its_source() -> None:
    found = call_genes(person(), ancestry="European")
    assert [call.gene for call in found] == list(TABLES.genes())
    for call in found:
        assert call.origin == "VCF" and call.source == TABLES.source(call.gene)
    by_gene = {call.gene: call for call in found}
    assert str(by_gene["CYP2C19"].lookup) == "*38/*38"  # the sequence of GRCh38
    assert by_gene["CYP2C9"].keys == ("2.0",) and by_gene["CYP2C9"].score == "2.0"
    assert by_gene["VKORC1"].phenotype is None and by_gene["VKORC1"].keys == ()
    assert by_gene["CYP3A4"].posterior is None and "no frequencies" in " ".join(by_gene["CYP3A4"].notes)


def test_an_outside_call_wins_and_both_are_shown(tmp_path: Path) -> None:
    given = outside(tmp_path, "CYP2D6\t*3/*4\n")
    call = calls(person(), given, ancestry="European")["CYP2D6"]
    assert call.origin == "outside call" and [str(pair) for pair in call.diplotypes] == ["*3/*4"]
    assert (call.score, call.phenotype, call.keys) == ("0.0", "Poor Metabolizer", ("0.0",))
    assert call.match is not None and str(call.match.diplotype) == "*1/*1"
    assert call.notes[0] == "called elsewhere (line 1), which counts; the VCF shows *1/*1"


def test_a_phenotype_from_outside_needs_no_diplotype(tmp_path: Path) -> None:
    given = outside(tmp_path, "CYP2D6\t\t\t0.5\nCYP2C19\t\tPoor Metabolizer\n")
    found = calls(person(), given, ancestry="European")
    assert found["CYP2D6"].keys == ("0.5",) and found["CYP2D6"].lookup is None
    assert found["CYP2C19"].keys == ("Poor Metabolizer",) and found["CYP2C19"].diplotypes == ()


def test_a_phenotype_of_several_scores_leaves_them_all_open(tmp_path: Path) -> None:
    # CYP2C9 poor metabolizers have a score of 0 or 0.5, CYP2D6 ones of 0 [CPIC 1.56.0]
    given = outside(tmp_path, "CYP2C9\t\tPoor Metabolizer\nCYP2D6\t\tPoor Metabolizer\n")
    found = calls(person(), given)
    assert found["CYP2C9"].keys == ("0.0", "0.5") and found["CYP2D6"].keys == ("0.0",)


def test_a_missing_position_leaves_further_phenotypes_possible() -> None:
    # rs776746 (*3) was not called: *1/*1 is the only diplotype that scores, *3/*3 fits as well
    call = calls(person(CYP3A5={99672916: ()}), ancestry="European")["CYP3A5"]
    assert str(call.lookup) == "*1/*1" and call.keys == ("Normal Metabolizer",)
    could = {item.key: item for item in call.could_be}
    assert set(could) == {"Intermediate Metabolizer", "Poor Metabolizer"}
    assert could["Poor Metabolizer"].missing == (99672916,)
    assert str(could["Poor Metabolizer"].diplotype) == "*3/*3"
    everything = calls(person(), ancestry="European")["CYP3A5"]
    assert everything.could_be == ()


def test_tie_with_an_allele_without_function_is_no_possibility_of_its_own() -> None:
    # rs2306283 alone: *37, which has a function, and *52, *56 and *57, which have none [CPIC 1.56.0]
    gene = "SLCO1B1"
    silent = {
        position.pos: () for name in ("*52", "*56", "*57") for item in TABLES.definitions(gene)
        if item.name == name for position in TABLES.positions(gene)
        if position.pos in item.core and position.rsid != "rs2306283"
    }  # fmt: skip
    sites = carrying(gene, "*37", "*1")
    tied = calls(person(SLCO1B1={**sites, **silent}), ancestry="European")[gene]
    assert len(tied.diplotypes) > 1 and tied.keys == ()
    assert all(item.missing for item in tied.could_be)


def test_one_called_position_of_dpyd_excludes_no_score() -> None:
    silent = {position.pos: () for position in TABLES.positions("DPYD") if position.rsid != "rs1801265"}
    call = calls(person(DPYD=silent), ancestry="European")["DPYD"]
    assert str(call.lookup) == "Reference/Reference" and call.keys == ("2.0",)
    assert {item.key for item in call.could_be} == {"0.0", "0.5", "1.0", "1.5"}


def test_variants_on_one_chromosome_from_outside_are_looked_up_by_the_lowest(tmp_path: Path) -> None:
    given = outside(tmp_path, "DPYD\t[c.85T>C (*9A) + c.1905+1G>A (*2A)]/c.85T>C (*9A)\n")
    call = calls(person(), given)["DPYD"]
    assert call.score == "1.0" and str(call.lookup) == "c.85T>C (*9A)/c.1905+1G>A (*2A)"


def test_what_no_rule_reads_keeps_the_phenotype_that_is_given(tmp_path: Path) -> None:
    # CYP3A4*2 has no function in the tables; of two star alleles on one chromosome none is the lowest
    given = outside(tmp_path, "CYP3A4\t*1/*2\tPoor Metabolizer\nCYP2C19\t[*2 + *17]/*1\tPoor Metabolizer\n")
    found = calls(person(), given)
    for gene in ("CYP3A4", "CYP2C19"):
        assert found[gene].phenotype == "Poor Metabolizer" and found[gene].keys == ("Poor Metabolizer",)
    assert found["CYP2C19"].lookup is None
    assert any("no rule says which of several alleles" in note for note in found["CYP2C19"].notes)
    alone = calls(person(), outside(tmp_path, "CYP2C19\t[*2 + *17]/*1\n"))["CYP2C19"]
    assert alone.phenotype is None and alone.keys == ()


def test_two_outside_calls_of_a_gene_are_refused() -> None:
    first, second = (
        OutsideCall("CYP2C19", Diplotype("*1", star), None, None, i) for i, star in ((1, "*1"), (2, "*2"))
    )
    with pytest.raises(OutsideCallError, match="CYP2C19 has several outside calls .lines 1 and 2."):
        call_genes(person(), [first, second])


def test_structural_variants_of_the_file_are_named() -> None:
    reported = replace(person(), structural={"CYP2D6": ("<DEL> chr22:42120000-42132000",)})
    call = calls(reported, ancestry="European")["CYP2D6"]
    assert call.structural == ("<DEL> chr22:42120000-42132000",)
    assert any("<DEL> chr22:42120000-42132000 over CYP2D6, which is not interpreted" in n for n in call.notes)


def test_hla_comes_from_outside_only_one_key_for_each_allele(tmp_path: Path) -> None:
    given = outside(tmp_path, "HLA-B\t\t*15:02 negative\nHLA-B\t\t*57:01 positive\n")
    found = calls(person(), given)
    assert found["HLA-B"].keys == ("*15:02 negative", "*57:01 positive")
    assert found["HLA-B"].match is None and "HLA-B" not in calls(person())


def carrying(gene: str, one: str, other: str) -> dict[int, tuple[str, ...]]:
    """The unphased genotype of two alleles."""
    carried = {item.name: item.core for item in TABLES.definitions(gene)}
    refs = {position.pos: position.ref for position in TABLES.positions(gene)}
    return {pos: (carried[one].get(pos, ref), carried[other].get(pos, ref)) for pos, ref in refs.items()}


def test_a_tie_is_not_chosen_but_a_shared_phenotype_is_given() -> None:
    # without phase *5/*31 and *9/*15 show the same; all four have no function [CPIC 1.56.0]
    tied = calls(person(SLCO1B1=carrying("SLCO1B1", "*5", "*31")), ancestry="European")["SLCO1B1"]
    assert {str(pair) for pair in tied.diplotypes} == {"*5/*31", "*9/*15"} and tied.lookup is None
    assert tied.phenotype == "Poor Function" and tied.keys == ("Poor Function",)
    assert tied.posterior is not None
    known = tied.posterior.probability("*5/*31") + tied.posterior.probability("*9/*15")
    assert known > 0.9 and "2 diplotypes fit equally well" in tied.notes


def test_a_tie_with_two_phenotypes_stays_open() -> None:
    # *4/*15 (possible decreased function) or *5/*14 (decreased function) [PharmCAT 3.1.1, s5s14; CPIC 1.56.0]
    tied = calls(person(SLCO1B1=carrying("SLCO1B1", "*5", "*14")), ancestry="European")["SLCO1B1"]
    assert {str(pair) for pair in tied.diplotypes} == {"*4/*15", "*5/*14"}
    assert tied.phenotype is None
    assert set(tied.keys) == {"Possible Decreased Function", "Decreased Function"}


def test_a_gene_without_any_position_is_not_called_and_its_frequencies_are_still_known() -> None:
    silent = {position.pos: () for position in TABLES.positions("CYP3A5")}
    call = calls(person(CYP3A5=silent), ancestry="European")["CYP3A5"]
    assert call.origin == "not called" and call.phenotype is None and call.keys == ()
    assert "none of the 5 positions of CYP3A5 was called" in call.notes
    assert call.posterior is not None and call.posterior.positions_read == 0


def test_without_ancestry_every_group_counts_alike() -> None:
    silent = {position.pos: () for position in TABLES.positions("CYP3A5")}
    call = calls(person(CYP3A5=silent))["CYP3A5"]
    groups = TABLES.biogeographic_groups("CYP3A5")
    assert call.posterior is not None
    assert call.posterior.ancestry == pytest.approx({group: 1 / len(groups) for group in groups})
    with pytest.raises(UnknownGroupError, match="'Martian'.*use one of African"):
        call_genes(person(), ancestry="Martian")
    with pytest.raises(ValueError, match="add up to 0.4"):
        call_genes(person(), ancestry={"European": 0.4})


def test_an_allele_without_function_leaves_the_phenotype_open() -> None:
    # newer CYP2C9 alleles have a definition and no function yet [CPIC 1.56.0]
    star = next(
        item for item in TABLES.definitions("CYP2C9") if item.name not in TABLES.function_alleles("CYP2C9")
    )
    ((pos, base),) = star.core.items()
    ref = next(position.ref for position in TABLES.positions("CYP2C9") if position.pos == pos)
    call = calls(person(CYP2C9={pos: (ref, base)}), ancestry="European")["CYP2C9"]
    assert str(call.lookup) == f"*1/{star.name}" and call.phenotype is None and call.keys == ()
    assert any(f"{star.name!r} of CYP2C9 has no function" in note for note in call.notes)

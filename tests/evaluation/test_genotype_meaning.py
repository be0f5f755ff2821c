"""What a genotype means for a drug: the numbers of the guidelines, of the models, and what is not said."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dosewright.envs import scenario
from dosewright.evaluation.genotype.meaning import (
    DrugMeaning,
    default_drugs,
    drug_genes,
    drug_meaning,
    known_drugs,
    named_drug,
)
from dosewright.evaluation.genotype.model_dose import (
    OpenGenotypeError,
    model_dose,
    modelled_genotype,
    typical_person,
)
from dosewright.evaluation.genotype.statements import said, urgency
from dosewright.pharmacogenomics import (
    Diplotype,
    GeneCall,
    OutsideCall,
    UnknownDrugError,
    call_genes,
    published_rows,
    read_vcf,
    recommended_drugs,
)
from dosewright.pharmacogenomics.dpwg import dpwg_doses

CL, EC50 = {"*1": 0.174, "*2": 0.0879, "*3": 0.0422}, {"G": 2.05, "A": 0.96}  # Hamberg 2010


@pytest.fixture(scope="module")
def genotypes(vcf_text: Callable[..., str], variants: Mapping[str, str], tmp_path_factory):
    path = tmp_path_factory.mktemp("vcf") / "one.vcf"
    path.write_text(vcf_text({"one": variants}))
    return read_vcf(path).genotypes["one"]


@pytest.fixture(scope="module")
def calls(genotypes) -> tuple[GeneCall, ...]:
    outside = [OutsideCall("CYP2D6", Diplotype("*1", "*3"), None, None, 1)]
    return call_genes(genotypes, outside)


def kinds(meaning: DrugMeaning) -> list[str]:
    return [item.recommendation.action.kind for advice in meaning.advice for item in advice.answers]


def changed(calls: tuple[GeneCall, ...], gene: str, **fields) -> tuple[GeneCall, ...]:
    return tuple(replace(call, **fields) if call.gene == gene else call for call in calls)


def with_pair(calls: tuple[GeneCall, ...], gene: str, pair: str, phenotype: str) -> tuple[GeneCall, ...]:
    made = Diplotype.parse(pair)
    found = {"diplotypes": (made,), "lookup": made, "phenotype": phenotype, "origin": "outside call"}
    return changed(calls, gene, **found)


def test_every_drug_of_a_guideline_or_study_is_known_and_a_near_name_is_named() -> None:
    studied = {row.drug for row in published_rows()}
    assert {*recommended_drugs(), *studied, "warfarin", "vancomycin"} <= set(known_drugs())
    assert default_drugs() == tuple(
        name for name in ("busulfan", "docetaxel", "efavirenz", "fluorouracil", "mercaptopurine", "phenytoin",
                          "propofol", "tacrolimus", "vancomycin", "voriconazole", "warfarin")
        if scenario(name).model.genotype_terms
    )  # fmt: skip
    assert drug_genes("warfarin") == ("CYP2C9", "CYP4F2", "VKORC1")
    with pytest.raises(UnknownDrugError, match="'warfarine'; did you mean warfarin"):
        named_drug("warfarine")


def test_relative_dose_of_warfarin_is_that_of_clearance_times_ec50(calls: tuple[GeneCall, ...]) -> None:
    meaning = drug_meaning("Warfarin", calls)
    assert meaning.model is not None and meaning.no_model == ""
    ratio = {item.name: item.ratio for item in meaning.model.changes}
    clearance, ec50 = (CL["*1"] + CL["*3"]) / (2 * CL["*1"]), (EC50["G"] + EC50["A"]) / (2 * EC50["G"])
    assert ratio == {"CL": pytest.approx(clearance), "EC50": pytest.approx(ec50)}
    # at steady state the INR follows dose / (CL · EC50); after 45 days next to nothing is missing from it
    assert meaning.model.multiplier == pytest.approx(clearance * ec50, rel=2e-3)
    assert meaning.model.courses[1].multiplier == pytest.approx(1, abs=1e-6)
    assert [course.role for course in meaning.model.courses] == ["this person", "reference", "highest"]
    assert meaning.model.courses[2].genotypes == {"CYP2C9": "*3/*3", "VKORC1": "AA"}


def test_giving_the_relative_dose_brings_the_genotype_where_the_reference_is() -> None:
    tacrolimus = scenario("tacrolimus")
    made = model_dose(tacrolimus, {"CYP3A5": Diplotype("*1", "*3"), "CYP3A4": Diplotype("*1", "*1")})
    own, reference = made.courses[:2]
    # CPIC gives the usual dose to those who do not express CYP3A5, Andrews 2019: they clear 1/1.63 as fast
    assert reference.genotypes == {"CYP3A5": "*3/*3", "CYP3A4": "*1/*1"} and "CPIC" in made.reference_reason
    assert {item.name: item.ratio for item in made.changes} == {"CL": pytest.approx(1.631, abs=0.001)}
    assert own.settled < reference.settled
    # linear: the level is in proportion to the dose
    assert reference.settled / own.settled == pytest.approx(made.multiplier, rel=1e-4)
    assert np.nanmean(own.values[-45:]) == own.settled and len(own.values) == len(made.days) == 91


def test_fluorouracil_follows_the_activity_score(calls: tuple[GeneCall, ...]) -> None:
    meaning = drug_meaning("fluorouracil", calls)
    assert meaning.model is not None
    assert meaning.model.multiplier == pytest.approx(0.75, rel=1e-4)  # score 1.5 of 2
    assert [(item.group, item.percent) for item in meaning.dpwg] == [("activity score 1.5", (50.0, 50.0))]
    (advice,) = meaning.advice
    (found,) = advice.answers
    assert advice.settled and found.results == {"DPYD": "1.5"}
    assert found.recommendation.action.fraction == (0.5, 0.5)
    none = with_pair(calls, "DPYD", "c.1905+1G>A (*2A)/c.1905+1G>A (*2A)", "Poor Metabolizer")
    refused = drug_meaning("fluorouracil", changed(none, "DPYD", score="0.0", keys=("0.0",)))
    assert refused.model is None and "must not be given" in refused.no_model
    assert [item.percent for item in refused.dpwg] == [(0.0, 0.0)]


def test_flow_chart_is_for_a_stated_person_on_both_branches(calls: tuple[GeneCall, ...]) -> None:
    white, black = drug_meaning("warfarin", calls).chart
    for ancestry, branches in (
        ("European", ["not African"]),
        ("Sub-Saharan African", ["African"]),
        ({"European": 0.5, "Sub-Saharan African": 0.5}, ["not African", "African"]),
    ):
        found = drug_meaning("warfarin", calls, ancestry=ancestry).chart
        assert [item.ancestry for item in found] == branches
    person = typical_person(scenario("warfarin")).covariates
    # IWPC 2009: square root of the weekly dose
    root = (
        5.6044
        - 0.2614 * (person["age_y"] // 10)
        + 0.0087 * person["height_cm"]
        + 0.0128 * person["weight_kg"]
    )
    assert white.dose is not None and white.dose.weekly_mg == pytest.approx((root - 0.9357 - 0.8677) ** 2)
    assert white.ratio == pytest.approx(((root - 0.9357 - 0.8677) / root) ** 2)
    assert f"{person['age_y']:g} years" in white.person
    assert black.dose is not None and black.dose.strength == "moderate"
    assert any("rs12777823 is not known" in warning for warning in black.dose.warnings)


@pytest.mark.parametrize(
    ("drug", "gene", "pair", "phenotype", "percent"),
    [
        ("phenytoin", "CYP2C9", "*1/*3", "Intermediate Metabolizer", [(75.0, 75.0)]),
        ("warfarin", "CYP2C9", "*1/*3", "Intermediate Metabolizer", []),  # DPWG: no change
        ("warfarin", "CYP2C9", "*1/*5", "Intermediate Metabolizer", [(65.0, 65.0)]),  # an "other IM"
        ("warfarin", "CYP2C9", "*2/*3", "Poor Metabolizer", [(45.0, 45.0)]),
        ("tacrolimus", "CYP3A5", "*1/*1", "Normal Metabolizer", [(250.0, 250.0)]),
        ("irinotecan", "UGT1A1", "*28/*28", "Poor Metabolizer", [(70.0, 70.0)]),
        ("irinotecan", "UGT1A1", "*6/*6", "Poor Metabolizer", [(70.0, 70.0)]),
        ("irinotecan", "UGT1A1", "*1/*1", "Normal Metabolizer", []),
    ],
)  # fmt: skip
def test_dpwg_rows_are_those_of_the_genotype(
    calls: tuple[GeneCall, ...], drug: str, gene: str, pair: str, phenotype: str, percent: list
) -> None:
    found = drug_meaning(drug, with_pair(calls, gene, pair, phenotype))
    assert [item.percent for item in found.dpwg if item.gene == gene] == percent
    assert any(f"for {gene} " in text for text in found.no_dpwg) == (not percent)


def test_every_group_that_dpwg_names_can_be_told() -> None:
    from dosewright.evaluation.genotype.meaning import _DPWG_GROUPS

    for drug in {row.drug for row in published_rows()} | set(recommended_drugs()) | {"warfarin"}:
        for row in dpwg_doses(drug):
            parts = row.group.partition(",")[0].split(" or ")
            assert all(any(pattern.fullmatch(part) for pattern, _ in _DPWG_GROUPS) for part in parts), row


def test_inhibitor_takes_less_from_who_has_less_of_the_enzyme(calls: tuple[GeneCall, ...]) -> None:
    (found,) = drug_meaning("warfarin", calls, ["fluconazole"]).interactions
    fm, r, a = 1 - CL["*3"] / CL["*1"], (CL["*1"] + CL["*3"]) / (2 * CL["*1"]), 0.5
    assert (found.gene, found.strength, found.inhibition) == ("CYP2C9", "moderate", (0.5, 0.8))
    assert found.clearance == pytest.approx([1 - fm * a * lost / r for lost in (0.8, 0.5)])
    assert found.reference_clearance == pytest.approx([1 - fm * lost for lost in (0.8, 0.5)])
    none = drug_meaning("warfarin", calls, ["paroxetine"])
    assert none.interactions == () and "does not link paroxetine with CYP2C9" in none.no_interaction[0]
    with pytest.raises(UnknownDrugError, match="did you mean fluconazole"):
        drug_meaning("warfarin", calls, ["fluconazol"])


@pytest.mark.parametrize(
    ("drug", "outside", "also", "kind"),
    [  # every row of CPIC for the one gene says the same, whatever the other is
        ("phenytoin", OutsideCall("HLA-B", None, "*15:02 positive", None, 1), (), "avoid"),
        ("codeine", None, ("paroxetine",), "avoid"),  # a strong inhibitor leaves no activity
    ],
)
def test_open_gene_holds_nothing_up_that_it_cannot_change(
    calls: tuple[GeneCall, ...], genotypes, drug: str, outside: OutsideCall | None, also: tuple, kind: str
) -> None:
    given = call_genes(genotypes, [] if outside is None else [outside])
    for gene in ("CYP2C9", "CYP2D6"):
        given = changed(given, gene, origin="not called", keys=(), lookup=None, diplotypes=(), could_be=())
    first, *_ = drug_meaning(drug, given, also).advice
    assert first.settled and first.answers[0].recommendation.action.kind == kind


def test_open_copy_number_under_an_inhibitor_is_looked_up_by_what_it_may_be(genotypes) -> None:
    # half of ≥4.0: 2.0 is a normal metabolizer's, 2.5 and more an ultrarapid one's [Caudle 2020]
    outside = [OutsideCall("CYP2D6", Diplotype("*1", "*1x≥3"), None, None, 1)]
    (advice,) = drug_meaning("codeine", call_genes(genotypes, outside), ["duloxetine"]).advice
    assert {item.recommendation.action.kind for item in advice.answers} == {"usual", "avoid"}


def test_dpwg_is_not_quoted_for_an_enzyme_that_is_inhibited(calls: tuple[GeneCall, ...], genotypes) -> None:
    outside = [OutsideCall("CYP2D6", Diplotype("*1", "*1x2"), None, None, 1)]
    given = call_genes(genotypes, outside)
    alone, beside = (drug_meaning("doxepin", given, also) for also in ((), ("paroxetine",)))
    assert [item.percent for item in alone.dpwg if item.gene == "CYP2D6"] == [(200.0, 200.0)]
    assert [item for item in beside.dpwg if item.gene == "CYP2D6"] == []
    assert any("without an inhibitor" in text for text in beside.no_dpwg)


def test_two_variant_alleles_that_a_model_counts_as_one_are_named(calls: tuple[GeneCall, ...]) -> None:
    # Gebhard 2023 has a term for at least one variant allele of TPMT
    model = drug_meaning("mercaptopurine", with_pair(calls, "TPMT", "*3A/*3A", "Poor Metabolizer")).model
    assert model is not None and model.indistinct == ("the model does not tell TPMT *3A/*3A from *1/*3A",)
    warfarin = drug_meaning("warfarin", with_pair(calls, "CYP2C9", "*3/*3", "Poor Metabolizer")).model
    assert warfarin is not None and warfarin.indistinct == ()


def test_interacting_drug_that_nothing_counts_is_said(calls: tuple[GeneCall, ...]) -> None:
    last = said(drug_meaning("warfarin", calls, ["fluconazole"], "European"))[-1]
    assert last.startswith(
        "Fluconazole is a moderate inhibitor of CYP2C9, which nothing above counts: it takes"
    )
    weak = said(drug_meaning("codeine", calls, ["celecoxib"]))
    assert not any("inhibitor" in text for text in weak[1:])


def test_warfarin_ranks_by_its_dose(calls: tuple[GeneCall, ...]) -> None:
    def rank(pair: str, phenotype: str, also: tuple[str, ...] = ()) -> tuple[tuple[int, int], str]:
        return urgency(
            drug_meaning("warfarin", with_pair(calls, "CYP2C9", pair, phenotype), also, "European")
        )

    assert rank("*3/*3", "Poor Metabolizer")[1].startswith("consider another drug; × ")
    # IWPC: VKORC1 A/G alone takes 0.8677 off the root of the weekly dose
    assert rank("*1/*1", "Normal Metabolizer")[1].startswith("× 0.7")
    assert rank("*3/*3", "Poor Metabolizer")[0] < rank("*1/*1", "Normal Metabolizer")[0]


def test_score_of_cyp2d6_falls_and_the_recommendation_with_it(calls: tuple[GeneCall, ...]) -> None:
    alone, beside = (drug_meaning("codeine", calls, also) for also in ([], ["paroxetine"]))
    assert kinds(alone) == ["usual"] and kinds(beside) == ["avoid"]
    itself = drug_meaning("paroxetine", calls, ["Paroxetine"])  # the drug is not one that is taken too
    assert itself.interactions == () and itself.advice[0].answers[0].results == {"CYP2D6": "1.0"}
    (found,) = beside.interactions
    assert (found.score, found.phenotype, found.inhibition) == ("0.0", "Poor Metabolizer", None)


def test_missing_gene_and_tie_are_said_and_never_filled_in(
    calls: tuple[GeneCall, ...], genotypes, vcf_text: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "without.vcf"
    path.write_text(vcf_text({"one": {}}, without=("CYP2C9", "CYP3A5")))
    lacking = call_genes(read_vcf(path).genotypes["one"])
    tacrolimus, warfarin = (drug_meaning(drug, lacking) for drug in ("tacrolimus", "warfarin"))
    assert kinds(tacrolimus) == [] and "CYP3A5" in tacrolimus.advice[0].reasons[0]
    assert tacrolimus.model is None and "CYP3A5 was not tested" in tacrolimus.no_model
    assert "CYP2C9 was not tested" in warfarin.open_genes["CYP2C9"]
    assert warfarin.chart[0].dose is not None
    assert any("CYP2C9 is not known" in text for text in warfarin.chart[0].dose.warnings)
    assert drug_meaning("phenytoin", calls).open_genes.keys() == {"HLA-B"}
    pairs = (Diplotype("*1", "*6"), Diplotype("*4", "*9"))
    keys = ("Intermediate Metabolizer", "Poor Metabolizer")
    tied = changed(calls, "CYP2B6", diplotypes=pairs, lookup=None, phenotype=None, keys=keys)
    efavirenz = drug_meaning("efavirenz", tied)
    assert efavirenz.open_genes == {"CYP2B6": "CYP2B6 stays open: *1/*6 or *4/*9 fit alike"}
    assert efavirenz.model is None
    # CPIC efavirenz 2019, PMID 31006110: 400 mg, and 400 or 200 mg; neither is chosen
    (adult,) = efavirenz.advice
    assert not adult.settled and adult.reasons == ()
    assert [item.results["CYP2B6"] for item in adult.answers] == list(keys)
    first = said(efavirenz)[0]
    assert first.startswith(
        "CPIC (children of more than 40 kg and adults): what stays open decides. CYP2B6 stays open: *1/*6 or "
        "*4/*9 fit alike. CYP2B6 Intermediate Metabolizer (Moderate): "
    )
    assert "400 mg/day" in first and "CYP2B6 Poor Metabolizer (Moderate): " in first
    assert urgency(efavirenz)[1] == "open; lower dose (Moderate) is possible"
    with pytest.raises(OpenGenotypeError, match=r"\*1/\*6 or \*4/\*9"):
        modelled_genotype(next(call for call in tied if call.gene == "CYP2B6"))


def test_tie_with_one_phenotype_is_looked_up_all_the_same(calls: tuple[GeneCall, ...]) -> None:
    tied = changed(
        calls, "CYP2B6", diplotypes=(Diplotype("*1", "*6"), Diplotype("*1", "*42")), lookup=None,
        phenotype="Intermediate Metabolizer", keys=("Intermediate Metabolizer",), posterior=None,
    )  # fmt: skip
    found = drug_meaning("efavirenz", tied)
    assert all(advice.settled for advice in found.advice)
    assert found.advice[0].answers[0].results == {"CYP2B6": "Intermediate Metabolizer"}
    assert found.open_genes == {} and found.model is None


def test_population_is_named_where_the_rows_are_not_for_all(calls: tuple[GeneCall, ...]) -> None:
    # CPIC's rows of efavirenz are not for the children of the model, PMID 31006110
    first = said(drug_meaning("efavirenz", calls))[0]
    assert first.startswith(
        "CPIC (Strong; children of more than 40 kg and adults): Give efavirenz at the usual"
    )
    assert said(drug_meaning("codeine", calls))[0].startswith(
        "CPIC (Moderate): Give codeine at the usual dose"
    )


def test_phenotype_alone_is_looked_up_by_every_score_it_may_have(genotypes) -> None:
    # CYP2C9 poor metabolizers have 0 or 0.5 [CPIC 1.56.0], and phenytoin's rows say the same of both
    outside = [OutsideCall("CYP2C9", None, "Poor Metabolizer", None, 1)]
    calls = call_genes(genotypes, outside)
    assert next(call for call in calls if call.gene == "CYP2C9").keys == ("0.0", "0.5")
    naive, _ = drug_meaning("phenytoin", calls).advice
    assert naive.settled and naive.answers[0].results == {"CYP2C9": "0.0 or 0.5", "HLA-B": "No Result"}
    assert naive.answers[0].recommendation.action.fraction == (0.5, 0.5)  # PMID 32779747
    chart = drug_meaning("warfarin", calls, (), "European").chart[0]
    assert chart.dose is not None and not chart.dose.pharmacogenetic and "poor metaboliser" in chart.notes[0]
    # NUDT15 untested has a row of its own; a result that stays open must never be looked up by it
    no_call = changed(calls, "NUDT15", origin="not called", keys=(), lookup=None, diplotypes=())
    (several,) = drug_meaning("mercaptopurine", no_call).advice
    keys = {item["NUDT15"] for answer in several.answers for item in answer.lookups}
    assert not several.settled and "NUDT15 was not called" in several.open_genes["NUDT15"]
    assert {"Normal Metabolizer", "Poor Metabolizer"} <= keys and "No Result" not in keys


def test_nothing_is_built_on_a_result_that_is_improbable(
    vcf_text: Callable[..., str], tmp_path: Path
) -> None:
    # without rs776746 CYP3A5 *1/*1 fits best; of Europeans 0.6 % have it [CPIC 1.56.0: *3 0.92]
    path = tmp_path / "gap.vcf"
    path.write_text("\n".join(x for x in vcf_text({"one": {}}).splitlines() if "rs776746" not in x) + "\n")
    calls = call_genes(read_vcf(path).genotypes["one"], ancestry="European")
    call = next(call for call in calls if call.gene == "CYP3A5")
    assert str(call.lookup) == "*1/*1" and call.probability is not None and call.probability < 0.02
    tacrolimus = drug_meaning("tacrolimus", calls)
    # every phenotype that is probable is looked up, and none is chosen [CPIC tacrolimus 2015]
    assert set(kinds(tacrolimus)) == {"usual", "increase"} and not tacrolimus.advice[0].settled
    assert tacrolimus.model is None and tacrolimus.dpwg == () and tacrolimus.unsettled == ("CYP3A5",)
    assert "Normal Metabolizer fits best, but has probability" in tacrolimus.open_genes["CYP3A5"]
    # where the missing position is unlikely to matter the rest of what it could be is shown
    path.write_text("\n".join(x for x in vcf_text({"one": {}}).splitlines() if "rs3918290" not in x) + "\n")
    calls = call_genes(read_vcf(path).genotypes["one"], ancestry="European")
    (advice,) = drug_meaning("fluorouracil", calls).advice
    assert advice.settled and advice.answers[0].recommendation.action.kind == "usual"
    # one or two copies of *2A (activity 0): PMID 29152729
    assert {item.results["DPYD"]: item.recommendation.action.kind for item in advice.otherwise} == {
        "1.0": "reduce", "0.0": "avoid"
    }  # fmt: skip
    other = said(drug_meaning("fluorouracil", calls))[1]
    assert other.startswith(
        "CPIC says something else for results that are not excluded. DPYD 0.0 (Strong): A"
    )
    assert drug_meaning("fluorouracil", calls).unsettled == ("DPYD",)


def test_equation_takes_amiodarone_and_inducers_and_says_what_it_does_not_take(
    calls: tuple[GeneCall, ...],
) -> None:
    alone, beside = (
        drug_meaning("warfarin", calls, also, "European").chart[0]
        for also in ([], ["amiodarone", "fluconazole"])
    )
    assert alone.dose is not None and beside.dose is not None
    # IWPC 2009: amiodarone takes 0.5503 off the square root of the weekly dose
    assert alone.dose.weekly_mg**0.5 - beside.dose.weekly_mg**0.5 == pytest.approx(0.5503)
    assert (alone.counted, beside.counted) == ((), ("amiodarone",))
    assert alone.notes == () and beside.notes == ("no equation counts fluconazole: not adjusted for",)


def test_warfarin_without_the_first_alleles_of_cyp2c9_is_dosed_clinically(
    vcf_text: Callable[..., str], variants: Mapping[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "gap.vcf"
    text = vcf_text({"one": {}}).splitlines()
    path.write_text("\n".join(line for line in text if "rs1799853" not in line) + "\n")
    # *2: 13 % of European alleles, 0.2 % of East Asian ones [CPIC 1.56.0]; the chart needs it either way
    for ancestry, why in (("European", "but has probability"), ("East Asian", "*2 or *3 is not excluded")):
        calls = call_genes(read_vcf(path).genotypes["one"], ancestry=ancestry)
        warfarin = drug_meaning("warfarin", calls, (), ancestry)
        (chart,) = warfarin.chart
        assert chart.dose is not None and not chart.dose.pharmacogenetic
        assert why in warfarin.open_genes["CYP2C9"] and warfarin.model is None


def test_result_of_hla_given_from_outside_is_used(genotypes) -> None:
    outside = [OutsideCall("HLA-B", None, "*15:02 positive", None, 1)]
    naive = drug_meaning("phenytoin", call_genes(genotypes, outside)).advice[0].answers[0]
    assert naive.results["HLA-B"] == "*15:02 positive" and naive.recommendation.action.kind == "avoid"
    # a result for another allele is none for this drug
    other = [OutsideCall("HLA-B", None, "*57:01 positive", None, 1)]
    naive = drug_meaning("phenytoin", call_genes(genotypes, other)).advice[0].answers[0]
    assert naive.results["HLA-B"] == "No Result"


def test_allele_read_by_its_function_is_an_assumption(calls: tuple[GeneCall, ...]) -> None:
    meaning: DrugMeaning = drug_meaning("voriconazole", calls)  # GRCh38 is CYP2C19*38
    assert meaning.model is not None
    assert [(item.allele, item.stands_for, item.flag) for item in meaning.model.readings] == [
        ("*38", "*1", "ASSUMPTION")
    ]
    warfarin = drug_meaning("warfarin", calls).model
    assert warfarin is not None and warfarin.readings == ()


def test_drug_without_genes_or_model_says_so(calls: tuple[GeneCall, ...]) -> None:
    vancomycin, codeine = (drug_meaning(drug, calls) for drug in ("vancomycin", "codeine"))
    assert vancomycin.genes == () and "no genotype term" in vancomycin.no_model
    assert (
        "no recommendations" in vancomycin.no_guideline
        and codeine.no_model == "there is no model of codeine here"
    )

"""Look-up of CPIC's recommendations, and their reading as structure."""

import csv
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import conformance, pgx_tables
from benchmarks.pgx_cases import sites, structure_faults
from benchmarks.pgx_recommendations import actions, carried, errata, lookups, reading, texts
from dosewright.pharmacogenomics.actions import NO_RESULT, row_index, source_rows
from dosewright.pharmacogenomics.alleles import Diplotype
from dosewright.pharmacogenomics.calls import call_genes
from dosewright.pharmacogenomics.dpwg import dpwg_doses
from dosewright.pharmacogenomics.literature import UnknownDrugError
from dosewright.pharmacogenomics.recommendation import (
    MissingGeneError,
    NoGuidelineError,
    UnlistedKeyError,
    lookup_genes,
    population_words,
    populations,
    recommend,
    recommended_drugs,
)
from dosewright.pharmacogenomics.sites import Genotypes
from dosewright.pharmacogenomics.tables import TABLES
from dosewright.pharmacogenomics.wording import sentences

SHARED_PGX = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "pgx"
needs_shared = pytest.mark.skipif(not SHARED_PGX.is_dir(), reason="../shared is absent")
ROWS = [row for drug in recommended_drugs() for row in source_rows(drug)]

# ------------------------------------------------------------------------------------------- single genes


@pytest.mark.parametrize(
    ("diplotype", "key", "kind", "classification"),
    [  # CPIC opioid guideline 2021, PMID 33387367, table 2
        ("*4/*4", "0.0", "avoid", "Strong"),
        ("*1/*4", "1.0", "usual", "Moderate"),
        ("*1/*1", "2.0", "usual", "Strong"),
        ("*1x2/*1", "3.0", "avoid", "Strong"),
        ("*1x≥3/*1", "≥4.0", "avoid", "Strong"),
    ],
)
def test_codeine_by_activity_score(diplotype: str, key: str, kind: str, classification: str) -> None:
    found = recommend("Codeine", {"CYP2D6": diplotype, "CYP2C19": "*1/*2"})
    assert dict(found.lookup) == {"CYP2D6": key}
    assert (found.action.kind, found.classification) == (kind, classification)
    assert "PMID 33387367 (2021)" in str(found.row)
    assert found.row.date == "2023-08"
    assert found.source == TABLES.source("CYP2D6")


def test_fractions_limits_and_flags() -> None:
    # CPIC tacrolimus 2015 (PMID 25801146): expressers 1.5 to 2 times, at most 0.3 mg/kg/day
    tacrolimus = recommend("tacrolimus", {"CYP3A5": "*1/*3"}).action
    assert (tacrolimus.kind, tacrolimus.fraction) == ("increase", (1.5, 2.0))
    assert (tacrolimus.absolute_max, tacrolimus.absolute_unit) == (0.3, "mg/kg/day")
    assert tacrolimus.flags == {"monitor"}
    # CPIC statins 2022 (PMID 35152405): simvastatin below 20 mg/day, lovastatin up to 20 mg/day
    simvastatin = recommend("simvastatin", {"SLCO1B1": "*1/*5"}).action
    lovastatin = recommend("lovastatin", {"SLCO1B1": "*1/*5"}).action
    assert (simvastatin.absolute_max, simvastatin.below) == (20, True)
    assert (lovastatin.absolute_max, lovastatin.below) == (20, False)
    assert simvastatin.flags == {"alternative"}
    # CPIC SSRI 2023 (PMID 37032427): half of both doses
    paroxetine = recommend("paroxetine", {"CYP2D6": "*4/*4"}).action
    assert (paroxetine.fraction, paroxetine.fraction_of) == ((0.5, 0.5), "starting and maintenance")
    assert paroxetine.flags == {"titrate"}


def test_no_recommendation_stays_that() -> None:
    venlafaxine = recommend("venlafaxine", {"CYP2D6": "*1/*4"})
    assert (venlafaxine.action.kind, venlafaxine.classification) == ("no recommendation", "No Recommendation")
    assert venlafaxine.action.fraction is None
    assert venlafaxine.text == "CPIC gives no recommendation for venlafaxine with these results."
    # CPIC gives a strength to some rows without recommendation: it is kept
    imipramine = recommend("imipramine", {"CYP2D6": "*1/*1"}, keys={"CYP2C19": "Indeterminate"})
    assert (imipramine.action.kind, imipramine.classification) == ("no recommendation", "Strong")


def test_populations_have_their_own_rows() -> None:
    assert populations("clopidogrel") == ("CVI non-ACS non-PCI", "NVI", "CVI ACS PCI")
    kinds = [
        recommend("clopidogrel", {"CYP2C19": "*1/*2"}, population).action.kind
        for population in populations("clopidogrel")
    ]
    assert kinds == ["no recommendation", "consider alternative", "avoid"]  # PMID 35034351
    adult, child = (
        recommend("voriconazole", {"CYP2C19": "*1/*17"}, population).action.kind
        for population in populations("voriconazole")
    )
    assert (adult, child) == ("alternative", "usual")  # PMID 27981572


def test_the_only_population_of_a_drug_is_picked_and_named() -> None:
    found = recommend("efavirenz", {"CYP2B6": "*6/*6"})  # PMID 31006110: rows for over 40 kg only
    assert found == recommend("efavirenz", {"CYP2B6": "*6/*6"}, "general")
    assert (found.population, found.action.absolute_max) == ("child >40kg_adult", 400)
    assert found.notes == (
        "the recommendations for efavirenz are for children of more than 40 kg and adults",
    )
    assert recommend("efavirenz", {"CYP2B6": "*6/*6"}, "child >40kg_adult").notes == ()


def test_every_population_has_plain_words() -> None:
    codes = {code for drug in recommended_drugs() for code in populations(drug)}
    words = {code: population_words(code) for code in codes}
    assert len(codes) == len(set(words.values())) == 9
    for text in words.values():
        assert not re.search(r"\b(CVI|NVI|ACS|PCI|PHT|naive)\b|[>_]|mos\b", text)
    assert words["CVI ACS PCI"] == "acute coronary syndrome or percutaneous coronary intervention"
    assert words["PHT naive"] == "no phenytoin before"
    with pytest.raises(NoGuidelineError, match="'OXC naive'; use one of 'general'"):
        population_words("OXC naive")


# ------------------------------------------------------------------------------------------ several genes


def test_both_genes_of_thiopurines_count() -> None:
    # CPIC update 2024 (PMID 38230823): 20 to 50 % when both are intermediate
    both = recommend("mercaptopurine", {"TPMT": "*1/*3A", "NUDT15": "*1/*3"})
    assert both.action.fraction == (0.2, 0.5)
    assert both.row.date == "2024-03-20"
    one = recommend("mercaptopurine", {"TPMT": "*1/*3A", "NUDT15": "*1/*1"})
    assert one.action.fraction == (0.3, 0.8)  # PMID 30447069
    assert any("2026-02" in note for note in one.notes)


def test_thioguanine_starts_at_a_quarter_without_nudt15_function() -> None:
    found = recommend("thioguanine", {"TPMT": "*1/*1", "NUDT15": "*3/*3"})  # PMID 30447069
    assert (found.action.kind, found.action.fraction) == ("reduce", (0.25, 0.25))


def test_an_untested_gene_has_rows_of_its_own() -> None:
    alone = recommend("mercaptopurine", {"TPMT": "*1/*1"})
    assert alone.untested == ("NUDT15",)
    assert dict(alone.lookup) == {"NUDT15": NO_RESULT, "TPMT": "Normal Metabolizer"}
    assert "NUDT15 was not tested" in alone.notes
    assert "monitor" in alone.action.flags
    assert "monitor" not in recommend("mercaptopurine", {"TPMT": "*1/*1", "NUDT15": "*1/*1"}).action.flags


def test_phenytoin_without_and_with_hla_b() -> None:
    diplotypes = {"CYP2C9": "*1/*3"}  # score 1.0; PMID 32779747
    untested = recommend("phenytoin", diplotypes, "PHT naive")
    assert dict(untested.lookup) == {"CYP2C9": "1.0", "HLA-B": NO_RESULT}
    assert (untested.action.fraction, untested.action.fraction_of) == ((0.75, 0.75), "maintenance")
    positive = recommend("phenytoin", diplotypes, "PHT naive", keys={"HLA-B": "*15:02 positive"})
    assert (positive.action.kind, positive.classification) == ("avoid", "Strong")
    earlier = recommend("phenytoin", diplotypes, "PHT use >3mos", keys={"HLA-B": "*15:02 positive"})
    assert (earlier.action.kind, earlier.classification) == ("caution", "Optional")


def test_a_result_from_outside_counts_before_the_diplotype_and_both_are_shown() -> None:
    found = recommend("tacrolimus", {"CYP3A5": "*3/*3"}, keys={"CYP3A5": "Normal Metabolizer"})
    assert found.action.kind == "increase"
    assert found.notes[0] == (
        "CYP3A5: Normal Metabolizer was given and counts; *3/*3 would mean Poor Metabolizer"
    )


# --------------------------------------------------------------------------------------------- inhibitors


@pytest.mark.parametrize(
    ("diplotype", "inhibitors", "key", "kind"),
    [
        ("*1/*1", ["paroxetine"], "0.0", "avoid"),
        ("*1x≥3/*1", ["quinidine"], "0.0", "avoid"),
        ("*1/*1", ["duloxetine"], "1.0", "usual"),
        ("*1/*1", ["sertraline", "fluconazole"], "2.0", "usual"),
        ("*1/*10", ["duloxetine"], "0.5", "usual"),  # 0.625: intermediate, as 0.5
        ("*4/*10", ["duloxetine"], "0.25", "usual"),  # 0.125: intermediate, though 0.0 lies nearer
    ],
)
def test_inhibitors_change_the_cyp2d6_score(
    diplotype: str, inhibitors: list[str], key: str, kind: str
) -> None:
    found = recommend("codeine", {"CYP2D6": diplotype}, inhibitors=inhibitors)
    assert (found.lookup["CYP2D6"], found.action.kind) == (key, kind)
    assert any(inhibitors[0] in note for note in found.notes)


def test_inhibitors_change_no_other_key_and_the_note_says_so() -> None:
    found = recommend("omeprazole", {"CYP2C19": "*1/*1"}, inhibitors=["fluconazole", "paroxetine"])
    assert dict(found.lookup) == {"CYP2C19": "Normal Metabolizer"}
    assert found.notes[0] == (
        "fluconazole is a strong inhibitor of CYP2C19, which the look-up does not take into account"
    )
    assert not any("paroxetine" in note for note in found.notes)  # no gene of this look-up
    untested = recommend("amitriptyline", {"CYP2C19": "*1/*1"}, inhibitors=["paroxetine"])
    assert untested.notes[0].startswith("paroxetine is a strong inhibitor of CYP2D6, which the look-up")


def test_a_note_on_an_inhibitor_only_where_the_score_changes_or_one_on_all_weak_ones() -> None:
    def notes(diplotype: str, *drugs: str) -> list[str]:
        found = recommend("codeine", {"CYP2D6": diplotype}, inhibitors=drugs).notes
        return [note for note in found if any(drug in note for drug in drugs)]

    assert notes("*1/*1", "celecoxib", "sertraline") == [
        "weak inhibitors leave the activity score of CYP2D6 as it is: celecoxib, sertraline"
    ]
    assert notes("*4/*4", "paroxetine", "duloxetine") == []  # 0 stays 0
    assert len(notes("*1/*1", "duloxetine", "paroxetine", "celecoxib")) == 1


def test_a_drug_does_not_act_on_its_own_look_up() -> None:
    # paroxetine is a strong inhibitor of CYP2D6: alone it would make every person a poor metaboliser
    alone = recommend("paroxetine", {"CYP2D6": "*1/*1"}, inhibitors=["Paroxetine"])
    assert (alone.lookup["CYP2D6"], alone.action.kind) == ("2.0", "usual")
    assert alone.notes == ("paroxetine itself is not counted as an inhibitor of its own look-up",)
    with_other = recommend("paroxetine", {"CYP2D6": "*1/*1"}, inhibitors=["paroxetine", "quinidine"])
    assert with_other.lookup["CYP2D6"] == "0.0"
    # also where the table of inhibitors does not list the drug
    assert recommend("codeine", {"CYP2D6": "*1/*1"}, inhibitors=["codeine"]).lookup["CYP2D6"] == "2.0"


def test_one_name_is_one_inhibitor() -> None:
    one = recommend("codeine", {"CYP2D6": "*1/*1"}, inhibitors="fluoxetine")
    assert one == recommend("codeine", {"CYP2D6": "*1/*1"}, inhibitors=["fluoxetine"])
    assert one.lookup["CYP2D6"] == "0.0"
    with pytest.raises(UnknownDrugError, match="'fluoxetin'; did you mean fluoxetine"):
        recommend("codeine", {"CYP2D6": "*1/*1"}, inhibitors="fluoxetin")


# --------------------------------------------------------------------------------------------- bad input


def test_open_copy_number_under_a_moderate_inhibitor_is_refused() -> None:
    # half of ≥4.0 is 2.0 or more: normal or ultrarapid [limits of Caudle 2020]
    with pytest.raises(UnlistedKeyError, match="score ≥2.0 under the inhibitors .*copies decides"):
        recommend("codeine", {"CYP2D6": "*1x≥3/*1"}, inhibitors=["duloxetine"])


def test_errors_name_the_value_and_the_remedy() -> None:
    with pytest.raises(NoGuidelineError, match="'codein'; did you mean codeine"):
        recommend("codein", {})
    with pytest.raises(NoGuidelineError, match="warfarin_dose"):
        lookup_genes("warfarin")
    with pytest.raises(
        NoGuidelineError, match="'general'; .*'adults': adults; 'pediatrics': children and adolescents"
    ):
        recommend("voriconazole", {"CYP2C19": "*1/*1"})
    with pytest.raises(NoGuidelineError, match="'CVI ACS PCI': acute coronary syndrome or percutaneous"):
        recommend("clopidogrel", {"CYP2C19": "*1/*1"})
    with pytest.raises(NoGuidelineError, match="'child'.*'child >40kg_adult': children of more than 40 kg"):
        recommend("efavirenz", {"CYP2B6": "*1/*1"}, "child")
    with pytest.raises(MissingGeneError, match=r"diplotypes\['CYP2D6'\] is None; leave CYP2D6 out"):
        recommend("codeine", {"CYP2D6": None})  # pyright: ignore[reportArgumentType]
    with pytest.raises(MissingGeneError, match=r"diplotypes\['HLA-B'\] is None; .* keys, one of \*15:02 neg"):
        recommend("phenytoin", {"HLA-B": None}, "PHT naive")  # pyright: ignore[reportArgumentType]
    # a gene that the rows do not use changes nothing
    assert recommend("codeine", {"CYP2D6": "*1/*1", "CYP3A5": None}).notes == ()  # pyright: ignore[reportArgumentType]
    with pytest.raises(MissingGeneError, match="tacrolimus .* CYP3A5"):
        recommend("tacrolimus", {"CYP2D6": "*1/*1"})
    with pytest.raises(MissingGeneError, match="CYP2C9 or HLA-B"):
        recommend("phenytoin", {}, "PHT naive")
    with pytest.raises(UnlistedKeyError, match=r"HLA-B \*15:02/\*40:01.*keys"):
        recommend("phenytoin", {"CYP2C9": "*1/*1", "HLA-B": "*15:02/*40:01"}, "PHT naive")
    with pytest.raises(UnlistedKeyError, match=r"'PM'; the rows of tacrolimus have"):
        recommend("tacrolimus", {}, keys={"CYP3A5": "PM"})
    with pytest.raises(UnknownDrugError, match="'aspirine'"):
        recommend("codeine", {"CYP2D6": "*1/*1"}, inhibitors=["aspirine"])


# ------------------------------------------------------------------------------------------- the whole table


def test_every_row_is_found_by_each_of_its_lookups_and_no_other() -> None:
    lookups = [(row, lookup) for row in ROWS for lookup in row.lookups]
    assert (len(recommended_drugs()), len(ROWS), len(lookups)) == (40, 520, 1733)  # CPIC database 1.30.0
    for row, lookup in lookups:
        assert tuple(sorted(lookup)) == lookup_genes(row.guideline.drug)
        assert row_index(row.guideline.drug, row.population)[frozenset(lookup.items())] is row
    assert sum(len(row_index(drug, p)) for drug in recommended_drugs() for p in populations(drug)) == 1733


def test_every_result_that_the_tables_can_give_has_a_row() -> None:
    for drug, population in [(name, p) for name in recommended_drugs() for p in populations(name)]:
        keys = [
            [key for key, _ in TABLES.phenotype_rules(gene)]
            if TABLES.scored_by_activity(gene)
            else sorted({rule.phenotype for rule in TABLES.phenotype_rules(gene).values()})
            for gene in lookup_genes(drug)
            if gene in TABLES.genes()
        ]
        for pair in itertools.product(*keys):
            assert recommend(
                drug, {}, population, keys=dict(zip(lookup_genes(drug), pair, strict=False))
            ).classification


def test_numbers_are_doses() -> None:
    for row in ROWS:
        action = row.action
        if action.fraction is not None:
            low, high = action.fraction
            assert 0 < low <= (high or 10) and action.fraction_of
            assert action.kind != "reduce" or (high or 2) < 1
            assert action.kind != "increase" or low > 1
        doses = [dose for dose in (action.absolute_min, action.absolute_max) if dose is not None]
        assert doses == sorted(doses)
        assert bool(doses) == bool(action.absolute_unit) == bool(action.absolute_of)
        assert not action.below or action.absolute_max is not None


def test_text_is_one_or_two_sentences_made_from_the_structure() -> None:
    for row in ROWS:
        text = sentences(row.guideline.drug, row.action)
        assert row.guideline.drug in text and text.endswith(".")
        assert len(re.findall(r"\.(?= [A-Z])|\.$", text.replace("H. pylori", "H pylori"))) <= 2
        assert "  " not in text and "None" not in text
        if row.action.absolute_max is not None:
            assert f"{row.action.absolute_max:g} {row.action.absolute_unit}" in text


def test_every_part_of_an_action_is_in_its_text() -> None:
    for row in ROWS:
        action = row.action
        text = sentences(row.guideline.drug, action)
        if action.fraction is not None and action.absolute_min is None:  # else the dose itself is said
            low = action.fraction[0] * 7 / (action.days_a_week or 7)
            in_words = {0.1: "a tenth", 2.0: "twice"}
            assert in_words.get(round(low, 4), f"{low if low > 1 else 100 * low:.3g}") in text
        for said in (action.instead, action.condition, action.if_not_enough, action.usual_dose):
            assert said in text
        for item in action.watch:
            assert item.partition(" (")[0] in text
        if action.titration == "slower" and action.kind != "titrate":
            assert "titrate more slowly" in text.lower()


@pytest.mark.parametrize(
    ("drug", "keys", "text"),
    [
        (
            "amitriptyline",
            {"CYP2D6": "0.0", "CYP2C19": "Normal Metabolizer"},
            "Avoid amitriptyline. If amitriptyline is used all the same, start at 50 % of the usual dose; "
            "monitor drug levels.",
        ),
        (
            "efavirenz",
            {"CYP2B6": "Poor Metabolizer"},
            "Start efavirenz at 200 or 400 mg/day instead of the usual 600 mg/day.",
        ),
        (  # 3/70 of the weekly dose
            "mercaptopurine",
            {"TPMT": "Poor Metabolizer", "NUDT15": "Normal Metabolizer"},
            "In malignant disease, start mercaptopurine at a tenth of the usual daily dose, on 3 days a week "
            "instead of daily. In non-malignant disease consider an immunosuppressant that is not a "
            "thiopurine; watch for myelosuppression.",
        ),
        (
            "mercaptopurine",
            {"TPMT": "Intermediate Metabolizer", "NUDT15": "Normal Metabolizer"},
            "If the usual starting dose is 75 mg/m2/day or more (or 1.5 mg/kg/day or more), start "
            "mercaptopurine at 30 to 80 % of it. Watch for myelosuppression.",
        ),
        (
            "azathioprine",
            {"TPMT": "Indeterminate", "NUDT15": "Indeterminate"},
            "CPIC gives no dose of azathioprine for these results. If azathioprine is used, watch for "
            "toxicity (closely, as a gene has no clear result).",
        ),
        (
            "tacrolimus",
            {"CYP3A5": "Normal Metabolizer"},
            "Start tacrolimus at 1.5 to 2 times the usual dose, but no more than 0.3 mg/kg/day. "
            "Monitor drug levels.",
        ),
        (
            "vortioxetine",
            {"CYP2D6": "2.5"},
            "Use a drug not mainly metabolised by CYP2D6 instead of vortioxetine. If vortioxetine is used "
            "all the same, start at the usual dose; adjust the dose by response and side effects; the "
            "maintenance dose may have to be 1.5 times the usual one or more.",
        ),
        (
            "citalopram",
            {"CYP2C19": "Intermediate Metabolizer"},
            "Start citalopram at the usual dose. Titrate more slowly; aim at a lower maintenance dose than "
            "usual.",
        ),
        (
            "simvastatin",
            {"SLCO1B1": "Decreased Function"},
            "Use another statin instead of simvastatin. If simvastatin is used all the same, give less than "
            "20 mg/day.",
        ),
    ],
)
def test_sentences_as_a_pharmacist_reads_them(drug: str, keys: dict[str, str], text: str) -> None:
    assert recommend(drug, {}, keys=keys).text == text


def test_the_alternative_is_as_strong_as_the_guideline_makes_it() -> None:
    # PMID 35034351: prasugrel or ticagrelor are to be used in coronary, an alternative considered in
    # neurovascular disease; PMID 33387367: another opioid is to be considered
    stent = recommend("clopidogrel", {"CYP2C19": "*2/*2"}, "CVI ACS PCI").text
    assert stent == (
        "Avoid clopidogrel where possible; use the standard dose of prasugrel or ticagrelor, "
        "unless contraindicated."
    )
    assert (
        "; consider the standard dose of another"
        in recommend("clopidogrel", {"CYP2C19": "*2/*2"}, "NVI").text
    )
    assert "; consider an opioid other" in recommend("codeine", {"CYP2D6": "*4/*4"}).text


def test_atomoxetine_is_raised_in_steps() -> None:  # PMID 30801677
    texts = {
        score: recommend("atomoxetine", {}, "adults", keys={"CYP2D6": score}).text for score in ("0.0", "2.0")
    }
    assert texts["0.0"].startswith(
        "Start atomoxetine at 40 mg/day and raise it to 80 mg/day after 2 weeks, if"
    )
    assert "to 100 mg/day in two steps: to 80 mg/day after 3 days, and further after 2 weeks" in texts["2.0"]


def test_dutch_percentages() -> None:
    irinotecan = dpwg_doses("Irinotecan")  # Hulshof 2022, PMC10474017: CPIC has no guideline for it
    assert [(fact.gene, fact.percent) for fact in irinotecan] == [
        ("UGT1A1", (70, 70)),
        ("UGT1A1", (100, 100)),
    ]
    assert (6, 7) in [fact.percent for fact in dpwg_doses("thioguanine")]
    assert [fact.percent for fact in dpwg_doses("sertraline")] == [None]
    assert dpwg_doses("codeine") == ()


# ---------------------------------------------------------------------------------------- against CPIC's text


@needs_shared
def test_conformance() -> None:
    for compared in (lookups, texts, carried, actions):
        row = compared(SHARED_PGX / "cases")
        assert row.ok and row.passed == row.total, row.failures[:3]


@needs_shared
def test_errata_are_rows_of_the_reading_and_contradict_it() -> None:
    with (SHARED_PGX / "dose_actions_cpic.csv").open(encoding="utf-8") as file:
        rows = {
            (r["drug"], r["population"], frozenset(r["lookup"].split(";"))): r for r in csv.DictReader(file)
        }
    assert [row["verdict"] for row in errata().values()].count("wrong") == 39
    for key, erratum in errata().items():
        drug, population, lookup = key
        pairs = frozenset((pair.partition("=")[0], pair.partition("=")[2]) for pair in lookup)
        action = row_index(drug, population)[pairs].action
        same = reading(action) == rows[key]["action"] and rows[key]["absolute_max"] in (
            "", f"{action.absolute_max or 0:g}"
        )  # fmt: skip
        assert same == (erratum["verdict"] == "incomplete" or action.below), erratum


@needs_shared
def test_no_prose_of_the_guidelines_is_carried() -> None:
    def runs(text: str) -> set[tuple[str, ...]]:
        # numbers and units are facts: what is compared is the words between them
        words = [word for word in re.findall(r"[a-z]{2,}", text.lower()) if word not in ("mg", "kg", "day")]
        return {tuple(words[i : i + 6]) for i in range(len(words) - 5)}

    cpic = json.loads((SHARED_PGX / "recommendations_cpic.json").read_text(encoding="utf-8"))
    theirs: set[tuple[str, ...]] = set()
    for guideline in cpic.values():
        for entry in guideline["recommendations"]:
            theirs |= runs(entry["recommendation"]) | runs(entry["comments"])
            for implication in entry["implications"].values():
                theirs |= runs(implication)
    for row in ROWS:
        ours = " | ".join([sentences(row.guideline.drug, row.action), row.action.note])
        assert not runs(ours) & theirs, ours


# ------------------------------------------------------------------------------ what the benchmark can find


def test_the_summary_counts_the_sets_that_were_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = "gene,diplotype,activity_score,phenotype,ehr_priority"
    row = "CYP2C9,*1/*3,1.0,Intermediate Metabolizer,Abnormal/Priority/High Risk"
    (tmp_path / "diplotype_phenotype.csv").write_text(f"{header}\n{row}\n", encoding="utf-8")
    monkeypatch.setattr(pgx_tables, "calibration", lambda: ())
    done = CliRunner().invoke(conformance.conformance, ["pgx", str(tmp_path)])
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, "1 of 1 sets pass, 10 left out")
    assert done.output.count("left out: no ") == 10


def test_a_structural_cyp2d6_call_from_a_vcf_is_a_fault() -> None:
    case = {"other_positions": "reference", "records": []}
    seen = Genotypes("all reference", {g: sites({"gene": g, **case}) for g in TABLES.genes()}, (), "", "")
    (call,) = (item for item in call_genes(seen) if item.gene == "CYP2D6")
    assert list(structure_faults(call)) == []
    assert call.posterior is not None and call.posterior.probability("*1/*5") > 0.01
    for guessed in ("*1/*5", "*1/*1x2", "*1/*36+*10", "*1/*2x≥3"):
        wrong = replace(call, diplotypes=(Diplotype.parse(guessed),))
        assert [fault.partition(",")[0] for fault in structure_faults(wrong)] == [f"called {guessed}"]
        assert list(structure_faults(replace(wrong, origin="outside call"))) == []
    (fault,) = structure_faults(replace(call, lookup=Diplotype("*1", "*4")))
    assert fault == "called *1/*4, which the matcher did not find"


@pytest.mark.parametrize(("right", "inside"), [(830, 1), (870, 1), (810, 0), (890, 0)])
def test_calibration_finds_what_is_3_points_off(right: int, inside: int) -> None:
    true, other = Diplotype("*1", "*1"), Diplotype("*1", "*2")
    tenths = pgx_tables.Tenths()
    for person in range(1000):
        tenths.add({true: 0.85, other: 0.0005}, true if person < right else other)
    tenths.add({other: 0.45}, other)  # one prediction is not enough to judge
    found = tenths.row("simulated")
    assert (found.passed, found.total, found.ok) == (inside, 1, bool(inside))
    assert found.remarks[0] == "1 of 10 tenths have at least 1000 predictions"
    assert found.remarks[1] == f"predicted 0.850, observed {right / 1000:.3f} of 1000"


def test_calibration_judges_likelihoods_and_qualities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgx_tables, "PEOPLE", 10)
    monkeypatch.setattr(pgx_tables, "PEOPLE_CYP2D6", 10)
    monkeypatch.setattr(pgx_tables, "ENOUGH", 200)
    monkeypatch.setattr(pgx_tables, "ANCESTRIES", ("European", "East Asian"))
    likelihoods, quality = pgx_tables.calibration()
    assert (likelihoods.name, quality.name) == ("posterior calibration, PL", "posterior calibration, GQ only")
    assert likelihoods.total == quality.total == 2  # few people fill the lowest and the highest tenth only
    assert likelihoods.remarks != quality.remarks
    assert likelihoods.ok

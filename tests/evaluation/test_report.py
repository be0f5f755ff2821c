"""The page of a trial: its numbers are the result's, it loads nothing, and it claims no win that is none."""

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from dosewright.agents.regimens import FixedDose, regimen
from dosewright.envs import Noise, Treatment, scenario
from dosewright.evaluation import Difference, TrialResult, run_trial, summarise, write_report
from dosewright.evaluation.answer import answer, benefit_shown, change, harm_shown, number, question
from dosewright.evaluation.report.benefit_and_harm import name_points
from dosewright.evaluation.report.cells import (
    difference_cell,
    estimate_cell,
    needed_cell,
    p_words,
    rate_cell,
    ratio_cell,
    time_cell,
)
from dosewright.evaluation.sensitivity import Sensitivity, analyse_sensitivity
from dosewright.evaluation.trial import TrialDesign, run_design

WARFARIN = scenario("warfarin")


class Seeing(FixedDose):
    """Is shown the truth, and does not look."""

    def attach(self, treatment: Treatment) -> None:
        pass


def design(realism: str, doses: Mapping[str, float]) -> TrialDesign:
    arms = {name.replace("_", "-"): FixedDose(WARFARIN, dose) for name, dose in doses.items()}
    return TrialDesign(WARFARIN, arms, WARFARIN.population, Noise("trial", 3), WARFARIN.preset(realism))


def trial(n: int = 200, realism: str = "clinic", **doses: float) -> TrialResult:
    return run_design(design(realism, doses), range(n))


DOSES = {"label": 7.0, "bayesian": 3.0, "bayesian_adaptive": 4.5, "planner": 4.0, "policy": 5.0}


@pytest.fixture(scope="module")
def result() -> TrialResult:
    return run_design(design("clinic", DOSES), range(200))


@pytest.fixture(scope="module")
def other_worlds(result: TrialResult) -> Sensitivity:
    return analyse_sensitivity(design("clinic", DOSES), result, "policy", "bayesian-adaptive", 60)


@pytest.fixture(scope="module")
def summary(result: TrialResult, other_worlds: Sensitivity) -> dict[str, Any]:
    trained = {"dose finding": ["label", "planner", "policy"]}
    found = summarise(result, "bayesian-adaptive", "policy", sensitivity=other_worlds, trained=trained)
    return json.loads(json.dumps(found, allow_nan=False))


@pytest.fixture(scope="module")
def page(result: TrialResult, summary: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert write_report(result, path, summary) == path
    return path.read_text(encoding="utf-8")


def words(page: str) -> str:
    """The text a reader sees, without figures."""
    text = re.sub(r"<style>.*?</style>|<svg.*?</svg>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text)))


def row(text: str, start: str, arm: str) -> str:
    """The row of an arm in the first table after some words."""
    after = text[text.index(start) :]
    return re.sub(r" (reference|upper bound) ", " ", after[after.index(f" {arm} ") :], count=1)


def test_numbers_of_the_page_are_those_of_the_result(summary: dict[str, Any], page: str) -> None:
    text = words(page)
    for arm, record in summary["arms"].items():
        mine = row(text, " Results by arm ", arm)
        for key in ("rosendaal", "rosendaal_day_10", "above_4", "ever_above_4", "ever_above_5", "below_1_5"):
            cell = record[key]
            shown = f"{100 * cell['mean']:.1f} % {100 * cell['low']:.1f} to {100 * cell['high']:.1f} "
            assert shown in mine, (arm, key)
        assert f" {record['stroke']['mean']:.2f} {record['stroke']['low']:.2f} to " in mine
        assert f" {record['return']['mean']:.3f} ".replace("-", "−") in mine
    for arm, record in summary["differences"].items():
        mine = row(text, " Paired differences from ", arm).replace(" 0.0 ", " +0.0 ")
        for key in ("time_in_range", "ever_above_4"):
            low, mean, high = (
                f"{100 * record[key][k]:+.1f}".replace("-", "−") for k in ("low", "mean", "high")
            )
            assert f" {mean} {low} to {high} " in mine, (arm, key)


def cells(*shown: tuple[str, ...] | str) -> str:
    return "".join(
        f" {part}" for item in shown for part in ((item,) if isinstance(item, str) else item) if part
    )


def test_numbers_of_benefit_and_harm_are_those_of_the_result(summary: dict[str, Any], page: str) -> None:
    text = words(page)
    event = "ever_harm"
    for arm in summary["differences"]:
        more = summary["benefit"][arm]
        expected = cells(
            arm,
            difference_cell(summary["differences"][arm]["benefit"], "share", "higher")[:2],
            difference_cell(more["bootstrap"], "share", "higher")[1],
            estimate_cell(more["win_probability"], "share"),
            p_words(more["p"]),
            p_words(more["p_holm"]),
        )
        assert expected in text, arm
        harm, first = summary["harms"]["arms"][arm][event], summary["first_harm"]["arms"][arm]
        expected = cells(
            arm,
            estimate_cell(summary["arms"][arm][event], "share"),
            rate_cell(first["rate"]),
            difference_cell(summary["differences"][arm][event], "share", "lower")[:2],
            ratio_cell(harm["ratio"]),
            needed_cell(harm["number_needed"]),
            harm["noninferiority"]["shows"],
            p_words(harm["noninferiority"]["p_holm"]),
            p_words(harm["p"]),
            p_words(harm["p_holm"]),
        )
        assert expected in text, arm
        expected = cells(
            arm,
            *(estimate_cell(first[key], "share") for key in ("alone", "beside_leaving", "left")),
            time_cell(first["free"]),
            time_cell(first["difference"], signed=True),
        )
        assert expected in text, arm
    assert " NNTH " in text and " NNTB " in text


def test_numbers_of_the_other_worlds_and_seeds_are_those_of_the_result(
    summary: dict[str, Any], page: str
) -> None:
    text = words(page)
    rows = summary["sensitivity"]["rows"]
    assert [item["name"] for item in rows] == [
        "as in the trial", "other model", "another's genotype", "genotype unknown", "worse adherence",
        "realism textbook",
    ]  # fmt: skip
    for item in rows:
        expected = f" {item['name']} {item['words']}"
        for key, better in (("benefit", "higher"), ("ever_harm", "lower")):
            found, (arm, against) = item[key], (number(level, "share") for level in item[key]["levels"])
            shown = difference_cell(found, "share", better)[:2]
            expected += cells(shown, found["shows"], f"{arm} against {against}")
        assert expected in text, item["name"]
    found = summary["training_seeds"]["dose finding"]
    shown = (estimate_cell(found[key], "share") for key in ("benefit", "ever_harm"))
    assert cells("dose finding", "3", *shown, estimate_cell(found["return"], "return")) in text


def test_the_answer_leads_and_names_the_stronger_bayesian_arm_and_the_planner(
    result: TrialResult, page: str
) -> None:
    found = summarise(result, "label", "policy")["answer"]
    returns = {name: result.arms[name].returns.mean() for name in ("bayesian", "bayesian-adaptive")}
    assert [rival["arm"] for rival in found["rivals"]] == [max(returns, key=returns.__getitem__), "planner"]
    assert len(found["sentences"]) == 2
    text = words(page).replace("\u00a0", " ")
    assert text.index(found["sentences"][0]) < text.index(found["sentences"][1]) < text.index(" Patients ")
    assert f"{100 * result.arms['policy'].benefit.mean():.1f} % of days" in found["sentences"][0]
    first = result.difference("policy", found["rivals"][0]["arm"], "ever_harm")
    assert f"({change(first.mean, 'share')} points, 95 % interval" in found["sentences"][1]


def test_page_is_self_contained(page: str) -> None:
    assert "<script" not in page and "@import" not in page and "<link" not in page
    assert not re.search(r"\b(src|srcset|data|action|poster)\s*=", page.split("<body>")[0] + page)
    for target in re.findall(r'href="([^"]*)"|url\(([^)]*)\)', page):
        assert "".join(target).startswith("#"), target
    assert "http" not in page
    assert page.count("Research simulation, not for clinical use") == 1


def test_ids_of_the_figures_are_unique_and_every_reference_is_there(page: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', page)) <= set(ids)
    assert page.count('<svg role="img" aria-label=') == 9


def test_sections_stand_in_order(page: str) -> None:
    heads = re.findall(r"<h2>(.*?)</h2>", page)
    assert heads == [
        "Patients",
        "Results by arm",
        "Benefit against harm",
        "Paired differences from bayesian-adaptive",
        "Benefit: days with INR 2 to 3",
        "Harm: patients ever above INR 4",
        "Further harms",
        "INR over time",
        "Doses over time",
        "Subgroups: policy against bayesian-adaptive",
        "Policies that differ in their training seed",
        "Sensitivity: policy against bayesian-adaptive in other worlds",
        "One patient under 3 arms",
        "Methods and assumptions",
        "Reporting checklists",
        "Provenance",
    ]
    text = words(page)
    assert text.count("ASSUMPTION") >= 4  # bleeding and stroke, in both tables
    for sentence in WARFARIN.assumptions:
        assert sentence in text


def test_figures_can_be_searched(summary: dict[str, Any], page: str) -> None:
    figures = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    for harm in summary["harms"]["listed"]:
        assert f">{html.escape(harm['label'], quote=False)}<" in figures, harm["label"]
    at_risk = summary["first_harm"]["curves"]["policy"]["at_risk"][0]
    assert f">{at_risk}<" in figures and ">worse adherence<" in figures


def test_what_authors_must_write_is_marked(summary: dict[str, Any], page: str) -> None:
    left = [item for item in summary["checklists"] if item["filled"] is None]
    # once for each, and once to say so
    assert words(page).count("to be written by the authors") == len(left) + 1
    for item in summary["checklists"]:
        assert item["filled"] is None or item["filled"] in words(page), item["number"]


def test_the_example_is_chosen_by_a_rule_without_results(
    result: TrialResult, summary: dict[str, Any]
) -> None:
    example, strongest = summary["example"], summary["answer"]["rivals"][0]["arm"]
    stayed = result.followed_days == 90
    carriers = stayed & np.all([count > 0 for count in result.variant_alleles().values()], axis=0)
    assert example["id"] == result.ids[carriers].min()
    assert set(example["arms"]) == {"policy", "bayesian-adaptive", strongest}
    assert example["genotype"] == {gene: named[example["row"]] for gene, named in result.genotypes.items()}


def test_an_interval_that_covers_0_is_no_win() -> None:
    def difference(low: float, high: float) -> Difference:
        return Difference((low + high) / 2, low, high, 0.01, 100, 0.95)

    assert benefit_shown(difference(-0.001, 0.2)) == "no difference shown"
    assert benefit_shown(difference(0.0, 0.2)) == "no difference shown"
    assert benefit_shown(difference(0.001, 0.2)) == "better"
    assert benefit_shown(difference(-0.2, -0.001)) == "worse"
    harms = {
        (-0.02, -0.01): "less",
        (-0.02, 0.029): "non-inferior",
        # a rise of the margin itself is not excluded
        (-0.02, 0.03): "not shown to be non-inferior",
        (-0.02, 0.031): "not shown to be non-inferior",
        (0.01, 0.02): "more, within the margin",
        (0.01, 0.05): "more",
        (0.04, 0.05): "more, beyond the margin",
    }
    assert {limits: harm_shown(difference(*limits), 0.03) for limits in harms} == harms
    record = {"mean": 0.1, "low": -0.001, "high": 0.2, "n": 100}
    assert difference_cell(record, "share", "higher") == ("+10.0", "−0.1 to +20.0", "")
    assert difference_cell({**record, "low": 0.01}, "share", "lower")[2] == "worse"


def test_two_equal_arms_are_called_equal() -> None:
    found = answer(trial(60, policy=5.0, bayesian=5.0), "policy")
    assert found["rivals"][0]["benefit"]["shows"] == "no difference shown"
    assert "policy is not shown to beat bayesian (0.0 points" in found["sentences"][0]
    # Newcombe's interval keeps a width without a discordant patient: 60 patients are too few for the margin
    assert "is not shown to be non-inferior to bayesian (0.0 points" in found["sentences"][1]


def test_without_a_policy_the_best_arm_meets_the_runner_up(result: TrialResult) -> None:
    found = answer(result)
    ranked = sorted(result.arms, key=lambda name: -result.arms[name].returns.mean())
    assert (found["arm"], found["rivals"][0]["arm"]) == tuple(ranked[:2])
    assert not found["policy"] and "the arm with the highest return" in found["sentences"][0]
    asked = "Which of 5 regimens gives the most days with INR 2 to 3, and are there more patients ever above"
    assert question(result, found).startswith(asked)


def test_a_graded_score_is_no_number_of_days() -> None:
    drug = scenario("busulfan")  # one AUC of all four days, more or less on target
    arms = {"label": regimen("label", drug), "rule": regimen("clinical-nomogram", drug)}
    noise, clinic = Noise("trial", 3), drug.preset("clinic")
    found = run_trial(drug, arms, drug.population, np.arange(30), noise, clinic)
    said = answer(found)
    asked = (
        "Which of 2 regimens gives the most of the score for AUC of the four days 78 to 101 mg·h/L, falling"
    )
    assert question(found, said).startswith(asked)
    assert " % of the score for AUC of the four days" in said["sentences"][0]


def test_an_upper_bound_competes_with_nobody_and_names_are_escaped(tmp_path: Path) -> None:
    arms = {"<b>&5": FixedDose(WARFARIN, 5.0), "seer": Seeing(WARFARIN, 3.0)}
    found = run_trial(
        WARFARIN, arms, WARFARIN.population, np.arange(30), Noise("trial", 3), WARFARIN.preset("textbook")
    )
    assert answer(found)["arm"] == "<b>&5" and not answer(found)["rivals"]
    with pytest.raises(ValueError, match="'seer' is shown the truth"):
        summarise(found, "<b>&5", "seer")
    with pytest.raises(ValueError, match="also the reference"):
        summarise(found, "<b>&5", "<b>&5")
    text = write_report(found, tmp_path / "r.html", summarise(found, "<b>&5")).read_text(encoding="utf-8")
    assert "seer (upper bound)" in text and "no other arm competes" in text
    assert "<b>&5" not in text and "&lt;b&gt;&amp;5" in text


def test_a_front_lists_one_policy_in_the_order_of_safety(result: TrialResult, tmp_path: Path) -> None:
    fronts = {"mine": {"policy": 0.8, "planner": 0.2}}
    found = summarise(result, "bayesian-adaptive", "policy", fronts=fronts)
    assert found["fronts"]["mine"] == [{"arm": "planner", "weight": 0.2}, {"arm": "policy", "weight": 0.8}]
    text = write_report(result, tmp_path / "r.html", found).read_text(encoding="utf-8")
    shown = words(text)
    assert "weight of safety" in shown and "joins one policy at several preferences" in shown
    rows = re.findall(r'<tr><th scope="row">mine</th><td>([\d.]+)</td><td>([\d.]+)', text)
    assert rows == [
        (weight, f"{100 * result.arms[name].benefit.mean():.1f}")
        for weight, name in (("0.2", "planner"), ("0.8", "policy"))
    ]
    with pytest.raises(ValueError, match="'six'"):
        summarise(result, "bayesian-adaptive", "policy", fronts={"mine": {"six": 0.5}})


def test_every_arm_is_in_the_picture_of_benefit_against_harm(page: str) -> None:
    picture = page[page.index('aria-label="Benefit of every arm against') :]
    picture = picture[: picture.index("</svg>")]
    for name in DOSES:
        assert name.replace("_", "-") in picture


def test_no_name_in_a_picture_covers_another() -> None:
    axes = Figure(figsize=(6, 4), layout="constrained").subplots()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    points = {
        "bayesian-adaptive": (1.0, 1.0),
        "policy": (1.02, 1.01),
        "planner": (1.1, 0.99),
        "label": (9, 9),
    }
    name_points(axes, points)
    boxes = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert set(boxes) == set(points)
    for name, box in boxes.items():
        assert box.count_overlaps(boxes.values()) == 1, name  # with itself
    # a lonely point has its name where everybody looks for it: right above
    assert boxes["label"].x0 > axes.transData.transform((9, 9))[0]


def test_one_arm_and_few_patients_still_make_a_page(tmp_path: Path) -> None:
    small = trial(3, realism="textbook", only=5.0)
    text = write_report(small, tmp_path / "r.html", summarise(small, "only")).read_text(encoding="utf-8")
    assert "<h2>Paired differences" not in text and "<h2>Subgroups" not in text
    assert "<h2>Harm: patients ever above INR 4" in text
    assert "How many days with INR 2 to 3 does only give, and how many patients ever above INR 4?" in text


def test_a_sensitivity_analysis_of_another_comparison_is_refused(
    result: TrialResult, other_worlds: Sensitivity
) -> None:
    with pytest.raises(
        ValueError, match="of policy against bayesian-adaptive; this trial compares policy wit"
    ):
        summarise(result, "label", "policy", sensitivity=other_worlds)


def test_numbers_in_words() -> None:
    assert number(0.74149, "share") == "74.1 %"
    assert number(-0.237, "return") == "−0.237"
    assert number(1.754, "per 100 patient-years") == "1.75"
    assert number(None, "share") == change(None, "share") == "–"
    assert change(0.0312, "share") == "+3.1"
    assert change(-0.0004, "share") == "−0.0"
    assert change(0.0, "share") == "0.0"


def test_cells() -> None:
    infinite = {"ratio": "infinity", "low": 1.5, "high": "infinity"}
    assert ratio_cell(infinite) == ("∞", "1.50 to ∞")
    assert ratio_cell({"ratio": None, "low": 0.0, "high": "infinity"}) == ("–", "0.00 to ∞")
    assert rate_cell({"rate": 0.4312, "low": 0.3, "high": 12.0}) == ("0.431", "0.300 to 12.000")
    assert rate_cell({"rate": 8680.1, "low": 8000.4, "high": 9000.0}) == ("8680", "8000 to 9000")
    assert rate_cell({"rate": 0.0, "low": 0.0, "high": 0.00384}) == ("0.000", "0.000 to 0.004")
    words_of = "NNTB 16.7 (95 % interval NNTB 9.1 to ∞ to NNTH 50.0)"
    assert needed_cell({"words": words_of}) == ("NNTB 16.7", "NNTB 9.1 to ∞ to NNTH 50.0")
    assert needed_cell({"words": "number needed ∞ (95 % interval NNTB 5.0 to ∞ to NNTH 5.0)"})[0] == "∞"
    assert time_cell({"mean": -1.25, "low": -2.0, "high": 0.5}, signed=True) == ("−1.2", "−2.0 to +0.5")
    assert time_cell({"mean": 90.0, "low": None, "high": None}) == ("90.0", "")
    assert [p_words(p) for p in (None, 0.0004, 0.0321, 0.9996)] == ["–", "< 0.001", "0.032", "> 0.999"]

"""The page of a trial: its numbers are the result's, it loads nothing, and it claims no win that is none."""

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest

from dosewright.agents.regimens import FixedDose
from dosewright.envs import Noise, Treatment, scenario
from dosewright.evaluation import Difference, TrialResult, run_trial, summarise, write_report
from dosewright.evaluation.answer import answer, benefit_shown, change, harm_shown, number
from dosewright.evaluation.report.page import difference_cell

WARFARIN = scenario("warfarin")


class Seeing(FixedDose):
    """Is shown the truth, and does not look."""

    def attach(self, treatment: Treatment) -> None:
        pass


def trial(n: int = 200, realism: str = "clinic", **doses: float) -> TrialResult:
    arms = {name.replace("_", "-"): FixedDose(WARFARIN, dose) for name, dose in doses.items()}
    return run_trial(
        WARFARIN, arms, WARFARIN.population, np.arange(n), Noise("trial", 3), WARFARIN.preset(realism)
    )


@pytest.fixture(scope="module")
def result() -> TrialResult:
    return trial(label=7.0, bayesian=3.0, bayesian_adaptive=4.5, planner=4.0, policy=5.0)


@pytest.fixture(scope="module")
def page(result: TrialResult, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert write_report(result, path, "bayesian-adaptive", "policy") == path
    return path.read_text(encoding="utf-8")


def words(page: str) -> str:
    """The text a reader sees, without figures."""
    text = re.sub(r"<style>.*?</style>|<svg.*?</svg>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text)))


def test_numbers_of_the_page_are_those_of_the_result(result: TrialResult, page: str) -> None:
    summary = json.loads(json.dumps(summarise(result, "bayesian-adaptive", "policy")))
    text = words(page)
    for arm, record in summary["arms"].items():
        row = text[text.index(f" {arm} {100 * record['time_in_range']['mean']:.1f} % ") :]
        for key in ("rosendaal", "rosendaal_day_10", "above_4", "ever_above_4", "ever_above_5", "below_1_5"):
            cell = record[key]
            shown = f"{100 * cell['mean']:.1f} % {100 * cell['low']:.1f} to {100 * cell['high']:.1f} "
            assert shown in row, (arm, key)
        assert f" {record['stroke']['mean']:.2f} {record['stroke']['low']:.2f} to " in row
        assert f" {record['return']['mean']:.3f} ".replace("-", "−") in row
    for arm, record in summary["differences"].items():
        for key in ("time_in_range", "ever_above_4"):
            low, mean, high = (
                f"{100 * record[key][k]:+.1f}".replace("-", "−") for k in ("low", "mean", "high")
            )
            assert f" {mean} {low} to {high} " in text.replace(" 0.0 ", " +0.0 "), (arm, key)


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
    assert page.count('<svg role="img" aria-label=') == 5


def test_sections_stand_in_order(page: str) -> None:
    heads = re.findall(r"<h2>(.*?)</h2>", page)
    assert heads == [
        "Patients",
        "Results by arm",
        "Paired differences from bayesian-adaptive",
        "INR over time",
        "Doses over time",
        "Subgroups: policy against bayesian-adaptive",
        "One patient under 3 arms",
        "Methods and assumptions",
        "Provenance",
    ]
    text = words(page)
    assert text.count("ASSUMPTION") >= 4  # bleeding and stroke, in both tables
    for sentence in WARFARIN.assumptions:
        assert sentence in text


def test_the_example_is_chosen_by_a_rule_without_results(result: TrialResult) -> None:
    summary = summarise(result, "bayesian-adaptive", "policy")
    example, strongest = summary["example"], summary["answer"]["rivals"][0]["arm"]
    stayed = result.followed_days == 90
    carriers = stayed & np.all([count > 0 for count in result.variant_alleles().values()], axis=0)
    assert example["id"] == result.ids[carriers].min()
    assert set(example["arms"]) == {"policy", "bayesian-adaptive", strongest}
    assert example["genotype"] == {gene: named[example["row"]] for gene, named in result.genotypes.items()}


def test_an_interval_that_covers_0_is_no_win() -> None:
    def difference(low: float, high: float) -> Difference:
        return Difference((low + high) / 2, low, high, 0.01, 100, 0.95)

    assert benefit_shown(difference(-0.001, 0.2)) == "no difference"
    assert benefit_shown(difference(0.0, 0.2)) == "no difference"
    assert benefit_shown(difference(0.001, 0.2)) == "better"
    assert benefit_shown(difference(-0.2, -0.001)) == "worse"
    harms = {
        (-0.02, -0.01): "less",
        (-0.02, 0.03): "non-inferior",
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
    assert found["rivals"][0]["benefit"]["shows"] == "no difference"
    assert "policy does not beat bayesian (0.0 points" in found["sentences"][0]
    # Newcombe's interval keeps a width without a discordant patient: 60 patients are too few for the margin
    assert "is not shown to be non-inferior to bayesian (0.0 points" in found["sentences"][1]


def test_without_a_policy_the_best_arm_meets_the_runner_up(result: TrialResult) -> None:
    found = answer(result)
    ranked = sorted(result.arms, key=lambda name: -result.arms[name].returns.mean())
    assert (found["arm"], found["rivals"][0]["arm"]) == tuple(ranked[:2])
    assert not found["policy"] and "the arm with the highest return" in found["sentences"][0]


def test_an_upper_bound_competes_with_nobody(tmp_path: Path) -> None:
    arms = {"five": FixedDose(WARFARIN, 5.0), "seer": Seeing(WARFARIN, 3.0)}
    found = run_trial(
        WARFARIN, arms, WARFARIN.population, np.arange(30), Noise("trial", 3), WARFARIN.preset("textbook")
    )
    assert answer(found)["arm"] == "five" and not answer(found)["rivals"]
    with pytest.raises(ValueError, match="'seer' is shown the truth"):
        summarise(found, "five", "seer")
    with pytest.raises(ValueError, match="also the reference"):
        summarise(found, "five", "five")
    text = write_report(found, tmp_path / "r.html", "five").read_text(encoding="utf-8")
    assert "seer (upper bound)" in text and "no other arm competes" in text


def test_one_arm_and_few_patients_still_make_a_page(tmp_path: Path) -> None:
    small = trial(3, realism="textbook", only=5.0)
    text = write_report(small, tmp_path / "r.html", "only").read_text(encoding="utf-8")
    assert "<h2>Paired differences" not in text and "<h2>Subgroups" not in text


def test_names_are_escaped(tmp_path: Path) -> None:
    arms = {"<b>&5": FixedDose(WARFARIN, 5.0), "three": FixedDose(WARFARIN, 3.0)}
    found = run_trial(
        WARFARIN, arms, WARFARIN.population, np.arange(30), Noise("trial", 3), WARFARIN.preset("clinic")
    )
    text = write_report(found, tmp_path / "r.html", "three").read_text(encoding="utf-8")
    assert "<b>&5" not in text and "&lt;b&gt;&amp;5" in text


def test_numbers_in_words() -> None:
    assert number(0.74149, "share") == "74.1 %"
    assert number(-0.237, "return") == "−0.237"
    assert number(1.754, "per 100 patient-years") == "1.75"
    assert number(None, "share") == change(None, "share") == "–"
    assert change(0.0312, "share") == "+3.1"
    assert change(-0.0004, "share") == "−0.0"
    assert change(0.0, "share") == "0.0"

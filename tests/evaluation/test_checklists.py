"""The reporting checklists: the guidelines' own items, filled by what a summary says and by nothing else."""

from __future__ import annotations

import csv
from collections import Counter
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from dosewright.agents.regimens import FixedDose
from dosewright.envs import Noise, scenario
from dosewright.evaluation import run_trial, summarise
from dosewright.evaluation.report.checklist_fills import FILLS
from dosewright.evaluation.report.checklists import OFF_POLICY, checklist

WARFARIN = scenario("warfarin")
ROWS = list(
    csv.DictReader(
        (files("dosewright.evaluation.report") / "checklists.csv").read_text(encoding="utf-8").splitlines()
    )
)


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    arms = {name: FixedDose(WARFARIN, dose) for name, dose in (("policy", 4.0), ("label", 7.0))}
    found = run_trial(
        WARFARIN, arms, WARFARIN.population, np.arange(150), Noise("trial", 3), WARFARIN.preset("clinic")
    )
    return summarise(found, "label", "policy")


def test_items_are_those_of_the_guidelines() -> None:
    numbers: dict[str, list[str]] = {}
    for row in ROWS:
        numbers.setdefault(row["guideline"], []).append(row["number"])
    # Schulz 2010: 25 items, 37 with their parts; Liu 2020: 14; Collins 2024: 27 items, 52 with their parts
    assert {name: len(items) for name, items in numbers.items()} == {
        "CONSORT 2010": 37,
        "CONSORT-AI 2020": 14,
        "TRIPOD+AI 2024": 52,
    }
    assert numbers["CONSORT-AI 2020"] == [
        "1a,b (i)", "1a,b (ii)", "2a (i)", "4a (i)", "4a (ii)", "4b", "5 (i)", "5 (ii)", "5 (iii)", "5 (iv)",
        "5 (v)", "5 (vi)", "19", "25",
    ]  # fmt: skip
    for name, last in (("CONSORT 2010", 25), ("TRIPOD+AI 2024", 27)):
        whole = [int(number.rstrip("abcdefg")) for number in numbers[name]]
        assert whole == sorted(whole) and set(whole) == set(range(1, last + 1))
        assert max(Counter(numbers[name]).values()) == 1


def test_every_fill_is_asked_for_and_known() -> None:
    assert {row["fill"] for row in ROWS if row["fill"]} == set(FILLS)


def test_a_trial_fills_what_it_can_say(summary: dict[str, Any]) -> None:
    filled = {(item.guideline, item.number): item.filled for item in checklist(summary)}
    # the trial without other worlds leaves only what a person must write, and those
    open_ = {row["fill"] for row in ROWS if row["fill"] and filled[row["guideline"], row["number"]] is None}
    assert open_ == {"sensitivity"}
    assert filled["CONSORT 2010", "2b"] == summary["question"]
    assert "150 patients in every arm" in str(filled["CONSORT 2010", "13a"])
    event = summary["differences"]["policy"]["ever_harm"]["mean"]
    assert f"{100 * event:+.1f}".replace("-", "−") in str(filled["CONSORT 2010", "17b"])
    assert summary["provenance"]["command"] in str(filled["CONSORT-AI 2020", "25"])
    for number in ("2a", "3b", "6b", "22", "23", "24", "25"):
        assert filled["CONSORT 2010", number] is None
    for number in ("3a", "3c", "17", "18a", "18b", "19", "25"):
        assert filled["TRIPOD+AI 2024", number] is None


def test_hashes_of_policies_are_its_version(summary: dict[str, Any]) -> None:
    known = {**summary["provenance"], "arms": {"policy": "policy, SHA-256 0123abcd"}}
    items = checklist({**summary, "provenance": known})
    version = next(item.filled for item in items if item.number == "5 (i)")
    assert version is not None and "policy: policy, SHA-256 0123abcd" in version


def test_a_summary_that_says_nothing_fills_nothing() -> None:
    assert all(item.filled is None for item in checklist({}))
    only = [item for item in checklist({"question": "Is it safe?"}) if item.filled is not None]
    assert [(item.guideline, item.number, item.filled) for item in only] == [
        ("CONSORT 2010", "2b", "Is it safe?"),
        ("TRIPOD+AI 2024", "4", "Is it safe?"),
    ]


def test_an_off_policy_evaluation_fills_from_its_log() -> None:
    answered = {"mean": 0.62, "low": 0.55, "high": 0.69}
    items = checklist(
        {
            "kind": OFF_POLICY,
            "scenario": {"name": "warfarin", "version": 0, "title": "Warfarin"},
            "log": {
                "patients": 1200,
                "used": 1190,
                "left_out": 10,
                "censored": 35,
                "follow_up": "estimated from the log",
                "content_hash": "ab" * 32,
                "origin": {"regimen": "guideline"},
            },
            "outcomes": [{"name": "benefit", "label": "days in range", "unit": "share", "better": "higher"}],
            "regimens": {
                "mine": {"outcomes": {"benefit": {"answer": answered}}},
                "other": {"outcomes": {"benefit": {"answer": None}}},
            },
        }
    )
    filled = {(item.guideline, item.number): item.filled for item in items}
    assert "1,200 patients logged, 1,190 used" in str(filled["TRIPOD+AI 2024", "20a"])
    assert filled["TRIPOD+AI 2024", "23a"] == (
        "With 95 % intervals: mine, days in range: 62.0 % (55.0 to 69.0); other, days in range: not answered."
    )
    assert "regimen: guideline" in str(filled["TRIPOD+AI 2024", "5a"])
    assert filled["TRIPOD+AI 2024", "1"] == "Off-policy evaluation: Warfarin."
    # what only a trial has stays open
    assert filled["CONSORT 2010", "8a"] is None and filled["CONSORT 2010", "17b"] is None

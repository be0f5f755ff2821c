"""The page of an explained policy says what its record says, and is whole without any other file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dosewright.agents.explanation import explain
from dosewright.agents.learning import LearnedPolicy
from dosewright.evaluation import ExistingResultError
from dosewright.evaluation.report.explanation import explanation_part, gain_cell, write_explanation

Linear = Callable[[Mapping[str, float]], LearnedPolicy]


@pytest.fixture(scope="module")
def record(linear: Linear) -> dict[str, Any]:
    return explain(linear({"mean log response over target": -0.5, "last innovation": 0.1}), 20, seed=1)


def test_the_folder_holds_the_page_and_its_numbers(record: dict[str, Any], tmp_path: Path) -> None:
    folder = write_explanation(record, tmp_path / "out")
    assert {path.name for path in folder.iterdir()} == {"explain.html", "result.json"}
    assert json.loads((folder / "result.json").read_text()) == record
    page = (folder / "explain.html").read_text()
    assert page.count("not for clinical use") == 1
    assert not re.search(r'(src|href)="(?!#|data:)', page) and "<script" not in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 100  # of six figures on one page
    with pytest.raises(ExistingResultError, match="exists already"):
        write_explanation(record, tmp_path / "out")


def test_the_part_says_every_number_that_decides(record: dict[str, Any]) -> None:
    part = explanation_part(record)
    assert "<html" not in part and part.count("<svg") == 6
    for item in (record["differences"]["all"], *record["differences"]["kinds"]):
        for key, factor, digits, better in (("benefit", 1, 3, "higher"), ("event", 1000, 1, "lower")):
            mean, limits, _ = gain_cell(item[key], factor, digits, better)
            assert f"{mean}<small>{limits}</small>" in part if limits else f">{mean}<" in part
    for rule in record["surrogate"]["rules"]:
        assert rule["when"].replace("'", "&#39;") in part
    assert f"{100 * record['surrogate']['fidelity']['same_tablet']:.1f}" in part
    assert all(item["feature"].replace(">", "&gt;") in part for item in record["importance"])


def test_a_policy_that_never_departs_has_a_page(linear: Linear) -> None:
    record = explain(linear({}), 5, seed=1)
    part = explanation_part(record)
    assert "the policy never departs" in part and part.count("<svg") == 5
    assert any("At 0 % of" in sentence for sentence in record["answer"])
    assert record["surrogate"]["fidelity"]["r_squared"] is None
    assert record["surrogate"]["rules"][0]["when"] == "always"


def test_a_gain_is_coloured_by_its_interval() -> None:
    gain = {"mean": 0.2, "low": 0.1, "high": 0.3}
    assert gain_cell(gain, 1, 3, "higher") == ("+0.200", "+0.100 to +0.300", "better")
    assert gain_cell(gain, 1000, 1, "lower") == ("+200.0", "+100.0 to +300.0", "worse")
    assert gain_cell({"mean": -0.2, "low": -0.5, "high": 0.1}, 1, 1, "lower") == ("−0.2", "−0.5 to +0.1", "")
    assert gain_cell({"mean": 0.0, "low": None, "high": None}, 1, 1, "lower") == ("0.0", "", "")
    assert gain_cell({"mean": None, "low": None, "high": None}, 1, 1, "lower") == ("–", "", "")

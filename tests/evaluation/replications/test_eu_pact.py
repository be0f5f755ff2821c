"""EU-PACT again: a small form that can fail, the same numbers twice, and acceptance (slow)."""

import json
from dataclasses import fields

import numpy as np
import pytest

from dosewright.envs import Noise
from dosewright.evaluation.replications import Replication, eu_pact
from dosewright.evaluation.replications.conduct import Treated, treat
from dosewright.evaluation.replications.contrast import contrast
from dosewright.evaluation.replications.control import Control
from dosewright.scripts.replicate import eu_pact_arms

ARMS = eu_pact_arms()


def treated(ids: np.ndarray, names: tuple[str, ...], realism: str = "clinic") -> Treated:
    visits = {name: tuple(day - 1 for day in eu_pact.ARMS[name].visits) for name in names}
    arms = {name: ARMS[name] for name in names}
    preset = eu_pact.SCENARIO.preset(realism)
    return treat(eu_pact.SCENARIO, arms, visits, (0, 84), eu_pact.POPULATION, ids, Noise("trial", 1), preset)


@pytest.fixture(scope="module")
def primary() -> Treated:
    return treated(np.arange(600), (eu_pact.PRIMARY.genotype, eu_pact.PRIMARY.standard))


def test_visits_and_rules_are_those_of_the_reference() -> None:
    # trials.md 4: days 1, 4, 6, 8, 11, 15, 18, 22, 29, then weekly to 85; protocol 1, 4, 6, 8, 15, 22, 57, 85
    assert eu_pact.ARMS["genotype"].visits == (1, 4, 6, 8, 11, 15, 18, 22, *range(29, 85, 7))
    assert eu_pact.ARMS["standard, protocol visits"].visits == (1, 4, 6, 8, 15, 22, 57)
    assert eu_pact.PRIMARY.name == "keeps 5 mg until day 6" and eu_pact.BAND == (3.3, 10.6)
    assert [rule.name for rule in eu_pact.RULES[:3]] == [
        "acts on day 4", "keeps 5 mg until day 6", "protocol visits only",
    ]  # fmt: skip
    used = {name for rule in eu_pact.RULES for name in (rule.genotype, rule.standard)}
    assert used == set(eu_pact.ARMS) == set(ARMS)


def test_small_replication_of_the_primary_comparison(primary: Treated) -> None:
    rule = eu_pact.PRIMARY
    found = contrast(rule.name, "clinic", primary.controls[rule.genotype], primary.controls[rule.standard])
    # 20 000 patients: 59.5 and 54.8 %, +4.7; standard errors of 600: 0.5 of the difference, 0.8 of a level
    assert found.difference["in_range"].mean == pytest.approx(4.7, abs=2.0)
    assert found.first.in_range.mean == pytest.approx(59.5, abs=3.0)
    assert found.second.in_range.mean == pytest.approx(54.8, abs=3.0)
    assert found.difference["ever_at_least_4"].high < 0
    share = primary.share_in_range[rule.genotype]
    assert share.shape == (85,) and share[0] == 0 and share[84] > 0.4


def test_blocks_change_no_number(primary: Treated) -> None:
    names = (eu_pact.PRIMARY.genotype, eu_pact.PRIMARY.standard)
    again = treated(np.arange(100, 140), names)
    for name in names:
        for field in fields(Control):
            whole, part = (getattr(world.controls[name], field.name) for world in (primary, again))
            assert np.array_equal(whole[100:140], part, equal_nan=True), (name, field.name)


@pytest.fixture(scope="module")
def result() -> Replication:
    return eu_pact.replicate(ARMS, 30, 2, ("clinic",))


def test_result_reports_every_item(result: Replication) -> None:
    assert [(check.item, check.rule) for check in result.checks] == [
        (1, "report"), (1, "must hold"), (1, "report"), (2, "flag"), (2, "flag"), (2, "flag"), (2, "flag"),
    ]  # fmt: skip
    assert [check.band for check in result.checks[3:]] == [(60.0, 67.0)] * 2 + [(27.0, 37.0)] * 2
    assert [item.name for item in result.contrasts] == [rule.name for rule in eu_pact.RULES]
    record = json.loads(json.dumps(result.record(), allow_nan=False))
    assert record["checks"][1]["estimate"]["mean"] == result.contrasts[1].difference["in_range"].mean
    assert record["checks"][1]["verdict"] in ("pass", "fail")
    assert record["notice"] == "Research simulation, not for clinical use"


def test_arms_must_be_those_of_the_trial() -> None:
    fewer = {name: arm for name, arm in ARMS.items() if name != "genotype"}
    with pytest.raises(ValueError, match="arm 'genotype' is missing, or no arm of this trial"):
        eu_pact.replicate(fewer, 10, 1, ("clinic",))
    with pytest.raises(ValueError, match="unknown realism 'lab'"):
        eu_pact.replicate(ARMS, 10, 1, ("lab",))


@pytest.mark.slow
def test_acceptance() -> None:
    found = eu_pact.replicate(ARMS, 4000, 1, ("clinic", "textbook"))
    judged = [check for check in found.checks if check.rule == "must hold"]
    assert [check.verdict for check in judged] == ["pass"]
    difference = {(item.realism, item.name): item.difference["in_range"].mean for item in found.contrasts}
    # trials.md 4; four standard errors of 4000 patients here and of 20 000 there
    expected = {
        ("textbook", "acts on day 4"): (0.41, 0.8), ("textbook", "keeps 5 mg until day 6"): (5.65, 0.9),
        ("textbook", "protocol visits only"): (9.22, 1.8), ("clinic", "acts on day 4"): (0.71, 0.8),
        ("clinic", "keeps 5 mg until day 6"): (4.81, 0.9), ("clinic", "protocol visits only"): (7.50, 1.8),
    }  # fmt: skip
    for key, (mean, tolerance) in expected.items():
        assert difference[key] == pytest.approx(mean, abs=tolerance), key

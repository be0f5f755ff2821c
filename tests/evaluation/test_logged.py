"""Trajectories refuse what no log can hold, and say where it is; the hash is that of the data."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dosewright.evaluation.logged import Trajectories


def three_patients(**changes: Any) -> Trajectories:
    """Patient 0 followed to the end, patient 1 ended at step 1, patient 2 dropped out after step 0."""
    mask = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0]], dtype=bool)
    fields: dict[str, Any] = {
        "observations": np.ones((3, 3, 2), dtype=np.float32),
        "actions": np.full((3, 3), 5.0),
        "rewards": np.where(mask, 0.5, 0.0),
        "mask": mask,
        "terminated": np.array([True, True, False]),
        "truncated": np.zeros(3, dtype=bool),
        "censored": np.array([False, False, True]),
        "behaviour_log_prob": np.where(mask, np.log(0.25), np.nan),
        "outcomes": {"inr_above_4": np.where(mask, 0.1, 0.0)},
    }
    return Trajectories(**(fields | changes))


def with_entry(array: np.ndarray, place: tuple[int, ...], value: float) -> np.ndarray:
    changed = np.array(array)
    changed[place] = value
    return changed


def test_counts_follow_from_the_mask() -> None:
    log = three_patients()
    assert (log.n_patients, log.horizon) == (3, 3)
    assert log.lengths.tolist() == [3, 2, 1]
    assert log.dropped_out.tolist() == [False, False, True]


def test_nobody_is_censored_unless_said() -> None:
    log = three_patients(censored=np.zeros(0, dtype=bool), truncated=np.array([False, False, True]))
    assert log.censored.tolist() == [False, False, False]


NONE = np.zeros(3, dtype=bool)
LAST = np.array([False, False, True])


@pytest.mark.parametrize(
    ("lengths", "flags", "dropped_out"),
    [
        # what stops early, and goes on unseen: lost to follow-up, or cut off by a limit
        ((3, 3, 1), {"terminated": NONE, "truncated": NONE, "censored": LAST}, True),
        ((3, 3, 1), {"terminated": NONE, "truncated": LAST, "censored": NONE}, True),
        # nothing was left to happen, whatever limit fell on the same step
        ((3, 3, 1), {"terminated": LAST, "truncated": NONE, "censored": NONE}, False),
        ((3, 3, 1), {"terminated": LAST, "truncated": LAST, "censored": NONE}, False),
        # at the horizon nothing that is asked about is unseen, even if the patient left in the last interval
        ((3, 3, 3), {"terminated": NONE, "truncated": ~NONE, "censored": NONE}, False),
        ((3, 3, 3), {"terminated": NONE, "truncated": NONE, "censored": ~NONE}, False),
        ((3, 3, 3), {"terminated": NONE, "truncated": NONE, "censored": NONE}, False),
    ],
)
def test_who_dropped_out(lengths: tuple[int, ...], flags: dict[str, np.ndarray], dropped_out: bool) -> None:
    mask = np.arange(3) < np.array(lengths)[:, None]
    log = three_patients(mask=mask, rewards=np.zeros((3, 3)), outcomes={}, behaviour_log_prob=None, **flags)
    assert log.dropped_out.tolist() == [False, False, dropped_out]


def test_padding_is_never_read() -> None:
    base = three_patients()
    log = three_patients(
        observations=with_entry(base.observations, (1, 2, 0), np.nan),
        actions=with_entry(base.actions, (2, 1), np.nan),
    )
    assert np.isnan(log.actions[2, 1])


def test_arrays_are_read_only() -> None:
    log = three_patients()
    with pytest.raises(ValueError, match="read-only"):
        log.rewards[0, 0] = 9.0


def test_select_keeps_order_and_every_field() -> None:
    log = three_patients(rewards=np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 0.0], [6.0, 0.0, 0.0]]))
    log = replace(
        log, patients=np.array(["a", "b", "c"]), strata={"sex": np.array(["f", "m", "f"])},
        times=np.tile([0.0, 7.0, 14.0], (3, 1)), step_length=7.0, observation_names=("inr", "age"),
        provenance={"namespace": "select"},
    )  # fmt: skip
    chosen = log.select([2, 0])
    assert chosen.rewards.tolist() == [[6.0, 0.0, 0.0], [1.0, 2.0, 3.0]]
    assert chosen.identifiers.tolist() == ["c", "a"]
    assert chosen.strata["sex"].tolist() == ["f", "f"]
    assert chosen.times is not None and chosen.times.shape == (2, 3)
    assert (chosen.step_length, chosen.observation_names) == (7.0, ("inr", "age"))
    assert chosen.provenance == {"namespace": "select"}
    assert chosen.dropped_out.tolist() == [True, False]
    assert chosen.outcomes["inr_above_4"].tolist() == [[0.1, 0.0, 0.0], [0.1, 0.1, 0.1]]
    assert chosen.behaviour_log_prob is not None
    assert log.select(np.array([False, True, False])).lengths.tolist() == [2]


BASE = three_patients()
LOG_PROB = np.where(BASE.mask, np.log(0.25), 0.0)
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"rewards": np.zeros((3, 2))}, r"rewards has shape \(3, 2\); expected \(3, 3\)"),
    ({"actions": np.zeros((3, 3, 1))}, r"actions has shape \(3, 3, 1\)"),
    ({"observations": np.zeros((3, 3))}, r"observations has shape \(3, 3\); expected \(3, 3, k\)"),
    ({"terminated": np.zeros(2, dtype=bool)}, r"terminated has shape \(2,\); expected \(3,\)"),
    ({"behaviour_log_prob": np.zeros(3)}, r"behaviour_log_prob has shape \(3,\)"),
    ({"outcomes": {"bleed": np.zeros((1, 3))}}, r"outcomes\['bleed'\] has shape \(1, 3\)"),
    ({"outcomes": {"return": np.zeros((3, 3))}}, r"outcomes\['return'\] has the name of the log's own rew"),
    ({"mask": np.zeros((3, 0), dtype=bool)}, r"mask has shape \(3, 0\)"),
    ({"mask": np.full((3, 3), 0.5)}, "mask holds values other than True and False"),
    ({"mask": with_entry(BASE.mask, (1, 0), 0)}, r"mask\[1, 0\] is False \(patient 1, step 0\)"),
    ({"mask": with_entry(BASE.mask, (0, 1), 0)}, r"mask\[0, 2\] is True after a False \(patient 0, step 2\)"),
    ({"censored": NONE}, "patient 2 stops after 1 of 3 steps"),
    ({"truncated": LAST}, "patient 2 is censored and truncated: one reason is enough"),
    ({"terminated": LAST}, "patient 2 is censored and terminated: nothing was left to lose"),
    ({"censored": np.zeros(2, dtype=bool)}, r"censored has shape \(2,\); expected \(3,\)"),
    ({"strata": {"sex": np.array(["f", "m"])}}, r"strata\['sex'\] has shape \(2,\); expected \(3,\)"),
    ({"strata": {"age": np.array([1.5, 2.0, 3.0])}}, r"strata\['age'\] holds 1.5; expected text or whole"),
    ({"strata": {"sex": np.array(["f", None, "m"], dtype=object)}}, r"strata\['sex'\] holds None"),
    ({"patients": [4, 7, 4]}, "patient 4 is there twice; expected each identifier once"),
    ({"patients": ["a", "b"]}, r"patients has shape \(2,\); expected \(3,\)"),
    ({"times": np.zeros((3, 2))}, r"times has shape \(3, 2\)"),
    ({"times": np.tile([0.0, 7.0, 7.0], (3, 1))}, r"times\[0, 2\] = 7.0 .*after that of the step before"),
    ({"times": np.tile([0.0, 7.0, np.nan], (3, 1))}, r"times\[0, 2\] = nan .*finite"),
    (
        {"times": np.tile([0.0, 7.0, 21.0], (3, 1)), "step_length": 7.0},
        r"times\[0, 2\] = 21.0 \(patient 0, step 2\); expected 7 after the step before.*re-binned",
    ),
    ({"step_length": 0.0}, "step_length = 0.0; expected a length above 0"),
    ({"observation_names": ("inr",)}, "observation_names has 1 names; expected 2"),
    ({"provenance": {"seed": np.int64(3)}}, "cannot be written as JSON"),
    ({"rewards": with_entry(BASE.rewards, (1, 1), np.nan)}, r"rewards\[1, 1\] = nan \(patient 1, step 1\)"),
    ({"rewards": with_entry(BASE.rewards, (1, 2), 2.0)}, r"rewards\[1, 2\] = 2.0 .*expected 0 where mask"),
    ({"rewards": with_entry(BASE.rewards, (2, 2), np.nan)}, r"rewards\[2, 2\] = nan .*expected 0 where mask"),
    ({"outcomes": {"bleed": np.ones((3, 3))}}, r"outcomes\['bleed'\]\[1, 2\] = 1.0 \(patient 1, step 2\)"),
    ({"observations": with_entry(BASE.observations, (0, 2, 1), np.nan)}, r"observations\[0, 2\].*known = 0"),
    ({"behaviour_log_prob": with_entry(LOG_PROB, (0, 1), 0.25)}, r"\[0, 1\] = 0.25 .*take the log"),
    ({"behaviour_log_prob": with_entry(LOG_PROB, (2, 0), -np.inf)}, r"\[2, 0\] = -inf .*finite"),
    ({"propensity": "odds"}, "propensity = 'odds'; expected 'mass'"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_refusals_name_value_place_and_remedy(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        three_patients(**changes)


def test_a_density_may_exceed_one() -> None:
    log_density = with_entry(LOG_PROB, (0, 1), 0.25)
    log = three_patients(behaviour_log_prob=log_density, propensity="density")
    assert log.behaviour_log_prob is not None and log.behaviour_log_prob[0, 1] == 0.25


# --- content hash -----------------------------------------------------------------------------------------

FULL: dict[str, Any] = {
    "patients": np.array([3, 5, 9]),
    "strata": {"sex": np.array(["f", "m", "f"]), "genotype": np.array([0, 1, 2])},
    "times": np.array([[0.0, 7.0, 14.0], [0.0, 7.5, 0.0], [0.0, 0.0, 0.0]]),
    "outcomes": {"a": np.where(BASE.mask, 0.25, 0.0), "b": np.where(BASE.mask, 2.0, 0.0)},
}


def test_the_hash_is_known() -> None:
    # a change of the format would make every log on disk look changed
    known = "6a795e78e25b35c70063ed5eb453518eb5bee0e1314e975a2f489664d373ac16"
    assert three_patients(**FULL).content_hash == known


def test_the_hash_is_that_of_the_data() -> None:
    log = three_patients(**FULL)
    order = [2, 0, 1]

    def padded(array: np.ndarray | None, fill: float) -> np.ndarray:
        assert array is not None
        return np.pad(array, ((0, 0), (0, 4), (0, 0))[: array.ndim], constant_values=fill)

    longer = replace(
        log, observations=padded(log.observations, 8), actions=padded(log.actions, 9),
        rewards=padded(log.rewards, 0), mask=padded(log.mask, 0), times=padded(log.times, 5),
        behaviour_log_prob=padded(log.behaviour_log_prob, np.nan),
        outcomes={name: padded(values, 0) for name, values in log.outcomes.items()},
    )  # fmt: skip
    alike = {
        "padding": longer,
        "what stands in the padding": replace(log, actions=np.where(log.mask, log.actions, -1.0)),
        "order of patients": log.select(order),
        "width of numbers": replace(
            log, observations=log.observations.astype(np.float64), actions=log.actions.astype(np.int8)
        ),
        "order of names": replace(
            log,
            outcomes={k: log.outcomes[k] for k in "ba"},
            strata={k: log.strata[k] for k in ("genotype", "sex")},
        ),
        "width of labels": replace(log, strata={k: v.astype("<U20") for k, v in log.strata.items()}),
        "sign of zero": replace(log, rewards=np.where(log.rewards == 0, -0.0, log.rewards)),
        "provenance": replace(log, provenance={"seed": 3}),
    }
    assert {what: other.content_hash == log.content_hash for what, other in alike.items()} == dict.fromkeys(
        alike, True
    )


def test_any_value_changes_the_hash() -> None:
    log = three_patients(**FULL)
    assert log.times is not None and log.behaviour_log_prob is not None
    anonymous = replace(log, patients=None)
    other = [
        log,
        anonymous,
        anonymous.select([0, 1, 2, 2]),
        log.select([0, 1]),
        replace(log, actions=with_entry(log.actions, (0, 2), np.nextafter(5.0, 6.0))),
        replace(log, rewards=with_entry(log.rewards, (1, 1), 0.75)),
        replace(log, observations=with_entry(log.observations, (1, 1, 1), 2.0)),
        replace(log, behaviour_log_prob=with_entry(log.behaviour_log_prob, (2, 0), -0.5)),
        replace(log, behaviour_log_prob=None),
        replace(log, times=with_entry(log.times, (1, 1), 7.25)),
        replace(log, times=None),
        replace(log, outcomes={**log.outcomes, "b": log.outcomes["a"]}),
        replace(log, outcomes={"a": log.outcomes["b"], "b": log.outcomes["a"]}),
        replace(log, outcomes={"a": log.outcomes["a"]}),
        replace(log, strata={**log.strata, "sex": np.array(["f", "m", "m"])}),
        replace(log, patients=np.array([3, 5, 10])),
        replace(log, censored=NONE, truncated=LAST),
        replace(log, propensity="density"),
        replace(log, observation_names=("inr", "age")),
        replace(log, observation_names=("age", "inr")),
        replace(log, step_length=7.0, times=None),
    ]
    assert len({each.content_hash for each in other}) == len(other)
    assert all(re.fullmatch("[0-9a-f]{64}", each.content_hash) for each in other)

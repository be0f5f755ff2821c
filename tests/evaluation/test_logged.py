"""Trajectories refuse what no log can hold, and say where it is."""

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
        "truncated": np.array([False, False, True]),
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


def test_truncation_at_the_horizon_is_not_drop_out() -> None:
    everyone = np.ones((3, 3), dtype=bool)
    log = three_patients(mask=everyone, behaviour_log_prob=None, truncated=np.ones(3, dtype=bool))
    assert not log.dropped_out.any()


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
    chosen = log.select([2, 0])
    assert chosen.rewards.tolist() == [[6.0, 0.0, 0.0], [1.0, 2.0, 3.0]]
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
    ({"mask": np.zeros((3, 0), dtype=bool)}, r"mask has shape \(3, 0\)"),
    ({"mask": np.full((3, 3), 0.5)}, "mask holds values other than True and False"),
    ({"mask": with_entry(BASE.mask, (1, 0), 0)}, r"mask\[1, 0\] is False \(patient 1, step 0\)"),
    ({"mask": with_entry(BASE.mask, (0, 1), 0)}, r"mask\[0, 2\] is True after a False \(patient 0, step 2\)"),
    ({"truncated": np.zeros(3, dtype=bool)}, "patient 2 stops after 1 of 3 steps"),
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

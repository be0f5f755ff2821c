"""A log and its table say the same, and a table that cannot be a log is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars
import pytest

from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.logs import from_frame, to_frame

Full = Callable[..., Trajectories]
Same = Callable[[Trajectories, Trajectories], None]


def test_there_and_back(full: Full, same: Same) -> None:
    log = full()
    frame = to_frame(log)
    assert frame.height == log.mask.sum()
    same(from_frame(frame), log)
    assert from_frame(frame).observations.dtype == np.float32


def test_any_order_of_rows_and_any_kind_of_table(full: Full, same: Same) -> None:
    log = full()
    frame = to_frame(log)
    arrays = {name: frame[name].to_numpy() for name in frame.columns}
    narrow = frame.with_columns(polars.col("step").cast(polars.Int8))
    for table in (arrays, narrow):
        same(from_frame(table), log)
    mixed = frame.sample(fraction=1.0, shuffle=True, seed=2)
    assert from_frame(mixed).content_hash == log.content_hash
    first = list(dict.fromkeys(mixed["patient"].to_list()))
    assert from_frame(mixed).identifiers.tolist() == first


def test_pandas(full: Full, same: Same) -> None:
    pandas = pytest.importorskip("pandas")
    frame = to_frame(full())
    same(from_frame(pandas.DataFrame({name: frame[name].to_numpy() for name in frame.columns})), full())


def test_columns_of_another_name(full: Full, same: Same) -> None:
    log = full()
    frame = to_frame(log).rename({"patient": "ID", "action": "DOSE", "observation.inr": "INR"})
    frame = frame.with_columns(polars.lit("x").alias("site"))
    columns = {"ID": "patient", "DOSE": "action", "INR": "observation.inr", "site": None}
    same(from_frame(frame, columns), log)


def test_probabilities_instead_of_their_logarithms() -> None:
    log = from_frame(ROWS | {"behaviour_prob": [0.5, 0.25, 1.0]})
    assert log.behaviour_log_prob is not None
    assert log.behaviour_log_prob[log.mask].tolist() == [np.log(0.5), np.log(0.25), 0.0]


def test_without_steps_decisions_are_in_order_of_time(full: Full, same: Same) -> None:
    log = full()
    frame = to_frame(log).drop("step")
    same(from_frame(frame), log)
    assert from_frame(frame.sample(fraction=1.0, shuffle=True, seed=5)).content_hash == log.content_hash


def test_unnamed_observations_stay_unnamed(full: Full, same: Same) -> None:
    log = full(observation_names=())
    same(from_frame(to_frame(log)), log)


def test_the_horizon_may_be_longer_than_any_course(full: Full) -> None:
    log = full(censored=np.zeros(0, bool), terminated=np.zeros(40, bool), truncated=np.ones(40, bool))
    assert from_frame(to_frame(log), horizon=9).horizon == 9
    assert from_frame(to_frame(log)).dropped_out.sum() == (log.lengths < 5).sum()
    assert from_frame(to_frame(log), horizon=9).dropped_out.all()  # all are cut off before step 9


ROWS: dict[str, Any] = {
    "patient": ["a", "a", "b"],
    "step": [0, 1, 0],
    "time": [0.0, 7.0, 0.0],
    "action": [5.0, 2.5, 5.0],
    "reward": [1.0, 0.5, 0.25],
    "terminated": [False, True, True],
    "observation.inr": [1.0, 2.0, 1.5],
    "stratum.sex": ["f", "f", "m"],
}


def changed(**columns: Any) -> dict[str, Any]:
    return {**ROWS, **{name.replace("_dot_", "."): value for name, value in columns.items()}}


def without(*names: str) -> dict[str, Any]:
    return {name: values for name, values in ROWS.items() if name not in names}


REFUSED: list[tuple[dict[str, Any], str]] = [
    (changed(step=[0, 0, 0]), "step 0 of patient 'a' is there twice; expected one row a patient-step"),
    (changed(step=[0, 2, 0]), "patient 'a' has step 2 and no step 1; expected steps 0, 1, 2"),
    (changed(step=[1, 2, 0]), "patient 'a' has step 2 and no step 0"),
    (changed(step=[0, 1.5, 0]), "step = 1.5 .patient 'a'.; expected whole numbers from 0"),
    (changed(step=[0, 1, -1]), "step = -1 .patient 'b'."),
    (changed(behaviour_prob=[0.5, 0.0, 0.5]), r"behaviour_prob = 0.0 \(patient 'a', step 1\).*in \(0, 1\]"),
    (changed(behaviour_prob=[0.5, 0.5, 1.01]), r"behaviour_prob = 1.01 \(patient 'b', step 0\)"),
    (changed(behaviour_prob=[0.5, -0.5, 0.5]), r"behaviour_prob = -0.5 "),
    (changed(behaviour_log_prob=[-0.5, 0.5, -0.5]), r"prob = 0.5 \(patient 'a', step 1\).*take the log"),
    (changed(behaviour_prob=[0.5] * 3, behaviour_log_prob=[-1.0] * 3), "are one thing; leave one out"),
    (changed(reward=[1.0, None, 0.0]), r"reward = nan \(patient 'a', step 1\); expected a finite number"),
    (changed(observation_dot_inr=[1.0, np.nan, 1.0]), r"observation.inr = nan .*known = 0"),
    (changed(action=["5 mg", "5 mg", "5 mg"]), "column 'action' is not numeric"),
    (changed(patient=["a", None, "b"]), "patient holds None; expected text or whole numbers"),
    (changed(patient=[1.0, 1.0, 2.0]), "patient holds 1.0; expected text or whole numbers"),
    (changed(terminated=[True, True, True]), "terminated is True at step 0 of patient 'a', who has 2 steps"),
    (changed(terminated=["yes", "no", "no"]), "terminated = yes .*expected True or False"),
    (changed(terminated=[False, True, False]), "patient 1 stops after 1 of 2 steps"),
    (changed(stratum_dot_sex=["f", "m", "m"]), "stratum.sex of patient 'a' is 'f' and 'm'; expected one"),
    (changed(time=[0.0, 0.0, 0.0]), r"times\[0, 1\] = 0.0 .*after that of the step before"),
    (changed(weight=[70.0, 70.0, 80.0]), "column 'weight' is none of a log's; .*'observation.weight'"),
    (without("reward"), "no column 'reward'; rename the one it is in, .*; there are patient, "),
    (without("reward") | {"rewards": [1.0, 1.0, 1.0]}, "no column 'reward'.*; without a known name are rew"),
    (without("step", "time"), "no column 'step'"),
    ({name: [] for name in ROWS}, "the table has no rows"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_refusals_name_patient_step_and_remedy(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_frame(table)


def test_a_claimed_interval_is_checked() -> None:
    assert from_frame(ROWS, step_length=7.0).step_length == 7.0
    with pytest.raises(
        ValueError, match=r"times\[0, 1\] = 7.0 .*expected 14 after the step before.*re-binned"
    ):
        from_frame(ROWS, step_length=14.0)


def test_a_course_beyond_the_horizon_is_refused() -> None:
    with pytest.raises(ValueError, match="patient 'a' has 2 steps; expected at most the horizon of 1"):
        from_frame(ROWS, horizon=1)


def test_columns_that_are_not_there_or_twice() -> None:
    with pytest.raises(ValueError, match="no column 'DOSE' .columns.; there are patient, step"):
        from_frame(ROWS, {"DOSE": "action"})
    with pytest.raises(ValueError, match="columns 'action' and 'reward' are both action"):
        from_frame(ROWS, {"reward": "action"})

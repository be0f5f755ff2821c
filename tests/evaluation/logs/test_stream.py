"""A log that grows is the log of all that has arrived, in whatever order and pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import polars
import pytest

from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.logs import LogStream, from_frame, to_frame

Full = Callable[..., Trajectories]
Same = Callable[[Trajectories, Trajectories], None]


def pieces(frame: polars.DataFrame, size: int, seed: int | None) -> Iterator[polars.DataFrame]:
    mixed = frame if seed is None else frame.sample(fraction=1.0, shuffle=True, seed=seed)
    for first in range(0, mixed.height, size):
        yield mixed[first : first + size]


@pytest.mark.parametrize(("size", "seed"), [(1, None), (7, None), (7, 1), (7, 2), (1000, 3)])
def test_order_and_pieces_do_not_matter(full: Full, same: Same, size: int, seed: int | None) -> None:
    log = full(provenance={})
    stream = LogStream(log.horizon)
    for piece in pieces(to_frame(log), size, seed):
        stream.append(piece)
    assert stream.waiting == [] and stream.n_patients == log.n_patients
    found = stream.log()
    assert found.content_hash == log.content_hash
    place = {who: i for i, who in enumerate(found.identifiers.tolist())}
    same(found.select([place[who] for who in log.identifiers.tolist()]), log)


def test_next_steps_of_known_patients_and_whole_new_ones() -> None:
    stream = LogStream(3)
    stream.append(rows(["a", "a"], [0, 1]))
    early = stream.log()
    stream.append(rows(["b", "a"], [0, 2], terminated=[False, True]))
    late = stream.log()
    assert (early.n_patients, early.lengths.tolist(), early.truncated.tolist()) == (1, [2], [True])
    assert late.identifiers.tolist() == ["a", "b"]
    assert late.lengths.tolist() == [3, 1]
    assert late.terminated.tolist() == [True, False]
    # "b" is under way: cut off by the day on which the log was taken, so not all of it was seen
    assert late.truncated.tolist() == late.dropped_out.tolist() == [False, True]
    # a log that was taken stays as it was
    assert early.rewards.tolist() == [[1.0, 1.0, 0.0]] and early.mask.tolist() == [[True, True, False]]


def test_steps_ahead_of_a_gap_wait() -> None:
    stream = LogStream(4)
    stream.append(rows(["a", "a", "b"], [0, 2, 1]))
    assert stream.waiting == [("a", 2), ("b", 1)]
    assert stream.log().lengths.tolist() == [1]
    stream.append(rows(["a", "b"], [1, 0]))
    assert stream.waiting == []
    assert stream.log().lengths.tolist() == [3, 2]


def test_an_end_that_waits_is_no_end_yet() -> None:
    stream = LogStream(4)
    stream.append(rows(["a", "a"], [0, 2], terminated=[False, True]))
    assert (stream.log().terminated.tolist(), stream.log().truncated.tolist()) == ([False], [True])
    stream.append(rows(["a"], [1]))
    assert (stream.log().terminated.tolist(), stream.log().truncated.tolist()) == ([True], [False])


def rows(patient: list[Any], step: list[int], **columns: Any) -> dict[str, Any]:
    plain = {"action": [1.0] * len(step), "reward": [1.0] * len(step), "terminated": [False] * len(step)}
    return {"patient": patient, "step": step, **plain, "stratum.sex": ["f"] * len(step), **columns}


REFUSED: list[tuple[dict[str, Any], str]] = [
    (rows(["a"], [1]), "step 1 of patient 'a' arrived before; expected each patient-step once"),
    (rows(["c", "c"], [0, 0]), "step 0 of patient 'c' is there twice"),
    (rows(["b"], [2]), "step 2 of patient 'b' belongs to a course with steps after its end"),
    (rows(["a"], [0], terminated=[True]), "arrived before"),
    (rows(["c", "c"], [0, 1], terminated=[True, False]), "step 0 of patient 'c' belongs to a course with"),
    (rows(["c", "c"], [0, 1], terminated=[True, True]), "patient 'c' belongs to a course with steps after"),
    (rows(["a"], [4]), "step 4 of patient 'a' is beyond the horizon of 4 steps"),
    (rows(["a"], [2], **{"stratum.sex": ["m"]}), "stratum.sex of patient 'a' is 'm' and was 'f'"),
    (rows(["a"], [2], reward=[np.nan]), r"reward = nan \(patient 'a', step 2\)"),
    (rows(["a"], [2], behaviour_log_prob=[0.5]), r"behaviour_log_prob = 0.5 .*take the log, or call it beh"),
    ({k: v for k, v in rows(["a"], [2], time=[3.0]).items() if k != "step"}, "no column 'step'"),
    (rows(["a"], [2], **{"outcome.bleed": [0.0]}), "outcome.bleed: in one piece of the stream and not in"),
    (rows(["a"], [2], **{"observation.inr": [2.0]}), "the observations: in one piece of the stream"),
]


@pytest.mark.parametrize(("piece", "message"), REFUSED, ids=[message[:45] for _, message in REFUSED])
def test_what_is_refused_leaves_the_stream_as_it_was(piece: dict[str, Any], message: str) -> None:
    stream = LogStream(4)
    stream.append(rows(["a", "a", "b", "b"], [0, 1, 0, 1], terminated=[False, False, False, True]))
    before = stream.log().content_hash
    with pytest.raises(ValueError, match=message):
        stream.append(piece)
    assert stream.log().content_hash == before and stream.n_patients == 2


@pytest.mark.parametrize("step_length", [None, 7.0])
def test_a_time_that_does_not_fit_is_refused_when_it_arrives(step_length: float | None) -> None:
    stream = LogStream(5, step_length=step_length)
    stream.append(rows(["a", "a"], [0, 3], time=[10.0, 31.0]))
    for step, time in ((1, 10.0), (2, 31.0), (4, 30.0), (1, 35.0)):
        with pytest.raises(ValueError, match=f"step {step} of patient 'a' has a time that does not fit"):
            stream.append(rows(["a"], [step], time=[time]))
    stream.append(rows(["a", "b", "a"], [2, 0, 1], time=[24.0, 3.0, 17.0]))
    found = stream.log().times
    assert found is not None and found[0, :4].tolist() == [10.0, 17.0, 24.0, 31.0]
    if step_length is not None:
        with pytest.raises(ValueError, match="step 4 of patient 'a' has a time that does not fit"):
            stream.append(rows(["a"], [4], time=[40.0]))


def test_a_stream_without_a_first_step_has_no_log() -> None:
    with pytest.raises(ValueError, match="no patient's step 0 has arrived"):
        LogStream(3).log()
    with pytest.raises(ValueError, match="horizon = 0"):
        LogStream(0)


def test_the_cost_of_arrivals_is_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    # copied when arrays grow: at most as many patients as have arrived in all, times two, never once a piece
    from dosewright.evaluation.logs import stream as module

    copied: list[int] = []
    longer = module._longer

    def counted(array: np.ndarray, length: int) -> np.ndarray:
        copied.append(len(array))
        return longer(array, length)

    monkeypatch.setattr(module, "_longer", counted)
    stream, n = LogStream(2), 600
    for i in range(n):
        stream.append(rows([i], [0]))
    # seen, ends, action, reward, observations and sex
    assert sum(copied) < 6 * 2 * n
    assert stream.log().n_patients == n


def test_a_stream_says_where_it_comes_from(full: Full) -> None:
    log = full()
    stream = LogStream(5, {"DOSE": "action"}, provenance={"namespace": "trial", "seed": 1})
    stream.append(to_frame(log).rename({"action": "DOSE"}))
    assert stream.log().provenance == {"namespace": "trial", "seed": 1}
    assert stream.log().content_hash == from_frame(to_frame(log)).content_hash

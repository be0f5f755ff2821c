"""A log and its Minari dataset say the same; datasets of another origin are read as Gymnasium means them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.logs import from_minari, to_minari

Full = Callable[..., Trajectories]
Same = Callable[[Trajectories, Trajectories], None]

# Minari's own warnings about authors, environments and requirements that a dataset does not name
pytestmark = [pytest.mark.oracles, pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.fixture
def minari(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("h5py")  # Minari's storage
    found = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"patients": None, "observation_names": ()},
        {"behaviour_log_prob": None, "times": None, "outcomes": {}, "strata": {}},
        {"patients": np.array([f"p/{i}" for i in range(40)]), "outcomes": {"a/b": np.zeros((40, 5))}},
        {"terminated": np.ones(40, bool), "truncated": np.ones(40, bool), "censored": np.zeros(40, bool)},
    ],
)
def test_there_and_back(minari: Any, full: Full, same: Same, changes: dict[str, Any]) -> None:
    log = full(**changes)
    to_minari(log, "dosewright/log-v0", author="somebody")
    dataset = minari.load_dataset("dosewright/log-v0")
    assert (dataset.total_episodes, dataset.total_steps) == (log.n_patients, log.mask.sum())
    back = from_minari(dataset)
    same(back, log)
    assert back.provenance == log.provenance and back.horizon == log.horizon


def test_minari_sees_what_gymnasium_knows(minari: Any, full: Full) -> None:
    log = full()
    dataset = to_minari(log, "dosewright/log-v0")
    for i, episode in enumerate(dataset.iterate_episodes()):
        assert len(episode.observations) == len(episode) + 1
        assert episode.terminations[-1] == log.terminated[i]
        assert episode.truncations[-1] == (log.truncated[i] or log.censored[i])
        np.testing.assert_array_equal(episode.rewards, log.rewards[i, : len(episode)])


def foreign(minari: Any, actions: gymnasium.Space, doses: list[Any], seen: Any = None) -> Any:
    buffer = minari.data_collector.EpisodeBuffer
    seen = np.arange(8.0).reshape(4, 2) if seen is None else seen
    episode = buffer(
        id=0, observations=seen, actions=np.array(doses), rewards=[1.0, 2.0, 3.0],
        terminations=[False] * 3, truncations=[False, False, True],
    )  # fmt: skip
    space = gymnasium.spaces.Box(-np.inf, np.inf, seen.shape[1:], np.float64)
    return minari.create_dataset_from_buffers(
        "others/foreign-v0", [episode], observation_space=space, action_space=actions
    )


def test_a_dataset_of_another_origin(minari: Any) -> None:
    dataset = foreign(minari, gymnasium.spaces.Discrete(4), [3, 0, 1])
    log = from_minari(dataset)
    assert log.actions.tolist() == [[3.0, 0.0, 1.0]]
    assert log.observations.tolist() == [[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]]
    assert (log.truncated.tolist(), log.censored.tolist()) == ([True], [False])
    assert log.patients is None and log.behaviour_log_prob is None
    assert log.provenance == {"minari": "others/foreign-v0"}
    lost = from_minari(dataset, truncated_means="censored")
    assert (lost.truncated.tolist(), lost.censored.tolist()) == ([False], [True])


def test_what_is_no_log_of_doses(minari: Any) -> None:
    box = gymnasium.spaces.Box(0.0, 1.0, (2,), np.float64)
    with pytest.raises(ValueError, match=r"episode 0: actions have shape \(3, 2\).*expected one dose a step"):
        from_minari(foreign(minari, box, [[0.0, 1.0]] * 3))
    minari.delete_dataset("others/foreign-v0")
    images = np.zeros((4, 2, 2))
    with pytest.raises(ValueError, match=r"observations have shape \(4, 2, 2\).*flatten them"):
        from_minari(foreign(minari, gymnasium.spaces.Discrete(4), [0, 1, 2], images))


def test_a_dataset_that_is_there_is_not_written_over(minari: Any, full: Full) -> None:
    to_minari(full(), "dosewright/log-v0")
    with pytest.raises(ValueError, match="'dosewright/log-v0' is there already"):
        to_minari(full(), "dosewright/log-v0")


def test_without_minari_the_error_names_the_extra(full: Full, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(ImportError, match=r"pip install 'dosewright\[minari\]'"):
        to_minari(full(), "dosewright/log-v0")

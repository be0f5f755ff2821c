"""A log on disk is the log, and a file that somebody changed is not read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest

from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.logs import read_log, to_frame, write_log

Full = Callable[..., Trajectories]
Same = Callable[[Trajectories, Trajectories], None]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"patients": None},
        {"behaviour_log_prob": None, "times": None, "outcomes": {}, "strata": {}, "observation_names": ()},
        {"propensity": "density"},
        {"patients": np.array([f"p{i}" for i in range(40)])},
    ],
)
def test_there_and_back(full: Full, same: Same, tmp_path: Path, changes: dict[str, Any]) -> None:
    log = full(**changes)
    path = write_log(log, tmp_path / "log.parquet")
    back = read_log(path)
    same(back, log)
    assert back.provenance == log.provenance
    assert (back.patients is None) == (log.patients is None)
    assert [item.name for item in tmp_path.iterdir()] == ["log.parquet"]  # nothing half-written is left


def test_what_the_table_cannot_say_is_kept(full: Full, same: Same, tmp_path: Path) -> None:
    lengths = np.full(6, 3)
    lengths[0] = 2
    mask = np.arange(7) < lengths[:, None]
    log = Trajectories(
        observations=np.zeros((6, 7, 1)), actions=np.ones((6, 7)), rewards=np.zeros((6, 7)), mask=mask,
        terminated=np.zeros(6, bool), truncated=np.ones(6, bool),
        times=np.tile(np.linspace(0.0, 42.0, 7), (6, 1)), step_length=7.0,
    )  # fmt: skip
    back = read_log(write_log(log, tmp_path / "log.parquet"))
    same(back.select(range(6)), log.select(range(6)))
    assert (back.horizon, back.step_length) == (7, 7.0)
    assert back.dropped_out.all()  # all were cut off before the seventh step, and the file knows


def card(path: Path) -> dict[str, str]:
    return polars.read_parquet_metadata(path)


def test_the_file_says_what_it_is(full: Full, tmp_path: Path) -> None:
    log = full()
    said = json.loads(card(write_log(log, tmp_path / "log.parquet"))["dosewright.log"])
    assert said["notice"] == "Research simulation, not for clinical use."
    assert said["content_hash"] == log.content_hash
    assert said["provenance"] == {"scenario": "warfarin", "namespace": "select", "seed": 3}


def test_a_changed_file_is_refused(full: Full, tmp_path: Path) -> None:
    path = write_log(full(), tmp_path / "log.parquet")
    frame, said = polars.read_parquet(path), card(path)
    better = frame.with_columns(polars.col("reward") + 1e-9)
    better.write_parquet(path, metadata=said)
    with pytest.raises(ValueError, match=r"log\.parquet: its content has hash .*somebody changed it"):
        read_log(path)
    frame.filter(polars.col("patient") != frame["patient"][0]).write_parquet(path, metadata=said)
    with pytest.raises(ValueError, match="somebody changed it"):
        read_log(path)
    other = said["dosewright.log"].replace('"namespace": "select"', '"namespace": "trial"')
    assert other != said["dosewright.log"]
    frame.write_parquet(path, metadata={"dosewright.log": other})
    with pytest.raises(ValueError, match="what it says about itself was changed"):
        read_log(path)
    frame.write_parquet(path, metadata={"dosewright.log": json.dumps({"format": 2})})
    with pytest.raises(ValueError, match="format 2; expected 1"):
        read_log(path)


def test_tables_of_another_origin(full: Full, same: Same, tmp_path: Path) -> None:
    log = replace(full(), provenance={})
    frame = to_frame(log).rename({"reward": "utility"})
    frame.write_parquet(tmp_path / "own.parquet")
    frame.write_csv(tmp_path / "own.csv")
    for name in ("own.parquet", "own.csv"):
        back = read_log(tmp_path / name, {"utility": "reward"}, horizon=5)
        assert back.provenance == {"file": name}
        np.testing.assert_array_equal(back.rewards, log.rewards)
        np.testing.assert_array_equal(back.censored, log.censored)
        np.testing.assert_array_equal(back.strata["genotype"], log.strata["genotype"])
    same(read_log(tmp_path / "own.parquet", {"utility": "reward"}), log)


def test_refusals_name_the_file(full: Full, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing\.parquet: not found"):
        read_log(tmp_path / "missing.parquet")
    with pytest.raises(ValueError, match=r"log\.pickle: expected a name that ends in \.parquet"):
        write_log(full(), tmp_path / "log.pickle")
    (tmp_path / "log.txt").write_text("x")
    with pytest.raises(ValueError, match=r"log\.txt: expected a name that ends in \.parquet or \.csv"):
        read_log(tmp_path / "log.txt")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(ValueError, match=r"broken\.parquet: cannot be read"):
        read_log(tmp_path / "broken.parquet")
    path = write_log(full(), tmp_path / "log.parquet")
    with pytest.raises(ValueError, match=r"log\.parquet: it says itself what it holds"):
        read_log(path, {"reward": "reward"})
    (tmp_path / "gap.csv").write_text("patient,step,action,reward\na,0,1,0\na,2,1,0\n")
    with pytest.raises(ValueError, match=r"gap\.csv: patient 'a' has step 2 and no step 1"):
        read_log(tmp_path / "gap.csv")

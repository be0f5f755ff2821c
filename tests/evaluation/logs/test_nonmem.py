"""A log as a NONMEM-style table: a record a decision, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dosewright.envs.nonmem import read_nonmem, write_nonmem
from dosewright.envs.records import PatientRecords
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.logs import from_nonmem, to_nonmem

Full = Callable[..., Trajectories]
Same = Callable[[Trajectories, Trajectories], None]


def test_there_and_back_through_a_file(full: Full, same: Same, tmp_path: Path) -> None:
    log = full()
    assert log.times is not None
    log = replace(
        log,
        strata={"genotype": log.strata["genotype"]},
        times=log.times - log.times[:, :1],
        patients=log.identifiers.astype(str),
    )
    assert (log.actions[log.mask] == 0).any()  # a dose of 0 is a decision too
    path = tmp_path / "log.csv"
    write_nonmem(path, to_nonmem(log, "d", "mg"))
    assert path.read_text().splitlines()[0].startswith("ID,TIME[d],EVID,AMT[mg]")
    back = from_nonmem(
        read_nonmem(path), observations=("inr", "age_y"), outcomes=("bleed",), strata=("genotype",), horizon=5
    )
    same(replace(back, observations=back.observations.astype(np.float32)), log)


TABLE: str = """\
ID,TIME,EVID,AMT,DV,REWARD,LOGP,END,WT
1,0,0,.,1.1,0,0,0,70
1,0,1,5,.,0.5,-0.7,0,70
1,72,0,.,1.9,.,.,.,70
1,120,2,0,.,0.25,-1.2,0,70
1,120,0,.,2.6,.,.,.,70
1,168,1,2.5,.,0.75,-0.1,3,70
2,0,1,5,.,1,-0.5,1,80
"""


def table(tmp_path: Path, text: str = TABLE, **arguments: Any) -> tuple[PatientRecords, ...]:
    (tmp_path / "log.csv").write_text(text)
    return read_nonmem(tmp_path / "log.csv", **arguments)


def test_decisions_and_what_was_known_of_the_level(tmp_path: Path) -> None:
    log = from_nonmem(table(tmp_path), observations=("WT",), horizon=4)
    assert log.identifiers.tolist() == ["1", "2"]
    assert log.lengths.tolist() == [3, 1]
    assert log.actions[0, :3].tolist() == [5.0, 0.0, 2.5]
    assert log.rewards.tolist() == [[0.5, 0.25, 0.75, 0.0], [1.0, 0.0, 0.0, 0.0]]
    assert log.behaviour_log_prob is not None and log.times is not None
    assert log.behaviour_log_prob[0, :3].tolist() == [-0.7, -1.2, -0.1]
    assert log.times[0, :3].tolist() == [0.0, 120.0, 168.0]
    assert (log.censored.tolist(), log.terminated.tolist()) == ([True, False], [False, True])
    assert log.observation_names == ("WT", "DV", "DV_known", "DV_age")
    # the level at 120 h stands after the decision of 120 h: known at the next one, 48 h later
    assert log.observations[0, :3].tolist() == [
        [70.0, 1.1, 1.0, 0.0], [70.0, 1.9, 1.0, 48.0], [70.0, 2.6, 1.0, 48.0]
    ]  # fmt: skip
    assert log.observations[1, 0].tolist() == [80.0, 0.0, 0.0, 0.0]


def test_times_begin_at_the_first_decision(tmp_path: Path) -> None:
    later = TABLE.replace("1,0,1,5", "1,24,1,5")
    log = from_nonmem(table(tmp_path, later), horizon=4)
    assert log.times is not None
    assert log.times[0, :3].tolist() == [0.0, 96.0, 144.0]


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (TABLE.replace("REWARD", "GAIN"), {}, "patient '1': no column 'REWARD'; there are GAIN, LOGP"),
    (TABLE.replace("1,120,2,0,.,0.25", "1,120,2,0,.,."), {}, r"reward = nan \(patient '1', step 1\)"),
    (TABLE.replace("2,0,1,5,.", "2,0,0,.,1"), {}, "patient '2': no decision; expected a record with EVID 1"),
    (TABLE.replace("3,70", "0,70"), {}, "patient 0 stops after 3 of 4 steps"),
    (TABLE, {"outcomes": ("BLEED",)}, "patient '1': no column 'BLEED'"),
    (
        TABLE.replace("2,0,1,5,.,1,-0.5", "2,0,1,5,.,1,0.5"),
        {},
        r"prob = 0.5 \(patient '2', step 0\)",
    ),
]


@pytest.mark.parametrize(("text", "arguments", "message"), REFUSED)
def test_refusals(tmp_path: Path, text: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_nonmem(table(tmp_path, text), horizon=4, **arguments)


def test_levels_without_one_value_are_refused(tmp_path: Path) -> None:
    lines = [line.split(",") for line in TABLE.splitlines()]
    lines[0].append("LLOQ")
    for line in lines[1:]:
        line.append("2" if line[:3] == ["1", "72", "0"] else ".")
    text = "\n".join(",".join(line) for line in lines) + "\n"
    with pytest.raises(ValueError, match="line 4, patient '1': a level below the limit of quantification"):
        from_nonmem(table(tmp_path, text), horizon=4)


def test_levels_of_several_kinds_are_refused(tmp_path: Path) -> None:
    lines: list[list[str]] = [line.split(",") for line in TABLE.splitlines()]
    lines[0].append("DVID")
    for number, line in enumerate(lines[1:]):
        line.append(str(1 + number % 2) if line[2] == "0" else "0")
    lines[3][-1] = "2"
    text = "\n".join(",".join(line) for line in lines) + "\n"
    with pytest.raises(ValueError, match="patient '1': measurements of several kinds"):
        from_nonmem(table(tmp_path, text), horizon=4)


def test_what_a_table_cannot_hold_is_refused(full: Full) -> None:
    with pytest.raises(ValueError, match="stratum 'sex' has the label '.'; a NONMEM table holds numbers"):
        to_nonmem(full(), "d", "mg")
    with pytest.raises(ValueError, match="the log has no times"):
        to_nonmem(full(strata={}, times=None), "d", "mg")
    twice = full(strata={}, outcomes={"inr": np.zeros((40, 5))})
    with pytest.raises(ValueError, match="two columns would be called 'inr'"):
        to_nonmem(twice, "d", "mg")

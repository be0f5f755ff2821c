"""The coverage table in small: intervals hold, drop-out is corrected, sequences hold at all looks."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.coverage import Process, default_intervals, of_returns, sequence_held, time_to_event


@pytest.fixture(scope="module")
def process(shared: Path) -> Process:
    return Process.read(shared / "reference" / "ope" / "tabular_short")


@pytest.mark.parametrize("drop_out", [0.0, 0.02])
def test_default_intervals(process: Process, shared: Path, drop_out: float) -> None:
    with np.load(shared / "reference" / "ope" / "tabular_short" / "data.npz") as data:
        tables = {"wrong": data["q_wrong"]}
    for tally in default_intervals(process, tables, 200, 150, 1, drop_out).values():
        value, low, high = np.array(tally.found).T
        held = (low <= tally.truth) & (tally.truth <= high)
        assert 0.88 <= held.mean() <= 0.99  # 0.94 +- 3 standard errors
        assert abs(value.mean() - tally.truth) < 4.0 * value.std() / np.sqrt(150)


def test_the_simulated_log_is_the_process(process: Process) -> None:
    log, target = process.log(20_000, np.random.default_rng(1))
    assert log.behaviour_log_prob is not None
    truth = process.truth["behaviour"]
    assert (log.rewards @ process.discount).mean() == pytest.approx(truth["discounted_return"], abs=0.06)
    assert np.exp(target - log.behaviour_log_prob)[:, 0].mean() == pytest.approx(1.0, abs=0.03)
    lost, _ = process.log(20_000, np.random.default_rng(1), drop_out=0.02)
    assert lost.dropped_out.mean() == pytest.approx(1.0 - 0.98**7, abs=0.01)


def test_other_intervals(process: Process, shared: Path) -> None:
    rare = of_returns(process, 200, 60, 1)["cdf at 0"]
    adverse = Process.read(shared / "reference" / "ope" / "time_to_adr")
    event = time_to_event(adverse, 200, 60, 1)["probability"]
    for tally in (rare, event):
        _, low, high = np.array(tally.found).T
        assert ((low <= tally.truth) & (tally.truth <= high)).mean() >= 0.86  # 0.95 - 3 standard errors
    assert "coverage" in str(event) and "of the truth" in str(event)


def test_sequences_hold_over_a_thousand_looks(process: Process) -> None:
    for held in sequence_held(process, 200, 40, 1, looks=1000).values():
        assert held >= 0.87  # 0.97 - 3 standard errors

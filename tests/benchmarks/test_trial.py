"""The benchmark of a trial times the same trial twice, and says so. No clock is asserted."""

from __future__ import annotations

from click.testing import CliRunner

from benchmarks.trial import trial


def test_both_come_to_the_same_numbers() -> None:
    done = CliRunner().invoke(trial, ["--patients", "4", "--arms", "fixed-5mg,label"])
    assert done.exit_code == 0, done.output
    printed = done.output.splitlines()
    assert printed[0].startswith("load ") and "2 arms x 4 patients" in printed[0]
    assert [line.split(",")[0].split()[1] for line in (printed[1], printed[3])] == ["process", "processes"]
    assert printed[-2].startswith("same numbers: yes") and printed[-1].startswith("ratio ")

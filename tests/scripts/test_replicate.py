"""``dosewright replicate``: what it prints and writes, and one line for wrong input."""

import json
from pathlib import Path

from click.testing import CliRunner

from dosewright.scripts.replicate import replicate


def test_prints_what_must_hold_and_writes_a_result(tmp_path: Path) -> None:
    arguments = ["coag", "--patients", "100", "--realism", "textbook", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(replicate, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "three-day dose" in done.stdout and "reported" in done.stdout
    assert done.stdout.count("not for clinical use") == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"result.json", "report.html"}
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    # what depends on realism is judged under clinic only
    assert {check["rule"] for check in record["checks"] if check["realism"]} == {"report"}
    again = CliRunner().invoke(replicate, arguments)
    assert isinstance(again.exception, ValueError) and "--overwrite" in str(again.exception)


def test_an_unknown_trial_is_refused() -> None:
    done = CliRunner().invoke(replicate, ["gift", "--out", "x"])
    assert done.exit_code == 2 and "eu-pact" in done.output

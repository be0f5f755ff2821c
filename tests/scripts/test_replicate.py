"""``dosewright replicate``: what it prints and writes, and one line for wrong input."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from dosewright.agents.learning import LearnedPolicy
from dosewright.envs import scenario
from dosewright.evaluation.provenance import code_digest
from dosewright.evaluation.replications.augustin import SCENARIOS
from dosewright.scripts.replicate import given_policies, protocol_arms, replicate


def test_prints_what_must_hold_and_writes_a_result(tmp_path: Path) -> None:
    arguments = ["coag", "--patients", "100", "--realism", "textbook", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(replicate, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "three-day dose" in done.stdout and "reported" in done.stdout
    assert all(f"\n{letter}: " in done.stdout for letter in "ABC")  # what stands behind the figures
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


def test_a_virtual_trial_prints_a_table_by_group_and_writes_a_result(tmp_path: Path) -> None:
    arguments = ["augustin", "--patients", "12", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(replicate, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "planner-adaptive" in done.stdout and "in range after 19 days" in done.stdout
    assert done.stdout.count("not for clinical use") == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"result.json", "report.html"}
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [len(table["rows"]) for table in record["tables"]] == [5] * 4
    assert record["provenance"]["code"] == f"dosewright, SHA-256 {code_digest()}"


def test_a_virtual_trial_says_which_weights_dosed(tmp_path: Path) -> None:
    trained = Path(__file__).parents[2] / "docs" / "peers" / "warfarin-augustin-15-s1" / "policy"
    arguments = ["augustin", "--patients", "4", "--policy", str(trained), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(replicate, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    weights = json.loads((trained / "card.json").read_text())["weights"]
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["provenance"]["arms"] == {"policy for warfarin-augustin-15": f"weights {weights}"}
    assert weights in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["augustin", "--variability", "cut"], "--variability cut: augustin has no such option"),
        (["anzabi-zadeh", "--realism", "clinic"], "it is for eu-pact and coag"),
        (["coag", "--highly-sensitive", "500"], "it is for anzabi-zadeh"),
        (["eu-pact", "--policy", "runs/a/policy"], "it is for anzabi-zadeh and augustin"),
    ],
)
def test_options_of_another_trial_are_refused(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(replicate, [*arguments, "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, ValueError) and said in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_a_policy_doses_its_own_protocol_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = {name: SimpleNamespace(scenario=scenario(name)) for name in ("warfarin", *SCENARIOS.values())}
    monkeypatch.setattr(LearnedPolicy, "load", lambda folder: trained[folder.name])
    thirty, fifteen = (Path(name) for name in SCENARIOS.values())
    policies = given_policies((fifteen, thirty), tuple(SCENARIOS.values()))
    for path in (thirty, fifteen):
        known = trained[path.name].scenario
        assert protocol_arms(known, ("bayesian",), policies)["policy"] is trained[path.name]
        other = {name: policy for name, policy in policies.items() if name != known.name}
        assert "policy" not in protocol_arms(known, ("bayesian",), other)
    with pytest.raises(ValueError, match="a second policy for warfarin-augustin-30; name one for each"):
        given_policies((thirty, thirty), tuple(SCENARIOS.values()))
    arguments = ["anzabi-zadeh", "--policy", "warfarin", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(replicate, arguments)
    assert isinstance(done.exception, ValueError)
    assert "a policy for warfarin, expected one for warfarin-anzabi-zadeh" in str(done.exception)

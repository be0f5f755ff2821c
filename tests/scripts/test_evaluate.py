"""`dosewright log` and `dosewright evaluate`: what they write, and what they refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars
import pytest
from click.testing import CliRunner

from dosewright.evaluation.logs import read_log, to_frame
from dosewright.scripts.evaluate import evaluate
from dosewright.scripts.log import log


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "log.parquet"
    done = CliRunner().invoke(
        log, ["vancomycin", "--clinician", "label", "--patients", "300", "--seed", "5", "--out", str(path)]
    )
    assert done.exit_code == 0, done.output
    assert "300 patients" in done.output and "not for clinical use" in done.output
    return path


def test_the_log_holds_what_was_asked_for_and_is_reproducible(logged: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.parquet"
    options = ["vancomycin", "--clinician", "label", "--patients", "300", "--seed", "5", "--out", str(again)]
    assert CliRunner().invoke(log, options).exit_code == 0
    first, second = read_log(logged), read_log(again)
    assert first.content_hash == second.content_hash
    assert first.provenance["scenario"] == "vancomycin" and first.provenance["namespace"] == "select"
    refused = CliRunner().invoke(log, options)
    assert refused.exit_code != 0 and "exists already" in str(refused.exception)


def test_evaluate_writes_the_same_answer_twice(logged: Path, tmp_path: Path) -> None:
    results = []
    for name in ("a", "b"):
        done = CliRunner().invoke(
            evaluate, [str(logged), "--policy", "label", "--folds", "2", "--out", str(tmp_path / name)]
        )
        assert done.exit_code == 0, done.output
        assert "In benefit, label is expected to give" in done.output
        assert done.output.count("not for clinical use") == 1
        result = json.loads((tmp_path / name / "result.json").read_text(encoding="utf-8"))
        assert result["answer"]["verdict"] == "answered"
        results.append(result["regimens"])
    assert results[0] == results[1]


def test_visits_may_miss_the_calendar_by_what_is_said(logged: Path, tmp_path: Path) -> None:
    own, out = tmp_path / "own.csv", tmp_path / "out"
    table = to_frame(read_log(logged))
    table.with_columns(time=polars.col("time") + 0.2 * (polars.col("step") == 2)).write_csv(own)
    options = [str(own), "--drug", "vancomycin", "--policy", "label", "--folds", "2", "--out", str(out)]
    strict = CliRunner().invoke(evaluate, options)
    assert "is 2.2 d after the first decision" in str(strict.exception)
    done = CliRunner().invoke(evaluate, [*options, "--visit-window", "0.25"])
    assert done.exit_code == 0, done.output


def test_the_genotype_that_a_table_shows_is_asked_for(tmp_path: Path) -> None:
    path, own, out = tmp_path / "log.parquet", tmp_path / "own.csv", tmp_path / "out"
    made = ["warfarin", "--clinician", "clinical-nomogram", "--patients", "200", "--genotype", "phenotype"]
    assert CliRunner().invoke(log, [*made, "--out", str(path)]).exit_code == 0
    to_frame(read_log(path)).write_csv(own)
    options = ["--drug", "warfarin", "--policy", "clinical-nomogram", "--folds", "2", "--out", str(out)]
    unsaid = CliRunner().invoke(evaluate, [str(own), *options])
    assert "as its regimens see the genotype: no 'cyp2c9_*2'" in str(unsaid.exception)
    other = CliRunner().invoke(evaluate, [str(path), *options, "--genotype", "unknown"])
    assert f"log file {path} says phenotype; leave the option out" in str(other.exception)
    done = CliRunner().invoke(evaluate, [str(own), *options, "--genotype", "phenotype"])
    assert done.exit_code == 0, done.output


def test_a_table_without_probabilities_is_modelled(logged: Path, tmp_path: Path) -> None:
    own, out = tmp_path / "own.csv", tmp_path / "out"
    to_frame(read_log(logged)).drop("behaviour_log_prob").write_csv(own)
    options = [str(own), "--drug", "vancomycin", "--policy", "label", "--folds", "2", "--out", str(out)]
    unsaid = CliRunner().invoke(evaluate, options)
    assert "give --behaviour logistic" in str(unsaid.exception)
    alone = CliRunner().invoke(evaluate, [*options, "--behaviour", "ordinal", "--least-patients", "1"])
    assert "pool rare doses (least_patients=...)" in str(alone.exception)
    done = CliRunner().invoke(evaluate, [*options, "--behaviour", "ordinal"])
    assert done.exit_code == 0, done.output
    said = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert re.search(r"OrdinalLogistic.* of \d+ doses in \d+ groups", said["log"]["propensities"])
    assert said["regimens"]["label"]["unsupported"] == {"mean": 0.0, "low": 0.0, "high": 0.0}


@pytest.mark.parametrize(
    ("clinician", "message"),
    [("label,oracle", "'oracle' is shown the truth"), ("label,label", "'label' is there twice")],
)
def test_clinicians_that_cannot_be(tmp_path: Path, clinician: str, message: str) -> None:
    options = [
        "vancomycin",
        "--clinician",
        clinician,
        "--patients",
        "20",
        "--out",
        str(tmp_path / "l.parquet"),
    ]
    done = CliRunner().invoke(log, options)
    assert isinstance(done.exception, ValueError) and message in str(done.exception)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["missing.parquet", "--policy", "label"], "not found"),
        (["LOG", "--policy", "nothing"], "unknown arm 'nothing'"),
        (["LOG", "--policy", "oracle"], "shown the truth"),
        (["LOG", "--policy", "label", "--behaviour", "logistic"], "leave the behaviour model out"),
        (["LOG", "--policy", "label", "--drug", "warfarin"], "vancomycin"),
        (["LOG", "--policy", "label", "--baseline", "label"], "both called 'label'"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    logged: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    asked = [str(logged) if option == "LOG" else option for option in options]
    done = CliRunner().invoke(evaluate, [*asked, "--out", str(tmp_path / "out")])
    assert done.exit_code != 0 and message in str(done.exception)
    assert not (tmp_path / "out").exists()

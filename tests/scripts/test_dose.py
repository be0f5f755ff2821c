"""``dosewright dose``: what is printed, written and refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dosewright.scripts.dose import dose

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
TABLE = str(EXAMPLES / "tacrolimus_patient.csv")


def test_prints_and_writes_the_same_numbers(tmp_path: Path) -> None:
    data, picture = tmp_path / "made" / "out.json", tmp_path / "made" / "out.png"
    done = CliRunner().invoke(
        dose,
        ["tacrolimus", TABLE, "--genotype", "CYP3A5=*1/*3", "--genotype", "CYP3A4=*1/*1", "--target",
         "trough=8..12", "--json", str(data), "--plot", str(picture)],
        catch_exceptions=False,
    )  # fmt: skip
    assert done.exit_code == 0
    record = json.loads(data.read_text())
    assert picture.stat().st_size > 20_000
    text = done.output
    assert text.count("not for clinical use") == 1
    assert "trough 8 to 12 ng/mL (given; the regimens keep their own)" in text
    assert f"monitoring dose: {record['monitoring_dose']['exact']:.3g} mg every 12 h" in text
    for row in record["candidates"]:
        assert f"{row['in_target']:.0%}" in text
    for row in record["regimens"]:
        assert row["name"] in text
    assert record["target"]["low"] == 8 and record["levels"][-1]["measured"] == 17.0
    assert all(sentence in text for sentence in record["summary"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["aspirin", TABLE], ("unknown drug 'aspirin'", "warfarin")),
        (["tacrolimus", "none.csv"], ("none.csv", "not found")),
        (["tacrolimus", TABLE, "--target", "peak=1..2"], ("--target peak", "trough")),
        (["tacrolimus", TABLE, "--policy", "nowhere"], ("nowhere", "is missing")),
        (["tacrolimus", TABLE, "--plot", "x.txt"], ("--plot x.txt", ".png")),
        (["tacrolimus", TABLE, "--genotype", "CYP3A5"], ("--genotype", "name=value")),
        (["tacrolimus", TABLE, "--sample", "a"], ("--vcf",)),
        (["vancomycin", TABLE], ("no covariate", "crcl_ml_min")),
    ],
)
def test_refuses_with_one_message(arguments: list[str], words: tuple[str, ...]) -> None:
    with pytest.raises((ValueError, click.ClickException)) as caught:
        dose.main(arguments, standalone_mode=False)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_says_how_far_the_policy_departs_from_monitoring(tmp_path: Path) -> None:
    data = tmp_path / "out.json"
    arguments = ["tacrolimus", TABLE, "--genotype", "CYP3A5=*1/*3", "--json", str(data)]
    done = CliRunner().invoke(dose, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    found = {row["name"]: row for row in json.loads(data.read_text())["regimens"]}
    why = re.fullmatch(r"learned: ([\d.]+) × its monitoring dose of ([\d.]+) mg.*", found["policy"]["why"])
    assert why is not None
    # both are rounded to what is shown
    assert float(why[1]) * float(why[2]) == pytest.approx(found["policy"]["dose"], rel=0.02)

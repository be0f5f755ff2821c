"""Curves under a fixed schedule: published values, genotypes, exposures, and refusals."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dosewright.envs import scenario
from dosewright.evaluation.curves import curve, duration_in_days, reference_genotypes
from dosewright.evaluation.report.curves import course_figure
from dosewright.scripts.simulate import simulate

TACROLIMUS, VANCOMYCIN = scenario("tacrolimus"), scenario("vancomycin")


def test_typical_trough_is_the_published_one() -> None:
    # models.md 2.3: expresser 0, 5 mg every 12 h, 14 d: 11.20 ng/mL at 336 h; expresser, 8 mg: 10.71
    for pair, dose, trough in (("*3/*3", 5.0, 11.20), ("*1/*3", 8.0, 10.71)):
        made = curve(TACROLIMUS, dose, 0.5, 14, genotypes={"CYP3A5": pair}, people=20)
        assert made.typical[-1] == pytest.approx(trough, abs=0.005) and made.unit == "ng/mL"
        assert np.all(made.low <= made.high) and made.days[-1] == 14 and made.amounts is None


def test_exposure_of_every_day_is_shown_where_the_drug_is_dosed_to_it() -> None:
    # models.md 3.1, CrCl 90: 1000 mg every 12 h tends to 2000 / CL = 2000 / (4.5·0.75^0.8) mg·h/L a day
    known = {"weight_kg": 70.0, "crcl_ml_min": 90.0, "dialysis": 0.0}
    made = curve(VANCOMYCIN, 1000.0, 0.5, 20, duration_days=1 / 24, covariates=known, people=20)
    assert made.amounts is not None and len(made.amounts) == 20
    assert np.all(np.diff(made.amounts) > 0)
    assert made.amounts[-1] == pytest.approx(2000 / (4.5 * 0.75**0.8), rel=1e-3)


def test_band_holds_nine_in_ten_people_and_follows_the_seed() -> None:
    one, again, other = (curve(TACROLIMUS, 5.0, 0.5, 7, people=60, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.low, again.low) and not np.array_equal(one.low, other.low)
    entered = one.days > 0.1  # after the lag of the first dose
    assert np.all((one.low < one.typical)[entered]) and np.all((one.typical < one.high)[entered])


@pytest.mark.parametrize(
    ("text", "days"),
    [("12h", 0.5), ("21d", 21), ("15s", 15 / 86400), ("30 min", 30 / 1440), ("1.5h", 1.5 / 24)],
)
def test_durations(text: str, days: float) -> None:
    assert duration_in_days(text) == pytest.approx(days, rel=1e-12)


@pytest.mark.parametrize("text", ["12", "h", "-3h", "0h", "12 weeks"])
def test_a_text_that_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a positive number and d, h, min or s"):
        duration_in_days(text)


def test_wrong_questions_are_refused() -> None:
    with pytest.raises(
        ValueError, match="tacrolimus has no term for CYP2D6; genes of the model: CYP3A5, CYP3A4"
    ):
        reference_genotypes(TACROLIMUS, {"CYP2D6": "*1/*1"})
    for arguments, message in (
        ((0.0, 0.5, 14.0), "dose 0; expected a number above 0"),
        ((5.0, 0.5, float("nan")), "length nan"),
        ((5.0, 20.0, 14.0), "one dose every 20 days in a course of 14"),
    ):
        with pytest.raises(ValueError, match=message):
            curve(TACROLIMUS, *arguments, people=20)


def test_the_figure_has_axes_with_units_target_and_limit() -> None:
    curves = {"*3/*3": curve(TACROLIMUS, 5.0, 0.5, 30, people=20)}
    (axes,) = course_figure(TACROLIMUS, curves, "tacrolimus").axes
    assert axes.get_ylabel() == "C, ng/mL" and axes.get_xlabel() == "time, days"
    labels = axes.get_legend_handles_labels()[1]
    assert {"*3/*3", "90 % of 20 people", "target, trough", "limit of harm"} <= set(labels)
    upper, lower = course_figure(
        VANCOMYCIN, {"typical": curve(VANCOMYCIN, 1000.0, 0.5, 5, duration_days=1 / 24, people=20)}, "x"
    ).axes
    assert upper.get_ylabel() == "C, mg/L" and lower.get_ylabel() == "AUC24, mg·h/L"


def test_the_command_prints_values_and_writes_the_picture(tmp_path: Path) -> None:
    picture = tmp_path / "new" / "out.png"
    done = CliRunner().invoke(
        simulate,
        ["tacrolimus", "--dose", "5", "--every", "12h", "--genotype", "CYP3A5=*3/*3", "--people", "20",
         "--plot", str(picture)],
        catch_exceptions=False,
    )  # fmt: skip
    assert done.exit_code == 0 and picture.stat().st_size > 10_000
    last = next(line for line in done.output.splitlines() if line.strip().startswith("14.00"))
    assert float(last.split()[1]) == pytest.approx(11.20, abs=0.01)
    assert "CYP3A5 *3/*3" in done.output and "not for clinical use" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--genotype", "CYP3A5"], "--genotype 'CYP3A5'; expected name=value"),
        (["--covariate", "age_y=old"], "--covariate age_y=old; expected a number"),
        (["--covariate", "age_y=5", "--covariate", "age_y=6"], "--covariate age_y is given twice"),
        (["--plot", "out.txt"], "expected a name that ends in .png, .svg or .pdf"),
    ],
)
def test_wrong_options_are_one_line(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(simulate, ["tacrolimus", "--dose", "5", *arguments])
    assert done.exit_code != 0 and message in str(done.exception)

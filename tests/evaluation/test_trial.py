"""The virtual trial: the same patients for every arm, whatever the blocks, and nobody lost on the way."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
from numpy.typing import NDArray

from dosewright.envs import Noise, RealCohort, Treatment, scenario
from dosewright.envs.cohort_table import Refusal
from dosewright.envs.pharmacology.models.warfarin_hamberg2010 import maintenance_dose
from dosewright.evaluation import (
    ExistingResultError,
    TrialResult,
    check_folder,
    run_trial,
    summarise,
    write_trial,
)
from dosewright.evaluation.result_folder import new_folder
from dosewright.evaluation.trial import AttachedRegimen

WARFARIN = scenario("warfarin")
CLINIC = WARFARIN.preset("clinic")


class Fixed:
    """A constant dose."""

    needs: frozenset[str] = frozenset()

    def __init__(self, dose: float) -> None:
        self.name, self.dose = f"fixed-{dose:g}mg", dose

    def predict(
        self,
        observation: NDArray[np.float32],
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float64], Any]:
        # memory travels in `state`, and is begun exactly once
        assert (state is None) == bool(np.all(episode_start))
        return np.full(len(observation), self.dose), True


class Seeing(Fixed):
    """Is shown the truth, as only the oracle is."""

    def attach(self, treatment: Treatment) -> None:
        self.treatment = treatment

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[NDArray[np.float64], Any]:
        assert len(self.treatment) == len(observation)
        return maintenance_dose(self.treatment.theta, WARFARIN.target), None


def trial(n: int = 240, block: int = 1000, seed: int = 1, arms: Any = None, **more: Any) -> TrialResult:
    arms = arms or {"five": Fixed(5.0), "three": Fixed(3.0)}
    return run_trial(
        WARFARIN, arms, WARFARIN.population, np.arange(n), Noise("trial", seed), CLINIC, block=block, **more
    )


@pytest.fixture(scope="module")
def result() -> TrialResult:
    return trial(arms={"five": Fixed(5.0), "three": Fixed(3.0), "seer": Seeing(0.0)})


def assert_same(a: TrialResult, b: TrialResult) -> None:
    for name in a.arms:
        first, second = a.arms[name], b.arms[name]
        for key in (*first.outcomes, "benefit", "harm", "return", "ever_harm"):
            np.testing.assert_array_equal(first.values(key), second.values(key), err_msg=f"{name} {key}")
        for key in ("first_harm", "doses", "measured", "truth", "followed"):
            np.testing.assert_array_equal(getattr(first, key), getattr(second, key), err_msg=f"{name} {key}")
        assert first.decisions == second.decisions
    np.testing.assert_array_equal(a.ids, b.ids)
    assert a.substituted == b.substituted
    for one, other in ((a.covariates, b.covariates), (a.genotypes, b.genotypes), (a.labels, b.labels)):
        assert list(one) == list(other)
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)
    np.testing.assert_array_equal(a.followed_days, b.followed_days)


def test_two_runs_are_equal_and_another_seed_is_not() -> None:
    first = trial(60)
    assert_same(first, trial(60))
    assert not np.array_equal(first.arms["five"].truth, trial(60, seed=2).arms["five"].truth, equal_nan=True)


@pytest.mark.parametrize("block", [1, 7, 64])
def test_blocks_do_not_change_a_number(block: int) -> None:
    assert_same(trial(65), trial(65, block=block))


def test_an_arm_fares_the_same_in_other_company() -> None:
    alone = trial(60, arms={"three": Fixed(3.0)})
    assert_same(alone, trial(60, arms={"seven": Fixed(7.0), "three": Fixed(3.0)}))


def test_scores_follow_the_contract(result: TrialResult) -> None:
    arm = result.arms["five"]
    truth = arm.truth[:, 1:].astype(np.float64)
    days = (~np.isnan(truth)).sum(axis=1)
    # float32 may move a value across a limit: one day of slack
    assert np.all(np.abs(arm.benefit * days - ((truth >= 2) & (truth <= 3)).sum(axis=1)) <= 1.0 + 1e-9)
    np.testing.assert_array_equal(arm.returns, arm.benefit - 2 * arm.harm)
    np.testing.assert_array_equal(arm.ever_harm, arm.harm > 0)
    np.testing.assert_array_equal(result.followed_days, days)
    assert arm.decisions == (~np.isnan(arm.doses)).sum()
    assert set(np.unique(arm.doses[~np.isnan(arm.doses)])) == {5.0}
    assert 0 < (result.followed_days < 90).sum() < 40


def test_first_harm_is_the_first_day_above_the_limit(result: TrialResult) -> None:
    for arm in result.arms.values():
        above = np.nan_to_num(arm.truth[:, 1:]) > 4  # INR 4, models.md 19
        first = np.where(above.any(axis=1), above.argmax(axis=1) + 1.0, np.nan)
        np.testing.assert_array_equal(arm.first_harm, first)
        np.testing.assert_array_equal(~np.isnan(arm.first_harm), arm.ever_harm)
        assert np.all(arm.first_harm[arm.ever_harm] <= arm.followed[arm.ever_harm])
    assert result.arms["five"].ever_harm.sum() > 20


def test_drop_out_is_the_same_in_every_arm(result: TrialResult) -> None:
    for arm in result.arms.values():
        np.testing.assert_array_equal((~np.isnan(arm.truth[:, 1:])).sum(axis=1), result.followed_days)


def test_an_attached_arm_is_shown_each_block_and_marked() -> None:
    assert isinstance(Seeing(0.0), AttachedRegimen) and not isinstance(Fixed(5.0), AttachedRegimen)
    found = trial(65, block=10, arms={"five": Fixed(5.0), "seer": Seeing(0.0)})
    assert [arm.upper_bound for arm in found.arms.values()] == [False, True]
    assert found.difference("seer", "five", "benefit").low > 0.2


def test_progress_counts_every_patient_of_every_arm() -> None:
    seen = {"five": 0, "three": 0}

    def count(arm: str, patients: int) -> None:
        seen[arm] += patients

    trial(25, block=10, progress=count)
    assert seen == {"five": 25, "three": 25}


def test_estimates_and_differences_by_hand(result: TrialResult) -> None:
    a, b = result.arms["five"].benefit, result.arms["three"].benefit
    difference = result.difference("five", "three", "benefit")
    assert difference.mean == pytest.approx(float(np.mean(a - b)), abs=1e-15)
    # t(0.975, 239 df) = 1.9699 (any t table)
    half = 1.9699 * float(np.std(a - b, ddof=1)) / math.sqrt(240)
    assert difference.high - difference.mean == pytest.approx(half, rel=1e-4)
    assert result.estimate("five", "ever_harm").mean == result.arms["five"].ever_harm.mean()
    mask = np.arange(240) < 50
    assert result.estimate("five", "benefit", mask).mean == pytest.approx(float(a[:50].mean()), abs=1e-15)


def test_patients_without_a_value_are_left_out_of_both_arms(result: TrialResult) -> None:
    known = np.isfinite(result.arms["five"].values("rosendaal_day_10"))
    assert 0 < (~known).sum()
    assert result.difference("five", "three", "rosendaal_day_10").n == known.sum()


def test_subgroups_are_partitions(result: TrialResult) -> None:
    groups = result.subgroups()
    assert set(groups) == {"genotype", "age", "sex", "ancestry"}
    for masks in groups.values():
        np.testing.assert_array_equal(sum(mask.astype(int) for mask in masks.values()), 1)
        assert all(mask.any() for mask in masks.values())
    both = groups["genotype"]["CYP2C9 *1/*1, VKORC1 GG"]
    assert set(result.genotypes["VKORC1"][both]) == {"GG"}
    # read by its function: *5, *6, *8 and *11 count as variants (models.md 1.1)
    assert set(result.genotypes["CYP2C9"][both]) == {"*1/*1"}
    two = result.variant_alleles()["CYP2C9"] == 2
    assert {"*2/*2", "*2/*3"} <= set(result.genotypes["CYP2C9"][two]) and "*1/*3" not in result.genotypes[
        "CYP2C9"
    ][two]


def test_an_arm_that_needs_the_genotype_is_refused_where_it_is_unknown() -> None:
    guided = Fixed(5.0)
    guided.needs = frozenset({"vkorc1_A"})
    with pytest.raises(ValueError, match="arm 'guided' needs vkorc1_A, which this genotype mode hides"):
        trial(5, arms={"five": Fixed(5.0), "guided": guided}, genotype="unknown")
    assert trial(5, arms={"guided": guided}).arms["guided"].decisions > 0


def test_a_policy_of_the_same_namespace_is_refused() -> None:
    policy = Fixed(5.0)
    policy.seed_namespace = "trial"  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="arm 'policy'.*namespace 'trial'.*train it on 'train'"):
        trial(5, arms={"policy": policy})
    policy.seed_namespace = "train"  # type: ignore[attr-defined]
    assert trial(5, arms={"policy": policy}).arms["policy"].decisions > 0


def test_impossible_trials_are_refused() -> None:
    with pytest.raises(ValueError, match="without arms"):
        run_trial(WARFARIN, {}, WARFARIN.population, [1, 2], Noise("trial", 1), CLINIC)
    with pytest.raises(ValueError, match="at least two"):
        trial(1)
    with pytest.raises(ValueError, match="patient 4 is listed twice"):
        run_trial(WARFARIN, {"a": Fixed(5.0)}, WARFARIN.population, [3, 4, 4], Noise("trial", 1), CLINIC)
    with pytest.raises(ValueError, match="block = 0"):
        trial(5, block=0)
    with pytest.raises(ValueError, match="arm 'none'.*dose of patient 0: nan mg/day"):
        trial(5, arms={"none": Fixed(math.nan)})
    with pytest.raises(ValueError, match="unknown arm 'six'.*five, three"):
        trial(5).arm("six")
    with pytest.raises(ValueError, match="unknown outcome 'ttr'.*benefit"):
        trial(5).arm("five").values("ttr")


def test_folder_holds_the_result_and_every_patient(result: TrialResult, tmp_path: Path) -> None:
    folder = write_trial(result, tmp_path / "deep" / "out", "five")
    assert sorted(file.name for file in folder.iterdir()) == [
        "patients.parquet",
        "report.html",
        "result.json",
    ]
    written = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(summarise(result, "five")))
    assert written["arms"]["five"]["benefit"]["mean"] == float(result.arms["five"].benefit.mean())
    assert (
        written["differences"]["three"]["return"]["mean"] == result.difference("three", "five", "return").mean
    )
    assert written["provenance"]["versions"]["numpy"] == np.__version__
    table = polars.read_parquet(folder / "patients.parquet")
    assert table.height == 3 * 240
    five = table.filter(polars.col("arm") == "five")
    np.testing.assert_array_equal(five["id"].to_numpy(), result.ids)
    np.testing.assert_array_equal(five["return"].to_numpy(), result.arms["five"].returns)
    assert five["CYP2C9"].to_list() == result.genotypes["CYP2C9"].tolist()
    assert five["rosendaal"].null_count() == np.isnan(result.arms["five"].outcomes["rosendaal"]).sum()
    left = int(np.argmin(result.followed_days))
    assert five["doses"].to_list()[left] == [5.0] * int((~np.isnan(result.arms["five"].doses[left])).sum())
    for outcome in WARFARIN.outcomes:
        assert outcome.name in table.columns
    first = result.arms["five"].first_harm
    assert five["first_harm"].null_count() == np.isnan(first).sum()
    np.testing.assert_array_equal(five["first_harm"].drop_nulls().to_numpy(), first[~np.isnan(first)])
    assert five["first_harm"].is_not_null().to_list() == five["ever_harm"].to_list()
    np.testing.assert_array_equal(five["followed"].to_numpy(), result.arms["five"].followed)
    assert five["dropped_out"].to_list() == (result.followed_days < 90).tolist()


def test_days_followed_are_units_times_their_length(result: TrialResult) -> None:
    cycles = replace(result, scenario=scenario("docetaxel")).patient_table()  # cycles of 21 days
    assert (cycles["followed_days"] == 21 * cycles["followed"]).all()
    assert (result.patient_table()["followed_days"] == result.patient_table()["followed"]).all()


def test_an_existing_folder_is_refused_and_overwritten_on_demand(result: TrialResult, tmp_path: Path) -> None:
    folder = write_trial(result, tmp_path / "out", "five")
    before = (folder / "result.json").read_text(encoding="utf-8")
    with pytest.raises(ExistingResultError, match=r"out: exists already.*--overwrite") as caught:
        write_trial(result, folder, "three")
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, FileExistsError)
    assert (folder / "result.json").read_text(encoding="utf-8") == before
    write_trial(result, folder, "three", overwrite=True)
    assert json.loads((folder / "result.json").read_text(encoding="utf-8"))["reference"] == "three"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_overwrite_replaces_nothing_but_a_trial(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    check_folder(home, overwrite=True)
    (home / "thesis.txt").write_text("all of it", encoding="utf-8")
    with pytest.raises(ExistingResultError, match="no result.json"):
        check_folder(home, overwrite=True)
    with pytest.raises(ExistingResultError, match="no result.json"):
        check_folder(home / "thesis.txt", overwrite=True)
    check_folder(tmp_path / "new")


def test_what_came_into_the_place_meanwhile_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(ExistingResultError, match="out: exists already"), new_folder(tmp_path / "out") as new:
        (new / "result.json").write_text("{}", encoding="utf-8")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.txt").write_text("all of it", encoding="utf-8")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_result_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with new_folder(tmp_path / "out") as new:
        (new / "result.json").write_text("1", encoding="utf-8")
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError("disk full")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="disk full"), new_folder(tmp_path / "out", overwrite=True) as new:
        (new / "result.json").write_text("2", encoding="utf-8")
    assert (tmp_path / "out" / "result.json").read_text(encoding="utf-8") == "1"


def test_a_failed_write_leaves_no_result(
    result: TrialResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("dosewright.evaluation.report.write_report", fail)
    with pytest.raises(OSError, match="disk full"):
        write_trial(result, tmp_path / "out", "five")
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    assert write_trial(result, tmp_path / "out", "five").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_real_people_are_counted_in_and_refused() -> None:
    n = 8
    cohort = RealCohort(
        path="folder/people.csv",
        rows=12,
        usable=np.array([1, 2, 4, 5, 6, 9, 10, 12]),
        refused=(
            Refusal(3, "no age"),
            Refusal(7, "no age"),
            Refusal(8, "target above 2.5"),
            Refusal(11, "no age"),
        ),
        covariates={
            **{
                name: np.zeros(n)
                for name in ("race_white", "race_black", "race_asian", "amiodarone", "inducer")
            },
            "age_y": np.full(n, 65.0),
            "male": np.array([1.0, 0.0] * 3 + [np.nan] * 2),
            "height_cm": np.full(n, 175.0),
            "weight_kg": np.full(n, 80.0),
        },
        genotypes={"CYP2C9": np.array(["*1/*2"] * n), "VKORC1": np.array(["GA"] * n)},
        labels={"ancestry": np.array(["White"] * n)},
    )
    noise = Noise("trial", 1)
    found = run_trial(WARFARIN, {"five": Fixed(5.0)}, cohort, cohort.choose(6, noise), noise, CLINIC, block=4)
    patients = summarise(found, "five")["patients"]
    assert (patients["rows"], patients["used"], patients["refused"], patients["not_drawn"]) == (12, 6, 4, 2)
    assert patients["reasons"] == {"no age": 3, "target above 2.5": 1}
    assert patients["source"] == "people.csv"
    assert sum(patients["subgroup_sizes"]["sex"].values()) == 6
    everybody = run_trial(WARFARIN, {"five": Fixed(5.0)}, cohort, cohort.usable, noise, CLINIC)
    assert summarise(everybody, "five")["patients"]["subgroup_sizes"]["sex"]["not recorded"] == 2

"""Virtual people have the published marginals; real people are read strictly."""

import csv
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from dosewright.envs import Noise, Patients, RealCohort, Scenario, read_cohort, scenario
from dosewright.envs.scenarios.warfarin import COHORT
from dosewright.pharmacogenomics import TABLES, Diplotype

WARFARIN = scenario("warfarin")
N = 20_000


@cache
def crowd() -> Patients:
    return draw(np.arange(N))


def draw(ids: np.ndarray, noise: Noise | None = None) -> Patients:
    return WARFARIN.population.draw(WARFARIN.model, WARFARIN.base, ids, noise or Noise("trial", 2))


def clipped(mean: float, sd: float, low: float, high: float) -> tuple[float, float]:
    """Mean and SD of a normal distribution whose tails are moved to its limits."""
    z = np.linspace(-8, 8, 400_001)
    weight = np.exp(-z * z / 2)
    x = np.clip(mean + sd * z, low, high)
    m = float(np.average(x, weights=weight))
    return m, float(np.sqrt(np.average((x - m) ** 2, weights=weight)))


# ------------------------------------------------------------------------------------------- virtual people

# trials.md 2 and 4: mean and SD of age, share of men, mean and SD of weight; half EU-PACT, half COAG (73 :
# 27)
STRATA: dict[str, tuple[float, tuple[float, float], float, tuple[float, float], str]] = {
    "EU-PACT": (0.5, (67.3, 13.7), 0.61, (82, 17), "White"),
    "COAG, not Black": (0.365, (59, 15), 0.54, (89, 22), "White"),
    "COAG, Black": (0.135, (54, 15), 0.43, (94, 24), "Black"),
}


@pytest.mark.parametrize("name", STRATA)
def test_marginals_of_a_stratum_are_the_published_ones(name: str) -> None:
    share, age, male, weight, race = STRATA[name]
    people, rows = crowd(), crowd().labels["stratum"] == name
    n = int(rows.sum())
    assert abs(n / N - share) < 4 * math.sqrt(share * (1 - share) / N)
    for covariate, (mean, sd) in (("age_y", clipped(*age, 18, 95)), ("weight_kg", clipped(*weight, 42, 170))):
        value = people.covariates[covariate][rows]
        assert abs(value.mean() - mean) < 4 * sd / math.sqrt(n)
        assert value.std() == pytest.approx(sd, rel=4 / math.sqrt(n))
    assert abs(people.covariates["male"][rows].mean() - male) < 4 * math.sqrt(male * (1 - male) / n)
    assert np.all(people.covariates[f"race_{race.lower()}"][rows] == 1)
    assert people.covariates["race_asian"].sum() == 0


def test_men_and_women_have_their_heights() -> None:
    # trials.md 2: 176 SD 7 cm, 163 SD 6.5 cm
    for male, mean, sd in ((1, 176, 7), (0, 163, 6.5)):
        height = crowd().covariates["height_cm"][crowd().covariates["male"] == male]
        assert abs(height.mean() - mean) < 4 * sd / math.sqrt(len(height))
        assert height.std() == pytest.approx(sd, rel=4 / math.sqrt(2 * len(height)))


def test_nobody_takes_an_interacting_drug_at_the_start() -> None:
    assert not crowd().covariates["amiodarone"].any() and not crowd().covariates["inducer"].any()


CODING = {"rs9923231 reference (C)": "G", "rs9923231 variant (T)": "A"}


@pytest.mark.parametrize("gene", ["CYP2C9", "VKORC1"])
@pytest.mark.parametrize("group", ["European", "African American/Afro-Caribbean"])
def test_allele_frequencies_are_those_of_the_ancestry(gene: str, group: str) -> None:
    genotypes = crowd().genotypes[gene][crowd().labels["ancestry"] == group].tolist()
    alleles = [allele for text in genotypes for allele in Diplotype.parse(text).alleles]
    n = len(alleles)
    for allele, p in TABLES.allele_frequencies(gene, group).items():
        found = alleles.count(CODING.get(allele, allele)) / n
        assert abs(found - p) < 4.5 * math.sqrt(max(p * (1 - p), 1 / n) / n), allele


def test_genotypes_are_in_hardy_weinberg_equilibrium() -> None:
    for group in ("European", "African American/Afro-Caribbean"):
        genotypes = crowd().genotypes["VKORC1"][crowd().labels["ancestry"] == group]
        a = TABLES.allele_frequencies("VKORC1", group)["rs9923231 variant (T)"]
        for text, p in (("GG", (1 - a) ** 2), ("GA", 2 * a * (1 - a)), ("AA", a * a)):
            found = np.mean([Diplotype.parse(item) == Diplotype.parse(text) for item in genotypes.tolist()])
            assert abs(found - p) < 4 * math.sqrt(p * (1 - p) / len(genotypes))


def test_genes_and_covariates_are_independent_of_each_other() -> None:
    rows = crowd().labels["stratum"] == "EU-PACT"
    wild = (crowd().genotypes["CYP2C9"] == "*1/*1")[rows].astype(float)
    sensitive = (crowd().genotypes["VKORC1"] == "GG")[rows].astype(float)
    age = crowd().covariates["age_y"][rows]
    for a, b in ((wild, sensitive), (wild, age), (sensitive, age)):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / math.sqrt(rows.sum())


def typical_of(people: Patients) -> np.ndarray:
    """Parameters without random effects, from genotype and age as models.md 1.1 prints them."""
    cl = {"*1": 0.174, "*2": 0.0879, "*3": 0.0422}
    rows = [Diplotype.parse(g).alleles for g in people.genotypes["CYP2C9"].tolist()]
    clearance = np.array([sum(cl.get(a, np.nan) for a in pair) for pair in rows])
    ec50 = np.array(
        [sum({"G": 2.05, "A": 0.96}[a] for a in g.replace("/", "")) for g in people.genotypes["VKORC1"]]
    )
    return np.column_stack(
        [clearance * (1 - 0.00571 * (people.covariates["age_y"] - 71)), np.full(len(people), 14.3), ec50]
    )


def test_random_effects_have_the_published_variances_and_are_independent() -> None:
    model, people = WARFARIN.model, crowd()
    columns = [model.column(name) for name in ("CL", "V", "EC50")]
    eta = np.log(people.theta[:, columns] / typical_of(people))
    eta = eta[~np.isnan(eta).any(axis=1)]  # people with *1, *2 and *3 only
    assert len(eta) > 0.95 * N
    # models.md 1.1, log-scale variances (PARTIAL)
    for column, variance in zip(eta.T, (0.089, 0.054, 0.34), strict=True):
        assert column.var() == pytest.approx(variance, rel=4 * math.sqrt(2 / len(eta)))
        assert abs(column.mean()) < 4 * math.sqrt(variance / len(eta))
    correlation = np.corrcoef(eta.T) - np.eye(3)
    assert np.abs(correlation).max() < 4 / math.sqrt(len(eta))


def test_baseline_is_1_06_with_sd_0_08() -> None:
    base = crowd().theta[:, WARFARIN.model.column("BASE")]  # models.md 19
    assert abs(base.mean() - 1.06) < 4 * 0.08 / math.sqrt(N)
    assert base.std() == pytest.approx(0.08, rel=4 / math.sqrt(2 * N))


def test_parameters_without_random_effects_are_the_models() -> None:
    model = WARFARIN.model
    expected = {"ka": 2.0, "gamma": 1.15, "ktr1": 3 / 28.6, "ktr2": 3 / 118.3}
    for name, value in expected.items():
        assert np.all(crowd().theta[:, model.column(name)] == value)


def test_alleles_the_model_lacks_are_counted_and_read_by_their_function() -> None:
    people = crowd()
    alleles = [a for text in people.genotypes["CYP2C9"].tolist() for a in Diplotype.parse(text).alleles]
    other = sum(allele not in ("*1", "*2", "*3") for allele in alleles)
    assert other > 0
    assert sum(people.substituted.values()) == other
    assert all(key.startswith("CYP2C9: ") and "ASSUMPTION" in key for key in people.substituted)


def test_an_allele_of_decreased_function_has_the_clearance_of_star_2() -> None:
    # models.md 1.1: *8 and *11 decreased -> *2, *6 none -> *3, *9 normal -> *1
    people = crowd()
    eta = np.log(people.theta[:, 0] / 1.0)
    stand_in = {"*8": "*2", "*11": "*2", "*5": "*2", "*6": "*3", "*9": "*1"}
    found = 0
    for allele, reads in stand_in.items():
        rows = np.flatnonzero(people.genotypes["CYP2C9"] == str(Diplotype("*1", allele)))
        if len(rows):
            found += 1
            value = 0.174 + {"*1": 0.174, "*2": 0.0879, "*3": 0.0422}[reads]
            typical = value * (1 - 0.00571 * (people.covariates["age_y"][rows] - 71))
            residual = eta[rows] - np.log(typical)
            assert abs(residual.mean()) < 4 * math.sqrt(0.089 / len(rows))
    assert found >= 4


def same(a: Patients, b: Patients, rows: np.ndarray) -> None:
    assert np.array_equal(a.ids, b.ids[rows]) and np.array_equal(a.theta, b.theta[rows])
    for field in ("covariates", "genotypes", "labels"):
        for name, value in getattr(a, field).items():
            assert np.array_equal(value, getattr(b, field)[name][rows])


def test_a_person_does_not_depend_on_the_company() -> None:
    rows = np.array([19_999, 4, 3_333, 5])
    same(draw(rows), crowd(), rows)


def test_another_seed_and_another_namespace_are_other_people() -> None:
    ids = np.arange(50)
    first = draw(ids).theta
    for noise in (Noise("trial", 3), Noise("select", 2)):
        assert not np.any(draw(ids, noise).theta[:, 0] == first[:, 0])


# ---------------------------------------------------------------------------------------------- real people

NEEDS = frozenset({"height_cm", "weight_kg"})
GOOD = {
    "age_group": "60 - 69", "sex": "male", "height_cm": "180", "weight_kg": "75.5", "amiodarone": "0",
    "carbamazepine": "0", "phenytoin": "", "rifampicin": "0", "cyp2c9": "*1/*2", "vkorc1_filled": "A/G",
    "target_inr": "2.5", "race": "White",
}  # fmt: skip


def write(path: Path, rows: list[dict[str, str]], encoding: str = "utf-8") -> Path:
    file = path / "cohort.csv"
    with file.open("w", newline="", encoding=encoding) as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def cohort(path: Path, *changes: dict[str, str], needs: frozenset[str] = frozenset()) -> RealCohort:
    return read_cohort(write(path, [GOOD | change for change in changes]), COHORT, needs)


def test_a_row_is_read_as_it_stands(tmp_path: Path) -> None:
    people = cohort(tmp_path, {}, {"age_group": "90+", "sex": "female", "rifampicin": "1", "race": "Unknown"})
    got = people.draw(WARFARIN.model, WARFARIN.base, people.usable, Noise("trial", 0))
    # models.md 1.3: middle of the decade, 92 for 90+
    assert got.covariates["age_y"].tolist() == [65, 92]
    assert got.covariates["male"].tolist() == [1, 0]
    assert got.covariates["height_cm"].tolist() == [180, 180]
    assert got.covariates["weight_kg"].tolist() == [75.5, 75.5]
    assert got.covariates["inducer"].tolist() == [0, 1]
    assert [got.covariates[f"race_{r}"].tolist() for r in ("white", "black", "asian")] == [
        [1, 0],
        [0, 0],
        [0, 0],
    ]
    assert [Diplotype.parse(g) for g in got.genotypes["VKORC1"].tolist()] == [Diplotype.parse("GA")] * 2
    assert got.genotypes["CYP2C9"].tolist() == ["*1/*2", "*1/*2"]
    assert people.refused == () and people.rows == 2 and people.usable.tolist() == [1, 2]


REFUSALS = [
    ({"age_group": ""}, "age_group not recorded"),
    ({"age_group": "65"}, "age_group '65' is none of"),
    ({"cyp2c9": ""}, "cyp2c9 not recorded"),
    ({"cyp2c9": "*1"}, "cyp2c9 '*1' cannot be read"),
    ({"vkorc1_filled": ""}, "vkorc1_filled not recorded"),
    ({"height_cm": "1.80"}, "height_cm outside 100 to 230"),
    ({"weight_kg": "heavy"}, "weight_kg 'heavy' is no number"),
    ({"weight_kg": "nan"}, "weight_kg outside 25 to 300"),
    ({"sex": "M"}, "sex 'M' is none of male, female"),
    ({"amiodarone": "2"}, "amiodarone outside 0 to 1"),
    ({"target_inr": "3"}, "target_inr above 2.5"),
    ({"target_inr": "two"}, "target_inr 'two' is no number"),
    ({"race": "Martian"}, "race 'Martian' is none of"),
]


@pytest.mark.parametrize(("change", "reason"), REFUSALS)
def test_a_row_that_cannot_be_used_is_refused_with_its_number_and_reason(
    tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    people = cohort(tmp_path, {}, change, {})
    (refusal,) = people.refused
    assert refusal.row == 2 and refusal.reason.startswith(reason)
    assert people.usable.tolist() == [1, 3] and list(people.reasons.values()) == [1]


def test_what_only_an_arm_needs_is_refused_only_for_that_arm(tmp_path: Path) -> None:
    changes = ({"height_cm": ""}, {"weight_kg": ""}, {})
    assert len(cohort(tmp_path, *changes).usable) == 3
    people = cohort(tmp_path, *changes, needs=NEEDS)
    assert people.usable.tolist() == [3]
    assert people.reasons == {"height_cm not recorded": 1, "weight_kg not recorded": 1}


def test_a_blank_target_and_a_blank_drug_are_no_reason_to_refuse(tmp_path: Path) -> None:
    people = cohort(tmp_path, {"target_inr": "", "amiodarone": ""})
    assert people.usable.tolist() == [1] and people.covariates["amiodarone"].tolist() == [0]


def test_a_missing_height_stays_missing(tmp_path: Path) -> None:
    assert np.isnan(cohort(tmp_path, {"height_cm": ""}).covariates["height_cm"]).all()


def test_a_ragged_row_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, [GOOD])
    file.write_text(file.read_text() + "60 - 69,male\n" + ",".join(["1"] * (len(GOOD) + 1)) + "\n")
    people = read_cohort(file, COHORT)
    assert people.reasons == {"wrong number of cells": 2} and people.usable.tolist() == [1]


def test_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    people = read_cohort(write(tmp_path, [GOOD], encoding="utf-8-sig"), COHORT)
    assert people.usable.tolist() == [1]


def test_unknown_column_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    renamed = {("hight_cm" if name == "height_cm" else name): value for name, value in GOOD.items()}
    with pytest.raises(ValueError, match=r"unknown column 'hight_cm'; did you mean 'height_cm'\?"):
        read_cohort(write(tmp_path, [renamed]), COHORT)


def test_column_like_nothing_else_is_refused_without_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown column 'zzzz' \("):
        read_cohort(write(tmp_path, [GOOD | {"zzzz": ""}]), COHORT)


def test_missing_column_is_refused(tmp_path: Path) -> None:
    rest = {name: value for name, value in GOOD.items() if name != "cyp2c9"}
    with pytest.raises(ValueError, match="column 'cyp2c9' is missing"):
        read_cohort(write(tmp_path, [rest]), COHORT)


@pytest.mark.parametrize(
    ("text", "message"), [("", "is missing"), (",".join(GOOD) + "\n", "a header and no rows")]
)
def test_empty_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "empty.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_cohort(file, COHORT)


def test_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cohort file .*none.csv: not found"):
        read_cohort(tmp_path / "none.csv", COHORT)


def test_people_are_chosen_without_replacement_by_the_seed(tmp_path: Path) -> None:
    people = cohort(tmp_path, *[{} if i % 3 else {"cyp2c9": ""} for i in range(60)])
    chosen = [people.choose(15, Noise("trial", seed)) for seed in range(3)]
    for rows in chosen:
        assert len(set(rows.tolist())) == 15 and set(rows) <= set(people.usable)
    assert not np.array_equal(chosen[0], chosen[1]) and not np.array_equal(chosen[1], chosen[2])
    assert np.array_equal(people.choose(15, Noise("trial", 0)), chosen[0])
    assert np.array_equal(people.choose(None, Noise("trial", 0)), people.usable)


def test_too_few_usable_rows_are_an_error(tmp_path: Path) -> None:
    people = cohort(tmp_path, {}, {"cyp2c9": ""}, {})
    with pytest.raises(
        ValueError,
        match="3 patients wanted, 2 of 3 rows are usable; ask for at most 2; most often refused: .* .1 rows",
    ):
        people.choose(3, Noise("trial", 0))


def test_a_refused_row_cannot_be_drawn(tmp_path: Path) -> None:
    people = cohort(tmp_path, {}, {"cyp2c9": ""})
    with pytest.raises(ValueError, match="row 2 is not usable"):
        people.draw(WARFARIN.model, WARFARIN.base, np.array([1, 2]), Noise("trial", 0))


def test_random_effects_of_a_real_person_depend_on_the_row_alone(tmp_path: Path) -> None:
    noise = Noise("trial", 4)
    people = cohort(tmp_path, {}, {"cyp2c9": ""}, {}, {})
    whole = people.draw(WARFARIN.model, WARFARIN.base, people.usable, noise)
    same(people.draw(WARFARIN.model, WARFARIN.base, np.array([4, 1]), noise), whole, np.array([2, 0]))
    assert len(np.unique(whole.theta[:, 0])) == 3


# --------------------------------------------------------------------------------------------- the IWPC table


def test_iwpc_rows_with_age_and_both_genotypes_are_4348(shared: Path, warfarin: Scenario) -> None:
    columns = tuple(c for c in COHORT.columns if c.kind != "at_most")
    table = replace(COHORT, columns=columns, ignored=COHORT.ignored | {"target_inr"})
    people = read_cohort(shared / "data" / "outcomes" / "iwpc_warfarin.csv", table)
    assert people.rows == 4560
    assert len(people.usable) == 4348


def test_iwpc_rows_refused_for_their_target_are_113(shared: Path, warfarin: Scenario) -> None:
    people = read_cohort(shared / "data" / "outcomes" / "iwpc_warfarin.csv", COHORT)
    assert people.reasons["target_inr above 2.5"] == 113
    assert len(people.usable) == 4235
    assert len(people.usable) + len(people.refused) == 4560


def test_iwpc_rows_with_height_and_weight_are_3378(shared: Path, warfarin: Scenario) -> None:
    people = read_cohort(shared / "data" / "outcomes" / "iwpc_warfarin.csv", COHORT, NEEDS)
    assert len(people.usable) == 3378

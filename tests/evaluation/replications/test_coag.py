"""COAG again: a small form that can fail, the three-day dose table, the page, and acceptance (slow)."""

import json
from pathlib import Path

import numpy as np
import pytest

from dosewright.envs import Noise
from dosewright.evaluation import ExistingResultError
from dosewright.evaluation.replications import Replication, coag, write_replication
from dosewright.evaluation.replications.cohort import HiddenVariants
from dosewright.evaluation.replications.dose_table import FirstDoses, dose_rows, first_doses
from dosewright.scripts.replicate import coag_arms

ARMS = coag_arms()
# trials.md 2, recomputed: mean and SD over 1 000 000 people a race, CYP2C9 left out of the first dose
RECOMPUTED = {
    ("genotype", "Black"): (6.07, 1.38), ("genotype", "non-Black"): (4.04, 1.46),
    ("control", "Black"): (0.25, 3.14), ("control", "non-Black"): (3.76, 2.45),
}  # fmt: skip


def table(n: int) -> dict[str, FirstDoses]:
    noise = Noise("trial", 1)
    return {
        "non-Black": first_doses(coag.SCENARIO, ARMS, coag.NON_BLACK, np.arange(n), noise),
        "Black": first_doses(coag.SCENARIO, ARMS, HiddenVariants(coag.BLACK), n + np.arange(n), noise),
    }


def assert_table(doses: dict[str, FirstDoses], errors: float, published: bool) -> None:
    n = len(doses["Black"].maintenance)
    rows = [
        *dose_rows("genotype", doses, "EU-PACT genotype", "genotype"),
        *dose_rows("control", doses, "EU-PACT control", "clinical"),
    ]
    assert len(rows) == 6
    for row in rows:
        assert not published or row.check.verdict == "pass"
        if row.group != "all":
            mean, sd = RECOMPUTED[row.arm, row.group]
            # means are given to two decimals, with an error below 0.01
            assert row.estimate.mean == pytest.approx(mean, abs=0.015 + errors * sd / np.sqrt(n))
            assert row.sd == pytest.approx(sd, rel=0.01 + errors / np.sqrt(n))


def test_three_day_dose_table() -> None:
    assert_table(table(1500), 4.0, published=False)


@pytest.mark.slow
def test_three_day_dose_table_meets_the_published_means() -> None:
    assert_table(table(200_000), 4.0, published=True)


def test_all_participants_of_the_table_are_weighted_as_analysed() -> None:
    zero = np.zeros(4)
    black, other = np.array([6.0, 8.0, 6.0, 8.0]), np.array([3.0, 5.0, 3.0, 5.0])
    doses = {
        "Black": FirstDoses({"eu": black, "coag": zero}, zero + 5),
        "non-Black": FirstDoses({"eu": other, "coag": zero}, zero + 4),
    }
    everybody = dose_rows("genotype", doses, "eu", "coag")[0]
    share = 139 / (139 + 371)
    assert everybody.group == "all" and everybody.published_mean == 4.8
    assert everybody.estimate.mean == pytest.approx(7 * share + 4 * (1 - share))
    # within: variance 4/3; between: 3² · share · (1 − share)
    assert everybody.sd == pytest.approx(np.sqrt(4 / 3 + 9 * share * (1 - share)))
    assert doses["Black"].over_maintenance("eu").mean == pytest.approx(7 / 15)


@pytest.fixture(scope="module")
def result() -> Replication:
    return coag.replicate(ARMS, 400, 1, ("clinic",))


def test_small_replication(result: Replication) -> None:
    found = {item.name: item for item in result.contrasts}
    everybody = found[coag.ALL]
    # 20 000 a race: 48.1 and 48.2 %, −0.1; standard errors of 400: 0.7 of the difference, 1.2 of a level
    assert everybody.difference["in_range"].mean == pytest.approx(-0.1, abs=2.2)
    assert everybody.first.in_range.mean == pytest.approx(48.1, abs=4.0)
    others, black = (found[group].difference["in_range"].mean for group in (coag.OTHERS, coag.WITH))
    assert everybody.difference["in_range"].mean == pytest.approx(0.73 * others + 0.27 * black)
    # clearance falls with hidden variants, so INRs are higher, in both arms
    for arm in ("first", "second"):
        with_variants, without = (
            getattr(found[group], arm).below_2.mean for group in (coag.WITH, coag.WITHOUT)
        )
        assert with_variants < without - 1.0
    assert 0 < found[coag.DIFFERING].n < everybody.n


def test_too_few_participants_are_refused() -> None:
    with pytest.raises(ValueError, match="patients = 99; expected at least 100 of each race"):
        coag.replicate(ARMS, 99, 1, ("clinic",))


def test_paired_difference_of_the_two_is_their_difference(result: Replication) -> None:
    hidden, bare, paired = (check for check in result.checks if check.item == 4)
    assert paired.estimate.mean == pytest.approx(hidden.estimate.mean - bare.estimate.mean, abs=0.05)
    # paired by participant and noise: narrower than two independent groups of the same size
    apart = np.hypot(hidden.estimate.standard_error, bare.estimate.standard_error)
    assert paired.estimate.standard_error < 0.7 * apart


def test_result_reports_every_item(result: Replication) -> None:
    assert [(check.item, check.rule) for check in result.checks] == [
        (3, "must hold"), (4, "report"), (4, "report"), (4, "report"), *[(5, "must hold")] * 6,
    ]  # fmt: skip
    assert result.checks[0].band == (-3.4, 3.1)
    assert [row.check.band for row in result.doses][0] == pytest.approx((4.3, 5.3))


def test_folder_holds_the_record_and_a_page_with_its_numbers(result: Replication, tmp_path: Path) -> None:
    folder = write_replication(result, tmp_path / "out")
    assert {path.name for path in folder.iterdir()} == {"result.json", "report.html"}
    record = json.loads((folder / "result.json").read_text())
    page = (folder / "report.html").read_text()
    assert page.count("Research simulation, not for clinical use") == 1
    assert "<script" not in page and 'src="http' not in page and "<link" not in page
    for check in record["checks"]:
        digits = 2 if check["unit"] in ("points", "mg") else 1
        assert f"{check['estimate']['mean']:.{digits}f}".replace("-", "−") in page
        assert check["verdict"] in page
    for sentence in record["answer"]:
        assert sentence.replace(" %", "\u00a0%").replace("'", "&#39;") in page
    assert page.count("<svg") == 2
    with pytest.raises(ExistingResultError, match="--overwrite"):
        write_replication(result, folder)


@pytest.mark.slow
def test_acceptance() -> None:
    found = coag.replicate(ARMS, 8000, 1, ("clinic", "textbook"))
    judged = [check for check in found.checks if check.rule == "must hold"]
    assert [check.verdict for check in judged] == ["pass"] * 7
    differences = {(item.realism, item.name): item.difference["in_range"].mean for item in found.contrasts}
    # trials.md 4; four standard errors of 8000 participants here and of 20 000 there
    expected = {
        ("textbook", coag.OTHERS): 0.35, ("textbook", coag.WITHOUT): -1.56, ("textbook", coag.WITH): -1.73,
        ("clinic", coag.OTHERS): 0.39, ("clinic", coag.WITHOUT): -1.23, ("clinic", coag.WITH): -1.44,
    }  # fmt: skip
    for key, mean in expected.items():
        assert differences[key] == pytest.approx(mean, abs=1.0), key
    assert differences["clinic", coag.ALL] == pytest.approx(-0.10, abs=0.8)

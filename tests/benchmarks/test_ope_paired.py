"""The comparison of a paired trial's statistics with a reference: that it agrees, and that it notices."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.ope_paired import KIND, Row, check

Z95 = 1.959963984540054  # standard normal quantile at 0.975
N, YEARS = 40, 40 * 84 / 365.25
WILSON = Z95**2 / (N + Z95**2)  # upper limit of none of 40

# forty patients without an adverse reaction, twelve weeks each
NO_EVENT: dict[str, Any] = {
    "adr_new": 0,
    "adr_only_old": 0,
    "mcnemar_exact_p": 1.0,
    "risk_difference": 0.0,
    "risk_difference_newcombe_unpaired_95": [-WILSON, WILSON],
    "risk_difference_paired_wald_95": [0.0, 0.0],
    "risk_ratio_log_95": None,
    "wilson_new_95": [0.0, WILSON],
    "clopper_pearson_new_95": [0.0, 1 - 0.025 ** (1 / N)],
    "number_needed": None,
    "number_needed_95": {
        "kind": "benefit through infinity to harm",
        "limits": [-1 / WILSON, 1 / WILSON],
        "crosses_infinity": True,
    },
    "patient_years": YEARS,
    "rate_new": 0.0,
    "rate_new_exact_poisson_95": [0.0, -math.log(0.025) / YEARS],
    "rate_ratio_score_95": [0.0, math.inf],
    "rate_difference_mover_95": [-(Z95**2) / YEARS, Z95**2 / YEARS],
    "by_genotype": {"1": {"n": 10, "time_in_range_difference": 0.5, "adr_new": 0, "adr_old": 0}},
}


def write(folder: Path, numbers: dict[str, Any], **arrays: np.ndarray) -> Path:
    n = len(arrays["new_adr"])
    tir = {"new_tir": np.linspace(0.5, 1.0, n), "old_tir": np.linspace(0.0, 0.5, n)}
    np.savez(folder / "data.npz", **{"genotype": np.arange(n) // 10, **tir, **arrays})
    (folder / "spec.json").write_text(json.dumps({"kind": KIND, "horizon": 12, "step_length_days": 7}))
    (folder / "reference.json").write_text(json.dumps({"estimates": {"old": numbers}}))
    return folder


def write_no_event(folder: Path, **changes: Any) -> Path:
    none = {
        f"{arm}_{name}": np.zeros(N, dtype=int) for arm in ("new", "old") for name in ("adr", "adr_count")
    }
    return write(folder, NO_EVENT | changes, **none)


def apart(rows: list[Row]) -> set[str]:
    def agrees(ours: float, theirs: float, tolerance: float) -> bool:
        none = math.isnan(ours) and math.isnan(theirs)
        return none or ours == theirs or abs(ours - theirs) <= tolerance

    return {name.removeprefix("old.") for name, *numbers in rows if not agrees(*numbers)}


def test_no_event_at_all(tmp_path: Path) -> None:
    rows = check(write_no_event(tmp_path))
    assert apart(rows) == set()
    assert len(rows) == 31


@pytest.mark.parametrize(
    ("changes", "noticed"),
    [
        ({"risk_difference": 1e-9}, {"risk_difference"}),
        ({"wilson_new_95": [0.0, WILSON * (1 + 2e-8)]}, {"wilson_new_95.high"}),
        ({"rate_ratio_score_95": [0.02, 50.4]}, {"rate_ratio_score_95.low", "rate_ratio_score_95.high"}),
        ({"wilson_new_95": None}, {"wilson_new_95.high"}),
        ({"hazard_ratio": 1.0}, {"hazard_ratio"}),
        ({"remark": "none"}, {"remark"}),
        ({"by_genotype": {"1": {"n": 11}}}, {"by_genotype.1.n"}),
        (
            {"number_needed_95": {"kind": "benefit", "limits": [-9.0, None], "crosses_infinity": False}},
            {"number_needed_95.crosses_infinity", "number_needed_95.limits.low",
             "number_needed_95.limits.high"},
        ),
    ],
)  # fmt: skip
def test_a_wrong_number_is_noticed(tmp_path: Path, changes: dict[str, Any], noticed: set[str]) -> None:
    assert apart(check(write_no_event(tmp_path, **changes))) == noticed


@pytest.mark.parametrize(("kind", "limits"), [("harm", [10.0, 100.0]), ("harm", [100.0, 10.0])])
def test_limits_of_a_number_needed_in_either_order(tmp_path: Path, kind: str, limits: list[float]) -> None:
    events = {f"new_{name}": np.arange(200) < 40 for name in ("adr", "adr_count")}
    events |= {f"old_{name}": np.arange(200) < 10 for name in ("adr", "adr_count")}
    write(
        tmp_path, {"number_needed_95": {"kind": kind, "limits": limits, "crosses_infinity": False}}, **events
    )
    rows = {name: numbers for name, *numbers in check(tmp_path)}
    assert rows["old.number_needed_95.kind"][:2] == [1.0, 1.0]
    low, high = (rows[f"old.number_needed_95.limits.{side}"] for side in ("low", "high"))
    # 40 against 10 of 200: the smaller difference is the larger number
    assert low[0] > 1 / 0.15 > high[0]
    assert (low[1], high[1]) == (100.0, 10.0)


@pytest.mark.oracles
@pytest.mark.parametrize(("chance_new", "chance_old"), [(0.20, 0.08), (0.10, 0.12), (0.02, 0.30)])
def test_other_trials_against_statsmodels(tmp_path: Path, chance_new: float, chance_old: float) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    rates = pytest.importorskip("statsmodels.stats.rates")
    rng = np.random.default_rng(1)
    new, old = rng.poisson(chance_new, 400), rng.poisson(chance_old, 400)
    x, y, years = int((new > 0).sum()), int((old > 0).sum()), 400 * 84 / 365.25
    low, high = proportion.confint_proportions_2indep(x, 400, y, 400, compare="diff", method="newcomb")
    side = "benefit" if x < y else "harm"
    numbers = {
        "risk_difference_newcombe_unpaired_95": [low, high],
        "risk_ratio_log_95": proportion.confint_proportions_2indep(
            x, 400, y, 400, compare="ratio", method="log"
        ),
        "clopper_pearson_new_95": proportion.proportion_confint(x, 400, method="beta"),
        "number_needed": 400 / (x - y),
        "number_needed_95": {
            "kind": side,
            "limits": [1 / low, 1 / high],
            "crosses_infinity": bool(low < 0 < high),
        },
        "rate_new_exact_poisson_95": rates.confint_poisson(int(new.sum()), years, method="exact-c"),
        "rate_ratio_score_95": rates.confint_poisson_2indep(int(new.sum()), years, int(old.sum()), years),
        "rate_difference_mover_95": rates.confint_poisson_2indep(
            int(new.sum()), years, int(old.sum()), years, method="mover", compare="diff"
        ),
    }
    events = {"new_adr": new > 0, "old_adr": old > 0, "new_adr_count": new, "old_adr_count": old}
    rows = check(write(tmp_path, numbers, **events))
    assert apart(rows) == set()
    crossing = [ours for name, ours, *_ in rows if name.endswith("crosses_infinity")]
    assert crossing == [1.0]


def test_other_kinds_are_none_of_its_business(shared: Path) -> None:
    assert check(shared / "reference" / "ope" / "tabular_short") == []


def test_shared_paired_trial(shared: Path) -> None:
    rows = check(shared / "reference" / "ope" / "paired_virtual_trial")
    assert apart(rows) == set()
    assert len(rows) == 100
    # the visible case needs no allowance for the reference's search
    searched = [row for row in rows if "rate_ratio_score" in row[0]]
    assert all(abs(ours - theirs) <= 1e-8 * theirs for _, ours, theirs, _ in searched)

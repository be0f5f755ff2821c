"""The virtual trials of others: groups and their weights, what a table counts, the numbers that are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dosewright.agents.regimens import regimen
from dosewright.agents.regimens.ravvaz import ravvaz_arms
from dosewright.envs import Noise, Regimen, scenario
from dosewright.evaluation.replications import (
    Arms,
    PeerTrial,
    anzabi_zadeh,
    augustin,
    day_by_day,
    write_replication,
)
from dosewright.evaluation.replications.anzabi_zadeh import HIGHLY, NORMAL, SENSITIVE, Variability
from dosewright.evaluation.replications.peer import ALL, Group, Values, follow_all, tabulate
from dosewright.evaluation.replications.result import in_words


def own_visits(variability: Variability) -> dict[str, Regimen]:
    return dict(ravvaz_arms(day_by_day(scenario(anzabi_zadeh.SCENARIOS[variability]))))


@pytest.fixture(scope="module")
def small() -> PeerTrial:
    """Cut, with the highly sensitive filled up."""
    calendar = {"nomogram": regimen("nomogram", scenario(anzabi_zadeh.SCENARIOS["cut"]))}
    return anzabi_zadeh.replicate(own_visits("cut"), calendar, 120, 1, "cut", 40, "nomogram")


def test_groups_are_the_published_ones() -> None:
    cyp2c9 = np.array(
        ["*1/*1", "*1/*2", "*1/*1", "*1/*1", "*1/*2", "*2/*3", "*2/*3", "*2/*2", "*1/*3", "*3/*3"]
    )
    vkorc1 = np.array(["GG", "GG", "GA", "AA", "GA", "GA", "GG", "AA", "AA", "GG"])
    found = anzabi_zadeh.group_of(cyp2c9, vkorc1).tolist()
    assert found == [NORMAL] * 3 + [SENSITIVE] * 2 + [HIGHLY, SENSITIVE] + [HIGHLY] * 3


def test_shares_of_the_groups() -> None:
    shares = anzabi_zadeh.shares()
    # (0.6739 + 0.1486) · 0.3837 + 0.6739 · 0.4418; the highly sensitive: *3/*3 and four pairs
    assert shares[NORMAL] == pytest.approx(0.6133, abs=1e-4)
    assert shares[HIGHLY] == pytest.approx(0.0398, abs=1e-4)
    assert sum(shares.values()) == pytest.approx(1.0)


def test_a_group_is_filled_up_with_the_next_of_its_kind() -> None:
    known, noise = scenario(anzabi_zadeh.SCENARIOS["full"]), Noise("trial", 1)
    ids = anzabi_zadeh.enrolled(known, 100, 30, noise)
    genotypes = known.population.draw(known.model, known.base, ids, noise).genotypes
    kinds = anzabi_zadeh.group_of(genotypes["CYP2C9"], genotypes["VKORC1"])
    assert np.sum(kinds == HIGHLY) == 30 and len(set(ids.tolist())) == len(ids)
    assert ids[:100].tolist() == list(range(100)) and set(kinds[100:]) == {HIGHLY}
    assert anzabi_zadeh.enrolled(known, 100, 0, noise).tolist() == list(range(100))


def test_all_patients_are_the_groups_weighted_where_one_was_filled_up() -> None:
    flags = np.array([True, True, True, False])
    values: dict[str, Values] = {
        "a": {"in_range": np.array([0.2, 0.4, 0.8, 1.0]), "ever_above_4": flags},
        "b": {"in_range": np.array([0.1, 0.3, 0.5, 0.7]), "ever_above_4": ~flags},
    }
    first = np.array([True, True, False, False])
    groups = {Group("x", 0.9, 2): first, Group("y", 0.1, 2): ~first}
    rows = {(row.arm, row.group): row for row in tabulate(values, groups, True, "b", {})}
    assert rows["a", ALL].figures["in_range"].mean == pytest.approx(0.9 * 30 + 0.1 * 90)
    assert rows["a", ALL].figures["ever_above_4"].mean == pytest.approx(0.9 * 100 + 0.1 * 50)
    difference = rows["a", ALL].difference
    assert difference is not None and difference.mean == pytest.approx(0.9 * 10 + 0.1 * 30)
    assert rows["b", ALL].difference is None
    nobody: dict[str, Values] = {"a": {"in_range": values["a"]["in_range"], "ever_above_4": flags & ~flags}}
    none = tabulate(nobody, groups, True, None, {})[0].figures["ever_above_4"]
    # no event in two patients leaves room up to 65.8 % (Wilson); of both groups √((0.9·65.8)² + (0.1·65.8)²)
    assert (none.mean, none.low) == pytest.approx((0, 0)) and none.high == pytest.approx(59.6, abs=0.1)
    assert "-0.0" not in in_words(none)
    drawn = tabulate(values, groups, False, None, {})
    assert drawn[0].figures["in_range"].mean == pytest.approx(60) and drawn[0].difference is None
    with pytest.raises(ValueError, match="ask for more patients"):
        tabulate(values, {Group("x", 0.9, 1): first, Group("y", 0.1, 2): ~first}, True, None, {})


def test_a_group_that_is_too_small_is_named_before_anybody_is_treated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("somebody was treated")

    monkeypatch.setattr(anzabi_zadeh, "follow_all", never)
    with pytest.raises(ValueError, match="[01] patients are .*ask for more patients"):
        anzabi_zadeh.replicate(own_visits("cut"), {}, 3, 1, "cut")


def test_a_table_has_every_arm_and_group(small: PeerTrial) -> None:
    table = small.tables[0]
    assert [row.arm for row in table.rows[::4]] == [*anzabi_zadeh.ARMS, "nomogram"]
    assert [row.group for row in table.rows[:4]] == [ALL, NORMAL, SENSITIVE, HIGHLY]
    assert small.stratified and {group.name: group.n for group in small.groups}[HIGHLY] == 40
    # genotype helps, most where warfarin acts most
    aaa, caa, pgaa, pgpga = (
        table.row(arm, HIGHLY).figures["in_range"].mean for arm in ("AAA", "CAA", "PGAA", "PGPGA")
    )
    assert aaa < caa < pgaa and aaa < pgpga
    assert {row.arm for row in table.rows if row.difference is None} == {"nomogram"}
    assert table.row("PGAA").published["counted"].value == 75.8


# the mean of these patients lies within three standard errors of the rerun's
@pytest.mark.parametrize(("variability", "rerun", "error"), [("cut", 75.8, 0.9), ("full", 51.3, 1.6)])
def test_pgaa_is_that_of_the_rerun(variability: Variability, rerun: float, error: float) -> None:
    known = scenario(anzabi_zadeh.SCENARIOS[variability])
    arms = Arms({"PGAA": own_visits(variability)["PGAA"]}, {"PGAA": (0, 2, 4)}, {})
    followed = follow_all(known, arms, np.arange(400), Noise("trial", 1))
    counted = 100 * np.mean((followed.measured["PGAA"][:, 1:] >= 2) & (followed.measured["PGAA"][:, 1:] <= 3))
    latent = 100 * np.mean((followed.truth["PGAA"][:, 1:] >= 2) & (followed.truth["PGAA"][:, 1:] <= 3))
    assert counted == pytest.approx(rerun, abs=3 * error)
    # the error of the counted INR costs about 3 points, and the latent INR does not have it
    assert 0.5 < latent - counted < 6


def test_errors_of_a_day_are_the_same_in_every_arm_and_have_the_stated_sd() -> None:
    known = scenario(anzabi_zadeh.SCENARIOS["cut"])
    own = own_visits("cut")
    arms = Arms({name: own[name] for name in ("CAA", "PGAA")}, {"CAA": (0, 2, 4), "PGAA": (0, 2, 4)}, {})
    followed = follow_all(known, arms, np.arange(60), Noise("trial", 2))
    first, second = (np.log(followed.measured[name] / followed.truth[name]) for name in ("CAA", "PGAA"))
    assert first == pytest.approx(second, abs=1e-9)
    assert first.std() == pytest.approx(0.042, rel=0.05)


def test_an_arm_is_named_that_is_missing_or_unknown() -> None:
    own = own_visits("full")
    del own["CAA"]
    with pytest.raises(ValueError, match="arm 'CAA'"):
        anzabi_zadeh.replicate(own, {}, 10, 1, "full")
    with pytest.raises(ValueError, match="reference 'policy' is no arm"):
        anzabi_zadeh.replicate(own_visits("full"), {}, 10, 1, "full", reference="policy")


def test_a_result_is_a_record_and_a_page_of_the_same_numbers(small: PeerTrial, tmp_path: Path) -> None:
    folder = write_replication(small, tmp_path / "out")
    record = json.loads((folder / "result.json").read_text())
    rows = record["tables"][0]["rows"]
    pgaa = next(row for row in rows if (row["arm"], row["group"]) == ("PGAA", ALL))
    page = (folder / "report.html").read_text()
    assert f"{pgaa['figures']['in_range']['mean']:.1f}" in page and "75.8 (B)" in page
    assert page.count("not for clinical use") == 1 and "http" not in page.split("<h3>Sources")[0]
    assert len(record["tables"][0]["share_in_range"]["PGAA"]) == 91
    assert f"{100 * anzabi_zadeh.shares()[HIGHLY]:.2f}" in page


@pytest.fixture(scope="module")
def induction() -> PeerTrial:
    arms: dict[int, Arms] = {}
    for most, name in augustin.SCENARIOS.items():
        known = scenario(name)
        own = {arm: item for arm, item in ravvaz_arms(day_by_day(known)).items() if arm in augustin.ARMS}
        arms[most] = Arms(own, augustin.INR_DAYS, {"bayesian-adaptive": regimen("bayesian-adaptive", known)})
    return augustin.replicate(arms, 60, 1, "bayesian-adaptive")


def test_an_induction_is_tested_on_two_models_with_two_caps(induction: PeerTrial) -> None:
    assert [table.name[:11] for table in induction.tables] == ["Up to 30 mg"] * 2 + ["Up to 15 mg"] * 2
    own, other, capped, _ = ({row.arm: row for row in table.rows} for table in induction.tables)
    monitored = "bayesian-adaptive"
    # the wrong model costs, and the cap costs those who need more
    assert own[monitored].figures["at_end"].mean > 90
    assert other[monitored].figures["at_end"].mean < own[monitored].figures["at_end"].mean
    assert capped[monitored].figures["in_range"].mean <= own[monitored].figures["in_range"].mean
    # Aurora does not know of the cap of 15 mg, and never comes near it
    assert capped["AAA"].figures["in_range"].mean == pytest.approx(
        own["AAA"].figures["in_range"].mean, abs=0.5
    )
    # theirs stand beside another model's, with 30 mg, alone
    assert not any(row.published for rows in (own, capped) for row in rows.values())
    assert len(induction.tables[0].share_in_range[monitored]) == augustin.DAYS + 1
    assert not induction.stratified and len(induction.groups) == 1

"""One arm day by day: only what was asked for is seen, late results come the next day, lost ones never."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dosewright.envs import Intake, Noise, Scenario
from dosewright.envs.realism import Realism
from dosewright.evaluation.replications import coag
from dosewright.evaluation.replications.course import AsksForVisits, Course, follow

SCENARIO, N, DAYS, VISITS = coag.SCENARIO, 60, 28, (0, 3, 7, 14, 21)


@dataclass(frozen=True)
class State:
    next_visit: NDArray[np.float64]


class Watching:
    """Gives 5 mg, notes what it sees, and asks for an INR on some days."""

    name, needs = "watching", frozenset[str]()

    def __init__(self, ask: dict[int, int] | None = None) -> None:
        self.ask, self.seen = ask or {}, list[dict[str, np.ndarray]]()

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[np.ndarray, Any]:
        assert (state is None) == bool(np.all(episode_start))
        self.seen.append(SCENARIO.observation.decode(observation))
        wanted = self.ask.get(len(self.seen) - 1, np.inf)
        return np.full(len(observation), 5.0), State(np.full(len(observation), float(wanted)))


def admitted(realism: Realism) -> Intake:
    noise = Noise("select", 3)
    patients = coag.NON_BLACK.draw(SCENARIO.model, SCENARIO.base, np.arange(N), noise)
    return Intake.prepare(SCENARIO, patients, noise, realism)


def followed(realism: Realism, regimen: Watching, known: float = 0.0) -> tuple[Course, Intake]:
    intake = admitted(realism)
    return follow(SCENARIO, regimen, intake, VISITS, DAYS, np.full(N, known)), intake


CLINIC = SCENARIO.preset("clinic")
TEXTBOOK = SCENARIO.preset("textbook")


def test_blood_is_drawn_at_visits_and_at_the_end_only() -> None:
    watching = Watching()
    course, _ = followed(TEXTBOOK, watching)
    drawn = ~np.isnan(course.measured)
    assert np.array_equal(drawn, np.tile(np.isin(np.arange(DAYS + 1), [*VISITS, DAYS]), (N, 1)))
    assert [day for day, seen in enumerate(watching.seen) if seen["inr_new"].any()] == list(VISITS)
    for day in VISITS:
        assert watching.seen[day]["inr"] == pytest.approx(course.measured[:, day], rel=1e-6)
    # in between the newest result stays in hand, with its age
    assert watching.seen[5]["inr"] == pytest.approx(course.measured[:, 3], rel=1e-6)
    assert np.all(watching.seen[5]["inr_age"] == 2)
    error = np.log(course.measured[:, DAYS] / course.truth[:, DAYS])
    assert error.std() == pytest.approx(0.19, abs=0.06)  # the assay's


def test_an_arm_may_ask_for_a_visit() -> None:
    watching = Watching({8: 9, 10: 11})
    assert isinstance(State(np.zeros(1)), AsksForVisits)
    course, _ = followed(TEXTBOOK, watching)
    assert np.array_equal(np.flatnonzero(~np.isnan(course.measured[0])), [0, 3, 7, 9, 11, 14, 21, DAYS])
    # the error of a day's sample does not depend on who asked for it
    other, _ = followed(TEXTBOOK, Watching())
    assert np.array_equal(course.measured[:, list(VISITS)], other.measured[:, list(VISITS)])


def test_late_results_come_the_next_day_and_lost_ones_never() -> None:
    watching = Watching()
    often = replace(CLINIC, late=0.4, missing=0.3, dropout_per_month=0.0)
    course, intake = followed(often, watching)
    for day in VISITS[1:]:
        late, lost = intake.life.late[:, day, 0], intake.life.missing[:, day, 0]
        assert late.any() and lost.any()
        assert np.array_equal(np.isnan(course.measured[:, day]), lost)
        assert np.array_equal(watching.seen[day]["inr_new"] == 1, ~late & ~lost)
        after = watching.seen[day + 1]
        assert np.array_equal(after["inr_new"] == 1, late)
        assert np.all(after["inr_age"][late] == 1)
        assert after["inr"][late] == pytest.approx(course.measured[late, day], rel=1e-6)


def test_after_a_late_result_and_a_prompt_one_both_are_shown() -> None:
    watching = Watching({3: 4})
    course, intake = followed(replace(CLINIC, late=0.5, missing=0.0, dropout_per_month=0.0), watching)
    both = intake.life.late[:, 3, 0] & ~intake.life.late[:, 4, 0]
    assert both.any()
    seen = watching.seen[4]
    assert seen["inr"][both] == pytest.approx(course.measured[both, 4], rel=1e-6)
    assert np.all(seen["inr_age"][both] == 0) and np.all(seen["late_inr_age"][both] == 1)
    assert seen["late_inr"][both] == pytest.approx(course.measured[both, 3], rel=1e-6)


def test_genotype_is_hidden_until_it_is_known() -> None:
    watching = Watching()
    followed(TEXTBOOK, watching, known=1.0)
    assert np.isnan(watching.seen[0]["vkorc1_A"]).all() and np.isnan(watching.seen[0]["cyp2c9_*2"]).all()
    assert (
        np.isfinite(watching.seen[1]["vkorc1_A"]).all() and np.isfinite(watching.seen[1]["cyp2c9_*3"]).all()
    )


def test_who_leaves_is_not_followed_further() -> None:
    course, intake = followed(replace(CLINIC, dropout_per_month=0.6), Watching())
    leaves = intake.life.leaves
    assert (leaves < DAYS).any()
    for row in np.flatnonzero(leaves < DAYS):
        assert np.isnan(course.measured[row, leaves[row] :]).all()
        assert np.isnan(course.truth[row, leaves[row] + 1 :]).all()
        assert np.isnan(course.wanted[row, leaves[row] :]).all()


@pytest.mark.parametrize(
    "odd", [replace(SCENARIO, calendar=(0, 3)), replace(SCENARIO, horizon=20, calendar=tuple(range(20)))]
)
def test_a_scenario_without_a_decision_every_day_is_refused(odd: Scenario) -> None:
    with pytest.raises(
        ValueError, match="28 days of decisions in units .* a replication needs one every day"
    ):
        follow(odd, Watching(), admitted(TEXTBOOK), VISITS, DAYS, np.zeros(N))

"""A trial in parts: any order, any stop, any number of processes, the same numbers; patients as needed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dosewright.agents.regimens import FixedDose
from dosewright.envs import Noise, Regimen, scenario
from dosewright.evaluation import ExistingResultError, TrialResult
from dosewright.evaluation.statistics import paired_difference
from dosewright.evaluation.trial import TrialDesign, run_design, workers_wanted
from dosewright.evaluation.trial import run as running
from dosewright.evaluation.trial.block import Block, treat
from dosewright.evaluation.trial.precision import look
from dosewright.evaluation.trial.store import TrialStore

WARFARIN = scenario("warfarin")
CLINIC = WARFARIN.preset("clinic")
QUESTION = {"seed": "1 of namespace trial", "arms": "five, three"}


class Counting(FixedDose):
    """Counts the patients that it meets."""

    met = 0

    def predict(
        self,
        observation: NDArray[np.float32],
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float64], Any]:
        Counting.met += 0 if episode_start is None else int(episode_start.sum())
        return super().predict(observation, state, episode_start, deterministic)


def design(arms: Mapping[str, Regimen] | None = None, seed: int = 1) -> TrialDesign:
    chosen = arms or {"five": Counting(WARFARIN, 5.0), "three": FixedDose(WARFARIN, 3.0)}
    return TrialDesign(WARFARIN, chosen, WARFARIN.population, Noise("trial", seed), CLINIC)


def assert_same(one: TrialResult, other: TrialResult) -> None:
    assert one.patient_table().equals(other.patient_table(), null_equal=True)
    for name, arm in one.arms.items():
        for key in ("truth", "measured", "doses", "first_harm"):
            np.testing.assert_array_equal(getattr(arm, key), getattr(other.arms[name], key))
        assert (arm.decisions, arm.upper_bound) == (other.arms[name].decisions, other.arms[name].upper_bound)
    assert one.substituted == other.substituted and one.precision == other.precision


@pytest.fixture(scope="module")
def whole() -> TrialResult:
    return run_design(design(), range(45), block=10)


def backwards(recipe: Any, asked: TrialDesign, parts: Mapping[int, NDArray[np.int64]], processes: int) -> Any:
    """Stand in for workers that finish in the reverse order."""
    yield from ((number, treat(asked, ids)) for number, ids in reversed(list(parts.items())))


def test_the_order_in_which_blocks_are_finished_changes_nothing(
    whole: TrialResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "treated_by_workers", backwards)
    assert_same(whole, run_design(design(), range(45), recipe=design, processes=2, block=10))
    narrow: dict[str, Any] = {"half_width": 0.12, "references": ("three",), "block": 10, "batch": 20}
    forwards = run_design(design(), range(200), **narrow)
    assert 40 < len(forwards.ids) < 200  # else it would show nothing
    assert_same(forwards, run_design(design(), range(200), recipe=design, processes=2, **narrow))


def test_workers_are_started_where_they_pay() -> None:
    # asked for: after the first block, which compiles for all of them; never more than blocks are left
    assert workers_wanted(2, 8, [], 5) == 1
    assert workers_wanted(2, 8, [0.1], 5) == 2
    assert workers_wanted(4, 8, [0.1], 3) == 3
    assert workers_wanted(1, 8, [60.0, 60.0], 5) == 1
    # not asked for: the second block says how long the rest takes, the first may have compiled
    assert workers_wanted(None, 2, [100.0], 50) == 1
    assert workers_wanted(None, 2, [100.0, 0.5], 8) == 1
    assert workers_wanted(None, 2, [100.0, 10.0], 8) == 2
    assert workers_wanted(None, 1, [100.0, 10.0], 8) == 1


def test_more_processes_need_a_recipe_that_can_be_sent() -> None:
    with pytest.raises(ValueError, match="processes = 2; expected 1, or more with the recipe"):
        run_design(design(), range(10), processes=2)
    with pytest.raises(ValueError, match="cannot be sent to a worker.*functools.partial"):
        run_design(design(), range(10), recipe=lambda: design(), processes=2, block=2)


def test_a_recipe_of_another_design_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from dosewright.evaluation.trial import workers

    monkeypatch.setattr(workers, "_recipe", lambda: design(seed=2))
    monkeypatch.setattr(workers, "_expected", design(seed=1).described())
    with pytest.raises(ValueError, match="another design.*seed is '2 of namespace trial'.*'1 of namespace"):
        workers._design.__wrapped__()


def test_patients_are_added_until_every_difference_is_known() -> None:
    arms: dict[str, Regimen] = {f"{dose:g}": FixedDose(WARFARIN, dose) for dose in (3.0, 4.0, 7.0)}
    wide: dict[str, Any] = {"half_width": 0.09, "references": ("4",), "block": 20, "batch": 20}
    found = run_design(design(arms), range(400), **wide)
    n, precision = len(found.ids), found.precision
    assert precision is not None and precision.reached and precision.most == 400
    assert n % 20 == 0 and 20 < n < 400
    for name in ("3", "7"):
        difference = found.difference(name, "4", "benefit")
        assert precision.half_widths[name] == difference.high - difference.mean <= 0.09
    # the look before was too wide: it stopped at the first that was not
    before = run_design(design(arms), range(n - 20))
    assert max(d.high - d.mean for d in (before.difference(a, "4", "benefit") for a in ("3", "7"))) > 0.09
    assert found.patient_table().equals(run_design(design(arms), range(n)).patient_table())
    few = run_design(design(arms), range(35), **dict[str, Any](wide, half_width=0.001))
    assert few.precision is not None and not few.precision.reached and len(few.ids) == 35
    # the interval shrinks with the root of the number, a little faster while Student's quantile falls
    times = (max(few.precision.half_widths.values()) / 0.001) ** 2
    assert 0.9 * 35 * times < 35 + few.precision.additional < 35 * times
    assert precision.additional == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"half_width": 0.0, "references": ("five",)}, "half-width 0.0; expected a positive share"),
        ({"half_width": math.nan, "references": ("five",)}, "half-width nan"),
        ({"half_width": 0.1, "references": ("six",)}, "reference 'six' is no arm of this trial: five, three"),
        ({"half_width": 0.1}, "differences from which arm. name one of five, three"),
        ({"half_width": 0.1, "references": ("five",), "batch": 15}, "batch = 15; expected a multiple"),
        ({"processes": 0}, "processes = 0"),
    ],
)
def test_what_means_nothing_is_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        run_design(design(), range(10), **dict[str, Any]({"block": 10, "batch": 10, **more}))
    alone = design({"five": FixedDose(WARFARIN, 5.0)})
    with pytest.raises(ValueError, match="no arm but 'five'"):
        run_design(alone, range(10), half_width=0.1, references=("five",))


def test_stopping_by_width_keeps_the_coverage() -> None:
    # Anscombe 1952, Chow and Robbins 1965: it tends to the nominal one. The command's looks and precision;
    # 6000 runs gave 0.954, the binomial error of 600 is 0.009.
    rng, covered, sizes, size = np.random.default_rng(1), 0, [], 0
    for _ in range(600):
        # benefit differs in four of ten patients, exponentially: mean 0.08, SD 0.17, skewed
        gain = rng.exponential(0.2, 20_000) * (rng.random(20_000) < 0.4)
        for size in range(1000, 20_001, 1000):
            found = look(0.005, ("old",), {"new": gain[:size], "old": np.zeros(size)}, 20_000)
            if found.reached:
                covered += abs(gain[:size].mean() - 0.08) <= found.half_widths["new"]
                break
        sizes.append(size)
    assert 4000 < np.mean(sizes) < 5000  # (1.96 * 0.17 / 0.005)^2 = 4400
    assert 0.93 <= covered / 600 <= 0.97


def test_a_stopped_trial_goes_on_to_the_same_result(whole: TrialResult, tmp_path: Path) -> None:
    def stop(arm: str, patients: int) -> None:
        if arm == "five" and Counting.met == 30:  # within the third block
            raise KeyboardInterrupt

    asked, out = design(), tmp_path / "out"
    Counting.met = 0
    store = TrialStore.begin(out, QUESTION)
    with pytest.raises(KeyboardInterrupt):
        run_design(asked, range(45), store=store, block=10, progress=stop)
    assert sorted(path.name for path in store.path.iterdir()) == [
        "block-00000.npz", "block-00001.npz", "lock", "question.json",
    ]  # fmt: skip
    store.close()
    # what was being written when the power went is not a block
    (store.path / "block-00002.npz.new").write_bytes(b"half of it")
    seen = {"five": 0, "three": 0}

    def count(arm: str, patients: int) -> None:
        seen[arm] += patients

    Counting.met = 0
    again = TrialStore.resume(out, QUESTION)
    assert_same(whole, run_design(asked, range(45), store=again, block=10, progress=count))
    assert Counting.met == 25  # the finished 20 are not treated again
    assert seen == {"five": 45, "three": 45}
    # all is there now: nobody is treated
    assert_same(whole, run_design(asked, range(45), store=again, block=10))
    assert Counting.met == 25
    again.remove()
    assert not list(tmp_path.iterdir())


def test_the_difference_from_every_reference_is_known_and_none_between_them() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0.0, 0.1, (3, 2000))
    # the policy is like the first reference; the second differs from both
    benefit = {"a": noise[0], "b": noise[1], "policy": noise[0] + 0.01 * noise[2]}
    one, two = (look(0.005, names, benefit, 4000) for names in (("a",), ("a", "b")))
    assert set(one.half_widths) == {"b", "policy"} and set(two.half_widths) == {"policy"}
    wide = paired_difference(benefit["policy"], benefit["b"])
    assert (
        two.half_widths["policy"]
        == wide.high - wide.mean
        > 0.005
        > 1e-4
        > look(0.005, ("a",), {name: benefit[name] for name in ("a", "policy")}, 4000).half_widths["policy"]
    )
    assert two.reference == "b" and not two.reached


def test_one_process_works_in_a_folder(tmp_path: Path) -> None:
    # another process could begin another trial between two blocks of this one
    with TrialStore.begin(tmp_path / "out", QUESTION) as store:
        for attempt in (TrialStore.begin, TrialStore.resume):
            with pytest.raises(ExistingResultError, match="out.partial: another process is at work there"):
                attempt(tmp_path / "out", QUESTION)
        store.keep(0, treat(design(), np.arange(3)))
    with TrialStore.resume(tmp_path / "out", QUESTION) as store:
        assert len(store.blocks([np.arange(3)])) == 1


def test_a_trial_killed_before_it_said_what_it_asks_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "out.partial"
    path.mkdir()
    for name in ("lock", "question.json.new"):
        (path / name).write_text("")
    TrialStore.begin(tmp_path / "out", QUESTION).close()
    assert sorted(file.name for file in path.iterdir()) == ["lock", "question.json"]


def test_blocks_come_back_from_disk_as_they_were(tmp_path: Path) -> None:
    asked = design({"a/b 0": FixedDose(WARFARIN, 5.0)})
    store, ids = TrialStore.begin(tmp_path / "out", QUESTION), np.arange(7)
    kept = treat(asked, ids)
    store.keep(3, kept)
    ((number, found),) = store.blocks([ids[:0], ids[:0], ids[:0], ids]).items()
    assert number == 3 and list(found.arms) == ["a/b 0"]
    for kind in ("covariates", "genotypes", "labels"):
        assert list(getattr(found, kind)) == list(getattr(kept, kind))
    mine, theirs = kept.arms["a/b 0"], found.arms["a/b 0"]
    assert (mine.seconds, mine.decisions, mine.upper_bound) == (
        theirs.seconds, theirs.decisions, theirs.upper_bound,
    )  # fmt: skip
    for name, values in mine.outcomes.items():
        np.testing.assert_array_equal(values, theirs.outcomes[name])
        assert values.dtype == theirs.outcomes[name].dtype
    assert theirs.truth.dtype == np.float32 and theirs.ever_harm.dtype == np.bool_
    joined = Block.joined([found])
    assert joined.substituted == kept.substituted


def test_a_partial_folder_of_another_question_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="no trial was stopped at .*out.partial; leave --resume out"):
        TrialStore.resume(out, QUESTION)
    TrialStore.begin(out, QUESTION).close()
    with TrialStore.begin(out, QUESTION) as store:  # nothing was finished, nothing is lost
        store.keep(0, treat(design(), np.arange(3)))
    with pytest.raises(ExistingResultError, match="1 blocks of it are finished.*--resume.*--overwrite"):
        TrialStore.begin(out, QUESTION)
    with pytest.raises(ValueError) as caught:
        TrialStore.resume(out, QUESTION | {"seed": "2 of namespace trial", "arm policy": "policy"})
    said = str(caught.value)
    assert "seed '1 of namespace trial' there, '2 of namespace trial' here" in said
    assert "arm policy None there, 'policy' here" in said and "; arms" not in said
    with TrialStore.resume(out, QUESTION) as store:
        assert len(store.blocks([np.arange(3)])) == 1
    begun = TrialStore.begin(out, QUESTION, overwrite=True)
    assert begun.blocks([np.arange(3)]) == {}
    assert json.loads((begun.path / "question.json").read_text()) == QUESTION


def test_what_is_no_store_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "out.partial"
    mine.mkdir()
    (mine / "thesis.txt").write_text("all of it")
    with pytest.raises(ExistingResultError, match="no trial that was stopped; move it away"):
        TrialStore.begin(tmp_path / "out", QUESTION, overwrite=True)
    assert (mine / "thesis.txt").read_text() == "all of it"


def test_broken_and_foreign_blocks_are_named(tmp_path: Path) -> None:
    store = TrialStore.begin(tmp_path / "out", QUESTION)
    store.keep(0, treat(design(), np.arange(3)))
    with pytest.raises(ValueError, match="block-00000.npz: holds other patients than block 0"):
        store.blocks([np.arange(4)])
    file = store.path / "block-00000.npz"
    file.write_bytes(file.read_bytes()[:-500])
    with pytest.raises(ValueError, match="block-00000.npz: is broken.*delete the file"):
        store.blocks([np.arange(3)])


def test_a_design_is_described_by_what_it_would_come_to() -> None:
    asked, ids = design(), np.arange(20)
    words = asked.described()
    assert words == design().described()
    assert words["seed"] != design(seed=2).described()["seed"]
    textbook = TrialDesign(
        WARFARIN, asked.arms, asked.population, asked.noise, WARFARIN.preset("textbook")
    ).described()
    assert [part for part in words if words[part] != textbook[part]] == ["realism"]
    assert asked.people(ids) == design().people(ids)
    assert len({asked.people(ids), asked.people(ids + 1), design(seed=2).people(ids)}) == 3

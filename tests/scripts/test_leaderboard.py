"""``dosewright leaderboard``: goes on where it was, and refuses comparators that were changed."""

from __future__ import annotations

import json
import re
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dosewright.envs import names, scenario
from dosewright.evaluation.trial import run as running
from dosewright.scripts.cli import cli
from dosewright.scripts.leaderboard import _learned, _policies, _tried
from dosewright.scripts.leaderboard_cells import check_frozen, comparators, shipped_comparators


def command(*arguments: str | Path) -> None:
    cli.main(["leaderboard", *map(str, arguments)], standalone_mode=False)


@pytest.fixture
def frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("dosewright.agents.shipped", list)
    path = tmp_path / "comparators.json"
    command("busulfan", "--freeze", "--comparators", path)
    return path


def small(out: Path, frozen: Path, *more: str | Path) -> dict[str, Any]:
    """A board of one cell; the fixture `frozen` takes the policies that ship away."""
    command(
        "busulfan", "--out", out, "--comparators", frozen, "--realism", "textbook", "--worlds", "own",
        "--elsewhere", "24", "--planned", "0.17", "--processes", "1", *more,
    )  # fmt: skip
    return json.loads((out / "result.json").read_text())


def test_a_finished_board_is_read_again(
    tmp_path: Path, frozen: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = small(tmp_path / "board", frozen)
    (cell,) = first["cells"]
    assert (cell["drug"], cell["realism"], cell["world"], cell["patients"]) == (
        "busulfan",
        "textbook",
        "own",
        24,
    )
    assert {"label", "bayesian", "bayesian-adaptive", "planner", "planner-adaptive", "oracle"} <= set(
        cell["arms"]
    )
    assert cell["arms"]["planner"]["patients"] == 4 and cell["arms"]["oracle"]["upper_bound"]
    assert "not for clinical use" in capsys.readouterr().out

    def never(*_: Any) -> None:
        raise AssertionError("patients were treated again")

    monkeypatch.setattr(running, "treat", never)
    again = small(tmp_path / "board", frozen)
    assert again["cells"] == first["cells"]

    # a finished cell can be read without its patients, and patients that were treated are not treated again
    cells = tmp_path / "board" / "cells"
    record = cells / "busulfan-textbook-own.json"
    record.rename(tmp_path / "record.json")
    assert small(tmp_path / "board", frozen)["cells"] == first["cells"]
    # summed up by other code: anew while the patients are there
    made = json.loads(record.read_text())
    made["record"]["arms"], made["summed"]["code"] = {}, "SHA-256 0"
    record.write_text(json.dumps(made))
    assert small(tmp_path / "board", frozen)["cells"] == first["cells"]
    shutil.rmtree(cells / "busulfan-textbook-own")
    assert small(tmp_path / "board", frozen)["cells"] == first["cells"]
    record.write_text(json.dumps(made))
    with pytest.raises(ValueError, match="was summed up otherwise: code 'SHA-256 0' there, .* not here to"):
        small(tmp_path / "board", frozen)


def test_a_policy_is_compared_in_another_model_too(
    tmp_path: Path, frozen: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = tmp_path / "runs" / "busulfan-s1" / "policy"
    shutil.copytree(Path(str(files("dosewright.agents.pretrained") / "busulfan")), arms)
    policies = ["--policies", tmp_path / "runs"]
    board = small(tmp_path / "board", frozen, "--worlds", "own,other", "--planned", "0", *policies)
    own, other = board["cells"]
    assert [cell["policies"] for cell in board["cells"]] == [["policy s1"], ["policy s1"]]
    assert own["gap_closed"] is not None and "oracle" in own["arms"]
    # of another model the oracle knows nothing
    assert other["gap_closed"] is None and "oracle" not in other["arms"]
    assert other["arms"]["policy s1"]["benefit"] != own["arms"]["policy s1"]["benefit"]
    said = capsys.readouterr().out
    difference = 100 * own["against"]["monitoring"]["benefit"]["mean"]
    assert (
        f"busulfan, textbook, own model, 24 patients: policy − {own['monitoring']} {difference:+.1f} ("
        in said
    )
    asked = json.loads((tmp_path / "board" / "cells" / "busulfan-textbook-other.json").read_text())["asked"]
    assert all("SHA-256" in group["world"] for group in asked.values())


def test_a_cell_of_other_code_is_kept_where_its_patients_come_out_the_same(
    tmp_path: Path, frozen: Path
) -> None:
    first = small(tmp_path / "board", frozen)
    cells = tmp_path / "board" / "cells"
    record = cells / "busulfan-textbook-own.json"

    def of_other_code() -> None:
        for file in (record, *cells.glob("*/*.partial/question.json")):
            file.write_text(
                re.sub(r"(dosewright [0-9.]+, SHA-256 )[0-9a-f]{16}", r"\g<1>" + 16 * "0", file.read_text())
            )

    of_other_code()
    with pytest.raises(ValueError, match="arms are of another board: code .*are kept by --recheck 20"):
        small(tmp_path / "board", frozen)
    kept = small(tmp_path / "board", frozen, "--recheck", "3")
    (cell,) = kept["cells"]
    assert [(item["group"], item["patients"]) for item in cell["rechecked"]] == [
        ("belief", 3), ("rules", 3), ("planner", 3)
    ]  # fmt: skip
    assert {**cell, "rechecked": []} == first["cells"][0]
    page = (tmp_path / "board" / "leaderboard.html").read_text()
    assert "1 of 1 comparisons were treated by earlier code; their first patients, treated again" in page
    assert "<dt>busulfan, textbook, own model</dt><dd>3 patients under belief, rules, planner</dd>" in page
    # from now on it is a cell of this code
    assert small(tmp_path / "board", frozen)["cells"] == kept["cells"]

    # nor need its patients be there: it keeps fingerprints of the first
    of_other_code()
    (cells / "busulfan-textbook-own").rename(tmp_path / "patients")
    (cell,) = small(tmp_path / "board", frozen, "--recheck", "2")["cells"]
    assert [(item["group"], item["patients"]) for item in cell["rechecked"][3:]] == [
        ("belief", 2), ("rules", 2), ("planner", 2)
    ]  # fmt: skip
    assert {**cell, "rechecked": []} == first["cells"][0]
    of_other_code()
    kept = json.loads(record.read_text())
    kept["first"]["bayesian"][1] = 16 * "f"
    record.write_text(json.dumps(kept))
    with pytest.raises(ValueError, match="patient 1 under 'bayesian' is another by this code: the cell"):
        small(tmp_path / "board", frozen, "--recheck", "2")
    del kept["first"]["bayesian"]
    record.write_text(json.dumps(kept))
    with pytest.raises(ValueError, match="holds no patients of 'bayesian' to compare with; delete it"):
        small(tmp_path / "board", frozen, "--recheck", "2")
    record.write_text(json.dumps({key: value for key, value in kept.items() if key != "first"}))
    with pytest.raises(
        ValueError, match=r"own.json: is no record of a cell \(KeyError\('first'\)\); delete it"
    ):
        small(tmp_path / "board", frozen, "--recheck", "2")
    (tmp_path / "patients").rename(cells / "busulfan-textbook-own")

    of_other_code()
    (block,) = (cells / "busulfan-textbook-own" / "rules.partial").glob("block-*.npz")
    with np.load(block) as stored:
        arrays = dict(stored)
    arrays["arm 1/doses"] = arrays["arm 1/doses"] + (np.arange(24) == 2)[:, None]
    np.savez(block, allow_pickle=False, **arrays)
    record.unlink()  # nor need the cell be finished
    again = small(tmp_path / "board", frozen, "--recheck", "2")  # the first two are the same
    # the note of the first recheck is not lost with the record
    assert [(item["group"], item["patients"]) for item in again["cells"][0]["rechecked"]] == [
        ("belief", 3), ("belief", 2), ("rules", 3), ("rules", 2), ("planner", 3), ("planner", 2)
    ]  # fmt: skip
    of_other_code()
    arms = list(first["cells"][0]["arms"])
    with pytest.raises(ValueError, match=f"patient 2 under '{arms[1]}' is another by this code: the cell"):
        small(tmp_path / "board", frozen, "--recheck", "3")
    # what is asked otherwise is no matter of code
    with pytest.raises(ValueError, match="belief arms are of another board: seed"):
        small(tmp_path / "board", frozen, "--seed", "2", "--recheck", "3")


@pytest.mark.oracles
def test_a_board_on_ray_has_the_numbers_of_one_process(tmp_path: Path, frozen: Path) -> None:
    pytest.importorskip("ray")
    here = small(tmp_path / "here", frozen)
    there = small(tmp_path / "there", frozen, "--backend", "ray", "--processes", "2")
    for cell in (*here["cells"], *there["cells"]):
        for arm in cell["arms"].values():
            del arm["ms_per_decision"]  # of the clock
    assert there["cells"] == here["cells"]


def test_other_patients_are_not_taken_for_the_same_board(tmp_path: Path, frozen: Path) -> None:
    small(tmp_path / "board", frozen)
    with pytest.raises(ValueError, match="belief arms are of another board: seed '1 of namespace t"):
        small(tmp_path / "board", frozen, "--seed", "2")
    # nor where only some of the patients of a cell are there
    (tmp_path / "board" / "cells" / "busulfan-textbook-own.json").unlink()
    with pytest.raises(ValueError, match="is another one: seed '1 of namespace trial' there, '2 of"):
        small(tmp_path / "board", frozen, "--seed", "2")


@pytest.mark.parametrize("text", ["{", "[]", '{"record": {}}'])
def test_a_broken_record_is_named(tmp_path: Path, frozen: Path, text: str) -> None:
    file = tmp_path / "board" / "cells" / "busulfan-textbook-own.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.raises(ValueError, match="busulfan-textbook-own.json: is no record of a cell .* delete it"):
        small(tmp_path / "board", frozen)


def test_another_planner_is_another_board(tmp_path: Path, frozen: Path) -> None:
    small(tmp_path / "board", frozen)
    with pytest.raises(ValueError, match="cell's planner arms are of another board: patients '4, .* '5, "):
        small(tmp_path / "board", frozen, "--planned", "0.2")


def test_fewer_patients_are_treated_where_less_depends_on_them(tmp_path: Path, frozen: Path) -> None:
    board = small(tmp_path / "board", frozen, "--realism", "clinic,textbook", "--patients", "30")
    treated = [(cell["realism"], cell["patients"]) for cell in board["cells"]]
    assert treated == [("clinic", 30), ("textbook", 24)]
    planned = [cell["arms"]["planner"]["patients"] for cell in board["cells"]]
    assert planned == [round(0.17 * 30), round(0.17 * 24)]


def test_comparators_are_those_that_were_frozen(tmp_path: Path, frozen: Path) -> None:
    with pytest.raises(ValueError, match="write them with --freeze before any policy is compared"):
        small(tmp_path / "board", tmp_path / "nothing.json")
    then = json.loads(frozen.read_text())
    then["busulfan"]["fade"] = 0.5
    frozen.write_text(json.dumps(then))
    with pytest.raises(ValueError, match="comparators of busulfan .* fade 0.5 then, 0.9 now"):
        small(tmp_path / "board", frozen)
    add = "no comparators of warfarin-augustin-30; add them, `dosewright leaderboard warfarin-augustin-30 "
    with pytest.raises(ValueError, match=f"{add}--freeze --comparators .*comparators.json`"):
        command("warfarin-augustin-30", "--out", tmp_path / "board", "--comparators", frozen)


def test_the_frozen_comparators_are_those_of_this_code() -> None:
    check_frozen(shipped_comparators(), {drug: comparators(scenario(drug)) for drug in names()})


def test_freezing_one_drug_leaves_the_others(tmp_path: Path, frozen: Path) -> None:
    before = json.loads(frozen.read_text())
    command("warfarin", "--freeze", "--comparators", frozen)
    after = json.loads(frozen.read_text())
    assert set(after) == {"busulfan", "warfarin"} and after["busulfan"] == before["busulfan"]
    # policies may have been compared with what was frozen
    frozen.write_text(json.dumps({**after, "busulfan": {**after["busulfan"], "fade": 0.5}}))
    with pytest.raises(ValueError, match="of busulfan are frozen, and others: fade 0.5 then, 0.9 now; name"):
        command("busulfan", "--freeze", "--comparators", frozen)
    assert json.loads(frozen.read_text())["busulfan"]["fade"] == 0.5
    frozen.write_text("[]")
    for more in (["--freeze"], ["--out", tmp_path / "board"]):
        with pytest.raises(ValueError, match="are no frozen comparators"):
            command("busulfan", "--comparators", frozen, *more)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--realism", "textbook,textbok", "textbok"),
        ("--realism", "textbook,textbook", "'textbook' is listed twice"),
        ("--worlds", "own,own", "'own' is listed twice"),
        ("--worlds", "own,", "'' is no name"),
    ],
)
def test_a_list_is_read_before_anybody_is_treated(
    tmp_path: Path, frozen: Path, option: str, value: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        small(tmp_path / "board", frozen, option, value)
    assert not (tmp_path / "board").exists()


def test_another_result_is_not_overwritten(tmp_path: Path, frozen: Path) -> None:
    there = tmp_path / "board" / "result.json"
    there.parent.mkdir()
    there.write_text("{}")
    with pytest.raises(ValueError, match="board: holds another result; name another folder"):
        small(tmp_path / "board", frozen)
    assert there.read_text() == "{}"


def test_a_board_whose_page_failed_goes_on(
    tmp_path: Path, frozen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Any) -> str:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("dosewright.evaluation.report.leaderboard.leaderboard_page", full)
        with pytest.raises(OSError, match="no space left"):
            small(tmp_path / "board", frozen)
    assert not (tmp_path / "board" / "result.json").exists()
    assert len(small(tmp_path / "board", frozen)["cells"]) == 1


def test_an_unknown_world_or_drug_is_named(tmp_path: Path, frozen: Path) -> None:
    with pytest.raises(ValueError, match="--worlds 'mars': known: own, other"):
        small(tmp_path / "board", frozen, "--worlds", "mars")
    with pytest.raises(ValueError, match="aspirin"):
        command("aspirin", "--out", tmp_path / "board", "--comparators", frozen)


def test_a_policy_that_does_not_fit_is_refused_before_anybody_is_treated(
    tmp_path: Path, frozen: Path
) -> None:
    policy = tmp_path / "runs" / "busulfan-s1" / "policy"
    shutil.copytree(Path(str(files("dosewright.agents.pretrained") / "busulfan")), policy)
    card = json.loads((policy / "card.json").read_text())
    (policy / "card.json").write_text(json.dumps({**card, "scenario_version": 7}))
    with pytest.raises(ValueError, match="made for busulfan version 7, this is version 0; train it again"):
        small(tmp_path / "board", frozen, "--policies", tmp_path / "runs")
    assert not (tmp_path / "board").exists()


def test_policies_of_two_presets_are_not_seeds_of_one_training(tmp_path: Path) -> None:
    trained = Path(__file__).parents[2] / "docs" / "leaderboard" / "policies"
    for name in ("busulfan-s1", "busulfan-s2"):
        shutil.copytree(trained / name, tmp_path / "runs" / name)
    assert _learned(tmp_path / "runs", ["busulfan"])["busulfan"].keys() == {"policy s1", "policy s2"}
    other = trained.parent / "tried" / "fluorouracil-sac-s1"
    for path in (trained / "fluorouracil-s2", other):
        shutil.copytree(path, tmp_path / "mixed" / path.name)
    two = "fluorouracil-sac-s1 and fluorouracil-s2 are of fluorouracil, but not of one preset: .*sac.*--tried"
    with pytest.raises(ValueError, match=two):
        _learned(tmp_path / "mixed", ["fluorouracil"])


def test_policies_are_found_by_their_cards(tmp_path: Path) -> None:
    def run(name: str, drug: str, seed: int) -> Path:
        folder = tmp_path / name / "policy"
        folder.mkdir(parents=True)
        (folder / "card.json").write_text(json.dumps({"scenario": drug, "seed": seed}))
        return folder

    two, one = run("a", "busulfan", 2), run("b", "busulfan", 1)
    run("c", "warfarin", 1)
    assert _policies(tmp_path, "busulfan") == {"policy s2": two, "policy s1": one}
    with pytest.raises(ValueError, match="none is of propofol; expected RUN/policy/ as"):
        _policies(tmp_path, "propofol")
    run("d", "busulfan", 1)
    with pytest.raises(ValueError, match="b and d are both of busulfan and seed 1; one policy a seed"):
        _policies(tmp_path, "busulfan")


def test_trainings_that_were_tried_are_told_by_their_cards(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--tried .*: holds no RUN/policy/ as `dosewright train` leaves it"):
        _tried(tmp_path, {"tacrolimus"})
    shipped = Path(str(files("dosewright.agents.pretrained")))
    for drug in ("busulfan", "tacrolimus"):
        shutil.copytree(shipped / drug, tmp_path / drug / "policy")
    found = _tried(tmp_path, {"tacrolimus"})  # busulfan is not on the board
    card = json.loads((shipped / "tacrolimus" / "card.json").read_text())
    (entry,) = found["tacrolimus"]
    assert entry["preset"] == "ppo, warm start, belief, anchored" and entry["differs"] == []
    assert entry["trained"] is card["trained"] is True
    assert entry["curve"][-1]["benefit"] == card["curve"][-1]["benefit"]
    there = tmp_path / "tacrolimus" / "policy" / "card.json"
    # the untrained policy is written before anything was tried
    there.write_text(json.dumps({**card, "curve": []}))
    with pytest.raises(ValueError, match="its training was not tried on patients yet; let it finish"):
        _tried(tmp_path, {"tacrolimus"})
    del card["minutes"]
    there.write_text(json.dumps(card))
    with pytest.raises(ValueError, match="its card does not say 'minutes'; train it again"):
        _tried(tmp_path, {"tacrolimus"})
    there.write_text("{")
    with pytest.raises(ValueError, match="card.json: is no JSON .*; train the policy again"):
        _tried(tmp_path, {"tacrolimus"})
    del card["trained"]
    there.write_text(json.dumps(card))
    with pytest.raises(ValueError, match="its card does not say whether it was trained; train it again"):
        _tried(tmp_path, {"tacrolimus"})

"""The change-control page: its numbers are the record's, what a verdict lacks is said, it stands alone."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

import pytest

from dosewright.evaluation.report.registry import change, number, registry_page

LABEL = '<img src=x onerror="alert(1)">&'


def interval(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.0123, "high": mean + 0.0345}


def trial(world: str, start: float) -> dict[str, Any]:
    return {
        "world": world,
        "patients": 4000 + int(100 * start),
        "benefit": interval(start + 0.031),
        "harms": [
            {
                "label": "patients ever above INR 4",
                **interval(start - 0.0521),
                "margin": 0.015,
                "shown": True,
            },
            {"label": LABEL, **interval(start + 0.0071), "margin": 0.0105, "shown": False},
        ],
        "subgroups": [
            {"name": "sex: female", "n": 1987, "benefit": interval(start + 0.041), "harm": interval(-0.0632)},
            {"name": "CYP2C9: *1/*3", "n": 311, "benefit": interval(start + 0.053), "harm": interval(0.0044)},
        ],
    }


VERDICT = {
    "verdict": "promoted",
    "reason": "better by 3.1 points in both simulators",
    "alpha": 0.00625,
    "attempt": 3,
    "trials": [trial("refitted", 0.11), trial("previous", 0.23)],
    "off_policy": {
        "verdict": "refused", "reason": "17 effective patients", "patients": 512, "low": -0.0817,
        "high": 0.0934,
    },
}  # fmt: skip
REFUSED = {"verdict": "refused", "reason": "harm not excluded", "alpha": 0.0125, "attempt": 2, "trials": []}


def version(number: int, state: str, verdict: dict[str, Any] | None, **what: Any) -> dict[str, Any]:
    return {
        "number": number, "name": f"000{number}-abcdef01234{number}",
        "created": f"2026-01-0{number}T00:00:00",
        "parent": None, "regimen": "bayesian-adaptive", "reason": f"reason {number}", "state": state,
        "saw": 300 * number, "retrain": False, "verdict": verdict, **what,
    }  # fmt: skip


def recorded(*versions: dict[str, Any], dosing: int | None = 1) -> dict[str, Any]:
    def line(action: str, named: str | None, **body: Any) -> dict[str, Any]:
        return {
            "number": 0, "time": "2026-01-02T00:00:00", "action": action, "version": named, "by": "gate",
            "reason": "no", "body": body, "hash": "8" * 64,
        }  # fmt: skip

    first, *others = [line("created", each["name"]) for each in versions]
    refused = line("refused", None, candidate="refit to 250 patients", verdict=REFUSED)
    audit = [first, refused, *others, line("erased", None)]
    for place, each in enumerate(audit):
        each["number"] = place + 1
    return {
        "notice": "Research simulation, not for clinical use",
        "registry": "/somewhere",
        "scenario": {"name": "warfarin", "version": 7},
        "current": None
        if dosing is None
        else {
            "name": versions[dosing]["name"], "since": "2026-01-05T00:00:00", "action": "promoted",
            "by": "gate", "why": "it passed",
        },
        "versions": list(versions),
        "audit": audit,
        "checked": {"versions": len(versions), "lines": len(audit), "hash": "8" * 64},
        "provenance": {
            "command": "dosewright registry page", "started": "now", "seconds": 1.0, "platform": "here",
            "versions": {"dosewright": "0"}, "git": None,
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    first = version(1, "dosed before", None)
    return recorded(first, version(2, "doses now", VERDICT, parent=first["name"], retrain=True))


@pytest.fixture(scope="module")
def page(record: dict[str, Any]) -> str:
    return registry_page(record)


def words(page: str) -> str:
    """The text a reader sees, without figures and without the verdict as it was written."""
    text = re.sub(r"<style>.*?</style>|<svg.*?</svg>|<pre>.*?</pre>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text)))


def section(page: str, start: str, end: str) -> str:
    return words(page[page.index(start) : page.index(end)])


def numbers(values: Any) -> Iterator[float]:
    if isinstance(values, dict | list):
        for each in values.values() if isinstance(values, dict) else values:
            yield from numbers(each)
    elif isinstance(values, int | float) and not isinstance(values, bool):
        yield values


def shown(value: float, signed: bool) -> str:
    text = f"{value:,}" if isinstance(value, int) else f"{value:+.4g}" if signed else f"{value:.4g}"
    return text.replace("-", "−")


def test_page_has_every_number_of_the_verdicts(page: str) -> None:
    text = words(page)
    found = set(re.findall(r"[+−]?\d[\d,]*(?:\.\d+)?", text))
    every = [*numbers(VERDICT), *numbers(REFUSED)]
    assert len(every) == 59
    missing = [value for value in every if not {shown(value, True), shown(value, False)} & found]
    assert not missing


def test_rows_have_the_numbers_of_their_own(page: str) -> None:
    text = section(page, '<h2 id="gate">', "<h2>Change control</h2>")
    for one, world in zip(VERDICT["trials"], ("refitted simulator", "previous simulator"), strict=True):
        row = text[text.index(f"{world} {one['patients']:,} benefit") :]
        assert row.startswith(
            f"{world} {one['patients']:,} benefit {' '.join(change(one['benefit']))} 0 better"
        )
        for harm in one["harms"]:
            shows = "non-inferior" if harm["shown"] else "not shown"
            assert f"{harm['label']} {' '.join(change(harm))} {number(harm['margin'])} {shows}" in row
    assert "Off-policy evaluation on the log: refused, 512 patients, −0.0817 to 0.0934. 17 effective" in text
    impact = section(page, "<h3>3 Impact assessment</h3>", "<h2>Audit log</h2>")
    for one, world in zip(VERDICT["trials"], ("refitted simulator", "previous simulator"), strict=True):
        for group in one["subgroups"]:
            cells = f"{' '.join(change(group['benefit']))} {' '.join(change(group['harm']))}"
            assert f"{group['name']} {world} {group['n']:,} {cells}" in impact


def test_numbers_have_four_digits_and_a_sign_where_they_are_differences() -> None:
    assert change({"mean": -0.01234567, "low": None, "high": None}) == ("−0.01235", "")
    assert change({"mean": 0.5, "low": 0.0, "high": 1.0}) == ("+0.5", "+0 to +1")
    assert [number(value) for value in (None, 12345, 0.00625, -3.5)] == ["–", "12,345", "0.00625", "−3.5"]


def test_answer_says_what_doses_since_when_and_why(page: str) -> None:
    answer = section(page, '<section class="answer"', "<h2>Versions</h2>")
    assert (
        "Version 0002-abcdef012342 (bayesian-adaptive) doses since 2026-01-05T00:00:00, promoted by gate: "
        "it passed." in answer.replace(" (", " (")
    )
    assert f"The gate said: promoted, {VERDICT['reason']}." in answer and "listed for retraining" in answer


def test_attempts_of_refused_candidates_count_beside_the_others(page: str) -> None:
    text = section(page, "<h3>2 Modification protocol</h3>", "<h3>3 Impact assessment</h3>")
    newest = text.index("0002-abcdef012342 3 0.00625 promoted")
    older = text.index("refused, line 2: refit to 250 patients 2 0.0125 refused harm not excluded")
    assert newest < older


def test_change_control_has_its_three_parts(page: str) -> None:
    may, never = (
        section(page, start, end)
        for start, end in (
            ("<p><b>May change by itself", "<p><b>Never changes"),
            ("<p><b>Never changes", "<h3>2 Modification protocol"),
        )
    )
    for what in ("means, covariances", "Weights of the policy", "baselines of the surveillance"):
        assert what in may and what not in never
    for what in ("warfarin-v7: target", "shield", "Margins and alpha", "genotype", "Structure"):
        assert what in never and what not in may
    assert "December 2024" in words(page)


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (
            {"verdict": "promoted"},
            ("The verdict holds no trial.", "no off-policy evaluation", "no subgroups"),
        ),
        ({"verdict": "promoted", "off_policy": {"verdict": "answered"}}, ("on the log: answered.",)),
        (
            {"verdict": "promoted", "trials": [{"world": "other", "harms": [{"label": "harm A"}]}]},
            ("other – benefit – 0 – harm A – – –", "no subgroups"),
        ),
        (
            {"verdict": "promoted", "trials": [{"subgroups": [{"name": "age: 65 and over", "n": 12}]}]},
            ("world not named", "age: 65 and over world not named 12 – –"),
        ),
        (
            {"verdict": "promoted", "predictive": {"p": 0.0417}},
            ("Reason: none was written. Attempt –, alpha –.",),
        ),
    ],
)
def test_a_verdict_without_some_parts_says_so(verdict: dict[str, Any], said: tuple[str, ...]) -> None:
    made = registry_page(recorded(version(1, "dosed before", None), version(2, "doses now", verdict)))
    assert all(each in words(made) for each in said)
    # and nothing that the gate wrote is lost
    for value in numbers(verdict):
        assert str(value) in html.unescape(made)


def test_page_before_and_at_the_first_version() -> None:
    made = words(registry_page(recorded(version(1, "never dosed", None), dosing=None)))
    assert "Nothing: no version was promoted yet." in made
    first = words(registry_page(recorded(version(1, "doses now", None), dosing=0)))
    assert "the gate was not asked" in first and "no change is to be assessed" in first


def test_page_stands_alone_and_says_once_what_it_is_not_for(page: str) -> None:
    assert not re.search(r"<script|<link|<[a-z][^<>]*\bsrc=|@import|url\((?!#)", page)
    assert words(page).count("Research simulation, not for clinical use.") == 1
    assert page.count("not for clinical use") == 1
    assert "<img" not in page and LABEL in words(page)


def test_figures_have_ids_of_their_own(page: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert page.count("<svg") == 2 and len(ids) == len(set(ids)) > 0

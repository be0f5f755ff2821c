"""`dosewright registry`: what it prints, writes and refuses."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dosewright.agents.refinement.registry import Registry
from dosewright.envs import Scenario
from dosewright.scripts.cli import cli

VERDICT = {
    "verdict": "promoted",
    "reason": "better in both",
    "alpha": 0.0125,
    "attempt": 4,
    "trials": [
        {
            "world": "refitted",
            "patients": 4321,
            "benefit": {"mean": 0.0317, "low": 0.0211, "high": 0.0423},
            "harms": [
                {
                    "label": "patients ever above INR 4",
                    "mean": -0.0671,
                    "low": -0.0812,
                    "high": -0.0534,
                    "margin": 0.015,
                    "shown": True,
                }
            ],
        }
    ],
}
SAW = "ab" * 32


@pytest.fixture
def registry(tmp_path: Path, warfarin: Scenario) -> Registry:
    """Two versions that dosed, of which the second does, and a refused candidate: five lines."""
    made = Registry(tmp_path / "registry")
    first = made.create(
        warfarin, {"cl": 1.0}, {}, parent=None, regimen="bayesian-adaptive", by="session", reason="published"
    )
    made.promote(first, "session", "the first", {})
    second = made.create(
        warfarin, {"cl": 0.5}, {"psi": 0.2}, parent=first, regimen="bayesian-adaptive", by="refiner",
        reason="refit to 300 patients", saw=[SAW], verdict=VERDICT,
    )  # fmt: skip
    made.promote(second, "gate", "better in both", {})
    made.refuse("fine-tuned", "gate", "harm not excluded", {"verdict": {"verdict": "refused", "attempt": 5}})
    return made


def ask(registry: Registry, what: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["registry", what, str(registry.path), *arguments])


def done(registry: Registry, what: str, *arguments: str) -> str:
    result = ask(registry, what, *arguments)
    assert result.exit_code == 0, result.exception
    return result.output


def refusal(registry: Registry, what: str, *arguments: str) -> str:
    result = ask(registry, what, *arguments)
    assert isinstance(result.exception, ValueError), result.output
    return str(result.exception)


def test_list_has_a_line_a_version(registry: Registry, warfarin: Scenario) -> None:
    first, second = registry.versions()
    out = done(registry, "list")
    scenario = f"warfarin-v{warfarin.version}"
    rows = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines() if re.match(r" *\d ", line)]
    assert rows == [
        [
            "1", first.name, "dosed before", scenario, "bayesian-adaptive", first.created, "not asked",
            "published",
        ],
        [
            "2", second.name, "doses now", scenario, "bayesian-adaptive", second.created, "promoted",
            "refit to 300 patients",
        ],
    ]  # fmt: skip
    assert out.count("Research simulation, not for clinical use.") == 1
    registry.erase(SAW, "session", "asked for")
    assert "doses now, listed for retraining" in done(registry, "list")


def test_show_prints_digests_and_verdict(registry: Registry) -> None:
    first, second = registry.versions()
    out = done(registry, "show", second.name)
    for words in (
        f"hash: {second.content_hash}", f"made from: {first.name}", "new patients: 1", "gate: promoted",
        "state: doses now",
    ):  # fmt: skip
        assert words in out.splitlines()
    assert set(second.digests) == {"population.json", "baseline.json", "verdict.json"}
    assert all(f"  {digest}  {name}" in out.splitlines() for name, digest in second.digests.items())
    assert json.loads(out[out.index("\n{") : out.rindex("}") + 1]) == VERDICT
    assert "has no version 'second'; there are: 0001-" in refusal(registry, "show", "second")


def test_verify_counts_or_names_what_is_wrong(registry: Registry) -> None:
    assert done(registry, "verify") == "2 versions, 5 audit lines, all digests hold\n"
    file = registry.current().path / "population.json"
    file.write_text('{"cl": 2.0}')
    for command in ("verify", "list"):
        assert f"{file}: has digest" in refusal(registry, command)


def test_rollback_in_one_command(registry: Registry) -> None:
    first, second = registry.versions()
    assert ask(registry, "rollback").exit_code == 2  # without a reason
    assert registry.current() == second
    out = done(registry, "rollback", "--reason", "bleeding", "--by", "Ada")
    assert out == f"{first.name} (bayesian-adaptive) doses from now on\n"
    line = registry.audit()[-1]
    assert (line.action, line.version, line.by, line.reason) == ("rolled back", first.name, "Ada", "bleeding")
    assert "no version dosed before" in refusal(registry, "rollback", "--reason", "more")
    done(registry, "rollback", "--reason", "wrong alarm", "--to", second.name)
    assert registry.current() == second and registry.audit()[-1].by


def test_page_says_what_the_registry_holds(registry: Registry, tmp_path: Path) -> None:
    first, second = registry.versions()
    done(registry, "rollback", "--reason", "bleeding", "--by", "Ada")
    registry.erase(SAW, "session", "asked for")
    out = tmp_path / "pages" / "registry.html"
    assert f"page: {out}" in done(registry, "page", "--out", str(out))
    text = re.sub(r"<style>.*?</style>|<svg.*?</svg>|<pre>.*?</pre>", " ", out.read_text(), flags=re.DOTALL)
    text = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text)))
    since = next(line.time for line in registry.audit() if line.action == "rolled back")
    assert f"{first.name} (bayesian-adaptive) doses since {since}, rolled back by Ada: bleeding." in text
    assert f"{second.created} bayesian-adaptive {first.name} 1 refit to 300 patients promoted" in text
    assert "refitted simulator 4,321 benefit +0.0317 +0.0211 to +0.0423 0 better" in text
    assert "patients ever above INR 4 −0.0671 −0.0812 to −0.0534 0.015 non-inferior" in text
    assert "refused, line 5: fine-tuned 5 – refused" in text
    for line in registry.audit():
        assert f" {line.number} {line.time} {line.action} {line.version or ''}" in text
        assert line.hash[:12] in text
    assert registry.audit()[-1].hash in text and SAW not in text
    assert "exists already" in refusal(registry, "page", "--out", str(out))
    done(registry, "page", "--out", str(out), "--overwrite")
    assert "ends in .html" in refusal(registry, "page", "--out", str(tmp_path / "page.pdf"))
    assert sorted(path.name for path in out.parent.iterdir()) == ["registry.html"]


@pytest.mark.parametrize(
    "arguments",
    [("list",), ("verify",), ("show", "1"), ("rollback", "--reason", "x"), ("page", "--out", "x.html")],
)
def test_a_folder_without_a_registry_is_refused_and_left(arguments: tuple[str, ...], tmp_path: Path) -> None:
    nothing = Registry(tmp_path / "nothing")
    assert f"registry {nothing.path}: no version is there" in refusal(nothing, *arguments)
    assert list(tmp_path.iterdir()) == []

"""Fixtures of the whole suite: the shared reference data or a skip, and hypothesis without clock or luck."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from dosewright.envs import Intake, Noise, Regimen, Scenario, Treatment, scenario

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference data that is not part of the repository."""
    if not (SHARED / "reference").is_dir():
        pytest.skip(f"no reference data at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def warfarin() -> Scenario:
    return scenario("warfarin")


@pytest.fixture(scope="session")
def admitted(warfarin: Scenario) -> Callable[..., Intake]:
    """``admitted(n, realism, seed, **arguments)``: the first n patients of a seed, ready for treatment."""

    def admit(
        n: int, realism: str = "clinic", seed: int = 1, namespace: str = "select", **arguments: Any
    ) -> Intake:
        noise, ids = Noise(namespace, seed), np.arange(n)
        patients = warfarin.population.draw(warfarin.model, warfarin.base, ids, noise)
        return Intake.prepare(warfarin, patients, noise, warfarin.preset(realism), **arguments)

    return admit


@pytest.fixture(scope="session")
def treated(warfarin: Scenario) -> Callable[[Regimen, Intake], tuple[Treatment, np.ndarray]]:
    """``treated(regimen, intake)``: the whole course, and each patient's return."""

    def treat(regimen: Regimen, intake: Intake) -> tuple[Treatment, np.ndarray]:
        treatment = Treatment(warfarin, intake)
        attach = getattr(regimen, "attach", None)
        if attach is not None:
            attach(treatment)
        state: Any = None
        start, total = np.ones(len(treatment), dtype=bool), np.zeros(len(treatment))
        while treatment.active.any():
            dose, state = regimen.predict(treatment.observe(), state, start)
            interval = treatment.give(dose)
            total += interval.benefit - warfarin.weight * interval.harm
            start = np.zeros(len(treatment), dtype=bool)
        return treatment, total

    return treat


@pytest.fixture(scope="session")
def observed(warfarin: Scenario) -> Callable[..., np.ndarray]:
    """``observed(**entries)``: what is seen at a visit; what is not named is missing, or that of a person of
    65."""
    usual: dict[str, Any] = {
        "age_y": 65.0, "male": 1.0, "height_cm": 170.0, "weight_kg": 75.0, "race_white": 1.0,
        "cyp2c9_*2": 0.0, "cyp2c9_*3": 0.0, "vkorc1_A": 0.0,
    }  # fmt: skip

    def see(**entries: Any) -> np.ndarray:
        values = (
            {e.name: 0.0 if e.neutral is None else np.nan for e in warfarin.observation.entries}
            | usual
            | entries
        )
        return warfarin.observation.encode(
            dict(zip(values, np.broadcast_arrays(*values.values()), strict=True))
        )

    return see

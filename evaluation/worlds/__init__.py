"""Worlds that hold a change the learner is not told of, to prove refinement in."""

from dosewright.evaluation.worlds.known import WORLDS, world
from dosewright.evaluation.worlds.shift import HiddenShift

__all__ = ["WORLDS", "HiddenShift", "world"]

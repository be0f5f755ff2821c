"""Learning: what a policy sees and does, the policy as a regimen, presets, and training."""

from dosewright.agents.learning.anchored import anchored_dose
from dosewright.agents.learning.belief import BeliefFeatures
from dosewright.agents.learning.environment import LearningVectorEnv
from dosewright.agents.learning.history import HistoryFeatures
from dosewright.agents.learning.policy import LearnedPolicy
from dosewright.agents.learning.preset import Preset, read_preset
from dosewright.agents.learning.scaling import Scaling
from dosewright.agents.learning.train import train

__all__ = [
    "BeliefFeatures",
    "HistoryFeatures",
    "LearnedPolicy",
    "LearningVectorEnv",
    "Preset",
    "Scaling",
    "anchored_dose",
    "read_preset",
    "train",
]

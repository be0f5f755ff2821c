"""Learning: what a policy sees and does, the policy as a regimen, presets, and training."""

from dosewright.agents.learning.anchored import anchored_dose
from dosewright.agents.learning.belief import BeliefFeatures, BeliefVectorEnv, Scaling
from dosewright.agents.learning.policy import LearnedPolicy
from dosewright.agents.learning.preset import Preset, preset_name, read_preset
from dosewright.agents.learning.train import train

__all__ = [
    "BeliefFeatures",
    "BeliefVectorEnv",
    "LearnedPolicy",
    "Preset",
    "Scaling",
    "anchored_dose",
    "preset_name",
    "read_preset",
    "train",
]

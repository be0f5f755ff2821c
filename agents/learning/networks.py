"""Policy networks beyond those of Stable-Baselines3 and sb3-contrib.

A critic that sees the truth: in a simulator the value of a state need not be guessed from what was seen.
Actor and critic are two networks as in Stable-Baselines3; what is shown ends with columns that only the
critic looks at (Pinto et al., Asymmetric actor critic for image-based robot learning, RSS 2018). In use the
actor is all that counts, and those columns may be anything.
"""

from __future__ import annotations

from typing import Any

import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import MlpExtractor


class _SeenAndTruth(MlpExtractor):
    """Both networks; the actor's takes the first columns."""

    def __init__(self, seen: int, width: int, arch: Any, activation: Any, device: Any) -> None:
        super().__init__(width, arch, activation, device)
        actor = MlpExtractor(seen, arch, activation, device)
        self.seen, self.policy_net = seen, actor.policy_net

    def forward_actor(self, features: torch.Tensor) -> torch.Tensor:
        return self.policy_net(features[:, : self.seen])


class TruthCriticPolicy(ActorCriticPolicy):
    """`ActorCriticPolicy` whose actor sees the first `seen` columns only.

    Parameters
    ----------
    seen
        Columns that the actor sees.
    """

    def __init__(self, *arguments: Any, seen: int, **options: Any) -> None:
        self.seen = seen
        super().__init__(*arguments, **options)

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = _SeenAndTruth(
            self.seen, self.features_dim, self.net_arch, self.activation_fn, self.device
        )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "seen": self.seen}


class RecurrentPolicy(RecurrentActorCriticPolicy):
    """`RecurrentActorCriticPolicy` that is saved with the size of its LSTM."""

    def _get_constructor_parameters(self) -> dict[str, Any]:
        size = {"lstm_hidden_size": self.lstm_hidden_state_shape[2]}
        return {**super()._get_constructor_parameters(), **size}

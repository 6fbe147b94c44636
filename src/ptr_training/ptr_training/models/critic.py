"""The critic behind the image encoder: an ensemble of Q heads, and the motion of its target copy.

Letters in shapes: B batch, N width of the task id, Z latent size, K actions per state, E
critic heads. The modules can be compiled by `torch.jit.script`, so that a bundle holds
exactly these.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptr_training.data.normalization import DataSpec

from .config import NetworkConfig
from .layers import linear, mlp
from .policy import ACTION_SIZE, FeatureConcat
from .value_distribution import ValueDistribution


class CriticLayer(nn.Module):
    """One layer of every head: [h, action, observation] to outputs.

    The observation's part is computed once a state and not once an action.

    Args:
        heads: E.
        hidden: Size of h, the output of the layer before; 0 for the first layer.
        actions: Size of the action; 0 if the action is no input.
        observation: Size of the observation; 0 if it is no input.
        outputs: Size of what the layer returns.
        gain: Of the orthogonal initialisation.
    """

    def __init__(
        self,
        heads: int,
        hidden: int,
        actions: int,
        observation: int,
        outputs: int,
        gain: float,
    ) -> None:
        super().__init__()
        self.hidden, self.actions, self.observation = hidden, actions, observation
        inputs = hidden + actions + observation
        weights = []
        for _ in range(heads):
            weight = nn.init.orthogonal_(torch.empty(outputs, inputs), gain)
            weights.append(weight.t())
        self.weight = nn.Parameter(torch.stack(weights))  # (E, inputs, outputs)
        self.bias = nn.Parameter(torch.zeros(heads, 1, 1, outputs))

    def forward(
        self, h: Tensor, action: Tensor, observation: Tensor, frozen: bool
    ) -> Tensor:
        """Return (E, B, K, outputs).

        Args:
            h: Shape (E, B, K, hidden); not read by the first layer.
            action: Shape (B, K, 7).
            observation: Shape (B, O), or (E, B, O) with an encoder for each head.
            frozen: Let gradients reach the inputs and not the weights.
        """
        weight = self.weight.detach() if frozen else self.weight
        out = self.bias.detach() if frozen else self.bias
        n, m = self.hidden, self.hidden + self.actions
        size = action.shape[:2]
        if self.observation > 0:
            of_state = torch.matmul(observation, weight[:, m:])  # (E, B, outputs)
            out = of_state.unsqueeze(2) + out
        if self.actions > 0:
            of_action = torch.matmul(action.flatten(0, 1), weight[:, n:m])
            out = out + of_action.unflatten(1, size)
        if n > 0:
            of_hidden = torch.bmm(h.flatten(1, 2), weight[:, :n])
            out = out + of_hidden.unflatten(1, size)
        return out


class Critic(nn.Module):
    """Ensemble of Q heads (paper §4.2, figure 2, Table 12).

    `NetworkConfig.critic_skip_inputs` says what enters at every layer:

    action+latent: layer 0 sees [task id, action, latent], the others [h, action, latent],
        as the official launch settings do; proprioception is not an input.
    action: layer 0 sees [latent, proprio, task id, action], the others [h, action], as in
        the paper's figure 2.
    nothing: layer 0 sees the same, the others h alone; the ablation of Table 12, with the
        official code's weaker initialisation.

    Args:
        config: Sizes of the layers, number of heads.
        data_spec: Sizes of the inputs.
        latent: Z.
        distribution: Bins of the value; None: the layers return the value itself.
    """

    def __init__(
        self,
        config: NetworkConfig,
        data_spec: DataSpec,
        latent: int,
        distribution: ValueDistribution | None = None,
    ) -> None:
        super().__init__()
        self.distribution = distribution
        self.latent_skips = config.critic_skip_inputs == "action+latent"
        action_skips = config.critic_skip_inputs != "nothing"
        self.observation = FeatureConcat(config, data_spec, latent)
        first = latent + data_spec.n_tasks if self.latent_skips else self.observation.size
        skipped_actions = ACTION_SIZE if action_skips else 0
        skipped_latent = latent if self.latent_skips else 0
        gain = math.sqrt(2.0) if action_skips else 1.0
        last_gain = 0.01 if action_skips else 1.0
        heads, last = config.heads, distribution.count if distribution else 1
        sizes = (*config.hidden, last)
        layers = [CriticLayer(heads, 0, ACTION_SIZE, first, sizes[0], gain)]
        for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes), 1):
            layer_gain = last_gain if number == len(config.hidden) else gain
            layer = CriticLayer(
                heads, inputs, skipped_actions, skipped_latent, outputs, layer_gain
            )
            layers.append(layer)
        self.layers = nn.ModuleList(layers)
        self.active: Tensor  # (7,) 1 for the action dimensions that are learnt
        self.register_buffer("active", torch.tensor(data_spec.action_active).float())

    def forward(
        self,
        latent: Tensor,
        proprio: Tensor,
        task: Tensor,
        action: Tensor,
        frozen: bool = False,
    ) -> Tensor:
        """Return Q of every head.

        Args:
            latent: Shape (B, Z), or (E, B, Z) with an encoder for each head.
            proprio: Shape (B, 7).
            task: One-hot ids, shape (B, N).
            action: Shape (B, K, 7), in [-1, 1]; inactive dimensions are ignored.
            frozen: Let gradients reach the action and not the weights.

        Returns:
            Values, shape (E, B, K).
        """
        outputs = self.outputs(latent, proprio, task, action, frozen)
        if self.distribution is not None:
            value: Tensor = self.distribution(outputs)
            return value
        return outputs.squeeze(-1)

    def outputs(
        self,
        latent: Tensor,
        proprio: Tensor,
        task: Tensor,
        action: Tensor,
        frozen: bool = False,
    ) -> Tensor:
        """Return what the last layer gives: (E, B, K, 1), or logits of N bins, (E, B, K, N).

        The arguments are those of `forward`.
        """
        action = action * self.active
        if latent.dim() == 3:
            heads = latent.shape[0]
            proprio, task = proprio.expand(heads, -1, -1), task.expand(heads, -1, -1)
        first = self._first_inputs(latent, proprio, task)
        h = action
        for index, layer in enumerate(self.layers):
            h = h if index == 0 else F.relu(h)
            h = layer(h, action, first if index == 0 else latent, frozen)
        return h

    def _first_inputs(self, latent: Tensor, proprio: Tensor, task: Tensor) -> Tensor:
        """Return what the first layer sees beside the action, (B, O) or (E, B, O)."""
        if self.latent_skips:
            return torch.cat([task, latent], -1)
        return self.observation(latent, proprio, task)


class Value(nn.Module):
    """V of a state: a network on [latent, proprio, task id]."""

    def __init__(self, config: NetworkConfig, data_spec: DataSpec, latent: int) -> None:
        super().__init__()
        self.observation = FeatureConcat(config, data_spec, latent)
        self.layers = mlp((self.observation.size, *config.hidden), config.dropout)
        self.last = linear(config.hidden[-1], 1, 0.01)

    def forward(self, latent: Tensor, proprio: Tensor, task: Tensor) -> Tensor:
        """Return values (B,).

        Args:
            latent: Shape (B, Z).
            proprio: Shape (B, 7).
            task: One-hot ids, shape (B, N).
        """
        hidden = self.layers(self.observation(latent, proprio, task))
        value: Tensor = self.last(hidden)
        return value.squeeze(-1)


@torch.no_grad()
def polyak_(target: nn.Module, online: nn.Module, tau: float) -> None:
    """Move the target's parameters by `tau` towards the online ones.

    The statistics of batch norm are copied.
    """
    torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), tau)
    for target_buffer, online_buffer in zip(
        target.buffers(), online.buffers(), strict=True
    ):
        target_buffer.copy_(online_buffer)

"""Behaviour cloning by conditional flow matching over chunks of actions.

The policy carries noise to the demonstrated actions along straight lines (rectified flow: Liu et
al. 2022, arXiv 2209.03003, eq. 1; Lipman et al. 2023, arXiv 2210.02747, section 4.1 with
sigma_min = 0), and so can have several modes where a squared error averages them. It predicts the
next actions together, as ACT (Zhao et al. 2023, arXiv 2304.13705) and Diffusion Policy (Chi et al.
2023, arXiv 2303.04137) do; pi0 (Black et al. 2024, arXiv 2410.24164) is a flow over chunks too.

Differences from all of these: linear layers instead of a transformer or a U-Net; the network
predicts the end of the line, from which the velocity follows (x-prediction: Salimans and Ho 2022,
arXiv 2202.00512, section 4), because a velocity holds the noise, which so small a network would
have to pass through; the encoder learns by plain cloning of the next action, since from the flow
alone it learnt too little of where objects are (such insulation: Driess et al. 2025, arXiv
2505.23705); and one fixed noise at deployment instead of a new one each time, so that a robot does
the same on the same image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ptr_training.data.batch import Batch, Sampling
from ptr_training.data.normalization import DataSpec
from ptr_training.errors import TrainingError
from ptr_training.models.config import NetworkConfig
from ptr_training.models.layers import linear, mlp
from ptr_training.models.policy import ACTION_SIZE, FeatureConcat
from ptr_training.models.ranges import AT_LEAST_ONE, Range

from .agent import Metrics
from .bc import BC, BCConfig

TIME_FEATURES = 8
"""Sines and cosines of the flow's time that the network sees."""


@dataclass(frozen=True)
class FlowConfig(BCConfig):
    """Hyper-parameters beside those of cloning."""

    # actions that are predicted together
    chunk: int = 8
    # of these are executed before the next prediction, which sees none of the images between
    execute: int = 4
    # Euler steps from noise to actions
    flow_steps: int = 8
    # noises and times drawn for every transition; its image is encoded once
    draws: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.execute > self.chunk:
            raise TrainingError(
                f"agent.execute is {self.execute}; "
                f"it must be at most agent.chunk, {self.chunk}"
            )

    def ranges(self) -> dict[str, Range]:
        """See `AgentConfig`."""
        return {
            **super().ranges(),
            "chunk": AT_LEAST_ONE,
            "execute": AT_LEAST_ONE,
            "flow_steps": AT_LEAST_ONE,
            "draws": AT_LEAST_ONE,
        }

    @property
    def summary(self) -> str:
        """See `AgentConfig`."""
        return (
            f"flow matching over chunks of {self.chunk} actions, {self.execute} executed, "
            f"{self.flow_steps} Euler steps"
        )

    @property
    def sampling(self) -> Sampling:
        """See `AgentConfig`."""
        return Sampling(next_observations=False, chunk=self.chunk)


class FlowPolicy(nn.Module):
    """Flow of a chunk x from noise at t = 0 to actions at t = 1, given an observation.

    Linear layers on [latent, proprio, task id] give a mean m of the next action, as in cloning;
    others on [latent, proprio, task id, m, x, t] give where x goes. Dimensions that are not learnt
    are 0 all the way.

    Args:
        config: Of the agent.
        network: Sizes.
        data_spec: Shapes and ranges of the data.
        latent: Z.
    """

    def __init__(
        self, config: FlowConfig, network: NetworkConfig, data_spec: DataSpec, latent: int
    ) -> None:
        super().__init__()
        self.chunk, self.execute = config.chunk, config.execute
        self.flow_steps = config.flow_steps
        size = config.chunk * ACTION_SIZE
        self.observation = FeatureConcat(network, data_spec, latent)
        self.layers = mlp((self.observation.size, *network.hidden), network.dropout)
        self.mean = linear(network.hidden[-1], ACTION_SIZE, 0.01)
        self.condition_size = self.observation.size + ACTION_SIZE
        inputs = self.condition_size + size + TIME_FEATURES
        self.flow_layers = mlp((inputs, *network.hidden), network.dropout)
        self.end = linear(network.hidden[-1], size, 0.01)
        self.active: Tensor  # (7,) 1 for the dimensions that are learnt
        self.frequencies: Tensor  # (TIME_FEATURES / 2,)
        self.noise: Tensor  # (K, 7) that a deployed policy starts from
        active = torch.tensor(data_spec.action_active).float()
        self.register_buffer("active", active)
        octaves = torch.arange(TIME_FEATURES // 2).float()
        self.register_buffer("frequencies", math.pi * 2.0**octaves, persistent=False)
        self.register_buffer("noise", _fixed_noise(config.chunk), persistent=False)

    def condition(self, latent: Tensor, proprio: Tensor, task: Tensor) -> Tensor:
        """Return [latent, proprio, task id, mean of the next action], (B, C).

        Args:
            latent: Shape (B, Z).
            proprio: Shape (B, 7).
            task: One-hot ids, shape (B, N).
        """
        observation = self.observation(latent, proprio, task)
        return torch.cat([observation, self.mean(self.layers(observation))], -1)

    def forward(self, condition: Tensor, chunk: Tensor, time: Tensor) -> Tensor:
        """Return the actions (…, K, 7) to which the flow carries a chunk, in expectation.

        Args:
            condition: Of the observation, shape (…, C).
            chunk: x, shape (…, K, 7), 0 in the dimensions that are not learnt.
            time: t in [0, 1], shape (…).
        """
        angles = time.unsqueeze(-1) * self.frequencies
        inputs = [condition, chunk.flatten(-2), angles.sin(), angles.cos()]
        end = self.end(self.flow_layers(torch.cat(inputs, -1)))
        return end.unflatten(-1, (self.chunk, 7)) * self.active

    def integrate(self, condition: Tensor, chunk: Tensor) -> Tensor:
        """Return where the flow carries a chunk from t = 0 to t = 1, by Euler's method.

        The velocity at t is (end - x) / (1 - t).

        Args:
            condition: Of the observation, shape (B, C).
            chunk: Noise, shape (B, K, 7).

        Returns:
            Actions, shape (B, K, 7), not clipped.
        """
        for step in range(self.flow_steps):
            time = torch.full_like(condition[:, 0], step / self.flow_steps)
            end = self.forward(condition, chunk, time)
            # step size over 1 - t, both in units of the step size
            chunk = chunk + (end - chunk) / (self.flow_steps - step)
        return chunk

    def mode(self, latent: Tensor, proprio: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Return the actions to execute, the next one first, from the fixed noise.

        Args:
            latent: Shape (B, Z).
            proprio: Shape (B, 7).
            task: One-hot ids, shape (B, N).

        Returns:
            The actions (B, E, 7), or (B, 7) if one is executed, in [-1, 1], and NaN of the same
            shape: there is no standard deviation.
        """
        condition = self.condition(latent, proprio, task)
        noise = (self.noise * self.active).expand(latent.shape[0], -1, -1)
        actions = self.integrate(condition, noise)[:, : self.execute].clamp(-1.0, 1.0)
        if self.execute == 1:
            actions = actions[:, 0]
        return actions, torch.full_like(actions, float("nan"))


class Flow(BC):
    """Behaviour cloning, and beside it a flow that learns from what the clone's encoder sees.

    The flow's loss is the squared error of the line's end at drawn noises and times. It is
    (1 - t)^2 times that of the velocity, and so bounded, with the same minimiser. It passes no
    gradient to the encoder.
    Entries of a chunk after the end of its episode have no error. Repeating the last action
    there, as Diffusion Policy does with absolute poses, would teach steps relative to the present
    pose that nobody demonstrated.
    """

    Config = FlowConfig
    config: FlowConfig
    policy: FlowPolicy

    def _make_policy(self) -> nn.Module:
        return FlowPolicy(self.config, self.network, self.data_spec, self.latent)

    def _loss(self, batch: Batch, images: Tensor, task: Tensor) -> tuple[Tensor, Metrics]:
        latent = self._encode(self.encoder, images, task)
        condition = self.policy.condition(latent, batch.proprio, task)
        actions, inside = batch.chunk, batch.inside
        if self.config.chunk == 1:
            actions, inside = batch.actions[:, None], torch.ones_like(batch.actions[:, :1])
        draws = (len(actions), self.config.draws)
        noise = self.rng.normal((*draws, *actions.shape[1:]))
        time = self.rng.uniform(draws)
        target = (actions * self.active)[:, None]
        point = between(noise * self.active, target, time[..., None, None])
        end = self.policy(condition.detach()[:, None].expand(-1, draws[1], -1), point, time)
        flow_error = self._chunk_error(end, target, inside)
        bc_error = self._imitation_error(condition[:, -ACTION_SIZE:], batch)
        metrics = {"flow_error": flow_error.detach(), "bc_error": bc_error.detach()}
        return flow_error + bc_error, metrics

    def _chunk_error(self, end: Tensor, target: Tensor, inside: Tensor) -> Tensor:
        """Return the weighted squared error, of which every transition has an equal share.

        Args:
            end: Predicted chunks, shape (B, S, K, 7) of S draws.
            target: Demonstrated ones, shape (B, 1, K, 7).
            inside: 1 on actions of the episode, shape (B, K).
        """
        squared = ((end - target) ** 2 * self.weight).sum(3) / self.active.sum()
        of_chunk = (squared.mean(1) * inside).sum(1) / inside.sum(1)
        return of_chunk.mean()


def between(start: Tensor, end: Tensor, time: Tensor) -> Tensor:
    """Return where the straight line from `start` at time 0 to `end` at time 1 is at a time."""
    return start + time * (end - start)


def _fixed_noise(chunk: int) -> Tensor:
    """Return standard normal noise (chunk, 7), the same on every computer."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn((chunk, ACTION_SIZE), generator=generator)

"""Networks behind the image encoder: the Gaussian policy, the critic, and the module a bundle holds.

Letters in shapes: B batch, N width of the task id, Z latent size, K actions per state, E
critic heads. Everything here can be compiled by `torch.jit.script`, so that a bundle holds
exactly these modules.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptr_training.data.distributed import BatchRng
from ptr_training.data.normalization import DataSpec

from .encoders import NetworkConfig

ACTION_SIZE = 7
PROPRIO_SIZE = 7


def linear(inputs: int, outputs: int, gain: float) -> nn.Linear:
    """Return a linear layer with orthogonal weights and a bias of zero."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def perceptron(sizes: Sequence[int], dropout: float = 0.0) -> nn.Sequential:
    """Return linear layers of these widths, each followed by a ReLU."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [linear(inputs, outputs, 1.0), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


class FeatureConcat(nn.Module):
    """Joins [latent, proprio, task id] to (…, Z + 7 + N), the proprio standardised if the configuration says so."""

    def __init__(self, config: NetworkConfig, problem: DataSpec, latent: int) -> None:
        super().__init__()
        self.size = latent + PROPRIO_SIZE + problem.n_tasks
        self.mean: Tensor
        self.std: Tensor
        standardize = config.standardize_proprio
        self.register_buffer(
            "mean", torch.tensor(problem.proprio_mean) * float(standardize)
        )
        self.register_buffer(
            "std",
            torch.tensor(problem.proprio_std) if standardize else torch.ones(PROPRIO_SIZE),
        )

    def forward(self, latent: Tensor, proprio: Tensor, task: Tensor) -> Tensor:
        return torch.cat([latent, (proprio - self.mean) / self.std, task], -1)


class Policy(nn.Module):
    """Perceptron on [latent, proprio, task id] giving the mean and log deviation of a Gaussian.

    Args:
        config: Sizes.
        problem: What the data are like.
        latent: Z.
        squashed: A tanh follows; otherwise the policy acts by its mean alone, clipped to
            [-1, 1].
        log_std: Lowest and highest log deviation.
    """

    def __init__(
        self,
        config: NetworkConfig,
        problem: DataSpec,
        latent: int,
        *,
        squashed: bool,
        log_std: tuple[float, float] = (-5.0, 2.0),
    ) -> None:
        super().__init__()
        self.observation = FeatureConcat(config, problem, latent)
        self.layers = perceptron((self.observation.size, *config.hidden), config.dropout)
        self.mean = linear(config.hidden[-1], ACTION_SIZE, 0.01)
        self.log_std = linear(config.hidden[-1], ACTION_SIZE, 0.01)
        self.squashed = squashed
        self.lowest, self.highest = log_std

    def forward(
        self, latent: Tensor, proprio: Tensor, task: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the mean and log deviation, each (B, 7)."""
        h = self.layers(self.observation(latent, proprio, task))
        return self.mean(h), self.log_std(h).clamp(self.lowest, self.highest)

    def mode(self, latent: Tensor, proprio: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Return the action to execute (B, 7), in [-1, 1], and to first order its deviation (B, 7), NaN if none."""
        mean, log_std = self.forward(latent, proprio, task)
        if self.squashed:
            mode = torch.tanh(mean)
            return mode, log_std.exp() * (1.0 - mode * mode)
        return mean.clamp(-1.0, 1.0), torch.full_like(mean, float("nan"))


def sample_actions(
    mean: Tensor, log_std: Tensor, active: Tensor, count: int, draws: BatchRng
) -> tuple[Tensor, Tensor]:
    """Draw `count` reparameterised actions per state from a tanh-Gaussian.

    Args:
        mean: Before tanh, shape (B, 7).
        log_std: Before tanh, shape (B, 7).
        active: 1 for the dimensions that count towards the density, shape (7,).
        count: K.
        draws: Source of the draws.

    Returns:
        Actions (B, K, 7) in (-1, 1) and their log densities (B, K).
    """
    noise = draws.normal((len(mean), count, mean.shape[1]))
    u = mean[:, None] + noise * log_std.exp()[:, None]
    log_normal = -0.5 * noise**2 - log_std[:, None] - 0.5 * math.log(2 * math.pi)
    log_slope = 2.0 * (
        math.log(2.0) - u - F.softplus(-2.0 * u)
    )  # log of the derivative of tanh
    return torch.tanh(u), ((log_normal - log_slope) * active).sum(-1)


class CriticLayer(nn.Module):
    """One layer of every head: [h, action, observation] to outputs; the observation's part is computed once a state."""

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
        weights = [
            nn.init.orthogonal_(torch.empty(outputs, inputs), gain).t()
            for _ in range(heads)
        ]
        self.weight = nn.Parameter(torch.stack(weights))  # (E, inputs, outputs)
        self.bias = nn.Parameter(torch.zeros(heads, 1, 1, outputs))

    def forward(
        self, h: Tensor, action: Tensor, observation: Tensor, frozen: bool
    ) -> Tensor:
        """Return (E, B, K, outputs) from h (E, B, K, hidden), action (B, K, 7), observation (B, O) or (E, B, O)."""
        weight = self.weight.detach() if frozen else self.weight
        out = self.bias.detach() if frozen else self.bias
        n, m = self.hidden, self.hidden + self.actions
        size = action.shape[:2]
        if self.observation > 0:
            out = (
                torch.matmul(observation, weight[:, m:]).unsqueeze(2) + out
            )  # (E, B, 1, outputs)
        if self.actions > 0:
            out = out + torch.matmul(action.flatten(0, 1), weight[:, n:m]).unflatten(
                1, size
            )
        if n > 0:
            out = out + torch.bmm(h.flatten(1, 2), weight[:, :n]).unflatten(1, size)
        return out


class Critic(nn.Module):
    """Ensemble of Q heads (paper §4.2, figure 2, Table 12); `NetworkConfig.refeed` says what enters at every layer:

    action+latent: layer 0 sees [task id, action, latent], the others [h, action, latent],
        as the official launch settings do; proprioception is not an input.
    action: layer 0 sees [latent, proprio, task id, action], the others [h, action], as in
    the paper's figure 2.
    nothing: layer 0 sees the same, the others h alone; the ablation of Table 12, with the
        official code's weaker initialisation.
    """

    def __init__(self, config: NetworkConfig, problem: DataSpec, latent: int) -> None:
        super().__init__()
        self.latent_again, action_again = (
            config.refeed == "action+latent",
            config.refeed != "nothing",
        )
        self.observation = FeatureConcat(config, problem, latent)
        first = latent + problem.n_tasks if self.latent_again else self.observation.size
        again = latent if self.latent_again else 0
        gain = math.sqrt(2.0) if action_again else 1.0
        last_gain = 0.01 if action_again else 1.0
        sizes = (*config.hidden, 1)
        layers = [CriticLayer(config.heads, 0, ACTION_SIZE, first, sizes[0], gain)]
        for inputs, outputs in itertools.pairwise(sizes):
            actions = ACTION_SIZE if action_again else 0
            layers.append(
                CriticLayer(
                    config.heads,
                    inputs,
                    actions,
                    again,
                    outputs,
                    gain if outputs > 1 else last_gain,
                )
            )
        self.layers = nn.ModuleList(layers)
        self.active: Tensor
        self.register_buffer("active", torch.tensor(problem.action_active).float())

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
        action = action * self.active
        if latent.dim() == 3:
            heads = latent.shape[0]
            proprio, task = proprio.expand(heads, -1, -1), task.expand(heads, -1, -1)
        first = (
            torch.cat([task, latent], -1)
            if self.latent_again
            else self.observation(latent, proprio, task)
        )
        h = action
        for index, layer in enumerate(self.layers):
            h = layer(
                h if index == 0 else F.relu(h),
                action,
                first if index == 0 else latent,
                frozen,
            )
        return h.squeeze(-1)


@torch.no_grad()
def polyak_(target: nn.Module, online: nn.Module, tau: float) -> None:
    """Move the target's parameters by `tau` towards the online ones; the statistics of batch norm are copied."""
    torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), tau)
    for mine, theirs in zip(target.buffers(), online.buffers(), strict=True):
        mine.copy_(theirs)


class InferencePolicy(nn.Module):
    """What a bundle holds: raw camera pixels and arm state to actions in robot units, and their Q values.

    The interface is fixed in `docs/design.md` (section "Bundle").

    Args:
        problem: What the data are like.
        encoder: Images (B, 3, H, W) and one-hot ids to latents.
        policy: Has `mode(latent, proprio, task) -> (action in [-1, 1], deviation)`, (B, 7)
            each.
        critic_encoder: Of the critic, if there is one.
        critic: See `Critic`.
        history: Observations that the policy looks at, T. With more than one, `act` and `q`
            take images (B, T, H, W, 3) and proprio (B, T, 7), the newest last.
    """

    def __init__(
        self,
        problem: DataSpec,
        encoder: nn.Module,
        policy: nn.Module,
        *,
        critic_encoder: nn.Module | None = None,
        critic: Critic | None = None,
        history: int = 1,
    ) -> None:
        super().__init__()
        self.n_tasks = problem.n_tasks
        self.history = history
        self.encoder, self.policy = encoder, policy
        self.critic_encoder, self.critic = critic_encoder, critic
        self.low: Tensor
        self.high: Tensor
        self.rest: Tensor
        self.active: Tensor
        self.register_buffer("low", torch.tensor(problem.action_low))
        self.register_buffer("high", torch.tensor(problem.action_high))
        self.register_buffer("rest", torch.tensor(problem.action_rest))
        self.register_buffer("active", torch.tensor(problem.action_active))

    @torch.jit.export
    def act(self, image: Tensor, proprio: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Return the action (B, 7) [m, rad, 0..1] and, to first order, its deviation (B, 7), NaN if deterministic."""
        one_hot = F.one_hot(task, self.n_tasks).to(torch.float32)
        if self.history > 1:
            one_hot = one_hot[:, None].expand(-1, self.history, -1)
            latent = self.encoder(self._scaled(image.flatten(0, 1)), one_hot.flatten(0, 1))
            latent = latent.unflatten(0, (image.shape[0], self.history))
        else:
            latent = self.encoder(self._scaled(image), one_hot)
        mode, std = self.policy.mode(latent, proprio, one_hot)  # type: ignore[operator]
        half = (self.high - self.low) / 2.0
        action = torch.where(self.active, self.low + (mode + 1.0) * half, self.rest)
        return action, torch.where(self.active, std * half, torch.zeros_like(std))

    @torch.jit.export
    def q(self, image: Tensor, proprio: Tensor, task: Tensor, action: Tensor) -> Tensor:
        """Return the Q values (B, 2) of an action in robot units; NaN if the agent has no critic."""
        if self.critic is None or self.critic_encoder is None:
            return torch.full((image.shape[0], 2), float("nan"), device=image.device)
        one_hot = F.one_hot(task, self.n_tasks).to(torch.float32)
        scaled = 2.0 * (action - self.low) / (self.high - self.low) - 1.0
        latent = self.critic_encoder(self._scaled(image), one_hot)
        return self.critic(latent, proprio, one_hot, scaled.clamp(-0.99, 0.99)[:, None])[
            :2, :, 0
        ].t()

    def _scaled(self, image: Tensor) -> Tensor:
        return image.permute(0, 3, 1, 2).to(torch.float32) / 255.0

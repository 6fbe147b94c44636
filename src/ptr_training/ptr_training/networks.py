"""Networks: image encoders, learned spatial embedding, critic ensemble, tanh-Gaussian policy.

Letters in shapes: B batch, N width of the task id, Z latent size, K actions per state, E critic heads.
Everything here can be compiled by `torch.jit.script`, so that a bundle holds exactly these modules.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .episodes import TrainingError
from .replay import Problem

ACTION_SIZE = 7
PROPRIO_SIZE = 7
GROUPS = 4
RESNET_BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the networks; the defaults are the official code's launch settings."""

    encoder: str = "resnet34"  # small, resnet18, resnet34
    film: bool = False  # small encoder only: the task id scales and shifts its features
    spatial_features: int = 8  # per channel of the feature map
    latent: int = 256
    hidden: tuple[int, ...] = (256, 256, 256)
    heads: int = 2
    standardize_proprio: bool = False  # by the mean and deviation of the first training data

    def __post_init__(self) -> None:
        if self.encoder not in ("small", *RESNET_BLOCKS):
            raise TrainingError(f"network.encoder is {self.encoder!r}; it must be resnet18, resnet34 or small")


def truncated_normal_(tensor: Tensor, variance: float) -> Tensor:
    """Fill with a normal distribution cut at two deviations and of exactly this variance, as flax does."""
    deviation = math.sqrt(variance) / 0.87962566103423978
    return nn.init.trunc_normal_(tensor, std=deviation, a=-2 * deviation, b=2 * deviation)


def _linear(inputs: int, outputs: int, gain: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


# Image encoders ---------------------------------------------------------------------------------


class SameConv(nn.Module):
    """Convolution without bias and with SAME padding, then group norm.

    With stride 2 on an even size SAME pads 0 before and 1 after, where padding=1 of torch pads both sides.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, padding: int = -1) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=max(padding, 0), bias=False)
        truncated_normal_(self.conv.weight, 2.0 / (inputs * kernel * kernel))
        self.norm = nn.GroupNorm(GROUPS, outputs, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        if self.padding < 0:
            x = same_pad(x, self.kernel, self.stride, 0.0)
        features: Tensor = self.norm(self.conv(x))  # `cast` is unknown to TorchScript
        return features


def same_pad(x: Tensor, kernel: int, stride: int, value: float) -> Tensor:
    """Pad (B, C, H, W) so that a window of `kernel` with `stride` gives ceil(H / stride) rows."""
    height, width = x.shape[2], x.shape[3]
    down = max((math.ceil(height / stride) - 1) * stride + kernel - height, 0)
    right = max((math.ceil(width / stride) - 1) * stride + kernel - width, 0)
    if down == 0 and right == 0:
        return x
    return F.pad(x, [right // 2, right - right // 2, down // 2, down - down // 2], value=value)


class SmallEncoder(nn.Module):
    """Four 3x3 convolutions, total stride 8, for training on a CPU; the task id may modulate two of them (FiLM).

    Pixels are centred, which the ResNets leave to their first norm: it halves the steps until an object is found.
    """

    channels = 64

    def __init__(self, n_tasks: int, film: bool) -> None:
        super().__init__()
        sizes = ((3, 16, 2), (16, 32, 2), (32, 64, 2), (64, 64, 1))
        convs = [nn.Conv2d(i, o, 3, s, padding=1, bias=False) for i, o, s in sizes]
        modulation = [nn.Linear(n_tasks, 2 * o, bias=False) for _, o, _ in sizes[1:3]]
        for conv in convs:
            truncated_normal_(conv.weight, 2.0 / (conv.in_channels * 9))
        for layer in modulation:
            nn.init.zeros_(layer.weight)  # a task without data leaves the features as they are
        self.film = film
        self.film_gain = 3.0  # on weights that start at zero, so that Adam's small steps move the modulation quickly
        self.convs, self.modulation = nn.ModuleList(convs), nn.ModuleList(modulation)
        self.norms = nn.ModuleList([nn.GroupNorm(GROUPS, o) for _, o, _ in sizes])

    def forward(self, x: Tensor, task: Tensor) -> Tensor:
        film = [self.film_gain * layer(task)[:, :, None, None] for layer in self.modulation]
        x = 4.0 * (x - 0.5)
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms)):  # noqa: B905 (torch.jit has no strict=)
            x = norm(conv(x))
            if self.film and 1 <= index <= 2:
                scale, shift = film[index - 1].chunk(2, dim=1)
                x = x * (1.0 + scale) + shift
            x = F.relu(x)
        return x


class BasicBlock(nn.Module):
    """Residual block conv-norm-ReLU-conv-norm, added to its input (projected where the shape changes), ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = SameConv(inputs, outputs, 3, stride)
        self.second = SameConv(outputs, outputs, 3, 1)
        changed = inputs != outputs or stride != 1
        self.shortcut = SameConv(inputs, outputs, 1, stride, padding=0) if changed else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.second(F.relu(self.first(x))))


class ResNet(nn.Module):
    """ResNet-18 or 34 with group norm and strides 2, 2, 2, 1, 1 (stem, pool, stages 2, 3, 4): total stride 8.

    Source: official code, `jaxrl2/networks/encoders/resnet_encoderv1.py`. The paper does not mention
    that the last two stages keep their size; it multiplies the cost by almost five against the usual strides.
    """

    channels = 512

    def __init__(self, blocks: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = SameConv(3, 64, 7, 2, padding=3)
        layers: list[nn.Module] = []
        inputs = 64
        for stage, count in enumerate(blocks):
            outputs = 64 * 2**stage
            for block in range(count):
                layers.append(BasicBlock(inputs, outputs, 2 if stage == 1 and block == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*layers)

    def forward(self, x: Tensor, task: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.max_pool2d(same_pad(x, 3, 2, -float("inf")), 3, 2)
        features: Tensor = self.blocks(x)
        return features


class SpatialEmbedding(nn.Module):
    """Learned spatial embedding: out[c, f] = sum over h, w of x[h, w, c] K[h, w, c, f] (paper §4.2, figure 2).

    One matrix product per channel, (C, B, HW) x (C, HW, F), where the official code forms the
    product of size B x H x W x C x F.
    """

    def __init__(self, channels: int, height: int, width: int, features: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(channels, height * width, features))
        truncated_normal_(self.kernel.data, 1.0 / (height * width * channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C * F), channel-major, from (B, C, H, W)."""
        return torch.bmm(x.flatten(2).transpose(0, 1), self.kernel).transpose(0, 1).flatten(1)


class ImageEncoder(nn.Module):
    """Image and task id to a latent vector: convolutions, spatial embedding, linear, layer norm, tanh."""

    def __init__(self, config: NetworkConfig, problem: Problem) -> None:
        super().__init__()
        self.trunk = _trunk(config, problem.n_tasks)
        rows, columns = math.ceil(problem.height / 8), math.ceil(problem.width / 8)
        channels = int(self.trunk.channels)  # type: ignore[arg-type]
        self.spatial = SpatialEmbedding(channels, rows, columns, config.spatial_features)
        self.linear = nn.Linear(channels * config.spatial_features, config.latent)
        nn.init.xavier_normal_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.norm = nn.LayerNorm(config.latent, eps=1e-6)

    def forward(self, image: Tensor, task: Tensor) -> Tensor:
        """Return (B, Z) from images (B, 3, H, W) in [0, 1] and one-hot task ids (B, N)."""
        return torch.tanh(self.norm(self.linear(self.spatial(self.trunk(image, task)))))


def _trunk(config: NetworkConfig, n_tasks: int) -> nn.Module:
    if config.encoder == "small":
        return SmallEncoder(n_tasks, config.film)
    return ResNet(RESNET_BLOCKS[config.encoder])


# Heads --------------------------------------------------------------------------------------------


class Policy(nn.Module):
    """Perceptron on [latent, proprio, task id] giving the mean and log deviation of a Gaussian before tanh."""

    def __init__(self, config: NetworkConfig, problem: Problem) -> None:
        super().__init__()
        sizes = (config.latent + PROPRIO_SIZE + problem.n_tasks, *config.hidden)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes):
            layers += [_linear(inputs, outputs, 1.0), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.mean = _linear(sizes[-1], ACTION_SIZE, 0.01)
        self.log_std = _linear(sizes[-1], ACTION_SIZE, 0.01)
        self.proprio_mean: Tensor
        self.proprio_std: Tensor
        standardize = config.standardize_proprio
        self.register_buffer("proprio_mean", torch.tensor(problem.proprio_mean) * float(standardize))
        self.register_buffer(
            "proprio_std", torch.tensor(problem.proprio_std) if standardize else torch.ones(PROPRIO_SIZE)
        )

    def forward(self, latent: Tensor, proprio: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and log deviation before tanh, each (B, 7)."""
        proprio = (proprio - self.proprio_mean) / self.proprio_std
        h = self.layers(torch.cat([latent, proprio, task], 1))
        return self.mean(h), self.log_std(h).clamp(-5.0, 2.0)


def sample_actions(
    mean: Tensor, log_std: Tensor, active: Tensor, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw `count` reparameterised actions per state from a tanh-Gaussian.

    Args:
        mean: Before tanh, shape (B, 7).
        log_std: Before tanh, shape (B, 7).
        active: 1 for the dimensions that count towards the density, shape (7,).
        count: K.
        generator: Source of the draws.

    Returns:
        Actions (B, K, 7) in (-1, 1) and their log densities (B, K).
    """
    noise = torch.randn((len(mean), count, mean.shape[1]), generator=generator, device=mean.device)
    u = mean[:, None] + noise * log_std.exp()[:, None]
    log_normal = -0.5 * noise**2 - log_std[:, None] - 0.5 * math.log(2 * math.pi)
    log_slope = 2.0 * (math.log(2.0) - u - F.softplus(-2.0 * u))  # log of the derivative of tanh
    return torch.tanh(u), ((log_normal - log_slope) * active).sum(-1)


class CriticLayer(nn.Module):
    """One layer of every head: [h, action, observation] to outputs; the observation's part is computed once a state."""

    def __init__(self, heads: int, hidden: int, observation: int, outputs: int, gain: float) -> None:
        super().__init__()
        self.hidden = hidden
        inputs = hidden + ACTION_SIZE + observation
        weights = [nn.init.orthogonal_(torch.empty(outputs, inputs), gain).t() for _ in range(heads)]
        self.weight = nn.Parameter(torch.stack(weights))  # (E, inputs, outputs)
        self.bias = nn.Parameter(torch.zeros(heads, 1, 1, outputs))

    def forward(self, h: Tensor, action: Tensor, observation: Tensor, frozen: bool) -> Tensor:
        """Return (E, B, K, outputs) from h (E, B, K, hidden), action (B, K, 7), observation (B, O)."""
        weight = self.weight.detach() if frozen else self.weight
        bias = self.bias.detach() if frozen else self.bias
        n, m = self.hidden, self.hidden + action.shape[2]
        size = action.shape[:2]
        out = torch.matmul(observation, weight[:, m:]).unsqueeze(2) + bias  # (E, B, 1, outputs)
        out = out + torch.matmul(action.flatten(0, 1), weight[:, n:m]).unflatten(1, size)
        if n > 0:
            out = out + torch.bmm(h.flatten(1, 2), weight[:, :n]).unflatten(1, size)
        return out


class Critic(nn.Module):
    """Ensemble of Q heads; the action and the latent enter again at every layer (paper §4.2, Table 12).

    Layer 0 sees [task id, action, latent], the others [h, action, latent], as the official launch
    settings do; the paper's figure 2 re-feeds only the action. Proprioception is not an input there.
    """

    def __init__(self, config: NetworkConfig, problem: Problem) -> None:
        super().__init__()
        heads, latent, n_tasks = config.heads, config.latent, problem.n_tasks
        sizes = (*config.hidden, 1)
        layers = [CriticLayer(heads, 0, n_tasks + latent, sizes[0], math.sqrt(2.0))]
        for inputs, outputs in itertools.pairwise(sizes):
            layers.append(CriticLayer(heads, inputs, latent, outputs, math.sqrt(2.0) if outputs > 1 else 0.01))
        self.layers = nn.ModuleList(layers)
        self.active: Tensor
        self.register_buffer("active", torch.tensor(problem.action_active).float())

    def forward(self, latent: Tensor, task: Tensor, action: Tensor, frozen: bool = False) -> Tensor:
        """Return Q of every head.

        Args:
            latent: Shape (B, Z).
            task: One-hot ids, shape (B, N).
            action: Shape (B, K, 7), in [-1, 1]; inactive dimensions are ignored.
            frozen: Let gradients reach the action and not the weights.

        Returns:
            Values, shape (E, B, K).
        """
        action = action * self.active
        h = action
        for index, layer in enumerate(self.layers):
            if index == 0:
                h = layer(h, action, torch.cat([task, latent], 1), frozen)
            else:
                h = layer(F.relu(h), action, latent, frozen)
        return h.squeeze(-1)


@torch.no_grad()
def polyak_(target: nn.Module, online: nn.Module, tau: float) -> None:
    """Move the target's parameters by `tau` towards the online ones."""
    torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), tau)


class Deployed(nn.Module):
    """What a bundle holds: raw camera pixels and arm state to actions in robot units, and their Q values.

    The interface is fixed in `docs/design.md` (section "Bundle").
    """

    def __init__(
        self,
        problem: Problem,
        encoder: ImageEncoder,
        policy: Policy,
        *,
        squashed: bool,
        critic_encoder: ImageEncoder | None = None,
        critic: Critic | None = None,
    ) -> None:
        super().__init__()
        self.n_tasks = problem.n_tasks
        self.encoder, self.policy = encoder, policy
        self.critic_encoder, self.critic = critic_encoder, critic
        self.squashed = squashed  # the policy is a Gaussian before tanh; otherwise it is deterministic
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
        mean, log_std = self.policy(self.encoder(self._scaled(image), one_hot), proprio, one_hot)
        if self.squashed:
            mode = torch.tanh(mean)
            std = log_std.exp() * (1.0 - mode * mode)
        else:
            mode = mean.clamp(-1.0, 1.0)
            std = torch.full_like(mean, float("nan"))
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
        return self.critic(latent, one_hot, scaled.clamp(-0.99, 0.99)[:, None])[:2, :, 0].t()

    def _scaled(self, image: Tensor) -> Tensor:
        return image.permute(0, 3, 1, 2).to(torch.float32) / 255.0

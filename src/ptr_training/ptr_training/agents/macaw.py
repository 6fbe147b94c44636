"""MACAW: offline meta-reinforcement learning with advantage weighting (Mitchell et al. 2021, arXiv 2008.06043).

Pre-training is meta-training: the heads of policy and value take a step on half of a task's
transitions, and everything learns from the loss on the other half, second derivatives
included. Fine-tuning is adaptation: the same steps, at the learnt rates, on the target
demonstrations. The paper's two variants (Appendix D) are this with a task id of its own for
the target, and with `--retarget`, which adapts an existing id.

Departure: the reference implementation adapts whole networks on low-dimensional states.
Here the image encoder is learnt by the outer loss only, so that the inner step needs no
second derivative of a ResNet.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ptr_training.data.batch import Batch, Sampling
from ptr_training.data.normalization import DataSpec
from ptr_training.errors import TrainingError
from ptr_training.models.encoders import NetworkConfig
from ptr_training.models.networks import ACTION_SIZE, FeatureConcat

from .agent import Agent, AgentConfig, Metrics, adam

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class MACAWConfig(AgentConfig):
    """Hyper-parameters: the paper's where it has them (Appendix D), else the reference implementation's."""

    tasks: int = 8  # in a batch (reference: 5)
    inner_steps: int = 1
    inner_lr: float = 1e-3  # at the start; every tensor's rate is learnt
    policy_lr: float = 1e-4
    value_lr: float = 1e-5
    rate_lr: float = 1e-3  # of the logarithm of the inner rates
    std: float = 0.2  # of the policy; 0: learnt
    max_weight: float = 20.0  # of a transition, exp(advantage)
    max_gradient: float = 10.0  # norm in inner and outer steps. Departure: with a learnt deviation they grew without end
    advantage_weight: float = (
        0.01  # of the advantage head's squared error in the inner loss
    )
    transform: int = 32  # latent size of the weight-transform layers; 0: plain layers
    discount: float = 0.96
    reward_scale: float = 11.0  # as for PTR: -1 and +10
    reward_shift: float = -1.0

    def __post_init__(self) -> None:
        for name in ("tasks", "inner_steps"):
            if (value := getattr(self, name)) < 1:
                raise TrainingError(f"agent.{name} is {value}; it must be at least 1")
        if self.std < 0.0 or self.max_weight <= 0.0:
            raise TrainingError(
                f"agent.std is {self.std}, agent.max_weight {self.max_weight}; allowed: >= 0 and > 0"
            )

    @property
    def summary(self) -> str:
        """See `AgentConfig`."""
        return (
            f"MACAW: meta-learnt advantage-weighted regression, {self.tasks} tasks a batch"
        )

    @property
    def sampling(self) -> Sampling:
        """See `AgentConfig`."""
        return Sampling(tasks=self.tasks, next_observations=False)


class TransformedLinear(nn.Module):
    """A linear layer whose weights are a learnt linear function of a learnt vector.

    A gradient step on it can change its weights in more ways than one on the weights
    themselves (MACAW, §4.3).
    """

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.vector = nn.Parameter(torch.randn(size))
        self.matrix = nn.Parameter(
            torch.randn(outputs * (inputs + 1), size) / math.sqrt(size * inputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.mv(self.matrix, self.vector).view(self.outputs, self.inputs + 1)
        return F.linear(x, weights[:, :-1], weights[:, -1])


def _layer(inputs: int, outputs: int, transform: int) -> nn.Module:
    return (
        TransformedLinear(inputs, outputs, transform)
        if transform
        else nn.Linear(inputs, outputs)
    )


def _layers(config: MACAWConfig, sizes: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [_layer(inputs, outputs, config.transform), nn.ReLU()]
    return nn.Sequential(*layers)


class MACAWPolicy(nn.Module):
    """Gaussian policy with a head that also predicts the advantage of an action."""

    def __init__(
        self, config: MACAWConfig, network: NetworkConfig, problem: DataSpec, latent: int
    ) -> None:
        super().__init__()
        self.observation = FeatureConcat(network, problem, latent)
        self.layers = _layers(config, (self.observation.size, *network.hidden))
        last = network.hidden[-1]
        self.mean = _layer(last, ACTION_SIZE, config.transform)
        self.log_std = nn.Parameter(
            torch.full((ACTION_SIZE,), math.log(config.std or 0.2)), config.std == 0.0
        )
        self.advantage = nn.Sequential(
            *_layers(config, (last + ACTION_SIZE, last)), nn.Linear(last, 1)
        )

    def forward(
        self, latent: Tensor, proprio: Tensor, task: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the mean (B, 7), the log deviation (7,) and the predicted advantage (B,) of `action` (B, 7)."""
        h = self.layers(self.observation(latent, proprio, task))
        advantage = self.advantage(torch.cat([h, action], 1))[:, 0]
        return self.mean(h), self.log_std.clamp(-5.0, 2.0), advantage

    def mode(self, latent: Tensor, proprio: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean clipped to [-1, 1] and the deviation, (B, 7) each."""
        mean = self.mean(self.layers(self.observation(latent, proprio, task))).clamp(
            -1.0, 1.0
        )
        return mean, self.log_std.exp().expand_as(mean)


class MACAWValue(nn.Module):
    """Value of a state, regressed to the returns of the data: there is no bootstrap."""

    def __init__(
        self, config: MACAWConfig, network: NetworkConfig, problem: DataSpec, latent: int
    ) -> None:
        super().__init__()
        self.observation = FeatureConcat(network, problem, latent)
        sizes = (self.observation.size, *network.hidden)
        self.layers = nn.Sequential(*_layers(config, sizes), nn.Linear(sizes[-1], 1))

    def forward(self, latent: Tensor, proprio: Tensor, task: Tensor) -> Tensor:
        """Return values (B,)."""
        return self.layers(self.observation(latent, proprio, task))[:, 0]


@dataclass(frozen=True)
class _Rows:
    """Some transitions as the heads see them."""

    latent: Tensor
    proprio: Tensor
    task: Tensor
    actions: Tensor
    returns: Tensor

    def part(self, rows: slice) -> _Rows:
        return _Rows(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @property
    def state(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.latent, self.proprio, self.task


class MACAW(Agent):
    """Meta-learnt policy and value heads on an image encoder."""

    Config = MACAWConfig
    config: MACAWConfig
    policy: MACAWPolicy

    def __init__(
        self,
        config: MACAWConfig,
        network: NetworkConfig,
        problem: DataSpec,
        augmentation: object,
        pretrained: nn.Module | None = None,
    ) -> None:
        super().__init__(config, network, problem, augmentation, pretrained)  # type: ignore[arg-type]
        self.value = MACAWValue(config, network, problem, self.latent)
        start = math.log(config.inner_lr)
        for name, module in (("policy_rates", self.policy), ("value_rates", self.value)):
            count = len(_weights(module))
            self.register_parameter(name, nn.Parameter(torch.full((count,), start)))
        self.policy_rates: Tensor
        self.value_rates: Tensor

    def _make_policy(self) -> nn.Module:
        return MACAWPolicy(self.config, self.network, self.problem, self.latent)

    def _make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        encoder = [each for each in self.encoder.parameters() if each.requires_grad]
        return {
            "policy": adam([*encoder, *_weights(self.policy).values()], c.policy_lr),
            "value": adam(_weights(self.value).values(), c.value_lr),
            "rates": adam([self.policy_rates, self.value_rates], c.rate_lr),
        }

    def update(self, batch: Batch) -> Metrics:
        """Take one step of meta-training, or of adaptation when fine-tuning."""
        task = self._one_hot(batch.task)
        with torch.set_grad_enabled(not self.finetuning):
            latent = self._encode(
                self.encoder, self._augment(batch.images), task, learn=not self.finetuning
            )
        rows = _Rows(
            latent, batch.proprio, task, batch.actions, self.returns(batch.steps_to_reward)
        )
        metrics = self._adapt_for_good(rows) if self.finetuning else self._meta_learn(rows)
        self.steps += 1
        return metrics

    def returns(self, steps_to_reward: Tensor) -> Tensor:
        """Return the discounted returns of transitions that lie so many steps before the first rewarded one.

        Rewarded steps are terminal, as for PTR.
        """
        c = self.config
        shrink = c.discount**steps_to_reward
        return c.reward_shift * (1.0 - shrink) / (1.0 - c.discount) + shrink * (
            c.reward_scale + c.reward_shift
        )

    def _meta_learn(self, rows: _Rows) -> Metrics:
        share = len(rows.returns) * self.draws.group.size // self.config.tasks
        losses = []
        for start in range(0, len(rows.returns), share):
            support = rows.part(slice(start, start + share // 2))
            query = rows.part(slice(start + share // 2, start + share))
            policy, value = _weights(self.policy), _weights(self.value)
            for _ in range(self.config.inner_steps):
                policy, value, _ = self._adapted(policy, value, support, keep_graph=True)
            value_loss = self._value_loss(value, query)
            policy_loss, weight, _ = self._policy_losses(policy, value, query)
            losses.append(torch.stack([policy_loss, value_loss, weight]))
        policy_loss, value_loss, weight = torch.stack(losses).mean(0)
        self._step(
            policy_loss + value_loss, *self.optimizers, clip=self.config.max_gradient
        )
        values = {"loss": policy_loss, "value_loss": value_loss, "weight": weight}
        return {name: each.detach() for name, each in values.items()}

    def _adapt_for_good(self, rows: _Rows) -> Metrics:
        """Take one inner step on the whole batch and keep it; the same in every process."""
        policy, value = _weights(self.policy), _weights(self.value)
        new_policy, new_value, (policy_loss, value_loss) = self._adapted(
            policy, value, rows, keep_graph=False
        )
        with torch.no_grad():
            for old, new in ((policy, new_policy), (value, new_value)):
                for name, weights in old.items():
                    weights.copy_(new[name])
        return {"loss": policy_loss.detach(), "value_loss": value_loss.detach()}

    def _adapted(
        self, policy: Weights, value: Weights, rows: _Rows, *, keep_graph: bool
    ) -> tuple[Weights, Weights, tuple[Tensor, Tensor]]:
        """Return the heads' weights after one inner step, value first, and the losses before it."""
        value_loss = self._value_loss(value, rows)
        value = self._descend(value_loss, value, self.value_rates, keep_graph)
        policy_loss, _, advantage_error = self._policy_losses(policy, value, rows)
        loss = policy_loss + self.config.advantage_weight * advantage_error
        return (
            self._descend(loss, policy, self.policy_rates, keep_graph),
            value,
            (policy_loss, value_loss),
        )

    def _descend(
        self, loss: Tensor, weights: Weights, rates: Tensor, keep_graph: bool
    ) -> Weights:
        gradients = torch.autograd.grad(
            loss, list(weights.values()), create_graph=keep_graph
        )
        if not keep_graph:
            gradients = tuple(self.draws.group.averaged(gradients))
        norm = torch.stack([each.detach().norm() for each in gradients]).norm()
        scale = (self.config.max_gradient / norm.clamp(min=1e-12)).clamp(max=1.0)
        steps = zip(weights.items(), gradients, rates.exp(), strict=True)
        return {
            name: each - rate * scale * gradient for (name, each), gradient, rate in steps
        }

    def _value_loss(self, weights: Weights, rows: _Rows) -> Tensor:
        return F.mse_loss(functional_call(self.value, weights, rows.state), rows.returns)

    def _policy_losses(
        self, weights: Weights, value: Weights, rows: _Rows
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the advantage-weighted negative log density, the mean weight and the advantage head's error."""
        with torch.no_grad():
            advantage = rows.returns - functional_call(self.value, value, rows.state)
            weight = advantage.clamp(max=math.log(self.config.max_weight)).exp()
        mean, log_std, predicted = functional_call(
            self.policy, weights, (*rows.state, rows.actions)
        )
        normal = (
            -0.5 * ((rows.actions - mean) / log_std.exp()) ** 2
            - log_std
            - 0.5 * math.log(2 * math.pi)
        )
        log_density = (normal * self.active).sum(1)
        return (
            -(weight * log_density).mean(),
            weight.mean(),
            F.mse_loss(predicted, advantage),
        )


def _weights(module: nn.Module) -> Weights:
    """Return what an inner step changes."""
    return {name: each for name, each in module.named_parameters() if each.requires_grad}

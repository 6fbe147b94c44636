"""MACAW: offline meta-reinforcement learning with advantage weighting.

Source: Mitchell et al. 2021, arXiv 2008.06043. Pre-training is meta-training: the heads of
policy and value take a step on half of a task's transitions, and everything learns from the
loss on the other half, second derivatives included. Fine-tuning is adaptation: the same
steps, at the learnt rates, on the target demonstrations. The two variants of PTR's paper
(Appendix D) are this with a task id of its own for the target, and with `--retarget`, which
adapts an existing id.

Departure: the reference implementation adapts whole networks on low-dimensional states.
Here the image encoder is learnt by the outer loss only, so that the inner step needs no
second derivative of a ResNet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ptr_training.data.augment import Augmentation
from ptr_training.data.batch import Batch, Sampling
from ptr_training.data.normalization import DataSpec
from ptr_training.models.config import NetworkConfig
from ptr_training.models.ranges import (
    AT_LEAST_ONE,
    BELOW_ONE,
    FINITE,
    NOT_NEGATIVE,
    POSITIVE,
    Range,
)

from .agent import Agent, AgentConfig, Metrics, adam, learnt_parameters, log_normal
from .cql_terms import monte_carlo_returns
from .macaw_networks import MACAWPolicy, MACAWValue

Weights = dict[str, Tensor]
"""Weights of a network by name."""


@dataclass(frozen=True)
class MACAWConfig(AgentConfig):
    """Hyper-parameters: the paper's (Appendix D), or else the reference implementation's."""

    # in a batch (reference: 5)
    tasks: int = 8
    inner_steps: int = 1
    # at the start; every tensor's rate is learnt
    inner_lr: float = 1e-3
    policy_lr: float = 1e-4
    value_lr: float = 1e-5
    # of the logarithm of the inner rates
    rate_lr: float = 1e-3
    # standard deviation of the policy; 0: learnt
    std: float = 0.2
    # largest weight of a transition, exp(advantage)
    max_weight: float = 20.0
    # largest gradient of inner and outer steps. Departure: with a learnt standard deviation
    # gradients grew without end
    max_gradient: float = 10.0
    # of the advantage head's squared error in the inner loss
    advantage_weight: float = 0.01
    # latent size of the weight-transform layers; 0: plain layers
    transform: int = 32
    discount: float = 0.96
    # trained rewards as for PTR: -1 and +10
    reward_scale: float = 11.0
    reward_shift: float = -1.0

    def ranges(self) -> dict[str, Range]:
        """See `AgentConfig`."""
        return {
            "tasks": AT_LEAST_ONE,
            "inner_steps": AT_LEAST_ONE,
            "inner_lr": POSITIVE,
            "policy_lr": POSITIVE,
            "value_lr": POSITIVE,
            "rate_lr": POSITIVE,
            "std": NOT_NEGATIVE,
            "max_weight": POSITIVE,
            "max_gradient": POSITIVE,
            "advantage_weight": NOT_NEGATIVE,
            "transform": NOT_NEGATIVE,
            "discount": BELOW_ONE,
            "reward_scale": FINITE,
            "reward_shift": FINITE,
        }

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


@dataclass(frozen=True)
class _Rows:
    """Some transitions, as the heads need them."""

    latent: Tensor  # (B, Z)
    proprio: Tensor  # (B, 7)
    task: Tensor  # (B, N), one-hot
    actions: Tensor  # (B, 7)
    returns: Tensor  # (B,)

    def part(self, rows: slice) -> _Rows:
        """Return some of the rows."""
        return _Rows(
            self.latent[rows],
            self.proprio[rows],
            self.task[rows],
            self.actions[rows],
            self.returns[rows],
        )

    @property
    def state(self) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs of the heads: latent, proprio and task."""
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
        augmentation: Augmentation,
        pretrained: nn.Module | None = None,
    ) -> None:
        super().__init__(config, network, problem, augmentation, pretrained)
        self.value = MACAWValue(network, problem, self.latent, transform=config.transform)
        start = math.log(config.inner_lr)
        for name, module in (("policy_rates", self.policy), ("value_rates", self.value)):
            count = len(_weights(module))
            self.register_parameter(name, nn.Parameter(torch.full((count,), start)))
        self.policy_rates: Tensor
        self.value_rates: Tensor

    def _make_policy(self) -> nn.Module:
        c = self.config
        return MACAWPolicy(
            self.network, self.data_spec, self.latent, transform=c.transform, std=c.std
        )

    def _make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        encoder = learnt_parameters(self.encoder)
        return {
            "policy": adam([*encoder, *_weights(self.policy).values()], c.policy_lr),
            "value": adam(_weights(self.value).values(), c.value_lr),
            "rates": adam([self.policy_rates, self.value_rates], c.rate_lr),
        }

    def learn(self, batch: Batch) -> Metrics:
        """Take one step of meta-training, or of adaptation when fine-tuning."""
        task = self._one_hot(batch.task)
        learn = not self.finetuning
        with torch.set_grad_enabled(learn):
            images = self._augment(batch.images)
            latent = self._encode(self.encoder, images, task, learn=learn)
        returns = self.returns(batch.steps_to_reward)
        rows = _Rows(latent, batch.proprio, task, batch.actions, returns)
        return self._adapt_for_good(rows) if self.finetuning else self._meta_learn(rows)

    def returns(self, steps_to_reward: Tensor) -> Tensor:
        """Return the discounted returns of transitions; rewarded steps are terminal, as for PTR.

        Args:
            steps_to_reward: Transitions before the first rewarded one, shape (B,).

        Returns:
            Shape (B,).
        """
        c = self.config
        return monte_carlo_returns(
            steps_to_reward, c.reward_scale, c.reward_shift, c.discount
        )

    def _meta_learn(self, rows: _Rows) -> Metrics:
        """Take one step on the loss after inner steps.

        Half of a task's transitions are for the inner steps, half for the loss.
        """
        share = len(rows.returns) * self.rng.context.size // self.config.tasks
        losses = []
        for start in range(0, len(rows.returns), share):
            middle = start + share // 2
            support = rows.part(slice(start, middle))
            query = rows.part(slice(middle, start + share))
            policy, value = _weights(self.policy), _weights(self.value)
            for _ in range(self.config.inner_steps):
                policy, value, _ = self._adapted(policy, value, support, keep_graph=True)
            value_loss = self._value_loss(value, query)
            policy_loss, weight, _ = self._policy_losses(policy, value, query)
            losses.append(torch.stack([policy_loss, value_loss, weight]))
        policy_loss, value_loss, weight = torch.stack(losses).mean(0)
        loss = policy_loss + value_loss
        self._step(loss, *self.optimizers, clip=self.config.max_gradient)
        return {
            "loss": policy_loss.detach(),
            "value_loss": value_loss.detach(),
            "weight": weight.detach(),
        }

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
        """Take one inner step of both heads, value first.

        Args:
            policy: Weights of the policy's head.
            value: Weights of the value's head.
            rows: Transitions to learn from.
            keep_graph: The outer loss is differentiated through this step.

        Returns:
            New weights of both heads, and the losses of policy and value before the step.
        """
        value_loss = self._value_loss(value, rows)
        new_value = self._descend(value_loss, value, self.value_rates, keep_graph)
        policy_loss, _, advantage_error = self._policy_losses(policy, new_value, rows)
        loss = policy_loss + self.config.advantage_weight * advantage_error
        new_policy = self._descend(loss, policy, self.policy_rates, keep_graph)
        return new_policy, new_value, (policy_loss, value_loss)

    def _descend(
        self, loss: Tensor, weights: Weights, rates: Tensor, keep_graph: bool
    ) -> Weights:
        """Return weights after a gradient step, whose length is limited.

        Args:
            loss: Of these weights.
            weights: To step from.
            rates: Logarithms of the learning rates, one for each tensor of weights.
            keep_graph: The result is differentiated again.
        """
        gradients = torch.autograd.grad(
            loss, list(weights.values()), create_graph=keep_graph
        )
        if not keep_graph:
            gradients = tuple(self.rng.context.averaged(gradients))
        norms = [gradient.detach().norm() for gradient in gradients]
        norm = torch.stack(norms).norm()
        scale = (self.config.max_gradient / norm.clamp(min=1e-12)).clamp(max=1.0)
        steps = zip(weights.items(), gradients, rates.exp(), strict=True)
        stepped = {}
        for (name, weight), gradient, rate in steps:
            stepped[name] = weight - rate * scale * gradient
        return stepped

    def _value_loss(self, weights: Weights, rows: _Rows) -> Tensor:
        return F.mse_loss(functional_call(self.value, weights, rows.state), rows.returns)

    def _policy_losses(
        self, weights: Weights, value: Weights, rows: _Rows
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return advantage-weighted loss, mean weight and the advantage head's squared error.

        Args:
            weights: Of the policy's head.
            value: Weights of the value's head, constants here.
            rows: Transitions to learn from.
        """
        with torch.no_grad():
            advantage = rows.returns - functional_call(self.value, value, rows.state)
            weight = advantage.clamp(max=math.log(self.config.max_weight)).exp()
        mean, log_std, predicted = functional_call(
            self.policy, weights, (*rows.state, rows.actions)
        )
        log_density = (log_normal(rows.actions, mean, log_std) * self.active).sum(1)
        loss = -(weight * log_density).mean()
        return loss, weight.mean(), F.mse_loss(predicted, advantage)


def _weights(module: nn.Module) -> Weights:
    """Return the weights that an inner step changes, by name."""
    weights: Weights = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            weights[name] = parameter
    return weights

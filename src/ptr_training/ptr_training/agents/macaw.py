"""MACAW: offline meta-reinforcement learning with advantage weighting.

Source: Mitchell et al. 2021, arXiv 2008.06043, and its code (eric-mitchell/macaw, commit
3dfd4f9, `config/alg/standard.json`), here "the reference". Pre-training is meta-training: a
batch holds several tasks. Half of a task's rows are for the inner steps, first of the value,
which regresses to the returns, then of the policy, whose log density is weighted by the
exponential of standardised advantages. Everything learns from the same losses on the other
half, second derivatives and the rates of the inner steps included. Fine-tuning is adaptation:
an update is one more inner step, at the learnt rates, on the target demonstrations; rates are
learnt for `inner_steps`, so few of them are meant (`ptr select` chooses how many).

The two variants of PTR's paper (Appendix D) are this with a task id of its own for the target,
and with `--retarget`, which adapts an existing id. Early stopping is by `validation_loss`, the
loss after adaptation to tasks that are not learnt from (`validation_tasks`; `data.json` names
them); pre-training ends with the checkpoint at which it was smallest.

Departures from the reference, beside those that `macaw_config.py` marks:

- One image encoder for policy and value, learnt by the outer loss only, so that the inner step
  needs no second derivative of a ResNet; the reference adapts whole networks on states.
- Observations have a task id, as all of PTR's do, and heads have its widths.
- Rewarded steps are terminal, as for PTR, so that no return is completed by a value; the
  reference does so where an episode was cut.
- The standard deviation of advantages is at least 1e-4, for rows with equal advantages.
- Actions enter the advantage head as they are; in the reference through a ReLU.
- In adaptation the rows of every step are drawn anew, and there may be several steps; the
  reference takes one and goes on with its online fine-tuning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ptr_training.data.augment import Augmentation
from ptr_training.data.batch import Batch
from ptr_training.data.normalization import DataSpec
from ptr_training.errors import TrainingError
from ptr_training.models.config import NetworkConfig

from .agent import Agent, Metrics, adam, learnt_parameters, log_normal
from .cql_terms import monte_carlo_returns
from .macaw_config import MACAWConfig
from .macaw_networks import MACAWPolicy, MACAWValue

Weights = dict[str, Tensor]
"""Weights of a network by name."""


@dataclass(frozen=True)
class _Rows:
    """Some transitions, as the heads need them."""

    latent: Tensor  # (B, Z)
    proprio: Tensor  # (B, 7)
    task: Tensor  # (B, N), one-hot
    actions: Tensor  # (B, 7)
    returns: Tensor  # (B,)

    def parts(self, count: int) -> list[_Rows]:
        """Return the rows in as many equal parts, one after the other."""
        columns = [getattr(self, field.name).chunk(count) for field in fields(self)]
        return [_Rows(*part) for part in zip(*columns, strict=True)]

    @property
    def state(self) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs of the heads: latent, proprio and task."""
        return self.latent, self.proprio, self.task


class MACAW(Agent):
    """Meta-learnt policy and value heads on an image encoder."""

    Config = MACAWConfig
    config: MACAWConfig
    policy: MACAWPolicy
    early_stopping = "validation_loss"

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
        start = _before_softplus(config.inner_lr)
        count = len(_weights(self.policy))
        self.policy_rates = nn.Parameter(torch.full((count,), start))
        count = len(_weights(self.value))
        self.value_rates = nn.Parameter(torch.full((count,), start))
        weight = _before_softplus(config.advantage_weight)
        self.advantage_weight = nn.Parameter(torch.tensor(weight))

    def _make_policy(self) -> nn.Module:
        c = self.config
        return MACAWPolicy(
            self.network, self.data_spec, self.latent, transform=c.transform, std=c.std
        )

    def _make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        encoder = learnt_parameters(self.encoder)
        rates = [self.policy_rates, self.value_rates, self.advantage_weight]
        return {
            "policy": adam([*encoder, *_weights(self.policy).values()], c.policy_lr),
            "value": adam(_weights(self.value).values(), c.value_lr),
            "rates": adam(rates, c.rate_lr),
        }

    def learn(self, batch: Batch) -> Metrics:
        """Take one step of meta-training, or of adaptation when fine-tuning.

        Raises:
            TrainingError: If the rows cannot be shared out to tasks, inner and outer steps.
        """
        images = self._augment(batch.images)
        if self.finetuning:
            rows = self._rows(batch, images, slice(None), learn=False)
            return self._adapt_for_good(rows)
        return self._meta_learn(batch, images)

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

    def _rows(self, batch: Batch, images: Tensor, part: slice, *, learn: bool) -> _Rows:
        """Return some transitions of a batch with their latents.

        Args:
            batch: The transitions.
            images: Of all of them, augmented, shape (B, 3, H, W).
            part: Which of them.
            learn: Whether the encoder learns from them.
        """
        task = self._one_hot(batch.task[part])
        with torch.set_grad_enabled(learn):
            latent = self._encode(self.encoder, images[part], task, learn=learn)
        returns = self.returns(batch.steps_to_reward[part])
        return _Rows(latent, batch.proprio[part], task, batch.actions[part], returns)

    def _meta_learn(self, batch: Batch, images: Tensor) -> Metrics:
        """Take one step on the mean loss over tasks after inner steps.

        One task after the other, so that no more images are in a graph than one task has.

        Args:
            batch: Rows of `shares` tasks, one after the other.
            images: Augmented, shape (B, 3, H, W).
        """
        c, context = self.config, self.rng.context
        size = self._rows_of_a_task(len(batch.task))
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        learnt = torch.zeros(3, device=images.device)
        validation = torch.zeros(3, device=images.device)
        for start in range(0, len(batch.task), size):
            part = slice(start, start + size)
            first = context.rank * len(batch.task) + start
            if first >= c.tasks * size:
                rows = self._rows(batch, images, part, learn=False)
                validation = self._validation_losses(rows) * context.size
                continue
            rows = self._rows(batch, images, part, learn=True)
            losses = self._outer_losses(rows) * (context.size / c.tasks)
            losses[:2].sum().backward()
            learnt = learnt + losses.detach()
        metrics = self._meta_metrics(learnt, validation)
        for name in self.optimizers:
            self._follow_gradients(name, clip=0.0 if name == "rates" else c.max_gradient)
        return metrics

    def _rows_of_a_task(self, rows: int) -> int:
        """Return how many rows of a batch a task has.

        Args:
            rows: Of this process's part of the batch.

        Raises:
            TrainingError: If tasks or steps cannot share them, or are left with one row.
        """
        c, processes = self.config, self.rng.context.size
        if c.shares % processes:
            held_out = " and the held-out one" if c.validation_tasks else ""
            raise TrainingError(
                f"agent.tasks is {c.tasks}; with {processes} processes, tasks{held_out} must be "
                f"a multiple of {processes}"
            )
        total, unit = rows * processes, 2 * c.inner_steps * c.shares
        if total % unit or total < 2 * unit:
            raise TrainingError(
                f"batch_size is {total}; it must be a multiple of {unit}, and at least {2 * unit}: "
                f"of each of {c.shares} tasks two rows for an inner step, and as many for the loss"
            )
        return total // c.shares

    def _meta_metrics(self, learnt: Tensor, validation: Tensor) -> Metrics:
        """Return what to log of a step.

        Args:
            learnt: See `_outer_losses`, shape (3,).
            validation: See `_validation_losses`, shape (3,).
        """
        metrics = {
            "loss": learnt[0],
            "value_loss": learnt[1],
            "weight": learnt[2],
            "policy_rate": F.softplus(self.policy_rates.detach()).mean(),
            "value_rate": F.softplus(self.value_rates.detach()).mean(),
        }
        if self.config.validation_tasks:
            metrics["validation_loss"] = validation[0]
            metrics["validation_value_loss"] = validation[1]
            metrics["validation_before"] = validation[2]
        return metrics

    def _outer_losses(self, rows: _Rows) -> Tensor:
        """Return losses of policy and value on half of the rows after inner steps on the others.

        Returns:
            Both losses and the mean weight of a transition, shape (3,).
        """
        support, query = rows.parts(2)
        policy, value, _ = self._adapted(support.parts(self.config.inner_steps))
        value_loss = self._value_loss(value, query)
        policy_loss, weight, _ = self._policy_losses(policy, value, query)
        return torch.stack([policy_loss, value_loss, weight.mean()])

    def _validation_losses(self, rows: _Rows) -> Tensor:
        """Return the losses on half of the rows of a task that is not learnt from.

        Returns:
            Those of policy and value after inner steps on the other half, and that of the
            policy without them, at the same weights; shape (3,).
        """
        support, query = rows.parts(2)
        policy, value, _ = self._adapted(support.parts(self.config.inner_steps))
        with torch.no_grad():
            after, _, _ = self._policy_losses(policy, value, query)
            before, _, _ = self._policy_losses(_weights(self.policy), value, query)
            return torch.stack([after, self._value_loss(value, query), before])

    def _adapt_for_good(self, rows: _Rows) -> Metrics:
        """Take one inner step on the whole batch and keep it; the same in every process."""
        old = (_weights(self.policy), _weights(self.value))
        *new, (policy_loss, value_loss) = self._adapted([rows], shared=True)
        with torch.no_grad():
            for before, after in zip(old, new, strict=True):
                for name, weights in before.items():
                    weights.copy_(after[name])
        return {"loss": policy_loss.detach(), "value_loss": value_loss.detach()}

    def _adapted(
        self, parts: list[_Rows], *, shared: bool = False
    ) -> tuple[Weights, Weights, tuple[Tensor, Tensor]]:
        """Take inner steps of both heads, all of the value first.

        Args:
            parts: Transitions of each step.
            shared: Every process has a part of the rows; then the result is not
                differentiated.

        Returns:
            New weights of policy and value, and their losses before the last step.
        """
        policy, value = _weights(self.policy), _weights(self.value)
        for rows in parts:
            value_loss = self._value_loss(value, rows)
            value = self._descend(value_loss, value, self.value_rates, shared=shared)
        advantage_weight = F.softplus(self.advantage_weight)
        for rows in parts:
            policy_loss, _, error = self._policy_losses(policy, value, rows, shared=shared)
            loss = policy_loss + advantage_weight * error
            policy = self._descend(loss, policy, self.policy_rates, shared=shared)
        return policy, value, (policy_loss, value_loss)

    def _descend(
        self, loss: Tensor, weights: Weights, rates: Tensor, *, shared: bool = False
    ) -> Weights:
        """Return weights after a gradient step.

        Args:
            loss: Of these weights.
            weights: To step from.
            rates: Learning rates before softplus, one for each tensor of weights.
            shared: See `_adapted`.
        """
        gradients = torch.autograd.grad(
            loss, list(weights.values()), create_graph=not shared
        )
        if shared:
            gradients = tuple(self.rng.context.averaged(gradients))
        if self.config.max_gradient:
            gradients = _limited(gradients, self.config.max_gradient)
        steps = zip(weights.items(), gradients, F.softplus(rates), strict=True)
        stepped = {}
        for (name, weight), gradient, rate in steps:
            stepped[name] = weight - rate * gradient
        return stepped

    def _value_loss(self, weights: Weights, rows: _Rows) -> Tensor:
        return F.mse_loss(functional_call(self.value, weights, rows.state), rows.returns)

    def _policy_losses(
        self, weights: Weights, value: Weights, rows: _Rows, *, shared: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return advantage-weighted loss, weights (B,) and the advantage head's squared error.

        Args:
            weights: Of the policy's head.
            value: Weights of the value's head, constants here.
            rows: Transitions to learn from.
            shared: See `_adapted`.
        """
        c = self.config
        with torch.no_grad():
            advantage = rows.returns - functional_call(self.value, value, rows.state)
            among = self.rng.context.join(advantage) if shared else advantage
            logit = standardized(advantage, among) / c.temperature
            weight = logit.clamp(max=math.log(c.max_weight)).exp()
        mean, log_std, predicted = functional_call(
            self.policy, weights, (*rows.state, rows.actions)
        )
        log_density = (log_normal(rows.actions, mean, log_std) * self.active).sum(1)
        loss = -(weight * log_density).mean()
        return loss, weight, F.mse_loss(predicted, advantage)


def standardized(advantage: Tensor, among: Tensor) -> Tensor:
    """Return advantages less their mean, in units of their standard deviation.

    Args:
        advantage: Shape (B,).
        among: Those whose mean and deviation count, shape (C,), C > 1.

    Returns:
        Shape (B,); about 0 where all are equal.
    """
    return (advantage - among.mean()) / among.std().clamp(min=1e-4)


def _limited(gradients: tuple[Tensor, ...], longest: float) -> tuple[Tensor, ...]:
    """Return gradients of at most this length in all; the factor is not differentiated."""
    norms = [gradient.detach().norm() for gradient in gradients]
    norm = torch.stack(norms).norm()
    scale = (longest / norm.clamp(min=1e-12)).clamp(max=1.0)
    return tuple(scale * gradient for gradient in gradients)


def _before_softplus(value: float) -> float:
    """Return x with softplus(x) = value; minus infinity for 0."""
    return value + math.log(-math.expm1(-value)) if value else -math.inf


def _weights(module: nn.Module) -> Weights:
    """Return the weights that an inner step changes, by name."""
    weights: Weights = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            weights[name] = parameter
    return weights

"""Conservative Q-learning as PTR uses it (paper §4.1; official code `jaxrl2/agents/cql_encodersep_parallel`).

With its defaults `CQLConfig` trains what the official launch scripts train. Where they
disagree with the paper's text the scripts are followed; the fields say which. What neither
does is off by default and marked "departure": it is what makes the method work within
minutes on a CPU (`docs/learning.md`).

Every image is encoded once per network: augmentation happens before the encoder and group
norm does not couple a batch, so the samples of a state can share its latent. The official
code tiles images instead, for 19 forward-equivalents an update where 9 suffice; the losses
are the same.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ptr_training.data.augment import to_network
from ptr_training.data.batch import Batch
from ptr_training.data.normalization import DataSpec
from ptr_training.errors import TrainingError
from ptr_training.models.encoders import (
    FROZEN,
    EncoderEnsemble,
    NetworkConfig,
    make_encoder,
)
from ptr_training.models.networks import (
    Critic,
    InferencePolicy,
    Policy,
    polyak_,
    sample_actions,
)

from .agent import Agent, AgentConfig, Metrics, adam


@dataclass(frozen=True)
class CQLConfig(AgentConfig):
    """Hyper-parameters; the names of the terms are those of the paper and of the official code."""

    discount: float = 0.96
    reward_scale: float = (
        11.0  # trained reward = scale * (0 or 1) + shift: -1 and +10. Paper: 1 and 0
    )
    reward_shift: float = -1.0
    terminal: str = (
        "rewarded"  # no bootstrap at: rewarded steps, or only the last one of an episode
    )
    polyak: float = 0.005
    alpha: float = 10.0  # weight of the conservative term
    min_q_version: str = "v3"  # v3: importance-weighted logsumexp; v2: plain logsumexp; v1: policy mean (paper §4.1)
    n_policy_actions: int = 4  # actions of the conservative term: of the policy at s,
    n_random_actions: int = 4  # uniform,
    n_next_actions: int = 0  # of the policy at s' (original CQL),
    n_batch_actions: int = 0  # demonstrated elsewhere in the batch. Departure: hard negatives inside the data's support
    n_backup_actions: int = 4  # target: the best of as many policy actions at s'
    clamp_target: bool = False  # departure: keep targets within the returns that can occur
    actor_lr: float = 1e-4
    critic_lr: float = 3e-4
    temperature_lr: float = 3e-4
    initial_temperature: float = 1.0
    shared_encoder: bool = False  # departure: actor and critic share one encoder, trained by both losses in one step
    independent_encoders: bool = (
        False  # one for each critic head (paper, Appendix D); the official code shares one
    )
    clone_steps: int = (
        0  # departure here, done by COG: clone behaviour for as many steps before
    )
    clone_lr: float = 1e-3  # decays to a tenth
    decay_steps: int = 0  # departure: actor's and critic's rates decay to a tenth over as many steps of CQL; 0: never
    bc_weight: float = 0.0  # departure: squared error of the mode in the actor's loss

    def __post_init__(self) -> None:
        if self.min_q_version not in ("v1", "v2", "v3"):
            raise TrainingError(
                f"agent.min_q_version is {self.min_q_version!r}; it must be v1, v2 or v3"
            )
        if self.terminal not in ("rewarded", "last"):
            raise TrainingError(
                f"agent.terminal is {self.terminal!r}; it must be rewarded or last"
            )
        if self.shared_encoder and self.independent_encoders:
            raise TrainingError(
                "agent.shared_encoder and agent.independent_encoders exclude each other"
            )
        if self.clamp_target and self.terminal == "last":
            raise TrainingError(
                "agent.clamp_target knows the possible returns only with agent.terminal=rewarded"
            )

    @property
    def possible_returns(self) -> tuple[float, float]:
        """Lowest and highest discounted return, where rewarded steps are terminal."""
        never, done = (
            self.reward_shift / (1.0 - self.discount),
            self.reward_scale + self.reward_shift,
        )
        return min(never, done), max(never, done)

    @property
    def summary(self) -> str:
        """See `AgentConfig`; it names every departure of the actor."""
        cloning = (
            f" + {self.bc_weight:g} x squared error to the demonstrated action"
            if self.bc_weight
            else ""
        )
        start = (
            f", after a warm start of {self.clone_steps} steps of behaviour cloning"
            if self.clone_steps
            else ""
        )
        critic = f"conservative Q-learning ({self.min_q_version}, α = {self.alpha:g})"
        return f"{critic}; actor's loss: T log π - Q{cloning}{start}"


def backup(q_next: Tensor, rewards: Tensor, masks: Tensor, discount: float) -> Tensor:
    """Return TD targets r + γ m max_k min_j Q_j(s', a'_k); there is no entropy term.

    Args:
        q_next: Target Q of actions at s', shape (E, B, K).
        rewards: Trained rewards, shape (B,).
        masks: 1 - terminal, shape (B,); a terminal step has no bootstrap.
        discount: γ.
    """
    return rewards + discount * masks * q_next.amin(0).amax(1)


def conservative_gap(
    q_data: Tensor,
    q_actions: Tensor,
    log_densities: Tensor,
    n_policy: int,
    version: str = "v3",
) -> Tensor:
    """Return mean over heads and batch of L_j - Q_j(s, a), what the conservative term drives down.

    v3: L_j = logsumexp_k (Q_j(s, a_k) - log density of a_k); v2 the same without densities;
    v1 the mean of Q over policy actions, the form written in the paper. Neither divides by
    the number of actions.

    Args:
        q_data: Q of the demonstrated actions, shape (E, B).
        q_actions: Q of the sampled actions, those of the policy first, shape (E, B, K).
        log_densities: Of the distribution each action was drawn from, shape (B, K);
            constants.
        n_policy: How many are the policy's at s.
        version: v1, v2 or v3.
    """
    if version == "v1":
        return (q_actions[:, :, :n_policy].mean(2) - q_data).mean()
    weighted = q_actions - log_densities if version == "v3" else q_actions
    return (weighted.logsumexp(2) - q_data).mean()


class CQL(Agent):
    """Twin Q heads on one encoder, a tanh-Gaussian actor on its own (or on the same one), automatic temperature."""

    Config = CQLConfig
    config: CQLConfig
    selection_rule = "q_trend"

    def __init__(
        self,
        config: CQLConfig,
        network: NetworkConfig,
        problem: DataSpec,
        augmentation: Any,
        pretrained: nn.Module | None = None,
    ) -> None:
        super().__init__(config, network, problem, augmentation, pretrained)
        self.critic_encoder = self._make_critic_encoder()
        self.critic = Critic(network, problem, self.latent)
        frozen = network.encoder in FROZEN
        self.target_encoder = (
            self.encoder
            if frozen
            else copy.deepcopy(self.critic_encoder).requires_grad_(False)
        )
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.log_temperature = nn.Parameter(
            torch.tensor(math.log(config.initial_temperature))
        )
        self.target_entropy = -float(sum(problem.action_active))

    def _make_policy(self) -> nn.Module:
        return Policy(self.network, self.problem, self.latent, squashed=True)

    def _make_critic_encoder(self) -> nn.Module:
        if self.config.shared_encoder or self.network.encoder in FROZEN:
            return self.encoder
        count = self.network.heads if self.config.independent_encoders else 1
        encoders = [make_encoder(self.network, self.problem) for _ in range(count)]
        return encoders[0] if count == 1 else EncoderEnsemble(encoders)

    def _make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        encoder = [each for each in self.encoder.parameters() if each.requires_grad]
        policy = list(self.policy.parameters())
        seeing = [each for each in self.critic_encoder.parameters() if each.requires_grad]
        critic, c = [*seeing, *self.critic.parameters()], self.config
        return {
            "cloning": adam([*encoder, *policy], c.clone_lr),
            "critic": adam(critic, c.critic_lr),
            "actor": adam(policy if c.shared_encoder else [*encoder, *policy], c.actor_lr),
            "temperature": adam([self.log_temperature], c.temperature_lr),
        }

    def deployed(self) -> InferencePolicy:
        return InferencePolicy(
            self.problem,
            self.encoder,
            self.policy,
            critic_encoder=self.critic_encoder,
            critic=self.critic,
        )

    def update(self, batch: Batch) -> Metrics:
        """Take one gradient step: of cloning during the warm start, of CQL afterwards."""
        cloning = self.steps < self.config.clone_steps
        metrics = self._clone(batch) if cloning else self._improve(batch)
        self.steps += 1
        if cloning and self.steps == self.config.clone_steps:
            self._end_warm_start()
        return metrics

    # Warm start
    # -----------------------------------------------------------------------------------

    def _clone(self, batch: Batch) -> Metrics:
        self._decay("cloning", self.config.clone_lr, self.config.clone_steps)
        task = self._one_hot(batch.task)
        latent = self._encode(self.encoder, self._augment(batch.images), task)
        mean, _ = self.policy(latent, batch.proprio, task)
        loss = self._imitation_error(torch.tanh(mean), batch)
        self._step(loss, "cloning")
        return {"loss": loss.detach(), "bc_error": loss.detach()}

    def _end_warm_start(self) -> None:
        """Let the critic see with the cloned encoder."""
        cloned = self.encoder.state_dict()
        for encoder in (self.critic_encoder, self.target_encoder):
            for each in (
                encoder.encoders if isinstance(encoder, EncoderEnsemble) else [encoder]
            ):
                each.load_state_dict(cloned)

    # CQL
    # ------------------------------------------------------------------------------------------

    def _improve(self, batch: Batch) -> Metrics:
        """One update of critic, target, actor and temperature, in the official order."""
        if self.config.decay_steps:
            for name, rate in (
                ("actor", self.config.actor_lr),
                ("critic", self.config.critic_lr),
            ):
                self._decay(
                    name, rate, self.config.decay_steps, since=self.config.clone_steps
                )
        images, next_images, task = (
            self._augment(batch.images),
            self._augment(batch.next_images),
            self._one_hot(batch.task),
        )
        latent, mean, log_std = self._act(images, batch.proprio, task)
        target, next_actions = self._target(batch, next_images, task)
        with torch.no_grad():  # the actor has not changed: its forward pass serves its loss and the samples alike
            sampled = (
                self._act(images, batch.proprio, task, learn=False)[1:]
                if self.mode_dependent
                else (mean, log_std)
            )
        candidates = self._candidates(batch, *sampled, next_actions)
        shared = self.config.shared_encoder
        critic_latent = (
            latent if shared else self._encode(self.critic_encoder, images, task)
        )
        critic_loss, metrics = self._critic_loss(
            batch, critic_latent, task, target, candidates
        )
        if shared:
            # one backward pass through the encoder; the actor's loss uses the critic of
            # before this step
            actor_loss, entropy, more = self._actor_loss(
                batch, mean, log_std, critic_latent.detach(), task
            )
            self._step(critic_loss + actor_loss, "critic", "actor")
            self._move_targets()
        else:
            self._step(critic_loss, "critic")
            self._move_targets()
            with torch.no_grad():
                critic_latent = self._encode(self.critic_encoder, images, task, learn=False)
            actor_loss, entropy, more = self._actor_loss(
                batch, mean, log_std, critic_latent, task
            )
            self._step(actor_loss, "actor")
        self._step(
            self.log_temperature.exp() * (entropy - self.target_entropy), "temperature"
        )
        return {
            **metrics,
            **more,
            "temperature": self.log_temperature.detach().exp(),
            "entropy": entropy,
        }

    def _act(
        self, images: Tensor, proprio: Tensor, task: Tensor, *, learn: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the actor's latent and the policy's mean and log deviation."""
        latent = self._encode(self.encoder, images, task, learn=learn)
        self.policy.train(learn)
        mean, log_std = self.policy(latent, proprio, task)
        self.policy.train()
        return latent, mean, log_std

    @torch.no_grad()
    def _target(
        self, batch: Batch, next_images: Tensor, task: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the TD targets (B,) and the policy's actions at s' with their log densities."""
        c = self.config
        count = max(c.n_backup_actions, c.n_next_actions)
        _, mean, log_std = self._act(next_images, batch.next_proprio, task, learn=False)
        actions, log_pi = sample_actions(mean, log_std, self.active, count, self.draws)
        target_latent = self._encode(self.target_encoder, next_images, task, learn=False)
        q_next = self.target_critic(
            target_latent, batch.next_proprio, task, actions[:, : c.n_backup_actions]
        )
        rewards = c.reward_scale * batch.rewards + c.reward_shift
        masks = 1.0 - (batch.rewards if c.terminal == "rewarded" else batch.last)
        target = backup(q_next, rewards, masks, c.discount)
        if c.clamp_target:
            target = target.clamp(*c.possible_returns)
        return target, (actions[:, : c.n_next_actions], log_pi[:, : c.n_next_actions])

    @torch.no_grad()
    def _candidates(
        self,
        batch: Batch,
        mean: Tensor,
        log_std: Tensor,
        next_actions: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Return the actions (B, K, 7) of the conservative term and their log densities (B, K)."""
        c, size, draws = self.config, len(mean), self.draws
        actions, log_densities = sample_actions(
            mean, log_std, self.active, c.n_policy_actions, draws
        )
        n_uniform = c.n_random_actions + c.n_batch_actions
        uniform = 2.0 * draws.uniform((size, c.n_random_actions, 7)) - 1.0
        whole = draws.group.join(batch.actions)
        mine = torch.arange(size, device=mean.device) + draws.group.rank * size
        others = whole[
            (mine[:, None] + draws.integers(1, len(whole), (size, c.n_batch_actions)))
            % len(whole)
        ]
        # demonstrated actions are weighted as if they were uniform: their density is not
        # known
        log_uniform = torch.full(
            (size, n_uniform),
            -math.log(2.0) * float(-self.target_entropy),
            device=mean.device,
        )
        return (
            torch.cat([actions, next_actions[0], uniform, others], 1),
            torch.cat([log_densities, next_actions[1], log_uniform], 1),
        )

    def _critic_loss(
        self,
        batch: Batch,
        latent: Tensor,
        task: Tensor,
        target: Tensor,
        candidates: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Metrics]:
        c = self.config
        actions, log_densities = candidates
        every = torch.cat(
            [batch.actions[:, None], actions], 1
        )  # data and samples in one call
        q = self.critic(latent, batch.proprio, task, every)
        q_data, q_actions = q[:, :, 0], q[:, :, 1:]
        td_loss = (
            (q_data - target) ** 2
        ).mean()  # the paper's formula has a factor 1/2, the code none
        gap = conservative_gap(
            q_data, q_actions, log_densities, c.n_policy_actions, c.min_q_version
        )
        loss = td_loss + c.alpha * gap
        n_known = c.n_policy_actions + c.n_next_actions
        values = {
            "loss": loss,
            "td_loss": td_loss,
            "conservative_gap": gap,
            "q_data": q_data.mean(),
            "q_policy": q_actions[:, :, : c.n_policy_actions].mean(),
            "q_random": q_actions[:, :, n_known : n_known + c.n_random_actions].mean(),
        }
        return loss, {name: value.detach() for name, value in values.items()}

    def _actor_loss(
        self,
        batch: Batch,
        mean: Tensor,
        log_std: Tensor,
        critic_latent: Tensor,
        task: Tensor,
    ) -> tuple[Tensor, Tensor, Metrics]:
        """Return the actor's loss, the entropy of the policy and what to log."""
        action, log_pi = sample_actions(mean, log_std, self.active, 1, self.draws)
        q = self.critic(critic_latent, batch.proprio, task, action, frozen=True).amin(0)
        error = self._imitation_error(torch.tanh(mean), batch)
        temperature = self.log_temperature.detach().exp()
        loss = (temperature * log_pi - q).mean() + self.config.bc_weight * error
        metrics = {
            "actor_loss": loss.detach(),
            "bc_error": error.detach(),
            "action_std": log_std.detach().exp().mean(),
        }
        return loss, -log_pi.detach().mean(), metrics

    def _move_targets(self) -> None:
        if self.target_encoder is not self.encoder:
            polyak_(self.target_encoder, self.critic_encoder, self.config.polyak)
        polyak_(self.target_critic, self.critic, self.config.polyak)

    @property
    def critic_steps(self) -> int:
        """See `Agent`."""
        return max(0, self.steps - self.config.clone_steps)

    @torch.no_grad()
    def td_errors(self, batch: Batch) -> Tensor:
        """Return the squared TD errors of transitions without augmentation (B,), mean over heads.

        The sampled actions of the target come from this agent's draws.
        """
        images, next_images = to_network(batch.images), to_network(batch.next_images)
        task = self._one_hot(batch.task)
        target, _ = self._target(batch, next_images, task)
        latent = self._encode(self.critic_encoder, images, task, learn=False)
        q = self.critic(latent, batch.proprio, task, batch.actions[:, None])[:, :, 0]
        return ((q - target) ** 2).mean(0)

    def warning(self, metrics: dict[str, float]) -> str:
        """Return a warning when the Q of demonstrated actions has left the returns that can occur by far."""
        low, high = self.config.possible_returns
        margin, q = high - low, metrics.get("q_data", 0.0)
        if low - margin <= q <= high + margin:
            return ""
        return (
            f"Q diverges: its mean over demonstrated actions is {q:.3g}, returns lie between {low:.3g} and {high:.3g}; "
            "try agent.clamp_target=true, a smaller agent.critic_lr or a larger agent.alpha"
        )

"""Advantage-weighted behaviour cloning: cloning told by PTR's critic which decisions matter (paper §5, Appendix C.1).

Pre-training is plain behaviour cloning. Fine-tuning weighs every target demonstration by
what a frozen, fine-tuned PTR thinks of its action:

    ptr finetune --from RUN/bc/pretrain --set agent.name=awbc --set
    agent.critic=RUN/ptr/finetune …

It explains PTR rather than competing with it, since it needs PTR's critic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ptr_training.data.batch import Batch
from ptr_training.data.transitions import Transitions
from ptr_training.errors import TrainingError
from ptr_training.models.encoders import FROZEN, make_encoder
from ptr_training.models.networks import Critic, InferencePolicy, Policy, sample_actions

from .agent import Metrics
from .bc import BC, BCConfig

FORMS = ("paper", "official")


@dataclass(frozen=True)
class AWBCConfig(BCConfig):
    """Hyper-parameters of advantage-weighted cloning, beside those of cloning."""

    critic: str = ""  # fine-tuned PTR: checkpoint or run folder; needed when fine-tuning begins, kept afterwards
    form: str = "paper"  # weight and loss as the paper has them, or as the official code
    n_policy_actions: int = (
        10  # paper: the best action is sought among as many of PTR's policy
    )
    temperature: float = 1.0  # official: the advantage is divided by it
    max_logit: float = 5.0  # official: and then cut

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise TrainingError(
                f"agent.form is {self.form!r}; it must be one of {', '.join(FORMS)}"
            )

    @property
    def summary(self) -> str:
        """See `AgentConfig`."""
        return f"behaviour cloning, target demonstrations weighed by PTR's advantage ({self.form} form)"


class AWBC(BC):
    """Behaviour cloning whose target transitions weigh exp(advantage).

    The paper: w = exp(Q(s, a) - max_a' Q(s, a')), mean squared error; the maximum is taken
    over actions drawn from PTR's policy and the demonstrated one, and Q is the smaller of
    both heads. The official code differs threefold: w = exp(min((Q(s, a) - Q(s, a_π)) /
    temperature, 5)) with one drawn action, both heads' weights averaged, and the log
    density of a Gaussian without tanh and with a learned deviation.
    """

    Config = AWBCConfig
    config: AWBCConfig

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.teacher: nn.ModuleDict | None = (
            None  # PTR, from the beginning of fine-tuning on
        )

    def prepare(self, data: Sequence[Transitions], *, finetuning: bool) -> None:
        """See `Agent`; fine-tuning needs a teacher, see `take_teacher`.

        Raises:
            TrainingError: If the configuration names none.
        """
        if finetuning and not self.config.critic:
            raise TrainingError(
                "agent.critic is empty; name the fine-tuned PTR with --set agent.critic=RUN"
            )

    def take_teacher(self, weights: Mapping[str, Tensor]) -> None:
        """Take PTR's networks over, by the weights of an agent `cql` of the same networks and data."""
        self._make_teacher()
        assert self.teacher is not None
        names = [name for name in self.teacher.state_dict() if not self._is_frozen(name)]
        self.teacher.load_state_dict({name: weights[name] for name in names}, strict=False)

    def load_state(self, state: dict[str, Any]) -> None:
        """See `Agent`; that of plain cloning has no teacher yet."""
        if any(name.startswith("teacher.") for name in state["weights"]):
            self._make_teacher()
        super().load_state(state)

    def deployed(self) -> InferencePolicy:
        """See `Agent`; the Q values are PTR's."""
        if self.teacher is None:
            return super().deployed()
        critic = self.teacher["critic"]
        assert isinstance(critic, Critic)
        encoder = self.teacher["critic_encoder"]
        return InferencePolicy(
            self.problem, self.encoder, self.policy, critic_encoder=encoder, critic=critic
        )

    def _make_policy(self) -> nn.Module:
        limits = (-20.0, 2.0) if self.config.form == "official" else (-5.0, 2.0)
        return Policy(
            self.network, self.problem, self.latent, squashed=False, log_std=limits
        )

    def _make_teacher(self) -> None:
        """Make PTR's networks, which are not learnt here."""
        modules = {
            "encoder": self._make_teacher_encoder(),
            "policy": Policy(self.network, self.problem, self.latent, squashed=True),
            "critic_encoder": self._make_teacher_encoder(),
            "critic": Critic(self.network, self.problem, self.latent),
        }
        self.teacher = (
            nn.ModuleDict(modules).requires_grad_(False).eval().to(self.active.device)
        )

    def _make_teacher_encoder(self) -> nn.Module:
        if self.network.encoder in FROZEN:
            return self.encoder
        return make_encoder(self.network, self.problem)

    def _loss(self, batch: Batch, images: Tensor, task: Tensor) -> tuple[Tensor, Metrics]:
        mean, log_std = self.policy(
            self._encode(self.encoder, images, task), batch.proprio, task
        )
        error = self._squared_error(mean, batch)
        weight = torch.ones_like(error)
        if self.teacher is not None:
            weight = torch.where(
                batch.target > 0, self._weight(batch, images, task), weight
            )
        cost = error
        if self.config.form == "official":
            normal = (
                -0.5 * ((batch.actions - mean) / log_std.exp()) ** 2
                - log_std
                - 0.5 * math.log(2 * math.pi)
            )
            cost = -(normal * self.active).sum(1)
        metrics = {
            "bc_error": error.detach().mean(),
            "weight": weight.mean(),
            "weight_std": weight.std(unbiased=False),
        }
        return (weight * cost).mean(), metrics

    @torch.no_grad()
    def _weight(self, batch: Batch, images: Tensor, task: Tensor) -> Tensor:
        """Return exp(advantage) of the demonstrated actions (B,) in the eyes of PTR."""
        assert self.teacher is not None
        c, teacher = self.config, self.teacher
        count = c.n_policy_actions if c.form == "paper" else 1
        mean, log_std = teacher["policy"](
            self._encode(teacher["encoder"], images, task), batch.proprio, task
        )
        drawn, _ = sample_actions(mean, log_std, self.active, count, self.draws)
        actions = torch.cat([batch.actions[:, None], drawn], 1)
        latent = self._encode(teacher["critic_encoder"], images, task, learn=False)
        q = teacher["critic"](latent, batch.proprio, task, actions)  # (E, B, 1 + K)
        if c.form == "paper":
            lower = q.amin(0)
            return (lower[:, 0] - lower.amax(1)).exp()
        return (
            ((q[:, :, 0] - q[:, :, 1]) / c.temperature).clamp(max=c.max_logit).exp().mean(0)
        )

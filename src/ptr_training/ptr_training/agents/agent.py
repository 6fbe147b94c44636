"""Base of the agents: encoder, policy, random numbers, optimisers and step counter."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ptr_training.data.augment import Augmentation
from ptr_training.data.batch import Batch, Sampling
from ptr_training.data.distributed import BatchRng, DistributedContext, set_generator
from ptr_training.data.normalization import DataSpec
from ptr_training.data.transitions import Transitions
from ptr_training.models.bfloat16 import Bfloat16Weights
from ptr_training.models.config import NetworkConfig
from ptr_training.models.encoders import EncoderEnsemble, ImageEncoder, make_encoder
from ptr_training.models.inference_policy import InferencePolicy
from ptr_training.models.policy import Policy
from ptr_training.models.ranges import Range, check_ranges

Metrics = dict[str, Tensor]
"""Values to log, each a tensor of no dimensions, so that no step waits for the GPU."""


@dataclass(frozen=True)
class AgentConfig:
    """Base of the agents' hyper-parameters, the section `agent` of a training configuration."""

    @property
    def gripper(self) -> str:
        """How the gripper is learnt: continuous, binary, or auto."""
        return "continuous"

    @property
    def execute(self) -> int:
        """E, actions of one prediction that a robot executes before the next prediction."""
        return 1

    @property
    def learns_from_failures(self) -> bool:
        """Whether failed episodes can be learnt from: only agents with a critic can."""
        return False

    def __post_init__(self) -> None:
        check_ranges("agent", self, self.ranges())

    def ranges(self) -> dict[str, Range]:
        """Return the allowed range of every number among the fields."""
        return {}

    @property
    def summary(self) -> str:
        """Loss and variant of the agent, in a line for reports."""
        raise NotImplementedError

    @property
    def sampling(self) -> Sampling:
        """The kind of batches that the agent needs."""
        return Sampling()


class Agent(nn.Module, abc.ABC):
    """Learns from batches; everything needed to go on bit for bit is in `state()`.

    A subclass builds its networks in `__init__`, then `start` moves them to a device and
    makes the optimisers.
    """

    Config: type[AgentConfig]
    """Dataclass of the agent's hyper-parameters."""

    selection_rule = "error"
    """Name of the rule in `checkpoint_selection.RULES` that chooses among its checkpoints."""

    early_stopping = ""
    """Metric by which a checkpoint of pre-training is chosen; empty: the newest one is taken."""
    acts = True
    """Whether it has a policy that can be deployed and evaluated."""

    def __init__(
        self,
        config: Any,
        network: NetworkConfig,
        problem: DataSpec,
        augmentation: Augmentation,
        pretrained: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.network = network
        self.data_spec = problem
        self.augmentation = augmentation
        self.steps = 0
        self.finetuning = False  # which of the two stages this is
        self.encoder = self._make_encoder(pretrained)
        self.policy = self._make_policy()
        self.active: Tensor  # (7,) 1 for the action dimensions that are learnt
        self.register_buffer("active", torch.tensor(problem.action_active).float())
        self.weight: Tensor  # (7,) of the dimensions in the squared error of cloning
        self.register_buffer(
            "weight", torch.tensor(problem.action_weight).float() * self.active
        )
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.rng = BatchRng()
        self.bf16 = False
        self._half: dict[nn.Module, Bfloat16Weights] = {}  # of the encoders, for bf16
        # with these a batch's outputs depend on the mode, and a forward pass to learn from
        # cannot also be sampled from
        self.mode_dependent = network.norm == "batch" or network.dropout > 0.0

    def update(self, batch: Batch) -> Metrics:
        """Take one gradient step and return what to log."""
        self.begin_step()
        metrics = self.learn(batch)
        self.end_step()
        return metrics

    def begin_step(self) -> None:
        """Set what depends on the number of the step, such as learning rates."""

    @abc.abstractmethod
    def learn(self, batch: Batch) -> Metrics:
        """Do the step's work, all of it on the device of the batch, and return what to log.

        It may be captured once and replayed (`training/accelerate.py`), so that it neither
        waits for a value of a tensor nor changes anything but tensors.
        """

    def end_step(self) -> None:
        """Count the step."""
        self.steps += 1

    @property
    def phase(self) -> int:
        """Number of the stretch of steps in which `learn` does the same operations."""
        return 0

    @abc.abstractmethod
    def _make_optimizers(self) -> dict[str, torch.optim.Optimizer]: ...

    def _make_encoder(self, pretrained: nn.Module | None) -> nn.Module:
        return make_encoder(self.network, self.data_spec, pretrained)

    def _make_policy(self) -> nn.Module:
        return Policy(self.network, self.data_spec, self.latent, squashed=False)

    @property
    def latent(self) -> int:
        """Z, the size of what the encoder returns."""
        return int(self.encoder.latent)  # type: ignore[arg-type]

    def deployed(self) -> InferencePolicy:
        """Return the module a bundle holds; it shares this agent's weights."""
        return InferencePolicy(self.data_spec, self.encoder, self.policy)

    def prepare(self, data: Sequence[Transitions], *, finetuning: bool) -> None:
        """Take from the data of a stage what its first update needs."""

    def warning(self, metrics: dict[str, float]) -> str:
        """Return what goes wrong, judged by the mean metrics of some steps; empty if nothing."""
        return ""

    @property
    def critic_steps(self) -> int:
        """Updates that the critic has had; 0 without critic."""
        return 0

    def td_errors(self, batch: Batch) -> Tensor:
        """Return the squared TD errors of transitions without augmentation.

        Returns:
            Shape (B,); NaN without critic.
        """
        return torch.full((len(batch.task),), float("nan"))

    def start(
        self,
        device: torch.device,
        seed: int,
        *,
        bf16: bool = False,
        group: DistributedContext | None = None,
    ) -> None:
        """Move to a device, make the optimisers and seed the random numbers.

        Args:
            device: Where the agent learns.
            seed: Of everything the agent draws.
            bf16: Run the encoders in bfloat16.
            group: The processes that share a batch; None: there is one.
        """
        self.to(device)
        if device.type == "cuda":
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizers = self._make_optimizers()
        generator = torch.Generator(device).manual_seed(seed)
        self.rng = BatchRng(generator, group or DistributedContext())
        self.bf16 = bf16

    def compile_encoders(self) -> None:
        """Have the encoders compiled at their first use; weights keep values and names."""
        for child in self.children():
            if isinstance(child, (ImageEncoder, EncoderEnsemble)):
                child.compile()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds of the agent.

        Returns:
            Weights (without those of a frozen encoder), states of the optimisers and of the
            generators, and the step counter.
        """
        weights = {}
        for name, value in self.state_dict().items():
            if not self._is_frozen(name):
                weights[name] = value
        optimizers = {}
        for name, optimizer in self.optimizers.items():
            optimizers[name] = optimizer.state_dict()
        return {
            "weights": weights,
            "optimizers": optimizers,
            "draws": self.rng.state(),
            "dropout": self._dropout_generator.get_state(),
            "steps": self.steps,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned; learning rates stay as configured here."""
        weights = dict(state["weights"])
        for name, value in self.state_dict().items():
            if self._is_frozen(name):
                weights[name] = value
        self.load_state_dict(weights)
        for name, optimizer in self.optimizers.items():
            own = []
            for group in optimizer.param_groups:
                own.append({"lr": group["lr"], "capturable": group["capturable"]})
            optimizer.load_state_dict(state["optimizers"][name])
            for group, values in zip(optimizer.param_groups, own, strict=True):
                group.update(values)
        self.rng.set_state(state["draws"])
        set_generator(self._dropout_generator, state["dropout"].cpu())
        self.steps = state["steps"]

    @property
    def _dropout_generator(self) -> torch.Generator:
        """The source of dropout, which takes no generator of ours."""
        device = self.active.device
        if device.type == "cuda":
            return torch.cuda.default_generators[device.index or 0]
        return torch.default_generator

    def make_capturable(self) -> None:
        """Keep on the device what the optimisers read in a step: their rates and counts.

        A captured step then sees rates that `begin_step` changes.
        """
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["capturable"] = True
                group["lr"] = torch.tensor(float(group["lr"]), device=self.active.device)

    def _is_frozen(self, name: str) -> bool:
        return self.network.is_frozen and "encoder.network." in name

    def _augment(self, images: Tensor) -> Tensor:
        """Return network input (B, 3, H, W) from images (B, H, W, 3).

        Features (B, Z) of a frozen encoder stay as they are.
        """
        return images if images.dim() == 2 else self.augmentation(images, self.rng)

    def _one_hot(self, task: Tensor) -> Tensor:
        """Return one-hot ids (B, N) of ids (B,)."""
        # one_hot of PyTorch looks at the ids, and so waits for them
        ids = torch.arange(self.data_spec.n_tasks, device=task.device)
        return (task[:, None] == ids).float()

    def _encode(
        self, encoder: nn.Module, images: Tensor, task: Tensor, *, learn: bool = True
    ) -> Tensor:
        """Return latents.

        Args:
            encoder: One of this agent's.
            images: Shape (B, 3, H, W), in [0, 1].
            task: One-hot ids, shape (B, N).
            learn: Batch norm uses, and takes over, the statistics of this batch.
        """
        if self.mode_dependent:
            encoder.train(learn)
        if not self.bf16:
            return cast(Tensor, encoder(images, task)).float()
        if encoder not in self._half:
            self._half[encoder] = Bfloat16Weights(encoder)
        with torch.autocast(images.device.type, torch.bfloat16):
            return cast(Tensor, self._half[encoder](images, task)).float()

    def _imitation_error(self, actions: Tensor, batch: Batch) -> Tensor:
        """Return the weighted squared error of actions (B, 7), mean over dimensions and batch.

        `DataSpec.action_weight` has the weights.
        """
        return self._squared_error(actions, batch).mean()

    def _squared_error(self, actions: Tensor, batch: Batch) -> Tensor:
        """Return the weighted squared error (B,) of actions (B, 7), mean over dimensions."""
        squared = (actions - batch.actions) ** 2
        return (squared * self.weight).sum(1) / self.active.sum()

    def _decay(self, name: str, rate: float, steps: int, since: int = 0) -> None:
        """Set the learning rate of an optimiser: a cosine that falls to a tenth, then constant.

        Args:
            name: Of the optimiser.
            rate: At the start.
            steps: Length of the cosine.
            since: Step of its start.
        """
        progress = min(1.0, (self.steps - since) / steps)
        now = rate * (0.55 + 0.45 * math.cos(math.pi * progress))
        for group in self.optimizers[name].param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(now)  # a captured step reads this very tensor
            else:
                group["lr"] = now

    def _step(self, loss: Tensor, *names: str, clip: float = 0.0) -> None:
        """Step the named optimisers along the gradient of `loss`.

        Args:
            loss: A tensor of no dimensions.
            names: Of the optimisers.
            clip: Largest length of the gradient; 0: not clipped.
        """
        for name in names:
            self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        self._follow_gradients(*names, clip=clip)

    def _follow_gradients(self, *names: str, clip: float = 0.0) -> None:
        """Step the named optimisers along gradients that are there; see `_step`."""
        parameters: list[Tensor] = []
        for name in names:
            for group in self.optimizers[name].param_groups:
                parameters += group["params"]
        self.rng.context.average_gradients(parameters)
        if clip:
            nn.utils.clip_grad_norm_(parameters, clip)
        for name in names:
            self.optimizers[name].step()
        # a fused step does not count itself as a change, by which copies of weights are renewed
        torch.autograd.graph.increment_version(parameters)


def adam(parameters: Iterable[Tensor], lr: float) -> torch.optim.Adam:
    """Return Adam without weight decay, in the fused implementation."""
    return torch.optim.Adam(parameters, lr=lr, fused=True)


def learnt_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are learnt: all, or none of a frozen encoder."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def log_normal(actions: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Return the log density of every dimension of actions under a Gaussian without tanh.

    Args:
        actions: Shape (B, 7).
        mean: Shape (B, 7).
        log_std: Shape (B, 7) or (7,).

    Returns:
        Shape (B, 7).
    """
    standardized = (actions - mean) / log_std.exp()
    return -0.5 * standardized**2 - log_std - 0.5 * math.log(2 * math.pi)

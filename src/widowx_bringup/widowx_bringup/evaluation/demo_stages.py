"""The stages of the demonstration, as commands of `ptr`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .ptr_command import ptr_command

METHODS = ("ptr", "ptr-without-q", "bc", "target-only")
"""Methods that it compares; `ptr-without-q` is the checkpoint of `ptr` without its critic's say."""

CAMERA = {"width": 320, "height": 240, "camera_rate": 15.0}
"""Camera of the demonstration, smaller and slower than a real one: two cores suffice."""

Chain = list[list[str]]
"""Commands of `ptr` that run one after the other."""


@dataclass(frozen=True)
class DemoPlan:
    """Amounts of data, training and rollouts of a demonstration."""

    waits: float  # share of the gripper's changes before which the demonstrator waits
    episodes_per_task: int
    demonstrations: int  # for training; held-out ones come on top
    held_out: int
    clone_steps: int  # behaviour cloning, the warm start of PTR
    pretrain_steps: int  # on prior data, clone_steps included
    finetune_steps: int
    checkpoints: int  # of the fine-tuning, to choose from
    rollouts: int  # of each method
    max_steps: int  # longest rollout [control steps]
    real_time_factor: float


PLANS = {
    "full": DemoPlan(
        waits=0.9,
        episodes_per_task=50,
        demonstrations=10,
        held_out=4,
        clone_steps=1500,
        pretrain_steps=3000,
        finetune_steps=400,
        checkpoints=8,
        rollouts=20,
        max_steps=50,
        real_time_factor=2.5,
    ),
    "smoke": DemoPlan(
        waits=0.9,
        episodes_per_task=2,
        demonstrations=2,
        held_out=2,
        clone_steps=10,
        pretrain_steps=20,
        finetune_steps=10,
        checkpoints=2,
        rollouts=1,
        max_steps=15,
        real_time_factor=2.5,
    ),
}
"""Plans by preset."""


@dataclass
class Stage:
    """Commands of one step of the loop.

    Attributes:
        name: Its name.
        chains: Chains of commands; the chains run at the same time.
        discard: Paths that are removed before the stage starts, because an earlier run may
            have been interrupted in it.
        seconds: Time that the stage took [s].
        done: Whether it is finished.
    """

    name: str
    chains: list[Chain]
    discard: list[str] = field(default_factory=list)
    seconds: float = 0.0
    done: bool = False


def build_stages(out: Path, task: str, seed: int, plan: DemoPlan) -> list[Stage]:
    """Return the stages of the loop.

    Args:
        out: Folder of the demonstration.
        task: Name of the new task.
        seed: Seed of data, training and scenes.
        plan: Amounts.
    """
    prior, bags, target = out / "prior", out / "bags", out / "target"
    collect = ptr_command(
        "collect",
        episodes_per_task=plan.episodes_per_task,
        waits=plan.waits,
        seed=seed,
        out=prior,
    )
    record = ptr_command(
        "record",
        task=task,
        episodes=plan.demonstrations + plan.held_out,
        seed=seed,
        real_time_factor=plan.real_time_factor,
        out=bags,
    )
    for name, value in {**CAMERA, "waits": plan.waits}.items():
        record.append(f"{name}:={value}")
    export = ptr_command("export", bags, command="requested", out=target)
    evaluate = ptr_command(
        "evaluate",
        task=task,
        rollouts=plan.rollouts,
        max_steps=plan.max_steps,
        policy=[f"{method}={out / method / 'bundle'}" for method in METHODS],
        seed=seed,
        real_time_factor=plan.real_time_factor,
        out=out / "evaluation",
    )
    evaluate.append(f"camera_rate:={CAMERA['camera_rate']}")
    training = _Training(out, task, seed, plan)
    bundles = [str(out / method / "bundle") for method in METHODS]
    return [
        Stage("collect prior data", [[collect]]),
        Stage("record demonstrations", [[record]], discard=[str(bags)]),
        Stage("export", [[export]]),
        Stage("train, select, bundle", training.chains(), discard=bundles),
        Stage("evaluate", [[evaluate]]),
    ]


@dataclass(frozen=True)
class _Training:
    """Commands that train, select and bundle each method, with equal gradient steps."""

    out: Path
    task: str
    seed: int
    plan: DemoPlan

    def chains(self) -> list[Chain]:
        """Return one chain per training; on two cores the three share them."""
        warm_start = f"agent.clone_steps={self.plan.clone_steps}"
        pretrain_ptr = self._pretrain("ptr", "demo_ptr", [warm_start])
        pretrain_bc = self._pretrain("bc", "demo_bc", [])
        return [
            [pretrain_ptr, self._finetune("ptr"), *self._deploy("ptr"), self._without_q()],
            [pretrain_bc, self._finetune("bc"), *self._deploy("bc")],
            [self._train_alone(warm_start), *self._deploy("target-only")],
        ]

    def _pretrain(self, method: str, preset: str, settings: list[str]) -> list[str]:
        return ptr_command(
            "pretrain",
            config=preset,
            data=self.out / "prior",
            target_task=self.task,
            out=self.out / method / "pretrain",
            resume=True,
            steps=self.plan.pretrain_steps,
            seed=self.seed,
            set=settings,
        )

    def _finetune(self, method: str) -> list[str]:
        """Return the fine-tuning of a pre-trained method, with prior data mixed in."""
        steps = self.plan.finetune_steps
        return ptr_command(
            "finetune",
            from_=self.out / method / "pretrain",
            prior=self.out / "prior",
            target=self.out / "target",
            out=self.out / method / "finetune",
            resume=True,
            holdout=self.plan.held_out,
            steps=steps,
            set=[self._checkpoint_every(steps)],
        )

    def _train_alone(self, warm_start: str) -> list[str]:
        """Return the training on demonstrations alone, from scratch."""
        steps = self.plan.pretrain_steps + self.plan.finetune_steps
        return ptr_command(
            "finetune",
            config="demo_ptr",
            target=self.out / "target",
            out=self.out / "target-only" / "finetune",
            resume=True,
            holdout=self.plan.held_out,
            steps=steps,
            set=[self._checkpoint_every(steps), warm_start],
            seed=self.seed,
        )

    def _without_q(self) -> list[str]:
        """Return the bundle of PTR's checkpoint without the say of its critic."""
        run, bundle = self.out / "ptr" / "finetune", self.out / "ptr-without-q" / "bundle"
        return ptr_command("bundle", run, act="mode", out=bundle)

    def _checkpoint_every(self, steps: int) -> str:
        return f"finetune.checkpoint_every={max(1, steps // self.plan.checkpoints)}"

    def _deploy(self, method: str) -> Chain:
        run = self.out / method / "finetune"
        bundle = ptr_command("bundle", run, out=self.out / method / "bundle")
        return [ptr_command("select", run), bundle]

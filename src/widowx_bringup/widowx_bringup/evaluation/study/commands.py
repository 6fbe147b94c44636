"""The commands of a study's rows: what `ptr` is called with, and in which folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from widowx_bringup.evaluation import checkpoint_rates
from widowx_bringup.evaluation.ptr_command import ptr_command

from .plan import Row, StudyPlan
from .stores import camera_of, collecting

SCENE_SEED = 77
"""Distance of the seed of the scenes from that of the training."""


@dataclass(frozen=True)
class Study:
    """A plan with its data, and a seed."""

    plan: StudyPlan
    given: Mapping[str, Path]  # stores that are there; the plan's `data` makes the others
    task: str
    out: Path
    rollouts: int
    max_steps: int  # longest rollout [control steps]
    seed: int
    scene_seed: int = SCENE_SEED  # of the start scenes
    every_checkpoint: bool = False  # roll all checkpoints out, to judge the choice
    processes: int = 1  # that share the training of a row

    def run_of(self, name: str) -> Path:
        """Return the run folder of a row that others build on."""
        row = self.plan.rows[name]
        if row.deploys:
            return self.run_of(row.deploys)
        stage = row.stages[-1]
        owner = row.pretrained if row.pretrained and stage == "pretrain" else name
        return self.out / owner / stage

    def store(self, name: str) -> Path:
        """Return the folder of a store."""
        return self.given.get(name, self.out / "data" / name)

    def missing_stores(self, rows: Sequence[Row]) -> list[str]:
        """Return the names of the stores that rows need and that are still to be simulated."""
        names: dict[str, None] = {}
        for row in rows:
            names.update(dict.fromkeys(row.stores))
        return [name for name in names if not self.store(name).exists()]

    def collecting(self, name: str) -> list[str]:
        """Return the command that simulates a store."""
        options = self.plan.data[name]
        return collecting(
            name, options, task=self.task, seed=self.seed, out=self.store(name)
        )

    def commands(self, row: Row) -> list[list[str]]:
        """Return the commands of a row, in order."""
        folder = self.out / row.name
        commands = [] if row.deploys else self._train(row)
        if row.evaluate:
            bundle = ptr_command(
                "bundle",
                self.run_of(row.name),
                act=row.act or None,
                draw_gripper=row.draw_gripper,
                out=folder / "bundle",
                overwrite=True,
            )
            commands += [bundle, self._evaluate(row)]
        return commands

    def judges(self, row: Row) -> bool:
        """Return whether all checkpoints of a row are rolled out."""
        has_choice = "finetune" in row.stages and not row.deploys
        return self.every_checkpoint and row.evaluate and has_choice

    def judging(self, row: Row) -> list[list[str]]:
        """Return the command that rolls a row's checkpoints out; none if it is not wanted."""
        if not self.judges(row) or checkpoint_rates.read(self.checkpoints_of(row)):
            return []
        return [self._evaluate_checkpoints(row)]

    def _train(self, row: Row) -> list[list[str]]:
        """Return the commands that train a row and choose its checkpoint."""
        commands = []
        if "pretrain" in row.stages and not row.pretrained:
            commands.append(self._pretrain(row))
        if "finetune" in row.stages:
            commands.append(self._finetune(row))
            commands.append(ptr_command("select", self.out / row.name / "finetune"))
        return commands

    def _pretrain(self, row: Row) -> list[str]:
        return ptr_command(
            "pretrain",
            config=row.preset,
            base=self._bases(row),
            seed=self.seed,
            data=self.store(row.prior),
            target_task=None if row.retarget else self.task,
            retarget=self._retargeting(row),
            out=self.out / row.name / "pretrain",
            resume=True,
            set=self._settings(row),
        )

    def _finetune(self, row: Row) -> list[str]:
        is_pretrained = "pretrain" in row.stages
        origin = self.out / (row.pretrained or row.name) / "pretrain"
        return ptr_command(
            "finetune",
            config=None if is_pretrained else row.preset,
            base=[] if is_pretrained else self._bases(row),
            seed=None if is_pretrained else self.seed,
            from_=origin if is_pretrained else None,
            target=self.store(row.target),
            prior=self.store(row.prior) if row.mix_prior else None,
            retarget=self._retargeting(row),
            out=self.out / row.name / "finetune",
            resume=True,
            set=self._settings(row),
        )

    def _retargeting(self, row: Row) -> str | None:
        """Return the task and the known one whose id it uses; None if it has its own."""
        return f"{self.task}={row.retarget}" if row.retarget else None

    def _settings(self, row: Row) -> list[str]:
        """Return the settings of a row, with the run folders of other rows filled in."""
        runs = {name: self.run_of(name) for name in row.needs}
        return [setting.format_map(runs) for setting in row.settings]

    def _bases(self, row: Row) -> list[str]:
        """Return the presets that take the place of bases of a row's preset."""
        # Deferred: it imports PyTorch.
        from ptr_training.training.config import preset_chain

        bases = []
        for name in preset_chain(row.preset):
            if name in self.plan.bases:
                bases.append(f"{name}={self.plan.bases[name]}")
        return bases

    def _evaluate(self, row: Row) -> list[str]:
        folder = self.out / row.name
        return ptr_command(
            "evaluate",
            in_process=True,
            films=False,
            policy=f"{row.name}={folder / 'bundle'}",
            task=self.task,
            rollouts=self.rollouts,
            max_steps=self.max_steps,
            seed=self.scene_seed,
            out=folder / "evaluation",
        ) + self._camera(row)

    def _evaluate_checkpoints(self, row: Row) -> list[str]:
        return ptr_command(
            "evaluate",
            checkpoints=self.run_of(row.name),
            task=self.task,
            rollouts=self.rollouts,
            max_steps=self.max_steps,
            seed=self.scene_seed,
            out=self.checkpoints_of(row),
        ) + self._camera(row)

    def _camera(self, row: Row) -> list[str]:
        """Return where the camera stands: where the demonstrations of the row were seen from."""
        shift = camera_of(self.store(row.target))
        words = {"camera_rise": shift.rise, "camera_turn": shift.turn}
        return [f"{name}:={value:g}" for name, value in words.items() if value]

    def checkpoints_of(self, row: Row) -> Path:
        """Return the folder of what all checkpoints of a row achieve."""
        return self.out / row.name / "checkpoints"

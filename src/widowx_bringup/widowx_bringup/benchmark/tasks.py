"""The four tasks of SimplerEnv's WidowX benchmark: names, lengths, files. No simulator needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ptr_common.errors import PtrError
from ptr_common.names import did_you_mean

SCENES = 24
"""Fixed start scenes of each task, by episode id 0 … 23."""


class BenchmarkError(PtrError):
    """The benchmark cannot be run as asked."""


@dataclass(frozen=True)
class BenchmarkTask:
    """A task of the benchmark.

    Attributes:
        name: Its name here and in tables.
        environment: Its id in ManiSkill 3.
        instruction: What a policy is told.
        steps: Length of every rollout [control steps].
        info: File with sizes and densities of its objects, in `custom`.
        objects: Its movable objects, what is moved first; folders in `custom/models`.
        fixtures: Further folders in `custom/models`.
        stage: Mesh of the table, in `stages`.
        photo: Photograph behind the scene, in `real_inpainting`.
    """

    name: str
    environment: str
    instruction: str
    steps: int
    info: str
    objects: tuple[str, str]
    fixtures: tuple[str, ...] = ()
    stage: str = "bridge_table_1_v1.glb"
    photo: str = "bridge_real_eval_1.png"


TASKS = (
    BenchmarkTask(
        name="spoon",
        environment="PutSpoonOnTableClothInScene-v1",
        instruction="put the spoon on the towel",
        steps=60,
        info="info_bridge_custom_v0.json",
        objects=("bridge_spoon_generated_modified", "table_cloth_generated_shorter"),
    ),
    BenchmarkTask(
        name="carrot",
        environment="PutCarrotOnPlateInScene-v1",
        instruction="put carrot on plate",
        steps=60,
        info="info_bridge_custom_v0.json",
        objects=("bridge_carrot_generated_modified", "bridge_plate_objaverse_larger"),
    ),
    BenchmarkTask(
        name="cubes",
        environment="StackGreenCubeOnYellowCubeBakedTexInScene-v1",
        instruction="stack the green block on the yellow block",
        steps=60,
        info="info_bridge_custom_baked_tex_v0.json",
        objects=("baked_green_cube_3cm", "baked_yellow_cube_3cm"),
    ),
    BenchmarkTask(
        name="eggplant",
        environment="PutEggplantInBasketScene-v1",
        instruction="put eggplant into yellow basket",
        steps=120,
        info="info_bridge_custom_v0.json",
        objects=("eggplant", "dummy_sink_target_plane"),
        fixtures=("sink",),
        stage="bridge_table_1_v2.glb",
        photo="bridge_sink.png",
    ),
)
"""All tasks, in the order of published tables."""


def parse_tasks(names: Sequence[str]) -> list[BenchmarkTask]:
    """Return tasks by name, in the order of `TASKS`; all of them without a name.

    Raises:
        BenchmarkError: If there is no such task.
    """
    known = {task.name: task for task in TASKS}
    for name in names:
        if name not in known:
            raise BenchmarkError(f"no task {name!r}; {did_you_mean(name, known)}")
    return [task for task in TASKS if not names or task.name in names]

"""The MuJoCo model of every scene."""

from __future__ import annotations

import mujoco
import pytest

from widowx_bringup.sim.families.put import CONTAINERS, OBJECTS
from widowx_bringup.sim.scene_model import build_model


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return build_model(OBJECTS.values(), CONTAINERS.values())


@pytest.mark.parametrize("name", OBJECTS)
def test_every_object_moves_freely_and_has_its_size_and_weight(
    model: mujoco.MjModel, name: str
) -> None:
    assert model.joint(name).type[0] == mujoco.mjtJoint.mjJNT_FREE
    assert model.body(name).mass[0] == pytest.approx(0.04)
    geom = model.geom(name)
    half_size = OBJECTS[name].half_size
    if OBJECTS[name].is_cylinder:
        assert geom.type[0] == mujoco.mjtGeom.mjGEOM_CYLINDER
        assert geom.size[:2] == pytest.approx([half_size[0], half_size[2]])
    else:
        assert geom.type[0] == mujoco.mjtGeom.mjGEOM_BOX
        assert geom.size == pytest.approx(half_size)


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_is_placed_by_a_scene_and_a_tray_has_a_rim(
    model: mujoco.MjModel, name: str
) -> None:
    body = model.body(name)
    assert body.mocapid[0] >= 0
    assert body.geomnum[0] == (1 if CONTAINERS[name].is_plate else 5)


def test_fingers_and_cameras_are_those_of_the_scene(model: mujoco.MjModel) -> None:
    assert model.geom("left_pad").id != model.geom("right_pad").id
    names = [model.camera(index).name for index in range(model.ncam)]
    assert names[:2] == ["over_shoulder", "front"]

"""The MuJoCo model of every scene: the arm, the table, all objects and all containers."""

from __future__ import annotations

from typing import Any

import mujoco

from widowx_bringup.arm.kinematics import DESCRIPTION

from .tasks import CONTAINERS, OBJECTS, Container, Object

_FRICTION = [1.0, 0.01, 0.0001]  # sliding, torsional and rolling
_OBJECT_MASS = 0.04  # [kg]
_RIM_HALF_HEIGHT = 0.0045  # of a tray [m]
_RIM_HALF_THICKNESS = 0.003  # of a tray [m]


def build_model() -> mujoco.MjModel:
    """Return the one model of every scene.

    It holds every object and container; `World.reset` parks those that a scene leaves out.
    """
    spec = mujoco.MjSpec.from_file(str(DESCRIPTION / "scene.xml"))
    for item in OBJECTS.values():
        _add_object(spec, item)
    for container in CONTAINERS.values():
        _add_container(spec, container)
    return spec.compile()


def _add_object(spec: mujoco.MjSpec, item: Object) -> None:
    """Add a free body for an object, which collides with table, containers and fingers."""
    body = spec.worldbody.add_body(name=item.name)
    body.add_freejoint(name=item.name)
    if item.is_cylinder:
        shape = mujoco.mjtGeom.mjGEOM_CYLINDER
        size = [item.half_size[0], item.half_size[2], 0]
    else:
        shape = mujoco.mjtGeom.mjGEOM_BOX
        size = list(item.half_size)
    body.add_geom(
        name=item.name,
        type=shape,
        size=size,
        rgba=item.rgba,
        mass=_OBJECT_MASS,
        contype=2,
        conaffinity=3,
        condim=4,
        friction=_FRICTION,
        solref=[0.006, 1],
        solimp=[0.97, 0.99, 0.001, 0.5, 2],
    )


def _add_container(spec: mujoco.MjSpec, container: Container) -> None:
    """Add a fixed body for a container: a disc for a plate, a floor with a rim for a tray."""
    body = spec.worldbody.add_body(name=container.name, mocap=True)
    solid: dict[str, Any] = {
        "rgba": container.rgba,
        "contype": 0,
        "conaffinity": 3,
        "condim": 4,
        "friction": _FRICTION,
    }
    half = container.half_size
    half_height = container.floor / 2

    if container.is_plate:
        shape = mujoco.mjtGeom.mjGEOM_CYLINDER
        size = [half, half_height, 0]
        body.add_geom(type=shape, size=size, pos=[0, 0, half_height], **solid)
        return

    box = mujoco.mjtGeom.mjGEOM_BOX
    size = [half, half, half_height]
    body.add_geom(type=box, size=size, pos=[0, 0, half_height], **solid)

    thickness = _RIM_HALF_THICKNESS
    rim = _RIM_HALF_HEIGHT
    for sign in (-1, 1):
        offset = sign * (half + thickness)
        long_side = [thickness, half + 2 * thickness, rim]
        body.add_geom(type=box, size=long_side, pos=[offset, 0, rim], **solid)
        short_side = [half, thickness, rim]
        body.add_geom(type=box, size=short_side, pos=[0, offset, rim], **solid)

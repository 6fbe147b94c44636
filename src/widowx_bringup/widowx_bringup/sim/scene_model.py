"""The MuJoCo model of the scenes of a family: the arm, the table, its objects and containers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import mujoco
import numpy as np

from widowx_bringup.arm.kinematics import DESCRIPTION

from .families.look import Look
from .families.things import Container, Door, Object, Part

_FRICTION = [1.0, 0.01, 0.0001]  # sliding, torsional and rolling
_ROLLING_FRICTION = [1.0, 0.01, 0.002]  # of objects that can roll
_OBJECT_MASS = 0.04  # [kg]
_RIM_HALF_THICKNESS = 0.003  # of the wall of a container [m]
_TEXTURE = 64  # side of the table's texture [pixels]
_SQUARES = 6  # of two colours along a side of the table
_DOOR_HALF_THICKNESS = 0.004  # of a door and of the walls of its box [m]
_BOX_HALF_DEPTH = 0.045  # of the box behind a door [m]
_DOOR_LIMIT = np.radians(110.0)  # greatest angle of a door [rad]

_SHAPES = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
}


def build_model(
    objects: Iterable[Object],
    containers: Iterable[Container],
    look: Look | None = None,
    door: Door | None = None,
) -> mujoco.MjModel:
    """Return the one model of all scenes with these things.

    It holds every object and container; `Scene.place` parks those that a scene leaves out.

    Args:
        objects: All objects.
        containers: All containers.
        look: What the surroundings look like; None: as usual.
        door: A door, if there is one.
    """
    spec = mujoco.MjSpec.from_file(str(DESCRIPTION / "scene.xml"))
    for item in objects:
        _add_object(spec, item)
    for container in containers:
        _add_container(spec, container)
    if door is not None:
        _add_door(spec, door)
    if look is None:
        return spec.compile()
    _add_look(spec, look)
    model = spec.compile()
    look.camera.apply(model)
    return model


def _add_look(spec: mujoco.MjSpec, look: Look) -> None:
    """Change table and light, and add furniture."""
    table = spec.material("table")
    table.rgba = [*look.table, 1]
    if look.squares is not None:
        table.rgba = [1, 1, 1, 1]
        spec.add_texture(
            name="table",
            type=mujoco.mjtTexture.mjTEXTURE_2D,
            builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
            rgb1=look.table,
            rgb2=look.squares,
            width=_TEXTURE,
            height=_TEXTURE,
        )
        table.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "table"
        table.texrepeat = [_SQUARES, _SQUARES]
    light = spec.worldbody.first_light()
    light.dir = look.light
    light.diffuse = [look.brightness] * 3
    for item in look.furniture:
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=item.half_size,
            pos=item.place,
            rgba=[*item.rgb, 1],
            contype=0,
            conaffinity=0,
        )


def _add_object(spec: mujoco.MjSpec, item: Object) -> None:
    """Add a free body for an object, which collides with table, containers and fingers."""
    # Compensated weight must be in the model: MuJoCo has no pass for it otherwise.
    body = spec.worldbody.add_body(name=item.name, gravcomp=1)
    body.add_freejoint(name=item.name)
    volumes = np.array([_volume(part) for part in item.primitives])
    for number, part in enumerate(item.primitives):
        body.add_geom(
            name=f"{item.name}/{number}" if number else item.name,
            type=_SHAPES[part.shape],
            size=[*part.size, 0, 0][:3],
            pos=part.place,
            quat=_quaternion(part),
            rgba=item.rgba,
            mass=_OBJECT_MASS * volumes[number] / volumes.sum(),
            contype=2,
            conaffinity=3,
            condim=6 if item.rolls else 4,
            friction=_ROLLING_FRICTION if item.rolls else _FRICTION,
            solref=[0.006, 1],
            solimp=[0.97, 0.99, 0.001, 0.5, 2],
        )


def _volume(part: Part) -> float:
    """Return the volume of a part [m^3]."""
    size = part.size
    if part.shape == "box":
        return 8 * size[0] * size[1] * size[2]
    ball = 4 / 3 * np.pi * size[0] ** 3
    if part.shape == "sphere":
        return ball
    tube = 2 * np.pi * size[0] ** 2 * size[1]
    return tube + ball if part.shape == "capsule" else tube


def _quaternion(part: Part) -> np.ndarray:
    """Return the orientation of a part in its object as w, x, y, z."""
    quaternion = np.zeros(4)
    mujoco.mju_euler2Quat(quaternion, np.array(part.turn, dtype=float), "xyz")
    return quaternion


def _add_container(spec: mujoco.MjSpec, container: Container) -> None:
    """Add a fixed body for a container: a disc for a plate, a floor with a wall otherwise."""
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
    rim = container.wall
    for sign in (-1, 1):
        offset = sign * (half + thickness)
        long_side = [thickness, half + 2 * thickness, rim]
        body.add_geom(type=box, size=long_side, pos=[offset, 0, rim], **solid)
        short_side = [half, thickness, rim]
        body.add_geom(type=box, size=short_side, pos=[0, offset, rim], **solid)


def _add_door(spec: mujoco.MjSpec, door: Door) -> None:
    """Add a box whose front is a door on a hinge; a layout places the middle of its front."""
    box = spec.worldbody.add_body(name=door.name, mocap=True)
    solid: dict[str, Any] = {
        "type": mujoco.mjtGeom.mjGEOM_BOX,
        "contype": 0,
        "conaffinity": 3,
        "condim": 4,
        "friction": _FRICTION,
    }
    half, tall = door.width / 2, door.height / 2
    wall = _DOOR_HALF_THICKNESS
    rgba = [*(0.8 * np.array(door.rgb)), 1]
    deep = _BOX_HALF_DEPTH
    back = [2 * deep, 0, tall]
    box.add_geom(size=[wall, half, tall], pos=back, rgba=rgba, **solid)
    for sign in (-1, 1):
        side = [deep, sign * (half + wall), tall]
        box.add_geom(size=[deep, wall, tall], pos=side, rgba=rgba, **solid)
    lid = [deep, 0, door.height + wall]
    box.add_geom(size=[deep, half + 2 * wall, wall], pos=lid, rgba=rgba, **solid)

    panel = box.add_body(name=f"{door.name} panel", pos=[0, door.side * half, 0])
    panel.add_joint(
        name=door.name,
        type=mujoco.mjtJoint.mjJNT_HINGE,
        axis=[0, 0, -door.side],
        range=[0, _DOOR_LIMIT],
        damping=[0.02, 0, 0],
        frictionloss=0.04,
        armature=0.002,
    )
    rgba = [*door.rgb, 1]
    middle = -door.side * half
    size = [wall, half - 0.001, tall - 0.002]
    panel.add_geom(size=size, pos=[0, middle, tall], rgba=rgba, mass=0.15, **solid)
    if door.window is not None:
        glass = [wall + 0.001, half - 0.035, tall - 0.022]
        place = [0, middle + door.side * 0.012, tall]
        rgba = [*door.window, 1]
        panel.add_geom(size=glass, pos=place, rgba=rgba, mass=0.01, **solid)
    _add_handle(panel, door, solid)


def _add_handle(panel: mujoco.MjsBody, door: Door, solid: dict[str, Any]) -> None:
    """Add an upright handle on two brackets, which are seen only, to the panel of a door."""
    y, z = -door.side * door.grip, door.height / 2
    rgba = [*door.handle_rgb, 1]
    half = door.handle_offset / 2
    for sign in (-1, 1):
        panel.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[half, 0.005, 0.004],
            pos=[-half, y, z + sign * (door.handle_length - 0.005)],
            rgba=rgba,
            mass=0,
            contype=0,
            conaffinity=0,
        )
    panel.add_geom(
        size=[door.handle_radius, door.handle_length, 0],
        pos=[-door.handle_offset, y, z],
        rgba=rgba,
        mass=0.02,
        **{**solid, "type": mujoco.mjtGeom.mjGEOM_CYLINDER},
    )

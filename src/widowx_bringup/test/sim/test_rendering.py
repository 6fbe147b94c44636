"""Off-screen rendering: images of the scene, and machines that cannot render."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ptr_common.images import resize_area
from widowx_bringup.sim import rendering
from widowx_bringup.sim.families.family import Layout
from widowx_bringup.sim.families.put import OBJECTS
from widowx_bringup.sim.rendering import RenderingError
from widowx_bringup.sim.scene import SimulatorError
from widowx_bringup.sim.tasks import TARGET_TASK, sample_layout
from widowx_bringup.sim.world import World

CAMERA = "over_shoulder"


@pytest.fixture(scope="module")
def world() -> World:
    try:
        rendering.choose_backend()
    except RenderingError as error:
        pytest.skip(str(error))
    return World()


def test_an_image_has_the_size_and_type_asked_for(world: World) -> None:
    world.reset(sample_layout(TARGET_TASK, 1))
    image = world.render(CAMERA, 48, 64)
    assert image.shape == (48, 64, 3)
    assert image.dtype == np.uint8
    assert image.std() > 20


def test_another_world_renders_the_same_image_from_the_state_alone(world: World) -> None:
    world.reset(sample_layout(TARGET_TASK, 2))
    world.advance(0.3)
    other = World()
    other.set_state(world.state())
    np.testing.assert_array_equal(
        other.render(CAMERA, 120, 160), world.render(CAMERA, 120, 160)
    )


@pytest.mark.parametrize("camera", ["over_shoulder", "front"])
@pytest.mark.parametrize(
    "place", [(0.20, -0.05, 0.02), (0.36, 0.08, 0.02), (0.30, 0.0, 0.12)]
)
def test_a_point_lands_on_the_pixel_that_intrinsics_and_pose_say(
    world: World, camera: str, place: tuple[float, float, float]
) -> None:
    start = (0.15, 0.19, 0.25, 0.0)  # out of the way
    world.reset(Layout(TARGET_TASK, 0, {}, {}, start))
    empty = world.render(camera, 480, 640).astype(int)
    world.reset(Layout(TARGET_TASK, 0, {"red cube": (*place[:2], 0.0)}, {}, start))
    world.data.joint("red cube").qpos[:3] = place
    world.set_state(world.state())
    image = world.render(camera, 480, 640).astype(int)
    rows, columns = np.nonzero(np.abs(image - empty).max(2) > 40)
    view = rendering.camera_view(world.model, world.data, camera, 480, 640)
    assert view.K is not None
    assert view.T_base_optical is not None
    corners = place + 0.02 * np.array(list(itertools.product((-1, 1), repeat=3)))
    points = np.linalg.inv(view.T_base_optical) @ np.column_stack([corners, np.ones(8)]).T
    pixels = view.K @ points[:3]
    pixels = pixels[:2] / pixels[2]  # x to the right, y down; the middle of the first is 0
    edges = [columns.min(), columns.max(), rows.min(), rows.max()]
    expected = [*np.sort(pixels[0])[[0, -1]], *np.sort(pixels[1])[[0, -1]]]
    np.testing.assert_allclose(edges, expected, atol=1.5)


def test_parked_objects_are_not_drawn_and_the_others_are(world: World) -> None:
    layout = sample_layout(TARGET_TASK, 2)
    world.reset(layout)
    world.render(CAMERA, 48, 64)
    drawn = {name for name in OBJECTS if world.model.geom(name).group[0] < 3}
    assert drawn == set(layout.objects)


def test_every_object_is_distinct_by_colour_in_the_small_image(world: World) -> None:
    layout = sample_layout(TARGET_TASK, 1)
    start = (0.22, 0.05, 0.2, 0.0)  # out of the way
    bare = dict.fromkeys(OBJECTS, (0.28, 0.02, 0.0))
    colours = {}
    world.reset(Layout(TARGET_TASK, 0, {}, layout.containers, start))
    empty = resize_area(world.render(CAMERA, 240, 320), (64, 64)).astype(int)
    for name, place in bare.items():
        world.reset(Layout(TARGET_TASK, 0, {name: place}, layout.containers, start))
        image = resize_area(world.render(CAMERA, 240, 320), (64, 64)).astype(int)
        change = np.abs(image - empty).sum(axis=2)
        assert (change > 60).sum() >= 12, f"{name} is too small to be seen"
        colours[name] = image[np.unravel_index(change.argmax(), change.shape)]
    names = list(colours)
    for i, first in enumerate(names):
        for second in names[:i]:
            assert np.abs(colours[first] - colours[second]).max() > 40, (
                f"{first} looks like {second}"
            )


def test_an_unknown_camera_is_refused_with_the_known_ones(world: World) -> None:
    with pytest.raises(SimulatorError, match=r"no camera 'wrist'.*over_shoulder"):
        world.render("wrist", 48, 64)


def test_an_image_too_large_is_refused(world: World) -> None:
    with pytest.raises(RenderingError, match="largest image is 1280x960"):
        world.render(CAMERA, 2000, 64)


def test_a_wrong_choice_of_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "vulkan")
    with pytest.raises(RenderingError, match=r"'vulkan'.*egl.*osmesa"):
        rendering.choose_backend()


def test_missing_libraries_are_named_by_their_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(RenderingError, match=r"libegl1.*libosmesa6"):
        rendering.choose_backend()


def test_osmesa_is_used_where_egl_has_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(rendering, "_egl_devices", lambda: 0)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: f"lib{name}.so")
    assert rendering.choose_backend() == "osmesa"

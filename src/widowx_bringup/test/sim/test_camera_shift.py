"""Simulated cameras that were moved: raised, or turned about the table."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from widowx_bringup.sim import rendering
from widowx_bringup.sim.camera_shift import CameraShift, CameraShiftError
from widowx_bringup.sim.collect import main
from widowx_bringup.sim.families.sampling import CENTRE
from widowx_bringup.sim.rendering import RenderingError
from widowx_bringup.sim.tasks import TARGET_TASK, sample_layout
from widowx_bringup.sim.world import World

USUAL = World()


def view(world: World, camera: str = "over_shoulder") -> tuple[np.ndarray, np.ndarray]:
    """Return place (3,) [m] and viewing direction (3,) of a camera."""
    world.reset(sample_layout(TARGET_TASK, 0))
    found = world.data.camera(camera)
    return found.xpos.copy(), -found.xmat.reshape(3, 3)[:, 2]


def test_a_raised_camera_looks_the_same_way_from_higher_up() -> None:
    place, direction = view(USUAL)
    raised, same = view(World(shift=CameraShift(rise=0.07)))
    np.testing.assert_allclose(raised - place, [0, 0, 0.07], atol=1e-12)
    np.testing.assert_allclose(same, direction, atol=1e-12)


def test_a_turned_camera_is_as_high_and_as_far_and_looks_at_the_same_point() -> None:
    place, direction = view(USUAL)
    turned, other = view(World(shift=CameraShift(turn=15.0)))
    before, after = place[:2] - CENTRE, turned[:2] - CENTRE
    assert turned[2] == pytest.approx(place[2])
    assert np.linalg.norm(after) == pytest.approx(np.linalg.norm(before))
    angle = math.atan2(*after[::-1]) - math.atan2(*before[::-1])
    assert math.degrees(angle) == pytest.approx(15.0)
    heading = math.atan2(*other[1::-1]) - math.atan2(*direction[1::-1])
    assert math.degrees(heading) == pytest.approx(15.0)
    assert other[2] == pytest.approx(direction[2])


@pytest.mark.parametrize(
    ("shift", "reason"),
    [
        ({"rise": 0.7}, r"camera_rise 0.7 is not possible; give -0.2 to 0.5 m"),
        ({"turn": -90.0}, r"camera_turn -90 is not possible; give -60 to 60 degrees"),
        ({"turn": math.nan}, r"camera_turn nan is not possible"),
    ],
)
def test_a_camera_moved_too_far_is_refused(shift: dict[str, float], reason: str) -> None:
    with pytest.raises(CameraShiftError, match=reason):
        CameraShift(**shift)


def test_arguments_of_a_graph_say_where_the_camera_stands() -> None:
    arguments = {"camera_turn": "15", "width": "320"}
    assert CameraShift.of_arguments(arguments) == CameraShift(turn=15.0)
    with pytest.raises(CameraShiftError, match="camera_rise:=high is not a number"):
        CameraShift.of_arguments({"camera_rise": "high"})


def test_the_card_of_a_store_says_where_the_camera_stood(tmp_path: Path) -> None:
    try:
        rendering.choose_backend()
    except RenderingError as error:
        pytest.skip(str(error))
    options = ["--tasks", TARGET_TASK, "--episodes-per-task", "1", "--workers", "1"]
    options += ["--camera-size", "48x64", "--image-size", "32"]
    sources, images = [], []
    for name, more in (("usual", []), ("moved", ["--camera-rise", "0.07"])):
        assert main([*options, *more, "--out", str(tmp_path / name)]) == 0
        card = yaml.safe_load((tmp_path / name / "card.yaml").read_text())
        sources.append(card["sources"][0])
        images.append(np.load(tmp_path / name / "frames.npy"))
    assert "camera_shift" not in sources[0]
    assert sources[1]["camera_shift"] == {"rise": 0.07, "turn": 0.0}
    assert np.abs(images[0].astype(int) - images[1]).mean() > 2


def test_the_tasks_are_known_without_mujoco_whose_import_may_fail() -> None:
    code = "import sys, widowx_bringup.sim.collect; sys.exit('mujoco' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ).returncode == 0

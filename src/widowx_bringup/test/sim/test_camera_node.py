"""The executable camera node: all kinds of device, and the simulated one over real DDS."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import numpy as np
import pytest
from camera_rig import FEATURES, CameraRig

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from sensor_msgs.msg import JointState  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_common.errors import PtrError  # noqa: E402
from ptr_common.images import RawImage  # noqa: E402
from ptr_common.managed_node import to_ns, to_stamp  # noqa: E402
from ptr_common.rotation import quaternion_from_rotation  # noqa: E402
from widowx_bringup.camera.protocol import CameraError  # noqa: E402
from widowx_bringup.sim.camera_node import DEVICES, main  # noqa: E402
from widowx_bringup.sim.rendered_camera import RenderedCamera  # noqa: E402
from widowx_bringup.sim.rendering import camera_view  # noqa: E402
from widowx_bringup.sim.tasks import TARGET_TASK, sample_layout  # noqa: E402
from widowx_bringup.sim.world import World  # noqa: E402

SECOND = 1_000_000_000


def test_the_executable_offers_simulator_and_opencv_and_simulator_by_default() -> None:
    (script,) = entry_points(group="console_scripts", name="camera_node")
    assert script.load() is main
    assert list(DEVICES) == ["simulator", "opencv"]


@pytest.mark.usefixtures("ros")
def test_a_world_state_becomes_the_image_that_the_simulator_renders() -> None:
    world = World()
    world.reset(sample_layout(TARGET_TASK, 1))
    rig = CameraRig(DEVICES)
    assert rig.node.value("device") == "simulator"
    message = JointState(position=world.state().tolist())
    message.header.stamp = to_stamp(12_345_678_901)
    try:

        def arrived() -> bool:
            rig.worlds.publish(message)
            return bool(rig.images)

        rig.until(arrived)
        assert to_ns(rig.images[0].header.stamp) == 12_345_678_901
        expected = world.render("over_shoulder", FEATURES.height, FEATURES.width)
        published = RawImage.from_message(rig.images[0]).rgb().astype(int)
        assert np.abs(published - expected).mean() < 0.5
    finally:
        rig.close()
        world.close()


@pytest.mark.usefixtures("ros")
def test_the_calibration_and_the_pose_of_a_simulated_camera_are_published() -> None:
    messages = pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not built here")
    world = World()
    rig = CameraRig(DEVICES, base_frame="wx250s/base_link")
    transforms: list[Any] = []
    try:
        rig.probe.create_subscription(  # later than the transform is published
            messages.TFMessage, "/tf_static", transforms.append, qos.STATIC
        )
        message = JointState(position=world.state().tolist())
        message.header.stamp = to_stamp(SECOND)

        def arrived() -> bool:
            rig.worlds.publish(message)
            return bool(rig.infos and transforms)

        rig.until(arrived)
        view = camera_view(
            world.model, world.data, FEATURES.name, FEATURES.height, FEATURES.width
        )
        assert view.T_base_optical is not None
        np.testing.assert_allclose(rig.infos[0].k.reshape(3, 3), view.K)
        (transform,) = transforms[0].transforms
        assert transform.header.frame_id == "wx250s/base_link"
        assert transform.child_frame_id == rig.infos[0].header.frame_id
        place, turn = transform.transform.translation, transform.transform.rotation
        np.testing.assert_allclose(
            [place.x, place.y, place.z], view.T_base_optical[:3, 3], atol=1e-9
        )
        quaternion = quaternion_from_rotation(view.T_base_optical[:3, :3])
        np.testing.assert_allclose([turn.x, turn.y, turn.z, turn.w], quaternion, atol=1e-9)
        rig.until(lambda: rig.diagnostics)
        values = {value.key: value.value for value in rig.diagnostics[-1].status[0].values}
        assert values["pose"] == "/tf_static"
    finally:
        rig.close()
        world.close()


@pytest.mark.usefixtures("ros")
def test_a_delayed_image_shows_the_state_of_so_many_frames_before_its_stamp() -> None:
    world = World()
    states = []
    for seed in range(4):
        world.reset(sample_layout(TARGET_TASK, seed))
        states.append(world.state())
    rig = CameraRig(DEVICES, device="simulator", delay=2)
    try:
        rig.until(lambda: rig.worlds.get_subscription_count())
        for number, state in enumerate(states, start=1):
            message = JointState(position=state.tolist())
            message.header.stamp = to_stamp(number * SECOND)
            rig.worlds.publish(message)

            def arrived(stamp_ns: int = number * SECOND) -> bool:
                return any(to_ns(image.header.stamp) == stamp_ns for image in rig.images)

            rig.until(arrived)
        world.set_state(states[1])
        expected = world.render("over_shoulder", FEATURES.height, FEATURES.width)
        newest = RawImage.from_message(rig.images[-1]).rgb().astype(int)
        assert np.abs(newest - expected).mean() < 0.5
    finally:
        rig.close()
        world.close()


@pytest.mark.usefixtures("ros")
@pytest.mark.parametrize("delay", [-1, 31])
def test_impossible_delay_is_refused(delay: int) -> None:
    with pytest.raises(PtrError, match="parameter delay of camera_node"):
        CameraRig(DEVICES, device="simulator", delay=delay)


@pytest.mark.usefixtures("ros")
def test_unknown_kind_of_camera_is_refused_with_the_known_ones() -> None:
    with pytest.raises(PtrError, match="there are: simulator, opencv"):
        CameraRig(DEVICES, device="polaroid")


@pytest.mark.usefixtures("ros")
def test_a_camera_that_the_simulated_world_lacks_is_refused_with_those_it_has() -> None:
    with pytest.raises(
        PtrError, match="no camera 'ceiling'; there are: over_shoulder, front"
    ):
        CameraRig(DEVICES, device="simulator", camera="ceiling")


def test_without_a_world_state_there_is_no_image() -> None:
    with pytest.raises(CameraError, match="no world state on sim/world"):
        RenderedCamera(FEATURES).read_latest()

"""The camera node with a real device, over real DDS."""

from __future__ import annotations

import numpy as np
import pytest
from camera_rig import FEATURES, CameraRig

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from diagnostic_msgs.msg import DiagnosticStatus  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from ptr_common.errors import PtrError  # noqa: E402
from ptr_common.images import RawImage  # noqa: E402
from ptr_common.managed_node import to_ns  # noqa: E402
from widowx_bringup.camera.node import DEVICES  # noqa: E402

pytestmark = pytest.mark.usefixtures("ros")


def test_every_frame_of_a_device_is_published_once(video: str) -> None:
    rig = CameraRig(DEVICES, device="opencv", source=video)
    try:
        rig.until(lambda: len(rig.images) >= 20)
        stamps = [to_ns(image.header.stamp) for image in rig.images]
        assert len(set(stamps)) == len(stamps)
        redness = [
            RawImage.from_message(image).rgb()[..., 0].mean() for image in rig.images
        ]
        assert (np.diff(redness) > 0).all()
        rig.until(lambda: len(rig.infos) >= 20)
        assert (rig.infos[0].width, rig.infos[0].height) == (64, 48)
        assert rig.images[0].header.frame_id == f"{FEATURES.name}_optical_frame"
    finally:
        rig.close()


def test_a_real_camera_has_the_calibration_that_it_is_given_and_else_none(
    video: str,
) -> None:
    given = {"intrinsics": [60.0, 61.0, 31.5, 23.5], "pose": [0.1, 0.2, 0.3, 0.0, 0.0, 1.0]}
    poses = []
    for parameters in ({}, given):
        rig = CameraRig(DEVICES, device="opencv", source=video, **parameters)
        try:
            rig.until(lambda rig=rig: rig.infos and rig.diagnostics)
            info = rig.infos[0]
            values = rig.diagnostics[-1].status[0].values
            poses += [value.value for value in values if value.key == "pose"]
            expected = [60.0, 0.0, 31.5, 0.0, 61.0, 23.5, 0.0, 0.0, 1.0]
            assert info.k.tolist() == (expected if parameters else [0.0] * 9)
        finally:
            rig.close()
    assert poses[0] == "not calibrated"
    assert poses[1] != "not calibrated"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"intrinsics": [60.0, 60.0]}, r"intrinsics are \[60.0, 60.0\]; needed are fx, fy"),
        ({"intrinsics": [0.0, 1.0, 1.0, 1.0]}, "intrinsics are"),
        ({"pose": [1.0, 2.0, 3.0]}, r"pose is \[1.0, 2.0, 3.0\]; needed are x, y, z"),
    ],
)
def test_half_a_calibration_is_refused(
    video: str, parameters: dict[str, list[float]], message: str
) -> None:
    with pytest.raises(PtrError, match=message):
        CameraRig(DEVICES, device="opencv", source=video, **parameters)


def test_lost_camera_is_on_diagnostics(video: str) -> None:
    rig = CameraRig(DEVICES, source=video, rate=300.0)
    try:
        rig.until(lambda: any("has ended" in m.status[0].message for m in rig.diagnostics))
        assert rig.diagnostics[-1].status[0].level == DiagnosticStatus.ERROR
    finally:
        rig.close()


def test_unknown_kind_of_camera_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        PtrError, match=r"'polaroid' is no kind of camera; there are: opencv$"
    ):
        CameraRig(DEVICES, device="polaroid")


def test_an_inactive_camera_publishes_nothing_and_a_cleaned_up_one_takes_another_source(
    video: str,
) -> None:
    rig = CameraRig(DEVICES, device="opencv", source=video)
    try:
        rig.until(lambda: rig.images)
        rig.node.trigger_deactivate()
        published = len(rig.images)
        rig.until(
            lambda: (
                rig.diagnostics and rig.diagnostics[-1].status[0].message == "not active"
            )
        )
        assert len(rig.images) <= published + 1  # one may have been on its way
        rig.node.trigger_cleanup()
        (refused,) = rig.node.set_parameters([Parameter("rate", value=0.0)])
        assert not refused.successful
        rig.node.set_parameters([Parameter("source", value="nowhere.avi")])
        with pytest.raises(PtrError, match=r"nowhere\.avi"):
            rig.node.start()
        rig.node.set_parameters([Parameter("source", value=video)])
        rig.node.start()
        rig.until(lambda: len(rig.images) > published + 2)
    finally:
        rig.close()

"""Cameras of a graph: nodes of each driver, further cameras, and the latency of stamps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from graph_nodes import nodes_of

from widowx_bringup.camera.calibrations import (
    CameraCalibration,
    calibration_file,
    write_calibration,
)
from widowx_bringup.graph.cameras import other_cameras
from widowx_bringup.graph.environment import config_folder
from widowx_bringup.graph.spec import GraphError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibrations of this computer do not count."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.mark.parametrize("driver", ["opencv", "usb_cam", "v4l2_camera", "realsense"])
def test_images_of_every_camera_driver_are_where_the_policy_looks(driver: str) -> None:
    camera = nodes_of(
        "eval",
        use_sim="false",
        camera_driver=driver,
        video_device="/dev/v4l/by-id/x",
    )[2]
    assert camera.namespace == "wx250s/camera/over_shoulder"
    assert "/dev/v4l/by-id/x" in camera.parameters.values()
    assert driver != "realsense" or ("~/color/image_raw", "image_raw") in camera.remappings
    assert yaml.safe_load((config_folder() / camera.config).read_text())[
        f"/**/{camera.name or camera.executable}"
    ]


def test_poses_of_cameras_are_in_the_base_frame_of_their_robot() -> None:
    for node in nodes_of("record", robot_name="left", other_cameras="front"):
        if node.executable == "camera_node":
            assert node.parameters["base_frame"] == "left/base_link"


@pytest.mark.parametrize("driver", ["opencv", "usb_cam", "v4l2_camera", "realsense"])
def test_further_cameras_are_read_by_the_same_driver_recorded_and_monitored(
    driver: str,
) -> None:
    given = {
        "camera_driver": driver,
        "other_cameras": "wrist=/dev/a,side=/dev/b",
        "use_sim": "false",
    }
    nodes = nodes_of("record", **given)
    cameras = [node for node in nodes if "/camera/" in node.namespace]
    assert [node.namespace.rpartition("/")[2] for node in cameras] == [
        "over_shoulder",
        "wrist",
        "side",
    ]
    devices = {str(value) for node in cameras for value in node.parameters.values()}
    assert {"/dev/a", "/dev/b"} <= devices
    assert len({node.full_name for node in nodes}) == len(nodes)
    by_name = {node.executable: node.parameters for node in nodes}
    assert by_name["recorder_node"]["other_cameras"] == ["wrist", "side"]
    if driver != "opencv":  # ours tells its state by itself
        assert by_name["camera_monitor"]["cameras"] == ["over_shoulder", "wrist", "side"]


@pytest.mark.parametrize(
    ("others", "use_sim", "message"),
    [
        ("wrist", "false", "wrist=/dev/v4l/by-id/"),
        ("over_shoulder=/dev/a", "false", "is camera:= already"),
        ("a=/dev/a,a=/dev/b", "true", "a different name of"),
        ("the wrist", "true", "letters, digits and _; found 'the wrist'"),
    ],
)
def test_impossible_further_cameras_are_refused(
    others: str, use_sim: str, message: str
) -> None:
    with pytest.raises(GraphError, match=message):
        nodes_of("record", other_cameras=others, use_sim=use_sim)


def test_devices_of_further_cameras_may_be_missing() -> None:
    assert other_cameras("wrist=/dev/a, side") == {"wrist": "/dev/a", "side": ""}
    assert other_cameras("") == {}


def latencies(name: str, **given: str) -> dict[str, Any]:
    nodes = nodes_of(name, **given)
    return {
        node.executable: node.parameters["camera_latency"]
        for node in nodes
        if "camera_latency" in node.parameters
    }


def test_latency_of_a_real_camera_is_what_was_calibrated_and_reaches_policy_and_recorder() -> (
    None
):
    assert latencies("eval", use_sim="false") == {
        "policy_node": 0.0,
        "recorder_node": [0.0],
    }
    write_calibration("over_shoulder", CameraCalibration(0.08), calibration_file())
    write_calibration("wrist", CameraCalibration(0.03), calibration_file())
    assert latencies("eval", use_sim="false") == {
        "policy_node": 0.08,
        "recorder_node": [0.08],
    }
    front = {"camera": "front", "autostart": "false"}  # a bundle of that camera comes later
    assert latencies("eval", use_sim="false", **front) == {
        "policy_node": 0.0,
        "recorder_node": [0.0],
    }
    both = {"use_sim": "false", "other_cameras": "wrist=/dev/v4l/by-id/y"}
    assert latencies("eval", **both) == {"policy_node": 0.08, "recorder_node": [0.08, 0.03]}
    assert latencies("record", **both, camera_latency="0.5") == {
        "recorder_node": [0.5, 0.03]
    }


def test_what_was_calibrated_never_corrects_a_simulated_camera() -> None:
    write_calibration("over_shoulder", CameraCalibration(0.08), calibration_file())
    assert latencies("eval") == {"policy_node": 0.0, "recorder_node": [0.0]}
    assert latencies("eval", camera_latency="0.1", camera_delay="3") == {
        "policy_node": 0.1,
        "recorder_node": [0.1],
    }


def test_only_the_images_the_policy_sees_are_delayed() -> None:
    nodes = nodes_of("record", camera_delay="3", other_cameras="front")
    delays = {
        node.parameters["camera"]: node.parameters["delay"]
        for node in nodes
        if node.executable == "camera_node"
    }
    assert delays == {"over_shoulder": 3, "front": 0}


def test_replay_takes_the_latency_that_the_bag_was_recorded_with(tmp_path: Path) -> None:
    custom = {"cameras": "front,over_shoulder", "camera_latency": "0.02,0.08"}
    described = {"rosbag2_bagfile_information": {"custom_data": custom}}
    (tmp_path / "metadata.yaml").write_text(yaml.safe_dump(described))
    assert latencies("replay", bag=str(tmp_path)) == {"policy_node": 0.08}
    assert latencies("replay", bag=str(tmp_path), camera_latency="0") == {
        "policy_node": 0.0
    }
    assert latencies("replay", bag="nowhere") == {"policy_node": 0.0}
    described["rosbag2_bagfile_information"]["custom_data"] = {
        **custom,
        "camera_latency": "0.02,x",
    }
    (tmp_path / "metadata.yaml").write_text(yaml.safe_dump(described))
    with pytest.raises(
        GraphError,
        match="camera_latency is 'x'; allowed are 0 to 1 s; set camera_latency:=",
    ):
        latencies("replay", bag=str(tmp_path))

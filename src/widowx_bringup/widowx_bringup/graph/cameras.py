"""Cameras of a graph: their nodes for each driver, and the latency of their stamps."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ptr_common.action_space import BASE_FRAME
from ptr_common.documents import parse_yaml
from ptr_common.stamps import CameraLatencyError, camera_latency, recorded_latency
from ptr_common.topics import robot_frame
from widowx_bringup.camera.calibrations import read_calibration
from widowx_bringup.camera.protocol import TOPIC_WORLD

from .spec import BRINGUP, GraphError, NodeSpec, join_names

CAMERA_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def _camera_node(
    values: Mapping[str, str],
    remappings: tuple[tuple[str, str], ...] = (),
    **parameters: Any,
) -> NodeSpec:
    """Return a camera node of this system."""
    all_parameters = {
        **camera_parameters(values),
        "rate": float(values["camera_rate"]),
        "autostart": values["autostart"] == "true",
        "base_frame": robot_frame(values["robot_name"], BASE_FRAME),
        **parameters,
    }
    return _ros_camera(BRINGUP, "camera_node", values, remappings, **all_parameters)


def _ros_camera(
    package: str,
    executable: str,
    values: Mapping[str, str],
    remappings: tuple[tuple[str, str], ...] = (),
    **parameters: Any,
) -> NodeSpec:
    """Return a camera node in the namespace that makes its relative topics those of the system."""
    return NodeSpec(
        package,
        executable,
        config="cameras.yaml",
        parameters=parameters,
        remappings=remappings,
        namespace=f"camera/{values['camera']}",
        name="" if package == BRINGUP else package,
    )


def _opencv(values: Mapping[str, str]) -> NodeSpec:
    return _camera_node(values, device="opencv", source=values["video_device"] or "0")


def _usb_cam(values: Mapping[str, str]) -> NodeSpec:
    return _ros_camera(
        "usb_cam",
        "usb_cam_node_exe",
        values,
        video_device=values["video_device"] or "/dev/video0",
        image_width=int(values["width"]),
        image_height=int(values["height"]),
        framerate=float(values["camera_rate"]),
        frame_id=f"{values['camera']}_optical_frame",
    )


def _v4l2_camera(values: Mapping[str, str]) -> NodeSpec:
    return _ros_camera(
        "v4l2_camera",
        "v4l2_camera_node",
        values,
        video_device=values["video_device"] or "/dev/video0",
        image_size=[int(values["width"]), int(values["height"])],
        time_per_frame=[1, round(float(values["camera_rate"]))],
        camera_frame_id=f"{values['camera']}_optical_frame",
    )


def _realsense(values: Mapping[str, str]) -> NodeSpec:
    rate = round(float(values["camera_rate"]))
    parameters = {
        "serial_no": values["video_device"],
        "rgb_camera.color_profile": f"{values['width']}x{values['height']}x{rate}",
    }
    # The topics are private to the node.
    remappings = (
        ("~/color/image_raw", "image_raw"),
        ("~/color/camera_info", "camera_info"),
    )
    return _ros_camera(
        "realsense2_camera", "realsense2_camera_node", values, remappings, **parameters
    )


CAMERA_DRIVERS: dict[str, Callable[[Mapping[str, str]], NodeSpec]] = {
    "opencv": _opencv,
    "usb_cam": _usb_cam,
    "v4l2_camera": _v4l2_camera,
    "realsense": _realsense,
}
"""Drivers of real cameras; all publish the topics of `image_topic` and `camera_info_topic`."""


def other_cameras(text: str) -> dict[str, str]:
    """Return the cameras of the argument `other_cameras`.

    Args:
        text: "NAME=DEVICE,NAME=DEVICE"; devices may be missing.

    Returns:
        The device of each camera by its name.

    Raises:
        ValueError: If a name cannot be part of a topic or occurs twice.
    """
    devices: dict[str, str] = {}
    for entry in text.split(","):
        if not entry:
            continue
        name, _, device = entry.strip().partition("=")
        if not CAMERA_NAME.fullmatch(name) or name in devices:
            raise ValueError(
                "each camera needs a different name of letters, digits and _; "
                f"found {name!r}"
            )
        devices[name] = device
    return devices


def camera_parameters(values: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters of every node that uses the camera: name, width and height [pixels]."""
    return {
        "camera": values["camera"],
        "width": int(values["width"]),
        "height": int(values["height"]),
    }


def latency(values: Mapping[str, str]) -> float:
    """Return the latency of `camera` [s]: header stamp minus time of exposure.

    Raises:
        GraphError: If the bag to play has an impossible latency.
    """
    if values["camera_latency"] != "auto":
        return camera_latency(values["camera_latency"])
    if "bag" in values:
        return _latency_of_bag(Path(values["bag"]), values["camera"])
    if values["use_sim"] == "true":
        return 0.0
    calibration = read_calibration(values["camera"])
    return calibration.latency if calibration else 0.0


def _latency_of_bag(bag: Path, camera: str) -> float:
    """Return the latency that a bag has for a camera [s].

    It is 0 for a folder that is no bag; the player refuses that folder.
    """
    try:
        metadata = parse_yaml((bag / "metadata.yaml").read_bytes())
        custom = metadata["rosbag2_bagfile_information"].get("custom_data") or {}
        return recorded_latency(custom, camera)
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return 0.0
    except CameraLatencyError as error:
        raise GraphError(f"{bag}: {error}; set camera_latency:=…") from error


def each_camera(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the arguments of each camera, the policy's camera first.

    Raises:
        GraphError: If a further camera has the name of the policy's camera.
    """
    others = other_cameras(values["other_cameras"])
    if values["camera"] in others:
        raise GraphError(
            f"other_cameras:={values['other_cameras']} names {values['camera']}, "
            "which is camera:= already"
        )
    cameras = [dict(values)]
    for name, device in others.items():
        camera = {
            **values,
            "camera": name,
            "video_device": device,
            "camera_latency": "auto",
            "camera_delay": "0",
        }
        cameras.append(camera)
    return cameras


def simulated_cameras(values: Mapping[str, str]) -> list[NodeSpec]:
    """Return the nodes that render the images of the simulated cameras."""
    world_topic = "/" + join_names(values["robot_name"], TOPIC_WORLD)
    nodes = []
    for camera in each_camera(values):
        node = _camera_node(
            camera,
            remappings=((TOPIC_WORLD, world_topic),),
            device="simulator",
            delay=int(camera["camera_delay"]),
            rise=float(camera["camera_rise"]),
            turn=float(camera["camera_turn"]),
        )
        nodes.append(node)
    return nodes


def real_cameras(values: Mapping[str, str]) -> list[NodeSpec]:
    """Return the nodes of the real cameras, and a monitor where their driver reports no state.

    Raises:
        GraphError: If a further camera has no device.
    """
    cameras = each_camera(values)
    for camera in cameras[1:]:
        if not camera["video_device"]:
            raise GraphError(
                f"other_cameras:={values['other_cameras']} names no device; "
                f"write {camera['camera']}=/dev/v4l/by-id/…"
            )
    make_node = CAMERA_DRIVERS[values["camera_driver"]]
    nodes = [make_node(camera) for camera in cameras]
    if values["camera_driver"] != "opencv":
        parameters = {
            "cameras": [camera["camera"] for camera in cameras],
            "rate": float(values["camera_rate"]),
        }
        nodes.append(NodeSpec(BRINGUP, "camera_monitor", parameters=parameters))
    return nodes

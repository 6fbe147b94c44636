"""The cameras of a graph: their nodes, whichever driver reads them, their arguments, and by how much they are late."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ptr_common.camera_latency import CameraLatencyError, camera_latency, recorded_latency
from widowx_bringup.camera.calibrations import read_calibration
from widowx_bringup.camera.protocol import TOPIC_WORLD

from .spec import BRINGUP, Argument, GraphError, NodeSpec


def _camera_node(
    values: Mapping[str, str],
    remappings: tuple[tuple[str, str], ...] = (),
    **parameters: Any,
) -> NodeSpec:
    rate, autostart = float(values["camera_rate"]), values["autostart"] == "true"
    everything = {
        **camera_parameters(values),
        "rate": rate,
        "autostart": autostart,
        **parameters,
    }
    return _ros_camera(BRINGUP, "camera_node", values, remappings, **everything)


def _ros_camera(
    package: str,
    executable: str,
    values: Mapping[str, str],
    remappings: tuple[tuple[str, str], ...] = (),
    **parameters: Any,
) -> NodeSpec:
    """Return a camera node in the namespace where its relative topics are those of `image_topic`."""
    name = "" if package == BRINGUP else package
    space = f"camera/{values['camera']}"
    return NodeSpec(
        package, executable, "cameras.yaml", parameters, remappings, space, name=name
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
    profile = f"{values['width']}x{values['height']}x{round(float(values['camera_rate']))}"
    remappings = tuple(
        (f"~/color/{topic}", topic) for topic in ("image_raw", "camera_info")
    )  # private to the node
    camera = {"serial_no": values["video_device"], "rgb_camera.color_profile": profile}
    return _ros_camera(
        "realsense2_camera", "realsense2_camera_node", values, remappings, **camera
    )


CAMERA_DRIVERS = {
    "opencv": _opencv,
    "usb_cam": _usb_cam,
    "v4l2_camera": _v4l2_camera,
    "realsense": _realsense,
}
"""Ways to read a real camera; all of them publish the topics of `image_topic` and `camera_info_topic`."""


def other_cameras(text: str) -> dict[str, str]:
    """Return names and devices of the cameras in the argument `other_cameras`, "NAME=DEVICE,NAME=DEVICE".

    Raises:
        ValueError: If a name cannot be part of a topic or occurs twice.
    """
    found: dict[str, str] = {}
    for one in filter(None, text.split(",")):
        name, _, device = one.strip().partition("=")
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name in found:
            raise ValueError(
                f"each camera needs a name of its own made of letters, digits and _; found {name!r}"
            )
        found[name] = device
    return found


def _auto_or_latency(text: str) -> float:
    return 0.0 if text == "auto" else camera_latency(text)


LATENCY = Argument(
    "camera_latency",
    "by how much the camera's stamps are late [s]; auto: of a real camera what `ptr calibrate camera` stored, 0 where "
    "it never ran; of a simulated one 0; of a bag what it says",
    "auto",
    kind=_auto_or_latency,
)
DELAY = Argument(
    "camera_delay",
    "frames by which the simulated camera's pictures are late, 0 to 30",
    "0",
    kind=int,
)


def camera_parameters(values: Mapping[str, str]) -> dict[str, Any]:
    """Return what every node that concerns the camera is told of it."""
    return {
        "camera": values["camera"],
        "width": int(values["width"]),
        "height": int(values["height"]),
    }


def latency(values: Mapping[str, str]) -> float:
    """Return by how much the stamps of `camera` are late [s]."""
    if values["camera_latency"] != "auto":
        return camera_latency(values["camera_latency"])
    if "bag" in values:
        return _latency_of_bag(Path(values["bag"]), values["camera"])
    stored = read_calibration(values["camera"]) if values["use_sim"] == "false" else None
    return stored.latency if stored else 0.0


def _latency_of_bag(bag: Path, camera: str) -> float:
    """Return the latency that a bag says a camera had [s]; 0 where it is no bag, which its player will say."""
    try:
        described = yaml.safe_load((bag / "metadata.yaml").read_text(encoding="utf-8"))
        custom = described["rosbag2_bagfile_information"].get("custom_data") or {}
        return recorded_latency(custom, camera)
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return 0.0
    except CameraLatencyError as error:
        raise GraphError(f"{bag}: {error}; say it with camera_latency:=…") from error


def each_camera(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the arguments of each camera, the one the policy looks through first."""
    others = other_cameras(values["other_cameras"])
    if values["camera"] in others:
        raise GraphError(
            f"other_cameras:={values['other_cameras']} names {values['camera']}, which is camera:= already"
        )
    theirs = {"camera_latency": "auto", "camera_delay": "0"}
    cameras = [
        {**values, **theirs, "camera": name, "video_device": device}
        for name, device in others.items()
    ]
    return [dict(values), *cameras]


def simulated_cameras(values: Mapping[str, str]) -> list[NodeSpec]:
    """Return the nodes that draw what the simulated world's cameras see."""
    world = "/" + "/".join(filter(None, (*values["robot_name"].split("/"), TOPIC_WORLD)))
    return [
        _camera_node(
            camera,
            ((TOPIC_WORLD, world),),
            device="simulator",
            delay=int(camera["camera_delay"]),
        )
        for camera in each_camera(values)
    ]


def real_cameras(values: Mapping[str, str]) -> list[NodeSpec]:
    """Return the nodes that read the real cameras, and what tells their state where their driver does not.

    Raises:
        GraphError: If a further camera has no device.
    """
    cameras = each_camera(values)
    for camera in cameras[1:]:
        if not camera["video_device"]:
            raise GraphError(
                f"other_cameras:={values['other_cameras']} names no device; {camera['camera']}=/dev/v4l/by-id/…"
            )
    nodes = [CAMERA_DRIVERS[values["camera_driver"]](camera) for camera in cameras]
    if values["camera_driver"] == "opencv":
        return nodes
    watched = {
        "cameras": [camera["camera"] for camera in cameras],
        "rate": float(values["camera_rate"]),
    }
    return [*nodes, NodeSpec(BRINGUP, "camera_monitor", parameters=watched)]

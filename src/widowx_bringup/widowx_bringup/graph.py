"""Which nodes run, with which parameters and remappings: described once, as data.

`launch/*.launch.py` turns it into `launch_ros` actions, `processes.py` into processes where `launch` is not installed.
Values that several nodes share are arguments here; what concerns one node alone is in `config/*.yaml`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from ptr_policy_node.spec import (
    TOPIC_COMMAND,
    TOPIC_EXECUTED,
    CameraLatencyError,
    PtrError,
    camera_latency,
    recorded_latency,
)

from . import urdf
from .calibrations import read_calibration
from .camera import TOPIC_WORLD

BRINGUP, POLICY = "widowx_bringup", "ptr_policy_node"

PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"
"""Variable that names the file of Fast DDS's settings."""


class GraphError(PtrError):
    """The graph asked for does not exist or an argument has an impossible value."""


@dataclass(frozen=True)
class Argument:
    """One launch argument. Values are text, as on the command line."""

    name: str
    description: str
    default: str | None = None  # None: must be given
    choices: tuple[str, ...] = ()
    kind: Callable[[str], object] = str  # raises ValueError for a text that cannot be its value

    def check(self, value: str) -> None:
        """Raise GraphError if `value` is impossible."""
        if self.choices and value not in self.choices:
            raise GraphError(f"{self.name}:={value} is not possible; choose from: {', '.join(self.choices)}")
        try:
            self.kind(value)
        except ValueError as error:
            raise GraphError(f"{self.name}:={value} is not possible ({self.description}): {error}") from error


@dataclass(frozen=True)
class NodeSpec:
    """One node to start."""

    package: str
    executable: str
    config: str = ""  # file below config/; empty: the node has none
    parameters: Mapping[str, Any] = field(default_factory=dict)  # on top of the file's
    remappings: tuple[tuple[str, str], ...] = ()
    namespace: str = ""
    grace: float = 6.0  # longest time it may take to end [s]
    name: str = ""  # where it is not the executable's

    @property
    def reports(self) -> bool:
        """Whether the node is one of ours, which all put their state on /diagnostics."""
        return self.package in (BRINGUP, POLICY) and self.executable != "driver_keeper"

    @property
    def full_name(self) -> str:
        """The node's name in the ROS graph."""
        return "/".join(["", *filter(None, self.namespace.split("/")), self.name or self.executable])


@dataclass(frozen=True)
class Graph:
    """A set of nodes that run together.

    Attributes:
        name: What `ptr up` calls it.
        description: One sentence.
        arguments: Everything that can be chosen.
        nodes: Makes the nodes from a complete set of values.
    """

    name: str
    description: str
    arguments: tuple[Argument, ...]
    nodes: Callable[[Mapping[str, str]], list[NodeSpec]]

    def resolve(self, given: Mapping[str, str]) -> dict[str, str]:
        """Complete the values given with the defaults.

        Raises:
            GraphError: If an argument is unknown, missing or not one of its choices.
        """
        known = {argument.name: argument for argument in self.arguments}
        for name in given:
            if name not in known:
                raise GraphError(f"{self.name} has no argument {name!r}; there are: {', '.join(known)}")
        values = {name: given.get(name, argument.default) for name, argument in known.items()}
        for name, value in values.items():
            if value is None:
                raise GraphError(f"{self.name} needs {name}:=…  ({known[name].description})")
            known[name].check(value)
        return {name: value for name, value in values.items() if value is not None}


def _camera_node(
    values: Mapping[str, str], remappings: tuple[tuple[str, str], ...] = (), **parameters: Any
) -> NodeSpec:
    rate, autostart = float(values["camera_rate"]), values["autostart"] == "true"
    everything = {**_camera(values), "rate": rate, "autostart": autostart, **parameters}
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
    return NodeSpec(package, executable, "cameras.yaml", parameters, remappings, space, name=name)


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
    remappings = tuple((f"~/color/{topic}", topic) for topic in ("image_raw", "camera_info"))  # private to the node
    camera = {"serial_no": values["video_device"], "rgb_camera.color_profile": profile}
    return _ros_camera("realsense2_camera", "realsense2_camera_node", values, remappings, **camera)


CAMERA_DRIVERS = {"opencv": _opencv, "usb_cam": _usb_cam, "v4l2_camera": _v4l2_camera, "realsense": _realsense}
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
            raise ValueError(f"each camera needs a name of its own made of letters, digits and _; found {name!r}")
        found[name] = device
    return found


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError("it must be positive")
    return value


def _auto_or_latency(text: str) -> float:
    return 0.0 if text == "auto" else camera_latency(text)


LATENCY = Argument(
    "camera_latency",
    "by how much the camera's stamps are late [s]; auto: of a real camera what `ptr calibrate camera` stored, 0 where "
    "it never ran; of a simulated one 0; of a bag what it says",
    "auto",
    kind=_auto_or_latency,
)
BOOLEAN = ("true", "false")
SHARED = (
    Argument("use_sim", "simulated arm, cameras and time instead of the real ones", "true", BOOLEAN),
    Argument("robot_name", "namespace of all nodes", "wx250s"),
    Argument("camera", "name of the camera the policy looks through", "over_shoulder"),
    Argument("width", "its picture width [pixels]", "640", kind=int),
    Argument("height", "its picture height [pixels]", "480", kind=int),
    Argument("camera_rate", "its pictures per second [Hz]", "30.0", kind=_positive),
    Argument(
        "other_cameras",
        "further cameras to record, of the same size and rate: NAME=DEVICE,NAME=DEVICE; in simulation NAME,NAME",
        "",
        kind=other_cameras,
    ),
    LATENCY,
    Argument("autostart", "whether arm, cameras and policy are configured and activated at once", "true", BOOLEAN),
    Argument("real_time_factor", "simulated seconds per second of real time", "1.0", kind=_positive),
    Argument("bag_directory", "folder that receives one bag per episode", "bags"),
)
POLICY_ARGUMENTS = (
    Argument("policy", "bundle folder of the policy"),
    Argument("task", "task where the START of an episode names none", ""),
)
DISTURBANCE = Argument(
    "disturbance", "noise of the simulated arm, a part of its longest step: demonstrations show how to recover", "0.15"
)
URDF = Argument(
    "urdf",
    "whether RViz learns how the simulated arm looks, as from the real driver; auto: if Interbotix's URDF is there",
    "auto",
    ("auto", "true", "false"),
)
DELAY = Argument("camera_delay", "frames by which the simulated camera's pictures are late, 0 to 30", "0", kind=int)
REAL = (
    Argument("robot_model", "kind of real arm", "wx250s", ("wx250s",)),
    Argument("start_driver", "whether to start Interbotix's driver as well", "true", BOOLEAN),
    Argument("motor_configs", "the driver's file of servos; empty: Interbotix's own", ""),
    Argument("load_configs", "whether the driver writes that file to the servos' EEPROM", "true", BOOLEAN),
    Argument("camera_driver", "what reads the real camera", "opencv", tuple(CAMERA_DRIVERS)),
    Argument("video_device", "the real camera: /dev/v4l/by-id/…, of realsense its serial number; empty: the first", ""),
)
"""Arguments of the real arm and its camera; where Interbotix has them too, they have its names."""

TELEOP_DEVICES = ("gamepad", "spacemouse", "leader")
TELEOP = Argument(
    "teleop",
    "who demonstrates: a script (simulation only), a person, or nobody here (run `ptr teleop` beside it); auto: as the "
    "arm is, scripted or none",
    "auto",
    ("auto", "scripted", "none", *TELEOP_DEVICES),
)
DEMONSTRATED = Argument("demonstrated", "name of the task that a person shows", "")
RECORD = Argument("record", "whether every episode becomes a bag", "true", BOOLEAN)


def _camera(values: Mapping[str, str]) -> dict[str, Any]:
    return {"camera": values["camera"], "width": int(values["width"]), "height": int(values["height"])}


def _latency(values: Mapping[str, str]) -> float:
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


def _world(values: Mapping[str, str]) -> list[NodeSpec]:
    """Return arm and camera."""
    return _simulated(values) if values["use_sim"] == "true" else _real(values)


def _each_camera(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the arguments of each camera, the one the policy looks through first."""
    others = other_cameras(values["other_cameras"])
    if values["camera"] in others:
        raise GraphError(
            f"other_cameras:={values['other_cameras']} names {values['camera']}, which is camera:= already"
        )
    theirs = {"camera_latency": "auto", "camera_delay": "0"}
    cameras = [{**values, **theirs, "camera": name, "video_device": device} for name, device in others.items()]
    return [dict(values), *cameras]


def _real(values: Mapping[str, str]) -> list[NodeSpec]:
    driver = NodeSpec(BRINGUP, "driver_keeper", parameters={"command": _driver_command(values)}, grace=45.0)
    arm = {"device": "interbotix", "camera": values["camera"], "autostart": values["autostart"] == "true"}
    cameras = _each_camera(values)
    for camera in cameras[1:]:
        if not camera["video_device"]:
            raise GraphError(
                f"other_cameras:={values['other_cameras']} names no device; {camera['camera']}=/dev/v4l/by-id/…"
            )
    return [
        *([driver] if values["start_driver"] == "true" else []),
        NodeSpec(BRINGUP, "arm_node", "arm.yaml", arm, grace=25.0),
        *(CAMERA_DRIVERS[values["camera_driver"]](camera) for camera in cameras),
        *([] if values["camera_driver"] == "opencv" else [_camera_monitor(values, cameras)]),
    ]


def _camera_monitor(values: Mapping[str, str], cameras: list[dict[str, str]]) -> NodeSpec:
    """Return what tells the state of cameras whose drivers do not."""
    watched = {"cameras": [camera["camera"] for camera in cameras], "rate": float(values["camera_rate"])}
    return NodeSpec(BRINGUP, "camera_monitor", parameters=watched)


def _driver_command(values: Mapping[str, str]) -> list[str]:
    names = ("robot_model", "robot_name", "load_configs", *(["motor_configs"] if values["motor_configs"] else []))
    given = [f"{name}:={values[name]}" for name in names]
    modes = f"mode_configs:={config_folder() / 'interbotix_modes.yaml'}"
    return ["ros2", "launch", "interbotix_xsarm_control", "xsarm_control.launch.py", *given, modes, "use_rviz:=false"]


def _simulated(values: Mapping[str, str]) -> list[NodeSpec]:
    rate = float(values["camera_rate"])
    simulation = {
        "real_time_factor": float(values["real_time_factor"]),
        "world_rate": rate,
        "camera": values["camera"],
        "resume_on_start": True,
        "disturbance": float(values.get("disturbance", "0.0")),
        "autostart": values["autostart"] == "true",
    }
    world = "/" + "/".join(filter(None, (*values["robot_name"].split("/"), TOPIC_WORLD)))
    drawn = [
        _camera_node(camera, ((TOPIC_WORLD, world),), device="simulator", delay=int(camera["camera_delay"]))
        for camera in _each_camera(values)
    ]
    return [NodeSpec(BRINGUP, "simulation", "arm.yaml", simulation), *drawn, *_look(values)]


def _look(values: Mapping[str, str]) -> list[NodeSpec]:
    """Return what turns joint states into frames and offers the arm's URDF."""
    missing = urdf.missing()
    if values["urdf"] == "false" or (values["urdf"] == "auto" and missing):
        return []
    if missing:
        raise GraphError(f"urdf:=true needs packages that are not installed here: {', '.join(missing)}")
    description = urdf.robot_description(values["robot_name"])
    return [NodeSpec(urdf.PUBLISHER, urdf.PUBLISHER, parameters={"robot_description": description})]


def _policy(values: Mapping[str, str], remappings: tuple[tuple[str, str], ...] = ()) -> NodeSpec:
    parameters = {
        "bundle": str(Path(values["policy"]).absolute()),
        **_camera(values),
        "camera_latency": _latency(values),
        "task": values["task"],
        "autostart": values.get("autostart", "true") == "true",
    }
    return NodeSpec(POLICY, "policy_node", "policy.yaml", parameters, remappings)


def _recorder(values: Mapping[str, str]) -> NodeSpec:
    parameters: dict[str, Any] = {
        "directory": str(Path(values["bag_directory"]).absolute()),
        "camera": values["camera"],
        "camera_latency": [_latency(camera) for camera in _each_camera(values)],
    }
    if others := list(other_cameras(values["other_cameras"])):
        parameters["other_cameras"] = others
    return NodeSpec(BRINGUP, "recorder_node", "recorder.yaml", parameters)


def _placed(nodes: list[NodeSpec], values: Mapping[str, str], use_sim_time: bool) -> list[NodeSpec]:
    """Return the nodes in their namespace and on their clock."""
    return [
        replace(
            node,
            parameters={**node.parameters, "use_sim_time": use_sim_time},
            namespace="/".join(filter(None, (values["robot_name"], node.namespace))),
        )
        for node in nodes
    ]


def _eval_nodes(values: Mapping[str, str]) -> list[NodeSpec]:
    nodes = [*_world(values), _policy(values)]
    if values["record"] == "true":
        nodes.append(_recorder(values))
    return _placed(nodes, values, values["use_sim"] == "true")


def _record_nodes(values: Mapping[str, str]) -> list[NodeSpec]:
    simulated, teleop = values["use_sim"] == "true", values["teleop"]
    scripted = teleop == "scripted" or (teleop == "auto" and simulated)
    if scripted and not simulated:
        raise GraphError("teleop:=scripted knows the simulated scene only; choose none, and run `ptr teleop` beside it")
    disturbance = values["disturbance"] if scripted else "0.0"  # a person errs enough
    nodes = [*_world({**values, "disturbance": disturbance}), _recorder(values)]
    if scripted:
        nodes.append(NodeSpec(BRINGUP, "scripted_teleop", parameters={"camera": values["camera"]}))
    elif teleop in TELEOP_DEVICES:
        nodes += _person(values)
    return _placed(nodes, values, values["use_sim"] == "true")


def _person(values: Mapping[str, str]) -> list[NodeSpec]:
    """Return teleoperation by a device, and the driver of the device where it has one of its own."""
    if not values["demonstrated"]:
        raise GraphError(f"teleop:={values['teleop']} needs demonstrated:=…, the name of the task that is shown")
    parameters = {"device": values["teleop"], "camera": values["camera"], "task": values["demonstrated"]}
    teleop = NodeSpec(BRINGUP, "teleop_node", parameters=parameters)
    joy = NodeSpec("joy", "joy_node", parameters={"autorepeat_rate": 20.0})
    return [joy, teleop] if values["teleop"] == "gamepad" else [teleop]


def _replay_nodes(values: Mapping[str, str]) -> list[NodeSpec]:
    player = {"bag": str(Path(values["bag"]).absolute()), "rate": float(values["rate"]), "camera": values["camera"]}
    away_from_the_arm = ((TOPIC_COMMAND, "replay/command"), (TOPIC_EXECUTED, "replay/executed"))
    nodes = [NodeSpec(BRINGUP, "bag_player", "player.yaml", player), _policy(values, away_from_the_arm)]
    return _placed(nodes, values, True)


_BY_NAME = {argument.name: argument for argument in SHARED}

GRAPHS = {
    graph.name: graph
    for graph in (
        Graph(
            "eval",
            "arm, camera, policy and recorder",
            (*POLICY_ARGUMENTS, *SHARED, RECORD, URDF, DELAY, *REAL),
            _eval_nodes,
        ),
        Graph(
            "record",
            "arm, camera, teleoperation and recorder",
            (*SHARED, TELEOP, DEMONSTRATED, DISTURBANCE, URDF, DELAY, *REAL),
            _record_nodes,
        ),
        Graph(
            "replay",
            "a recorded bag into the policy; no arm is there to move",
            (
                Argument("bag", "folder of the bag to play"),
                *POLICY_ARGUMENTS,
                Argument("rate", "seconds of the bag per second of real time", "1.0", kind=_positive),
                _BY_NAME["robot_name"],
                _BY_NAME["camera"],
                _BY_NAME["width"],
                _BY_NAME["height"],
                LATENCY,
            ),
            _replay_nodes,
        ),
    )
}


def find_graph(name: str) -> Graph:
    """Return a graph by name.

    Raises:
        GraphError: If there is none.
    """
    if name not in GRAPHS:
        raise GraphError(f"there is no graph {name!r}; there are: {', '.join(GRAPHS)}")
    return GRAPHS[name]


def config_folder() -> Path:
    """Return the folder of the parameter files: installed in share/, or that of the source tree."""
    source = Path(__file__).resolve().parents[3] / "config"
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        installed = Path(prefix) / "share" / BRINGUP / "config"
        if prefix and installed.is_dir():
            return installed
    if not source.is_dir():
        raise GraphError(f"no folder config/ in {source.parent} nor in share/{BRINGUP} of AMENT_PREFIX_PATH")
    return source


def profile_file() -> Path:
    """Return the Fast DDS profile that the nodes get where the shell names none."""
    return config_folder() / ("fastdds_humble.xml" if _humble() else "fastdds.xml")


def _humble() -> bool:
    return os.environ.get("ROS_DISTRO") == "humble"


def environment(values: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables every process of a graph needs on top of the inherited ones."""
    variables = {PROFILE: os.environ.get(PROFILE, str(profile_file()))}
    if values.get("use_sim", "true") == "true":  # a simulated arm must not talk to a real one elsewhere
        variables |= {"ROS_LOCALHOST_ONLY": "1"} if _humble() else {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        variables["LP_NUM_THREADS"] = "0"  # the software renderer's own threads are slower than none
    return variables

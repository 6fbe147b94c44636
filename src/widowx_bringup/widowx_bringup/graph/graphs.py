"""Which nodes run, with which parameters and remappings: described once, as data.

`launch/*.launch.py` turns it into `launch_ros` actions, `processes.py` into processes where
`launch` is not installed. Values that several nodes share are arguments here; what concerns
one node alone is in `config/*.yaml`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptr_common.topics import TOPIC_COMMAND, TOPIC_EXECUTED
from widowx_bringup.arm import urdf

from .cameras import (
    CAMERA_DRIVERS,
    DELAY,
    LATENCY,
    camera_parameters,
    each_camera,
    latency,
    other_cameras,
    real_cameras,
    simulated_cameras,
)
from .spec import BOOLEAN, BRINGUP, POLICY, Argument, Graph, GraphError, NodeSpec

PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"
"""Variable that names the file of Fast DDS's settings."""


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError("it must be positive")
    return value


SHARED = (
    Argument(
        "use_sim",
        "simulated arm, cameras and time instead of the real ones",
        "true",
        BOOLEAN,
    ),
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
    Argument(
        "autostart",
        "whether arm, cameras and policy are configured and activated at once",
        "true",
        BOOLEAN,
    ),
    Argument(
        "real_time_factor",
        "simulated seconds per second of real time",
        "1.0",
        kind=_positive,
    ),
    Argument("bag_directory", "folder that receives one bag per episode", "bags"),
)
POLICY_ARGUMENTS = (
    Argument("policy", "bundle folder of the policy"),
    Argument("task", "task where the START of an episode names none", ""),
)
DISTURBANCE = Argument(
    "disturbance",
    "noise of the simulated arm, a part of its longest step: demonstrations show how to recover",
    "0.15",
)
URDF = Argument(
    "urdf",
    "whether RViz learns how the simulated arm looks, as from the real driver; auto: if Interbotix's URDF is there",
    "auto",
    ("auto", "true", "false"),
)
REAL = (
    Argument("robot_model", "kind of real arm", "wx250s", ("wx250s",)),
    Argument(
        "start_driver", "whether to start Interbotix's driver as well", "true", BOOLEAN
    ),
    Argument("motor_configs", "the driver's file of servos; empty: Interbotix's own", ""),
    Argument(
        "load_configs",
        "whether the driver writes that file to the servos' EEPROM",
        "true",
        BOOLEAN,
    ),
    Argument(
        "camera_driver", "what reads the real camera", "opencv", tuple(CAMERA_DRIVERS)
    ),
    Argument(
        "video_device",
        "the real camera: /dev/v4l/by-id/…, of realsense its serial number; empty: the first",
        "",
    ),
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


def _world(values: Mapping[str, str]) -> list[NodeSpec]:
    """Return arm and camera."""
    return _simulated(values) if values["use_sim"] == "true" else _real(values)


def _real(values: Mapping[str, str]) -> list[NodeSpec]:
    driver = NodeSpec(
        BRINGUP,
        "driver_keeper",
        parameters={"command": _driver_command(values)},
        grace=45.0,
    )
    arm = {
        "device": "interbotix",
        "camera": values["camera"],
        "autostart": values["autostart"] == "true",
    }
    return [
        *([driver] if values["start_driver"] == "true" else []),
        NodeSpec(BRINGUP, "arm_node", "arm.yaml", arm, grace=25.0),
        *real_cameras(values),
    ]


def _driver_command(values: Mapping[str, str]) -> list[str]:
    names = (
        "robot_model",
        "robot_name",
        "load_configs",
        *(["motor_configs"] if values["motor_configs"] else []),
    )
    given = [f"{name}:={values[name]}" for name in names]
    modes = f"mode_configs:={config_folder() / 'interbotix_modes.yaml'}"
    return [
        "ros2",
        "launch",
        "interbotix_xsarm_control",
        "xsarm_control.launch.py",
        *given,
        modes,
        "use_rviz:=false",
    ]


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
    return [
        NodeSpec(BRINGUP, "simulation", "arm.yaml", simulation),
        *simulated_cameras(values),
        *_look(values),
    ]


def _look(values: Mapping[str, str]) -> list[NodeSpec]:
    """Return what turns joint states into frames and offers the arm's URDF."""
    missing = urdf.missing()
    if values["urdf"] == "false" or (values["urdf"] == "auto" and missing):
        return []
    if missing:
        raise GraphError(
            f"urdf:=true needs packages that are not installed here: {', '.join(missing)}"
        )
    description = urdf.robot_description(values["robot_name"])
    return [
        NodeSpec(
            urdf.PUBLISHER, urdf.PUBLISHER, parameters={"robot_description": description}
        )
    ]


def _policy(
    values: Mapping[str, str], remappings: tuple[tuple[str, str], ...] = ()
) -> NodeSpec:
    parameters = {
        "bundle": str(Path(values["policy"]).absolute()),
        **camera_parameters(values),
        "camera_latency": latency(values),
        "task": values["task"],
        "autostart": values.get("autostart", "true") == "true",
    }
    return NodeSpec(POLICY, "policy_node", "policy.yaml", parameters, remappings)


def _recorder(values: Mapping[str, str]) -> NodeSpec:
    parameters: dict[str, Any] = {
        "directory": str(Path(values["bag_directory"]).absolute()),
        "camera": values["camera"],
        "camera_latency": [latency(camera) for camera in each_camera(values)],
    }
    if others := list(other_cameras(values["other_cameras"])):
        parameters["other_cameras"] = others
    return NodeSpec(BRINGUP, "recorder_node", "recorder.yaml", parameters)


def _placed(
    nodes: list[NodeSpec], values: Mapping[str, str], use_sim_time: bool
) -> list[NodeSpec]:
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
        raise GraphError(
            "teleop:=scripted knows the simulated scene only; choose none, and run `ptr teleop` beside it"
        )
    disturbance = values["disturbance"] if scripted else "0.0"  # a person errs enough
    nodes = [*_world({**values, "disturbance": disturbance}), _recorder(values)]
    if scripted:
        nodes.append(
            NodeSpec(BRINGUP, "scripted_teleop", parameters={"camera": values["camera"]})
        )
    elif teleop in TELEOP_DEVICES:
        nodes += _person(values)
    return _placed(nodes, values, values["use_sim"] == "true")


def _person(values: Mapping[str, str]) -> list[NodeSpec]:
    """Return teleoperation by a device, and the driver of the device where it has one of its own."""
    if not values["demonstrated"]:
        raise GraphError(
            f"teleop:={values['teleop']} needs demonstrated:=…, the name of the task that is shown"
        )
    parameters = {
        "device": values["teleop"],
        "camera": values["camera"],
        "task": values["demonstrated"],
    }
    teleop = NodeSpec(BRINGUP, "teleop_node", parameters=parameters)
    joy = NodeSpec("joy", "joy_node", parameters={"autorepeat_rate": 20.0})
    return [joy, teleop] if values["teleop"] == "gamepad" else [teleop]


def _replay_nodes(values: Mapping[str, str]) -> list[NodeSpec]:
    player = {
        "bag": str(Path(values["bag"]).absolute()),
        "rate": float(values["rate"]),
        "camera": values["camera"],
    }
    away_from_the_arm = (
        (TOPIC_COMMAND, "replay/command"),
        (TOPIC_EXECUTED, "replay/executed"),
    )
    nodes = [
        NodeSpec(BRINGUP, "bag_player", "player.yaml", player),
        _policy(values, away_from_the_arm),
    ]
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
                Argument(
                    "rate",
                    "seconds of the bag per second of real time",
                    "1.0",
                    kind=_positive,
                ),
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
    source = Path(__file__).resolve().parents[4] / "config"
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        installed = Path(prefix) / "share" / BRINGUP / "config"
        if prefix and installed.is_dir():
            return installed
    if not source.is_dir():
        raise GraphError(
            f"no folder config/ in {source.parent} nor in share/{BRINGUP} of AMENT_PREFIX_PATH"
        )
    return source


def profile_file() -> Path:
    """Return the Fast DDS profile that the nodes get where the shell names none."""
    return config_folder() / ("fastdds_humble.xml" if _humble() else "fastdds.xml")


def _humble() -> bool:
    return os.environ.get("ROS_DISTRO") == "humble"


def environment(values: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables every process of a graph needs on top of the inherited ones."""
    variables = {PROFILE: os.environ.get(PROFILE, str(profile_file()))}
    if (
        values.get("use_sim", "true") == "true"
    ):  # a simulated arm must not talk to a real one elsewhere
        variables |= (
            {"ROS_LOCALHOST_ONLY": "1"}
            if _humble()
            else {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        )
        variables["LP_NUM_THREADS"] = (
            "0"  # the software renderer's own threads are slower than none
        )
    return variables

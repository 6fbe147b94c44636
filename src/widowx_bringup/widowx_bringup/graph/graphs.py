"""The graphs: which nodes run together, with which parameters and remappings.

`ros_launch.py` turns a graph into `launch_ros` actions, `processes.py` into processes where
`launch` is not installed. Values that several nodes share are arguments of the graph; the
values of one node are in `config/*.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptr_common.names import did_you_mean, find_task
from ptr_common.topics import TOPIC_COMMAND, TOPIC_EXECUTED
from widowx_bringup.arm import urdf
from widowx_bringup.sim.tasks import TARGET_TASK, TASKS, parse_task

from .arguments import (
    BAG,
    CAMERA_OF_POLICY,
    CONSOLE,
    DELAY,
    DEMONSTRATED,
    DISTURBANCE,
    LATENCY,
    MISTAKES,
    POLICY_ARGUMENTS,
    RATE,
    REAL,
    RECORD,
    RISE,
    ROBOT_NAME,
    RUN_TASK,
    SCENE,
    SHADOW,
    SHARED,
    SHARED_WITH_POLICY,
    TELEOP,
    TELEOP_DEVICES,
    TURN,
    URDF,
)
from .cameras import (
    camera_parameters,
    each_camera,
    latency,
    other_cameras,
    real_cameras,
    simulated_cameras,
)
from .environment import config_folder
from .policy_bundle import AUTO, complete
from .spec import BRINGUP, POLICY, Graph, GraphError, NodeSpec

DRIVER_GRACE = 45.0
"""Longest time in which Interbotix's driver ends [s]; the arm goes to its sleep pose first."""

ARM_GRACE = 25.0
"""Longest time in which the arm node ends [s]."""

JOY_RATE = 20.0
"""Rate at which the gamepad's node repeats its state [Hz]."""


# --- arm and cameras ----------------------------------------------------------------------


def _world(values: Mapping[str, str]) -> list[NodeSpec]:
    """Return the nodes of arm and cameras, simulated or real."""
    return _simulated(values) if values["use_sim"] == "true" else _real(values)


def _real(values: Mapping[str, str]) -> list[NodeSpec]:
    nodes = []
    if values["start_driver"] == "true":
        parameters = {"command": _driver_command(values)}
        nodes.append(
            NodeSpec(BRINGUP, "driver_keeper", parameters=parameters, grace=DRIVER_GRACE)
        )
    arm = {
        "device": "interbotix",
        "camera": values["camera"],
        "autostart": values["autostart"] == "true",
    }
    nodes.append(NodeSpec(BRINGUP, "arm_node", "arm.yaml", arm, grace=ARM_GRACE))
    return [*nodes, *real_cameras(values)]


def _driver_command(values: Mapping[str, str]) -> list[str]:
    """Return the command that launches Interbotix's driver."""
    names = ["robot_model", "robot_name", "load_configs"]
    if values["motor_configs"]:
        names.append("motor_configs")
    return [
        "ros2",
        "launch",
        "interbotix_xsarm_control",
        "xsarm_control.launch.py",
        *[f"{name}:={values[name]}" for name in names],
        f"mode_configs:={config_folder() / 'interbotix_modes.yaml'}",
        "use_rviz:=false",
    ]


def _simulated(values: Mapping[str, str]) -> list[NodeSpec]:
    simulation = {
        "real_time_factor": float(values["real_time_factor"]),
        "world_rate": float(values["camera_rate"]),
        "camera": values["camera"],
        "resume_on_start": True,
        "disturbance": float(values.get("disturbance", "0.0")),
        "scene_task": _scene(values),
        "scene_seed": int(values["scene_seed"]),
        "autostart": values["autostart"] == "true",
    }
    return [
        NodeSpec(BRINGUP, "simulation", "arm.yaml", simulation),
        *simulated_cameras(values),
        *_state_publisher(values),
    ]


def _scene(values: Mapping[str, str]) -> str:
    """Return the task whose scene the simulation shows at its start."""
    if values["scene"] != AUTO:
        return find_task(values["scene"], TASKS) or values["scene"]
    task = values.get("task") or values.get("demonstrated") or TARGET_TASK
    return find_task(task, TASKS) or TARGET_TASK


def _state_publisher(values: Mapping[str, str]) -> list[NodeSpec]:
    """Return the node that publishes frames and URDF of the simulated arm, if there is one."""
    if values["urdf"] == "false":
        return []
    missing = urdf.missing()
    if missing and values["urdf"] == "auto":
        return []
    if missing:
        raise GraphError(
            f"urdf:=true needs packages that are not installed here: {', '.join(missing)}"
        )
    parameters = {"robot_description": urdf.robot_description(values["robot_name"])}
    return [NodeSpec(urdf.PUBLISHER, urdf.PUBLISHER, parameters=parameters)]


# --- policy, recorder, teleoperation ------------------------------------------------------


def _policy(
    values: Mapping[str, str], remappings: tuple[tuple[str, str], ...] = ()
) -> NodeSpec:
    key = values["policy_key"]
    parameters = {
        "bundle": str(Path(values["policy"]).absolute()),
        "bundle_sha256": values["policy_sha256"],
        "policy_key": key and str(Path(key).absolute()),
        **camera_parameters(values),
        "camera_latency": latency(values),
        "task": values["task"],
        "autostart": values.get("autostart", "true") == "true",
    }
    return NodeSpec(POLICY, "policy_node", "policy.yaml", parameters, remappings)


def _shadow(values: Mapping[str, str]) -> list[NodeSpec]:
    """Return the node of a second policy that commands nothing, if there is one."""
    if not values["shadow"]:
        return []
    node = _policy({**values, "policy": values["shadow"], "policy_sha256": ""})
    return [replace(node, executable="policy_shadow")]


def _recorder(values: Mapping[str, str]) -> NodeSpec:
    parameters: dict[str, Any] = {
        "directory": str(Path(values["bag_directory"]).absolute()),
        "camera": values["camera"],
        "camera_latency": [latency(camera) for camera in each_camera(values)],
    }
    others = list(other_cameras(values["other_cameras"]))
    if others:  # ROS knows no empty list
        parameters["other_cameras"] = others
    return NodeSpec(BRINGUP, "recorder_node", "recorder.yaml", parameters)


def _teleop_device(values: Mapping[str, str]) -> list[NodeSpec]:
    """Return the nodes of teleoperation by a device: ours, and the gamepad's driver."""
    if not values["demonstrated"]:
        raise GraphError(
            f"teleop:={values['teleop']} needs demonstrated:=…, the task that is demonstrated"
        )
    if values["use_sim"] == "true":
        parse_task(values["demonstrated"])
    parameters = {
        "device": values["teleop"],
        "camera": values["camera"],
        "task": values["demonstrated"],
    }
    teleop = NodeSpec(BRINGUP, "teleop_node", parameters=parameters)
    if values["teleop"] != "gamepad":
        return [teleop]
    return [NodeSpec("joy", "joy_node", parameters={"autorepeat_rate": JOY_RATE}), teleop]


def _console(values: Mapping[str, str], task: str) -> list[NodeSpec]:
    """Return the node of the console, if it is wanted.

    Args:
        values: The graph's arguments.
        task: Task of its episodes; empty where the simulated scene, or a person, names it.
    """
    if values["console"] == "false":
        return []
    if not task and values["use_sim"] == "true":
        task = _scene(values)
    parameters = {"camera": values["camera"], "task": task}
    return [NodeSpec(BRINGUP, "console_node", parameters=parameters)]


def _task_server(values: Mapping[str, str], nodes: list[str]) -> NodeSpec:
    """Return the node of the action run_task.

    Args:
        values: The graph's arguments.
        nodes: Full names of the graph's other nodes that report on /diagnostics.
    """
    parameters = {
        "camera": values["camera"],
        "nodes": nodes,
        "records": values["record"] == "true",
        "simulated": values["use_sim"] == "true",
    }
    return NodeSpec(BRINGUP, "task_server", parameters=parameters)


# --- graphs -------------------------------------------------------------------------------


def _placed(
    nodes: list[NodeSpec], values: Mapping[str, str], use_sim_time: bool
) -> list[NodeSpec]:
    """Return the nodes in the robot's namespace and on their clock."""
    placed = []
    for node in nodes:
        parameters = {**node.parameters, "use_sim_time": use_sim_time}
        spaces = (values["robot_name"], node.namespace)
        namespace = "/".join(space for space in spaces if space)
        placed.append(replace(node, parameters=parameters, namespace=namespace))
    return placed


def _eval_nodes(values: Mapping[str, str]) -> list[NodeSpec]:
    nodes = [*_world(values), _policy(values), *_shadow(values)]
    if values["record"] == "true":
        nodes.append(_recorder(values))
    nodes += _console(values, values["task"])
    simulated = values["use_sim"] == "true"
    placed = _placed(nodes, values, simulated)
    if values["run_task"] == "true":
        server = _task_server(values, [node.full_name for node in placed if node.reports])
        placed += _placed([server], values, simulated)
    return placed


def _record_nodes(values: Mapping[str, str]) -> list[NodeSpec]:
    simulated = values["use_sim"] == "true"
    teleop = values["teleop"]
    if teleop == "auto":
        teleop = "scripted" if simulated else "none"
    if teleop == "scripted" and not simulated:
        raise GraphError(
            "teleop:=scripted knows the simulated scene only; "
            "choose teleop:=none, and run `ptr teleop` in another terminal"
        )
    # A person's demonstrations have errors enough to recover from.
    disturbance = values["disturbance"] if teleop == "scripted" else "0.0"
    nodes = [*_world({**values, "disturbance": disturbance}), _recorder(values)]
    if teleop == "scripted":
        mistakes = {each.name: float(values[each.name]) for each in MISTAKES}
        parameters = {"camera": values["camera"], **mistakes}
        nodes.append(NodeSpec(BRINGUP, "scripted_teleop", parameters=parameters))
    elif teleop in TELEOP_DEVICES:
        nodes += _teleop_device(values)
    nodes += _console(values, values["demonstrated"])
    return _placed(nodes, values, simulated)


def _replay_nodes(values: Mapping[str, str]) -> list[NodeSpec]:
    player = {
        "bag": str(Path(values["bag"]).absolute()),
        "rate": float(values["rate"]),
        "camera": values["camera"],
    }
    # No arm may receive the commands of the policy.
    remappings = (
        (TOPIC_COMMAND, "replay/command"),
        (TOPIC_EXECUTED, "replay/executed"),
    )
    nodes = [
        NodeSpec(BRINGUP, "bag_player", "player.yaml", player),
        _policy(values, remappings),
    ]
    return _placed(nodes, values, use_sim_time=True)


EVAL = Graph(
    "eval",
    "arm, camera, policy and recorder",
    (
        *(
            *POLICY_ARGUMENTS,
            SHADOW,
            *SHARED_WITH_POLICY,
            RECORD,
            RUN_TASK,
            CONSOLE,
            *SCENE,
        ),
        *(URDF, DELAY, RISE, TURN, *REAL),
    ),
    _eval_nodes,
    complete,
)
RECORD_GRAPH = Graph(
    "record",
    "arm, camera, teleoperation and recorder",
    (
        *(*SHARED, TELEOP, DEMONSTRATED, *MISTAKES, DISTURBANCE, CONSOLE, *SCENE),
        *(URDF, DELAY, RISE, TURN, *REAL),
    ),
    _record_nodes,
)
REPLAY = Graph(
    "replay",
    "a recorded bag into the policy; no arm moves",
    (BAG, *POLICY_ARGUMENTS, RATE, ROBOT_NAME, *CAMERA_OF_POLICY, LATENCY),
    _replay_nodes,
    complete,
)
GRAPHS = {graph.name: graph for graph in (EVAL, RECORD_GRAPH, REPLAY)}


def find_graph(name: str) -> Graph:
    """Return a graph by name.

    Raises:
        GraphError: If there is none.
    """
    if name not in GRAPHS:
        raise GraphError(f"there is no graph {name!r}; {did_you_mean(name, GRAPHS)}")
    return GRAPHS[name]

"""Graphs: consistent with the nodes, the parameter files and the real driver."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml
from graph_nodes import BUNDLE, nodes_of, write_description

from ptr_common.errors import PtrError
from widowx_bringup.arm.limits import Limits
from widowx_bringup.graph.arguments import REAL, TELEOP_DEVICES
from widowx_bringup.graph.environment import config_folder
from widowx_bringup.graph.graphs import GRAPHS, find_graph
from widowx_bringup.graph.processes import module_of
from widowx_bringup.graph.spec import GraphError, NodeSpec
from widowx_bringup.sim.tasks import TARGET_TASK

OF_ROS = {"use_sim_time"}
"""Parameters every node has."""

ROOM_PARENT = Path(importlib.util.find_spec("widowx_bringup").origin).parents[1]  # type: ignore[union-attr, arg-type]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibrations of this computer do not count."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def all_nodes() -> list[Any]:
    nodes = [(name, node) for name in GRAPHS for node in nodes_of(name)]
    nodes += [("real", node) for node in nodes_of("eval", use_sim="false")]
    shadowed = nodes_of("eval", shadow=str(BUNDLE))
    nodes += [("shadow", node) for node in shadowed if node.executable == "policy_shadow"]
    return [pytest.param(node, id=f"{name}-{node.executable}") for name, node in nodes]


def source_of(node: NodeSpec) -> Path:
    spec = importlib.util.find_spec(module_of(node))
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def declared_parameters(source: Path) -> set[str]:
    """Return the names in the calls `parameter(node, "name", …)`, of imported modules too."""
    names = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "parameter":
            names.add(ast.literal_eval(node.args[1]))
        if isinstance(node, ast.ImportFrom):
            package = f"widowx_bringup.{source.parent.name}"
            if source.parent.name == "ptr_policy_node":
                package = source.parent.name
            for module in imported_modules(node, package):
                names |= declared_parameters(module)
    if "ManagedNode" in source.read_text():
        names |= {"autostart"}
    return names


def imported_modules(statement: ast.ImportFrom, package: str) -> list[Path]:
    """Return the files of widowx_bringup that an import in a module of `package` reads."""
    name = importlib.util.resolve_name(
        "." * statement.level + (statement.module or ""), package
    )
    files = []
    for module in (name, *(f"{name}.{alias.name}" for alias in statement.names)):
        file = ROOM_PARENT.parent / module.split(".")[0]
        file /= Path(*module.split(".")).with_suffix(".py")
        if file.is_file():
            files.append(file)
    return files


@pytest.mark.parametrize("node", all_nodes())
def test_every_parameter_of_the_graph_is_known_to_its_node(node: NodeSpec) -> None:
    assert set(node.parameters) <= declared_parameters(source_of(node)) | OF_ROS


@pytest.mark.parametrize("node", [each for each in all_nodes() if each.values[0].config])
def test_every_parameter_in_config_is_known_to_its_node(node: NodeSpec) -> None:
    file = yaml.safe_load((config_folder() / node.config).read_text())
    in_file = set(file[f"/**/{node.executable}"]["ros__parameters"])
    assert in_file <= declared_parameters(source_of(node))
    assert not in_file & set(node.parameters), "a value lives in one place"


@pytest.mark.parametrize("name", GRAPHS)
def test_every_argument_changes_something(name: str) -> None:
    other = {
        "use_sim": None,
        "record": "false",
        "run_task": "false",
        "real_time_factor": "2.0",
        "rate": "2.0",
        "camera_rate": "15.0",
    }
    other |= {
        "width": "64",
        "height": "48",
        "disturbance": "0.3",
        "waits": "0.5",
        "misses": "0.5",
        "drops": "0.5",
        "teleop": "none",
        "autostart": "false",
        "urdf": None,
        "task": TARGET_TASK,
        "scene": "put the red cube on the white plate",
        "scene_seed": "7",
    }
    other |= {"camera_latency": "0.1", "camera_delay": "2"}
    if name != "record":  # the bundle decides: test_policy_bundle.py
        other |= dict.fromkeys(("policy", "camera", "width", "height"))
        other |= {"shadow": str(BUNDLE)}
    other |= {"camera_rise": "0.07", "camera_turn": "15", "console": "true"}
    real = {
        "start_driver": "false",
        "load_configs": "false",
        "camera_driver": "usb_cam",
        "robot_model": None,
    }
    for argument in find_graph(name).arguments:
        value = (other | real).get(argument.name, "elsewhere")
        given = {"use_sim": "false"} if argument in REAL and name == "eval" else {}
        if argument.name == "demonstrated":
            given = {"teleop": "leader"}
            with pytest.raises(GraphError, match="teleop:=leader needs demonstrated:=…"):
                nodes_of(name, teleop="leader")
            given = {"teleop": "leader", "demonstrated": "put the yelow cube"}
            with pytest.raises(PtrError, match=r"task 'put the yelow cube'.*did you mean"):
                nodes_of(name, **given)
            continue
        if value is not None and (given or argument not in REAL):
            assert nodes_of(name, **given, **{argument.name: value}) != nodes_of(
                name, **given
            ), argument.name


def test_all_nodes_are_in_the_robots_namespace() -> None:
    spaces = {
        node.namespace for name in GRAPHS for node in nodes_of(name, robot_name="left")
    }
    assert spaces == {"left", "left/camera/over_shoulder"}


def test_replay_has_no_arm_and_sends_commands_elsewhere() -> None:
    nodes = {node.executable: node for node in nodes_of("replay")}
    assert set(nodes) == {"bag_player", "policy_node"}
    assert dict(nodes["policy_node"].remappings)["arm/command"] == "replay/command"


def test_the_key_of_bundles_reaches_the_policy_node_as_a_whole_path() -> None:
    for given, expected in (("", ""), ("me.pub", str(Path("me.pub").absolute()))):
        nodes = nodes_of("eval", policy_key=given)
        (policy,) = [node for node in nodes if node.executable == "policy_node"]
        assert policy.parameters["policy_key"] == expected


def test_a_shadow_has_the_cameras_and_the_key_of_the_policy_and_a_bundle_of_its_own(
    tmp_path: Path,
) -> None:
    other = write_description(tmp_path, agent="other")
    given = {"policy_key": "ours.pub", "policy_sha256": "0" * 64}
    nodes = {node.executable: node for node in nodes_of("eval", shadow=str(other), **given)}
    policy, shadow = nodes["policy_node"], nodes["policy_shadow"]
    changed = {"bundle": str(other), "bundle_sha256": ""}
    assert shadow.parameters == {**policy.parameters, **changed}
    assert shadow.namespace == policy.namespace
    assert "policy_shadow" not in {node.executable for node in nodes_of("eval")}


def test_recording_can_be_left_out() -> None:
    assert "recorder_node" not in [
        node.executable for node in nodes_of("eval", record="false")
    ]


def test_the_server_of_run_task_knows_the_nodes_that_report_and_can_be_left_out() -> None:
    nodes = {node.executable: node for node in nodes_of("eval", record="false")}
    assert dict(nodes["task_server"].parameters) == {
        "camera": "over_shoulder",
        "nodes": [
            "/wx250s/simulation",
            "/wx250s/camera/over_shoulder/camera_node",
            "/wx250s/policy_node",
        ],
        "records": False,
        "simulated": True,
        "use_sim_time": True,
    }
    assert "task_server" not in [
        node.executable for node in nodes_of("eval", run_task="false")
    ]


def test_the_real_robot_has_its_own_arm_and_camera_and_the_clock_of_the_computer() -> None:
    nodes = {node.executable: node for node in nodes_of("eval", use_sim="false")}
    assert set(nodes) == {
        "driver_keeper",
        "arm_node",
        "camera_node",
        "policy_node",
        "recorder_node",
        "task_server",
    }
    assert not any(node.parameters["use_sim_time"] for node in nodes.values())
    assert (
        nodes["arm_node"].parameters["camera"]
        == nodes["camera_node"].parameters["camera"]
        == "over_shoulder"
    )
    assert "driver_keeper" not in {
        node.executable for node in nodes_of("eval", use_sim="false", start_driver="false")
    }


def test_interbotix_driver_is_started_by_its_own_launch_file_with_our_profile() -> None:
    (keeper, *_) = nodes_of(
        "eval", use_sim="false", robot_name="left", load_configs="false"
    )
    command = keeper.parameters["command"]
    assert command[:4] == [
        "ros2",
        "launch",
        "interbotix_xsarm_control",
        "xsarm_control.launch.py",
    ]
    assert {
        "robot_model:=wx250s",
        "robot_name:=left",
        "load_configs:=false",
        "use_rviz:=false",
    } <= set(command)
    (modes,) = (
        word.partition(":=")[2] for word in command if word.startswith("mode_configs")
    )
    arm, limits = yaml.safe_load(Path(modes).read_text())["groups"]["arm"], Limits()
    assert arm["profile_velocity"] == round(1000 * limits.profile_time)
    assert arm["profile_acceleration"] == round(1000 * limits.profile_acceleration_time)
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    from widowx_bringup.arm.interbotix.driver_keeper import GRACE, REST_LIMIT

    assert keeper.grace > REST_LIMIT + sum(patience for _, patience in GRACE)


def test_the_script_demonstrates_on_the_simulated_arm_only() -> None:
    executables = [
        {node.executable for node in nodes_of("record", use_sim=use_sim)}
        for use_sim in ("true", "false")
    ]
    assert "scripted_teleop" in executables[0]
    assert "scripted_teleop" not in executables[1]
    with pytest.raises(GraphError, match="run `ptr teleop` in another terminal"):
        nodes_of("record", use_sim="false", teleop="scripted")


@pytest.mark.parametrize("device", ["gamepad", "spacemouse", "leader"])
def test_a_person_demonstrates_with_a_device(device: str) -> None:
    nodes = {
        node.executable: node
        for node in nodes_of(
            "record", teleop=device, demonstrated=TARGET_TASK, camera="front"
        )
    }
    teleop = nodes["teleop_node"].parameters
    assert (teleop["device"], teleop["camera"]) == (device, "front")
    assert teleop["task"] == TARGET_TASK
    assert ("joy_node" in nodes) == (device == "gamepad")
    assert set(TELEOP_DEVICES) == {"gamepad", "spacemouse", "leader"}


def test_a_persons_demonstrations_in_simulation_are_not_disturbed() -> None:
    (simulation, *_) = nodes_of("record", teleop="none", disturbance="0.3")
    assert simulation.parameters["disturbance"] == 0.0


@pytest.mark.parametrize("name", ["eval", "record"])
def test_the_simulation_shows_a_scene_from_its_start(name: str) -> None:
    (simulation, *_) = nodes_of(name)
    assert simulation.parameters["scene_task"] == TARGET_TASK
    (simulation, *_) = nodes_of(name, scene="Put the red cube  on the white plate")
    assert simulation.parameters["scene_task"] == "put the red cube on the white plate"


def test_the_scene_is_that_of_the_task_that_a_person_demonstrates() -> None:
    task = "put the red cube on the white plate"
    (simulation, *_) = nodes_of("record", teleop="leader", demonstrated=task)
    assert simulation.parameters["scene_task"] == task


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("evla", r"no graph 'evla'; did you mean eval\? Known are: eval, record, replay"),
        ("nonsense", "no graph 'nonsense'; known are: eval, record, replay"),
    ],
)
def test_an_unknown_graph_is_refused_with_the_known_ones(name: str, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        find_graph(name)


@pytest.mark.parametrize("graph", GRAPHS)
def test_every_graph_has_a_launch_file(graph: str) -> None:
    texts = [
        file.read_text() for file in (config_folder().parent / "launch").glob("*.launch.py")
    ]
    assert sum(f'describe("{graph}")' in text for text in texts) == 1


@pytest.mark.parametrize(
    ("given", "task"),
    [({}, TARGET_TASK), ({"demonstrated": "stir"}, "stir"), ({"use_sim": "false"}, "")],
)
def test_the_console_is_a_node_of_the_graph_if_it_is_wanted(
    given: dict[str, str], task: str
) -> None:
    values = {"teleop": "none", **given}
    graph = find_graph("record")
    without = graph.nodes(graph.resolve(values))
    specs = graph.nodes(graph.resolve({**values, "console": "true"}))
    assert [spec for spec in specs if spec not in without] == [specs[-1]]
    assert specs[-1].full_name == "/wx250s/console_node"
    assert specs[-1].parameters["task"] == task
    assert "host" not in specs[-1].parameters  # this computer alone

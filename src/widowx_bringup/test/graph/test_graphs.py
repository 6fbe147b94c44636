"""The description of the graphs: complete, consistent with the nodes and the parameter files, and checked."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

from widowx_bringup.arm.limits import Limits
from widowx_bringup.camera.calibrations import (
    CameraCalibration,
    calibration_file,
    write_calibration,
)
from widowx_bringup.graph.graphs import (
    GRAPHS,
    REAL,
    TELEOP_DEVICES,
    config_folder,
    environment,
    find_graph,
)
from widowx_bringup.graph.processes import module_of
from widowx_bringup.graph.spec import Graph, GraphError, NodeSpec

GIVEN = {
    "eval": {"policy": "bundle", "urdf": "false"},
    "record": {"urdf": "false"},
    "replay": {"policy": "bundle", "bag": "bag"},
}
"""What each graph cannot do without; and nothing that only some machines have (test_urdf.py)."""

OF_ROS = {"use_sim_time"}
"""Parameters every node has."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is calibrated on this machine is no business of these tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def nodes_of(name: str, **given: str) -> list[NodeSpec]:
    graph = find_graph(name)
    return graph.nodes(graph.resolve({**GIVEN[name], **given}))


def all_nodes() -> list[Any]:
    nodes = [(name, node) for name in GRAPHS for node in nodes_of(name)]
    nodes += [("real", node) for node in nodes_of("eval", use_sim="false")]
    return [pytest.param(node, id=f"{name}-{node.executable}") for name, node in nodes]


def source_of(node: NodeSpec) -> Path:
    spec = importlib.util.find_spec(module_of(node))
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def declared_parameters(source: Path) -> set[str]:
    """Return the names in the calls `parameter(node, "name", …)` of a module and of the arm node it may build on."""
    names = set()
    for call in ast.walk(ast.parse(source.read_text())):
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Name)
            and call.func.id == "parameter"
        ):
            names.add(ast.literal_eval(call.args[1]))
    if "ManagedNode" in source.read_text():
        names |= {"autostart"}
    if source.parent.name == "sim":
        names |= declared_parameters(source.parents[1] / "arm" / "node.py")
    if source.match("arm/node.py"):
        names |= declared_parameters(source.with_name("parameters.py"))
        names |= declared_parameters(source.with_name("device_node.py"))
    return names


@pytest.mark.parametrize("node", all_nodes())
def test_every_parameter_of_the_graph_is_known_to_its_node(node: NodeSpec) -> None:
    assert set(node.parameters) <= declared_parameters(source_of(node)) | OF_ROS


@pytest.mark.parametrize("node", [each for each in all_nodes() if each.values[0].config])
def test_every_parameter_in_config_is_known_to_its_node(node: NodeSpec) -> None:
    file = yaml.safe_load((config_folder() / node.config).read_text())
    in_file = set(file[f"/**/{node.executable}"]["ros__parameters"])
    assert in_file <= declared_parameters(source_of(node))
    assert not in_file & set(node.parameters), "a value lives in one place"


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_every_argument_is_described_and_its_default_allowed(graph: Graph) -> None:
    for argument in graph.arguments:
        assert len(argument.description) > 5
        if argument.default is not None:
            argument.check(argument.default)


@pytest.mark.parametrize("name", GRAPHS)
def test_every_argument_changes_something(name: str) -> None:
    other = {
        "use_sim": None,
        "record": "false",
        "real_time_factor": "2.0",
        "rate": "2.0",
        "camera_rate": "15.0",
    }
    other |= {
        "width": "64",
        "height": "48",
        "disturbance": "0.3",
        "teleop": "none",
        "autostart": "false",
        "urdf": None,
    }
    other |= {"camera_latency": "0.1", "camera_delay": "2"}
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


@pytest.mark.parametrize(
    ("namespace", "name"), [("wx", "/wx/a"), ("/lab/wx/", "/lab/wx/a"), ("", "/a")]
)
def test_full_name_is_that_of_the_ros_graph(namespace: str, name: str) -> None:
    assert NodeSpec("p", "a", namespace=namespace).full_name == name


def test_replay_has_no_arm_and_sends_commands_elsewhere() -> None:
    nodes = {node.executable: node for node in nodes_of("replay")}
    assert set(nodes) == {"bag_player", "policy_node"}
    assert dict(nodes["policy_node"].remappings)["arm/command"] == "replay/command"


def test_recording_can_be_left_out() -> None:
    assert "recorder_node" not in [
        node.executable for node in nodes_of("eval", record="false")
    ]


def test_the_real_robot_has_its_own_arm_and_camera_and_the_clock_of_the_computer() -> None:
    nodes = {
        node.executable: node for node in nodes_of("eval", use_sim="false", camera="front")
    }
    assert set(nodes) == {
        "driver_keeper",
        "arm_node",
        "camera_node",
        "policy_node",
        "recorder_node",
    }
    assert not any(node.parameters["use_sim_time"] for node in nodes.values())
    assert (
        nodes["arm_node"].parameters["camera"]
        == nodes["camera_node"].parameters["camera"]
        == "front"
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


@pytest.mark.parametrize("driver", ["opencv", "usb_cam", "v4l2_camera", "realsense"])
def test_pictures_of_every_camera_driver_are_where_the_policy_looks(driver: str) -> None:
    camera = nodes_of(
        "eval",
        use_sim="false",
        camera="front",
        camera_driver=driver,
        video_device="/dev/v4l/by-id/x",
    )[2]
    assert camera.namespace == "wx250s/camera/front"
    assert "/dev/v4l/by-id/x" in camera.parameters.values()
    assert driver != "realsense" or ("~/color/image_raw", "image_raw") in camera.remappings
    assert yaml.safe_load((config_folder() / camera.config).read_text())[
        f"/**/{camera.name or camera.executable}"
    ]


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
        ("a=/dev/a,a=/dev/b", "true", "a name of its own"),
        ("the wrist", "true", "letters, digits and _; found 'the wrist'"),
    ],
)
def test_impossible_further_cameras_are_refused(
    others: str, use_sim: str, message: str
) -> None:
    with pytest.raises(GraphError, match=message):
        nodes_of("record", other_cameras=others, use_sim=use_sim)


def latencies(name: str, **given: str) -> dict[str, Any]:
    nodes = nodes_of(name, **given)
    return {
        each.executable: each.parameters["camera_latency"]
        for each in nodes
        if "camera_latency" in each.parameters
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
    assert latencies("eval", use_sim="false", camera="front") == {
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


def test_only_the_pictures_the_policy_sees_are_delayed() -> None:
    nodes = nodes_of("record", camera_delay="3", other_cameras="front")
    delays = {
        each.parameters["camera"]: each.parameters["delay"]
        for each in nodes
        if each.executable == "camera_node"
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
        match="camera_latency is 'x'; allowed are 0 to 1 s; say it with camera_latency:=",
    ):
        latencies("replay", bag=str(tmp_path))


@pytest.mark.parametrize("latency", ["soon", "-0.1", "nan", "3"])
def test_impossible_latency_is_refused(latency: str) -> None:
    with pytest.raises(GraphError, match=f"camera_latency:={latency} is not possible"):
        nodes_of("eval", camera_latency=latency)


def test_the_script_demonstrates_on_the_simulated_arm_only() -> None:
    executables = [
        {node.executable for node in nodes_of("record", use_sim=use_sim)}
        for use_sim in ("true", "false")
    ]
    assert "scripted_teleop" in executables[0]
    assert "scripted_teleop" not in executables[1]
    with pytest.raises(GraphError, match="run `ptr teleop` beside it"):
        nodes_of("record", use_sim="false", teleop="scripted")


@pytest.mark.parametrize("device", ["gamepad", "spacemouse", "leader"])
def test_a_person_demonstrates_with_a_device(device: str) -> None:
    nodes = {
        node.executable: node
        for node in nodes_of("record", teleop=device, demonstrated="stir", camera="front")
    }
    teleop = nodes["teleop_node"].parameters
    assert (teleop["device"], teleop["task"], teleop["camera"]) == (device, "stir", "front")
    assert ("joy_node" in nodes) == (device == "gamepad")
    assert set(TELEOP_DEVICES) == {"gamepad", "spacemouse", "leader"}


def test_a_persons_demonstrations_in_simulation_are_not_disturbed() -> None:
    (simulation, *_) = nodes_of("record", teleop="none", disturbance="0.3")
    assert simulation.parameters["disturbance"] == 0.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"polcy": "x"}, "no argument 'polcy'; there are: policy"),
        ({}, "eval needs policy:="),
        ({"policy": "x", "use_sim": "yes"}, "choose from: true, false"),
        ({"policy": "x", "width": "wide"}, "width:=wide"),
        ({"policy": "x", "camera_rate": "0"}, "positive"),
    ],
)
def test_impossible_arguments_are_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        find_graph("eval").resolve(given)


def test_unknown_graph_is_refused_with_the_known_ones() -> None:
    with pytest.raises(GraphError, match="eval, record, replay"):
        find_graph("nonsense")


def test_simulation_stays_on_this_machine() -> None:
    values = find_graph("record").resolve({})
    assert environment(values).get("ROS_AUTOMATIC_DISCOVERY_RANGE") == "LOCALHOST"
    assert Path(environment(values)["FASTRTPS_DEFAULT_PROFILES_FILE"]).is_file()


@pytest.mark.parametrize("graph", GRAPHS)
def test_every_graph_has_a_launch_file(graph: str) -> None:
    texts = [
        file.read_text() for file in (config_folder().parent / "launch").glob("*.launch.py")
    ]
    assert sum(f'describe("{graph}")' in text for text in texts) == 1

"""Commands and ends of nodes' processes; small programs stand in for nodes."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from ptr_common.errors import PtrError
from widowx_bringup.graph import processes
from widowx_bringup.graph.environment import config_folder
from widowx_bringup.graph.processes import NodeDiedError, Processes, command_line, module_of
from widowx_bringup.graph.spec import NodeSpec

pytest.importorskip("rclpy", reason="ROS 2 is not installed")


def alive(number: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which ROS packages are installed."""
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "install"))
    return tmp_path / "install"


def install(prefix: Path, executable: str, *lines: str) -> NodeSpec:
    """Install a shell script as the executable of a package."""
    program = prefix / "lib/toy" / executable
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    program.chmod(0o755)
    return NodeSpec("toy", executable, grace=5.0)


def test_our_executables_are_modules_of_this_interpreter() -> None:
    spec = NodeSpec("widowx_bringup", "arm_node")
    assert module_of(spec) == "widowx_bringup.arm.node"
    assert command_line(spec, Path("p.yaml"))[:3] == [sys.executable, "-m", module_of(spec)]


def test_executables_of_other_packages_are_found_where_ros_installs_them(
    prefix: Path,
) -> None:
    spec = install(prefix, "camera")
    assert module_of(spec) == ""
    assert command_line(spec, Path("p.yaml"))[0] == str(prefix / "lib/toy/camera")


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    with pytest.raises(
        PtrError, match="apt-get install ros-jazzy-usb-cam, or choose anoth"
    ):
        command_line(NodeSpec("usb_cam", "usb_cam_node_exe"), Path("p.yaml"))


def test_name_namespace_remappings_and_parameters_are_arguments_of_ros() -> None:
    spec = NodeSpec(
        "widowx_bringup",
        "camera_node",
        config="cameras.yaml",
        remappings=(("a", "b"),),
        namespace="/wx/camera/front/",
        name="front",
    )
    assert command_line(spec, Path("p.yaml"))[3:] == [
        *("--ros-args", "-r", "__ns:=/wx/camera/front", "-r", "__node:=front"),
        *("-r", "a:=b", "--params-file", str(config_folder() / "cameras.yaml")),
        *("--params-file", "p.yaml"),
    ]


def test_a_node_that_ends_is_named_with_its_last_lines(
    prefix: Path, tmp_path: Path
) -> None:
    spec = install(prefix, "broken", "echo one; echo two; exit 3")
    with Processes([spec], tmp_path / "log", {}) as running:
        assert running.wait() == ("broken", 3)
        with pytest.raises(NodeDiedError, match=r"broken ended \(status 3\)") as died:
            running.check()
    assert str(died.value).endswith("broken.log):\n  one\n  two")
    assert (tmp_path / "log/broken.log").read_text() == "one\ntwo\n"


def test_output_is_shown_with_the_name_of_the_node(prefix: Path, tmp_path: Path) -> None:
    shown: list[str] = []
    spec = install(prefix, "speaker", "echo hello")
    with Processes([spec], tmp_path / "log", {}, shown.append) as running:
        running.wait()
    assert shown == ["[speaker] hello"]


def test_nodes_with_the_same_executable_have_different_logs(
    prefix: Path, tmp_path: Path
) -> None:
    specs = []
    for name in ("front", "wrist"):
        install(prefix, "camera", "exit 0")
        specs.append(NodeSpec("toy", "camera", namespace=f"wx/camera/{name}"))
    with Processes(specs, tmp_path / "log", {}):
        logs = {file.name for file in (tmp_path / "log").glob("*.yaml")}
    assert logs == {"camera.front.yaml", "camera.wrist.yaml"}


def test_a_node_that_ignores_signals_is_killed(
    prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        processes, "GRACE", tuple((number, 0.2) for number, _ in processes.GRACE)
    )
    spec = install(
        prefix,
        "stubborn",
        "trap '' INT TERM",
        f"echo $$ > {tmp_path}/pid",
        "while :; do sleep 0.05; done",
    )
    spec = NodeSpec(spec.package, spec.executable, grace=0.2)
    with Processes([spec], tmp_path / "log", {}):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            os.sched_yield()
        number = int((tmp_path / "pid").read_text())
        assert alive(number)
    assert not alive(number)


@pytest.mark.parametrize("executable", ["camera_monitor", "policy_node"])
def test_a_node_of_ours_that_is_ended_while_python_starts_shows_nothing(
    tmp_path: Path, executable: str
) -> None:
    package = "ptr_policy_node" if executable == "policy_node" else "widowx_bringup"
    with Processes([NodeSpec(package, executable)], tmp_path, {}) as nodes:
        node = nodes._running[0]
    assert node.process.returncode == -signal.SIGINT
    assert (tmp_path / f"{executable}.log").read_text() == ""

"""Docker files, read without an engine: consistent with the stack, and careful with the arm."""

from __future__ import annotations

import os
import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_imports import imports_of, modules

from widowx_bringup.graph.cameras import CAMERA_DRIVERS
from widowx_bringup.graph.graphs import find_graph

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
BUNDLE = ROOT / "test/files_of_0.1.0/bundle"
COMPOSE = DOCKER / "compose.yaml"
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
RULES = DOCKER / "host" / "99-widowx.rules"
BYTES = {"": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30}

each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
each_dockerfile = pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.stem)


def instructions(file: Path) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile with their text, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", file.read_text()))
    pairs = []
    for line in text.splitlines():
        if line:
            word, _, rest = line.partition(" ")
            pairs.append((word, rest))
    return pairs


def copied(file: Path) -> list[Path]:
    """Return what a Dockerfile copies from the repository."""
    paths = []
    for word, rest in instructions(file):
        if word == "COPY":
            paths += [ROOT / source for source in rest.split()[:-1]]
    return paths


def packages_of(package: str) -> set[str]:
    """Return a package and every package of ours that it imports, directly or not."""
    names = {path.name for path in (ROOT / "src").iterdir()}
    needed: set[str] = set()
    waiting = {package}
    while waiting:
        name = waiting.pop()
        needed.add(name)
        for module, file in modules().items():
            if module.partition(".")[0] == name:
                imported = {target for _, target in imports_of(file.read_text(), module)}
                roots = {target.partition(".")[0] for target in imported}
                waiting |= (roots & names) - needed
    return needed


def size(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(\w*)", text).groups()  # type: ignore[union-attr]
    return int(number) * BYTES[unit]


@each_service
def test_no_service_is_privileged_or_starts_by_itself(service: dict[str, Any]) -> None:
    assert not service.get("privileged")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "restart" not in service
    assert service["init"] is True


@each_dockerfile
def test_images_run_as_an_ordinary_user(file: Path) -> None:
    users = [rest for word, rest in instructions(file) if word == "USER"]
    assert users == ["ptr"]


@each_service
def test_every_build_argument_is_one_of_the_dockerfile(service: dict[str, Any]) -> None:
    file = ROOT / service["build"]["dockerfile"]
    arguments = {
        rest.partition("=")[0] for word, rest in instructions(file) if word == "ARG"
    }
    assert set(service["build"]["args"]) == arguments


@each_service
def test_what_is_mounted_must_exist_so_that_it_belongs_to_the_user(
    service: dict[str, Any],
) -> None:
    folders = [mount for mount in service["volumes"] if isinstance(mount, dict)]
    assert {mount["source"] for mount in folders} <= {"../bags", "../data", "../runs"}
    assert all(mount["bind"] == {"create_host_path": False} for mount in folders)


def test_the_arm_has_the_time_to_go_to_its_sleep_pose() -> None:
    graph = find_graph("eval")
    nodes = graph.nodes(graph.resolve({"policy": str(BUNDLE), "use_sim": "false"}))
    grace = SERVICES["robot"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) >= max(node.grace for node in nodes) + 10
    assert SERVICES["robot"]["stop_signal"] == "SIGINT"
    assert SERVICES["robot"]["environment"]["TINI_KILL_PROCESS_GROUP"] == "1"


def test_on_the_hosts_network_the_container_shares_the_hosts_memory() -> None:
    assert (SERVICES["robot"]["network_mode"], SERVICES["robot"]["ipc"]) == ("host", "host")
    for name in ("simulation", "training"):
        assert not {"network_mode", "ipc", "device_cgroup_rules"} & set(SERVICES[name])


def test_the_memory_of_the_simulation_holds_every_nodes_segment() -> None:
    (segment,) = re.findall(
        r"<segment_size>(\d+)<", (ROOT / "config/fastdds.xml").read_text()
    )
    graph = find_graph("record")
    nodes = graph.nodes(graph.resolve({"urdf": "false"}))
    assert size(SERVICES["simulation"]["shm_size"]) >= 2 * int(segment) * len(nodes)


def test_devices_may_be_plugged_in_again() -> None:
    robot = SERVICES["robot"]
    majors = {
        rule.split()[1].partition(":")[0]: rule.split()[2]
        for rule in robot["device_cgroup_rules"]
    }
    assert {"188", "81"} <= set(majors)
    assert set(majors.values()) == {"rw"}  # and no new nodes
    assert "/dev:/dev" in robot["volumes"]
    assert "devices" not in robot


def test_every_device_that_is_needed_is_named() -> None:
    environment = SERVICES["robot"]["environment"]
    assert set(environment["PTR_DEVICES"].split()) <= set(environment)
    assert environment["ARM_PORT"] == "/dev/ttyDXL"
    assert 'SYMLINK+="ttyDXL"' in RULES.read_text()


@pytest.mark.parametrize("name", ["simulation", "robot"])
def test_commands_are_those_of_the_graphs(name: str) -> None:
    command = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", SERVICES[name]["command"])
    launch, arguments = command.split()[:4], command.split()[4:]
    assert launch[:3] == ["ros2", "launch", "widowx_bringup"]
    text = (ROOT / "launch" / launch[3]).read_text()
    graph = find_graph(re.findall(r'describe\("(\w+)"\)', text)[0])
    given = dict(word.split(":=", 1) for word in arguments)
    if "policy" in given:  # a folder of the container
        given["policy"] = str(BUNDLE)
    values = graph.resolve(given)
    assert values["use_sim"] == str(name == "simulation").lower()
    targets = [
        mount["target"] for mount in SERVICES[name]["volumes"] if isinstance(mount, dict)
    ]
    assert values["bag_directory"] in targets


def test_every_variable_is_listed_at_the_head_of_the_file() -> None:
    text = COMPOSE.read_text()
    head = text.partition("\nname:")[0]
    listed = head.partition("docker/.env:")[2]
    assert set(re.findall(r"\$\{(\w+)", text)) == set(re.findall(r"[A-Z_]+", listed))


def test_gpus_are_an_addition_to_training() -> None:
    services = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text())["services"]
    assert set(services) == {"training"}
    (device,) = services["training"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert set(services["training"]["build"]["args"]) <= set(
        SERVICES["training"]["build"]["args"]
    )


@each_dockerfile
def test_everything_copied_exists_and_is_sent_to_the_engine(file: Path) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    sent = [line[1:] for line in lines if line.startswith("!")]
    for source in copied(file):
        assert source.exists(), source
        relative = source.relative_to(ROOT)
        matches = []
        for place in (relative, *relative.parents):
            matches += [pattern for pattern in sent if fnmatch(str(place), pattern)]
        assert matches, source


@each_dockerfile
def test_links_in_what_is_copied_lead_to_something_copied(file: Path) -> None:
    places = copied(file)
    links = []
    for place in places:
        links += [path for path in place.rglob("*") if path.is_symlink()]
    assert links
    for link in links:
        assert any(link.resolve().is_relative_to(place) for place in places), link


@each_dockerfile
def test_requirements_that_are_installed_are_copied_first(file: Path) -> None:
    seen: list[Path] = []
    for word, rest in instructions(file):
        if word == "COPY":
            seen += [ROOT / source for source in rest.split()[:-1]]
        for name in re.findall(r"-[rc] (requirements/\S+)", rest):
            assert (ROOT / name).is_file()
            assert any((ROOT / name).is_relative_to(place) for place in seen), name


def test_training_has_every_package_that_it_imports() -> None:
    file = DOCKER / "training.Dockerfile"
    needed = packages_of("ptr_training") - {"ptr_msgs"}  # ROS messages, of nodes only
    assert {"ptr_common", "ptr_policy_node"} < needed
    assert {path.name for path in copied(file) if path.parent.name == "src"} == needed
    steps = " ".join(rest for _, rest in instructions(file))
    assert set(re.findall(r"\./src/(\w+)", steps)) == needed


def test_rosdep_sees_all_manifests_before_the_source_is_copied() -> None:
    manifests = {
        path for path in copied(DOCKER / "robot.Dockerfile") if path.name == "package.xml"
    }
    assert manifests == set((ROOT / "src").glob("*/package.xml"))
    steps = [rest for _, rest in instructions(DOCKER / "robot.Dockerfile")]
    rosdep = next(number for number, step in enumerate(steps) if "rosdep install" in step)
    assert (
        steps.index("src/widowx_bringup/package.xml src/widowx_bringup/")
        < rosdep
        < steps.index("src src")
    )


def test_the_drivers_of_all_cameras_are_installed() -> None:
    values = find_graph("eval").resolve({"policy": str(BUNDLE), "use_sim": "false"})
    packages = {
        make(values).package for name, make in CAMERA_DRIVERS.items() if name != "opencv"
    }
    installed = re.findall(
        r"ros-humble-(\S+)",
        (DOCKER / "robot.Dockerfile").read_text().partition("apt-get")[2],
    )
    assert {name.replace("_", "-") for name in packages} <= set(installed)


def enter(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the entry point where neither ROS nor a workspace has to be there."""
    environment = {"PATH": os.environ["PATH"], "INTERBOTIX_WS": "/nowhere", **variables}
    return subprocess.run(
        [str(DOCKER / "entrypoint"), *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_entry_point_becomes_the_command(tmp_path: Path) -> None:
    camera = tmp_path / "a camera"
    camera.touch()
    done = enter(
        "bash",
        "-c",
        "echo $$ $0 $1; exit 3",
        "one two",
        PTR_DEVICES="CAMERA",
        CAMERA=str(camera),
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout.split(maxsplit=1)[1] == "one two\n"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "error: CAMERA names no device\n  Set it in docker/.env"),
        (
            {"CAMERA": "/dev/v4l/by-id/gone"},
            "error: CAMERA=/dev/v4l/by-id/gone is not there\n  Is it plugged in",
        ),
    ],
)
def test_a_missing_device_is_named_before_anything_starts(
    variables: dict[str, str], message: str
) -> None:
    done = enter("echo", "started", PTR_DEVICES="CAMERA", **variables)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr


def test_interbotix_workspace_is_sourced_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "install").mkdir()
    (tmp_path / "install/setup.bash").write_text('export FOUND="${NOT_SET}yes"\n')
    assert enter("printenv", "FOUND", INTERBOTIX_WS=str(tmp_path)).stdout == "yes\n"

"""scripts/setup on machines that lack something, and the lock it installs."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = "bash cat cut date dirname env find flock grep id mkdir rm sed sha256sum sort tail uname "
TOOLS += "xargs"
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.in"))
PACKAGES = [
    ROOT / "src" / name
    for name in ("ptr_common", "ptr_policy_node", "ptr_training", "widowx_bringup")
]
# Packages of ROS 2, from wheels or an installed ROS, and ours.
ROS = re.compile(
    r"rclpy|launch|launch_ros|ament_index_python|\w+_(msgs|interfaces|srvs)|ptr_\w+|widowx_bringup"
)
ROSDEP = {
    "argcomplete": "python3-argcomplete",
    "cv2": "python3-opencv",
    "google": "python3-protobuf",
    "hypothesis": "python3-hypothesis",
    "jinja2": "python3-jinja2",
    "matplotlib": "python3-matplotlib",
    "numpy": "python3-numpy",
    "pytest": "python3-pytest",
    "tqdm": "python3-tqdm",
    "yaml": "python3-yaml",
}
# Looked up in rosdistro 8468e88 (2026-08-22): each is known for Humble on Ubuntu 22.04 and
# for Jazzy on 24.04. One unknown key and `rosdep install` installs nothing, so a new one is
# looked up there before it is added here.
KNOWN_KEYS = {
    "action_msgs",
    "ament_cmake",
    "builtin_interfaces",
    "diagnostic_msgs",
    "geometry_msgs",
    "joy",
    "launch",
    "launch_ros",
}
KNOWN_KEYS |= {
    "lifecycle_msgs",
    "rcl_interfaces",
    "rclpy",
    "ros2launch",
    "rosgraph_msgs",
    "rosidl_default_generators",
}
KNOWN_KEYS |= {
    "rosidl_default_runtime",
    "sensor_msgs",
    "std_msgs",
    "std_srvs",
    "tf2_msgs",
    *ROSDEP.values(),
}
OPTIONAL = {
    "interbotix_xs_msgs"
}  # of the real arm's driver, built from source beside it: rosdep does not know it
STANDARD_FROM_3_14 = {"compression"}
OTHER_NAMES = {
    "lance": ["pylance"],
    "rerun": ["rerun-sdk"],
}  # of distributions that need not be installed


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of what the script reads, in a path with a space."""
    clone = tmp_path / "a clone"
    for part in ("scripts", "requirements", "src/ptr_msgs", "test/interfaces"):
        shutil.copytree(ROOT / part, clone / part)
    return clone


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A PATH of the tools that every Linux has, and a Python; tests add their own commands."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS.split():
        found = shutil.which(tool)
        assert found, tool
        (folder / tool).symlink_to(found)
    (folder / "python3").symlink_to(Path(sys.base_prefix, "bin", "python3"))
    return folder


def command(machine: Path, name: str, script: str) -> None:
    (machine / name).unlink(missing_ok=True)
    (machine / name).write_text(f"#!/bin/bash\n{script}\n")
    (machine / name).chmod(0o755)


def set_up(clone: Path, machine: Path, **variables: str) -> str:
    """Run the script where it must fail, and return what it said."""
    done = subprocess.run(
        [clone / "scripts/setup"],
        env={"PATH": str(machine), "HOME": str(clone), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert not (clone / ".venv").exists()
    return done.stderr


def test_another_architecture_is_named(clone: Path, machine: Path) -> None:
    command(machine, "uname", '[ "$1" = -m ] && echo aarch64 || echo Linux')
    assert "this machine is Linux on aarch64" in set_up(clone, machine)


def test_a_python_that_is_too_old_is_named_with_what_would_do(
    clone: Path, machine: Path
) -> None:
    command(machine, "python3", '[ "$1" = --version ] && echo Python 3.9.2 || exit 1')
    said = set_up(clone, machine)
    assert "python3: Python 3.9.2" in said
    assert "3.10" in said
    assert "PYTHON=" in said


def test_a_named_python_is_not_replaced_by_another(clone: Path, machine: Path) -> None:
    command(machine, "mine", '[ "$1" = --version ] && echo Python 3.14.0 || exit 1')
    assert "mine: Python 3.14.0" in set_up(clone, machine, PYTHON="mine")


def test_a_missing_compiler_is_named_with_the_line_that_installs_it(
    clone: Path, machine: Path
) -> None:
    command(machine, "id", "echo 1000")
    said = set_up(clone, machine)
    assert "a C++ compiler" in said
    assert re.search(r"sudo apt-get install .*g\+\+", said)


def test_root_is_told_when_apt_fails(clone: Path, machine: Path) -> None:
    command(machine, "id", "echo 0")
    command(machine, "apt-get", "exit 100")
    said = set_up(clone, machine)
    assert "apt could not install" in said
    assert "a C++ compiler" in said


@pytest.mark.skipif(
    not (ROOT / ".venv/.done/ours").exists(),
    reason="scripts/setup has not made this environment",
)
def test_a_second_run_has_nothing_to_do() -> None:
    environment = {
        **os.environ,
        "PYTHON": "/no/python",
    }  # were there something to do, it would fail
    done = subprocess.run(
        [ROOT / "scripts/setup"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), (
        "run make setup first"
    )


def imports(folder: Path) -> set[str]:
    """Return the top-level modules that the files of a folder import and Python does not bring."""
    found: set[str] = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - STANDARD_FROM_3_14


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required(file: Path) -> set[str]:
    """Return the distributions that a requirements file names."""
    lines = (line.split("#")[0] for line in file.read_text(encoding="utf-8").splitlines())
    return {normalised(re.split(r"[\s=<>;]", line)[0]) for line in lines if line.strip()}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_everything_imported_is_required_by_name(package: Path) -> None:
    optional = (ROOT / "requirements/optional").glob("*.in")
    named = set[str]().union(*map(required, [*REQUIREMENTS, *optional]))
    providers = packages_distributions()
    forgotten = set()
    for name in imports(package / package.name):
        distributions = set(
            map(normalised, providers.get(name, OTHER_NAMES.get(name, [name])))
        )
        if not ROS.fullmatch(name) and not named & distributions:
            forgotten.add(name)
    assert forgotten == set()


def setup_arguments(package: Path) -> dict[str, ast.expr]:
    """Return the keyword arguments of a package's call of `setup`."""
    tree = ast.parse((package / "setup.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup":
            return {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    raise AssertionError(f"{package} has no call of setup")


def installs(package: Path) -> set[str]:
    """Return the distributions that a package's setup.py requires, extras included."""
    arguments = setup_arguments(package)
    lines = list(ast.literal_eval(arguments["install_requires"]))
    for extra, names in ast.literal_eval(arguments["extras_require"]).items():
        if extra != "test":
            lines += names
    return {normalised(re.split(r"[\s=<>;]", line)[0]) for line in lines}


def missing_from_setup(package: Path, found: set[str]) -> set[str]:
    """Return which modules come from no distribution that a package's setup.py requires."""
    required_here = installs(package)
    providers = packages_distributions()
    missing = set()
    for name in found:
        distributions = set(
            map(normalised, providers.get(name, OTHER_NAMES.get(name, [name])))
        )
        if name == "google":  # a namespace of many distributions; ours is protobuf
            distributions = {"protobuf"}
        if not distributions & required_here:
            missing.add(name)
    return missing


def third_party_and_ours(package: Path) -> set[str]:
    """Return the modules that a package imports from PyPI and from our other packages."""
    found = set()
    for name in imports(package / package.name) - {package.name, "ptr_msgs"}:
        if not ROS.fullmatch(name) or name in {other.name for other in PACKAGES}:
            found.add(name)
    return found


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_setup_requires_every_import(package: Path) -> None:
    assert missing_from_setup(package, third_party_and_ours(package)) == set()


def test_a_forgotten_requirement_is_found() -> None:
    package = ROOT / "src/ptr_policy_node"
    assert missing_from_setup(package, {"torch", "mujoco", "ptr_training"}) == {
        "mujoco",
        "ptr_training",
    }


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_robot_gets_what_apt_lacks_from_pip(package: Path) -> None:
    """What setup.py requires beside ROS is in robot.in, or has a key of rosdep, or is optional."""
    arguments = setup_arguments(package)
    named = {normalised(key) for key in ROSDEP.values()}
    by_apt = {key.removeprefix("python3-") for key in named}
    by_apt |= {"opencv-python-headless", "pyyaml", "markupsafe"}
    by_pip = required(ROOT / "requirements/robot.in")
    ours = {normalised(other.name) for other in PACKAGES}
    lines = ast.literal_eval(arguments["install_requires"])
    names = {normalised(re.split(r"[\s=<>;]", line)[0]) for line in lines}
    assert names - by_apt - by_pip - ours <= {
        "tensorboard"
    }  # curves of training, not on a robot


def depends(package: Path, *kinds: str) -> set[str]:
    """Return what a manifest names as a dependency of these kinds, by default of all kinds."""
    manifest = ElementTree.parse(package / "package.xml").getroot()
    wanted = [f"{kind}_depend".lstrip("_") for kind in kinds]
    return {
        str(each.text)
        for each in manifest
        if (each.tag in wanted if kinds else each.tag.endswith("depend"))
    }


def from_ros_or_apt(folder: Path) -> set[str]:
    """Return the keys of what a folder's files import from ROS and from apt."""
    found = {
        ROSDEP.get(name, name)
        for name in imports(folder)
        if ROS.fullmatch(name) or name in ROSDEP
    }
    return found - OPTIONAL - {folder.parent.name}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_the_manifest_names_what_ros_and_apt_have_to_bring(package: Path) -> None:
    running = depends(package, "", "exec")
    assert from_ros_or_apt(package / package.name) <= running
    assert from_ros_or_apt(package / "test") <= running | depends(package, "test")


@pytest.mark.parametrize(
    "package",
    sorted((ROOT / "src").glob("*/package.xml")),
    ids=lambda file: file.parent.name,
)
def test_rosdep_knows_every_key(package: Path) -> None:
    assert depends(package.parent) <= KNOWN_KEYS | {
        file.parent.name for file in (ROOT / "src").glob("*/package.xml")
    }


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_colcon_runs_the_tests_with_pytest(package: Path) -> None:
    assert any(
        re.fullmatch(r"pytest; extra == .test.", line)
        for line in requires(package.name) or []
    )


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("benchmark", "widowx_bringup"),
        ("lance", "ptr_training"),
        ("statistics", "widowx_bringup"),
        ("rerun", "ptr_training"),
        ("wandb", "ptr_training"),
        ("signature", "ptr_policy_node"),
    ],
)
def test_what_is_optional_is_pinned_with_the_versions_of_the_lock(
    name: str, package: str
) -> None:
    optional = ROOT / f"requirements/optional/{name}.txt"
    named = required(optional.with_suffix(".in"))
    assert named <= required(optional)
    assert named <= installs(ROOT / "src" / package)
    locked = set((ROOT / "requirements/lock.txt").read_text().split())
    both = required(optional) & required(ROOT / "requirements/lock.txt")
    assert both
    for line in optional.read_text().splitlines():
        if not line.startswith("#") and normalised(line.split("==")[0]) in both:
            assert line.split()[0] in locked, line


@pytest.mark.parametrize("file", REQUIREMENTS, ids=lambda file: file.name)
def test_the_lock_pins_every_requirement(file: Path) -> None:
    lock = ROOT / "requirements/lock.txt"
    assert required(file) - required(lock) == set()
    assert all(
        "==" in line
        for line in lock.read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    )

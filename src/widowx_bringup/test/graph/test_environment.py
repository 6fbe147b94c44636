"""Variables of a graph's processes: Fast DDS profile and discovery."""

from __future__ import annotations

from pathlib import Path

import pytest

from widowx_bringup.graph.environment import (
    PROFILE,
    config_folder,
    environment,
    profile_file,
)


@pytest.fixture(autouse=True)
def shell(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A shell in which nothing is set."""
    for name in (PROFILE, "ROS_DISTRO"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_simulation_stays_on_this_computer() -> None:
    variables = environment({"use_sim": "true"})
    assert variables["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert Path(variables[PROFILE]).is_file()
    assert environment({}) == variables


def test_a_simulation_stays_on_this_computer_on_humble(shell: pytest.MonkeyPatch) -> None:
    shell.setenv("ROS_DISTRO", "humble")
    variables = environment({"use_sim": "true"})
    assert variables["ROS_LOCALHOST_ONLY"] == "1"
    assert "ROS_AUTOMATIC_DISCOVERY_RANGE" not in variables
    assert profile_file().name == "fastdds_humble.xml"


def test_the_real_robot_keeps_the_discovery_of_the_shell() -> None:
    assert environment({"use_sim": "false"}) == {PROFILE: str(profile_file())}


def test_a_profile_of_the_shell_is_kept(shell: pytest.MonkeyPatch) -> None:
    shell.setenv(PROFILE, "/other.xml")
    assert environment({})[PROFILE] == "/other.xml"


def test_installed_parameter_files_come_before_those_of_the_source_tree(
    shell: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed = tmp_path / "share/widowx_bringup/config"
    installed.mkdir(parents=True)
    shell.setenv("AMENT_PREFIX_PATH", f":/nowhere:{tmp_path}")
    assert config_folder() == installed
    shell.setenv("AMENT_PREFIX_PATH", "/nowhere")
    assert (config_folder() / "arm.yaml").is_file()

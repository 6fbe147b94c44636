"""Variables of a graph's processes: Fast DDS profile and discovery."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from widowx_bringup.graph.environment import (
    DISCOVERY_RANGE,
    LOCALHOST_ONLY,
    PROFILE,
    STATIC_PEERS,
    config_folder,
    environment,
    profile_file,
)


@pytest.fixture(autouse=True)
def shell(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A shell in which nothing is set."""
    names = (PROFILE, "ROS_DISTRO", DISCOVERY_RANGE, STATIC_PEERS, LOCALHOST_ONLY)
    for name in names:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_simulation_stays_on_this_computer(shell: pytest.MonkeyPatch) -> None:
    shell.setenv(STATIC_PEERS, "robot.lab")
    variables = environment({"use_sim": "true"})
    assert variables[DISCOVERY_RANGE] == "LOCALHOST"
    assert variables[STATIC_PEERS] == ""
    assert variables[PROFILE] == str(profile_file(localhost=True))
    assert environment({}) == variables


def test_a_simulation_stays_on_this_computer_on_humble(shell: pytest.MonkeyPatch) -> None:
    shell.setenv("ROS_DISTRO", "humble")
    variables = environment({"use_sim": "true"})
    assert variables[LOCALHOST_ONLY] == "1"
    assert DISCOVERY_RANGE not in variables
    assert variables[PROFILE] == str(profile_file(localhost=True))


def test_the_real_robot_keeps_the_discovery_of_the_shell() -> None:
    assert environment({"use_sim": "false"}) == {PROFILE: str(profile_file())}


@pytest.mark.parametrize(
    ("variables", "localhost"),
    [
        ({DISCOVERY_RANGE: "SUBNET"}, False),
        ({DISCOVERY_RANGE: "LOCALHOST"}, True),
        ({DISCOVERY_RANGE: "LOCALHOST", STATIC_PEERS: "laptop"}, False),
        ({LOCALHOST_ONLY: "1", STATIC_PEERS: "laptop"}, True),
        ({LOCALHOST_ONLY: "0"}, False),
        ({DISCOVERY_RANGE: "LOCALHOST", "ROS_DISTRO": "humble"}, False),  # unknown there
    ],
)
def test_a_real_robot_without_a_second_computer_stays_on_its_own(
    shell: pytest.MonkeyPatch, variables: dict[str, str], localhost: bool
) -> None:
    for name, value in variables.items():
        shell.setenv(name, value)
    assert environment({"use_sim": "false"}) == {PROFILE: str(profile_file(localhost))}


def test_our_own_profile_in_the_shell_does_not_let_a_simulation_out(
    shell: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.xml"
    copy.write_bytes(profile_file().read_bytes())
    for file in (copy, profile_file()):
        shell.setenv(PROFILE, str(file))
        assert environment({})[PROFILE] == str(profile_file(localhost=True))


def test_both_profiles_differ_in_the_interfaces_of_udp_alone() -> None:
    anywhere, localhost = (
        ElementTree.parse(profile_file(localhost)).getroot() for localhost in (False, True)
    )
    (udp,) = (
        transport
        for transport in localhost.findall(".//{*}transport_descriptor")
        if transport.findtext("{*}type") == "UDPv4"
    )
    interfaces = udp.find("{*}interfaceWhiteList")
    assert interfaces is not None
    assert [address.text for address in interfaces] == ["127.0.0.1"]
    udp.remove(interfaces)
    texts = [
        [(element.tag, (element.text or "").strip()) for element in tree.iter()]
        for tree in (anywhere, localhost)
    ]
    assert texts[0] == texts[1]


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

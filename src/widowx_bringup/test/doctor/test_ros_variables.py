"""Variables that belong together, as `ptr doctor` judges them."""

from __future__ import annotations

from pathlib import Path

import pytest

from widowx_bringup.doctor.installation import Installation
from widowx_bringup.doctor.ros_variables import (
    FOLDER_PROFILE,
    Shell,
    check_variables,
    contradictions,
)
from widowx_bringup.graph.environment import PROFILE, profile_file

RANGE, PEERS = "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_STATIC_PEERS"
ONLY = "ROS_LOCALHOST_ONLY"
FAST_DDS, CYCLONE_DDS = "rmw_fastrtps_cpp", "rmw_cyclonedds_cpp"


def shell(
    variables: dict[str, str],
    distribution: str = "jazzy",
    middleware: str = FAST_DDS,
    folder: Path = Path("/nowhere"),
) -> Shell:
    return Shell(variables, Installation("", distribution, middleware), folder)


def found(shell: Shell) -> dict[str, str]:
    """Return the level of each contradiction by its variable."""
    results = dict(contradictions(shell))
    assert all(result.found and result.remedy for result in results.values())
    return {name: result.level for name, result in results.items()}


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"ROS_DOMAIN_ID": "7", RANGE: "SUBNET", PEERS: "10.0.0.2;laptop.lab"},
        {RANGE: "LOCALHOST", PEERS: "laptop.lab"},
        {"RMW_IMPLEMENTATION": FAST_DDS},
        {PROFILE: str(profile_file())},
        {PROFILE: str(profile_file(localhost=True)), RANGE: "LOCALHOST"},
        {"RMW_FASTRTPS_USE_QOS_FROM_XML": "0", "ROS_SECURITY_ENABLE": "false"},
    ],
)
def test_variables_that_agree_are_no_contradiction(variables: dict[str, str]) -> None:
    assert found(shell(variables)) == {}


@pytest.mark.parametrize(
    ("variables", "name", "level"),
    [
        ({ONLY: "1"}, ONLY, "warn"),
        ({ONLY: "0", RANGE: "SUBNET"}, ONLY, "warn"),
        ({ONLY: "1", RANGE: "SUBNET"}, ONLY, "warn"),
        ({ONLY: "1", PEERS: "laptop"}, ONLY, "warn"),
        ({RANGE: "OFF", PEERS: "laptop"}, PEERS, "warn"),
        ({RANGE: "SYSTEM_DEFAULT", PEERS: "laptop"}, PEERS, "warn"),
        ({PEERS: "10.0.0.2,10.0.0.3"}, PEERS, "fail"),
        ({PEERS: "10.0.0.2 10.0.0.3"}, PEERS, "fail"),
        ({"ROS_DISCOVERY_SERVER": "10.0.0.9:11811"}, "ROS_DISCOVERY_SERVER", "warn"),
        ({"RMW_IMPLEMENTATION": CYCLONE_DDS}, "RMW_IMPLEMENTATION", "fail"),
        ({"CYCLONEDDS_URI": "file:///c.xml"}, "CYCLONEDDS_URI", "warn"),
        (
            {"FASTDDS_DEFAULT_PROFILES_FILE": "/a.xml"},
            "FASTDDS_DEFAULT_PROFILES_FILE",
            "warn",
        ),
        (
            {"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"},
            "FASTDDS_BUILTIN_TRANSPORTS",
            "warn",
        ),
        ({"RMW_FASTRTPS_USE_QOS_FROM_XML": "1"}, "RMW_FASTRTPS_USE_QOS_FROM_XML", "warn"),
        ({PROFILE: str(profile_file(localhost=True))}, PROFILE, "warn"),
        (
            {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce"},
            "ROS_SECURITY_ENABLE",
            "fail",
        ),
        (
            {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_KEYSTORE": "/"},
            "ROS_SECURITY_STRATEGY",
            "warn",
        ),
    ],
)
def test_each_contradiction_is_one_line_with_its_remedy(
    variables: dict[str, str], name: str, level: str
) -> None:
    assert found(shell(variables)) == {name: level}


def test_what_localhost_only_overrides_is_named() -> None:
    results = dict(contradictions(shell({ONLY: "1", RANGE: "SUBNET", PEERS: "laptop"})))
    overridden = f"overrides {PEERS}=laptop and {RANGE}=SUBNET"
    assert results[ONLY].found.endswith(overridden)
    assert results[ONLY].remedy == f"unset {ONLY}"


def test_what_humble_does_not_know_is_said() -> None:
    variables = {RANGE: "LOCALHOST", PEERS: "laptop"}
    assert found(shell(variables, "humble")) == {RANGE: "warn", PEERS: "warn"}
    assert found(shell({ONLY: "1"}, "humble")) == {}


def test_settings_of_fast_dds_have_no_effect_on_another_middleware() -> None:
    variables = {
        "RMW_IMPLEMENTATION": CYCLONE_DDS,
        "CYCLONEDDS_URI": "file:///c.xml",
        PROFILE: str(profile_file()),
    }
    assert found(shell(variables, middleware=CYCLONE_DDS)) == {PROFILE: "warn"}


def test_a_profile_in_the_working_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / FOLDER_PROFILE).touch()
    assert found(shell({}, folder=tmp_path)) == {FOLDER_PROFILE: "warn"}


def test_variables_that_are_set_are_listed_with_their_values() -> None:
    line = check_variables(shell({"ROS_DOMAIN_ID": "7", PEERS: "", "HOME": "/root"}))
    assert (line.level, line.found) == ("ok", "ROS_DOMAIN_ID=7")
    assert check_variables(shell({})).found.startswith("none of ROS_DOMAIN_ID, ")

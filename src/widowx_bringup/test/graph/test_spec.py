"""Arguments are completed and checked; nodes know their names in the ROS graph."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from widowx_bringup.graph.spec import (
    BOOLEAN,
    Argument,
    Graph,
    GraphError,
    NodeSpec,
    join_names,
)


def no_nodes(_: Mapping[str, str]) -> list[NodeSpec]:
    return []


GRAPH = Graph(
    "toy",
    "a graph without nodes",
    (
        Argument("policy", "bundle of the policy"),
        Argument("camera", "name of the camera", "front"),
        Argument("width", "image width [pixels]", "640", kind=int),
        Argument("record", "whether to record", "true", BOOLEAN),
    ),
    no_nodes,
)


def test_missing_values_are_the_defaults() -> None:
    assert GRAPH.resolve({"policy": "p", "width": "64"}) == {
        "policy": "p",
        "camera": "front",
        "width": "64",
        "record": "true",
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"camra": "x"},
            "toy has no argument 'camra'; did you mean camera[?] Known are: pol",
        ),
        (
            {"zzz": "x"},
            "toy has no argument 'zzz'; known are: policy, camera, width, record",
        ),
        ({}, "toy needs policy:=…  .bundle of the policy."),
        ({"policy": ""}, "toy needs policy:=…  .bundle of the policy."),
        (
            {"policy": "x", "record": "yes"},
            "record:=yes is not possible; choose from: true, f",
        ),
        ({"policy": "x", "width": "wide"}, r"width:=wide is not possible \(image width"),
    ],
)
def test_impossible_arguments_are_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        GRAPH.resolve(given)


@pytest.mark.parametrize(
    ("namespace", "name"), [("wx", "/wx/a"), ("/lab/wx/", "/lab/wx/a"), ("", "/a")]
)
def test_full_name_is_that_of_the_ros_graph(namespace: str, name: str) -> None:
    assert NodeSpec("p", "a", namespace=namespace).full_name == name
    assert NodeSpec("p", "b", namespace=namespace, name="a").full_name == name


def test_names_are_joined_by_single_slashes() -> None:
    assert join_names("/lab/wx/", "", "sim/world") == "lab/wx/sim/world"


def test_only_our_nodes_report_their_state() -> None:
    assert NodeSpec("widowx_bringup", "arm_node").reports
    assert NodeSpec("ptr_policy_node", "policy_node").reports
    assert not NodeSpec("usb_cam", "usb_cam_node_exe").reports
    assert not NodeSpec("widowx_bringup", "driver_keeper").reports

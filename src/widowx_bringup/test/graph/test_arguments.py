"""Arguments of the graphs: described, with possible defaults, and wrong values refused."""

from __future__ import annotations

import pytest
from graph_nodes import GIVEN

from widowx_bringup.graph.graphs import GRAPHS, find_graph
from widowx_bringup.graph.spec import Graph, GraphError


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_every_argument_is_described_and_its_default_possible(graph: Graph) -> None:
    for argument in graph.arguments:
        assert len(argument.description) > 5
        if argument.default is not None:
            argument.check(argument.default)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("use_sim:=yes", "choose from: true, false"),
        ("robot_name:=my robot", "letters, digits and _"),
        ("camera:=over-shoulder", "letters, digits and _"),
        ("camera:=", "letters, digits and _"),
        ("width:=wide", "image width of the cameras"),
        ("width:=0", "allowed are 1 to 16384"),
        ("height:=-480", "allowed are 1 to 16384"),
        ("camera_rate:=0", "it must be positive"),
        ("camera_rate:=inf", "it must be positive"),
        ("real_time_factor:=-1", "allowed are 0.001 to 1000"),
        ("real_time_factor:=nan", "allowed are 0.001 to 1000"),
        ("disturbance:=2", "allowed are 0 to 1"),
        ("camera_delay:=31", "allowed are 0 to 30"),
        ("camera_latency:=soon", "allowed are 0 to 1 s"),
        ("camera_latency:=nan", "allowed are 0 to 1 s"),
        ("other_cameras:=the wrist", "letters, digits and _; found 'the wrist'"),
        ("camera_driver:=usbcam", "choose from: opencv, usb_cam, v4l2_camera, realsense"),
        ("scene:=put the rde cube on the white plate", "did you mean 'put the red cube on"),
        ("scene_seed:=-1", "allowed are 0 to"),
        ("teleop:=joystick", "choose from: auto, scripted, none, gamepad"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_it(word: str, message: str) -> None:
    name, _, value = word.partition(":=")
    with pytest.raises(GraphError) as refused:
        find_graph("record").resolve({**GIVEN["record"], name: value})
    text = str(refused.value)
    assert text.startswith(f"{word} is not possible")
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "word",
    [
        "robot_name:=",
        "robot_name:=/lab/left",
        "camera_latency:=0.1",
        "other_cameras:=a=/dev/a,b",
    ],
)
def test_unusual_values_that_make_sense_are_accepted(word: str) -> None:
    name, _, value = word.partition(":=")
    assert find_graph("record").resolve({**GIVEN["record"], name: value})[name] == value

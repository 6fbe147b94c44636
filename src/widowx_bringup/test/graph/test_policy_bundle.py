"""What the bundle of a policy decides about its graph, and what contradicts it."""

from __future__ import annotations

from pathlib import Path

import pytest
from graph_nodes import BUNDLE, nodes_of, write_description

from ptr_common.errors import PtrError
from widowx_bringup.graph.graphs import find_graph
from widowx_bringup.graph.spec import GraphError

CAMERA = {"name": "front", "width": 320, "height": 240}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of another camera that knows two tasks, one of them by another name as well."""
    return write_description(
        tmp_path,
        camera=CAMERA,
        tasks=["open the door", "stir"],
        aliases={"shut the door": "open the door"},
    )


@pytest.mark.parametrize("name", ["eval", "replay"])
def test_camera_size_and_rate_are_those_of_the_bundle(bundle: Path, name: str) -> None:
    given = {"policy": str(bundle), "bag": "bag"}
    graph = find_graph(name)
    names = {argument.name for argument in graph.arguments}
    values = graph.resolve({name: given[name] for name in given.keys() & names})
    assert (values["camera"], values["width"], values["height"]) == ("front", "320", "240")
    assert values.get("camera_rate", "30.0") == "30.0"
    policy = {node.executable: node for node in graph.nodes(values)}["policy_node"]
    assert policy.parameters["camera"] == "front"
    assert (policy.parameters["width"], policy.parameters["height"]) == (320, 240)


def test_values_that_the_user_gives_and_the_bundle_has_are_taken(bundle: Path) -> None:
    given = {"camera": "front", "width": "320", "height": "240", "camera_rate": "15"}
    values = find_graph("eval").resolve({"policy": str(bundle), **given})
    assert given.items() <= values.items()


@pytest.mark.parametrize("name", ["eval", "replay"])
def test_all_contradictions_are_one_error(bundle: Path, name: str) -> None:
    with pytest.raises(GraphError) as refused:
        nodes_of(name, policy=str(bundle), camera="over_shoulder", width="64")
    text = str(refused.value)
    assert "camera:=over_shoulder where the bundle has front" in text
    assert "width:=64 where the bundle has 320" in text
    assert "height" not in text


def test_fewer_images_than_steps_are_refused(bundle: Path) -> None:
    with pytest.raises(GraphError, match="camera_rate:=4 below the bundle's 5 Hz"):
        nodes_of("eval", policy=str(bundle), camera_rate="4")


def test_a_bundle_of_another_control_rate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="acts at 10 Hz; this arm is commanded at 5"):
        nodes_of("eval", policy=str(write_description(tmp_path, rate=10.0)))


@pytest.mark.parametrize("name", ["eval", "replay"])
def test_a_task_that_the_bundle_does_not_know_is_refused_with_those_it_knows(
    bundle: Path, name: str
) -> None:
    with pytest.raises(
        GraphError,
        match=r"no task 'open the dor'; did you mean 'open the door'\? Known are: "
        "'open the door', 'stir', 'shut the door'",
    ):
        nodes_of(name, policy=str(bundle), task="open the dor")
    for task in ("stir", "shut the door", ""):
        assert nodes_of(name, policy=str(bundle), task=task)


def test_what_is_no_bundle_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(PtrError, match="nowhere is not a bundle: it has no bundle"):
        nodes_of("eval", policy="nowhere")
    (tmp_path / "bundle.json").write_text("[]")
    with pytest.raises(PtrError, match="format version is None"):
        nodes_of("replay", policy=str(tmp_path))


def test_a_policy_that_is_configured_later_may_get_another_bundle(bundle: Path) -> None:
    assert nodes_of("eval", policy=str(bundle), task="fold", autostart="false")
    values = find_graph("eval").resolve({"policy": "nowhere", "autostart": "false"})
    assert (values["camera"], values["width"]) == ("over_shoulder", "640")
    values = find_graph("eval").resolve({"policy": str(BUNDLE), "autostart": "false"})
    assert values["width"] == "48"


def test_a_shadow_of_another_camera_is_refused(bundle: Path) -> None:
    with pytest.raises(
        GraphError, match="contradicts the arguments: camera:=over_shoulder"
    ):
        nodes_of("eval", shadow=str(bundle))
    with pytest.raises(PtrError, match="nowhere is not a bundle"):
        nodes_of("eval", shadow="nowhere")

"""`served.yaml`: what stands for a bundle, and what in it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from served_rig import describe
from toy_bundle import CAMERA

from ptr_policy_node.bundle import (
    BundleError,
    description_file,
    read_bundle,
    read_description,
    read_info,
)
from ptr_policy_node.policy import load_bundle
from ptr_policy_node.served.description import Keys, Units, read_served

URL = "ws://127.0.0.1:8000"


def test_it_stands_for_a_bundle(tmp_path: Path) -> None:
    file = describe(tmp_path / "served.yaml", "openpi", URL, execute=4)
    bundle = read_bundle(file)
    info = read_info(file)
    assert info == bundle.info == read_description(description_file(file))
    assert (info.camera, info.tasks, info.rate) == (CAMERA, ("a", "b"), 5.0)
    assert info.execute == 4
    assert len(bundle.sha256) == 64
    read_bundle(file, bundle.sha256)
    with pytest.raises(BundleError, match=r"is the bundle .* expected 00"):
        read_bundle(file, "0" * 64)


def test_what_is_left_out_has_its_usual_value(tmp_path: Path) -> None:
    file = describe(tmp_path / "served.yaml", "openpi", URL, "deadline_ms")
    served, _ = read_served(file)
    assert served.deadline == 0.15
    assert served.size == (CAMERA.height, CAMERA.width)
    assert (served.keys, served.units) == (Keys(), Units())
    assert (served.token(), served.pad, served.rerank) == ("", False, None)


def test_paths_are_relative_to_the_description(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("word\n")
    rerank = {"bundle": "critic", "samples": 8}
    file = describe(
        tmp_path / "served.yaml", "openpi", URL, token_file="token", rerank=rerank
    )
    served, _ = read_served(file)
    assert served.token() == "word"
    assert served.rerank is not None
    assert served.rerank.bundle == tmp_path / "critic"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "grpc"}, "protocol is 'grpc'; expected openpi or openvla"),
        ({"url": "http://127.0.0.1"}, r"url is .*; expected an address of openpi, ws://"),
        ({"url": "ws://host:no"}, "url is 'ws://host:no'"),
        ({"tasks": []}, r"tasks is \[\]; expected different names, at least one"),
        ({"tasks": ["a", "a"]}, "expected different names"),
        ({"camera": {"name": "front"}}, r"it lacks camera\.width"),
        ({"deadline_ms": 0}, "deadline_ms is 0; expected a number from 1 to 60000"),
        ({"execute": 0}, "execute is 0"),
        ({"action": {"gripper": [1, 1]}}, r"action\.gripper is \[1, 1\]; expected two"),
        ({"action": {"scale": 2}}, r"unknown entry action\.scale"),
        ({"image": {"fit": "crop"}}, r"image\.fit is 'crop'; expected stretch or pad"),
        ({"rerank": {"bundle": "b", "samples": 1}}, r"rerank\.samples is 1"),
        ({"deadline": 1}, "unknown entry deadline; did you mean deadline_ms"),
        ({"token_file": "none"}, "none cannot be read"),
    ],
)
def test_a_wrong_value_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    file = describe(tmp_path / "served.yaml", "openpi", URL, **changes)
    with pytest.raises(BundleError, match=message):
        read_served(file)[0].token()


def test_openvla_answers_one_action(tmp_path: Path) -> None:
    url = "http://127.0.0.1:8000"
    file = describe(tmp_path / "served.yaml", "openvla", url, execute=2)
    with pytest.raises(
        BundleError, match="execute is 2; expected a whole number from 1 to 1"
    ):
        read_info(file)


def test_no_signature_vouches_for_a_served_policy(tmp_path: Path) -> None:
    file = describe(tmp_path / "served.yaml", "openpi", URL)
    with pytest.raises(BundleError, match="no signature can vouch for it"):
        load_bundle(file, key=tmp_path / "key.pem")


def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "served.yaml").write_text("{")
    with pytest.raises(BundleError, match=r"served\.yaml cannot be read"):
        read_info(tmp_path / "served.yaml")
    with pytest.raises(BundleError, match="No such file"):
        read_info(tmp_path / "other.yaml")

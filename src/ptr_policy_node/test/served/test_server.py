"""`ptr serve`: who may ask, and what each malformed request is answered."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

from served_rig import Serving, describe, serving
from toy_bundle import CAMERA

from ptr_common.errors import PtrError
from ptr_policy_node.policy import Policy, load_bundle
from ptr_policy_node.served.arrays import (
    from_json,
    from_msgpack,
    to_json,
    to_msgpack,
    with_arrays,
)
from ptr_policy_node.served.main import main

IMAGE = np.full((CAMERA.height, CAMERA.width, 3), 51, np.uint8)
STATE = np.linspace(0.0, 0.6, 7)


@pytest.fixture
def opened(local: Policy) -> Iterator[Serving]:
    with serving(local, host="0.0.0.0") as found:
        yield found


def post(
    served: Serving, body: bytes, path: str = "/act", **headers: str
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", served.ports[1], timeout=20)
    with contextlib.closing(connection):
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, with_arrays(from_json(b'{"it":%s}' % response.read())["it"])


def observation(**changes: Any) -> bytes:
    values = {"image": IMAGE, "instruction": "a", "state": STATE, **changes}
    return to_json(values).encode()


def test_an_observation_is_answered_with_the_action(served: Serving, local: Policy) -> None:
    status, action = post(served, observation(unnorm_key="bridge_orig"))
    assert status == 200
    expected = local.fresh().act(IMAGE, STATE, "a").action
    np.testing.assert_array_equal(action.astype(np.float32), expected)
    assert served.server.counts == {"answered": 1}


MALFORMED = [
    (b"\x80\x04.", 400, "can't decode"),
    (b"[]", 400, "the message is a list, not a table of names"),
    (b"{" * 9000, 400, "Expecting|nested too deep"),
    (observation(image=None), 422, "image is missing; an array of uint8 is expected"),
    (observation(image=[[1]]), 422, "image is of type list"),
    (observation(image=IMAGE[:2]), 422, r"image is uint8 \(2, 32, 3\)"),
    (observation(image=IMAGE[..., 0]), 422, r"image is uint8 \(24, 32\)"),
    (observation(image=IMAGE.astype(np.float16)), 422, "image is float16"),
    (observation(state=None), 422, "state is missing; this policy acts by 7 numbers"),
    (observation(state=STATE[:6]), 422, r"state is an array of shape \(6,\)"),
    (observation(state=STATE * np.nan), 422, "expected 7 finite values"),
    (observation(instruction=7), 422, "instruction is of type int"),
    (observation(instruction="dance"), 422, "unknown task 'dance'; known are: 'a', 'b'"),
]


@pytest.mark.parametrize(("body", "status", "message"), MALFORMED)
def test_a_malformed_request_has_one_clear_error_and_is_counted(
    served: Serving, body: bytes, status: int, message: str
) -> None:
    found, answer = post(served, body)
    assert (found, served.server.counts) == (status, {"refused": 1})
    assert re.search(message, answer["detail"])
    assert post(served, observation())[0] == 200


def test_requests_without_a_length_or_too_large_are_not_read(served: Serving) -> None:
    large = str(served.server.largest_request + 1)
    for headers in ({"Content-Length": large}, {"Content-Length": "-1"}):
        status, answer = post(served, b"", **headers)
        assert status == 413
        assert "a request has a Content-Length of 1 to" in answer["detail"]
    assert post(served, observation(), path="/other")[0] == 404


def test_pages_and_other_names_of_this_computer_are_refused(served: Serving) -> None:
    page, name, none = {"Origin": "http://x.example"}, {"Host": "x.example"}, {"Host": "["}
    for headers in (page, name, none):
        assert post(served, observation(), **headers)[0] == 403
    assert served.server.counts == {"refused": 3}


def test_opened_to_the_network_it_wants_the_token(opened: Serving, tmp_path: Path) -> None:
    assert post(opened, observation())[0] == 403
    for scheme in ("Bearer", "Api-Key"):
        word = f"{scheme} {opened.access.token}"
        assert post(opened, observation(), Authorization=word)[0] == 200
    (tmp_path / "token").write_text(opened.access.token)
    url = opened.urls["openvla"]
    file = describe(tmp_path / "served.yaml", "openvla", url, token_file="token")
    policy = load_bundle(file)
    assert np.isfinite(policy.act(IMAGE, STATE, "b").action).all()


def test_an_address_in_use_is_named(served: Serving, local: Policy) -> None:
    taken = rf"cannot listen on 127\.0\.0\.1:{served.ports[0]}: .*[Aa]ddress.*in use"
    with pytest.raises(PtrError, match=taken), serving(local, ports=served.ports):
        pass


def test_messages_of_openpi_are_answered_on_one_connection(
    served: Serving, local: Policy
) -> None:
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    asked = {"image": IMAGE, "state": STATE, "prompt": "b"}
    with connect(served.urls["openpi"], proxy=None) as connection:
        metadata = from_msgpack(connection.recv(20))
        assert metadata["bundle"] == local.sha256
        assert metadata["tasks"] == ["a", "b"]
        wrong = [
            (b"\xc1", "the message is not msgpack"),
            ("text", "the message is text, not msgpack"),
            (to_msgpack({**asked, "prompt": "c"}), "unknown task 'c'"),
            (to_msgpack({"prompt": "a"}), "image is missing"),
        ]
        for message, expected in wrong:
            connection.send(message)
            assert expected in connection.recv(20)
        connection.send(to_msgpack(asked))
        answer = from_msgpack(connection.recv(20))
        output = local.fresh().act(IMAGE, STATE, "b")
        np.testing.assert_array_equal(answer["actions"], [output.action])
        np.testing.assert_array_equal(answer["q_values"], [local.q_values(output)])
        assert answer["std"].shape == (1, 7)
        assert served.server.counts == {"refused": 4, "answered": 1}
        connection.send(bytes(served.server.largest_request + 1))
        with pytest.raises(ConnectionClosed, match="too big"):
            connection.recv(20)


def test_the_verb_serves_until_a_signal(bundle: Path, tmp_path: Path) -> None:
    code = "import sys; from ptr_policy_node.served.main import main; main(sys.argv[1:])"
    words = [sys.executable, "-c", code, str(bundle), "--port", "0", "--act-port", "0"]
    paths = os.pathsep.join(sys.path)
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    assert "openpi: ws://127.0.0.1:" in lines[1]
    url = lines[2].split()[-1].removesuffix("/act")
    load_bundle(describe(tmp_path / "served.yaml", "openvla", url))
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert rest == "1 observations answered, 0 refused\n"


def test_what_is_served_already_is_not_served(tmp_path: Path) -> None:
    file = describe(tmp_path / "served.yaml", "openvla", "http://127.0.0.1:9")
    with pytest.raises(PtrError, match="is served already"):
        main([str(file)])

"""The server: the page, and who gets it."""

from __future__ import annotations

import contextlib
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from widowx_bringup.console.access import Access
from widowx_bringup.console.images import Frame
from widowx_bringup.console.server import ConsoleError, ConsoleServer


class Nothing:
    """A console that shows nothing."""

    def view(self, browser: str) -> Mapping[str, Any]:
        return {"me": browser}

    def frames(self) -> list[Frame]:
        return []

    def receive(self, browser: str, message: Mapping[str, Any], view_age: float) -> None:
        raise ValueError

    def joined(self, browser: str) -> None:
        pass

    def left(self, browser: str) -> None:
        pass


@pytest.fixture
def guarded() -> Iterator[tuple[int, str]]:
    """Yield port and token of a console that is open to the network by its rules."""
    access = Access("0.0.0.0")
    with contextlib.closing(ConsoleServer(Nothing(), access, "127.0.0.1", 0)) as server:
        yield server.port, access.token


def get(port: int, path: str) -> tuple[int, str, Mapping[str, str]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


def test_the_page_wants_the_token(guarded: tuple[int, str]) -> None:
    port, token = guarded
    for path in ("/", "/?token=wrong", "/anything", "/live"):
        assert get(port, path)[0] == 403
    assert get(port, f"/?token={token}")[0] == 200
    assert get(port, f"/else?token={token}")[0] == 404


def test_state_images_and_commands_want_the_token(guarded: tuple[int, str]) -> None:
    port, token = guarded
    for query in ("", "?token=wrong"):
        with (
            pytest.raises(InvalidStatus, match="403"),
            connect(f"ws://127.0.0.1:{port}/live{query}"),
        ):
            pass
    with connect(f"ws://127.0.0.1:{port}/live?token={token}") as browser:
        assert '"view": 1' in browser.recv(timeout=10)


def test_another_page_of_the_same_browser_is_refused(guarded: tuple[int, str]) -> None:
    port, token = guarded
    address = f"ws://127.0.0.1:{port}/live?token={token}"
    with (
        pytest.raises(InvalidStatus, match="403"),
        connect(address, origin="http://evil.example"),
    ):
        pass


def test_the_page_needs_nothing_from_elsewhere_and_may_load_nothing(
    guarded: tuple[int, str],
) -> None:
    port, token = guarded
    _, page, headers = get(port, f"/?token={token}")
    assert re.findall(r"""(?:src|href)=["'](?!data:)""", page) == []
    assert "://" not in page.replace("`${scheme}://", "")
    assert headers["Content-Security-Policy"].startswith(
        "default-src 'none'; script-src 'sha256-"
    )
    assert "unsafe" not in headers["Content-Security-Policy"]


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            ConsoleError, match=f"cannot listen on 127.0.0.1:{port}: another"
        ):
            ConsoleServer(Nothing(), Access("127.0.0.1"), "127.0.0.1", port)

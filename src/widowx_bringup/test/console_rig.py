"""A console under test, and browsers that show its page."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.parameter import Parameter  # noqa: E402
from teleop_rig import Rig  # noqa: E402
from websockets.exceptions import ConnectionClosed  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

from widowx_bringup.console.node import ConsoleNode  # noqa: E402


class Browser:
    """Shows every view at once, as the page does.

    Attributes:
        view: Newest view.
        images: Newest image of each camera, as JPEG.
        motion: What is held; with every view a heartbeat is sent, if it is not empty.
        asleep: Whether nothing is sent any more.
    """

    def __init__(self, port: int, query: str = "") -> None:
        self.view: dict[str, Any] = {}
        self.images: dict[str, bytes] = {}
        self.motion: Sequence[float] = ()
        self.asleep = False
        self._open = contextlib.ExitStack()
        address = f"ws://127.0.0.1:{port}/live{query}"
        self._socket = self._open.enter_context(connect(address))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            for message in self._socket:
                if isinstance(message, bytes):
                    end = 1 + message[0]
                    self.images[message[1:end].decode()] = message[end:]
                    continue
                self.view = json.loads(message)
                if not self.asleep:
                    self.send(**({"motion": list(self.motion)} if self.motion else {}))

    def send(self, **values: Any) -> None:
        self._socket.send(json.dumps({"shown": self.view["view"], **values}))

    @property
    def name(self) -> str:
        return str(self.view["me"])

    @property
    def drives(self) -> bool:
        return bool(self.view) and self.view["drive"]["driver"] == self.view["me"]

    def has_shown(self, text: str) -> bool:
        return any(text in line for _, line in self.view.get("lines", ()))

    def close(self) -> None:
        self._open.close()
        self._thread.join(timeout=5.0)

    @property
    def close_code(self) -> int | None:
        return self._socket.close_code


class ConsoleRig(Rig):
    """A console beside the arm, the camera and the simulation that a probe plays."""

    node: ConsoleNode

    def make_node(self, parameters: list[Parameter]) -> ConsoleNode:
        return ConsoleNode(parameter_overrides=[*parameters, Parameter("port", value=0)])

    def browse(self) -> Browser:
        browser = Browser(self.node.server.port)
        self.until(lambda: browser.view)
        return browser

    def drive(self, browser: Browser) -> None:
        browser.send(drive=True)
        self.until(lambda: browser.drives)

    def record_by(self, browser: Browser) -> None:
        """Press the button on the page and wait for the START."""
        events = len(self.events)
        browser.send(press="record")
        self.until(lambda: len(self.events) > events)

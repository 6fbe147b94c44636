"""Calls of services that answer, refuse, hang or are not there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.task import Future

from widowx_bringup.teleop import calls
from widowx_bringup.teleop.calls import Answer, Calls


class Client:
    """A client of a service that answers when the test says so."""

    srv_name = "arm/hold"

    def __init__(self, *, ready: bool = True) -> None:
        self.ready = ready
        self.future: Any = Future()
        self.removed: list[Any] = []
        self.remove_pending_request = self.removed.append

    def service_is_ready(self) -> bool:
        return self.ready

    def call_async(self, request: object) -> Any:
        return self.future


def ask(client: Client) -> tuple[Calls, list[Answer]]:
    made, answers = Calls(), []
    made.ask(client, None, answers.append)  # type: ignore[arg-type]
    return made, answers


def test_an_answer_is_handed_on_once() -> None:
    client = Client()
    made, answers = ask(client)
    made.check()
    assert answers == []
    client.future.set_result(SimpleNamespace(success=True, message="held"))
    made.check()
    made.check()
    assert answers == [Answer(True, "held")]


def test_a_service_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "ANSWER_LIMIT", -1.0)
    client = Client()
    made, answers = ask(client)
    made.check()
    assert answers == [Answer(False, "arm/hold: no answer for -1 s")]
    assert client.removed == [client.future]


def test_a_service_that_nobody_offers_is_answered_at_once() -> None:
    _, answers = ask(Client(ready=False))
    assert answers == [Answer(False, "arm/hold: no node answers")]

"""Calls of services from a person's node: none blocks the keys, none is waited for for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.client import Client

ANSWER_LIMIT = 5.0
"""Longest time for an answer [s]."""


@dataclass(frozen=True)
class Answer:
    """What became of a call.

    Attributes:
        success: Whether the service did what it was asked for.
        message: Its text, or why there is none.
    """

    success: bool
    message: str


@dataclass(frozen=True)
class _Call:
    client: Client
    future: Any
    deadline: float  # on the monotonic clock [s]
    on_answer: Callable[[Answer], object]


class Calls:
    """Calls under way; `check` has to be called regularly, in the thread of the node."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def ask(
        self, client: Client, request: object, on_answer: Callable[[Answer], object]
    ) -> None:
        """Call a service.

        Args:
            client: Of a service whose response has `success` and `message`.
            request: Its request.
            on_answer: Receives the answer, at once if no node offers the service.
        """
        if not client.service_is_ready():
            on_answer(Answer(False, f"{client.srv_name}: no node answers"))
            return
        future = client.call_async(request)
        deadline = time.monotonic() + ANSWER_LIMIT
        self._calls.append(_Call(client, future, deadline, on_answer))

    def check(self) -> None:
        """Hand on the answers that have arrived, and end the calls that got none."""
        now = time.monotonic()
        for call in list(self._calls):
            if call.future.done():
                result = call.future.result()
                answer = Answer(result.success, result.message)
            elif now > call.deadline:
                call.client.remove_pending_request(call.future)
                text = f"{call.client.srv_name}: no answer for {ANSWER_LIMIT:g} s"
                answer = Answer(False, text)
            else:
                continue
            self._calls.remove(call)
            call.on_answer(answer)

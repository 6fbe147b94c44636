"""Asks a server in a thread of its own, so that who needs an answer waits no longer than it may."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ptr_policy_node.bundle_info import BundleError

ANSWER_LIMIT = 30.0
"""Longest time after which a connection without an answer is given up [s]."""


class NoActionError(BundleError):
    """A served policy has no action for an observation; none may be made up for it.

    Args:
        kind: Short name by which such cases are counted.
        text: Why, for people.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True)
class Observation:
    """What a served policy is asked about."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    proprio: np.ndarray  # (7,) float32, see action_space.PROPRIO_NAMES
    task: str


class Client(Protocol):
    """One connection to a server; used by one thread at a time.

    Each method raises NoActionError, OSError or ValueError where it fails.
    """

    def reopen(self) -> None:
        """Begin a new connection; a server may keep a state for each."""

    def ask(self, observation: Observation) -> Mapping[str, Any]:
        """Return the server's answer; connects if there is no connection."""
        ...

    def close(self) -> None:
        """End the connection, from whatever thread."""


class Link:
    """Asks a client in threads of its own, one at a time.

    An answer that comes too late is dropped; until it has come, nothing is asked.

    Args:
        client: The connection.
        name: Of the server, for messages.
    """

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name
        self._busy: Future[Any] = Future()
        self._busy.set_result(None)
        self._reopening = False

    def reset(self) -> None:
        """Begin a new connection, without waiting for it."""
        before = self._busy

        def reopen() -> None:
            """Begin the connection once nobody uses the one before it."""
            self._client.close()
            wait([before], ANSWER_LIMIT)
            self._client.reopen()

        self._reopening = True
        self._busy = self._start(reopen)

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def ask(
        self, observation: Observation, samples: int, limit: float
    ) -> Sequence[Mapping[str, Any]]:
        """Return a server's answers to one observation.

        Args:
            observation: What it is asked about.
            samples: Number of answers.
            limit: Longest time in which all must come [s].

        Raises:
            NoActionError: If they do not come in time, or not at all.
        """
        end = time.monotonic() + limit
        late = NoActionError(
            "late", f"{self._name} did not answer within {1000 * limit:.0f} ms"
        )
        if self._reopening:
            wait([self._busy], limit)
        if not self._busy.done():
            done = "been reached" if self._reopening else "answered an earlier observation"
            raise NoActionError("late", f"{self._name} has not {done} yet")
        self._reopening = False

        def ask_all() -> list[Mapping[str, Any]]:
            """Return all answers; the rest is not asked for once nobody waits."""
            found: list[Mapping[str, Any]] = []
            for _ in range(samples):
                if found and time.monotonic() > end:
                    raise late
                found.append(self._client.ask(observation))
            return found

        answers = self._busy = self._start(ask_all)
        wait([answers], max(0.0, end - time.monotonic()))
        if not answers.done():
            raise late
        try:
            return list(answers.result())
        except ValueError as error:
            raise NoActionError("malformed", f"{self._name}: {error}") from error
        except OSError as error:
            raise NoActionError("no connection", f"{self._name}: {error}") from error

    @staticmethod
    def _start(work: Callable[[], Any]) -> Future[Any]:
        """Return what a function in a thread of its own will give."""
        future: Future[Any] = Future()

        def run() -> None:
            """Carry the function out."""
            try:
                future.set_result(work())
            except Exception as error:
                future.set_exception(error)

        threading.Thread(target=run, name="served policy", daemon=True).start()
        return future

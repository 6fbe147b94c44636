"""The two protocols, as a client speaks them: openpi's WebSocket, and OpenVLA's `POST /act`."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ptr_common.documents import parse_json

from .arrays import from_msgpack, import_msgpack, to_json, to_msgpack, with_arrays
from .description import Served
from .link import ANSWER_LIMIT, Client, NoActionError, Observation

MAX_ANSWER = 1 << 24
"""Largest answer that is read [bytes]."""

CONNECT_LIMIT = 5.0
"""Longest time in which a connection is made [s]."""

ACTIONS = {"openpi": "actions", "openvla": "action"}
"""Entry of an answer that holds its actions."""


def open_client(served: Served) -> Client:
    """Return the client of a served policy; nothing is connected yet.

    Raises:
        BundleError: If the file of its token cannot be read, or a package is missing.
    """
    return OpenPiClient(served) if served.protocol == "openpi" else OpenVlaClient(served)


class OpenPiClient:
    """A WebSocket on which an observation and an answer follow each other, in msgpack.

    Args:
        served: The server's first message must hold its `metadata`.
    """

    def __init__(self, served: Served) -> None:
        import_msgpack()
        self._served = served
        token = served.token()
        self._headers = {"Authorization": f"Api-Key {token}"} if token else {}
        self._connection: Any = None
        self._open = contextlib.ExitStack()  # ends the connection

    def reopen(self) -> None:
        """Begin a new connection."""
        from websockets.sync.client import connect

        self.close()
        with _as_os_error(), contextlib.ExitStack() as stack:
            connection = stack.enter_context(
                connect(
                    self._served.url,
                    additional_headers=self._headers,
                    compression=None,  # images of a camera do not shrink in time
                    max_size=MAX_ANSWER,
                    open_timeout=CONNECT_LIMIT,
                    close_timeout=0.5,
                    proxy=None,
                )
            )
            self._check(from_msgpack(connection.recv(CONNECT_LIMIT)))
            self._connection, self._open = connection, stack.pop_all()

    def _check(self, metadata: Mapping[str, Any]) -> None:
        """Refuse a server that says something else of itself than the description."""
        for name, expected in self._served.metadata.items():
            if metadata.get(name) != expected:
                raise NoActionError(
                    "another policy",
                    f"{self._served.url} says {name} is {metadata.get(name)!r}; "
                    f"{expected!r} is expected (metadata of the description)",
                )

    def ask(self, observation: Observation) -> Mapping[str, Any]:
        """Return the answer to an observation."""
        if self._connection is None:
            self.reopen()
        keys = self._served.keys
        request = {
            keys.image: observation.image,
            keys.state: observation.proprio,
            keys.prompt: observation.task,
        }
        connection = self._connection
        try:
            with _as_os_error():
                connection.send(to_msgpack(request))
                answer = connection.recv(ANSWER_LIMIT)
        except OSError:
            self.close()
            raise
        if isinstance(answer, str):  # a text where data are expected tells of an error
            self.close()  # openpi's own server ends the connection then
            last = answer.strip().rpartition("\n")[2]
            raise NoActionError("refused", f"{self._served.url} refuses: {last[:500]}")
        return from_msgpack(answer)

    def close(self) -> None:
        """End the connection."""
        self._connection = None
        self._open.close()


@contextlib.contextmanager
def _as_os_error() -> Any:
    """Raise what goes wrong with a WebSocket as OSError."""
    from websockets.exceptions import WebSocketException

    try:
        yield
    except WebSocketException as error:
        raise ConnectionError(str(error)) from error


class OpenVlaClient:
    """One HTTP request for each observation, in JSON.

    Args:
        served: Its `unnorm_key` goes with each request.
    """

    def __init__(self, served: Served) -> None:
        self._served = served
        self._parts = urlsplit(served.url)
        token = served.token()
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._connection: http.client.HTTPConnection | None = None

    def reopen(self) -> None:
        """Begin a new connection."""
        self.close()
        secure = self._parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        assert self._parts.hostname is not None
        connection = kind(self._parts.hostname, self._parts.port, timeout=CONNECT_LIMIT)
        connection.connect()
        connection.sock.settimeout(ANSWER_LIMIT)
        self._connection = connection

    def ask(self, observation: Observation) -> Mapping[str, Any]:
        """Return the answer to an observation."""
        request = {
            "image": observation.image,
            "instruction": observation.task,
            "state": observation.proprio,  # OpenVLA's own server passes over it
        }
        if self._served.unnorm_key:
            request["unnorm_key"] = self._served.unnorm_key
        body = to_json(request).encode()
        if self._connection is not None:
            try:
                return self._post(body)
            except ConnectionError:  # servers end connections that nobody used for a while
                pass
        self.reopen()
        return self._post(body)

    def _post(self, body: bytes) -> Mapping[str, Any]:
        connection = self._connection
        assert connection is not None
        try:
            path = self._parts.path.rstrip("/") or "/act"
            connection.request("POST", path, body, self._headers)
            response = connection.getresponse()
            content = response.read(MAX_ANSWER)
        except http.client.HTTPException as error:
            self.close()
            raise ConnectionError(f"{type(error).__name__}: {error}") from error
        except OSError:
            self.close()
            raise
        if response.status != http.HTTPStatus.OK:
            self.close()
            said = content[:500].decode(errors="replace").strip()
            raise NoActionError(
                "refused", f"{self._served.url} answers {response.status}: {said}"
            )
        return _action_of(content)

    def close(self) -> None:
        """End the connection."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if connection.sock is not None:
            with contextlib.suppress(OSError):  # it may have ended already
                connection.sock.shutdown(socket.SHUT_RDWR)  # wakes who waits for an answer
        connection.close()


def _action_of(content: bytes) -> Mapping[str, Any]:
    """Return the action of an answer, which is it, or a table that holds it, or text of it.

    Raises:
        NoActionError: If the server tells of an error.
        ValueError: If it is no JSON.
    """
    values = with_arrays(parse_json(content))
    if isinstance(values, str):
        try:
            values = with_arrays(parse_json(values))  # JSON inside of JSON
        except ValueError as error:
            text = f"the server tells of an error: {values[:500]!r}"
            raise NoActionError("refused", text) from error
    return values if isinstance(values, dict) else {"action": values}

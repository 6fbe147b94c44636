"""Listens for both protocols: openpi's WebSocket on one port, OpenVLA's `POST /act` on another."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import http
import http.server
import os
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from ptr_common.errors import PtrError
from ptr_policy_node.loaded_policy import Policy

from .answers import Access, PolicyServer
from .arrays import from_json, from_msgpack, import_msgpack, to_json, to_msgpack

IDLE_LIMIT = 60.0
"""Longest time between two requests of one HTTP connection [s]."""


CLOSE_LIMIT = 2.0
"""Longest time in which connections end [s]."""


class ServeError(PtrError):
    """A policy cannot be served."""


@contextlib.contextmanager
def serving(
    policy: PolicyServer, access: Access, host: str, ports: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    """Serve a policy in threads of its own until the context ends.

    Args:
        policy: What answers.
        access: Who may ask.
        host: Address to listen on.
        ports: TCP ports of openpi's protocol and of `POST /act`; 0: any free one.

    Yields:
        The ports.

    Raises:
        ServeError: If an address cannot be listened on.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="openpi", daemon=True)
    thread.start()
    openpi = OpenPiServer(policy, access).listen(host, ports[0])
    try:
        server = asyncio.run_coroutine_threadsafe(openpi, loop).result()
        try:
            with contextlib.closing(ActServer(policy, access, host, ports[1])) as act:
                yield next(iter(server.sockets)).getsockname()[1], act.server_port
        finally:
            loop.call_soon_threadsafe(server.close)
            ended = asyncio.run_coroutine_threadsafe(server.wait_closed(), loop)
            with contextlib.suppress(concurrent.futures.TimeoutError):
                ended.result(CLOSE_LIMIT)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CLOSE_LIMIT)


class OpenPiServer:
    """Answers openpi's protocol.

    Args:
        policy: What answers.
        access: Who may ask.
    """

    def __init__(self, policy: PolicyServer, access: Access) -> None:
        self._policy, self._access = policy, access

    async def listen(self, host: str, port: int) -> Server:
        """Return the server once it listens.

        Raises:
            ServeError: If the address cannot be listened on.
        """
        try:
            return await serve(
                self._handle,
                host,
                port,
                process_request=self._answer,
                compression=None,
                max_size=self._policy.largest_request,
                close_timeout=0.5,
            )
        except OSError as error:
            raise _cannot_listen(host, port, error) from error

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer whoever looks whether the server is there, and who has no right to it."""
        if refusal := self._access.refusal(request.headers):
            self._policy.refuse()
            return connection.respond(http.HTTPStatus.FORBIDDEN, f"{refusal}\n")
        if request.path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        try:
            import_msgpack()
        except PtrError as error:
            return connection.respond(http.HTTPStatus.NOT_IMPLEMENTED, f"{error}\n")
        return None

    async def _handle(self, connection: ServerConnection) -> None:
        """Answer one connection's observations until it ends."""
        state = self._policy.new_state()
        with contextlib.suppress(ConnectionClosed):
            await connection.send(to_msgpack(self._policy.metadata()))
            async for message in connection:
                reply = await asyncio.to_thread(self._reply, state, message)
                await connection.send(reply)
        if connection.close_code == CloseCode.MESSAGE_TOO_BIG:
            self._policy.refuse()

    def _reply(self, state: Policy, message: bytes | str) -> bytes | str:
        """Return the answer to one message; text tells of an error."""
        try:
            values = from_msgpack(message)
        except ValueError as error:
            self._policy.refuse()
            return str(error)
        try:
            return to_msgpack(self._policy.plan(state, values))
        except PtrError as error:
            return str(error)


def _cannot_listen(host: str, port: int, error: OSError) -> ServeError:
    problem = os.strerror(error.errno) if error.errno else str(error)
    return ServeError(
        f"cannot listen on {host}:{port}: {problem}; choose another --host, --port or --act-port"
    )


class ActServer(http.server.ThreadingHTTPServer):
    """A server of `POST /act`, which runs in threads of its own until it is closed.

    Args:
        policy: What answers.
        access: Who may ask.
        host: Address to listen on.
        port: TCP port; 0: any free one.

    Raises:
        ServeError: If the address cannot be listened on.
    """

    daemon_threads = True

    def __init__(self, policy: PolicyServer, access: Access, host: str, port: int) -> None:
        self.policy, self.access = policy, access
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _ActHandler)
        except OSError as error:
            raise _cannot_listen(host, port, error) from error
        threading.Thread(target=self.serve_forever, name="act", daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over connections that the other side ended; print any other error."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        """Stop to listen."""
        self.shutdown()
        self.server_close()


class _ActHandler(http.server.BaseHTTPRequestHandler):
    """One HTTP connection, with a state of the policy of its own."""

    protocol_version = "HTTP/1.1"
    server_version = "ptr"
    timeout = IDLE_LIMIT
    server: ActServer

    def setup(self) -> None:
        """Begin a state of the policy."""
        super().setup()
        self._state = self.server.policy.new_state()

    def do_POST(self) -> None:
        """Answer an observation with an action."""
        policy = self.server.policy
        if refusal := self.server.access.refusal(self.headers):
            self._refuse(http.HTTPStatus.FORBIDDEN, refusal)
        elif self.path != "/act":
            self._refuse(http.HTTPStatus.NOT_FOUND, "observations are posted to /act")
        elif not 0 < (length := self._length()) <= policy.largest_request:
            self._refuse(
                http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"a request has a Content-Length of 1 to {policy.largest_request} bytes",
            )
        else:
            self._act(self.rfile.read(length))

    def _length(self) -> int:
        """Return the length of the request [bytes]; 0 if it is not said."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdecimal() else 0

    def _act(self, body: bytes) -> None:
        try:
            values = from_json(body)
        except ValueError as error:
            self._refuse(http.HTTPStatus.BAD_REQUEST, str(error))
            return
        try:
            action = self.server.policy.act(self._state, values)
        except PtrError as error:
            self._send(http.HTTPStatus.UNPROCESSABLE_ENTITY, {"detail": str(error)})
            return
        self._send(http.HTTPStatus.OK, action)

    def do_GET(self) -> None:
        """Answer whoever looks whether the server is there."""
        if refusal := self.server.access.refusal(self.headers):
            self._refuse(http.HTTPStatus.FORBIDDEN, refusal)
        elif self.path != "/healthz":
            self._refuse(http.HTTPStatus.NOT_FOUND, "observations are posted to /act")
        else:
            self._send(http.HTTPStatus.OK, "OK")

    def _refuse(self, status: http.HTTPStatus, reason: str) -> None:
        """Count and answer what could not be read, and end the connection."""
        self.server.policy.refuse()
        self.close_connection = True
        self._send(status, {"detail": reason})

    def _send(self, status: http.HTTPStatus, values: Any) -> None:
        content = to_json(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Print nothing of single requests."""

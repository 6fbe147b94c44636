"""Serves the console: the page over HTTP, and everything else over one WebSocket a browser.

A browser gets the state of the graph and the newest image of each camera, then says that it
has shown them, then gets the next: a slow one gets fewer, and nothing is queued for it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import functools
import hashlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from ptr_common.documents import parse_json
from ptr_common.errors import PtrError
from ptr_common.process.priority import lower_priority

from .access import Access
from .images import Frame

PERIOD = 0.1
"""Shortest time between two views of a browser [s]."""

START_LIMIT = 10.0
"""Longest time in which the server starts [s]."""

MESSAGE_SIZE = 4096
"""Largest message of a browser [bytes]."""

NO_PAGE = 1008
"""Status with which a WebSocket is closed whose messages are none of the page."""

FOLDER = Path(__file__).parent / "page"


class ConsoleError(PtrError):
    """The page cannot be served."""


class Console(Protocol):
    """What the server shows and whom it hands the messages of browsers; both for any thread."""

    def view(self, browser: str) -> Mapping[str, Any]:
        """Return the state of the graph as a browser may see it, for JSON."""
        ...

    def frames(self) -> list[Frame]:
        """Return the newest image of each camera."""
        ...

    def receive(self, browser: str, message: Mapping[str, Any], view_age: float) -> None:
        """Take a message of a browser, at a time when its view has an age [s].

        Raises:
            ValueError: If it is no message of the page.
        """
        ...

    def joined(self, browser: str) -> None:
        """Note a browser that watches from now on."""
        ...

    def left(self, browser: str) -> None:
        """Note a browser that is gone."""
        ...


class _Views:
    """Views of one browser: when each was sent, and which the browser has shown."""

    def __init__(self) -> None:
        self.number = 0
        self._sent: dict[int, float] = {}
        self._shown = 0
        self._changed = asyncio.Event()

    def sent(self, now: float) -> None:
        """Note that the view `number` is sent."""
        self._sent[self.number] = now
        self._changed.clear()

    def show(self, number: object) -> None:
        """Note the newest view that the browser has shown."""
        if not isinstance(number, int) or not 0 <= number <= self.number:
            raise ValueError(f"view {number!r} was not sent")
        self._shown = max(self._shown, number)
        for old in [other for other in self._sent if other < self._shown]:
            del self._sent[old]
        self._changed.set()

    def age(self, now: float) -> float:
        """Return how long ago the newest view that was shown was sent [s]."""
        return now - self._sent.get(self._shown, float("-inf"))

    async def wait(self) -> None:
        """Wait until the newest view is shown."""
        while self._shown < self.number:
            self._changed.clear()
            await self._changed.wait()


class ConsoleServer:
    """Serves in a thread of its own until it is closed.

    Args:
        console: What is shown.
        access: Who may see it.
        host: Address to listen on.
        port: TCP port; 0: any free one.

    Attributes:
        port: The port.

    Raises:
        ConsoleError: If the address cannot be listened on.
    """

    def __init__(self, console: Console, access: Access, host: str, port: int) -> None:
        self.port = port
        self._console = console
        self._access = access
        self._host = host
        self._page, self._headers = _page()
        self._count = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._problem: OSError | None = None
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)
        self._thread.start()
        self._started.wait(START_LIMIT)
        if self._problem is not None:
            taken = self._problem.errno == errno.EADDRINUSE
            raise ConsoleError(
                f"the console cannot listen on {host}:{port}: "
                + ("another program does" if taken else str(self._problem.strerror))
                + "; choose another --host or --port (parameters host and port)"
            )

    def close(self) -> None:
        """End all connections."""
        with contextlib.suppress(RuntimeError):  # it may have ended already
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        lower_priority()  # who looks on takes no time from those who act
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        try:
            server = await serve(
                self._handle,
                self._host,
                self.port,
                process_request=self._answer,
                compression=None,  # images are compressed already
                max_size=MESSAGE_SIZE,
                close_timeout=0.5,
            )
        except OSError as error:
            self._problem = error
            self._started.set()
            return
        self.port = _port(server)
        self._started.set()
        async with server:
            await self._end.wait()

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer a request for the page, and refuse one without the right to it."""
        if refusal := self._access.refusal(request.path, request.headers):
            return connection.respond(403, f"{refusal}\n")
        path = request.path.partition("?")[0]
        if path == "/live":
            return None
        if path != "/":
            return connection.respond(404, "the console is at /\n")
        return Response(200, "OK", Headers(self._headers), self._page)

    # --- one browser ----------------------------------------------------------------------

    async def _handle(self, connection: ServerConnection) -> None:
        self._count += 1
        address = str(connection.remote_address[0])
        browser = f"browser {self._count} ({'here' if address in _HERE else address})"
        views = _Views()
        self._console.joined(browser)
        sending = asyncio.create_task(self._send(connection, browser, views))
        try:
            async for message in connection:
                self._receive(browser, message, views)
        except (ValueError, TypeError, OverflowError):  # what conversions raise
            await connection.close(NO_PAGE, "no message of the page")
        except ConnectionClosed:
            pass
        finally:
            sending.cancel()
            self._console.left(browser)

    def _receive(self, browser: str, message: str | bytes, views: _Views) -> None:
        """Take a message of a browser; raises ValueError if it is none of the page."""
        values = parse_json(message)
        if not isinstance(values, dict):
            raise ValueError("a message is a table")
        views.show(values.pop("shown", None))
        if values:
            self._console.receive(browser, values, views.age(self._loop.time()))

    async def _send(
        self, connection: ServerConnection, browser: str, views: _Views
    ) -> None:
        """Send one view after the other, each once the one before it is shown."""
        stamps: dict[str, int] = {}
        with contextlib.suppress(ConnectionClosed):
            while True:
                start = self._loop.time()
                frames = await self._loop.run_in_executor(None, self._console.frames)
                for frame in frames:
                    if stamps.get(frame.camera) != frame.stamp_ns:
                        stamps[frame.camera] = frame.stamp_ns
                        await connection.send(_packed(frame))
                views.number += 1
                views.sent(self._loop.time())
                view = {"view": views.number, **self._console.view(browser)}
                await connection.send(json.dumps(view))
                await views.wait()
                await asyncio.sleep(max(0.0, start + PERIOD - self._loop.time()))


_HERE = ("127.0.0.1", "::1")


def _port(server: Server) -> int:
    """Return the port that a server listens on."""
    return int(next(iter(server.sockets)).getsockname()[1])


def _packed(frame: Frame) -> bytes:
    """Return an image as one message: length and name of the camera, then the JPEG."""
    name = frame.camera.encode()
    return bytes([len(name)]) + name + frame.jpeg


@functools.cache
def _page() -> tuple[bytes, dict[str, str]]:
    """Return the page, one file that needs no other, and its headers."""
    script, style = _text("console.js"), _text("console.css")
    page = _text("console.html").replace("/*style*/", style).replace("/*script*/", script)
    content = page.encode()
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "img-src blob: data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    return content, {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Length": str(len(content)),
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Connection": "close",
    }


def _text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """Return a script or style as a Content-Security-Policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"

"""Who may open the console: a token where it is open to the network, and no foreign page."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from ptr_common.arguments import host_of, is_loopback

HOST, PORT = "127.0.0.1", 8080
"""Where the console listens by default: on this computer alone."""

EVERYWHERE = "0.0.0.0"
"""Address that stands for all addresses of a computer."""


def own_address() -> str:
    """Return the address of this computer in its network, else its name; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # of no computer: only the route is looked up
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])


class Access:
    """Decides on every request: the page and the WebSocket of state, images and commands.

    On this computer alone no token is needed, but the request must name this computer, and a
    WebSocket must come from the console's own page: any page in the operator's browser could
    open one, and a name of its own can point here.

    Args:
        host: Address that the server listens on; 0.0.0.0: all of this computer.

    Attributes:
        token: Word that a request must carry; empty where none is needed.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self.token = "" if is_loopback(host) else secrets.token_urlsafe(18)

    def url(self, port: int) -> str:
        """Return the address of the page, with its token."""
        host = self._host if self._host != EVERYWHERE else own_address()
        name = f"[{host}]" if ":" in host else host
        return f"http://{name}:{port}/" + (f"?token={self.token}" if self.token else "")

    def refusal(self, target: str, headers: Mapping[str, str]) -> str:
        """Return why a request is refused; empty if it is not.

        Args:
            target: Path and query.
            headers: Headers of the request, found without regard to case.
        """
        host = headers.get("Host", "")
        if self.token:
            given = parse_qs(urlsplit(target).query).get("token", [""])[0]
            if not secrets.compare_digest(given.encode(), self.token.encode()):
                return (
                    "the console's address ends with ?token=…; it was printed at its start"
                )
        elif not is_loopback(host_of(host)):
            return f"this console answers on this computer only, not as {host!r}"
        origin = headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != host:
            return f"a page of {origin} may not use this console"
        return ""

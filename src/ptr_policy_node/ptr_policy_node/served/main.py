"""`ptr serve`: offers the policy of a bundle to programs of others.

ptr serve runs/demo/ptr/bundle
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ptr_common.arguments import VerbParser, whole_number
from ptr_common.errors import PtrError

if TYPE_CHECKING:
    from .answers import Access, PolicyServer

HOST, PORT, ACT_PORT = "127.0.0.1", 8000, 8001
"""Where a policy is served by default: on this computer alone."""

tcp_port = whole_number(0, 65535, noun="a TCP port")


def main(argv: list[str]) -> None:
    """Serve the policy of a bundle: openpi's WebSocket protocol, and OpenVLA's POST /act."""
    options = _parser().parse_args(argv)
    from ptr_policy_node.policy import load_bundle

    from .answers import Access, PolicyServer

    policy = load_bundle(
        options.bundle,
        threads=options.threads,
        backend=options.backend,
        precision=options.precision,
    )
    if policy.server is not None:
        raise PtrError(f"{options.bundle} is served already, at {policy.info.checkpoint}")
    server, access = PolicyServer(policy), Access(options.host)

    def on_ready(port: int, act_port: int) -> None:
        """Print where the policy is."""
        print(f"bundle {policy.sha256}: {policy.info.agent}; runs by {policy.backend}")
        print(f"openpi: ws://{options.host}:{port}   OpenVLA: POST ", end="")
        print(f"http://{options.host}:{act_port}/act", flush=True)
        if access.token:
            print(f"token: {access.token}", flush=True)

    ports = options.port, options.act_port
    try:
        asyncio.run(run(server, access, options.host, ports, on_ready))
    finally:
        done = server.counts
        print(f"{done['answered']} observations answered, {done['refused']} refused")


async def run(
    policy: PolicyServer,
    access: Access,
    host: str,
    ports: tuple[int, int],
    on_ready: Callable[[int, int], None],
) -> None:
    """Serve a policy until the task is cancelled.

    Args:
        policy: What answers.
        access: Who may ask.
        host: Address to listen on.
        ports: TCP ports of openpi's protocol and of `POST /act`; 0: any free one.
        on_ready: Called with the ports once both are listened on.

    Raises:
        ServeError: If an address cannot be listened on.
    """
    from .server import ActServer, serve_openpi

    async with await serve_openpi(policy, access, host, ports[0]) as openpi:
        with contextlib.closing(ActServer(policy, access, host, ports[1])) as act:
            on_ready(next(iter(openpi.sockets)).getsockname()[1], act.server_port)
            await openpi.wait_closed()


def _parser() -> VerbParser:
    parser = VerbParser("serve", main.__doc__)
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    parser.add_argument(
        "--host",
        default=HOST,
        help="address to serve on; 0.0.0.0 opens the policy to the network, to whoever has "
        "the token that is printed",
    )
    parser.add_argument(
        "--port", type=tcp_port, default=PORT, help="TCP port of openpi's protocol"
    )
    parser.add_argument(
        "--act-port", type=tcp_port, default=ACT_PORT, help="TCP port of POST /act"
    )
    parser.add_argument(
        "--threads", type=whole_number(1, 256), default=1, help="of PyTorch"
    )
    parser.add_argument(
        "--backend", default="auto", help="backend of the bundle, as of the policy node"
    )
    parser.add_argument(
        "--precision", default="float32", help="type of convolutions, or bfloat16"
    )
    return parser

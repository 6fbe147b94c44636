"""`ptr serve`: offers the policy of a bundle to programs of others.

ptr serve runs/demo/ptr/bundle
"""

from __future__ import annotations

import threading
from pathlib import Path

from ptr_common.arguments import VerbParser, tcp_port, whole_number
from ptr_common.errors import PtrError
from ptr_policy_node.bundle_info import BundleError

from .description import is_served

HOST, PORT, ACT_PORT = "127.0.0.1", 8000, 8001
"""Where a policy is served by default: on this computer alone."""


def main(argv: list[str]) -> None:
    """Serve the policy of a bundle: openpi's WebSocket protocol, and OpenVLA's POST /act."""
    options = _parser().parse_args(argv)
    if is_served(options.bundle):
        raise PtrError(f"{options.bundle} is served already; give the folder of a bundle")
    from ptr_policy_node.policy import load_bundle

    from .answers import Access, PolicyServer
    from .server import serving

    policy = load_bundle(
        options.bundle,
        threads=options.threads,
        backend=options.backend,
        precision=options.precision,
    )
    server, access = PolicyServer(policy), Access(options.host)
    with serving(server, access, options.host, (options.port, options.act_port)) as ports:
        print(f"bundle {policy.sha256}: {policy.info.agent}; runs by {policy.backend}")
        print(f"openpi: ws://{options.host}:{ports[0]}{_hint()}")
        print(f"OpenVLA: POST http://{options.host}:{ports[1]}/act", flush=True)
        if access.token:
            print(f"token: {access.token}", flush=True)
        try:
            threading.Event().wait()  # for a signal
        finally:
            done = server.counts
            print(f"{done['answered']} observations answered, {done['refused']} refused")


def _hint() -> str:
    """Return what openpi's protocol still needs here; empty if nothing."""
    from .arrays import import_msgpack

    try:
        import_msgpack()
    except BundleError as error:
        return f", but {error}"
    return ""


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
        "--threads", type=whole_number(1, 256), default=1, help="CPU threads of PyTorch"
    )
    parser.add_argument(
        "--backend", default="auto", help="backend of the bundle, as of the policy node"
    )
    parser.add_argument(
        "--precision", default="float32", help="type of convolutions: float32 or bfloat16"
    )
    return parser

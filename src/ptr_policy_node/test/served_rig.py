"""Real servers over our own bundles, on free ports of this computer, and their descriptions."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from toy_bundle import CAMERA

from ptr_policy_node.loaded_policy import Policy
from ptr_policy_node.served import server as server_module
from ptr_policy_node.served.answers import Access, PolicyServer

Change = Callable[[np.ndarray], np.ndarray]


class ChangedServer(PolicyServer):
    """A policy server whose actions a test changes or holds back.

    Attributes:
        change: Applied to actions, (E, 7) or (7,).
        proceed: No answer leaves while it is clear.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self.change: Change = lambda actions: actions
        self.proceed = threading.Event()
        self.proceed.set()

    def plan(self, state: Policy, values: Mapping[str, Any]) -> dict[str, Any]:
        answer = super().plan(state, values)
        assert self.proceed.wait(20.0)
        return answer | {"actions": self.change(answer["actions"])}

    def act(self, state: Policy, values: Mapping[str, Any]) -> np.ndarray:
        action = super().act(state, values)
        assert self.proceed.wait(20.0)
        return self.change(action)


@dataclass(frozen=True)
class Serving:
    """Where a policy is served; its addresses by protocol."""

    server: ChangedServer
    access: Access
    ports: tuple[int, int]

    @property
    def urls(self) -> dict[str, str]:
        return {
            "openpi": f"ws://127.0.0.1:{self.ports[0]}",
            "openvla": f"http://127.0.0.1:{self.ports[1]}",
        }


@contextlib.contextmanager
def serving(
    policy: Policy, host: str = "127.0.0.1", ports: tuple[int, int] = (0, 0)
) -> Iterator[Serving]:
    """Serve a policy until the end of the context."""
    server, access = ChangedServer(policy), Access(host)
    with server_module.serving(server, access, host, ports) as found:
        try:
            yield Serving(server, access, found)
        finally:
            server.proceed.set()


def describe(
    file: Path, protocol: str, url: str, leave_out: str = "", /, **changes: Any
) -> Path:
    """Write the description of a served toy policy, and return its file."""
    values = {
        "protocol": protocol,
        "url": url,
        "tasks": ["a", "b"],
        "camera": {**vars(CAMERA)},
        "deadline_ms": 10_000,
        **changes,
    }
    values.pop(leave_out, None)
    file.write_text(yaml.safe_dump(values))
    return file

"""What our server answers: checks an observation, has the policy act, and counts what it did."""

from __future__ import annotations

import contextlib
import hmac
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from email.message import Message
from typing import Any

import numpy as np

from ptr_common.arguments import host_of, is_loopback
from ptr_common.errors import PtrError
from ptr_policy_node.loaded_policy import Policy

from .description import Keys

KEYS = Keys()
"""Names of what an observation of openpi's protocol holds here."""

ACT_KEYS = Keys(prompt="instruction")
"""The same of `POST /act`."""

SPARE_BYTES = 1 << 16
"""Room in a request beside its image."""


class Access:
    """Decides who may ask: everybody on this computer, elsewhere who has the token.

    Args:
        host: Address that is listened on.

    Attributes:
        token: Word that a request must carry as its authorization; empty where none is needed.
    """

    def __init__(self, host: str) -> None:
        self.token = "" if is_loopback(host) else secrets.token_urlsafe(18)

    def refusal(self, headers: Mapping[str, str] | Message) -> str:
        """Return why a request with these headers is refused; empty if it is not."""
        if self.token:
            given = headers.get("Authorization", "").rpartition(" ")[2]
            if not hmac.compare_digest(given.encode(), self.token.encode()):
                return (
                    "the token that `ptr serve` printed must be the request's authorization"
                )
        elif not is_loopback(host_of(headers.get("Host", ""))):
            return "this server answers on this computer only"
        if headers.get("Origin") is not None:
            return "pages of a browser may not ask a policy"
        return ""


class PolicyServer:
    """A policy that answers several connections, one observation after the other.

    Args:
        policy: The loaded policy; each connection gets its own observations and plans.

    Attributes:
        counts: Observations by what became of them: answered or refused.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._lock = threading.RLock()
        self.counts: Counter[str] = Counter()

    def new_state(self) -> Policy:
        """Return a policy for one connection."""
        return self._policy.fresh()

    @property
    def largest_request(self) -> int:
        """Bytes of the largest request that is read: twice an image, as base 64 needs, and more."""
        camera = self._policy.info.camera
        return 2 * camera.width * camera.height * 3 + SPARE_BYTES

    def metadata(self) -> dict[str, Any]:
        """Return what the server says of itself in openpi's first message."""
        info = self._policy.info
        return {
            "bundle": self._policy.sha256,
            "agent": info.agent,
            "tasks": list(info.tasks),
            "camera": {**vars(info.camera)},
            "rate": info.rate,
            "execute": info.execute,
            "action": {"names": list(info.action_names), "frame": info.frame},
            "gripper": info.gripper,
            "state": list(info.proprio_names),
            "observation": vars(KEYS),
        }

    def plan(self, state: Policy, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to an observation of openpi's protocol.

        Args:
            state: The policy of the connection.
            values: The observation: `image` (H, W, 3) uint8 of the bundle's camera, `state`
                (7,), see action_space.PROPRIO_NAMES, `prompt`: the task.

        Returns:
            `actions` (E, 7), `std` (E, 7), `q_values` (E, 2), float32, and `policy_timing`.

        Raises:
            PtrError: If the observation is none of this policy; the message says why.
        """
        began = time.monotonic()
        with self._lock, self._counted():
            outputs = state.new_plan(*_observation(values, KEYS))
            q = [state.q_values(output) for output in outputs]
        return {
            "actions": np.array([output.action for output in outputs], np.float32),
            "std": np.array([output.std for output in outputs], np.float32),
            "q_values": np.array(q, np.float32),
            "policy_timing": {"infer_ms": 1000.0 * (time.monotonic() - began)},
        }

    def act(self, state: Policy, values: Mapping[str, Any]) -> np.ndarray:
        """Return the next action, (7,) float64, at an observation of `POST /act`.

        Args:
            state: The policy of the connection.
            values: As of `plan`, the task as `instruction`; other entries do not count.

        Raises:
            PtrError: If the observation is none of this policy; the message says why.
        """
        with self._lock, self._counted():
            output = state.act(*_observation(values, ACT_KEYS))
        return np.asarray(output.action, np.float64)

    def refuse(self) -> None:
        """Count a request that could not be read."""
        with self._lock:
            self.counts["refused"] += 1

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """Count one observation by whether it can be answered."""
        try:
            yield
        except PtrError:
            self.refuse()
            raise
        self.counts["answered"] += 1


def _observation(
    values: Mapping[str, Any], keys: Keys
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return image, state and task of an observation, for `Policy.act` to check.

    Raises:
        PtrError: If one is missing or of another kind.
    """
    image, state, task = (values.get(name) for name in vars(keys).values())
    if not isinstance(image, np.ndarray):
        raise PtrError(f"{keys.image} is {_kind(image)}; an array of uint8 is expected")
    if not isinstance(task, str):
        raise PtrError(f"{keys.prompt} is {_kind(task)}; the name of a task is expected")
    try:
        proprio = np.asarray(state, np.float32)
    except (TypeError, ValueError, OverflowError):
        proprio = np.empty(0, np.float32)
    if proprio.shape != (7,):
        raise PtrError(
            f"{keys.state} is {_kind(state)}; this policy acts by 7 numbers: x, y, z [m], roll, "
            "pitch, yaw [rad], gripper opening"
        )
    return image, proprio, task


def _kind(value: Any) -> str:
    """Return what a value is, for messages."""
    if value is None:
        return "missing"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return f"of type {type(value).__name__}"

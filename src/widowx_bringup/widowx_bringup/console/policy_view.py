"""What the policy does, for the page: its state, and Q beside that of good demonstrations."""

from __future__ import annotations

import hashlib
import math
import time
from pathlib import Path
from typing import Any

from rcl_interfaces.srv import GetParameters
from rclpy.node import Node

from ptr_common import qos
from ptr_common.errors import PtrError
from ptr_common.managed_node import subscribe
from ptr_common.topics import TOPIC_POLICY_STATE
from ptr_msgs.msg import PolicyState
from ptr_policy_node.bundle import ID_DIGITS, description_file, read_info
from ptr_policy_node.q_band import QBand

from .rollouts import Rollouts

STATUS = {
    PolicyState.STATUS_IDLE: "idle",
    PolicyState.STATUS_ACTING: "acting",
    PolicyState.STATUS_WAITING: "waiting",
    PolicyState.STATUS_STOPPED: "stopped",
}
"""Names of `PolicyState.status`."""

STEPS = 400
"""Steps of an episode whose Q is shown; of a longer one, the last."""

SILENCE = 3.0
"""Time without a state after which there is no policy [s]; an idle one publishes each second."""


class PolicyView:
    """Newest state of the policy, Q of the running episode, and the band of its bundle.

    Args:
        node: The node that subscribes.
        rollouts: Learns from the states which episode runs.
    """

    def __init__(self, node: Node, rollouts: Rollouts) -> None:
        self._rollouts = rollouts
        self._state: PolicyState | None = None
        self._heard = 0.0  # when it came, on the monotonic clock [s]
        self._episode = ""
        self._q: list[float | None] = []  # min Q of each step of the episode
        self._band: QBand | None = None
        self._band_of = ""  # id of the bundle that was asked for
        self._client = node.create_client(GetParameters, "policy_node/get_parameters")
        subscribe(node, PolicyState, TOPIC_POLICY_STATE, self._on_state, qos.STATE)

    def _on_state(self, state: PolicyState) -> None:
        self._state = state
        self._heard = time.monotonic()
        self._rollouts.on_policy(state)
        if state.episode_id and state.episode_id != self._episode:
            self._episode = state.episode_id
            self._q = []
        if state.status == PolicyState.STATUS_ACTING:
            self._q.append(_number(min(state.q_values)))
        if state.bundle_id != self._band_of and self._client.service_is_ready():
            self._band_of = state.bundle_id
            self._band = None
            request = GetParameters.Request(names=["bundle"])
            self._client.call_async(request).add_done_callback(self._on_bundle)

    def _on_bundle(self, future: Any) -> None:
        """Read the band of the bundle, if its folder is on this computer."""
        for value in future.result().values:
            folder = Path(value.string_value)
            try:
                name = hashlib.sha256(description_file(folder).read_bytes()).hexdigest()
                if name[:ID_DIGITS] == self._band_of:
                    self._band = read_info(folder).q_band
            except (OSError, PtrError):
                continue

    def view(self) -> dict[str, Any] | None:
        """Return what the page shows; None without a policy."""
        state = self._state
        if state is None or time.monotonic() - self._heard > SILENCE:
            return None
        band = None
        if self._band is not None:
            band = {"low": self._band.low, "high": self._band.high}
        return {
            "status": STATUS.get(state.status, "?"),
            "reason": state.reason,
            "task": state.task,
            "bundle": state.bundle_id,
            "execution": state.execution,
            "latency": _number(state.latency),
            "q_values": [_number(value) for value in state.q_values],
            "q": self._q[-STEPS:],
            "first": max(0, len(self._q) - STEPS),
            "band": band,
        }


def _number(value: float) -> float | None:
    """Return a number with five digits; None where it is not finite, which JSON cannot hold."""
    return float(f"{value:.5g}") if math.isfinite(value) else None

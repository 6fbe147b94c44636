"""Bags of a policy that moves by the brightness of its image, as node and recorder write them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from brightness_bundle import CAMERA, TASK
from rclpy.serialization import serialize_message
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from sensor_msgs.msg import Image

from ptr_common.images import fill_message
from ptr_common.managed_node import to_stamp
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent, PolicyState
from ptr_policy_node.policy import load_bundle
from widowx_bringup.recording.bag_writer import BagWriter, Topic
from widowx_bringup.recording.message_definitions import message_definition

BEGIN = 1000_000_000_000
PERIOD = 200_000_000
STATE = "ptr_msgs/msg/PolicyState"
NEW_FIELDS = ("episode_id", "observation_stamp", "arm_stamp", "action")
"""Fields of `PolicyState` that bags of version 0.1.0 lack."""


@dataclass
class PolicyBag:
    """What is recorded, and what of it is lost.

    Attributes:
        steps: Number of steps.
        waits: Steps at which the policy waited.
        lost: Steps whose image is not in the bag.
        busy: Steps whose critic was busy.
        unstated: Steps without a policy state.
        wrong: Steps whose published action is not the policy's.
        old: Whether the states are those of version 0.1.0.
        starts: Whether the bag has START.
        topic: Of the states; a shadow has no commands.
    """

    steps: int = 8
    waits: Collection[int] = ()
    lost: Collection[int] = ()
    busy: Collection[int] = ()
    unstated: Collection[int] = ()
    wrong: Collection[int] = ()
    old: bool = False
    starts: bool = True
    topic: str = "policy/state"
    _writer: Any = field(default=None, repr=False)

    def write(self, folder: Path, bundle: Path, name: str = "bag") -> Path:
        """Write the bag and return its folder."""
        policy = load_bundle(bundle)
        rng = np.random.default_rng(0)
        self._writer = BagWriter(folder, name, {"camera": CAMERA.name})
        if self.starts:
            event = EpisodeEvent(event=EpisodeEvent.START, episode_id=name, task=TASK)
            self._put("episode/event", event, BEGIN - 1)
        for step in range(self.steps):
            stamp = BEGIN + step * PERIOD
            pixels = rng.integers(0, 256, (CAMERA.height, CAMERA.width, 3), np.uint8)
            proprio = rng.random(7)
            self._put("arm/state", ArmState(proprio=proprio), stamp - 1000)
            if step not in self.lost:
                image = Image()
                fill_message(image, pixels)
                self._put(f"camera/{CAMERA.name}/image_raw", image, stamp)
            if step in self.waits:
                policy.interrupt()
                self._put_state(PolicyState(status=PolicyState.STATUS_WAITING), stamp + 2)
                continue
            output = policy.act(pixels, proprio, TASK)
            action = output.action.astype(float)
            command = EefCommand(action=action + 0.001 * (step in self.wrong), source=1)
            command.observation_stamp = to_stamp(stamp)
            if self.topic == "policy/state":
                self._put("arm/command", command, stamp + 1)
            state = PolicyState(
                status=PolicyState.STATUS_ACTING,
                bundle_id=policy.bundle_id,
                execution=policy.backend,
                task=TASK,
                policy_std=output.std.astype(float),
                q_values=np.full(2, np.nan),
                episode_id=name,
                observation_stamp=to_stamp(stamp),
                arm_stamp=to_stamp(stamp - 1000),
                action=action,
            )
            if step not in self.busy:
                state.q_values = policy.q_values(output).astype(float)
            if step not in self.unstated:
                self._put_state(state, stamp + 2)
        path: Path = self._writer.finish()
        return path

    def _put(self, name: str, message: Any, stamp_ns: int) -> None:
        message.header.stamp = to_stamp(stamp_ns)
        kind = f"{type(message).__module__.split('.')[0]}/msg/{type(message).__name__}"
        topic = Topic(f"/left/{name}", kind, message_definition(kind))
        self._writer.write(topic, serialize_message(message), stamp_ns)

    def _put_state(self, state: PolicyState, stamp_ns: int) -> None:
        if not self.old:
            self._put(self.topic, state, stamp_ns)
            return
        state.header.stamp = to_stamp(stamp_ns)
        text = old_definition()
        topic = Topic(f"/left/{self.topic}", STATE, text)
        self._writer.write(topic, old_bytes(state, text), stamp_ns)


def old_definition() -> str:
    """Return the definition of `PolicyState` as bags of version 0.1.0 have it."""
    lines = message_definition(STATE).splitlines()
    kept = [line for line in lines if not {*line.split()[1:2]} & {*NEW_FIELDS}]
    return "\n".join(kept) + "\n"


def old_bytes(state: PolicyState, text: str) -> bytes:
    """Return a state serialised with the fields of a definition."""
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(text, STATE))
    stamp = store.types["builtin_interfaces/msg/Time"](
        state.header.stamp.sec, state.header.stamp.nanosec
    )
    values = [store.types["std_msgs/msg/Header"](stamp, "")]
    for name in ("q_values", "policy_std", "latency", "bundle_id", "execution"):
        values.append(getattr(state, name))
    values += [state.task, state.status, state.reason]
    return bytes(store.serialize_cdr(store.types[STATE](*values), STATE))

"""What a policy did in a bag: its steps in order, with the image and the arm state of each.

Bags of before `PolicyState` named them have only the stamp of the image, in the command; the arm
state is then the one that the policy node would have taken, by the order of the recording.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ptr_common.cdr import CdrError, stamp_of
from ptr_common.errors import PtrError
from ptr_common.images import decode
from ptr_common.stamps import recorded_latency
from ptr_common.topics import (
    START,
    TOPIC_ARM_STATE,
    TOPIC_COMMAND,
    TOPIC_EPISODE_EVENT,
    TOPIC_POLICY_STATE,
    TOPIC_SHADOW_STATE,
    image_topic,
)
from ptr_training.bags.reader import Bag

ACTING, WAITING, STOPPED = 1, 2, 3  # ptr_msgs/msg/PolicyState
FROM_POLICY = 1  # ptr_msgs/msg/EefCommand

STATE_TOPICS = (TOPIC_POLICY_STATE, TOPIC_SHADOW_STATE)
"""Topics of policy states, that of the policy that moves the arm first."""


class ReplayError(PtrError):
    """A recording cannot be replayed; the message says why."""


@dataclass(frozen=True)
class PolicyStep:
    """One control step of a policy.

    Attributes:
        stamp_ns: When it was computed [ns].
        acted: Whether there was an action; otherwise the policy waited, and dropped its plan.
        task: Task that was carried out; empty if only START names it.
        image_ns: Stamp of the image acted on [ns].
        arm_ns: Stamp of the arm state acted on [ns]; 0 if the bag does not say it.
        actions: What the bag has of the action, as published and as stated, (n, 7), n 0 to 2.
        q: Values of both critic heads, (2,).
        std: Standard deviation of the policy, (7,).
        stated: Whether the bag has the policy's state of the step.
    """

    stamp_ns: int
    acted: bool
    task: str = ""
    image_ns: int = 0
    arm_ns: int = 0
    actions: tuple[np.ndarray, ...] = ()
    q: np.ndarray = field(default_factory=partial(np.full, 2, np.nan))
    std: np.ndarray = field(default_factory=partial(np.full, 7, np.nan))
    stated: bool = True


@dataclass
class PolicyEpisode:
    """The steps of one episode, in order.

    Attributes:
        id: Its identifier.
        task: Its task, as START says it.
        begins: Whether the bag has its START: the policy then began anew.
        steps: Those of the policy.
    """

    id: str
    task: str
    begins: bool
    steps: list[PolicyStep] = field(default_factory=list)

    @property
    def has_actions(self) -> bool:
        """Whether the policy acted in it."""
        return any(step.acted for step in self.steps)


@dataclass(frozen=True)
class Inputs:
    """Images and arm states of a bag, by stamp [ns].

    Attributes:
        images: Serialised messages.
        image_type: Their type.
        arms: Proprioception, (7,).
        arm_before: Stamp of the arm state that belongs to an image where the bag says none.
    """

    images: dict[int, bytes | memoryview]
    image_type: str
    arms: dict[int, np.ndarray]
    arm_before: dict[int, int]

    def image(self, stamp_ns: int) -> np.ndarray | None:
        """Return the image of a stamp, (H, W, 3) uint8 RGB; None if the bag lacks it.

        Raises:
            PtrError: If the message is damaged.
        """
        data = self.images.get(stamp_ns)
        return None if data is None else decode(data, self.image_type)


class PolicyRecording:
    """The policies of a bag.

    Args:
        bag: The recording.

    Attributes:
        bundles: Ids of the bundles that ran, by topic of `STATE_TOPICS`.
        execution: Backend and precision of each of these bundles, by id.

    Raises:
        ReplayError: If it holds no arm, several, or no policy.
    """

    def __init__(self, bag: Bag) -> None:
        self._bag = bag
        self._prefix = arm_namespace(bag)
        self._states: dict[str, list[Any]] = {}
        self.bundles: dict[str, set[str]] = {}
        self.execution: dict[str, str] = {}
        for topic in STATE_TOPICS:
            self._states[topic] = [state for _, state in self._messages(topic)]
            names = set()
            for state in self._states[topic]:
                names.add(state.bundle_id)
                self.execution[state.bundle_id] = state.execution
            if names:
                self.bundles[topic] = names
        if not self.bundles:
            raise ReplayError(
                f"{bag.path} has no {TOPIC_POLICY_STATE}: no policy of ours was recorded; "
                f"its topics are {', '.join(bag.types)}"
            )

    def _messages(self, topic: str) -> Iterator[tuple[int, Any]]:
        """Yield stamp [ns] and decoded messages of a topic without its namespace."""
        yield from messages_of(self._bag, self._prefix + topic)

    def topic_of(self, bundle_id: str) -> str:
        """Return the topic on which a bundle's states are; empty if it did not run."""
        for topic, names in self.bundles.items():
            if bundle_id in names:
                return topic
        return ""

    def episodes(self, topic: str) -> list[PolicyEpisode]:
        """Return the episodes of a policy that have steps, in order.

        Args:
            topic: One of `STATE_TOPICS`.
        """
        commands = _by_image(self._messages(TOPIC_COMMAND), topic)
        steps = _steps_of(self._states[topic], commands)
        starts = [
            (stamp, PolicyEpisode(event.episode_id, event.task, begins=True))
            for stamp, event in self._messages(TOPIC_EPISODE_EVENT)
            if event.event == START
        ]
        custom = self._bag.custom
        name = custom.get("episode_id", self._bag.name)
        found = [(0, PolicyEpisode(name, custom.get("task", ""), begins=False)), *starts]
        for step in sorted(steps, key=lambda step: step.stamp_ns):
            latest = [episode for stamp, episode in found if stamp <= step.stamp_ns][-1]
            latest.steps.append(step)
        return [episode for _, episode in found if episode.has_actions]

    def inputs(self, camera: str, images: Collection[int]) -> Inputs:
        """Return the images of some stamps [ns] and all arm states.

        Args:
            camera: Name of the policy's camera.
            images: Stamps of the images wanted.

        Raises:
            ReplayError: If the bag has no images of the camera.
        """
        image_name = self._prefix + image_topic(camera)
        arm_name = self._prefix + TOPIC_ARM_STATE
        if not self._bag.counts[image_name]:
            raise ReplayError(
                f"{self._bag.path} has no images on {image_name}, the camera of the bundle; "
                f"its topics are {', '.join(self._bag.types)}"
            )
        latency_ns = round(1e9 * recorded_latency(self._bag.custom, camera))
        found = Inputs({}, self._bag.types[image_name], {}, {})
        for name, _, data in self._bag.messages([image_name, arm_name]):
            try:
                stamp_ns = stamp_of(data)
            except CdrError:
                continue  # a damaged message; the step that needs it is named
            if name == arm_name:
                state = self._bag.decode(self._bag.types[arm_name], data)
                found.arms[stamp_ns] = np.asarray(state.proprio, np.float64)
            elif stamp_ns in images:
                found.images.setdefault(stamp_ns, data)
                limit = stamp_ns - latency_ns if latency_ns else np.inf
                earlier = [each for each in found.arms if each <= limit]
                found.arm_before.setdefault(stamp_ns, max(earlier, default=0))
        return found


def arm_namespace(bag: Bag) -> str:
    """Return the part of the topic names of a bag before those of the arm.

    Raises:
        ReplayError: If the bag has no arm, or several.
    """
    arms = [name for name in bag.types if f"/{name}".endswith(f"/{TOPIC_ARM_STATE}")]
    if len(arms) != 1:
        raise ReplayError(
            f"{bag.path} has {len(arms) or 'no'} topics {TOPIC_ARM_STATE}; one is needed; "
            f"it has: {', '.join(bag.types)}"
        )
    return arms[0].removesuffix(TOPIC_ARM_STATE)


def messages_of(bag: Bag, topic: str) -> Iterator[tuple[int, Any]]:
    """Yield stamp [ns] and decoded messages of a topic, in the order of the bag."""
    if not bag.counts[topic]:
        return
    for _, _, data in bag.messages([topic]):
        message = bag.decode(bag.types[topic], data)
        yield _ns(message.header.stamp), message


def _by_image(
    messages: Iterator[tuple[int, Any]], topic: str
) -> dict[int, tuple[int, np.ndarray]]:
    """Return stamps [ns] and actions (7,) of a policy's commands, by the image they answer.

    Args:
        messages: The commands of the bag.
        topic: Topic of the policy's states; a shadow has no commands.
    """
    commands = {}
    for stamp_ns, message in messages:
        if topic == TOPIC_POLICY_STATE and message.source == FROM_POLICY:
            action = np.asarray(message.action, np.float64)
            commands[_ns(message.observation_stamp)] = (stamp_ns, action)
    return commands


def _steps_of(
    states: list[Any], commands: dict[int, tuple[int, np.ndarray]]
) -> Iterator[PolicyStep]:
    """Yield the steps of a policy's states, and those of commands that have none."""
    unstated = dict(commands)
    for state in states:
        stamp_ns = _ns(state.header.stamp)
        if state.status in (WAITING, STOPPED):
            yield PolicyStep(stamp_ns, acted=False)
        if state.status != ACTING:
            continue
        actions, arm_ns = [], 0
        if hasattr(state, "observation_stamp"):
            image_ns, arm_ns = _ns(state.observation_stamp), _ns(state.arm_stamp)
            actions.append(np.asarray(state.action, np.float64))
        else:
            image_ns = _answered_before(stamp_ns, unstated)
        if image_ns in unstated:
            actions.append(unstated.pop(image_ns)[1])
        yield PolicyStep(
            *(stamp_ns, True, state.task, image_ns, arm_ns, tuple(actions)),
            *(np.asarray(state.q_values), np.asarray(state.policy_std)),
        )
    for image_ns, (stamp_ns, action) in unstated.items():
        yield PolicyStep(stamp_ns, True, image_ns=image_ns, actions=(action,), stated=False)


def _answered_before(stamp_ns: int, commands: dict[int, tuple[int, np.ndarray]]) -> int:
    """Return the image [ns] of the last command sent before a state was made; 0 without one."""
    earlier = [
        (sent_ns, image_ns)
        for image_ns, (sent_ns, _) in commands.items()
        if sent_ns <= stamp_ns
    ]
    return max(earlier, default=(0, 0))[1]


def _ns(stamp: Any) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)

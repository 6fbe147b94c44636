"""The shadow of the policy node: it acts on the same frames, and no command leaves it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("torch", reason="PyTorch is not installed")

from brightness_bundle import CAMERA, write_brightness_bundle  # noqa: E402
from policy_rig import Rig  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from ptr_common.errors import PtrError  # noqa: E402
from ptr_common.managed_node import to_ns  # noqa: E402
from ptr_msgs.msg import EpisodeEvent, PolicyState  # noqa: E402
from ptr_policy_node.policy_shadow import PolicyShadow  # noqa: E402


def acting(states: list[PolicyState]) -> list[PolicyState]:
    return [state for state in states if state.status == PolicyState.STATUS_ACTING]


class ShadowRig(Rig):
    """A policy node, and beside it the shadow of another bundle."""

    def __init__(self, bundle: Path, other: Path) -> None:
        super().__init__(bundle)
        values = {"bundle": str(other), "camera": CAMERA.name}
        values |= {"width": CAMERA.width, "height": CAMERA.height}
        self.shadow = PolicyShadow(
            parameter_overrides=[Parameter(name, value=v) for name, v in values.items()]
        )
        self.executor.add_node(self.shadow)

    def start(self) -> None:
        self.shadow.start()
        super().start()
        self.until(
            lambda: (
                self.images.get_subscription_count() == 2
                and self.events.get_subscription_count() == 2
                and self.shadow_states
            )
        )

    def until(self, condition: Callable[[], object], limit: float = 10.0) -> None:
        """Spin until a condition holds; one feeding is for two nodes with many callbacks."""

        def spun() -> object:
            for _ in range(15):
                self.executor.spin_once(timeout_sec=0.001)
            return condition()

        super().until(spun, limit)

    def close(self) -> None:
        super().close()
        self.shadow.destroy_node()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[ShadowRig]:
    rclpy.init()
    rig = ShadowRig(
        write_brightness_bundle(tmp_path / "bundle"),
        write_brightness_bundle(tmp_path / "other", execute=3),
    )
    try:
        yield rig
    finally:
        rig.close()
        rclpy.shutdown()


def test_a_shadow_acts_on_the_same_frames_and_never_offers_commands(rig: ShadowRig) -> None:
    rig.start()
    counts = set()

    def acted() -> bool:
        counts.add(rig.probe.count_publishers("arm/command"))
        return len(acting(rig.shadow_states)) >= 3

    rig.event(EpisodeEvent.START)
    rig.feed_until(acted, brightness=255)
    assert max(counts) == 1
    frames = {(to_ns(s.observation_stamp), to_ns(s.arm_stamp)) for s in acting(rig.states)}
    for state in acting(rig.shadow_states):
        assert (to_ns(state.observation_stamp), to_ns(state.arm_stamp)) in frames
        assert np.allclose(state.action[:3], 0.05, atol=1e-6)
    assert rig.shadow_states[-1].bundle_id != rig.states[-1].bundle_id
    sources = {command.observation_stamp.nanosec for command in rig.commands}
    assert len(sources) == len(rig.commands)  # each image was answered by one command


def test_a_shadow_waits_where_the_policy_waits(rig: ShadowRig) -> None:
    rig.start()
    rig.event(EpisodeEvent.START)
    rig.feed_until(lambda: acting(rig.shadow_states), brightness=0)
    rig.feed_until(
        lambda: rig.shadow_states[-1].reason.startswith("image is"), image_age=0.5
    )
    count = len(acting(rig.shadow_states))
    rig.feed_until(lambda: len(acting(rig.shadow_states)) > count, brightness=255)
    # the plan of before the wait, made on a dark image, is not gone on with
    assert acting(rig.shadow_states)[-1].action[0] == pytest.approx(0.05)


def test_an_action_that_is_refused_is_said_by_the_shadow_and_ends_nothing(
    rig: ShadowRig,
) -> None:
    rig.start()

    def refuse(*_: object) -> None:
        raise PtrError("the policy's action is not finite")

    rig.shadow._policy.act = refuse
    rig.event(EpisodeEvent.START)
    rig.feed_until(lambda: "not finite" in rig.shadow_states[-1].reason)
    assert rig.commands
    assert not acting(rig.shadow_states)

"""The policy node over real DDS: when it acts, when it waits, what it refuses."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("torch", reason="PyTorch is not installed")

from brightness_bundle import CAMERA, TASK, write_brightness_bundle  # noqa: E402
from lifecycle_msgs.msg import State  # noqa: E402
from policy_rig import SECOND, Rig  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from ptr_common.errors import PtrError  # noqa: E402
from ptr_common.images import fill_message  # noqa: E402
from ptr_common.managed_node import to_ns, to_stamp  # noqa: E402
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent, PolicyState  # noqa: E402
from ptr_policy_node.policy import load_bundle  # noqa: E402


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_brightness_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture
def rig(bundle: Path) -> Iterator[Rig]:
    rclpy.init()
    rig = Rig(bundle)
    try:
        yield rig
    finally:
        rig.close()
        rclpy.shutdown()


def test_acts_between_start_and_end_only(rig: Rig) -> None:
    rig.start()
    rig.feed_until(
        lambda: any(state.status == PolicyState.STATUS_IDLE for state in rig.states)
    )
    assert rig.commands == []
    rig.event(EpisodeEvent.START)
    rig.feed_until(lambda: len(rig.commands) >= 3)
    rig.event(EpisodeEvent.STOP)
    count = len(rig.states)
    rig.feed_until(
        lambda: PolicyState.STATUS_IDLE in [state.status for state in rig.states[count:]]
    )
    sent = len(rig.commands)
    count = len(rig.states)
    rig.feed_until(lambda: len(rig.states) > count + 2)
    assert len(rig.commands) == sent


def test_every_command_answers_another_image(rig: Rig) -> None:
    rig.start()
    rig.event(EpisodeEvent.START)
    fed: list[int] = []

    def enough() -> bool:
        fed.append(rig.feed(brightness=255))
        return len(rig.commands) >= 5

    rig.until(enough)
    answered = [
        command.observation_stamp.sec * SECOND + command.observation_stamp.nanosec
        for command in rig.commands
    ]
    assert set(answered) <= set(fed)
    assert answered == sorted(set(answered))
    assert np.allclose(rig.commands[0].action[:3], 0.05, atol=1e-6)
    assert rig.commands[0].source == EefCommand.SOURCE_POLICY


def test_policy_state_tells_values_latency_and_bundle(rig: Rig, bundle: Path) -> None:
    rig.start()
    rig.event(EpisodeEvent.START)
    judged: list[PolicyState] = []

    def find() -> (
        bool
    ):  # on a busy machine the next step may come before the critics have judged this one
        judged.extend(state for state in rig.states if np.isfinite(state.q_values).all())
        return bool(judged)

    rig.feed_until(find, brightness=255)
    state = judged[0]
    assert state.status == PolicyState.STATUS_ACTING
    assert np.allclose(state.q_values, 0.5, atol=1e-5)
    assert np.allclose(state.policy_std, 0.01)
    assert 0.0 < state.latency < 0.2
    assert state.bundle_id == load_bundle(bundle).bundle_id
    assert state.execution == "torchscript float32"
    assert rig.node.health().values["execution"] == "torchscript float32"
    assert state.task == TASK


def test_policy_state_names_the_image_the_arm_state_and_the_action(rig: Rig) -> None:
    rig.start()
    rig.event(EpisodeEvent.START)
    fed: list[int] = []

    def acted() -> bool:
        fed.append(rig.feed(brightness=255))
        return any(state.status == PolicyState.STATUS_ACTING for state in rig.states)

    rig.until(acted)
    state = next(each for each in rig.states if each.status == PolicyState.STATUS_ACTING)
    assert state.episode_id == "e"
    assert to_ns(state.observation_stamp) in fed
    assert to_ns(state.arm_stamp) in fed  # image and arm state of a feeding have one stamp
    rig.until(lambda: rig.commands)
    command = rig.commands[0]
    assert command.observation_stamp == state.observation_stamp
    assert np.array_equal(command.action, state.action)
    rig.feed_until(
        lambda: rig.states[-1].status == PolicyState.STATUS_WAITING, image_age=0.5
    )
    waiting = rig.states[-1]
    assert np.isnan(waiting.action).all()
    assert to_ns(waiting.observation_stamp) == to_ns(waiting.arm_stamp) == 0


def test_what_a_bundle_does_not_say_is_nan_and_logged_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rclpy.init()
    rig = Rig(write_brightness_bundle(tmp_path / "bundle", says_nothing=True))
    try:
        rig.start()
        rig.event(EpisodeEvent.START)
        rig.feed_until(
            lambda: [s.status for s in rig.states].count(PolicyState.STATUS_ACTING) >= 2
        )
    finally:
        rig.close()
        rclpy.shutdown()
    assert np.isnan([state.q_values for state in rig.states]).all()
    assert np.isnan([state.policy_std for state in rig.states]).all()
    log = capfd.readouterr().err
    assert log.count("says no Q values (it has no critic): NaN in policy/state") == 1
    assert log.count("says no standard deviation (it is deterministic)") == 1


def test_late_image_is_acted_on_with_the_arm_state_of_when_it_was_seen(
    bundle: Path,
) -> None:
    """The toy policy keeps the gripper's opening, here the state's age: 0.1 for each 50 ms."""
    rclpy.init()
    rig = Rig(bundle, camera_latency=0.1)
    try:
        rig.start()
        now = time.time_ns()
        rig.event(EpisodeEvent.START, stamp_ns=now - SECOND)
        for number in range(5, -1, -1):
            state = ArmState(proprio=np.array([0.0] * 6 + [number / 10]))
            state.header.stamp = to_stamp(now - number * 50_000_000)
            rig.arms.publish(state)
        rig.until(lambda: rig.node._episode and len(rig.node._observations._states) == 6)
        image = Image()
        fill_message(image, np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8))
        image.header.stamp = to_stamp(now - 20_000_000)
        rig.images.publish(image)
        rig.until(lambda: rig.commands)
        assert rig.commands[0].action[6] == pytest.approx(
            0.3
        )  # seen 120 ms ago, when that of 150 ms was the newest
    finally:
        rig.close()
        rclpy.shutdown()


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"image_age": 0.5}, "image is"),
        ({"state_age": 0.5}, "arm state is"),
        (
            {"status": ArmState.STATUS_HOLDING, "reason": "operator"},
            "arm does not take commands: operator",
        ),
    ],
)
def test_input_that_is_late_or_unusable_stops_the_policy(
    rig: Rig, what: dict[str, object], reason: str
) -> None:
    rig.start()
    rig.event(EpisodeEvent.START)
    rig.feed_until(lambda: rig.commands and rig.states)
    rig.feed_until(lambda: rig.states[-1].reason.startswith(reason), **what)
    sent = len(rig.commands)
    rig.feed_until(
        lambda: [s.status for s in rig.states[-3:]] == [PolicyState.STATUS_WAITING] * 3,
        **what,
    )
    assert len(rig.commands) == sent
    rig.feed_until(lambda: len(rig.commands) > sent)  # goes on once the input is good again


def test_plan_of_before_a_wait_is_not_executed_after_it(tmp_path: Path) -> None:
    rclpy.init()
    rig = Rig(write_brightness_bundle(tmp_path / "bundle", execute=1000))
    try:
        rig.start()
        rig.event(EpisodeEvent.START)
        rig.feed_until(lambda: len(rig.commands) >= 2, brightness=0)
        sent = len(rig.commands)
        rig.feed_until(lambda: len(rig.commands) > sent, brightness=255)
        assert rig.commands[-1].action[0] == 0.0  # as planned on a dark image
        count = len(rig.states)
        rig.feed_until(
            lambda: PolicyState.STATUS_WAITING in [s.status for s in rig.states[count:]],
            image_age=0.5,
        )
        sent = len(rig.commands)
        rig.feed_until(lambda: len(rig.commands) > sent, brightness=255)
        assert rig.commands[-1].action[0] == pytest.approx(0.05)
    finally:
        rig.close()
        rclpy.shutdown()


def test_silent_camera_stops_the_policy(rig: Rig) -> None:
    rig.start()
    rig.event(EpisodeEvent.START)
    rig.feed_until(lambda: rig.commands and rig.states)
    rig.until(lambda: rig.states[-1].reason.startswith("image is"))
    assert rig.states[-1].status == PolicyState.STATUS_WAITING


def test_unknown_task_is_refused_with_the_known_ones(rig: Rig) -> None:
    rig.start()
    rig.event(EpisodeEvent.START, task="fold the towel")
    rig.feed_until(
        lambda: rig.states and rig.states[-1].status == PolicyState.STATUS_WAITING
    )
    assert "unknown task 'fold the towel'" in rig.states[-1].reason
    assert TASK in rig.states[-1].reason
    assert rig.commands == []


def test_image_of_another_size_ends_the_node(rig: Rig) -> None:
    rig.start()
    rig.event(EpisodeEvent.START)
    image = Image()
    fill_message(image, np.zeros((24, 32, 3), np.uint8))

    def send() -> bool:
        rig.arms.publish(ArmState(header=image.header))
        rig.images.publish(image)
        return False

    def stamped() -> bool:
        image.header.stamp = to_stamp(time.time_ns())
        return send()

    with pytest.raises(PtrError, match=r"\(24, 32, 3\).*\(48, 64, 3\)"):
        rig.until(stamped)
    assert rig.commands == []


def test_a_bundle_must_be_signed_where_the_node_has_a_key(rig: Rig) -> None:
    rig.node.set_parameters([Parameter("policy_key", value="ours.pub")])
    with pytest.raises(PtrError, match=r"is not signed.*ours\.pub is required"):
        rig.node.start()


def test_deactivate_stops_publishing(rig: Rig) -> None:
    rig.start()
    rig.event(EpisodeEvent.START)
    rig.feed_until(lambda: rig.commands and len(rig.states) >= len(rig.commands))
    rig.node.trigger_deactivate()
    sent, reported = len(rig.commands), len(rig.states)
    deadline = time.monotonic() + 0.6  # three control periods
    rig.feed_until(lambda: time.monotonic() > deadline)
    assert (len(rig.commands), len(rig.states)) == (sent, reported)


def test_cleanup_forgets_the_bundle_and_configure_loads_it_again(rig: Rig) -> None:
    rig.start()
    rig.node.trigger_deactivate()
    rig.node.trigger_cleanup()
    rig.start()
    rig.event(EpisodeEvent.START)
    rig.feed_until(lambda: rig.commands)


def test_refused_bundle_leaves_the_node_unconfigured(bundle: Path, tmp_path: Path) -> None:
    broken = tmp_path / "bundle"
    broken.mkdir()
    for file in bundle.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    values = json.loads((broken / "bundle.json").read_text())
    (broken / "bundle.json").write_text(json.dumps({**values, "format_version": 99}))
    rclpy.init()
    rig = Rig(broken)
    try:
        with pytest.raises(PtrError, match="format version is 99"):
            rig.node.start()
        assert rig.node._state_machine.current_state[0] == State.PRIMARY_STATE_UNCONFIGURED
    finally:
        rig.close()
        rclpy.shutdown()

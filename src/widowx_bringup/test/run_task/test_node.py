"""Goals of `run_task` over real DDS: server and recorder are real, the robot is played."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from action_msgs.msg import GoalStatus
from run_task_rig import TaskRig

from ptr_msgs.action import RunTask
from ptr_msgs.msg import ArmState, EpisodeEvent
from widowx_bringup.run_task import link

Result = RunTask.Result


@pytest.fixture(scope="module")
def one_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskRig]:
    rig = TaskRig(tmp_path_factory.mktemp("bags"))
    yield rig
    rig.close()


@pytest.fixture
def rig(one_rig: TaskRig) -> Iterator[TaskRig]:
    one_rig.reset()
    one_rig.until(one_rig.arm_is_well)
    yield one_rig
    one_rig.rest()


def custom_data(bag: Path) -> dict[str, str]:
    metadata = yaml.safe_load((bag / "metadata.yaml").read_text())
    custom: dict[str, str] = metadata["rosbag2_bagfile_information"]["custom_data"]
    return custom


def test_a_person_judges_the_episode_and_its_bag_has_the_goals_uuid(rig: TaskRig) -> None:
    handle = rig.begin()
    name = str(uuid.UUID(bytes=bytes(handle.goal_id.uuid)))
    assert rig.feedback[-1].episode_id == name
    assert rig.feedback[-1].q_values.tolist() == [0.25, 0.5]
    assert 0.0 <= rig.feedback[-1].image_age < 5.0
    rig.publish(EpisodeEvent.SUCCESS, name, "well done")
    answer = rig.result(handle)
    assert answer.status == GoalStatus.STATUS_SUCCEEDED
    result = answer.result
    assert (result.outcome, result.termination) == ("success", "judged")
    assert result.message == "judged: success (well done)"
    assert result.bag == str(rig.folder / name)
    assert result.steps > 1
    custom = custom_data(rig.folder / name)
    assert (custom["goal_id"], custom["outcome"]) == (name, "success")
    assert rig.calls == ["arm/go_to_start"]
    assert [event.event for event in rig.heard] == [
        EpisodeEvent.START,
        EpisodeEvent.SUCCESS,
    ]


def test_a_discarded_episode_has_no_outcome_and_no_bag(rig: TaskRig) -> None:
    handle = rig.begin(episode_id="mine")
    rig.publish(EpisodeEvent.DISCARD, "mine")
    result = rig.result(handle).result
    assert (result.outcome, result.termination) == (Result.OUTCOME_NONE, "judged")
    assert result.bag == ""
    rig.until(lambda: not list(rig.folder.iterdir()))


def test_a_cancelled_episode_ends_and_the_arm_holds(rig: TaskRig) -> None:
    handle = rig.begin(episode_id="mine")
    handle.cancel_goal_async()
    answer = rig.result(handle)
    assert answer.status == GoalStatus.STATUS_CANCELED
    assert (answer.result.outcome, answer.result.termination) == ("stopped", "cancelled")
    assert rig.calls == ["arm/go_to_start", "arm/hold"]
    assert custom_data(rig.folder / "mine")["outcome"] == "stop"


def test_without_a_judge_the_time_limit_gives_no_verdict(rig: TaskRig) -> None:
    answer = rig.result(rig.begin(time_limit=0.5))
    assert answer.status == GoalStatus.STATUS_SUCCEEDED
    result = answer.result
    assert (result.outcome, result.termination) == ("stopped", "time limit")
    assert result.message == "not judged within 0.5 s"


def test_one_goal_at_a_time_and_none_beside_an_episode_of_the_topic(rig: TaskRig) -> None:
    handle = rig.begin(episode_id="mine")
    assert not rig.send().accepted
    rig.publish(EpisodeEvent.FAILURE, "mine")
    assert rig.result(handle).result.outcome == "failure"
    rig.publish(EpisodeEvent.START, "by-topic")
    rig.until(lambda: rig.node._link.running == "by-topic")
    assert not rig.send().accepted
    rig.publish(EpisodeEvent.STOP, "by-topic")
    rig.until(lambda: not rig.node._link.running)
    rig.begin()


def test_an_episode_of_the_topic_ends_the_goal(rig: TaskRig) -> None:
    handle = rig.begin()
    rig.publish(EpisodeEvent.START, "by-topic")
    answer = rig.result(handle)
    assert answer.status == GoalStatus.STATUS_ABORTED
    assert answer.result.termination == "another episode began"
    assert [event.episode_id for event in rig.heard[1:]] == ["by-topic"]


def test_a_hold_ends_the_goal_with_its_kind(rig: TaskRig) -> None:
    handle = rig.begin()
    rig.status, rig.reason, rig.held = ArmState.STATUS_HOLDING, "the image is old", 1
    answer = rig.result(handle)
    assert answer.status == GoalStatus.STATUS_ABORTED
    result = answer.result
    assert (result.outcome, result.termination) == ("stopped", "held")
    assert (result.hold_kind, result.message) == (
        "camera",
        "the arm held: the image is old",
    )
    second = rig.result(rig.send()).result
    assert (second.outcome, second.termination) == ("none", "not ready")
    assert "the arm holds: the image is old; arm/enable" in second.message


def test_a_refusing_policy_ends_the_goal_with_its_reason(rig: TaskRig) -> None:
    rig.policy_refuses = "unknown task 'stir'"
    result = rig.result(rig.send()).result
    assert (result.termination, result.message) == ("policy refused", "unknown task 'stir'")


def test_a_refusing_recorder_ends_the_goal_with_its_reason(rig: TaskRig) -> None:
    (rig.folder / "mine").mkdir()
    result = rig.result(rig.send(episode_id="mine")).result
    assert (result.outcome, result.termination) == ("stopped", "recorder refused")
    assert "mine exists" in result.message
    assert result.bag == ""


def test_a_node_that_falls_silent_ends_the_goal(
    rig: TaskRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = rig.begin()
    monkeypatch.setattr(link, "SILENCE", 2.5)
    rig.alive.remove("camera_node")
    answer = rig.result(handle)
    assert answer.status == GoalStatus.STATUS_ABORTED
    assert answer.result.termination == "node lost"
    assert answer.result.message == "nothing is heard any more of /camera_node"
    assert rig.heard[-1].event == EpisodeEvent.STOP


def test_a_server_that_is_ended_stops_the_episode_and_sends_the_result(
    rig: TaskRig,
) -> None:
    handle = rig.begin()
    future = handle.get_result_async()
    for _ in range(10):
        rig.executor.spin_once(timeout_sec=0.02)
    rig.node._episode.give_up("the server of run_task was ended")
    rig.node._send_last_result()
    rig.until(future.done)
    assert future.result().result.message == "the server of run_task was ended"
    rig.until(lambda: rig.heard[-1].event == EpisodeEvent.STOP)


def test_a_malformed_goal_is_rejected_and_the_next_one_taken(rig: TaskRig) -> None:
    assert not rig.send(time_limit=float("nan")).accepted
    assert not rig.send(task="").accepted
    rig.begin()

"""The recorder as a process of its own, over real DDS on this machine only."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("ptr_msgs.msg", reason="ptr_msgs is not built")

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from recorder_rig import IMAGE, TIME_LIMIT, Robot
from rosbags.highlevel import AnyReader

from ptr_common import qos
from ptr_common.images import resize_area
from ptr_common.managed_node import to_stamp
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent
from ptr_training.bags.episodes_from_bag import ReadOptions, read_episodes
from widowx_bringup.recording import recover


@pytest.fixture
def robot() -> Iterator[Robot]:
    robot = Robot()
    yield robot
    robot.close()


@pytest.fixture
def start(robot: Robot, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts a recorder into tmp_path/bags and waits until everything is connected."""
    processes = []

    def begin(
        directory: Path = tmp_path / "bags",
        before: Callable[[], None] | None = None,
        latencies: str = "0.0",
    ) -> subprocess.Popen:
        parameters = [
            f"directory:={directory}",
            "camera:=front",
            "operator:=Ada",
            "chunk_bytes:=300000",
        ]
        parameters.append(f"camera_latency:=[{latencies}]")
        flags = [word for parameter in parameters for word in ("-p", parameter)]
        command = [
            sys.executable,
            "-m",
            "widowx_bringup.recording.recorder_node",
            "--ros-args",
            "-r",
            "__ns:=/wx",
            *flags,
        ]
        process = subprocess.Popen(command, preexec_fn=before)
        processes.append(process)
        robot.wait(lambda: robot.connected() and robot.status)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.wait()


def stop(process: subprocess.Popen, number: int) -> int:
    process.send_signal(number)
    return process.wait(TIME_LIMIT)


def custom_data(bag: Path) -> dict[str, Any]:
    return yaml.safe_load((bag / "metadata.yaml").read_text())[
        "rosbag2_bagfile_information"
    ]["custom_data"]


def counts(bag: Path) -> dict[str, int]:
    with AnyReader([bag]) as reader:
        return {connection.topic: connection.msgcount for connection in reader.connections}


def record_a_little(robot: Robot, episode: str) -> None:
    """Start an episode and let some messages reach the file."""
    robot.say(EpisodeEvent.START, episode)
    robot.wait(
        lambda: (
            robot.values.get("episode_id") == episode and int(robot.values["messages"]) > 20
        ),
        moving=True,
    )


def test_episode_becomes_one_complete_bag(
    robot: Robot, start: Callable, tmp_path: Path
) -> None:
    process = start()
    assert robot.values["state"] == "idle"
    bag = tmp_path / "bags" / "e1"
    for _ in range(3):  # before START: only the newest of these is kept
        robot.move()
        robot.executor.spin_once(timeout_sec=0.05)
    record_a_little(robot, "e1")
    assert not bag.exists()
    robot.say(EpisodeEvent.SUCCESS, "e1")
    robot.wait(bag.exists)
    custom = custom_data(bag)
    wanted = {
        "episode_id": "e1",
        "task": "put red in bowl",
        "operator": "Ada",
        "outcome": "success",
        "control_rate": "5.0",
        "camera": "front",
        "text": "seed 3",
        "dropped": "0",
    }
    assert custom.items() >= wanted.items()
    found = counts(bag)
    assert found["/wx/episode/event"] == 2
    assert found["/wx/camera/front/image_raw"] >= 5
    assert found["/wx/arm/command"] >= 5
    with AnyReader([bag]) as reader:
        decode: Any = reader.deserialize
        images = [
            entry for entry in reader.messages() if entry[0].topic.endswith("image_raw")
        ]
        first: Any = decode(images[0][2], images[0][0].msgtype)
        np.testing.assert_array_equal(first.data.reshape(IMAGE.shape), IMAGE)
        [event] = [
            decode(data, c.msgtype)
            for c, _, data in reader.messages()
            if c.topic.endswith("event")
        ][:1]
        assert event.event == EpisodeEvent.START
        assert all(
            "reliability" in str(c.ext.offered_qos_profiles) for c in reader.connections
        )  # type: ignore[union-attr]
    read = read_episodes(bag, ReadOptions(image_size=16, command="requested"))
    [episode] = read.episodes
    assert (episode.id, episode.outcome, episode.seed) == ("e1", "success", 3)
    np.testing.assert_array_equal(episode.frames[0], resize_area(IMAGE, (16, 16)))
    assert {
        topic: sum(entry["fates"].values()) for topic, entry in read.audit["topics"].items()
    } == found
    assert stop(process, signal.SIGINT) == 0


def test_commands_that_arrive_before_the_start_they_answer_are_recorded(
    robot: Robot, start: Callable, tmp_path: Path
) -> None:
    start()
    record_a_little(robot, "e0")  # everything arrives from now on
    robot.say(EpisodeEvent.DISCARD, "e0")
    robot.wait(lambda: robot.values.get("state") == "idle")
    said = robot.node.get_clock().now().to_msg()
    for _ in range(5):
        command = EefCommand()
        command.header.stamp = to_stamp(robot.node.get_clock().now().nanoseconds)
        robot.commands.publish(command)
    robot.say(EpisodeEvent.START, "e1", said)
    robot.wait(lambda: int(robot.values["messages"]) >= 6)  # these, and START
    robot.say(EpisodeEvent.SUCCESS, "e1")
    bag = tmp_path / "bags" / "e1"
    robot.wait(bag.exists)
    assert counts(bag)["/wx/arm/command"] == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_recorder_completes_the_running_episode(
    robot: Robot, start: Callable, tmp_path: Path, number: int
) -> None:
    process = start()
    record_a_little(robot, "e1")
    assert stop(process, number) == 0
    assert custom_data(tmp_path / "bags" / "e1")["outcome"] == "interrupted"
    assert counts(tmp_path / "bags" / "e1")["/wx/arm/command"] >= 5
    assert [path.name for path in (tmp_path / "bags").iterdir()] == ["e1"]


def test_killed_recorder_loses_no_finished_episode_and_the_running_one_is_restored(
    robot: Robot, start: Callable, tmp_path: Path
) -> None:
    process, bags = start(), tmp_path / "bags"
    record_a_little(robot, "e1")
    robot.say(EpisodeEvent.FAILURE, "e1")
    robot.wait((bags / "e1").exists)
    robot.say(EpisodeEvent.START, "e2")
    file = bags / ".e2.partial" / "e2_0.mcap"
    robot.wait(lambda: file.exists() and file.stat().st_size > 2_000_000, moving=True)
    assert stop(process, signal.SIGKILL) == -signal.SIGKILL
    assert sorted(path.name for path in bags.iterdir()) == [".e2.partial", "e1"]
    recover.main([str(bags)])
    assert custom_data(bags / "e1")["outcome"] == "failure"
    assert custom_data(bags / "e2")["outcome"] == "interrupted"
    assert counts(bags / "e2")["/wx/arm/command"] >= 5


def test_discarded_episode_leaves_nothing_and_a_second_start_closes_the_first(
    robot: Robot, start: Callable, tmp_path: Path
) -> None:
    start()
    bags = tmp_path / "bags"
    record_a_little(robot, "e1")
    robot.say(EpisodeEvent.DISCARD, "e1")
    robot.wait(lambda: not list(bags.iterdir()))
    record_a_little(robot, "e2")
    robot.say(EpisodeEvent.SUCCESS, "another")  # of an episode that is not running
    robot.say(EpisodeEvent.START, "e3")
    robot.wait((bags / "e2").exists)
    assert custom_data(bags / "e2")["outcome"] == "stop"
    robot.say(EpisodeEvent.STOP, "e3")
    robot.wait((bags / "e3").exists)
    assert sorted(path.name for path in bags.iterdir()) == ["e2", "e3"]


def test_episode_that_cannot_be_recorded_is_said_on_diagnostics_and_the_node_lives(
    robot: Robot, start: Callable, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    process = start(tmp_path / "file")
    robot.say(EpisodeEvent.START, "e1")
    robot.wait(lambda: robot.status and robot.status.level == DiagnosticStatus.ERROR)
    assert robot.status is not None
    assert "cannot record into" in robot.status.message
    assert process.poll() is None


def small_disk() -> None:
    """Let no file of this process grow beyond 2 MB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))


def test_disk_that_fills_up_stops_the_recording_but_not_the_node(
    robot: Robot, start: Callable, tmp_path: Path
) -> None:
    process, bags = start(before=small_disk), tmp_path / "bags"
    robot.say(EpisodeEvent.START, "e1")
    robot.wait(
        lambda: robot.status and robot.status.level == DiagnosticStatus.ERROR, moving=True
    )
    assert robot.status is not None
    assert "e1: recording stopped: [Errno 27] File too large" in robot.status.message
    robot.say(EpisodeEvent.SUCCESS, "e1")
    record_a_little(robot, "e2")
    robot.say(EpisodeEvent.DISCARD, "e2")
    robot.wait(lambda: robot.values.get("state") == "idle")
    assert process.poll() is None
    assert [path.name for path in bags.iterdir()] == [".e1.partial"]
    recover.main([str(bags)])
    assert counts(bags / "e1")["/wx/arm/command"] >= 2


def test_bag_tells_the_latency_of_its_camera_and_has_the_states_that_its_first_image_needs(
    robot: Robot, start: Callable, tmp_path: Path
) -> None:
    start(latencies="0.4, 0.05")
    began = time.monotonic()
    robot.wait(lambda: time.monotonic() > began + 0.6, moving=True)
    robot.say(EpisodeEvent.START, "first")
    robot.wait(lambda: robot.values.get("state") == "recording", moving=True)
    robot.say(EpisodeEvent.SUCCESS, "first")
    robot.wait((tmp_path / "bags" / "first").exists)
    bag = tmp_path / "bags" / "first"
    assert custom_data(bag)["camera_latency"] == "0.4"
    with AnyReader([bag]) as reader:
        times: dict[str, int] = {}
        for connection, stamp, _ in reader.messages():
            times.setdefault(connection.topic, stamp)
    assert times["/wx/camera/front/image_raw"] - times["/wx/arm/state"] > 0.35e9


def test_recorder_says_what_it_does_not_hear(robot: Robot, start: Callable) -> None:
    start()
    assert robot.status is not None
    assert robot.status.level == DiagnosticStatus.WARN
    assert (
        robot.status.message
        == "nothing has arrived on /wx/camera/front/image_raw, /wx/arm/state"
    )
    robot.wait(
        lambda: robot.status and robot.status.level == DiagnosticStatus.OK, moving=True
    )


def test_recorder_tells_whom_it_hears(robot: Robot, start: Callable) -> None:
    start()
    others = robot.node.create_publisher(DiagnosticArray, "/diagnostics", qos.STATE)

    def heard() -> bool:
        others.publish(DiagnosticArray(status=[DiagnosticStatus(name="/wx/simulation")]))
        return "/wx/simulation" in robot.values["hears"].split()

    robot.wait(heard)


def test_malformed_messages_are_counted_and_neither_recorded_nor_fatal(
    robot: Robot, start: Callable, tmp_path: Path
) -> None:
    process = start()
    broken = b"\x00\x01\x00\x00\xff\xff\xff\xff"
    record_a_little(robot, "e1")
    for publisher in (robot.events, robot.images, robot.states):
        publisher.publish(broken)
    robot.wait(lambda: "malformed on /wx/arm/state" in robot.values)
    assert robot.values["malformed on /wx/episode/event"] == "1"
    assert robot.values["malformed on /wx/camera/front/image_raw"] == "1"
    robot.say(EpisodeEvent.SUCCESS, "e1")
    robot.wait((tmp_path / "bags" / "e1").exists)
    assert process.poll() is None
    assert custom_data(tmp_path / "bags" / "e1")["outcome"] == "success"


def test_an_episode_with_two_arms_is_not_recorded_and_both_are_named(
    robot: Robot, start: Callable, tmp_path: Path
) -> None:
    start()
    rival = rclpy.create_node("rival", namespace="other", context=robot.context)
    rival.create_publisher(ArmState, "/wx/arm/state", qos.STATE)
    robot.wait(lambda: robot.node.count_publishers("/wx/arm/state") == 2)
    robot.say(EpisodeEvent.START, "e1")
    robot.wait(lambda: "2 nodes publish /wx/arm/state" in str(robot.status))
    assert "/other/rival, /wx/robot" in str(robot.status)
    assert not list((tmp_path / "bags").glob("e1"))
    rival.destroy_node()

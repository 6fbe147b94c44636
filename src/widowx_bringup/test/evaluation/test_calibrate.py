"""`ptr calibrate camera`: with the simulated graph, and with an arm and a camera that misbehave."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_common.errors import PtrError  # noqa: E402
from ptr_common.images import fill_message, resize_area  # noqa: E402
from ptr_common.managed_node import to_stamp  # noqa: E402
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent  # noqa: E402
from ptr_training.bags.episodes_from_bag import ReadOptions, read_episodes  # noqa: E402
from ptr_training.bags.reader import Bag  # noqa: E402
from widowx_bringup.arm.kinematics import Kinematics  # noqa: E402
from widowx_bringup.camera.calibrations import (  # noqa: E402
    CalibrationError,
    calibration_file,
    read_calibration,
)
from widowx_bringup.camera.latency import LatencyError  # noqa: E402
from widowx_bringup.evaluation import calibrate, calibrator, record  # noqa: E402
from widowx_bringup.evaluation.calibrator import Calibrator  # noqa: E402
from widowx_bringup.sim.world import World  # noqa: E402

SMALL = ["width:=64", "height:=48", "real_time_factor:=4"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.mark.parametrize("frames", [0, 3])
def test_delay_of_the_simulated_camera_is_recovered_and_stored_where_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], frames: int
) -> None:
    file, picture = tmp_path / "found.yaml", tmp_path / "found" / "picture.png"
    files = ["--out", str(file), "--picture", str(picture)]
    assert (
        calibrate.main(["camera", "--simulated", *files, f"camera_delay:={frames}", *SMALL])
        == 0
    )
    found = read_calibration("over_shoulder", file)
    assert found is not None
    assert round(found.latency * found.rate) == frames
    assert found.rate == pytest.approx(30, rel=0.01)
    assert found.correlation > 0.9
    assert found.uncertainty < 0.01
    assert found.date.endswith("+00:00")
    assert not calibration_file().exists(), (
        "a simulated delay must never correct a real camera"
    )
    assert picture.read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "over_shoulder" in printed
    assert f"stored: {file}" in printed
    assert list((tmp_path / "found" / "bags").glob("*")) == [], "the episode was discarded"


def test_a_refused_calibration_stores_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arm is told not to move: what the graph shows then is real, and tells nothing."""
    monkeypatch.setattr(
        calibrator, "motion", lambda gripper: np.tile([0.0] * 6 + [gripper], (30, 1))
    )
    files = [
        "--out",
        str(tmp_path / "found.yaml"),
        "--picture",
        str(tmp_path / "picture.png"),
    ]
    with pytest.raises(LatencyError, match=r"at least 100 are needed|the arm moved by"):
        calibrate.main(["camera", "--simulated", *files, *SMALL])
    assert not (tmp_path / "found.yaml").exists()


def test_arguments_of_the_simulated_graph_are_refused_without_it() -> None:
    with pytest.raises(
        CalibrationError,
        match="camera_delay:= is an argument of the simulated graph; add --simulated",
    ):
        calibrate.main(["camera", "camera_delay:=3"])


def test_exported_picture_and_proprio_of_a_late_camera_show_the_same_moment(
    tmp_path: Path,
) -> None:
    """A bag of the simulated graph holds the true world of every stamp, which is rendered again."""
    late = ["camera_rate:=10", "camera_delay:=1", "camera_latency:=0.1"]
    assert (
        record.main(
            [
                "--episodes",
                "1",
                "--seed",
                "5",
                "--out",
                str(tmp_path / "bags"),
                *SMALL,
                *late,
            ]
        )
        == 0
    )
    (path,) = (each for each in (tmp_path / "bags").iterdir() if each.name != "log")
    custom = yaml.safe_load((path / "metadata.yaml").read_text())[
        "rosbag2_bagfile_information"
    ]["custom_data"]
    assert custom["camera_latency"] == "0.1"
    [episode] = read_episodes(
        path, ReadOptions(image_size=32, command="requested")
    ).episodes
    [uncorrected] = read_episodes(
        path, ReadOptions(image_size=32, command="requested", camera_latency=0.0)
    ).episodes
    worlds = true_worlds(path)
    world = World()
    distances = []
    for frame, stamp_ns, proprio in zip(
        episode.frames, episode.stamps_ns.tolist(), episode.proprio, strict=True
    ):
        if stamp_ns in worlds:
            world.set_state(worlds[stamp_ns])
            drawn = resize_area(world.render("over_shoulder", 48, 64), (32, 32))
            assert np.abs(frame.astype(int) - drawn).mean() < 0.5
            distances.append(
                np.linalg.norm(
                    Kinematics().forward(worlds[stamp_ns][:6])[:3, 3] - proprio[:3]
                )
            )
    world.close()
    assert len(distances) > 10
    assert max(distances) < 0.02  # the state is at most 50 ms older
    assert len(episode) >= len(uncorrected) - 1, (
        "the bag has the arm states that its first picture needs"
    )


def true_worlds(path: Path) -> dict[int, np.ndarray]:
    """Return the states of the simulated world in a bag, by their stamps [ns]."""
    with Bag(path) as bag:
        messages = [
            bag.decode("sensor_msgs/msg/JointState", data)
            for *_, data in bag.messages(["/wx250s/sim/world"])
        ]
    stamps = [message.header.stamp for message in messages]
    return {
        stamp.sec * 10**9 + stamp.nanosec: message.position
        for stamp, message in zip(stamps, messages, strict=True)
    }


# --- arm and camera played by a probe ---


class Robot:
    """An arm at rest and a camera, on one node; the calibrator gives it its turns."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("robot")
        self.events: list[int] = []
        self.commands: list[EefCommand] = []
        self.shows = self.speaks = True
        self.refusal = self.reason = ""
        self.status = ArmState.STATUS_OK
        self.states = self.node.create_publisher(ArmState, "arm/state", qos.STATE)
        self.images = self.node.create_publisher(
            Image, "camera/front/image_raw", qos.IMAGES
        )
        self.node.create_subscription(
            EefCommand, "arm/command", self.commands.append, qos.COMMANDS
        )
        self.node.create_subscription(
            EpisodeEvent, "episode/event", lambda e: self.events.append(e.event), qos.EVENTS
        )
        self.node.create_service(Trigger, "arm/go_to_start", self.answer)
        self.node.create_timer(0.02, self.tick)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.turn: Callable[[], object] = lambda: None  # what the test wants meanwhile

    def answer(self, _: Any, response: Any) -> Any:
        response.success, response.message = not self.refusal, self.refusal
        return response

    def tick(self) -> None:
        stamp = to_stamp(time.time_ns())
        if self.speaks:
            state = ArmState(
                status=self.status, reason=self.reason, proprio=[0.3, 0, 0.15, 0, 0, 0, 0.8]
            )
            state.header.stamp = stamp
            self.states.publish(state)
            self.states.publish(state)  # as an arm that did not answer meanwhile
        if self.shows:
            image = Image()
            image.header.stamp = stamp
            fill_message(image, np.zeros((48, 64, 3), np.uint8))
            self.images.publish(image)

    def live(self) -> None:
        self.turn()
        for _ in range(4):
            self.executor.spin_once(timeout_sec=0)

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()


@pytest.fixture
def robot(ros: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Robot]:
    monkeypatch.setattr(calibrator, "PAUSE_LIMIT", 0.5)
    with contextlib.closing(Robot()) as robot:
        yield robot


def record_with(robot: Robot) -> Any:
    node = Calibrator("front", robot.live)
    try:
        return node.record()
    finally:
        node.destroy_node()
        deadline = time.monotonic() + 5.0
        while EpisodeEvent.START in robot.events and robot.events[-1] == EpisodeEvent.START:
            assert time.monotonic() < deadline, "the episode was not discarded"
            robot.live()


def test_commands_answer_pictures_in_an_episode_that_is_discarded(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        calibrator, "motion", lambda gripper: np.tile([0.01] * 6 + [gripper], (4, 1))
    )
    recording = record_with(robot)
    assert robot.events == [EpisodeEvent.START, EpisodeEvent.DISCARD]
    assert recording.images.shape == (len(recording.image_ns), 60, 80)
    assert recording.joints.shape == (len(recording.state_ns), 6)
    assert (np.diff(recording.image_ns) > 0).all()
    assert (np.diff(recording.state_ns) > 0).all(), "a repeated state is one measurement"
    answered = [
        each.observation_stamp.sec * 10**9 + each.observation_stamp.nanosec
        for each in robot.commands
    ]
    assert set(answered) <= set(recording.image_ns.tolist())
    assert all(np.isclose(each.action[6], 0.8) for each in robot.commands)


def test_an_arm_that_begins_to_hold_ends_the_calibration_with_its_reason(
    robot: Robot,
) -> None:
    def hold() -> None:
        if robot.commands:
            robot.status, robot.reason = (
                ArmState.STATUS_HOLDING,
                "stopped by the operator (arm/hold)",
            )

    robot.turn = hold
    with pytest.raises(
        CalibrationError, match=r"the arm holds: stopped by the operator \(arm/hold\)"
    ):
        record_with(robot)
    assert robot.events == [EpisodeEvent.START, EpisodeEvent.DISCARD]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("shows", "no new image on /camera/front/image_raw for 0.5 s"),
        ("speaks", "no arm state for 0.5 s"),
    ],
)
def test_camera_or_arm_that_falls_silent_ends_the_calibration(
    robot: Robot, what: str, message: str
) -> None:
    def fall_silent() -> None:
        if robot.commands:
            setattr(robot, what, False)

    robot.turn = fall_silent
    with pytest.raises(CalibrationError, match=message):
        record_with(robot)
    assert robot.events == [EpisodeEvent.START, EpisodeEvent.DISCARD]


def test_an_arm_that_somebody_else_commands_is_not_touched(robot: Robot) -> None:
    robot.node.create_publisher(EefCommand, "arm/command", qos.COMMANDS)
    with pytest.raises(CalibrationError, match="/robot commands the arm; end it first"):
        record_with(robot)
    assert robot.events == []


def test_an_arm_that_does_not_go_to_its_start_pose_is_not_calibrated_with(
    robot: Robot,
) -> None:
    robot.refusal = "arm is holding: fault; call arm/enable first"
    with pytest.raises(
        CalibrationError,
        match="does not go to its start pose: arm is holding: fault; call arm/enable",
    ):
        record_with(robot)
    assert robot.events == []


def test_without_a_graph_it_says_what_is_missing(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrator, "START_LIMIT", 0.3)
    robot.shows = False
    with pytest.raises(
        CalibrationError,
        match=r"no image on /camera/front/image_raw for 0.3 s; is a graph running",
    ):
        record_with(robot)


def test_what_the_driver_reads_is_asked_of_it(robot: Robot) -> None:
    robot.node.declare_parameter("video_device", "/dev/v4l/by-id/usb-x")
    node = Calibrator("front", robot.live)
    try:
        node._wait(lambda: node._image_ns, 10.0, "no image")
        assert node.device() == "/dev/v4l/by-id/usb-x"
    finally:
        node.destroy_node()


def test_no_ros_error_hides_that_a_watched_process_died(robot: Robot) -> None:
    def die() -> None:
        raise PtrError("camera_node ended")

    robot.turn = die
    with pytest.raises(PtrError, match="camera_node ended"):
        record_with(robot)

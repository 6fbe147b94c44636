"""`ptr calibrate camera`: by how much a camera's stamps are late, measured by moving the arm in front of it.

    ptr calibrate camera                                        # beside a running graph of
    the real arm ptr calibrate camera --simulated camera_delay:=3            # a trial: the
    simulated arm, its pictures 3 frames late

The arm goes to its start pose and makes small moves at irregular times, as an episode, so
that all watchdogs are on; the episode is discarded. `latency.py` has the arithmetic.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import rclpy
from rcl_interfaces.srv import GetParameters
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from tqdm import tqdm

from ptr_common import qos
from ptr_common.action_space import BASE_FRAME, CONTROL_RATE
from ptr_common.files import atomic_file
from ptr_common.images import RawImage, resize_area
from ptr_common.managed_node import now_ns, to_ns, to_stamp
from ptr_common.topics import (
    TOPIC_ARM_STATE,
    TOPIC_COMMAND,
    TOPIC_EPISODE_EVENT,
    image_topic,
)
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent
from ptr_policy_node.observation import StepSchedule
from widowx_bringup.camera.calibrations import (
    CalibrationError,
    CameraCalibration,
    calibration_file,
    write_calibration,
)
from widowx_bringup.camera.latency import (
    LAGS,
    Measurement,
    Recording,
    check,
    measure,
    motion,
)
from widowx_bringup.graph.environment import environment
from widowx_bringup.graph.graphs import find_graph
from widowx_bringup.graph.processes import Processes
from widowx_bringup.graph.session import free_domain
from widowx_bringup.graph.up import parse_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURE_SIZE = (60, 80)
"""Height and width of the pictures kept [pixels]: in one interval the arm moves by a fraction of such a pixel, and the
picture changes in proportion."""

START_LIMIT = 60.0
"""Longest time the graph may take to show pictures and arm states [s]."""

WAY_LIMIT = 60.0
"""Longest time the arm may take to its start pose [s]."""

PAUSE_LIMIT = 3.0
"""Longest real time without a new picture or arm state [s]."""

STILL = 0.05
"""Below this every joint stands: twice the smallest speed that a servo tells [rad/s]."""

SETTLED_NS = 300_000_000
"""The arm has to stand for so long before the first move [ns]."""

SOURCES = ("source", "video_device", "serial_no")
"""Parameters by which camera drivers say what they read."""

SHOWN = 8.0
"""Part of the recording that is drawn [s]."""


class Calibrator(Node):
    """Moves the arm in front of a camera, and keeps pictures and arm states meanwhile.

    Args:
        camera: Name of the camera.
        watch: Called while it waits; raises where waiting has become pointless.
        options: Passed on to `rclpy.node.Node`.
    """

    def __init__(
        self, camera: str, watch: Callable[[], object] = lambda: None, **options: Any
    ) -> None:
        super().__init__("calibration", **options)
        self._watch = watch
        self._pictures: list[tuple[int, np.ndarray]] = []
        self._states: list[tuple[int, np.ndarray]] = []
        self._state: ArmState | None = None
        self._heard = 0.0  # when the newest arm state came, on the monotonic clock
        self._still_ns = 0  # stamp since which the arm has stood; 0: it moves
        self._picture_ns = 0  # stamp of the newest picture
        self._due_ns = (
            0  # stamp of the picture that the next command answers; 0: none is due
        )
        self._episode = ""
        self._schedule = StepSchedule(CONTROL_RATE)
        self._image_topic = self.resolve_topic_name(image_topic(camera))
        self._events = self.create_publisher(EpisodeEvent, TOPIC_EPISODE_EVENT, qos.EVENTS)
        self._go_to_start = self.create_client(Trigger, "arm/go_to_start")
        self.create_subscription(ArmState, TOPIC_ARM_STATE, self._on_state, qos.STATE)
        self.create_subscription(
            Image, self._image_topic, self._on_picture, qos.IMAGES, raw=True
        )
        self._spinner = SingleThreadedExecutor(context=self.context)
        self._spinner.add_node(self)

    def destroy_node(self) -> None:
        """Discard a running episode and leave the graph."""
        self._end()
        self._spinner.shutdown()
        super().destroy_node()

    def record(self) -> Recording:
        """Move the arm and return what was seen meanwhile.

        Raises:
            CalibrationError: If arm or camera fall silent, the arm holds, or somebody else
            commands it.
        """
        self._join()
        self._stand_at_start()
        assert self._state is not None
        actions = motion(float(np.clip(self._state.proprio[6], 0.0, 1.0)))
        self._begin()
        for action in tqdm(actions, desc="calibrate", unit="step"):
            self._wait(
                lambda: self._due_ns, PAUSE_LIMIT, f"no new picture on {self._image_topic}"
            )
            self._send(action)
        self._end()
        return Recording(*_columns(self._pictures), *_columns(self._states))

    def device(self) -> str:
        """Return what the camera's driver says it reads; empty if it says nothing."""
        for publisher in self.get_publishers_info_by_topic(self._image_topic):
            driver = f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}"
            for name in SOURCES:
                if device := self._parameter_of(driver, name):
                    return device
        return ""

    def _parameter_of(self, node: str, name: str) -> str:
        client = self.create_client(GetParameters, f"{node}/get_parameters")
        with contextlib.suppress(CalibrationError):
            self._wait(client.service_is_ready, 1.0, "")
            future = client.call_async(GetParameters.Request(names=[name]))
            self._wait(future.done, 1.0, "")
            values = [parameter_value_to_python(value) for value in future.result().values]
            return str(values[0]) if values and values[0] is not None else ""
        return ""

    # --- the arm ---

    def _join(self) -> None:
        """Wait for arm and camera; make sure that nobody else commands the arm, then be the one who does."""
        hint = "; is a graph running (`ptr up record teleop:=none`), on this ROS domain and with this clock?"
        print("waiting for arm and camera", flush=True)
        self._wait(
            lambda: self._state, START_LIMIT, f"no arm state on {TOPIC_ARM_STATE}", hint
        )
        self._wait(
            lambda: self._picture_ns,
            START_LIMIT,
            f"no picture on {self._image_topic}",
            hint,
        )
        others = [
            f"{each.node_namespace.rstrip('/')}/{each.node_name}"
            for each in self._senders()
        ]
        if others:
            raise CalibrationError(
                f"{', '.join(others)} commands the arm; end it first, and start it with teleop:=none"
            )
        self._commands = self.create_publisher(EefCommand, TOPIC_COMMAND, qos.COMMANDS)
        hear = (self._events, self._commands)
        self._wait(
            lambda: all(each.get_subscription_count() for each in hear),
            START_LIMIT,
            "the arm does not listen",
        )

    def _senders(self) -> list[Any]:
        return self.get_publishers_info_by_topic(self.resolve_topic_name(TOPIC_COMMAND))

    def _stand_at_start(self) -> None:
        self._wait(
            self._go_to_start.service_is_ready,
            START_LIMIT,
            "the arm does not offer arm/go_to_start",
        )
        future = self._go_to_start.call_async(Trigger.Request())
        self._wait(future.done, PAUSE_LIMIT, "no answer from arm/go_to_start")
        if not future.result().success:
            raise CalibrationError(
                f"the arm does not go to its start pose: {future.result().message}"
            )
        asked_ns = now_ns(self)

        def stands() -> bool:
            assert self._state is not None
            since = max(asked_ns, self._still_ns)
            return (
                self._still_ns > 0 and to_ns(self._state.header.stamp) > since + SETTLED_NS
            )

        self._wait(stands, WAY_LIMIT, "the arm does not come to rest at its start pose")

    def _begin(self) -> None:
        self._pictures, self._states = [], []
        self._episode = str(uuid.uuid4())
        self._schedule.restart()
        self._due_ns = 0
        self._publish(EpisodeEvent.START)

    def _end(self) -> None:
        """Discard the episode, if one is running."""
        if self._episode:
            self._publish(EpisodeEvent.DISCARD)
            self._episode = ""
            self._events.wait_for_all_acked(Duration(seconds=1))

    def _publish(self, event: int) -> None:
        message = EpisodeEvent(
            episode_id=self._episode,
            event=event,
            task="calibrate camera",
            text="calibration",
        )
        message.header.stamp = to_stamp(now_ns(self))
        self._events.publish(message)

    def _send(self, action: np.ndarray) -> None:
        command = EefCommand(
            action=action,
            source=EefCommand.SOURCE_SCRIPT,
            observation_stamp=to_stamp(self._due_ns),
        )
        command.header.stamp = to_stamp(now_ns(self))
        command.header.frame_id = BASE_FRAME
        self._due_ns = 0
        self._commands.publish(command)

    # --- what is heard ---

    def _on_state(self, state: ArmState) -> None:
        self._state, self._heard = state, time.monotonic()
        stamp_ns = to_ns(state.header.stamp)
        moves = bool(state.reason) or np.abs(state.joint_velocities).max() > STILL
        self._still_ns = 0 if moves else self._still_ns or stamp_ns
        if self._episode:
            self._states.append((stamp_ns, np.asarray(state.joint_positions)))

    def _on_picture(self, buffer: bytes) -> None:
        picture = RawImage.from_cdr(buffer)
        self._picture_ns = picture.stamp_ns
        if not self._episode:
            return
        self._pictures.append(
            (
                picture.stamp_ns,
                cv2.cvtColor(resize_area(picture.rgb(), PICTURE_SIZE), cv2.COLOR_RGB2GRAY),
            )
        )
        if self._schedule.take(picture.stamp_ns):
            self._due_ns = picture.stamp_ns

    def _wait(
        self, condition: Callable[[], object], limit: float, problem: str, hint: str = ""
    ) -> None:
        """Take part in the graph until a condition holds."""
        deadline = time.monotonic() + limit
        while not condition():
            self._watch()
            if self._episode:
                self._check_arm()
            if time.monotonic() > deadline:
                raise CalibrationError(f"{problem} for {limit:g} s{hint}")
            self._spinner.spin_once(timeout_sec=0.05)

    def _check_arm(self) -> None:
        assert self._state is not None
        if self._state.status != ArmState.STATUS_OK:
            raise CalibrationError(f"the arm holds: {self._state.reason}")
        if time.monotonic() - self._heard > PAUSE_LIMIT:
            raise CalibrationError(f"no arm state for {PAUSE_LIMIT:g} s")


def _columns(rows: list[tuple[int, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return stamps (n,) and values (n, …); both empty without rows."""
    return np.array([stamp for stamp, _ in rows], np.int64), np.array(
        [value for _, value in rows]
    )


def draw(measurement: Measurement, camera: str, path: Path) -> None:
    """Write a picture of motion and pictures, as stamped and with the latency taken off, and of their correlation."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8), layout="constrained")
    stamped, corrected, curve = figure.subplots(3, 1)
    _draw_series(stamped, measurement, 0.0, f"{camera}: as stamped")
    _draw_series(
        corrected,
        measurement,
        measurement.latency,
        f"pictures {1e3 * measurement.latency:.1f} ms earlier",
    )
    curve.plot(1e3 * LAGS, measurement.curve)
    curve.axvline(1e3 * measurement.latency, color="tab:red", label="whole recording")
    for part in measurement.parts:
        curve.axvline(1e3 * part, color="tab:red", linewidth=0.5, linestyle=":")
    curve.set(
        xlabel="latency [ms]",
        ylabel="correlation",
        title="of both, for each latency (dotted: parts alone)",
    )
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _draw_series(axes: Axes, measurement: Measurement, latency: float, title: str) -> None:
    shown = measurement.times < measurement.times[0] + SHOWN
    way = measurement.distance[np.abs(LAGS - latency).argmin()]
    for label, series in (
        ("change of the picture", measurement.change),
        ("way of the joints", way),
    ):
        axes.plot(
            measurement.times[shown], series[shown] / (series.max() or 1.0), label=label
        )
    axes.set(
        xlabel="time [s]",
        ylabel="per interval, of the largest",
        title=title,
        ylim=(-0.05, 1.4),
    )
    axes.legend(loc="upper right", ncols=2)


def table(measurement: Measurement, camera: str) -> str:
    """Return the result for the terminal."""
    return (
        f"{'camera':<20} {'latency':>9} {'frames':>7} {'uncertainty':>12} {'correlation':>12} {'rate':>8}\n"
        f"{camera:<20} {1e3 * measurement.latency:>6.1f} ms {measurement.frames:>7.2f} "
        f"{1e3 * measurement.uncertainty:>9.1f} ms {measurement.correlation:>12.2f} {1 / measurement.interval:>5.1f} Hz"
    )


def main(argv: list[str]) -> int:
    """Measure by how much a camera's pictures are late, and store it for export and policy."""
    parser = argparse.ArgumentParser(
        prog="ptr calibrate",
        description="Measure by how much a camera's stamps are late: the arm makes small moves about its start pose "
        "for 23 s. Wants a running graph (`ptr up record teleop:=none use_sim:=false`, or teleop_record.launch.py).",
    )
    parser.add_argument("what", choices=["camera"], help="what to calibrate")
    parser.add_argument(
        "--camera",
        default="over_shoulder",
        help="name of the camera (default: %(default)s)",
    )
    parser.add_argument(
        "--robot-name",
        default="wx250s",
        help="namespace of the graph (default: %(default)s)",
    )
    parser.add_argument(
        "--simulated",
        action="store_true",
        help="a trial: starts the simulated graph by itself",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help=f"file to store it in (default: {calibration_file()}; simulated: none)",
    )
    parser.add_argument(
        "--picture", type=Path, help="of the result (default: runs/calibration/CAMERA.png)"
    )
    parser.add_argument(
        "values", nargs="*", metavar="name:=value", help="arguments of the simulated graph"
    )
    options = parser.parse_intermixed_args(argv)
    given = {
        "camera": options.camera,
        "robot_name": options.robot_name,
        **parse_values(options.values),
    }
    camera = given["camera"]
    picture = options.picture or Path("runs", "calibration", f"{camera}.png")
    with _graph(options.simulated, given, picture.parent) as node:
        recording, device = node.record(), node.device()
    measurement = measure(recording)
    draw(measurement, camera, picture)
    print(table(measurement, camera))
    print(f"picture: {picture}")
    check(measurement)
    _store(
        measurement,
        camera,
        device,
        options.out or (None if options.simulated else calibration_file()),
    )
    return 0


@contextlib.contextmanager
def _graph(simulated: bool, given: dict[str, str], folder: Path) -> Iterator[Calibrator]:
    """Yield a calibrator on the running graph, or on a simulated one that lasts as long as it."""
    if not simulated and (unused := given.keys() - {"camera", "robot_name"}):
        raise CalibrationError(
            f"{unused.pop()}:= is an argument of the simulated graph; add --simulated, or leave it out"
        )
    trial = {
        "teleop": "none",
        "bag_directory": str(folder / "bags"),
        **given,
        "use_sim": "true",
    }
    with contextlib.ExitStack() as stack:
        watch: Callable[[], object] = lambda: None  # noqa: E731
        if simulated:
            graph = find_graph("record")
            values = graph.resolve(trial)
            os.environ.update(environment(values))
            stack.enter_context(free_domain())
            watch = stack.enter_context(
                Processes(graph.nodes(values), folder / "log", {})
            ).check
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        stack.callback(rclpy.try_shutdown)
        clock = Parameter("use_sim_time", value=simulated)
        node = Calibrator(
            given["camera"],
            watch,
            namespace=given["robot_name"],
            parameter_overrides=[clock],
        )
        stack.callback(node.destroy_node)
        yield node


def _store(measurement: Measurement, camera: str, device: str, file: Path | None) -> None:
    if file is None:
        print("not stored: the camera is simulated; --out FILE stores it elsewhere")
        return
    calibration = CameraCalibration(
        latency=round(max(0.0, min(measurement.latency, 1.0)), 4),
        uncertainty=round(measurement.uncertainty, 4),
        correlation=round(measurement.correlation, 3),
        rate=round(1 / measurement.interval, 2),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        device=device,
    )
    write_calibration(camera, calibration, file)
    print(f"stored: {file}")

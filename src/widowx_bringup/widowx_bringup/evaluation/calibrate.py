"""`ptr calibrate camera`: measures a camera's latency by moving the arm in front of it.

    ptr calibrate camera
    ptr calibrate camera --simulated camera_delay:=3

The first command needs a running graph of the real arm. The second is a trial: it starts a
simulated arm whose camera is 3 frames late. `camera/latency.py` has the estimator.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path

import rclpy
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from ptr_common.arguments import VerbParser
from widowx_bringup.camera.calibrations import (
    CalibrationError,
    CameraCalibration,
    calibration_file,
    write_calibration,
)
from widowx_bringup.camera.latency import Measurement, check, measure
from widowx_bringup.graph.session import simulated_graph
from widowx_bringup.graph.values import parse_values

from .calibration_plot import draw, table
from .calibrator import Calibrator

DESCRIPTION = """\
Measure a camera's latency: the arm makes small moves about its start pose for 23 s. This needs
a running graph (`ptr up record teleop:=none use_sim:=false`, or teleop_record.launch.py)."""


def _parser() -> VerbParser:
    parser = VerbParser("calibrate", DESCRIPTION)
    parser.add_argument("what", choices=["camera"], help="device to calibrate")
    parser.add_argument("--camera", default="over_shoulder", help="name of the camera")
    parser.add_argument("--robot-name", default="wx250s", help="namespace of the graph")
    parser.add_argument(
        "--simulated",
        action="store_true",
        help="a trial: start a simulated graph (default: use the running graph)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help=f"file for the result (default: {calibration_file()}; simulated: none)",
    )
    parser.add_argument(
        "--picture",
        type=Path,
        help="plot of the result (default: runs/calibration/CAMERA.png)",
    )
    parser.add_argument(
        "values", nargs="*", metavar="name:=value", help="arguments of the simulated graph"
    )
    return parser


def main(argv: list[str]) -> int:
    """Measure a camera's latency, and store it for export and policy."""
    options = _parser().parse_intermixed_args(argv)
    given = {
        "camera": options.camera,
        "robot_name": options.robot_name,
        **parse_values(options.values),
    }
    camera = given["camera"]
    plot = options.picture or Path("runs", "calibration", f"{camera}.png")
    with _open_calibrator(options.simulated, given, plot.parent) as calibrator:
        recording = calibrator.record()
        device = calibrator.device()
    measurement = measure(recording)
    draw(measurement, camera, plot)
    print(table(measurement, camera))
    print(f"picture: {plot}")
    check(measurement)
    default = None if options.simulated else calibration_file()
    _store(measurement, camera, device, options.out or default)
    return 0


@contextlib.contextmanager
def _open_calibrator(
    simulated: bool, given: Mapping[str, str], folder: Path
) -> Iterator[Calibrator]:
    """Yield a calibrator on the running graph, or on a simulated graph that ends with it."""
    if not simulated and (unused := given.keys() - {"camera", "robot_name"}):
        raise CalibrationError(
            f"{unused.pop()}:= is an argument of the simulated graph; "
            "add --simulated, or leave it out"
        )
    with contextlib.ExitStack() as stack:
        watch: Callable[[], object] = _nothing
        if simulated:
            watch = stack.enter_context(simulated_graph(given, folder)).check
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        stack.callback(rclpy.try_shutdown)
        clock = Parameter("use_sim_time", value=simulated)
        calibrator = Calibrator(
            given["camera"],
            watch,
            namespace=given["robot_name"],
            parameter_overrides=[clock],
        )
        stack.callback(calibrator.destroy_node)
        yield calibrator


def _nothing() -> None:
    """Watch no process."""


def _store(measurement: Measurement, camera: str, device: str, file: Path | None) -> None:
    """Write the calibration to a file, if there is one."""
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

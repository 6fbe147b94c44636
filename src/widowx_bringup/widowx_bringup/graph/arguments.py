"""Arguments of the graphs: what a user can choose, with defaults and possible values."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from ptr_common.names import did_you_mean, find_task
from ptr_common.stamps import camera_latency
from widowx_bringup.sim.tasks import TARGET_TASK, TASKS

from .cameras import CAMERA_DRIVERS, other_cameras
from .policy_bundle import AUTO
from .spec import BOOLEAN, Argument

TELEOP_DEVICES = ("gamepad", "spacemouse", "leader")
"""Devices that a person demonstrates with."""

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""Part of a topic's name."""


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError("it must be positive")
    return value


@dataclass(frozen=True)
class _Within:
    """Converts text to a number between two limits.

    Attributes:
        low: Smallest number.
        high: Largest number.
        number: Type of the number.
    """

    low: float
    high: float
    number: type[float] | type[int] = float

    def __call__(self, text: str) -> float:
        value = self.number(text)
        if not self.low <= value <= self.high:
            raise ValueError(f"allowed are {self.low:g} to {self.high:g}")
        return value


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError("a name consists of letters, digits and _, no digit first")
    return text


def _namespace(text: str) -> str:
    for part in text.strip("/").split("/"):
        if part:
            _name(part)
    return text


def _auto_or_latency(text: str) -> float:
    return 0.0 if text == AUTO else camera_latency(text)


def _auto_or_task(text: str) -> str:
    if text != AUTO and find_task(text, TASKS) is None:
        hint = did_you_mean(text, TASKS, quote=True)
        raise ValueError(f"it is no task of the simulation; {hint}")
    return text


def _by_bundle(argument: Argument) -> Argument:
    """Return an argument whose default is what the bundle of the policy says."""
    kind: Callable[[str], object] = argument.kind
    return replace(
        argument,
        description=f"{argument.description}; auto: as the bundle says",
        default=AUTO,
        kind=lambda text: text if text == AUTO else kind(text),
    )


# --- every graph with an arm --------------------------------------------------------------

_PIXELS = _Within(1, 16384, int)

ROBOT_NAME = Argument("robot_name", "namespace of all nodes", "wx250s", kind=_namespace)
CAMERA = Argument("camera", "name of the policy's camera", "over_shoulder", kind=_name)
WIDTH = Argument("width", "image width of the cameras [pixels]", "640", kind=_PIXELS)
HEIGHT = Argument("height", "image height of the cameras [pixels]", "480", kind=_PIXELS)
LATENCY = Argument(
    "camera_latency",
    "camera latency [s]: header stamp minus time of exposure; auto: for a real camera the "
    "value that `ptr calibrate camera` stored (0 without one), for a simulated one 0, for a "
    "bag the recorded value",
    "auto",
    kind=_auto_or_latency,
)

CAMERA_RATE = Argument(
    "camera_rate", "images per second of the cameras [Hz]", "30.0", kind=_positive
)

SHARED = (
    Argument(
        "use_sim",
        "simulated arm, cameras and time instead of the real ones",
        "true",
        BOOLEAN,
    ),
    ROBOT_NAME,
    CAMERA,
    WIDTH,
    HEIGHT,
    CAMERA_RATE,
    Argument(
        "other_cameras",
        "further cameras to record, of the same size and rate: NAME=DEVICE,NAME=DEVICE; "
        "in simulation NAME,NAME",
        "",
        kind=other_cameras,
    ),
    LATENCY,
    Argument(
        "autostart",
        "whether arm, cameras and policy are configured and activated at the start",
        "true",
        BOOLEAN,
    ),
    Argument(
        "real_time_factor",
        "simulated seconds per second of real time",
        "1.0",
        kind=_Within(1e-3, 1e3),
    ),
    Argument("bag_directory", "folder that receives one bag per episode", "bags"),
)

# --- policy and replay --------------------------------------------------------------------

POLICY_ARGUMENTS = (
    Argument("policy", "bundle folder of the policy"),
    Argument("task", "task of an episode whose START names none", ""),
    Argument("policy_sha256", "full SHA-256 that the bundle must have; empty: any", ""),
    Argument(
        "policy_key", "public key file that the bundle must be signed with; empty: none", ""
    ),
)
SHADOW = Argument(
    "shadow",
    "bundle folder of a second policy that sees the same frames and commands nothing; its "
    "states are on shadow/policy/state; empty: none",
    "",
)
SHARED_WITH_POLICY = tuple(
    _by_bundle(each) if each in (CAMERA, WIDTH, HEIGHT, CAMERA_RATE) else each
    for each in SHARED
)
"""The shared arguments of a graph with a policy."""
CAMERA_OF_POLICY = tuple(_by_bundle(each) for each in (CAMERA, WIDTH, HEIGHT))
BAG = Argument("bag", "folder of the bag to play")
RATE = Argument("rate", "seconds of the bag per second of real time", "1.0", kind=_positive)

# --- simulation ---------------------------------------------------------------------------

SCENE = (
    Argument(
        "scene",
        "task whose scene the simulation shows at its start; auto: the graph's own task "
        f"where it is simulated, else {TARGET_TASK!r}",
        AUTO,
        kind=_auto_or_task,
    ),
    Argument("scene_seed", "seed of that scene", "0", kind=_Within(0, 2**63 - 1, int)),
)

DISTURBANCE = Argument(
    "disturbance",
    "noise of the simulated arm as a fraction of its longest step, so that demonstrations "
    "show how to recover",
    "0.15",
    kind=_Within(0.0, 1.0),
)
DELAY = Argument(
    "camera_delay",
    "delay of the simulated camera's images [frames], 0 to 30",
    "0",
    kind=_Within(0, 30, int),
)
RISE = Argument(
    "camera_rise",
    "rise of the simulated cameras' mount [m], -0.2 to 0.5",
    "0.0",
    kind=_Within(-0.2, 0.5),
)
TURN = Argument(
    "camera_turn",
    "turn of the simulated cameras about the middle of the table [degrees], -60 to 60",
    "0.0",
    kind=_Within(-60.0, 60.0),
)
URDF = Argument(
    "urdf",
    "whether the simulated arm is published for RViz; auto: if Interbotix's URDF is installed",
    "auto",
    ("auto", "true", "false"),
)

# --- demonstrations -----------------------------------------------------------------------

TELEOP = Argument(
    "teleop",
    "source of demonstrations: a script (simulation only), a device, or none (run `ptr teleop` "
    "in a terminal); auto: scripted for the simulated arm, none for the real one",
    "auto",
    ("auto", "scripted", "none", *TELEOP_DEVICES),
)
_SHARE = _Within(0.0, 0.9)
MISTAKES = (
    Argument(
        "waits",
        "share of the closings and openings of the gripper before which the scripted "
        "demonstrator waits, 0 to 0.9",
        "0.0",
        kind=_SHARE,
    ),
    Argument(
        "misses",
        "share of the descents on which it closes the gripper too early, 0 to 0.9",
        "0.0",
        kind=_SHARE,
    ),
    Argument(
        "drops",
        "share of the carries on which it opens the gripper too early, 0 to 0.9",
        "0.0",
        kind=_SHARE,
    ),
)
DEMONSTRATED = Argument("demonstrated", "task that a person demonstrates", "")
RECORD = Argument("record", "whether every episode becomes a bag", "true", BOOLEAN)
RUN_TASK = Argument(
    "run_task",
    "whether the action run_task is served: an episode as a goal",
    "true",
    BOOLEAN,
)

CONSOLE = Argument(
    "console",
    "whether the console's page is served, to this computer alone, on http://127.0.0.1:8080",
    "false",
    BOOLEAN,
)

# --- the real arm -------------------------------------------------------------------------

REAL = (
    Argument("robot_model", "model of the real arm", "wx250s", ("wx250s",)),
    Argument("start_driver", "whether to start Interbotix's driver", "true", BOOLEAN),
    Argument(
        "motor_configs", "the driver's file of servos; empty: Interbotix's default", ""
    ),
    Argument(
        "load_configs",
        "whether the driver writes that file to the servos' EEPROM",
        "true",
        BOOLEAN,
    ),
    Argument(
        "camera_driver", "driver of the real cameras", "opencv", tuple(CAMERA_DRIVERS)
    ),
    Argument(
        "video_device",
        "the real camera: /dev/v4l/by-id/…, for realsense its serial number; empty: the first",
        "",
    ),
)
"""Arguments of the real arm and its camera; those that Interbotix has too have its names."""

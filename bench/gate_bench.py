"""Send random sequences of commands to the simulated arm and look at every step of its physics.

The arm touches nothing, so that nothing but its own motion counts. A sequence is one
of the kinds of `KINDS`: steps within the bounds, far beyond them, not finite or of a wrong
length; longest steps that alternate; steps that drift to one side; and commands at 1 kHz, 20 Hz
or 0.1 Hz. A joint target is wrong if it is not finite or outside a joint's limits. The arm is
wrong at any instant at which a joint is outside its range, a joint is faster than the limit, or
the end effector is further outside the workspace box than `BOX_TOLERANCE` and than it was.

Between two steps of the physics, 2 ms apart, the simulated speed is constant and a joint moves
evenly: what holds at the steps holds in between. Each sequence has its own seed, so that parts can
run at different times and in several processes: 0 to 4999 here, the others there.

With `--contacts` the closed gripper is driven onto the table by longest steps and levers on it.
A joint that is held back winds its servo up and, released, is faster than the limit.

    python bench/gate_bench.py --sequences 10000
    python bench/gate_bench.py --first 5000 --sequences 5000
    python bench/gate_bench.py --sequences 300 --contacts
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections import Counter
from collections.abc import Iterator

import mujoco
import numpy as np
from tqdm import tqdm

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW, pose_from_proprio
from widowx_bringup.arm.controller import EefController
from widowx_bringup.arm.kinematics import EEF_SITE, Kinematics
from widowx_bringup.arm.limits import JOINT_HIGH, JOINT_LOW, Limits, distance_outside
from widowx_bringup.arm.protocol import JointTarget
from widowx_bringup.arm.refusal import Refusal
from widowx_bringup.sim.simulated_devices import SimulatedArm
from widowx_bringup.sim.world import World

LIMITS = Limits()
SEED = np.array([0.0, 0.0, 0.2, 0.0, 1.37, 0.0])
BOX_TOLERANCE = 0.02
"""The end effector may be this far outside the box between two targets [m]."""

KINDS = {
    "any": 0.2,
    "alternation": 0.2,
    "drift": 0.2,
    "20 Hz": 0.05,
    "1 kHz": 0.001,
    "0.1 Hz": 10.0,
}
"""Time from one command of a sequence to the next, by its kind [s]."""

LEVERING = {"levering": 0.2}
"""The only kind with contacts."""

SECONDS = 2.0
"""Duration of a sequence, if its commands are not further apart [s]."""

MOST_STEPS = 500
"""Longest sequence [commands]: most of the time of one at 1 kHz is inverse kinematics."""


class RecordingArm(SimulatedArm):
    """A simulated arm that keeps the latest target sent."""

    target: JointTarget | None = None

    def send(self, target: JointTarget) -> JointTarget:
        """Keep the target and pass it on."""
        self.target = target
        return super().send(target)


def _any_step(rng: np.random.Generator) -> np.ndarray:
    kind = rng.integers(5)
    if kind == 0:
        return rng.uniform(ACTION_LOW, ACTION_HIGH) * 10.0 ** rng.uniform(0, 12)
    if kind == 1:
        wrong = rng.uniform(ACTION_LOW, ACTION_HIGH)
        wrong[rng.integers(7)] = rng.choice([np.nan, np.inf, -np.inf])
        return wrong
    if kind == 2 and rng.random() < 0.3:
        return rng.uniform(-1, 1, rng.integers(9))
    return rng.uniform(ACTION_LOW, ACTION_HIGH)


def _steps(kind: str, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the steps of a sequence, without end."""
    signs = rng.choice([-1.0, 1.0], 7)
    drift = rng.uniform(ACTION_LOW, ACTION_HIGH)
    if kind in LEVERING:  # three steps down, three in another direction, and so on
        drift = rng.choice([-1.0, 0.0, 1.0], (2, 7)) * ACTION_HIGH
        drift[0, 2], drift[:, 6] = ACTION_LOW[2], 0.0
    number = 0
    while True:
        number += 1
        if kind == "alternation":
            yield ACTION_HIGH * signs * (-1.0) ** number
        elif kind in LEVERING:
            yield drift[number // 3 % 2]
        elif kind == "drift" or (kind != "any" and signs[0] > 0):
            yield drift
        else:
            yield _any_step(rng)


def _faults_of_target(target: JointTarget) -> list[str]:
    """Return what is wrong with a target."""
    q = target.positions
    if not np.isfinite([*q, target.gripper]).all():
        return ["target not finite"]
    checks = {
        "target outside the joint limits": (q < LIMITS.joint_low) | (q > LIMITS.joint_high),
        "gripper target": not 0 <= target.gripper <= 1,
    }
    return [name for name, wrong in checks.items() if np.asarray(wrong).any()]


class Watch:
    """Keeps what the physics shows at each of its steps, and judges it afterwards.

    Args:
        world: The world whose steps are seen. No other model may be compiled or simulated after.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._site = world.model.site(EEF_SITE).id
        self._seen: list[np.ndarray] = []  # joints, their speeds, position: (15,) each
        self._outside = 0.0  # of the box, at the last step judged [m]
        self.worst: dict[str, float] = {}
        mujoco.set_mjcb_control(self._look)

    def _look(self, _: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Note one step: MuJoCo calls this when it knows positions and velocities."""
        position = data.site_xpos[self._site]
        self._seen.append(np.concatenate([data.qpos[:6], data.qvel[:6], position]))

    def begin(self) -> None:
        """Take the present pose as that of a sequence's start."""
        self._outside = distance_outside(self._world.eef_pose(), LIMITS)
        self._seen.clear()

    def judge(self) -> Counter[str]:
        """Return what was wrong since the last judgement, with the number of instants."""
        mujoco.mj_forward(
            self._world.model, self._world.data
        )  # shows the last step's result
        joints, speeds, positions = np.split(np.array(self._seen), [6, 12], axis=1)
        self._seen.clear()
        beyond = np.maximum(JOINT_LOW - joints, joints - JOINT_HIGH).max(axis=1)
        speed = np.abs(speeds).max(axis=1)
        below, above = LIMITS.workspace_low - positions, positions - LIMITS.workspace_high
        outside = np.maximum(np.maximum(below, above).max(axis=1), 0.0)
        found = {
            "joint beyond its range [rad]": (beyond, 0.0),
            "joint speed [rad/s]": (speed, LIMITS.joint_speed),
            "outside the box [m]": (outside, max(BOX_TOLERANCE, self._outside)),
        }
        counts: Counter[str] = Counter(instants=len(speed))
        for name, (values, allowed) in found.items():
            self.worst[name] = max(self.worst.get(name, -np.inf), float(values.max()))
            if wrong := int((values > allowed).sum()):
                counts[f"WRONG: {name}"] = wrong
        self._outside = float(outside[-1])
        return counts


def _steps_in(period: float) -> int:
    """Return the number of commands of a sequence."""
    return int(np.clip(round(SECONDS / period), 2, MOST_STEPS))


def _start(kind: str, rng: np.random.Generator, kinematics: Kinematics) -> np.ndarray:
    """Return joints (6,) [rad] of a reachable pose in the workspace, or just above the table."""
    while True:
        position = rng.uniform(LIMITS.workspace_low, LIMITS.workspace_high)
        if kind in LEVERING:
            position[2] = rng.uniform(0.02, 0.08)
        proprio = np.concatenate([position, rng.uniform(-0.3, 0.3, 3)])
        joints = kinematics.inverse(pose_from_proprio(proprio), SEED)
        if not isinstance(joints, Refusal):
            return joints


def _run_sequence(
    kind: str, rng: np.random.Generator, control: EefController, world: World, watch: Watch
) -> Counter[str]:
    """Send one sequence of commands; return the counts of what happened."""
    counts: Counter[str] = Counter()
    arm = control.arm
    assert isinstance(arm, RecordingArm)
    world.place_arm(_start(kind, rng, control.kinematics))
    control.reset()
    watch.begin()
    period = (KINDS | LEVERING)[kind]
    for step, _ in zip(_steps(kind, rng), range(_steps_in(period)), strict=False):
        arm.target = None
        result = control.execute(step)
        counts["steps"] += 1
        counts["rejected"] += result.rejected
        counts["clipped"] += bool(result.clipped)
        if arm.target is not None:
            counts["sent"] += 1
            counts.update(f"WRONG: {fault}" for fault in _faults_of_target(arm.target))
        world.advance(period)
    counts.update(watch.judge())
    return counts


def main() -> None:
    """Run the sequences and print the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sequences", type=int, default=1000, help="[1000]")
    parser.add_argument("--first", type=int, default=0, help="seed of the first [0]")
    parser.add_argument("--contacts", action="store_true", help="lever on the table [no]")
    options = parser.parse_args()
    kinds = list(LEVERING if options.contacts else KINDS)
    world = World()
    if not options.contacts:
        world.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
    kinematics = Kinematics()
    watch = Watch(world)
    by_kind: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    faulty, done, began = 0, 0, time.process_time()
    seeds = range(options.first, options.first + options.sequences)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C shows the result so far
        for seed in tqdm(seeds, unit="sequence", mininterval=10):
            kind = kinds[seed % len(kinds)]
            control = EefController(RecordingArm(world), kinematics, LIMITS)
            found = _run_sequence(kind, np.random.default_rng(seed), control, world, watch)
            by_kind[kind].update(found)
            faulty += any(name.startswith("WRONG") for name in found)
            done += 1
    spent = time.process_time() - began
    for kind, found in by_kind.items():
        print(f"{kind}: " + ", ".join(f"{number} {name}" for name, number in found.items()))
    worst = ", ".join(f"{name} {value:.3f}" for name, value in watch.worst.items())
    print(f"worst of all instants: {worst}; the speed limit is {LIMITS.joint_speed:.3f}")
    counts = sum(by_kind.values(), Counter[str]())
    wrong = sum(number for name, number in counts.items() if name.startswith("WRONG"))
    print(
        f"{done} sequences, seeds {options.first} to {options.first + done - 1}, "
        f"{counts['instants']} instants, outside the limits: {wrong}, in {faulty} sequences; "
        f"{spent:.0f} s of CPU time"
    )


if __name__ == "__main__":
    main()

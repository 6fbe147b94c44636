"""Send random sequences of commands to the simulated arm and look at it every two milliseconds.

The arm touches nothing, so that nothing but its own motion counts. A sequence is one
of the kinds of `KINDS`: steps within the bounds, far beyond them, not finite or of a wrong
length; longest steps that alternate; steps that drift to one side; and commands at 1 kHz, 20 Hz
or 0.1 Hz. A joint target is wrong if it is not finite or outside a joint's limits. The arm is
wrong at any instant at which a joint is outside its range, a joint is faster than the limit, or
the end effector is further outside the workspace box than `BOX_TOLERANCE` and than it was.

    python bench/gate_bench.py --sequences 10000
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator

import mujoco
import numpy as np
from tqdm import tqdm

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW
from widowx_bringup.arm.controller import EefController
from widowx_bringup.arm.kinematics import Kinematics, pose_from_proprio
from widowx_bringup.arm.limits import JOINT_HIGH, JOINT_LOW, Limits, distance_outside
from widowx_bringup.arm.protocol import JointTarget
from widowx_bringup.arm.refusal import Refusal
from widowx_bringup.sim.simulated_devices import SimulatedArm
from widowx_bringup.sim.world import World

LIMITS = Limits()
SEED = np.array([0.0, 0.0, 0.2, 0.0, 1.37, 0.0])
BOX_TOLERANCE = 0.02
"""The end effector may be this far outside the box between two targets [m]."""

INSTANT = 0.002
"""Time from one look at the arm to the next [s]: one step of the physics."""

KINDS = {
    "any": 0.2,
    "alternation": 0.2,
    "drift": 0.2,
    "20 Hz": 0.05,
    "1 kHz": 0.001,
    "0.1 Hz": 10.0,
}
"""Time from one command of a sequence to the next, by its kind [s]."""

SECONDS = 2.0
"""Duration of a sequence, if its commands are not further apart [s]."""


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
    number = 0
    while True:
        number += 1
        if kind == "alternation":
            yield ACTION_HIGH * signs * (-1.0) ** number
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
    """Looks at the arm at every instant and keeps the worst values."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.outside = 0.0  # of the box, at the last instant [m]
        self.worst: dict[str, float] = {}

    def begin(self) -> None:
        """Take the present pose as that of a sequence's start."""
        self.outside = distance_outside(self._world.eef_pose(), LIMITS)

    def look(self) -> list[str]:
        """Return what is wrong at this instant."""
        joints = self._world.joints
        beyond = max((JOINT_LOW - joints).max(), (joints - JOINT_HIGH).max())
        speed = np.abs(self._world.joint_velocities).max()
        outside = distance_outside(self._world.eef_pose(), LIMITS)
        found = {
            "joint beyond its range [rad]": (beyond, beyond > 0),
            "joint speed [rad/s]": (speed, speed > LIMITS.joint_speed),
            "outside the box [m]": (outside, outside > max(BOX_TOLERANCE, self.outside)),
        }
        for name, (value, _) in found.items():
            self.worst[name] = max(self.worst.get(name, -np.inf), float(value))
        return [name for name, (_, wrong) in found.items() if wrong]


def _steps_in(period: float) -> int:
    """Return the number of commands of a sequence."""
    return max(2, round(SECONDS / period))


def _start(rng: np.random.Generator, kinematics: Kinematics) -> np.ndarray:
    """Return joints (6,) [rad] of a random reachable pose in the workspace."""
    while True:
        position = rng.uniform(LIMITS.workspace_low, LIMITS.workspace_high)
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
    world.place_arm(_start(rng, control.kinematics))
    control.reset()
    watch.begin()
    period = KINDS[kind]
    for step, _ in zip(_steps(kind, rng), range(_steps_in(period)), strict=False):
        arm.target = None
        result = control.execute(step)
        counts["steps"] += 1
        counts["rejected"] += result.rejected
        counts["clipped"] += bool(result.clipped)
        if arm.target is not None:
            counts["sent"] += 1
            counts.update(f"WRONG: {fault}" for fault in _faults_of_target(arm.target))
        moving = min(period, 1.0)  # it stands still afterwards
        for _ in range(max(1, round(moving / INSTANT))):
            world.advance(min(INSTANT, period))
            counts.update(f"WRONG: {fault}" for fault in watch.look())
        world.advance(period - moving)
    return counts


def main() -> None:
    """Run the sequences and print the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sequences", type=int, default=1000, help="[1000]")
    parser.add_argument("--seed", type=int, default=0, help="[0]")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    world = World()
    world.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
    control = EefController(RecordingArm(world), Kinematics(), LIMITS)
    watch = Watch(world)
    counts: Counter[str] = Counter()
    by_kind: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    began = time.process_time()
    for number in tqdm(range(options.sequences), unit="sequence", mininterval=10):
        kind = list(KINDS)[number % len(KINDS)]
        found = _run_sequence(kind, rng, control, world, watch)
        counts.update(found)
        by_kind[kind].update(found)
    spent = time.process_time() - began
    for kind, found in by_kind.items():
        print(f"{kind}: " + ", ".join(f"{number} {name}" for name, number in found.items()))
    worst = ", ".join(f"{name} {value:.3f}" for name, value in watch.worst.items())
    print(f"worst of all instants: {worst}; the speed limit is {LIMITS.joint_speed:.3f}")
    wrong = sum(number for name, number in counts.items() if name.startswith("WRONG"))
    print(
        f"{options.sequences} sequences, outside the limits: {wrong}; {spent:.0f} s of CPU time"
    )


if __name__ == "__main__":
    main()

"""Send random sequences of commands through the controller and check every joint target.

Each sequence has up to 15 steps: within the bounds, far beyond them, not finite, or of a
wrong length, given to an arm that follows well or badly. A target is wrong if it is not
finite, outside a joint's limits, further from the measured joints than the speed limit
allows, or further outside the workspace than the arm is already.

    python bench/gate_bench.py --sequences 10000
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import numpy as np
from tqdm import tqdm

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW, JOINT_NAMES
from widowx_bringup.arm.controller import EefController
from widowx_bringup.arm.kinematics import Kinematics, pose_from_proprio
from widowx_bringup.arm.limits import Limits, distance_outside
from widowx_bringup.arm.protocol import MAX_AGE, ArmFeatures, JointReading, JointTarget
from widowx_bringup.arm.refusal import Refusal

LIMITS = Limits()
SEED = np.array([0.0, 0.0, 0.2, 0.0, 1.37, 0.0])
TOLERANCE = 2e-3
"""A target may be this much further outside the workspace [m]: accuracy of the kinematics."""


class SluggishArm:
    """An arm that covers a share of the distance to each target."""

    def __init__(self, joints: np.ndarray, share: float) -> None:
        self.features = ArmFeatures(
            "sluggish", JOINT_NAMES, LIMITS.joint_low, LIMITS.joint_high, np.full(6, np.pi)
        )
        self.notes: dict[str, object] = {}
        self.joints = joints.copy()
        self.share = share
        self.target: JointTarget | None = None

    def connect(self) -> None:
        """Nothing to do."""

    prepare = watch = hold = disconnect = connect

    def read(self, max_age: float = MAX_AGE) -> JointReading:
        """Return the joints."""
        return JointReading(0, self.joints.copy(), np.zeros(6), 1.0)

    def send(self, target: JointTarget) -> JointTarget:
        """Cover a share of the distance."""
        self.target = target
        self.joints = self.joints + self.share * (target.positions - self.joints)
        return target


def _action(rng: np.random.Generator) -> np.ndarray:
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


def _faults(target: JointTarget, measured: np.ndarray, kinematics: Kinematics) -> list[str]:
    """Return what is wrong with a target."""
    q = target.positions
    if not np.isfinite([*q, target.gripper]).all():
        return ["not finite"]
    outside = distance_outside(kinematics.forward(measured), LIMITS)
    checks = {
        "joint limits": ((q < LIMITS.joint_low) | (q > LIMITS.joint_high)).any(),
        "speed": np.abs(q - measured).max() > LIMITS.joint_step + 1e-9,
        "workspace": distance_outside(kinematics.forward(q), LIMITS) > outside + TOLERANCE,
        "gripper": not 0 <= target.gripper <= 1,
    }
    return [name for name, wrong in checks.items() if wrong]


def _start(rng: np.random.Generator, kinematics: Kinematics) -> np.ndarray:
    """Return joints (6,) [rad] of a random reachable pose in the workspace."""
    while True:
        position = rng.uniform(LIMITS.workspace_low, LIMITS.workspace_high)
        proprio = np.concatenate([position, rng.uniform(-0.3, 0.3, 3)])
        joints = kinematics.inverse(pose_from_proprio(proprio), SEED)
        if not isinstance(joints, Refusal):
            return joints


def _run_sequence(
    rng: np.random.Generator, kinematics: Kinematics, counts: Counter[str]
) -> None:
    """Send one sequence of commands and count what happens to them."""
    arm = SluggishArm(_start(rng, kinematics), rng.uniform(0, 1))
    controller = EefController(arm, kinematics, LIMITS)
    for _ in range(rng.integers(1, 16)):
        measured = arm.joints
        arm.target = None
        result = controller.execute(_action(rng))
        counts["steps"] += 1
        counts["rejected"] += result.rejected
        counts["clipped"] += bool(result.clipped)
        if arm.target is not None:
            counts["sent"] += 1
            for fault in _faults(arm.target, measured, kinematics):
                counts[f"WRONG: {fault}"] += 1


def main() -> None:
    """Run the sequences and print the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sequences", type=int, default=1000, help="[1000]")
    parser.add_argument("--seed", type=int, default=0, help="[0]")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    kinematics = Kinematics()
    counts: Counter[str] = Counter()
    began = time.process_time()
    for _ in tqdm(range(options.sequences), unit="sequence"):
        _run_sequence(rng, kinematics, counts)
    spent = time.process_time() - began
    numbers = ", ".join(f"{number} {name}" for name, number in counts.items())
    print(f"{options.sequences} sequences, {numbers}")
    wrong = sum(number for name, number in counts.items() if name.startswith("WRONG"))
    per_step = 1e3 * spent / counts["steps"]
    print(f"outside the limits: {wrong}; {per_step:.2f} ms of CPU time a step")


if __name__ == "__main__":
    main()

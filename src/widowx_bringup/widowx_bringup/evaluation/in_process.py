"""Rollouts without ROS: in this process, or in several with a world and a policy each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ptr_common.action_space import CONTROL_RATE
from ptr_common.errors import PtrError
from ptr_training.data.workers import WorkerPool, in_order
from widowx_bringup.arm.counts import CommandCounts
from widowx_bringup.arm.refusal import StepResult
from widowx_bringup.sim.camera_shift import NO_SHIFT, CameraShift
from widowx_bringup.sim.tasks import sample_layout

from .film_strip import film_of, strip_images
from .results import Rollout
from .rollout_store import as_seen

if TYPE_CHECKING:
    from ptr_policy_node.policy import Policy
    from ptr_training.data.episode import Episode
    from ptr_training.viewing.film import Film
    from ptr_training.viewing.timeline import Timeline


@dataclass(frozen=True)
class Kept:
    """What is kept of a rollout beside its outcome.

    Attributes:
        episodes: The episode, as the policy saw it.
        films: A film with Q and actions.
    """

    episodes: bool = False
    films: bool = False


NOTHING = Kept()
"""Only the outcome is kept."""


class InProcessRunner:
    """Simulated arm, camera and policy in this process.

    Args:
        bundle: Folder of the policy.
        kept: What is kept of each rollout.
        shift: Where the camera stands, relative to where it usually does.

    Attributes:
        episodes: Of the rollouts so far, as the policy saw them, if they are kept.
        film: Of the latest rollout, if films are made.
    """

    def __init__(
        self, bundle: Path, *, kept: Kept = NOTHING, shift: CameraShift = NO_SHIFT
    ) -> None:
        from ptr_policy_node.policy import load_bundle
        from widowx_bringup.arm.controller import EefController
        from widowx_bringup.arm.kinematics import Kinematics
        from widowx_bringup.sim.simulated_devices import SimulatedArm, SimulatedCamera
        from widowx_bringup.sim.world import World

        # The software renderer must not start threads of its own.
        os.environ.setdefault("LP_NUM_THREADS", "0")
        self._policy = load_bundle(bundle, rate=CONTROL_RATE)
        self._kept = kept
        self.episodes: list[Episode] = []
        self.film: Film | None = None
        camera = self._policy.info.camera
        self._world = World(shift=shift)
        self._controller = EefController(SimulatedArm(self._world), Kinematics())
        self._camera = SimulatedCamera(
            self._world, camera.name, camera.width, camera.height, rate=30.0
        )

    def run(self, rollout: Rollout, max_steps: int) -> tuple[Rollout, list[np.ndarray]]:
        """Carry out one rollout; see `runners.Runner`.

        Where a served policy has no action, the rollout ends there and does not count.
        """
        from ptr_policy_node.served.link import NoActionError

        self.film = None
        try:
            return self._run(rollout, max_steps)
        except NoActionError as error:
            return replace(rollout, aborted=True, reason=str(error), strip=""), []

    def _run(self, rollout: Rollout, max_steps: int) -> tuple[Rollout, list[np.ndarray]]:
        from widowx_bringup.sim.rollout import rollout as roll_out

        policy, steps_seen = self._policy, _StepsSeen(self._policy, self._kept.films)
        policy.reset()
        self._world.reset(sample_layout(rollout.task, rollout.layout_seed))
        episode = roll_out(
            self._world,
            self._controller,
            self._camera,
            lambda image, proprio: steps_seen.act(image, proprio, rollout.task),
            max_steps=max_steps,
            on_step=steps_seen.count_step,
        )
        if self._kept.episodes:
            self.episodes.append(as_seen(episode, policy.info, rollout.rollout))
        if self._kept.films:
            self.film = film_of(rollout, lambda: self._timeline(episode, steps_seen))
        counts = steps_seen.counts
        steps = len(episode.requested)
        reason = "solved" if episode.success else f"not solved within {max_steps} steps"
        done = replace(
            rollout,
            success=episode.success,
            steps=steps,
            duration=steps / CONTROL_RATE,
            clipped=counts.clipped,
            rejected=counts.rejected,
            reason=reason,
            score=1.0 if episode.success else self._world.score(),
        )
        return done, strip_images(list(episode.frames))

    def _timeline(self, episode: Episode, seen: _StepsSeen) -> Timeline:
        """Return a rollout on its time axis, for its film."""
        from ptr_training.viewing.timeline import of_episode

        camera = self._policy.info.camera.name
        return of_episode(episode, camera, np.array(seen.q), np.array(seen.clipped))


class _StepsSeen:
    """What a film shows of the steps of a rollout beside images and actions.

    Args:
        policy: Acts.
        with_q: Compute the Q values, which takes about as long as to act.

    Attributes:
        counts: Of the commands.
        q: Values of each action by both critics, (2,) each; empty without Q values.
        clipped: Whether a limit changed each command.
    """

    def __init__(self, policy: Policy, with_q: bool) -> None:
        self.counts = CommandCounts()
        self.q: list[np.ndarray] = []
        self.clipped: list[bool] = []
        self._policy = policy
        self._with_q = with_q

    def act(self, image: np.ndarray, proprio: np.ndarray, task: str) -> np.ndarray:
        """Return the policy's action, (7,), for an image (H, W, 3) and a state (7,)."""
        output = self._policy.act(image, proprio, task)
        if self._with_q:
            self.q.append(self._policy.q_values(output))
        return output.action

    def count_step(self, result: StepResult) -> None:
        """Count how a command was carried out."""
        self.counts.count_step(result)
        self.clipped.append(bool(result.clipped))


@dataclass(frozen=True)
class _Setup:
    """What a process needs for rollouts of one policy; see `InProcessRunner`."""

    bundle: Path
    kept: Kept
    shift: CameraShift


@dataclass(frozen=True)
class _Job:
    """One rollout without its outcome, and its longest duration [control steps]."""

    setup: _Setup
    rollout: Rollout
    max_steps: int


@dataclass(frozen=True)
class _Outcome:
    """What a process returns: a rollout, images of its film strip, what else is kept."""

    rollout: Rollout
    images: list[np.ndarray]
    episode: Episode | None
    film: Film | None


class RolloutPool:
    """Processes that carry out rollouts side by side, of one policy after the other.

    A process keeps its policy and world until it is asked for another policy. What a rollout
    gives depends on its scene alone, so the number of processes changes nothing.

    Args:
        workers: Processes; each starts when there is first something for it to do.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = WorkerPool(workers, cv2.setNumThreads, 1)

    def __enter__(self) -> RolloutPool:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def runner(
        self,
        bundle: Path,
        planned: Sequence[Rollout],
        max_steps: int,
        *,
        kept: Kept,
        shift: CameraShift,
    ) -> PooledRunner:
        """Return the runner of some rollouts, which begin when the first is asked for.

        Args:
            bundle: Folder of the policy.
            planned: The rollouts without their outcomes.
            max_steps: Longest rollout [control steps].
            kept: What is kept of each rollout.
            shift: Where the camera stands, relative to where it usually does.
        """
        setup = _Setup(bundle, kept, shift)
        jobs = [_Job(setup, rollout, max_steps) for rollout in planned]
        return PooledRunner(in_order(self._pool, _carry_out, jobs, 2 * self._workers))


class PooledRunner:
    """Gives the rollouts of a pool one after the other; see `runners.Runner`.

    Args:
        outcomes: In the order in which the rollouts are asked for.

    Attributes:
        episodes: Of the rollouts asked for so far, if they are kept.
        film: Of the latest rollout, if films are made.
    """

    def __init__(self, outcomes: Iterator[_Outcome]) -> None:
        self._outcomes = outcomes
        self.episodes: list[Episode] = []
        self.film: Film | None = None

    def run(self, rollout: Rollout, max_steps: int) -> tuple[Rollout, list[np.ndarray]]:
        """Wait for the next rollout, which must be the one asked for; see `runners.Runner`.

        Raises:
            PtrError: If it does not count; side by side, none is repeated.
        """
        outcome = next(self._outcomes)
        assert outcome.rollout.rollout == rollout.rollout
        if outcome.rollout.aborted:
            raise PtrError(
                f"rollout {rollout.rollout} does not count: {outcome.rollout.reason}; mend "
                "that, and the same command goes on there"
            )
        self.film = outcome.film
        if outcome.episode is not None:
            self.episodes.append(outcome.episode)
        return outcome.rollout, outcome.images


_runner: tuple[_Setup, InProcessRunner] | None = None  # one per worker process


def _carry_out(job: _Job) -> _Outcome:
    """Carry out a rollout; the policy is loaded here so that its errors reach the user."""
    global _runner
    setup = job.setup
    if _runner is None or _runner[0] != setup:
        runner = InProcessRunner(setup.bundle, kept=setup.kept, shift=setup.shift)
        _runner = setup, runner
    runner = _runner[1]
    rollout, images = runner.run(job.rollout, job.max_steps)
    episode = runner.episodes.pop() if setup.kept.episodes and not rollout.aborted else None
    return _Outcome(rollout, images, episode, runner.film)

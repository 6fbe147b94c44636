"""Sessions whose trials are scripted and leave bags, as the recorder writes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from ptr_common.images import fill_message
from ptr_common.managed_node import to_stamp
from ptr_common.topics import start_text
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent, PolicyState
from widowx_bringup.evaluation.results import Rollout
from widowx_bringup.evaluation.session import journal
from widowx_bringup.evaluation.session.bag_names import FOLDER, new_name
from widowx_bringup.evaluation.session.plan import SessionPlan, Trial, load_plan
from widowx_bringup.evaluation.session.report.lineage import keep_lineage
from widowx_bringup.evaluation.session.running import run_trials
from widowx_bringup.evaluation.session.session import Session
from widowx_bringup.recording.bag_writer import BagWriter, Topic
from widowx_bringup.recording.message_definitions import message_definition
from widowx_bringup.sim.tasks import TARGET_TASK

BEGIN = 1_000_000_000_000
PERIOD = 200_000_000
STEPS = 4
CLIPPED = 3


@dataclass
class Recorded:
    """Runs trials by saying how they end, and records each as a bag.

    Attributes:
        plan: Of the session.
        folder: Of the session.
        void: Numbers of trials whose first try ends outside the policy.
        solves: Methods that solve every scene.
        ran: Tries of each trial so far.
    """

    plan: SessionPlan
    folder: Path
    void: tuple[int, ...] = ()
    solves: tuple[str, ...] = ("ptr",)
    ran: dict[int, int] = field(default_factory=dict)

    def run(self, trial: Trial, planned: Rollout) -> tuple[Rollout, list[np.ndarray]]:
        """Run a trial; see `runners.Runner.run`."""
        name = new_name(self.folder, trial.number)
        tries = self.ran[trial.number] = self.ran.get(trial.number, 0) + 1
        aborted = tries == 1 and trial.number in self.void
        success = trial.method in self.solves and not aborted
        event = EpisodeEvent.STOP if aborted else EpisodeEvent.FAILURE
        event = EpisodeEvent.SUCCESS if success else event
        bundle = self.plan.methods[trial.method][:12]
        images = write_trial_bag(
            self.folder / FOLDER, name, trial.layout_seed, self.plan.task, bundle, event
        )
        done = replace(
            planned,
            success=success,
            steps=STEPS,
            duration=1.0,
            clipped=CLIPPED,
            reason="the camera died" if aborted else "solved" if success else "time over",
            bag=f"{FOLDER}/{name}",
            aborted=aborted,
            strip="" if aborted else planned.strip,
        )
        return done, [] if aborted else images


def plan_with(bundles: Path, **changes: object) -> SessionPlan:
    """Return a plan of two methods on two scenes, with changes.

    Args:
        bundles: Folder with the bundles `ptr` and `bc`.
        changes: Values of the plan.
    """
    values = {"task": TARGET_TASK, "methods": {"ptr": "ptr", "bc": "bc"}, "trials": 2}
    file = bundles / "recorded.yaml"
    file.write_text(yaml.safe_dump(values | changes, sort_keys=False))
    return load_plan(file)


def record(plan: SessionPlan, folder: Path, **how: tuple[Any, ...]) -> Path:
    """Run a session in a folder as `ptr session run` does, and return the folder.

    Args:
        plan: Of the session.
        folder: Of the session.
        how: What `Recorded` takes.
    """
    with Session(plan, folder) as session:
        keep_lineage(plan, folder)
        run_trials(session, Recorded(plan, folder, **how))
    return folder


def rewrite_journal(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Write a session's journal anew, hashes included.

    Args:
        folder: Of the session.
        change: Changes a line.
    """
    lines = journal.read_journal(folder)
    (folder / journal.FILE).unlink()
    with journal.Journal(folder) as written:
        for line in lines:
            del line["at"], line["previous"]
            change(line)
            written.add(line.pop("event"), **line)


def write_trial_bag(
    folder: Path, name: str, seed: int, task: str, bundle: str, event: int
) -> list[np.ndarray]:
    """Write the bag of a trial and return its images.

    Args:
        folder: Of the bags.
        name: Of the episode and its bag.
        seed: Of the scene.
        task: Of the plan.
        bundle: Id of the policy's bundle.
        event: That ends the trial.
    """
    custom = {"camera": "over_shoulder", "episode_id": name, "task": task}
    writer = BagWriter(folder, name, custom)
    images = []

    def put(topic: str, message: Any, stamp_ns: int) -> None:
        message.header.stamp = to_stamp(stamp_ns)
        kind = f"{type(message).__module__.split('.')[0]}/msg/{type(message).__name__}"
        described = Topic(f"/wx250s/{topic}", kind, message_definition(kind))
        writer.write(described, serialize_message(message), stamp_ns)

    put("arm/state", ArmState(clipped=7, held=1), BEGIN - 1)
    start = EpisodeEvent(episode_id=name, event=1, task=task, text=start_text(seed))
    put("episode/event", start, BEGIN)
    for step in range(STEPS + 1):  # the last command is executed after the end
        stamp = BEGIN + (step + 1) * PERIOD
        image = Image()
        images.append(np.full((24, 32, 3), 20 * step, np.uint8))
        fill_message(image, images[-1])
        put("camera/over_shoulder/image_raw", image, stamp)
        state = PolicyState(
            status=1, bundle_id=bundle, episode_id=name, q_values=np.full(2, 0.5)
        )
        put("policy/state", state, stamp + 1)
        if step == STEPS:
            end = EpisodeEvent(episode_id=name, event=event, task=task)
            put("episode/event", end, stamp + 2)
        put("arm/executed", EefCommand(action=np.zeros(7)), stamp + 3)
        put("arm/state", ArmState(clipped=7 + min(step, CLIPPED), held=1), stamp + 4)
    writer.finish()
    return images

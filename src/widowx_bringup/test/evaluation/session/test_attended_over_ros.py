"""An attended session over a ROS graph: matched starts, a ghost, verdicts of somebody else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_msgs.msg import EefCommand, EpisodeEvent  # noqa: E402
from ptr_training.bags.verdicts import read_verdicts  # noqa: E402
from widowx_bringup.evaluation.film_strip import can_film  # noqa: E402
from widowx_bringup.evaluation.results import read_results  # noqa: E402
from widowx_bringup.evaluation.session.journal import read_journal  # noqa: E402
from widowx_bringup.evaluation.session.main import main  # noqa: E402
from widowx_bringup.evaluation.session.session import load_state  # noqa: E402
from widowx_bringup.sim.tasks import TARGET_TASK  # noqa: E402

WAITING = EpisodeEvent()
START = [0.28, 0.05, 0.12, 0.0, 0.0, 0.3, 1.0]


class Person:
    """Somebody on the graph who says that scenes stand, and judges trials by events.

    Whatever happens, a trial that waits for a verdict gets one: a session waits without limit.

    Args:
        script: What is done in each trial that begins, in order: publish an event with a text
            after the first command, "late": only after the time limit, or "camera": take the
            camera away.
        ghost: File that must be there before a scene is said to stand.
    """

    def __init__(self, script: list[Any], ghost: Path) -> None:
        self.node = rclpy.create_node("person", namespace="wx250s")
        self.script = script
        self.ghost = ghost
        self.running: EpisodeEvent | None = None  # WAITING: the scene stands, nothing runs
        self.begun = 0
        self.camera_is_away = False
        self.ghosts: list[np.ndarray] = []
        self.events = self.node.create_publisher(EpisodeEvent, "episode/event", qos.EVENTS)
        node = self.node
        node.create_subscription(EpisodeEvent, "episode/event", self._on_event, qos.EVENTS)
        node.create_subscription(
            EefCommand, "arm/executed", self._on_executed, qos.COMMANDS
        )
        self.ready = node.create_client(Trigger, "session/ready")
        self.camera = node.create_client(
            ChangeState, "camera/over_shoulder/camera_node/change_state"
        )
        node.create_timer(0.1, self._look)

    def _look(self) -> None:
        """Say that the scene stands once its ghost is there."""
        if self.running is None and self.ghost.is_file() and self.ready.service_is_ready():
            self.ghosts.append(cv2.imread(str(self.ghost)))
            self.running = WAITING
            self.ready.call_async(Trigger.Request())

    def _on_event(self, event: EpisodeEvent) -> None:
        if event.event == EpisodeEvent.START:
            self.running, self.begun = event, self.begun + 1
        elif event.event != EpisodeEvent.STOP:
            self.running = None
        elif self.running is not None:  # on a slow computer also before the first command
            if self.planned()[0] == "camera":
                self.change_camera(Transition.TRANSITION_ACTIVATE)
            self.judge()

    def _on_executed(self, _: EefCommand) -> None:
        if self.running in (None, WAITING):
            return
        what, _ = self.planned()
        if what == "camera" and not self.camera_is_away:
            self.camera_is_away = True
            self.change_camera(Transition.TRANSITION_DEACTIVATE)
        elif what not in ("camera", "late"):
            self.judge()

    def planned(self) -> tuple[Any, str]:
        """Return what the script has for the trial that began last."""
        unplanned = (EpisodeEvent.FAILURE, "the script has no such trial")
        return self.script[self.begun - 1] if self.begun <= len(self.script) else unplanned

    def judge(self) -> None:
        """Publish the verdict of the script."""
        assert self.running is not None
        what, text = self.planned()
        event = EpisodeEvent.FAILURE if isinstance(what, str) else what
        running, self.running = self.running, None
        message = EpisodeEvent(episode_id=running.episode_id, event=event, text=text)
        self.events.publish(message)

    def change_camera(self, transition: int) -> None:
        self.camera.call_async(ChangeState.Request(transition=Transition(id=transition)))


@pytest.fixture
def attend(tmp_path: Path, ros: None) -> Iterator[Callable[[list[Any]], Person]]:
    """Return what lets a person attend the session in `tmp_path / "out"`."""
    executor = SingleThreadedExecutor()
    stop = threading.Event()
    persons: list[Person] = []

    def spin() -> None:
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)

    def begin(script: list[Any]) -> Person:
        person = Person(script, tmp_path / "out" / "ghost.jpg")
        persons.append(person)
        executor.add_node(person.node)
        thread.start()
        return person

    thread = threading.Thread(target=spin)
    yield begin
    stop.set()
    thread.join()
    executor.shutdown()
    for person in persons:
        person.node.destroy_node()


def test_a_session_is_judged_by_a_person_on_the_graph(
    bundles: Path, tmp_path: Path, attend: Callable[[list[Any]], Person]
) -> None:
    cv2.imwrite(str(bundles / "scene.png"), np.full((48, 64, 3), 255, np.uint8))
    plan = {
        "task": TARGET_TASK,
        "methods": {"ptr": "ptr", "bc": "bc"},
        "trials": 2,
        "time_limit": 3.0,
        "judge": "person",
        "starts": [START],
        "placements": [{"text": "cube left", "photo": "scene.png"}],
        "tolerance": {"position": 0.02, "rotation": 5},
    }
    file = bundles / "attended.yaml"
    file.write_text(yaml.safe_dump(plan))
    script = [
        (EpisodeEvent.SUCCESS, ""),
        (EpisodeEvent.DISCARD, "the cube rolled away"),
        (EpisodeEvent.FAILURE, "missed grasp; stage grasped"),
        ("late", "timeout"),
        ("camera", ""),
        (EpisodeEvent.SUCCESS, ""),
    ]
    person = attend(script)
    out = tmp_path / "out"
    assert main(["run", str(file), "--out", str(out), "--real-time-factor", "1"]) == 0
    state = load_state(out)
    rows = [row for _, row in state.trials]
    outcomes = [(row.success, row.aborted, row.reason, row.stage) for row in rows]
    held = outcomes.pop(4)  # for want of images, or of commands that answer them
    assert held[1]
    assert "image" in held[2] or "command" in held[2]
    assert outcomes == [
        (True, False, "success", "placed"),
        (False, True, "the cube rolled away", ""),
        (False, False, "missed grasp", "grasped"),
        (False, False, "timeout", ""),
        (True, False, "success", "placed"),
    ]
    assert [row.judge for row in rows] == 4 * ["person"] + ["", "person"]
    lines = [line for line in read_journal(out) if line["event"] == "trial"]
    for line in lines:
        assert line["residual"]["position"] < 0.02
        assert "stage" not in line["result"]
        assert line["result"]["duration"] > 0  # though this person's events have no stamp
    (late,) = [row for row in rows if row.reason == "timeout"]  # its bag ends with STOP
    assert read_verdicts(out / "results.csv")[Path(late.bag).name] == "failure"
    by_method = sorted(state.rollouts, key=lambda row: (row.method, row.rollout))
    assert sorted(read_results(out), key=lambda row: (row.method, row.rollout)) == by_method
    films = list((out / "films").glob("*.html"))
    assert len(films) == 4 * bool(can_film())
    for film in films:  # which raters look at
        for word in ("SUCCESS", "FAILURE", "STOP", "<b>", "missed grasp", "min Q"):
            assert word not in film.read_text()
    assert len(person.ghosts) == 6
    assert 100 < person.ghosts[0].mean() < 250
    assert len(list((out / "bags").iterdir())) == 5  # a discarded one is gone

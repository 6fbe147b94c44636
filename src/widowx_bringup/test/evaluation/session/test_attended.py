"""Attended trials on a graph that the test plays: verdicts, keys, time limits, holds, starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("ptr_msgs", reason="ROS 2 is not installed")

from played_graph import PlayedGraph

from ptr_msgs.msg import EpisodeEvent
from widowx_bringup.arm.refusal import Kind
from widowx_bringup.evaluation import runners
from widowx_bringup.evaluation.results import Rollout, planned_rollout
from widowx_bringup.evaluation.session.attendance import Attendance, Placement
from widowx_bringup.evaluation.session.attended import AttendedEpisodes, AttendedRunner
from widowx_bringup.evaluation.session.matched_start import GHOST, READY, Residual
from widowx_bringup.evaluation.session.terminal import Terminal

POSE = (0.25, 0.05, 0.2, 0.0, 0.0, 0.1, 1.0)
BY_PERSON = Attendance(judge="person")


class Desk:
    """A person at a terminal, or nobody.

    Args:
        keys: What is typed, one key at each look; None: there is no terminal.
    """

    def __init__(self, keys: str | None) -> None:
        self.shown: list[str] = []
        self.keys = list(keys or "")
        self.terminal = Terminal(self.shown.append, self.key, present=keys is not None)

    def key(self) -> str:
        return self.keys.pop(0) if self.keys else ""

    def has_shown(self, text: str) -> bool:
        return any(text in line for line in self.shown)


@pytest.fixture(autouse=True)
def _no_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bags of a graph that is played are empty folders."""
    images = [np.zeros((4, 4, 3), np.uint8)]
    monkeypatch.setattr(runners, "read_images", lambda *_: images)


def run(
    graph: PlayedGraph, folder: Path, desk: Desk, attendance: Attendance = BY_PERSON
) -> Rollout:
    """Run a trial of ten steps and return how it ended."""
    episodes: Any = AttendedEpisodes(graph, desk.terminal, attendance, folder)  # type: ignore[arg-type]
    runner = AttendedRunner(episodes, attendance, folder, films=False)
    planned = planned_rollout("A", 0, 5, "stir", "strips/trial_0000.jpg")
    row, images = runner.run(planned, 10, "trial_0000_1")
    assert bool(images) == bool(row.strip) == (not row.aborted)
    return row


def ready(graph: PlayedGraph) -> Callable[[], str]:
    """Return what says that the scene stands."""
    return lambda: graph.served[READY]()


def played(folder: Path, *, simulated: bool = True) -> PlayedGraph:
    return PlayedGraph(folder / "bags", simulated=simulated)


# Verdicts of somebody else


@pytest.mark.parametrize("keys", [None, ""])
def test_a_verdict_on_the_topic_ends_the_trial_and_is_published_once(
    tmp_path: Path, keys: str | None
) -> None:
    graph = played(tmp_path)
    graph.at[4] = lambda: graph.judge(EpisodeEvent.SUCCESS)
    row = run(graph, tmp_path, Desk(keys))
    assert (row.success, row.aborted, row.reason, row.stage) == (
        True,
        False,
        "success",
        "placed",
    )
    assert (row.judge, row.steps) == ("person", 4)
    assert graph.events == [(EpisodeEvent.START, "seed 5")]


@pytest.mark.parametrize(
    ("text", "reason", "stage"),
    [
        ("dropped", "dropped", ""),
        ("dropped; stage lifted", "dropped", "lifted"),
        ("stage lifted", "no reason given", "lifted"),
        ("it fell at stage two", "it fell at stage two", ""),
        ("", "no reason given", ""),
    ],
)
def test_the_text_of_a_failure_is_its_reason_and_perhaps_a_stage(
    tmp_path: Path, text: str, reason: str, stage: str
) -> None:
    graph = played(tmp_path)
    graph.at[4] = lambda: graph.judge(EpisodeEvent.FAILURE, text)
    row = run(graph, tmp_path, Desk(None))
    assert (row.success, row.aborted, row.reason, row.stage) == (
        False,
        False,
        reason,
        stage,
    )


def test_a_discard_makes_the_trial_void(tmp_path: Path) -> None:
    graph = played(tmp_path)
    graph.at[4] = lambda: graph.judge(EpisodeEvent.DISCARD, "the cube rolled away")
    row = run(graph, tmp_path, Desk(None))
    assert (row.aborted, row.reason, row.strip, row.bag) == (
        True,
        "the cube rolled away",
        "",
        "",
    )


def test_a_stop_of_somebody_else_is_no_verdict(tmp_path: Path) -> None:
    graph = played(tmp_path)
    graph.at[4] = lambda: graph.judge(EpisodeEvent.STOP, "the server was ended")
    graph.at[6] = lambda: graph.judge(EpisodeEvent.FAILURE, "collision")
    desk = Desk(None)
    row = run(graph, tmp_path, desk)
    assert (row.reason, row.aborted) == ("collision", False)
    assert desk.has_shown("somebody ended it: the server was ended; how did it end?")


# Keys


def test_a_key_ends_the_trial_at_once_and_reason_and_stage_are_asked_for(
    tmp_path: Path,
) -> None:
    graph = played(tmp_path)
    desk = Desk("xf92x1")
    row = run(graph, tmp_path, desk)
    assert (row.success, row.reason, row.stage) == (False, "dropped", "grasped")
    assert graph.events[-1] == (EpisodeEvent.FAILURE, "")
    assert row.steps < 5
    assert desk.has_shown("why?  1 missed grasp  2 dropped")
    assert desk.has_shown(
        "how far did it come?  1 grasped  2 lifted  3 placed  0 not at all"
    )


def test_a_plan_without_reasons_and_stages_asks_for_none(tmp_path: Path) -> None:
    attendance = replace(BY_PERSON, reasons=(), stages=())
    row = run(played(tmp_path), tmp_path, Desk("f"), attendance)
    assert (row.reason, row.stage) == ("no reason given", "")


def test_space_stops_the_arm_and_the_trial_is_void(tmp_path: Path) -> None:
    graph = played(tmp_path)
    row = run(graph, tmp_path, Desk(" "))
    assert "arm/hold" in graph.called
    assert (row.aborted, row.reason) == (True, "stopped by the operator")
    assert graph.events[-1][0] == EpisodeEvent.STOP


# Trials that end without a verdict


def test_after_the_time_limit_the_arm_stops_and_a_person_is_asked(tmp_path: Path) -> None:
    graph = played(tmp_path)
    graph.at[20] = lambda: graph.judge(EpisodeEvent.FAILURE, "timeout")
    desk = Desk(None)
    row = run(graph, tmp_path, desk)
    assert (row.success, row.aborted, row.reason, row.steps) == (
        False,
        False,
        "timeout",
        10,
    )
    assert [event for event, _ in graph.events] == [EpisodeEvent.START, EpisodeEvent.STOP]
    assert desk.has_shown("time is over, after 10 steps; how did it end?")


def test_a_late_success_and_a_late_discard_count_as_such(tmp_path: Path) -> None:
    for keys, outcome in ((12 * "-" + "s", (True, False)), (12 * "-" + "d", (False, True))):
        row = run(played(tmp_path / keys), tmp_path, Desk(keys))
        assert (row.success, row.aborted) == outcome


def test_nobody_is_asked_about_a_camera_that_disappears(tmp_path: Path) -> None:
    graph = played(tmp_path)
    graph.at[4] = lambda: graph.hold_arm(Kind.CAMERA, "no image for 0.5 s")
    row = run(graph, tmp_path, Desk(None))
    assert (row.aborted, row.reason, row.judge) == (True, "no image for 0.5 s", "")


def test_a_hold_of_the_policys_doing_is_judged_by_the_person(tmp_path: Path) -> None:
    graph = played(tmp_path)
    graph.at[4] = lambda: graph.hold_arm(Kind.NOT_FINITE, "NaN")
    graph.at[9] = lambda: graph.judge(EpisodeEvent.FAILURE, "other")
    desk = Desk(None)
    row = run(graph, tmp_path, desk)
    assert (row.aborted, row.reason) == (False, "other")
    assert desk.has_shown("the arm holds because of the policy: NaN")


# Starts


def test_a_real_arm_goes_to_the_pose_of_the_scene_and_its_residual_is_kept(
    tmp_path: Path,
) -> None:
    graph = played(tmp_path, simulated=False)
    graph.offsets = [np.array([0.003, 0.0, -0.004, 0.0, 0.0, np.radians(2.0), -0.2])]
    desk = Desk("\ns")
    attendance = replace(BY_PERSON, starts=(POSE,))
    row = run(graph, tmp_path, desk, attendance)
    assert graph.called == ["arm/go_to_pose"]
    assert row.residual_position == pytest.approx(0.005)
    assert row.residual_rotation == pytest.approx(2.0)
    assert desk.has_shown("keep clear")


def test_without_poses_a_real_arm_goes_to_its_own(tmp_path: Path) -> None:
    graph = played(tmp_path, simulated=False)
    row = run(graph, tmp_path, Desk("\ns"))
    assert graph.called == ["arm/go_to_start"]
    assert graph.events[0] == (EpisodeEvent.START, "")  # nobody drew its scene
    assert row.residual_position == 0.0


def test_a_start_that_is_missed_is_tried_again(tmp_path: Path) -> None:
    graph = played(tmp_path)
    graph.offsets = [np.full(7, 0.02), np.zeros(7)]
    desk = Desk("s")
    row = run(graph, tmp_path, desk, replace(BY_PERSON, starts=(POSE,)))
    assert (row.success, row.residual_position) == (True, 0.0)
    assert graph.called.count("arm/go_to_pose") == 2
    assert desk.has_shown("allowed are 10.0 mm and 3.0 degrees; the arm goes there again")


def test_a_start_that_is_missed_twice_makes_the_trial_void(tmp_path: Path) -> None:
    graph = played(tmp_path)
    graph.offsets = [np.array([0.02, 0, 0, 0, 0, 0, 0])]
    row = run(graph, tmp_path, Desk(None), replace(BY_PERSON, starts=(POSE,)))
    assert row.aborted
    assert row.reason.startswith("the arm is 20.0 mm and 0.0 degrees from its start pose")
    assert row.residual_position == pytest.approx(0.02)
    assert graph.events == []


def test_a_pose_that_the_arm_refuses_makes_the_trial_void(tmp_path: Path) -> None:
    graph = played(tmp_path)
    graph.refuses = "the pose is refused"
    row = run(graph, tmp_path, Desk(None), replace(BY_PERSON, starts=(POSE,)))
    assert (row.aborted, row.residual_position) == (True, None)
    assert row.reason == "the arm does not go to its start pose: the pose is refused"


def test_the_checker_judges_a_matched_start_as_well(tmp_path: Path) -> None:
    graph = played(tmp_path)
    row = run(graph, tmp_path, Desk(None), Attendance(starts=(POSE,)))
    assert row.reason == "not solved within 10 steps"
    assert (row.judge, row.residual_position) == ("", 0.0)


def test_an_arm_that_is_stopped_while_the_scene_is_laid_out_begins_no_trial(
    tmp_path: Path,
) -> None:
    graph = played(tmp_path, simulated=False)
    graph.at[1] = lambda: graph.hold_arm(Kind.OPERATOR, "stopped by the operator")
    desk = Desk("--\n--es")
    assert run(graph, tmp_path, desk).success
    assert desk.has_shown("the arm holds: stopped by the operator")


def test_a_held_real_arm_is_freed_by_a_person_only(tmp_path: Path) -> None:
    for simulated, keys in ((True, "s"), (False, "xe\ns")):
        graph = played(tmp_path / str(simulated), simulated=simulated)
        graph.hold_arm(Kind.OPERATOR, "stopped by the operator")
        desk = Desk(keys)
        assert run(graph, tmp_path, desk).success
        assert desk.has_shown("the arm holds") == (not simulated)


# Scenes


@pytest.mark.parametrize("keys", [None, "x\n"])
def test_a_scene_is_waited_for_with_its_ghost(tmp_path: Path, keys: str | None) -> None:
    photo = tmp_path / "scene.png"
    cv2.imwrite(str(photo), np.full((6, 8, 3), 200, np.uint8))
    attendance = replace(BY_PERSON, placements=(Placement("cube left", photo, "hash"),))
    graph, ghosts = played(tmp_path), []
    graph.image = np.zeros((12, 16, 3), np.uint8)

    def look() -> None:
        ghosts.append(cv2.imread(str(tmp_path / GHOST)))
        if keys is None:
            ready(graph)()

    graph.at[1] = look
    graph.at[9] = lambda: graph.judge(EpisodeEvent.SUCCESS)
    desk = Desk(keys)
    assert run(graph, tmp_path, desk, attendance).success
    assert ghosts[0].shape == (12, 16, 3)
    assert abs(ghosts[0].mean() - 100) < 2
    assert not (tmp_path / GHOST).exists()
    assert desk.has_shown(f"scene 0: cube left, as in {photo}; ENTER (or session/ready)")


def test_residuals_are_a_distance_and_an_angle() -> None:
    wanted = np.array([0.3, 0.0, 0.1, 0.1, -0.2, 3.1])
    measured = wanted + np.array([0.0, 0.003, 0.004, 0.0, 0.0, 0.1])
    found = Residual.between(measured, wanted)
    assert found.position == pytest.approx(0.005)
    assert found.rotation == pytest.approx(np.degrees(0.1), abs=1e-3)
    assert Residual.between(wanted, wanted) == Residual(0.0, 0.0)
    turned = wanted + np.array([0, 0, 0, 0, 0, 2 * np.pi])
    assert Residual.between(turned, wanted).rotation == pytest.approx(0.0, abs=1e-3)

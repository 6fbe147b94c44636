"""What a plan says of attended sessions: start poses, layouts, words; and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from ptr_training.data.episode import DatasetInfo, Episode, EpisodeWriter
from widowx_bringup.evaluation.session.attendance import (
    REASONS,
    UNATTENDED,
    Placement,
    SessionError,
)
from widowx_bringup.evaluation.session.plan import SessionPlan, load_plan
from widowx_bringup.sim.tasks import TARGET_TASK

POSE = [0.3, 0.0, 0.15, 0.0, 0.0, 0.0, 1.0]


def plan_of(bundles: Path, **changes: object) -> SessionPlan:
    """Return a plan of three scenes with changes."""
    values = {"task": TARGET_TASK, "methods": {"ptr": "ptr", "bc": "bc"}, "trials": 3}
    file = bundles / "attended.yaml"
    file.write_text(yaml.safe_dump({**values, **changes}))
    return load_plan(file)


def write_demonstrations(path: Path, openings: list[float]) -> None:
    """Write a store of two demonstrations of 20 steps whose grippers are opened so, by step."""
    with EpisodeWriter(path, DatasetInfo("held out", "front", 8, 8, 8, 8)) as writer:
        for number in range(2):
            proprio = np.zeros((21, 7))
            proprio[:, 0] = 0.25 + 0.002 * np.arange(21) + 0.05 * number
            proprio[:, 2], proprio[:, 6] = 0.1, openings
            writer.add(
                Episode(
                    id=str(number),
                    task=TARGET_TASK,
                    frames=np.zeros((21, 8, 8, 3), np.uint8),
                    stamps_ns=np.arange(21) * 200_000_000,
                    proprio=proprio,
                    requested=np.zeros((20, 7)),
                    executed=np.zeros((20, 7)),
                    outcome="success",
                )
            )


def test_a_plan_that_says_nothing_of_it_has_the_hash_that_it_always_had(
    bundles: Path,
) -> None:
    plan = plan_of(bundles)
    assert plan.attendance == UNATTENDED
    assert plan_of(bundles, judge="checker").sha256 == plan.sha256
    assert set(plan.to_json()) == {
        *("name", "task", "methods", "trials", "seed", "time_limit", "blind"),
        *("camera_rise", "camera_turn"),
    }


def test_all_that_a_plan_says_of_it_is_locked(bundles: Path) -> None:
    cv2.imwrite(str(bundles / "a.png"), np.zeros((4, 4, 3), np.uint8))
    cv2.imwrite(str(bundles / "b.png"), np.ones((4, 4, 3), np.uint8))
    hashes = {
        plan_of(bundles, **changes).sha256
        for changes in (
            {"judge": "person"},
            {"judge": "person", "reasons": ["slip"]},
            {"judge": "person", "stages": []},
            {"judge": "person", "starts": [POSE]},
            {"judge": "person", "tolerance": {"position": 0.02}},
            {"judge": "person", "placements": [{"text": "left"}]},
            {"judge": "person", "placements": [{"photo": "a.png"}]},
            {"judge": "person", "placements": [{"photo": "b.png"}]},
        )
    }
    assert len(hashes) == 8


def test_scenes_take_poses_and_layouts_in_turn(bundles: Path) -> None:
    other = [*POSE[:1], 0.1, *POSE[2:]]
    plan = plan_of(
        bundles,
        judge="person",
        starts=[POSE, other],
        placements=[{"text": "left"}, {"text": "right"}],
    ).attendance
    assert [plan.start(scene) for scene in range(3)] == [
        tuple(POSE),
        tuple(other),
        tuple(POSE),
    ]
    assert plan.placement(2) == Placement("left")
    assert plan.reasons == REASONS


def test_start_poses_are_drawn_from_the_first_steps_of_demonstrations(
    bundles: Path,
) -> None:
    openings = [1.0] * 5 + [0.1] * 16
    if not (bundles / "held_out").exists():
        write_demonstrations(bundles / "held_out", openings)
    starts = plan_of(bundles, starts="held_out", seed=1).attendance.starts
    assert len(starts) == 3
    assert len(set(starts)) == 3
    for pose in starts:
        assert pose[6] == 1.0
        assert min(abs(pose[0] - 0.25), abs(pose[0] - 0.30)) < 0.0081  # of five steps
    again = plan_of(bundles, starts="held_out", seed=1).attendance.starts
    assert again == starts
    assert plan_of(bundles, starts="held_out", seed=2).attendance.starts != starts


def test_demonstrations_that_begin_with_a_closed_gripper_are_no_starts(
    bundles: Path, tmp_path: Path
) -> None:
    write_demonstrations(tmp_path / "closed", [0.0] * 21)
    with pytest.raises(SessionError, match="the gripper is closed in the first 10 steps"):
        plan_of(bundles, starts=str(tmp_path / "closed"))


def test_a_task_that_the_simulation_lacks_needs_a_person(bundles: Path) -> None:
    plan = plan_of(bundles, judge="person", task="fold  the towel")
    assert (plan.task, plan.time_limit) == ("fold the towel", 10.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"judge": "me"}, "judge is 'me'; expected checker or person"),
        ({"tolerance": {"angle": 3}}, r"unknown entry tolerance\.angle"),
        ({"tolerance": {"position": 0}}, r"tolerance\.position is 0; expected a number"),
        ({"reasons": ["a", "a"]}, "reasons is .*; expected at most 9 different texts"),
        ({"stages": [str(n) for n in range(10)]}, "stages is .* at most 9 different"),
        (
            {"starts": []},
            "starts is .*; expected a folder of demonstrations, or 1 to 3 poses",
        ),
        ({"starts": [POSE] * 4}, "1 to 3 poses"),
        ({"starts": [POSE[:6]]}, r"starts\.0 is .*; expected a list of 7 finite numbers"),
        ({"starts": [[math.nan, *POSE[1:]]]}, r"starts\.0 is .* finite numbers"),
        ({"starts": [[*POSE[:6], 0.0]]}, "its gripper is 0, and the arm opens it"),
        ({"starts": [[2.0, *POSE[1:]]]}, "it is outside the workspace box"),
        ({"starts": [[*POSE[:4], 1.5, *POSE[5:]]]}, "poses that the arm can begin in"),
        ({"placements": []}, "placements is .*; expected 1 to 3 tables"),
        ({"placements": [{}]}, r"placements\.0\.text is None; expected text or a photo"),
        ({"placements": [{"photo": "none.jpg"}]}, r"photo is .* expected an image file"),
        ({"placements": [{"where": "left"}]}, r"unknown entry placements\.0\.where"),
    ],
)
def test_a_wrong_value_is_refused_by_name(
    bundles: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(SessionError, match=message):
        plan_of(bundles, **changes)

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from widowx_bringup.sim.families.family import Layout, TaskError
from widowx_bringup.sim.families.put import (
    CONTAINERS,
    OBJECT_AREA,
    OBJECTS,
    TARGET_TASK,
    TASKS,
    UNSEEN_OBJECTS,
)
from widowx_bringup.sim.families.sampling import CENTRE, CLEARANCE
from widowx_bringup.sim.tasks import parse_task, prior_tasks, sample_layout


def test_a_task_is_named_after_what_it_does() -> None:
    task = parse_task("put the red cube on the white plate")
    assert (task.object, task.container) == ("red cube", "white plate")
    assert (
        parse_task("put the blue cube in the grey tray").name
        == "put the blue cube in the grey tray"
    )


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        TaskError,
        match=r"unknown task 'tidy up'; known are: 'put the red cube on the white",
    ):
        parse_task("tidy up")


def test_a_typing_error_is_answered_with_the_nearest_task() -> None:
    with pytest.raises(
        TaskError, match="did you mean 'put the yellow cube on the white plate'"
    ):
        parse_task("put the yelow cube on the white plate")


def test_the_object_of_the_target_task_is_in_no_prior_scene() -> None:
    target = parse_task(TARGET_TASK).object
    assert len(prior_tasks()) >= 8
    for name in prior_tasks():
        for seed in range(20):
            assert not set(sample_layout(name, seed).objects) & set(UNSEEN_OBJECTS)
    assert target in UNSEEN_OBJECTS


@pytest.mark.parametrize("name", TASKS)
def test_a_layout_is_complete_and_within_its_areas(name: str) -> None:
    task = parse_task(name)
    for seed in range(30):
        layout = sample_layout(name, seed)
        assert task.object in layout.objects
        assert len(layout.objects) == 2
        assert set(layout.containers) == set(CONTAINERS)
        places = np.array([place[:2] for place in layout.objects.values()])
        assert (np.abs(places - CENTRE) <= OBJECT_AREA).all()
        assert np.linalg.norm(places[0] - places[1]) >= CLEARANCE
        for thing, (x, y, _) in layout.objects.items():
            for where, (cx, cy) in layout.containers.items():
                gap = (
                    np.hypot(x - cx, y - cy)
                    - OBJECTS[thing].half_size[0]
                    - CONTAINERS[where].half_size
                )
                assert gap > 0


def test_the_same_seed_draws_the_same_layout_and_another_seed_another() -> None:
    assert sample_layout(TARGET_TASK, 7) == sample_layout(TARGET_TASK, 7)
    assert sample_layout(TARGET_TASK, 7) != sample_layout(TARGET_TASK, 8)
    assert sample_layout(TARGET_TASK, 7).start != sample_layout(prior_tasks()[0], 7).start


def test_a_layout_survives_json() -> None:
    layout = sample_layout(TARGET_TASK, 3)
    assert Layout.from_json(json.loads(json.dumps(layout.to_json()))) == layout


def test_every_object_fits_between_the_fingers() -> None:
    for thing in OBJECTS.values():
        assert (
            0.030 < 2 * thing.half_size[1] < 0.060
        )  # closed and open fingers are 30 and 74 mm apart


def test_the_scenes_of_the_first_family_stay_as_they_were() -> None:
    scenes = [sample_layout(name, seed).to_json() for name in TASKS for seed in range(5)]
    written = json.dumps(scenes, sort_keys=True).encode()
    assert hashlib.sha256(written).hexdigest()[:16] == "c7196acb01dc6647"

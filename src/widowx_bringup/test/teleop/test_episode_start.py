"""Recordings in a simulated graph, over real DDS: their scene, their clock, their outcome."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from teleop_rig import Rig

from ptr_common.errors import PtrError
from ptr_msgs.msg import EpisodeEvent
from widowx_bringup.sim.tasks import TARGET_TASK
from widowx_bringup.teleop import episode_start
from widowx_bringup.teleop.mapping import Button


@pytest.fixture
def rig(ros: None) -> Iterator[Rig]:
    with contextlib.closing(Rig(simulated=True, task=TARGET_TASK)) as rig:
        rig.until(lambda: rig.has_shown("scene "))
        yield rig


def test_a_simulated_graph_is_recognised_and_shows_a_scene_of_the_task(rig: Rig) -> None:
    assert rig.node.get_parameter("use_sim_time").value
    ((task, seed),) = rig.scenes
    assert task == TARGET_TASK
    assert f"scene {seed}: {TARGET_TASK}" in rig.shown


def test_an_unknown_task_is_one_error_with_the_nearest_name(ros: None) -> None:
    rig = Rig(present=False, task="put the yelow cube on the white plate")
    with contextlib.closing(rig):
        rig.join(simulated=True)
        with pytest.raises(PtrError, match=f"did you mean '{TARGET_TASK}'"):
            rig.until(lambda: rig.node.beginning.simulated)


def test_a_task_of_other_case_gets_the_simulations_name(ros: None) -> None:
    with contextlib.closing(Rig(simulated=True, task=TARGET_TASK.upper())) as rig:
        rig.record()
        assert rig.events[-1].task == TARGET_TASK


def test_a_recording_begins_with_its_scene_as_it_was_drawn(rig: Rig) -> None:
    rig.record()
    assert rig.scenes == [rig.scenes[0]] * 2
    assert f"seed {rig.scenes[0][1]}" in rig.events[0].text


def test_a_success_is_saved_only_once_the_simulation_finds_the_task_solved(
    rig: Rig,
) -> None:
    rig.record()
    rig.until(lambda: rig.commands)
    rig.press(Button.SAVE)
    rig.until(lambda: rig.has_shown("NOT SAVED, the simulation says: not solved"))
    assert rig.node.episode
    assert rig.node.demonstrations == []
    rig.solved = True
    rig.press(Button.SAVE)
    rig.until(lambda: rig.events[-1].event == EpisodeEvent.SUCCESS)
    assert len(rig.node.demonstrations) == 1


def test_what_is_not_solved_is_saved_as_a_failure(rig: Rig) -> None:
    rig.record()
    rig.press(Button.FAIL)
    rig.until(lambda: rig.events[-1].event == EpisodeEvent.FAILURE)


def test_a_policys_success_is_counted_only_if_the_task_is_solved(ros: None) -> None:
    rig = Rig(simulated=True, watch=True, task=TARGET_TASK)
    with contextlib.closing(rig):
        rig.record()
        rig.press(Button.SAVE)
        rig.until(lambda: rig.has_shown("NOT SAVED"))
        assert rig.node.rollouts.verdicts == []
        rig.press(Button.FAIL)
        rig.until(lambda: rig.node.rollouts.verdicts == [False])


def test_after_an_episode_another_scene_is_drawn(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(episode_start, "SCENE_PAUSE_NS", 100_000_000)
    rig.record()
    rig.press(Button.DISCARD)
    rig.until(lambda: len(rig.scenes) == 3)
    assert rig.scenes[2] != rig.scenes[1]


def test_recording_anew_keeps_the_scene(rig: Rig) -> None:
    rig.record()
    rig.press(Button.AGAIN)
    rig.until(lambda: len(rig.events) == 3)
    assert [event.event for event in rig.events[1:]] == [
        EpisodeEvent.DISCARD,
        EpisodeEvent.START,
    ]
    assert len(set(rig.scenes)) == 1


def test_a_key_draws_another_scene_but_not_during_an_episode(rig: Rig) -> None:
    rig.press(Button.SCENE)
    rig.until(lambda: len(rig.scenes) == 2)
    assert rig.scenes[1] != rig.scenes[0]
    rig.record()
    rig.press(Button.SCENE)
    assert rig.has_shown("the scene stays as it is")
    assert len(rig.scenes) == 3


def test_a_real_graph_draws_no_scene(ros: None) -> None:
    with contextlib.closing(Rig()) as rig:
        rig.press(Button.SCENE)
        assert rig.has_shown("only a simulated graph draws scenes")

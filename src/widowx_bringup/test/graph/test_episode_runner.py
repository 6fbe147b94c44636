"""How an episode ends, on a connection that the test plays."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ptr_msgs", reason="ROS 2 is not installed")

from played_graph import PlayedGraph

from ptr_common.action_space import CONTROL_RATE
from ptr_msgs.msg import ArmState, EpisodeEvent
from widowx_bringup.arm.refusal import Kind
from widowx_bringup.graph.connection import EpisodeError
from widowx_bringup.graph.episode_runner import EpisodeRunner
from widowx_bringup.graph.processes import NodeDiedError


class Connection(PlayedGraph):
    """A simulated graph that solves its task, stalls or dies at a step."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, simulated=True)
        self.solved_at: int | None = None  # steps
        self.dies_at: int | None = None  # steps
        self.stalls = False
        self.late = False  # a command is executed after the end event
        self.state = ArmState(status=ArmState.STATUS_OK, clipped=1, held=2, rejected=3)
        self.reset_error = ""
        self.fresh: list[str] = []

    def hold_kind(self, held: int) -> str:
        assert held == self.state.held
        return super().hold_kind(held)

    def publish_event(self, episode_id: str, event: int, task: str, text: str) -> int:
        assert task == "stir"
        if self.late and event != EpisodeEvent.START:
            self.executed_ns.append(self._time_ns + 1)
        return super().publish_event(episode_id, event, task, text)

    def reset_scene(self, task: str, seed: int) -> Any:
        return SimpleNamespace(success=not self.reset_error, message=self.reset_error)

    def outcome(self) -> bool:
        return self.solved_at is not None and self.executed >= self.solved_at

    def wait_for_message(self, topic: str, timeout: float, *, fresh: bool = False) -> None:
        super().wait_for_message(topic, timeout, fresh=fresh)
        self.fresh.append(topic)

    def execute(self) -> None:
        if self.executed == self.dies_at:
            raise NodeDiedError("policy_node ended")
        if not self.stalls or self.executed == 0:
            super().execute()


@pytest.fixture
def graph(tmp_path: Path) -> Connection:
    return Connection(tmp_path)


def run(graph: Connection, **options: Any) -> Any:
    runner = EpisodeRunner(graph)  # type: ignore[arg-type]
    return runner.run_episode("stir", 5, max_steps=10, **options)


def test_a_solved_task_ends_the_episode_as_a_success(graph: Connection) -> None:
    graph.solved_at = 4
    result = run(graph)
    assert (result.success, result.reason, result.steps) == (True, "solved", 4)
    assert graph.events == [
        (EpisodeEvent.START, "seed 5"),
        (EpisodeEvent.SUCCESS, "solved"),
    ]
    assert result.bag is not None
    assert result.bag.name == result.episode_id
    assert result.duration == pytest.approx(4 / CONTROL_RATE)


def test_a_command_after_the_end_event_is_no_step(graph: Connection) -> None:
    graph.solved_at, graph.late = 4, True
    assert run(graph).steps == 4
    assert graph.executed == 5


def test_the_scene_is_seen_by_arm_and_camera_before_the_start(graph: Connection) -> None:
    run(graph)
    assert graph.fresh == ["arm/state", graph.image_topic]


def test_an_episode_goes_on_for_some_steps_after_success(graph: Connection) -> None:
    graph.solved_at = 4
    assert run(graph, linger=3).steps == 7


def test_an_unsolved_task_ends_after_the_longest_episode(graph: Connection) -> None:
    result = run(graph)
    assert (result.success, result.reason) == (False, "not solved within 10 steps")
    assert result.steps == 10
    assert graph.events[-1][0] == EpisodeEvent.FAILURE
    assert result.bag is not None


def test_a_policy_that_waits_too_long_runs_out_of_time(graph: Connection) -> None:
    graph.stalls = True
    result = run(graph)
    assert (result.success, result.steps) == (False, 1)
    assert result.reason == "not solved within 10 steps"


def test_a_failure_that_is_not_kept_is_discarded(graph: Connection) -> None:
    result = run(graph, keep_failure=False)
    assert graph.events[-1][0] == EpisodeEvent.DISCARD
    assert result.bag is None


def test_an_arm_that_holds_ends_the_episode_with_its_reason(graph: Connection) -> None:
    graph.state.status = ArmState.STATUS_HOLDING
    graph.state.reason = "no image for 0.5 s"
    result = run(graph)
    assert (result.success, result.reason) == (False, "no image for 0.5 s")


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("waited", [False, True])
def test_a_hold_aborts_the_episode_unless_it_is_the_policys_doing(
    graph: Connection, kind: Kind, waited: bool
) -> None:
    graph.state.status = ArmState.STATUS_HOLDING
    graph.hold, graph.policy_waited = kind, waited
    result = run(graph)
    of_policy = kind is Kind.NOT_FINITE or (kind is Kind.SILENCE and not waited)
    assert result.aborted == (not of_policy)
    end = EpisodeEvent.FAILURE if of_policy else EpisodeEvent.STOP
    assert graph.events[-1][0] == end


def test_an_episode_in_which_a_node_ends_is_discarded(graph: Connection) -> None:
    graph.dies_at = 3
    with pytest.raises(NodeDiedError):
        run(graph)
    assert graph.events[-1] == (EpisodeEvent.DISCARD, "")


def test_without_recorder_there_is_no_bag(graph: Connection) -> None:
    graph.records = False
    assert run(graph).bag is None


def test_a_scene_that_is_refused_begins_no_episode(graph: Connection) -> None:
    graph.reset_error = "unknown task"
    with pytest.raises(EpisodeError, match="scene not set: unknown task"):
        run(graph)
    assert graph.events == []


def test_counters_are_those_of_the_newest_arm_state(graph: Connection) -> None:
    assert EpisodeRunner(graph).counters() == (1, 2, 3)  # type: ignore[arg-type]

"""`ptr replay --on-arm`: recorded actions on the simulated arm, and when nothing more is sent."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from arm_node_rig import STEP, Rig
from std_srvs.srv import Trigger

from ptr_msgs.msg import EpisodeEvent
from ptr_training.bags.reader import Bag
from widowx_bringup.replay import on_arm
from widowx_bringup.replay.main import main
from widowx_bringup.replay.on_arm import ArmPlayer
from widowx_bringup.replay.recording import ReplayError
from widowx_bringup.replay.requested import RequestedEpisode, read_requested
from widowx_bringup.sim.tasks import TARGET_TASK

DEMONSTRATION = Path(__file__).parents[4] / "test/files_of_0.1.0/bags/first"


@contextlib.contextmanager
def spun(rig: Rig) -> Iterator[None]:
    """Spin the rig in a thread of its own."""
    done = threading.Event()

    def spin() -> None:
        while not done.is_set():
            rig.executor.spin_once(timeout_sec=0.01)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.fixture
def rig(ros: None) -> Iterator[Rig]:
    """A simulated arm that nobody commands.

    A busy computer has four times as long for a command before the arm finds it late.
    """
    with contextlib.closing(Rig(use_sim_time=True, real_time_factor=0.25)) as rig:
        rig.probe.destroy_publisher(rig.commands)
        rig.events_heard = []
        rig.probe.create_subscription(
            EpisodeEvent, "episode/event", rig.events_heard.append, 10
        )
        yield rig


@pytest.fixture
def player(rig: Rig) -> Iterator[ArmPlayer]:
    with spun(rig), contextlib.closing(Closing(ArmPlayer(os.getpid))) as closing:
        yield closing.player


class Closing:
    """Destroys the player while the arm is still there."""

    def __init__(self, player: ArmPlayer) -> None:
        self.player = player

    def close(self) -> None:
        self.player.destroy_node()


def comes(condition: Callable[[], object], limit: float = 15.0) -> bool:
    """Wait for a message at the rig, whose thread may take it later than the player's."""
    deadline = time.monotonic() + limit
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(condition())


def requested(rig: Rig, steps: int = 5) -> RequestedEpisode:
    """Return a recorded episode that began where the arm stands."""
    start = np.asarray(rig.states[-1].proprio)
    times = [index * 200_000_000 for index in range(steps)]
    return RequestedEpisode("e", TARGET_TASK, None, times, np.array([STEP] * steps), start)


def test_every_action_is_sent_as_one_episode_and_moves_the_arm(
    rig: Rig, player: ArmPlayer
) -> None:
    episode = requested(rig)
    player.join()
    player.prepare(episode, 0.03)
    assert player.play(episode, "replay of first") == ""
    assert player.simulated
    summary = player.summary(5)
    assert summary.startswith(
        "5 of 5 commands sent, 5 executed; clipped 0, rejected 0, held 0"
    )
    events = [EpisodeEvent.START, EpisodeEvent.STOP]
    assert comes(lambda: [event.event for event in rig.events_heard] == events)
    assert comes(lambda: len(rig.executed) == 5)
    assert comes(lambda: abs(rig.states[-1].proprio[0] - episode.start[0] - 0.05) < 0.01)


def test_it_ends_at_a_hold_and_says_why(
    rig: Rig, player: ArmPlayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    episode = requested(rig, steps=50)
    player.join()
    player.prepare(episode, 0.03)
    hold = player.create_client(Trigger, "arm/hold")
    send = player._send

    def send_and_hold(action: Any) -> None:
        send(action)
        if player._sent == 2:
            hold.call_async(Trigger.Request())

    monkeypatch.setattr(player, "_send", send_and_hold)
    assert "operator" in player.play(episode, "")
    assert player._sent < 5
    assert comes(lambda: rig.states[-1].held == 1)


def test_nothing_is_sent_where_the_arm_stands_elsewhere(
    rig: Rig, player: ArmPlayer
) -> None:
    episode = requested(rig)
    elsewhere = replace(episode, start=episode.start + 0.1)
    player.join()
    with pytest.raises(ReplayError, match=r"is 0\.173 m from where .* 0\.03 m are allowed"):
        player.prepare(elsewhere, 0.03)


def test_a_second_sender_is_named(ros: None) -> None:
    with contextlib.closing(Rig(use_sim_time=True)) as rig, spun(rig):
        player = ArmPlayer(os.getpid)
        try:
            with pytest.raises(ReplayError, match="probe commands the arm"):
                player.join()
        finally:
            player.destroy_node()


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stdin", "sentence"),
    [
        (io.StringIO(), "nobody can be asked here; --yes moves it"),
        (Terminal("no\n"), "not confirmed: nothing was sent"),
    ],
)
def test_a_real_arm_is_not_moved_unasked(
    monkeypatch: pytest.MonkeyPatch, stdin: io.StringIO, sentence: str
) -> None:
    monkeypatch.setattr("sys.stdin", stdin)
    episode = RequestedEpisode("e", "stir", None, [0], np.zeros((1, 7)), np.zeros(7))
    with pytest.raises(ReplayError, match=sentence):
        on_arm._confirm(episode)
    monkeypatch.setattr("sys.stdin", Terminal("yes\n"))
    on_arm._confirm(episode)


def test_the_requested_actions_of_a_bag_are_read_with_scene_and_start() -> None:
    with Bag(DEMONSTRATION) as bag:
        episode = read_requested(bag, "")
        assert (episode.task, episode.seed) == (TARGET_TASK, 4)
        assert episode.actions.shape == (21, 7)
        assert episode.times_ns[0] == 0
        assert episode.duration == pytest.approx(4.0, abs=0.1)
        with pytest.raises(ReplayError, match="has no episode 'nobody'; it has: ef396b9e"):
            read_requested(bag, "nobody")


def test_a_recorded_demonstration_solves_its_scene_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["width:=48", "height:=32", "camera_rate:=10", "real_time_factor:=2"]
    words = [str(DEMONSTRATION), "--on-arm", "--simulated", "--log", str(tmp_path)]
    assert main([*words, "--values", *small]) == 0
    out = capsys.readouterr().out
    assert "21 of 21 commands sent, 21 executed" in out
    assert "rejected 0, held 0; the task is solved" in out

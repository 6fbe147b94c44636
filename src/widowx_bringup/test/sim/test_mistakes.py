"""A demonstrator's mistakes: how many there are, and what they look like."""

from __future__ import annotations

import numpy as np
import pytest

from widowx_bringup.sim.expert import CLOSED, LONGEST_STEP, OPEN
from widowx_bringup.sim.mistakes import ImperfectDemonstrator, Mistakes

RIGHT = np.array([0.03, 0.0, 0.0, 0.0, 0.0, 0.1, OPEN])
HIGH = np.array([0.3, 0.0, 0.15, 0.0, 0.0, 0.0, 1.0])
LOW = np.array([0.3, 0.0, 0.03, 0.0, 0.0, 0.0, 1.0])


def actions_of(
    mistakes: Mistakes, proprio: np.ndarray, steps: int, seed: int = 0
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    demonstrator = ImperfectDemonstrator(lambda _: RIGHT.copy(), mistakes, rng)
    return np.array([demonstrator.act(proprio) for _ in range(steps)])


def test_without_mistakes_the_expert_acts() -> None:
    assert not Mistakes()
    np.testing.assert_array_equal(actions_of(Mistakes(), LOW, 50), np.tile(RIGHT, (50, 1)))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_the_share_of_wrong_moves_is_that_asked_for(share: float) -> None:
    actions = actions_of(Mistakes(wrong_moves=share), HIGH, 20_000)
    wrong = (actions != RIGHT).any(1)
    assert wrong.mean() == pytest.approx(share, abs=0.02)
    assert (actions[wrong, :3] @ RIGHT[:3] <= 1e-12).all()
    np.testing.assert_allclose(np.linalg.norm(actions[wrong, :3], axis=1), LONGEST_STEP)
    assert (actions[:, 6] == OPEN).all()  # the gripper is not confused


def test_hesitation_is_a_wait_on_the_way_and_never_where_the_gripper_moves() -> None:
    """The expert stays where it closes (every 20th step) and opens (every 20th after ten)."""
    asked: list[np.ndarray] = []

    def expert(proprio: np.ndarray) -> np.ndarray:
        phase = len(asked) % 20
        motion = np.zeros(6) if phase in (0, 10) else RIGHT[:6]
        asked.append(np.array([*motion, CLOSED if phase < 10 else OPEN]))
        return asked[-1].copy()

    rng = np.random.default_rng(0)
    demonstrator = ImperfectDemonstrator(expert, Mistakes(hesitation=0.5), rng)
    actions = np.array([demonstrator.act(HIGH) for _ in range(20_000)])
    wanted = np.array(asked)
    np.testing.assert_array_equal(actions[:, 6], wanted[:, 6])
    on_the_way = wanted[:, 0] > 0
    waits = (actions[:, :6] == 0).all(1)
    assert waits[on_the_way].mean() == pytest.approx(0.5, abs=0.05)
    assert (actions[~waits] == wanted[~waits]).all()


def test_the_arm_waits_once_before_the_gripper_closes_or_opens() -> None:
    asked: list[np.ndarray] = []

    def expert(proprio: np.ndarray) -> np.ndarray:
        asked.append(np.array([*RIGHT[:6], CLOSED if len(asked) % 80 >= 40 else OPEN]))
        return asked[-1].copy()

    rng = np.random.default_rng(0)
    demonstrator = ImperfectDemonstrator(expert, Mistakes(waits=0.8), rng)
    actions = np.array([demonstrator.act(HIGH) for _ in range(40_000)])
    late = actions[:, 6] != np.array(asked)[:, 6]
    waits = (actions[:, :6] == 0).all(1)
    np.testing.assert_array_equal(
        late, waits
    )  # the gripper stays as it was, and the arm too
    edges = np.flatnonzero(np.diff(late.astype(int)))
    starts, ends = edges[::2] + 1, edges[1::2] + 1
    assert (starts % 40 == 0).all()
    assert set(ends - starts) == {4, 5, 6, 7, 8}
    assert len(starts) == pytest.approx(0.8 * 40_000 / 40, rel=0.05)


def test_an_episode_has_at_most_one_detour() -> None:
    lengths = []
    for seed in range(200):
        away = (actions_of(Mistakes(detours=0.5), HIGH, 60, seed) != RIGHT).any(1)
        assert np.abs(np.diff(away.astype(int))).sum() in (0, 2)  # in one piece
        lengths.append(int(away.sum()))
    assert set(lengths) == {0, 5, 6, 7, 8, 9}
    assert np.mean(np.array(lengths) > 0) == pytest.approx(0.5, abs=0.1)


def test_another_mistake_delays_a_detour_and_does_not_replace_it() -> None:
    longest = []
    for seed in range(200):
        actions = actions_of(Mistakes(wrong_moves=0.6, detours=0.9), HIGH, 60, seed)
        changes = np.flatnonzero((np.diff(actions, axis=0) != 0).any(1))
        longest.append(
            np.diff([-1, *changes, 59])[(actions != RIGHT).any(1)[[*changes, 59]]].max()
        )
    assert np.mean(np.array(longest) >= 5) == pytest.approx(0.9, abs=0.07)


def test_a_detour_keeps_what_the_gripper_holds() -> None:
    closed = np.array([*RIGHT[:6], CLOSED])
    rng = np.random.default_rng(0)
    demonstrator = ImperfectDemonstrator(
        lambda _: closed.copy(), Mistakes(detours=0.9), rng
    )
    actions = np.array([demonstrator.act(HIGH) for _ in range(40)])
    assert (actions != closed).any()
    assert (actions[:, 6] == CLOSED).all()


def test_a_wrong_object_is_reached_for_first_and_left_once_the_arm_is_above_it() -> None:
    other = np.array([0.0, 0.03, *RIGHT[2:]])
    shares = []
    for seed in range(200):
        seen = iter([other] * 8 + [None] * 100)
        demonstrator = ImperfectDemonstrator(
            lambda _: RIGHT.copy(),
            Mistakes(wrong_objects=0.7),
            np.random.default_rng(seed),
            lambda _, seen=seen: next(seen),
        )
        actions = np.array([demonstrator.act(HIGH) for _ in range(20)])
        mistaken = (actions == other).all(1)
        assert mistaken.tolist() in ([False] * 20, [True] * 8 + [False] * 12)
        assert (actions[~mistaken] == RIGHT).all()
        shares.append(mistaken.any())
    assert np.mean(shares) == pytest.approx(0.7, abs=0.08)


def test_a_grasp_is_missed_at_most_once_until_the_arm_has_risen() -> None:
    always = Mistakes(misses=0.9)
    rng = np.random.default_rng(3)
    demonstrator = ImperfectDemonstrator(lambda _: RIGHT.copy(), always, rng)
    for _ in range(30):
        descent = np.array([demonstrator.act(LOW)[6] for _ in range(8)])
        assert (descent == CLOSED).sum() in (0, 3)
        assert (descent[3:] == OPEN).all()
        assert demonstrator.act(HIGH)[6] == OPEN
    assert (actions_of(always, HIGH, 100)[:, 6] == OPEN).all()


def test_the_same_seed_gives_the_same_mistakes() -> None:
    mistakes = Mistakes(wrong_moves=0.3, hesitation=0.1, detours=0.5, misses=0.5)
    first, second = (actions_of(mistakes, LOW, 100, 7) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_carried_object_is_dropped_once_in_a_carry() -> None:
    carried = np.array([*RIGHT[:6], CLOSED])
    asked: list[np.ndarray] = []

    def expert(proprio: np.ndarray) -> np.ndarray:
        """Carry for 20 steps, then stay open for 10."""
        asked.append(carried if len(asked) % 30 < 20 else RIGHT)
        return asked[-1].copy()

    rng = np.random.default_rng(0)
    demonstrator = ImperfectDemonstrator(expert, Mistakes(drops=0.4), rng)
    actions = np.array([demonstrator.act(HIGH) for _ in range(30_000)])
    dropped = (actions[:, 6] == OPEN) & (np.array(asked)[:, 6] == CLOSED)
    per_carry = dropped.reshape(-1, 30)
    assert set(per_carry.sum(1)) == {0, 3}
    assert (per_carry.sum(1) > 0).mean() == pytest.approx(0.4, abs=0.05)
    starts = per_carry.argmax(1)[per_carry.any(1)]
    assert set(starts) == set(range(8))
    assert not actions[dropped, :6].any()


def test_nothing_is_dropped_on_the_table() -> None:
    rng = np.random.default_rng(0)
    demonstrator = ImperfectDemonstrator(
        lambda _: np.array([*RIGHT[:6], CLOSED]), Mistakes(drops=0.9), rng
    )
    assert all(demonstrator.act(LOW)[6] == CLOSED for _ in range(50))

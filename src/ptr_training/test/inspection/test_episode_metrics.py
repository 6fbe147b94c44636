"""Metrics of episodes: every flag finds what was planted, and clean episodes have none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from moving_episodes import LENGTH, changed, make_episode, set_rows, write

from ptr_common.files import sha256
from ptr_training.data.episode import Episode, StoreError
from ptr_training.data.store import EpisodeStore
from ptr_training.inspection.episode_metrics import EpisodeMetrics, measure
from ptr_training.inspection.flags import details_of, flags_of


def rewrite_steps(
    store: EpisodeStore, change: Callable[[np.ndarray], None]
) -> EpisodeStore:
    """Change `steps.npy` and the card with it, as a foreign writer might."""
    steps = store.steps.copy()
    change(steps)
    np.save(store.path / "steps.npy", steps)
    card = yaml.safe_load((store.path / "card.yaml").read_text())
    card["sha256"]["steps"] = sha256(store.path / "steps.npy")
    (store.path / "card.yaml").write_text(yaml.safe_dump(card))
    return EpisodeStore.open(store.path, reviewed=False)


def names_of(each: EpisodeMetrics) -> set[str]:
    return {flag.name for flag in flags_of(each)}


def padded(episode: Episode, before: int) -> Episode:
    """Return an episode that waits before it begins; its images change, as noise does."""
    rest = np.repeat(episode.requested[:1] * np.array([0, 0, 0, 0, 0, 0, 1]), before, 0)
    commands = np.concatenate([rest, episode.requested])
    frames = np.stack(
        [np.roll(episode.frames[0], step, axis=1) for step in range(len(commands) + 1)]
    )
    stamps = np.arange(len(commands) + 1) * 200_000_000
    proprio = np.concatenate([np.repeat(episode.proprio[:1], before, 0), episode.proprio])
    return replace(
        episode,
        frames=frames,
        stamps_ns=stamps,
        proprio=proprio,
        requested=commands,
        executed=commands,
    )


def shift(rows: slice, column: int, value: float) -> Callable[[np.ndarray], None]:
    def change(array: np.ndarray) -> None:
        array[rows, column] += value

    return change


def set_frames(rows: object, value: object) -> Callable[[np.ndarray], None]:
    def change(array: np.ndarray) -> None:
        array[rows] = value

    return change


def freeze(frames: np.ndarray) -> None:
    frames[5:10] = frames[5]


def creep(proprio: np.ndarray) -> None:
    """Let the arm move by a millimetre in each step."""
    proprio[:, :3] = proprio[0, :3] + 0.001 * np.arange(len(proprio))[:, None]
    proprio[:, 3:6] = 0.0


def delay(stamps: np.ndarray) -> None:
    stamps[9:] += 200_000_000


def turn_back(stamps: np.ndarray) -> None:
    stamps[9:] -= 1_000_000_000


def scatter(commands: np.ndarray) -> None:
    commands[:, :3] = np.random.default_rng(0).permutation(commands[:, :3])


def test_clean_episodes_have_no_flag(tmp_path: Path) -> None:
    measures, _, intact = measure(
        write(tmp_path / "s", *(make_episode(f"e{k}", k) for k in range(10)))
    )
    assert intact
    assert [names_of(each) for each in measures] == [set()] * 10
    assert {each.source for each in measures} == {f"bag-e{k}" for k in range(10)}


@pytest.mark.parametrize(
    ("flag", "plant", "detail"),
    [
        ("blank", lambda e: changed(e, frames=set_frames(7, 0)), "1 blank, first 7"),
        (
            "blank",
            lambda e: changed(e, frames=set_frames(slice(2, 4), (0, 0, 255))),
            "2 blank, first 2",
        ),
        ("frozen", lambda e: changed(e, frames=freeze), "frozen"),
        (
            "frozen",
            lambda e: changed(e, frames=freeze, proprio=creep),
            "frozen",
        ),
        ("jump", lambda e: changed(e, proprio=shift(slice(9, None), 1, 0.3)), "jump at 8"),
        ("jump", lambda e: changed(e, proprio=shift(slice(9, None), 4, 1.0)), "jump at 8"),
        ("gap", lambda e: changed(e, stamps_ns=delay), "gap"),
        ("gap", lambda e: changed(e, stamps_ns=turn_back), "gap"),
        (
            "out of range",
            lambda e: changed(e, proprio=set_rows(slice(None), 6, 1.5)),
            "out of range",
        ),
        (
            "beyond bounds",
            lambda e: changed(e, executed=set_rows(3, 5, 0.26)),
            "beyond bounds",
        ),
        ("idle head", lambda e: padded(e, 6), "first 6 idle"),
        ("idle", lambda e: padded(e, LENGTH + 2), "52% idle"),
        (
            "idle tail",
            lambda e: changed(e, executed=set_rows(slice(-5, None), slice(6), 0)),
            "last 5 idle",
        ),
        (
            "gripper still",
            lambda e: changed(e, executed=set_rows(slice(None), 6, 1)),
            "gripper still",
        ),
        (
            "gripper stuck",
            lambda e: changed(e, proprio=set_rows(slice(None), 6, 0.8)),
            "gripper stuck",
        ),
        ("disagrees", lambda e: changed(e, executed=scatter), "disagrees"),
        ("short", lambda e: make_episode("e3", 3, LENGTH // 2), "short"),
        ("long", lambda e: make_episode("e3", 3, LENGTH * 2), "long"),
    ],
)
def test_planted_fault_is_found_in_its_episode_alone(
    tmp_path: Path, flag: str, plant: Callable[[Episode], Episode], detail: str
) -> None:
    episodes = [make_episode(f"e{k}", k) for k in range(10)]
    episodes[3] = plant(episodes[3])
    measures, _, _ = measure(write(tmp_path / "s", *episodes))
    assert flag in names_of(measures[3])
    assert detail in details_of(measures[3])
    assert [names_of(each) for each in measures[:3] + measures[4:]] == [set()] * 9


def test_copy_of_an_episode_is_found_from_both_sides(tmp_path: Path) -> None:
    episodes = [make_episode(f"e{k}", k) for k in range(4)]
    measures, _, _ = measure(
        write(tmp_path / "s", *episodes, replace(episodes[1], id="copy"))
    )
    both = {"duplicate", "same actions"}
    assert [names_of(each) for each in measures] == [set(), both, set(), set(), both]
    assert details_of(measures[1]) == "duplicate of copy, same actions as copy"
    assert details_of(measures[4]) == "duplicate of e1, same actions as e1"


def test_part_of_an_episode_is_a_duplicate_too(tmp_path: Path) -> None:
    whole = make_episode("whole", 1)
    part = make_episode("part", 2, 10)
    part = replace(part, frames=np.concatenate([whole.frames[6:14], part.frames[8:]]))
    whole_measures, part_measures, other = measure(
        write(tmp_path / "s", whole, part, make_episode("other", 3))
    )[0]
    assert part_measures.shared == pytest.approx(8 / 11)
    assert whole_measures.shared == pytest.approx(8 / (LENGTH + 1))
    assert (names_of(part_measures), names_of(whole_measures)) == ({"duplicate"}, set())
    assert other.shared == 0


def test_recompressed_copy_is_a_near_duplicate(tmp_path: Path) -> None:
    episodes = [make_episode(f"e{k}", k) for k in range(4)]
    pictures = [
        cv2.imdecode(cv2.imencode(".jpg", each, [1, 90])[1], 1)
        for each in episodes[2].frames
    ]
    copy = replace(make_episode("copy", 9), frames=np.stack(pictures))
    measures, _, _ = measure(write(tmp_path / "s", *episodes, copy))
    assert [names_of(each) for each in measures] == [
        set(),
        set(),
        {"near duplicate"},
        set(),
        {"near duplicate"},
    ]
    assert (measures[2].near_to, measures[4].near_to) == ("copy", "e2")


def test_blank_episodes_are_no_duplicates_of_each_other(tmp_path: Path) -> None:
    dark = [
        changed(make_episode(f"e{k}", k), frames=set_frames(slice(None), 3))
        for k in range(2)
    ]
    measures, _, _ = measure(
        write(tmp_path / "s", *dark, make_episode("e2", 2), make_episode("e3", 3))
    )
    assert [names_of(each) for each in measures] == [{"blank"}, {"blank"}, set(), set()]


def test_values_that_are_not_finite_are_counted_and_spoil_no_other(
    tmp_path: Path,
) -> None:
    store = write(tmp_path / "s", *(make_episode(f"e{k}", k) for k in range(9)))

    def damage(steps: np.ndarray) -> None:
        steps["proprio"][30, 2] = np.nan
        steps["executed"][31, 0] = np.inf

    measures, found, _ = measure(rewrite_steps(store, damage))
    assert [each.not_finite for each in measures] == [0, 2, 0, 0, 0, 0, 0, 0, 0]
    assert "2 not finite" in details_of(measures[1])
    assert all(
        np.isfinite([each.minimum, each.mean, each.std, each.maximum]).all()
        for each in found
    )


def test_store_without_a_finite_step_is_refused(tmp_path: Path) -> None:
    store = write(tmp_path / "s", make_episode("e", 0))
    with pytest.raises(StoreError, match="every step holds NaN"):
        measure(rewrite_steps(store, lambda steps: steps["proprio"].fill(np.nan)))


@pytest.mark.parametrize("episodes", [1, 2])
def test_smallest_stores_are_measured(tmp_path: Path, episodes: int) -> None:
    measures, found, _ = measure(
        write(tmp_path / "s", *(make_episode(f"e{k}", k, 1) for k in range(episodes)))
    )
    assert [each.steps for each in measures] == [1] * episodes
    assert np.isnan(measures[0].agreement)
    assert np.isnan(measures[0].near) == (episodes == 1)
    assert np.isnan(found[0].correlation[3])

"""Replay: mixing, sampling over stores and tasks, and batches fetched ahead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ptr_training.data.batch import Batch, Sampling
from ptr_training.data.distributed import DistributedContext
from ptr_training.data.replay import Replay
from ptr_training.data.store import EpisodeStore
from ptr_training.data.task_ids import TaskIds
from ptr_training.data.transitions import Transitions
from ptr_training.errors import TrainingError

MakeStore = Callable[..., Path]


def replay_of(
    path: Path, sampling: Sampling, batch_size: int = 12, **changes: Any
) -> Replay:
    part = Transitions(
        EpisodeStore.open(path), TaskIds.for_tasks(["a", "b", "c"], 0), **changes
    )
    return Replay([part], [], mix=1.0, batch_size=batch_size, seed=0, sampling=sampling)


@pytest.mark.parametrize(("mix", "n_prior"), [(0.9, 57), (1.0, 64), (0.0, 0), (0.5, 32)])
def test_mixing_ratio_is_rounded_on_the_whole_batch(
    make_store: MakeStore, mix: float, n_prior: int
) -> None:
    task_ids = TaskIds.for_tasks(["a", "b", "new"], 0)
    prior, target = (
        EpisodeStore.open(make_store("prior")),
        EpisodeStore.open(make_store("target", tasks=("new",))),
    )
    replay = Replay(
        [Transitions(prior, task_ids)],
        [Transitions(target, task_ids)],
        mix=mix,
        batch_size=64,
        seed=0,
    )
    batch = replay.sample()
    assert (batch.task != 2).sum() == n_prior
    assert len(batch.images) == len(batch.actions) == 64


def test_sampling_covers_every_store_evenly_by_transitions(make_store: MakeStore) -> None:
    stores = [
        EpisodeStore.open(make_store("one", tasks=("a",), per_task=1)),
        EpisodeStore.open(make_store("two", tasks=("b",), per_task=3)),
    ]
    task_ids = TaskIds.for_tasks(["a", "b"], 0)
    replay = Replay(
        [Transitions(store, task_ids) for store in stores],
        [],
        mix=1.0,
        batch_size=4000,
        seed=0,
    )
    assert float((replay.sample().task == 1).float().mean()) == pytest.approx(
        0.75, abs=0.03
    )


def test_mixing_without_prior_data_is_refused(make_store: MakeStore) -> None:
    target = Transitions(
        EpisodeStore.open(make_store("t")), TaskIds.for_tasks(["a", "b"], 0)
    )
    with pytest.raises(TrainingError, match=r"mix 0.5 asks for 32 prior transitions"):
        Replay([], [target], mix=0.5, batch_size=64, seed=0)


def test_batches_of_tasks_hold_equal_shares_one_after_the_other(
    make_store: MakeStore,
) -> None:
    replay = replay_of(make_store("s", tasks=("a", "b", "c")), Sampling(tasks=3))
    task = replay.sample().task.view(3, 4)
    assert (task == task[:, :1]).all()
    assert set(task[:, 0].tolist()) == {0, 1, 2}
    with pytest.raises(
        TrainingError, match="10 rows of a batch cannot be shared by 3 tasks"
    ):
        replay_of(make_store("t"), Sampling(tasks=3), batch_size=10).sample()


def test_next_images_that_are_not_needed_are_left_out(make_store: MakeStore) -> None:
    replay = replay_of(make_store("s"), Sampling(next_observations=False))
    batch = replay.sample()
    assert batch.next_images.shape == (0, 16, 16, 3)
    assert batch.images.shape == (12, 16, 16, 3)
    frames = replay._arrays(12).frames
    assert frames is not None
    assert frames.shape[:2] == (12, 1)  # and are not read


def test_frames_on_a_device_give_the_same_batches(make_store: MakeStore) -> None:
    path = make_store("s")
    for sampling in (
        Sampling(),
        Sampling(history=2),
        Sampling(next_observations=False),
        Sampling(chunk=3),
    ):
        mapped, resident = replay_of(path, sampling), replay_of(path, sampling)
        resident.to_device(torch.device("cpu"))
        assert resident.resident
        batches = mapped.gather(*_first(mapped)), resident.gather(*_first(resident))
        for name in Batch.__dataclass_fields__:
            one, other = getattr(batches[0], name), getattr(batches[1], name)
            assert torch.equal(one, other), name


def _first(replay: Replay) -> tuple[np.ndarray, np.ndarray]:
    replay.generator.manual_seed(1)
    return replay.draw()


def test_batches_fetched_ahead_are_those_that_would_have_been_drawn(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Batch, "pinned", lambda batch: batch)  # there may be no GPU
    path, cpu = make_store("s"), torch.device("cpu")
    runs = [
        replay_of(path, Sampling()).batches(cpu, DistributedContext(), ahead)
        for ahead in (0, 2)
    ]
    for _, (one, state), (other, later) in zip(range(5), *runs, strict=False):
        assert torch.equal(one.images, other.images)
        assert torch.equal(
            state, later
        )  # what a checkpoint must hold to go on with the next batch


def transitions_of(path: Path, **changes: Any) -> Transitions:
    return Transitions(
        EpisodeStore.open(path), TaskIds.for_tasks(["a", "b", "c"], 0), **changes
    )


@pytest.mark.parametrize(
    ("mix", "size", "n_prior"), [(0.29, 100, 29), (0.7, 10, 7), (0.3, 4, 1)]
)
def test_prior_share_is_not_lost_to_rounding(
    make_store: MakeStore, mix: float, size: int, n_prior: int
) -> None:
    prior = transitions_of(make_store("prior"))
    target = transitions_of(make_store("target"), target=True)
    batch = Replay([prior], [target], mix=mix, batch_size=size, seed=0).sample()
    assert batch.target.tolist() == [0] * n_prior + [1] * (size - n_prior)


def test_every_transition_of_every_part_is_drawn(make_store: MakeStore) -> None:
    prior = [transitions_of(make_store(name, per_task=1)) for name in ("p", "q", "r")]
    target = [transitions_of(make_store(name, per_task=1)) for name in ("t", "u")]
    replay = Replay(prior, target, mix=0.6, batch_size=2000, seed=0)
    part, index = replay.draw()
    assert part.shape == index.shape == (2000,)
    assert (np.diff(part) >= 0).all()  # rows of a part together, the prior ones first
    assert (part[:1200] < 3).all()
    assert (part[1200:] >= 3).all()
    for number in range(5):
        assert set(index[part == number].tolist()) == set(range(16))


def test_rows_come_from_the_part_and_position_drawn(make_store: MakeStore) -> None:
    stores = [make_store("p", per_task=1), make_store("q", tasks=("b", "c"), per_task=2)]
    parts = [transitions_of(path) for path in stores]
    sampling = Sampling(chunk=2)
    replay = Replay(parts[:1], parts[1:], mix=0.5, batch_size=8, seed=3, sampling=sampling)
    part, index = np.array([0, 0, 1, 1, 0]), np.array([15, 0, 31, 0, 7])
    batch = replay.gather(part, index)
    for row, (number, position) in enumerate(zip(part, index, strict=True)):
        store, store_row = parts[number].store, parts[number].rows[position]
        np.testing.assert_array_equal(batch.images[row], store.frames[store_row])
        np.testing.assert_array_equal(batch.next_images[row], store.frames[store_row + 1])
        np.testing.assert_array_equal(batch.actions[row], parts[number].actions[position])
        later = min(position + 1, position // 8 * 8 + 7)  # episodes of 8 steps
        np.testing.assert_array_equal(batch.chunk[row, 1], parts[number].actions[later])
        np.testing.assert_array_equal(
            batch.next_proprio[row], store.steps["proprio"][store_row + 1]
        )
        assert batch.task[row] == parts[number].task[position]


def test_tasks_are_drawn_from_all_parts(make_store: MakeStore) -> None:
    stores = [make_store("p", per_task=1), make_store("q", tasks=("b", "c"), per_task=1)]
    parts = [transitions_of(path) for path in stores]
    sampling = Sampling(tasks=2)
    replay = Replay(parts, [], mix=1.0, batch_size=400, seed=0, sampling=sampling)
    seen: dict[int, set[tuple[int, int]]] = {}
    for _ in range(8):
        part, index = replay.draw()
        batch = replay.gather(part, index)
        first, second = (
            batch.task[:200].unique().tolist(),
            batch.task[200:].unique().tolist(),
        )
        assert len(first) == len(second) == 1
        assert first != second  # two different ones, since there are three
        for task, where in zip(
            batch.task.tolist(), zip(part, index, strict=True), strict=True
        ):
            seen.setdefault(task, set()).add((int(where[0]), int(where[1])))
    assert seen[0] == {(0, position) for position in range(8)}
    assert seen[1] == {(part, position) for part, position in seen[1] if part in (0, 1)}
    assert {task: len(places) for task, places in seen.items()} == {0: 8, 1: 16, 2: 8}


def test_too_few_tasks_are_repeated_only_after_all_were_drawn(
    make_store: MakeStore,
) -> None:
    replay = replay_of(make_store("s", tasks=("a", "b")), Sampling(tasks=5), batch_size=20)
    for _ in range(10):
        task = replay.sample().task.view(5, 4)[:, 0].tolist()
        assert sorted(task[:2]) == sorted(task[2:4]) == [0, 1]


def test_tasks_take_no_more_random_numbers_than_needed(make_store: MakeStore) -> None:
    replay = replay_of(make_store("s", tasks=("a", "b")), Sampling(tasks=2))
    _, index = replay.draw()
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(2, generator=generator).tolist()
    expected = []
    for task in order:  # episodes of 8 steps, a and b in turns
        rows = [row for row in range(48) if row // 8 % 2 == task]
        drawn = torch.randint(24, (6,), generator=generator).tolist()
        expected += [rows[number] for number in drawn]
    assert index.tolist() == expected
    assert torch.equal(replay.generator.get_state(), generator.get_state())


def test_held_out_tasks_are_in_the_last_share_alone(make_store: MakeStore) -> None:
    path = make_store("s", tasks=("a", "b", "c"))
    sampling = Sampling(tasks=3, validation_tasks=1)
    replay = replay_of(path, sampling, batch_size=16)
    (held_out,) = replay.validation_tasks
    for _ in range(10):
        task = replay.sample().task.view(4, 4)
        assert (task == task[:, :1]).all()
        assert task[3, 0] == held_out
        assert set(task[:2, 0].tolist()) == {0, 1, 2} - {held_out}
    assert replay_of(path, sampling, batch_size=16).validation_tasks == [held_out]


def test_at_least_one_task_is_left_to_learn_from(make_store: MakeStore) -> None:
    with pytest.raises(
        TrainingError,
        match=r"agent.validation_tasks is 2, but the prior data have 2 tasks; .* less than",
    ):
        replay_of(make_store("s"), Sampling(tasks=2, validation_tasks=2))


def test_first_half_of_a_share_is_consecutive_and_the_other_half_is_not(
    make_store: MakeStore,
) -> None:
    path = make_store("s")
    replay = replay_of(path, Sampling(tasks=2, contiguous=True), batch_size=80)
    for _ in range(5):
        _, index = replay.draw()
        for share in index.reshape(2, 40):
            # three episodes of 8 steps, of both tasks in turns
            place = share // 16 * 8 + share % 8
            steps = np.diff(place) % 24
            assert (steps[:19] == 1).all()
            assert (steps[20:] != 1).any()


def test_target_rows_are_of_any_task(make_store: MakeStore) -> None:
    target = transitions_of(make_store("t", tasks=("a", "b")), target=True)
    sampling = Sampling(tasks=3, validation_tasks=2, contiguous=True)
    replay = Replay([], [target], mix=0.0, batch_size=40, seed=0, sampling=sampling)
    drawn = replay.draw()[1]
    plain = Replay([], [target], mix=0.0, batch_size=40, seed=0)
    assert drawn.tolist() == plain.draw()[1].tolist()


def test_batch_of_one_row_is_gathered(make_store: MakeStore) -> None:
    replay = replay_of(make_store("s"), Sampling())
    batch = replay.gather(np.zeros(1, int), np.array([9]))
    store = replay.parts[0].store
    np.testing.assert_array_equal(batch.images[0], store.frames[10])


def test_equal_seeds_give_equal_batches(make_store: MakeStore) -> None:
    path = make_store("s")
    parts = [transitions_of(path)]
    draws = []
    for seed in (1, 1, 2):
        replay = Replay(parts, [], mix=1.0, batch_size=32, seed=seed)
        draws.append(replay.draw()[1].tolist())
    assert draws[0] == draws[1] != draws[2]


def test_each_process_gets_its_rows_of_the_batch(make_store: MakeStore) -> None:
    path = make_store("s")
    sampling = Sampling(chunk=3)
    whole = replay_of(path, sampling).sample()
    for rank in range(3):
        own = replay_of(path, sampling).sample(DistributedContext(rank, 3))
        rows = slice(4 * rank, 4 * rank + 4)
        for name in Batch.__dataclass_fields__:
            assert torch.equal(getattr(own, name), getattr(whole, name)[rows]), name


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_batches_are_shared_by_the_processes(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    if ahead:  # there may be no GPU; without batches in advance none is pinned
        monkeypatch.setattr(Batch, "pinned", lambda batch: batch)
    else:
        monkeypatch.delattr(Batch, "pinned")
    path, cpu = make_store("s"), torch.device("cpu")
    reference = replay_of(path, Sampling())
    replay = replay_of(path, Sampling())
    batches = replay.batches(cpu, DistributedContext(1, 2), ahead)
    for number in range(3):
        expected = reference.sample(DistributedContext(1, 2))
        batch, state = next(batches)
        assert torch.equal(batch.images, expected.images)
        assert torch.equal(state, reference.generator.get_state())
        if not number:
            drawn_ahead = replay_of(path, Sampling())
            for _ in range(ahead + 1):
                drawn_ahead.draw()
            assert torch.equal(
                replay.generator.get_state(), drawn_ahead.generator.get_state()
            )
    batches.close()


def test_size_of_the_frames_counts_each_store_once(make_store: MakeStore) -> None:
    store = EpisodeStore.open(make_store("s"))
    task_ids = TaskIds.for_tasks(["a", "b", "c"], 0)
    parts = [Transitions(store, task_ids, [0]), Transitions(store, task_ids, [1])]
    other = transitions_of(make_store("t", per_task=1))
    replay = Replay([*parts, other], [], mix=1.0, batch_size=4, seed=0)
    assert replay.bytes == (6 * 9 + 2 * 9) * 16 * 16 * 3


def test_frames_are_resident_once_all_parts_are(make_store: MakeStore) -> None:
    parts = [transitions_of(make_store(name)) for name in ("s", "t")]
    replay = Replay(parts, [], mix=1.0, batch_size=4, seed=0)
    assert not replay.resident
    parts[0].to_device(torch.device("cpu"))
    assert not replay.resident
    parts[1].to_device(torch.device("cpu"))
    assert replay.resident


def test_resident_frames_of_several_parts_are_gathered_in_order(
    make_store: MakeStore,
) -> None:
    paths = [make_store("p", per_task=1), make_store("q", per_task=1)]
    batches = []
    for to_device in (False, True):
        replay = Replay(
            [transitions_of(paths[0])],
            [transitions_of(paths[1])],
            mix=0.5,
            batch_size=40,
            seed=0,
        )
        if to_device:
            replay.to_device(torch.device("cpu"))
        batches.append(replay.sample())
    assert torch.equal(batches[0].images, batches[1].images)
    assert torch.equal(batches[0].next_images, batches[1].next_images)

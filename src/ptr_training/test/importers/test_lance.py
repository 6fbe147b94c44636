"""Robot episodes in Lance tables: the same steps in any form; versions; what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lance_tables
import numpy as np
import pytest
from lance_tables import CAMERA, SEVEN, SIZE, in_structures, with_underscores
from prior_data import folder_contents

from ptr_common import cli
from ptr_training.data.store import EpisodeStore
from ptr_training.errors import TrainingError
from ptr_training.importers.base import ImportOptions, RecordError
from ptr_training.importers.lance.reader import find, read

pyarrow = pytest.importorskip("pyarrow")
lance = pytest.importorskip(
    "lance", reason="pylance is optional: pip install -r requirements/optional/lance.txt"
)

CHOSEN = ["--state", SEVEN, "--action", SEVEN, "--image-size", str(SIZE)]
OPTIONS = ImportOptions(state=tuple(SEVEN.split(",")), action=tuple(SEVEN.split(",")))
FORMS = ["bytes", "large", "struct", "blob", "tensor", "lists"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a store and its export."""
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="module")
def frames(exported: Path) -> Any:
    """Return the frames of the export of a store."""
    return lance_tables.frames_of(exported)


def write(path: Path, table: Any, **options: Any) -> Path:
    """Write a Lance table; return its folder."""
    lance.write_dataset(table, str(path), **options)
    return path


def ptr(*words: object) -> int:
    """Run `ptr` with some words."""
    return cli.main(list(map(str, words)))


def imported(source: Path, out: Path, *more: object) -> EpisodeStore:
    """Import a table and open the store."""
    assert ptr("import", "lance", source, "--out", out, *CHOSEN, *more) == 0
    return EpisodeStore.open(out)


def assert_same(store: EpisodeStore, other: EpisodeStore) -> None:
    """Compare everything but where the data come from."""
    assert np.array_equal(store.frames, other.frames)
    assert store.steps.tobytes() == other.steps.tobytes()
    for one, two in zip(store.entries, other.entries, strict=True):
        assert (one.id, one.task, one.outcome) == (two.id, two.task, two.outcome)


@pytest.mark.parametrize("layout", [in_structures, with_underscores])
@pytest.mark.parametrize("form", FORMS)
def test_exported_store_comes_back_from_a_table_with_the_same_steps_and_images(
    tmp_path: Path, exported: Path, frames: Any, layout: Callable[..., Any], form: str
) -> None:
    table = write(tmp_path / "toy.lance", layout(frames, form))
    store = imported(table, tmp_path / "back")
    assert_same(store, EpisodeStore.open(exported / "store"))
    assert store.info.camera == "front"
    store.check_pixels()


def test_blobs_of_the_newer_kind_are_read(
    tmp_path: Path, exported: Path, frames: Any
) -> None:
    table = in_structures(frames, "blob")
    write(tmp_path / "toy.lance", table, data_storage_version="2.2")
    store = imported(tmp_path / "toy.lance", tmp_path / "back")
    assert_same(store, EpisodeStore.open(exported / "store"))


def test_rows_may_lie_in_any_order_in_several_files_beside_deleted_ones(
    tmp_path: Path, exported: Path, frames: Any
) -> None:
    order = np.random.default_rng(0).permutation(len(frames))
    mixed = in_structures(frames).take(np.concatenate([order[:7], order[:3], order[7:]]))
    marked = mixed.append_column(
        "wrong", pyarrow.array(np.isin(np.arange(len(mixed)), [7, 8, 9]))
    )
    path = write(tmp_path / "toy.lance", marked, max_rows_per_file=4)
    lance.dataset(str(path)).delete("wrong")
    assert_same(imported(path, tmp_path / "back"), EpisodeStore.open(exported / "store"))


def test_only_the_rows_of_the_episode_are_taken(
    tmp_path: Path, frames: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = find([write(tmp_path / "toy.lance", in_structures(frames))])
    taken: list[int] = []
    take = lance.LanceDataset.take

    def counted(self: Any, rows: Sequence[int], **more: Any) -> Any:
        taken.extend(rows)
        return take(self, rows, **more)

    monkeypatch.setattr(lance.LanceDataset, "take", counted)
    assert len(read(records[1], OPTIONS).images) == 6
    numbers = frames["episode_index"].to_numpy()
    assert set(numbers[taken]) == {1}
    assert len(taken) == 12  # once for the numbers, once for the images


def test_foreign_table_without_our_columns_has_its_own_actions_and_times(
    tmp_path: Path, exported: Path, frames: Any
) -> None:
    ours = ["command.requested", "stamp_ns", "next.reward", "next.success"]
    path = write(tmp_path / "toy.lance", in_structures(frames.drop_columns(ours)))
    store = imported(path, tmp_path / "back", "--outcome", "stop")
    original = EpisodeStore.open(exported / "store")
    assert np.array_equal(store.actions, original.actions)
    assert np.array_equal(store.steps["executed"], store.steps["requested"])
    assert {entry.outcome for entry in store.entries} == {"stop"}
    assert store.steps["stamp_ns"][:3].tolist() == [0, 200_000_000, 400_000_000]


def test_tasks_that_are_numbers_are_named_by_the_task_map(
    tmp_path: Path, frames: Any
) -> None:
    path = write(tmp_path / "toy.lance", in_structures(frames.drop_columns("task")))
    with pytest.raises(RecordError, match=r'task_index is 0, .*"0": NAME\' in --task-map'):
        read(find([path])[0], OPTIONS)
    names = tmp_path / "names.yaml"
    names.write_text('"0": close d\n"1": open c\n')
    store = imported(path, tmp_path / "back", "--task-map", names)
    assert [entry.task for entry in store.entries] == ["close d", "open c"] * 2


def test_a_camera_of_any_name_can_be_chosen(tmp_path: Path, frames: Any) -> None:
    both = frames.append_column("wrist_rgb", frames[CAMERA].combine_chunks())
    path = write(tmp_path / "toy.lance", in_structures(both))
    with pytest.raises(TrainingError, match=r"cameras are: .*; choose one with --camera"):
        read(find([path])[0], OPTIONS)
    store = imported(path, tmp_path / "back", "--camera", "wrist_rgb")
    assert store.info.camera == "wrist_rgb"
    assert imported(path, tmp_path / "b2", "--camera", "front").info.camera == "front"


# Versions, shards, and imports that go on
# ---------------------------------------------------------------------------------------


@pytest.fixture
def grown(tmp_path: Path, frames: Any) -> Path:
    """Return a table that has four episodes in version 1, and five in version 2."""
    table = in_structures(frames)
    path = write(tmp_path / "toy.lance", table)
    more = frames.slice(0, 4).set_column(
        frames.column_names.index("episode_index"),
        "episode_index",
        pyarrow.array([9] * 4),
    )
    return write(path, in_structures(more), mode="append")


def test_the_version_read_is_named_in_audit_card_and_episodes(
    tmp_path: Path, grown: Path
) -> None:
    store = imported(grown, tmp_path / "new")
    assert len(store) == 5
    audit = json.loads((tmp_path / "new/audit.json").read_text())
    assert audit["records"][4]["record"] == "toy@2/000009"
    assert store.info.sources[0]["name"] == "toy.lance@2"
    assert {entry.source for entry in store.entries} == {"toy@2"}


def test_an_older_version_can_be_read(tmp_path: Path, grown: Path) -> None:
    store = imported(Path(f"{grown}@1"), tmp_path / "old")
    assert len(store) == 4
    assert store.info.sources[0]["name"] == "toy.lance@1"


def test_unknown_version_is_refused_with_those_there_are(grown: Path) -> None:
    with pytest.raises(TrainingError, match=r"has no version 7; there are: 1, 2$"):
        find([Path(f"{grown}@7")])


def test_stopped_import_goes_on_with_the_version_it_began_with(
    tmp_path: Path,
    frames: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write(tmp_path / "toy.lance", in_structures(frames))
    whole = imported(path, tmp_path / "whole" / "store")
    monkeypatch.setattr(
        "ptr_training.importers.lance.reader.outcome", stop_at(3, lambda _: "failure")
    )
    command = ["import", "lance", path, "--out", tmp_path / "store", *CHOSEN]
    monkeypatch.setattr("ptr_training.importers.formats.RECORDS_PER_JOB", 1)
    assert ptr(*command) == 130
    monkeypatch.undo()
    write(path, in_structures(frames.slice(0, 4)), mode="append")
    assert ptr(*command) == 2
    assert "toy@1/000000, now it is toy@2/000000" in capsys.readouterr().err
    assert ptr(*command[:2], f"{path}@1", *command[3:]) == 0
    store = EpisodeStore.open(tmp_path / "store")
    assert [entry.outcome for entry in store.entries[:2]] == ["failure"] * 2  # as kept
    assert np.array_equal(store.steps["proprio"], whole.steps["proprio"])


def stop_at(call: int, answer: Callable[[Any], str]) -> Callable[[Any], str]:
    """Return a function that a person interrupts at its n-th call."""
    calls = []

    def stopped(given: Any) -> str:
        calls.append(given)
        if len(calls) == call:
            raise KeyboardInterrupt
        return answer(given)

    return stopped


def test_shards_give_the_store_of_one_piece(tmp_path: Path, grown: Path) -> None:
    command = ["import", "lance", grown, *CHOSEN, "--out"]
    assert ptr(*command, tmp_path / "one" / "store") == 0
    apart = tmp_path / "apart" / "store"
    for index in (1, 0):
        assert ptr(*command, apart, "--shard", f"{index}/2", "--workers", 1) == 0
    assert ptr("merge", apart) == 0
    assert folder_contents(apart) == folder_contents(tmp_path / "one" / "store")


def test_shards_of_two_versions_are_refused(
    tmp_path: Path, grown: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "store"
    for index, source in enumerate([f"{grown}@1", grown]):
        command = ["import", "lance", source, *CHOSEN, "--out", out]
        assert ptr(*command, "--shard", f"{index}/2") == 0
    assert ptr("merge", out) == 2
    assert "different imports: their sources differ" in capsys.readouterr().err


def test_workers_read_what_one_process_reads(tmp_path: Path, grown: Path) -> None:
    one = imported(grown, tmp_path / "one" / "store", "--workers", 1)
    two = imported(grown, tmp_path / "two" / "store", "--workers", 2)
    assert folder_contents(one.path) == folder_contents(two.path)

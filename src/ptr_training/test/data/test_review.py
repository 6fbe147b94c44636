"""`ptr review`: effect of marks on every reader, taking them back, and refusals."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ptr_common import cli
from ptr_training.data.episode import EpisodeWriter, StoreError
from ptr_training.data.normalization import split_episodes
from ptr_training.data.replay import Replay
from ptr_training.data.review import main, read_table
from ptr_training.data.store import EpisodeStore
from ptr_training.data.task_ids import TaskIds
from ptr_training.data.transitions import Transitions
from ptr_training.errors import TrainingError
from ptr_training.training.train import pretrain

REASON = ("--reason", "the operator waited")


@pytest.fixture
def store(make_store) -> Path:
    """A store of the episodes a-0, b-1, a-2, b-3, a-4, b-5 of 8 steps each."""
    return make_store("s")


def mark(store: Path, *arguments: str) -> None:
    main([str(store), *arguments])


def contents(store: Path) -> dict[str, str]:
    """Return the digests of all files but the marks."""
    files = [file for file in sorted(store.iterdir()) if file.name != "review.yaml"]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def marks(store: Path) -> list[dict[str, Any]]:
    return yaml.safe_load((store / "review.yaml").read_text(encoding="utf-8"))["marks"]


def transitions(store: Path) -> Transitions:
    return Transitions(EpisodeStore.open(store), TaskIds.for_tasks(["a", "b"], 0))


def test_bad_episode_is_never_learnt_from(store: Path) -> None:
    raw = EpisodeStore.open(store)
    mark(store, "--bad", "b-1", "a-4", *REASON)
    view = EpisodeStore.open(store)
    assert (
        [entry.id for entry in view.entries]
        == [episode.id for episode in view]
        == ["a-0", "a-2", "b-3", "b-5"]
    )
    left_out = {
        row
        for index in (1, 4)
        for row in range(raw.entries[index].start, raw.entries[index].start + 9)
    }
    assert not left_out & set(transitions(store).rows.tolist())
    assert not left_out & set(view.rows.tolist())
    assert set(split_episodes(view, 1, seed=0)[0] + split_episodes(view, 1, seed=0)[1]) == {
        0,
        1,
        2,
        3,
    }
    assert view.steps["is_last"][
        sorted(left_out)
    ].all()  # statistics over all rows with an action leave them out too
    assert not view.actions[sorted(left_out)].any()


def test_trimmed_episode_is_rewarded_on_its_new_last_steps(store: Path) -> None:
    raw = EpisodeStore.open(store)
    mark(store, "--trim", "b-1", "2:7", *REASON)
    view = EpisodeStore.open(store)
    entry = view.entries[1]
    assert (entry.id, entry.start, entry.length) == ("b-1", raw.entries[1].start + 2, 5)
    np.testing.assert_array_equal(view.episode(1).frames, raw.episode(1).frames[2:8])
    np.testing.assert_array_equal(view.episode(1).requested, raw.episode(1).requested[2:7])
    replay = Replay([transitions(store)], [], mix=1.0, batch_size=1, seed=0)
    batch = replay.gather(np.zeros(5, int), np.arange(8, 13))
    assert batch.rewards.tolist() == [0, 0, 1, 1, 1]
    np.testing.assert_array_equal(batch.next_images, raw.episode(1).frames[3:8])
    assert view.steps["is_last"][entry.start : entry.start + 6].tolist() == [False] * 5 + [
        True
    ]
    for other in (0, 2, 5):
        np.testing.assert_array_equal(
            view.episode(other).proprio, raw.episode(other).proprio
        )
        rows = slice(raw.entries[other].start, raw.entries[other].start + 9)
        np.testing.assert_array_equal(view.steps[rows], raw.steps[rows])


def test_trimmed_failure_earns_nothing(tmp_path: Path, make_store) -> None:
    first = EpisodeStore.open(make_store("s"))
    with EpisodeWriter(tmp_path / "failed", first.info) as writer:
        writer.add(replace(first.episode(0), outcome="failure"))
    mark(tmp_path / "failed", "--trim", "a-0", "0:4", *REASON)
    assert not EpisodeStore.open(tmp_path / "failed").steps["reward"].any()


def test_clear_restores_the_store_bit_for_bit(store: Path) -> None:
    before, files = EpisodeStore.open(store), contents(store)
    mark(store, "--bad", "a-0", *REASON)
    mark(store, "--trim", "b-1", "1:5", *REASON)
    mark(store, "--clear", "a-0", "b-1")
    after = EpisodeStore.open(store)
    assert after.entries == before.entries
    assert after.steps.tobytes() == before.steps.tobytes()
    assert after.fingerprint == before.fingerprint
    assert contents(store) == files


def test_store_as_written_ignores_the_marks(store: Path) -> None:
    before = EpisodeStore.open(store)
    mark(store, "--bad", "a-0", *REASON)
    raw = EpisodeStore.open(store, reviewed=False)
    assert (raw.entries, raw.fingerprint) == (before.entries, before.fingerprint)
    assert raw.steps.tobytes() == before.steps.tobytes()
    EpisodeStore.open(store).check_pixels()


def test_fingerprint_follows_what_is_kept(store: Path) -> None:
    seen = [EpisodeStore.open(store).fingerprint]
    for arguments in (
        ("--bad", "a-0"),
        ("--trim", "b-1", "1:5"),
        ("--trim", "b-1", "1:6"),
        ("--trim", "b-1", "0:8"),
    ):
        mark(store, *arguments, *REASON)
        seen.append(EpisodeStore.open(store).fingerprint)
    assert len(set(seen[:4])) == 4
    assert seen[4] == seen[1]  # trimmed to all of it
    mark(store, "--good", "b-1", "b-3")
    mark(store, "--bad", "a-0", "--reason", "another reason")
    assert EpisodeStore.open(store).fingerprint == seen[1]


def test_run_refuses_to_resume_with_reviewed_data(
    store: Path, tmp_path: Path, preset: str
) -> None:
    arguments = ["--config", preset, "--data", str(store), "--out", str(tmp_path / "run")]
    pretrain([*arguments, "--steps", "1"])
    mark(store, "--bad", "a-0", *REASON)
    with pytest.raises(TrainingError, match=r"cannot resume: data\.prior\.0\.sha256"):
        pretrain([*arguments, "--resume"])


def test_mark_says_who_when_and_why_and_the_older_ones_are_kept(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "maria")
    mark(store, "--bad", "a-0", "--reason", "Kamera verrückt: «grün»")
    mark(store, "--good", "a-0")
    first, second = marks(store)
    assert (first["id"], first["verdict"], first["reason"], first["by"]) == (
        "a-0",
        "bad",
        "Kamera verrückt: «grün»",
        "maria",
    )
    assert first["at"].endswith("+00:00")
    assert second["verdict"] == "good"
    assert len(EpisodeStore.open(store)) == 6


def test_same_mark_again_adds_nothing(store: Path) -> None:
    mark(store, "--bad", "a-0", *REASON)
    before = (store / "review.yaml").read_bytes()
    mark(store, "--bad", "a-0", *REASON)
    mark(store, "--clear", "b-1")
    assert (store / "review.yaml").read_bytes() == before


def test_list_shows_the_marks_that_count(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark(store, "--bad", "a-0", "b-1", *REASON)
    mark(store, "--trim", "b-1", "1:5", *REASON)
    capsys.readouterr()
    mark(store)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["episode", "verdict", "time", "(UTC)", "by", "reason"]
    assert [line.split()[:2] for line in lines[1:3]] == [["a-0", "bad"], ["b-1", "trim"]]
    assert (
        "5 of 6 episodes and 36 of 48 steps are kept; marked: 0 good, 1 bad, 1 trimmed"
        in lines[-1]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--bad", "a-1", *REASON), "no episode 'a-1'; near are: .*'a-[024]'"),
        (
            ("--bad", "a-0", "zzz", *REASON),
            "no episode 'zzz'; near are: 'a-0', 'b-1', 'a-2'",
        ),
        (
            ("--trim", "a-0", "3:9", *REASON),
            "a-0 cannot be trimmed to 3:9; allowed is FIRST:LAST within 0:8",
        ),
        (("--trim", "a-0", "4:4", *REASON), "a-0 cannot be trimmed to 4:4"),
        (
            ("--trim", "a-0", "1.5:4", *REASON),
            r"trim of a-0 is '1\.5:4'; it must be FIRST:LAST",
        ),
        (("--trim", "a-0", "all", *REASON), "trim of a-0 is 'all'; it must be FIRST:LAST"),
        (("--bad", "a-0"), "bad on episode a-0 lacks a reason"),
        (("--trim", "a-0", "1:5"), "trim 1:5 on episode a-0 lacks a reason"),
        (
            ("--good", "a-0", "--bad", "a-0", *REASON),
            "a-0 is to be marked good and bad at once",
        ),
    ],
)
def test_mark_that_does_not_fit_is_refused_and_none_is_made(
    store: Path, arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        mark(store, *arguments)
    assert not (store / "review.yaml").exists()


def write_table(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding)
    return path


def test_table_filled_in_by_hand_is_taken(store: Path, tmp_path: Path) -> None:
    mark(store, "--bad", "b-5", *REASON)
    text = (
        "id;task;verdict;reason\na-0;a;Bad;dark\n"
        'b-1;b;trim 1:5;"late; slow"\na-2;a;;\nb-3;b;good;\nb-5;b;clear;\n'
    )
    mark(
        store,
        "--from",
        str(write_table(tmp_path / "t.csv", text.replace("\n", "\r\n"), "utf-8-sig")),
    )
    view = EpisodeStore.open(store)
    assert [(entry.id, entry.length) for entry in view.entries] == [
        ("b-1", 4),
        ("a-2", 8),
        ("b-3", 8),
        ("a-4", 8),
        ("b-5", 8),
    ]
    assert [(line["id"], line.get("reason")) for line in marks(store)[1:3]] == [
        ("a-0", "dark"),
        ("b-1", "late; slow"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,task\na-0,a\n", "t.csv has no column verdict"),
        ("", "t.csv has no column id and verdict"),
        (
            "id,verdict,reason\na-0,good,\nb-1,trim 3,x\n",
            r"t\.csv, line 3: trim of b-1 is '3'",
        ),
        (
            "id,verdict,reason\na-0,remove,x\n",
            r"t\.csv: verdict on episode a-0 is 'remove'; allowed: good, bad, trim",
        ),
        ("id,verdict,reason\na-9,good,\n", r"t\.csv: the store has no episode 'a-9'"),
        ("id,verdict\na-0,bad\n", r"t\.csv: bad on episode a-0 lacks a reason"),
        (
            "id,verdict\na-0,good\na-0,good\n",
            r"t\.csv: episode a-0 is to be marked good and good at once",
        ),
    ],
)
def test_wrong_table_is_refused_and_no_mark_is_made(
    store: Path, tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        mark(store, "--from", str(write_table(tmp_path / "t.csv", text)))
    assert not (store / "review.yaml").exists()


def test_table_that_is_no_csv_and_endless_numbers_are_refused(
    store: Path, tmp_path: Path
) -> None:
    cell = "x" * 200_000
    with pytest.raises(StoreError, match=r"t\.csv cannot be read \(field larger"):
        read_table(write_table(tmp_path / "t.csv", f"id,verdict\na-0,{cell}\n"))
    with pytest.raises(StoreError, match=r"trim of a-0 is '9+.*'; it must be FIRST:LAST"):
        mark(store, "--trim", "a-0", "9" * 5000 + ":3", *REASON)
    with pytest.raises(StoreError, match="cannot be read"):
        read_table(tmp_path)


def test_table_in_another_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="CSV file in UTF-8"):
        read_table(
            write_table(tmp_path / "t.csv", "id,verdict,reason\na-0,bad,grün\n", "cp1252")
        )
    with pytest.raises(StoreError, match=r"none\.csv cannot be read"):
        read_table(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "format_version is None, this version reads 1"),
        ("format_version: 2\nmarks: []\n", "format_version is 2, this version reads 1"),
        ("format_version: 1\n", "is damaged .'marks'."),
        (
            "format_version: 1\nmarks: [{id: a-0, verdict: bad, colour: red}]\n",
            "is damaged .*colour",
        ),
        ("format_version: 1\nmarks: [{id: zz, verdict: bad}]\n", "no episode 'zz'"),
        ("format_version: 1\nmarks: [{id: 7, verdict: bad}]\n", "no episode 7"),
        (
            "format_version: 1\nmarks: [{id: a-0, verdict: awful}]\n",
            "'awful'; allowed: good, bad, trim, clear",
        ),
        (
            "format_version: 1\nmarks: [{id: a-0, verdict: trim}]\n",
            "cannot be trimmed to None:None",
        ),
        (
            "format_version: 1\nmarks: [{id: a-0, verdict: trim, first: 3, last: 20}]\n",
            "within 0:8",
        ),
        (
            "format_version: 1\nmarks: [{id: a-0, verdict: bad, at: 2026-01-02}]\n",
            "at of the mark on a-0 is not text",
        ),
        ("format_version: 1\nmarks: [\n", "cannot be read"),
    ],
)
def test_damaged_marks_are_named_and_the_store_is_not_opened(
    store: Path, text: str, message: str
) -> None:
    (store / "review.yaml").write_text(text)
    with pytest.raises(StoreError, match=rf"review\.yaml.*{message}"):
        EpisodeStore.open(store)
    with pytest.raises(StoreError, match=r"review\.yaml"):
        mark(store, "--good", "a-0")
    assert len(EpisodeStore.open(store, reviewed=False)) == 6
    assert (store / "review.yaml").read_text() == text


def test_bad_mark_with_a_range_leaves_the_whole_episode_out(store: Path) -> None:
    text = "format_version: 1\nmarks: [{id: a-0, verdict: bad, first: 1, last: 4}]\n"
    (store / "review.yaml").write_text(text)
    assert "a-0" not in {entry.id for entry in EpisodeStore.open(store).entries}


def test_store_of_bad_episodes_only_is_not_opened_until_one_is_cleared(store: Path) -> None:
    everything = [entry.id for entry in EpisodeStore.open(store).entries]
    mark(store, "--bad", *everything, *REASON)
    with pytest.raises(StoreError, match=r"review\.yaml marks all 6 episodes as bad"):
        EpisodeStore.open(store)
    mark(store, "--clear", "a-2")
    assert [entry.id for entry in EpisodeStore.open(store).entries] == ["a-2"]


def test_full_disk_leaves_the_older_marks(
    store: Path,
    full_disk: Callable[[], contextlib.AbstractContextManager[None]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    mark(store, "--bad", "a-0", *REASON)
    before = (store / "review.yaml").read_bytes()
    with full_disk():
        assert (
            cli.main(["review", str(store), "--bad", "b-1", "--reason", "long " * 2000])
            == 2
        )
    assert "review.yaml cannot be written" in capsys.readouterr().err
    assert (store / "review.yaml").read_bytes() == before
    assert not list(store.glob(".*"))


def test_read_only_store_is_refused(store: Path) -> None:
    store.chmod(0o555)
    if os.access(store, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(
        StoreError, match=r"review\.yaml cannot be written .* review a copy"
    ):
        mark(store, "--good", "a-0")

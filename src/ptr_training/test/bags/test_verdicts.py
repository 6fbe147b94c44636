"""Verdicts that came after a bag was closed: read from tables and lines, and given to episodes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_bags import FAILURE, READ, STOP, SUCCESS, Script, write

from ptr_training.bags.episodes_from_bag import read_episodes
from ptr_training.bags.errors import BagError
from ptr_training.bags.export import main
from ptr_training.bags.verdicts import read_verdicts
from ptr_training.data.store import EpisodeStore

SECOND = 10**9


def table_of(folder: Path, *rows: str) -> Path:
    """Write a table of results: bag, success, aborted."""
    file = folder / "results.csv"
    file.write_text("\n".join(["bag,success,aborted", *rows]) + "\n")
    return file


def lines_of(folder: Path, *said: object) -> Path:
    """Write a file of JSON lines."""
    file = folder / "verdicts.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in said))
    return file


def test_rows_that_count_are_verdicts_on_their_bags(tmp_path: Path) -> None:
    file = table_of(
        tmp_path,
        "bags/t_0_1,True,False",
        "/else/t_1_1,False,False",
        "t_2,True,True",
        ",True,False",
    )
    assert read_verdicts(file) == {"t_0_1": "success", "t_1_1": "failure"}


def test_of_two_lines_the_last_counts(tmp_path: Path) -> None:
    file = lines_of(
        tmp_path,
        {"episode": "a", "verdict": "success", "at": "…"},
        {"episode": "b", "verdict": "discarded"},
        {"episode": "a", "verdict": "failure"},
    )
    assert read_verdicts(file) == {"a": "failure", "b": "discarded"}


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("results.csv", "bag,success\n", "has no column aborted"),
        ("results.csv", "bag,success,aborted\nb,yes,False\n", "line 2: success .* 'yes'"),
        ("verdicts.jsonl", "{}\n", "line 1: episode and verdict are None and None"),
        ("verdicts.jsonl", '{"episode": "a", "verdict": "good"}\n', "'good'; allowed are"),
        ("verdicts.jsonl", '["a"]\n', "line 1"),
        ("verdicts.jsonl", "so so\n", "line 1 is no JSON"),
    ],
)
def test_other_files_are_refused(
    tmp_path: Path, name: str, text: str, complaint: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BagError, match=complaint):
        read_verdicts(tmp_path / name)
    with pytest.raises(BagError, match="cannot be read"):
        read_verdicts(tmp_path / "nowhere.csv")


def test_an_episode_without_a_verdict_gets_the_one_that_came_later(
    tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    script.episode(10 * SECOND, steps=4, name="a", end=STOP)
    script.episode(20 * SECOND, steps=5, name="b", end=STOP)
    script.episode(30 * SECOND, steps=6, name="c", end=STOP)
    script.episode(40 * SECOND, steps=3, name="d", end=FAILURE)
    bag = write(tmp_path / "bag", script)
    said = [("a", "success"), ("b", "failure"), ("c", "discarded"), ("d", "failure")]
    lines = [{"episode": name, "verdict": verdict} for name, verdict in said]
    file = lines_of(tmp_path, *lines)
    out = tmp_path / "store"
    assert main([str(bag), "--out", str(out), "--verdicts", str(file)]) == 0
    assert "(2 failure, 1 success)" in (shown := capsys.readouterr().out)
    assert "3 judged by --verdicts" in shown
    store = EpisodeStore.open(out)
    assert [(e.id, e.outcome) for e in store.entries] == [
        ("a", "success"),
        ("b", "failure"),
        ("d", "failure"),
    ]
    assert store.steps["reward"].sum() == 3  # on the last three steps of the success
    (audit,) = json.loads((out / "audit.json").read_text())["bags"]
    assert [entry.get("judged") for entry in audit["episodes"]] == ["later"] * 3 + [None]


def test_a_verdict_against_that_of_the_bag_is_refused(
    tmp_path: Path, script: Script
) -> None:
    script.episode(10 * SECOND, steps=4, name="a", end=SUCCESS)
    bag = write(tmp_path / "bag", script)
    with pytest.raises(BagError, match="a is success by its bag and failure by --verdicts"):
        read_episodes(bag, replace(READ, verdicts={"a": "failure"}))


def test_a_file_about_other_bags_is_told(
    tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    script.episode(10 * SECOND, steps=4, name="a", end=STOP)
    bag = write(tmp_path / "bag", script)
    file = table_of(tmp_path, "bags/z,True,False")
    assert main([str(bag), "--out", str(tmp_path / "s"), "--verdicts", str(file)]) == 0
    assert "none of the 1 verdicts" in capsys.readouterr().out

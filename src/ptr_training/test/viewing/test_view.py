"""`ptr view`: what it takes, what it refuses; the file as Rerun's own reader reads it."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from moving_episodes import make_episode, write
from scripted_bags import MS, START, Script
from scripted_bags import write as write_bag

from ptr_common.errors import PtrError
from ptr_training.viewing.rerun_file import PAUSE, write_rerun
from ptr_training.viewing.timeline import ViewError, of_episode
from ptr_training.viewing.view import main, open_timelines


def chunks_of(file: Path, entity: str) -> list[dict[str, Any]]:
    """Return the columns of an entity in a Rerun file, a dictionary for each chunk."""
    chunk = pytest.importorskip("rerun.chunk", reason="rerun-sdk is not installed")
    found = []
    for part in chunk.RrdReader(file).store().stream().to_chunks():
        if part.entity_path == entity:
            found.append(part.to_record_batch().to_pydict())
    return found


def seconds(values: list[Any]) -> list[float]:
    """Return durations in seconds."""
    return [value.total_seconds() for value in values]


def results(folder: Path, *bags: str) -> None:
    """Write the results of an evaluation."""
    with (folder / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "rollout", "reason", "bag"])
        writer.writerows(["ptr", number, "solved", bag] for number, bag in enumerate(bags))


def test_the_file_holds_images_commands_values_and_events(tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    first, second = make_episode("a", 1, 3), make_episode("b", 2, 4)
    q = np.array([[0.1, 0.2], [np.nan, np.nan], [0.5, 0.6]])
    file = tmp_path / "new" / "two.rrd"
    timelines = [of_episode(first, "front", q), of_episode(second, "front")]
    assert write_rerun(file, timelines) == 2

    (values,) = chunks_of(file, "/q/Q2")
    assert values["Scalars:scalars"] == [[0.2], [0.6]]  # what is not finite is left out
    assert seconds(values["time"]) == pytest.approx([0.0, 0.4])
    requested = chunks_of(file, "/translation/dx_requested")
    np.testing.assert_allclose(
        np.concatenate([np.ravel(part["Scalars:scalars"]) for part in requested]),
        np.concatenate([first.requested[:, 0], second.requested[:, 0]]),
    )
    assert seconds(requested[1]["time"])[0] == pytest.approx(0.6 + PAUSE)
    images = chunks_of(file, "/camera/front")
    assert sum(len(part["time"]) for part in images) == 4 + 5
    texts = [
        text for part in chunks_of(file, "/events") for (text,) in part["TextLog:text"]
    ]
    assert texts == ["a: put a in b: success", "b: put a in b: success"]


def test_the_file_has_a_blueprint(tmp_path: Path) -> None:
    chunk = pytest.importorskip("rerun.chunk", reason="rerun-sdk is not installed")
    write_rerun(tmp_path / "a.rrd", [of_episode(make_episode("a", 1, 3), "front")])
    reader = chunk.RrdReader(tmp_path / "a.rrd")
    assert (len(reader.recordings()), len(reader.blueprints())) == (1, 1)


def test_nothing_is_half_written(tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")

    def timelines() -> Any:
        yield of_episode(make_episode("a", 1, 3), "front")
        raise PtrError("the second is damaged")

    with pytest.raises(PtrError, match="damaged"):
        write_rerun(tmp_path / "a.rrd", timelines())
    with pytest.raises(ViewError, match="no episode"):
        write_rerun(tmp_path / "a.rrd", [])
    assert not list(tmp_path.iterdir())


def test_without_rerun_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ViewError, match=r"pip install -r requirements/optional/rerun\.txt"):
        main([str(tmp_path)])


def test_a_store_is_shown_as_far_as_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    write(tmp_path / "data", *(make_episode(name, k, 3) for k, name in enumerate("abc")))
    assert main([str(tmp_path / "data"), "--episodes", "2"]) == 0
    assert (tmp_path / "data.rrd").is_file()
    assert "2 episodes, of 3 (--episodes 3: all)" in capsys.readouterr().out
    with pytest.raises(ViewError, match=r"ends in \.rrd"):
        main([str(tmp_path / "data"), "--out", str(tmp_path / "a.mp4")])
    with pytest.raises(ViewError, match="is inside"):
        main([str(tmp_path / "data"), "--out", str(tmp_path / "data" / "a.rrd")])


def test_an_evaluation_shows_its_bags_by_method_and_scene(
    script: Script, tmp_path: Path
) -> None:
    script.event(START, 1000 * MS)
    script.episode(1000 * MS, 2)
    (tmp_path / "bags").mkdir()
    write_bag(tmp_path / "bags" / "x", script)
    results(tmp_path, "bags/x", "")
    count, timelines = open_timelines(tmp_path)
    (timeline,) = timelines
    assert (count, timeline.title, timeline.outcome) == (1, "ptr, scene 0", "solved")
    results(tmp_path, "../elsewhere")
    with pytest.raises(ViewError, match="outside of"):
        list(open_timelines(tmp_path)[1])


def test_an_evaluation_without_bags_shows_the_episodes_that_were_kept(
    tmp_path: Path,
) -> None:
    results(tmp_path, "")
    with pytest.raises(ViewError, match="--keep-episodes"):
        open_timelines(tmp_path)
    (tmp_path / "episodes").mkdir()
    write(tmp_path / "episodes" / "ptr", make_episode("e1", 1, 3))
    count, timelines = open_timelines(tmp_path)
    assert (count, [timeline.title for timeline in timelines]) == (1, ["ptr: e1"])


def test_what_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ViewError, match="does not exist"):
        open_timelines(tmp_path / "missing")
    with pytest.raises(PtrError):
        open_timelines(tmp_path)

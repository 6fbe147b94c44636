"""`ptr inspect`: what it writes, where, and that the store stays as it is."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from urllib.parse import unquote

import cv2
import pytest
from moving_episodes import CARD, make_episode, write

from ptr_common import cli
from ptr_common.errors import PtrError
from ptr_training.data.episode import EpisodeWriter, StoreError
from ptr_training.data.review import main as review
from ptr_training.data.store import EpisodeStore
from ptr_training.inspection.episode_metrics import EpisodeMetrics, measure
from ptr_training.inspection.flags import FLAGS
from ptr_training.inspection.inspect import inspect_store, main
from ptr_training.inspection.plots import (
    EPISODES_PER_SHEET,
    FRAME_HEIGHT,
    MARGIN,
    TEXT_HEIGHT,
    draw_sheets,
)


@dataclass(frozen=True)
class Inspected:
    """A store, what was in it before it was inspected, what came out and what was printed."""

    store: Path
    before: dict[str, tuple[int, bytes]]
    out: Path
    text: str


def make_store(path: Path, episodes: int = 6) -> Path:
    """Write a store with odd names, whose last episode is a copy of the third."""
    made = [make_episode(f"e{k}", k) for k in range(episodes)]
    copy = replace(made[2], id="copy", task="cost $5 <b>& $6</b>", outcome="failure")
    with EpisodeWriter(path, replace(CARD, name="<odd> & co")) as writer:
        for episode in [*made, copy]:
            writer.add(episode)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / "a store")


@pytest.fixture(scope="module")
def inspected(tmp_path_factory: pytest.TempPathFactory) -> Inspected:
    store = make_store(tmp_path_factory.mktemp("module") / "a store")
    before = snapshot(store)
    with contextlib.redirect_stdout(io.StringIO()) as text:
        main([str(store)])
    return Inspected(store, before, store.with_name("a store-inspection"), text.getvalue())


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.iterdir()
    }


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "episodes.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def test_everything_is_written_beside_the_store_and_nothing_into_it(
    inspected: Inspected,
) -> None:
    assert snapshot(inspected.store) == inspected.before
    names = {
        "inspection.json",
        "episodes.csv",
        "actions.png",
        "episodes.png",
        "contact_sheet_1.png",
        "index.html",
        "films",
    }
    pytest.importorskip("av", reason="PyAV is not installed")
    assert {file.name for file in inspected.out.iterdir()} == names


def test_films_of_the_episodes_most_worth_a_look_are_linked(
    inspected: Inspected, store: Path, tmp_path: Path
) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    page = (inspected.out / "index.html").read_text()
    links = re.findall(r'href="(films/[^"]*)"', page)
    assert len(links) == 7
    assert all((inspected.out / link).is_file() for link in links)
    inspect_store(store, tmp_path / "two", 1, films=2)
    names = sorted(file.name for file in (tmp_path / "two" / "films").glob("*.mp4"))
    assert names == ["episode_2.mp4", "episode_6.mp4"]  # the copies


def test_films_can_be_switched_off(store: Path, tmp_path: Path) -> None:
    main([str(store), "--out", str(tmp_path / "out"), "--films", "0", "--sheets", "0"])
    assert not (tmp_path / "out" / "films").exists()
    assert "<h2>Films" not in (tmp_path / "out" / "index.html").read_text()
    with pytest.raises(StoreError, match="--films is -1; it must be 0 or more"):
        main([str(store), "--films", "-1"])


def test_without_pyav_all_but_the_films_is_written(
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    main([str(store), "--out", str(tmp_path / "out")])
    assert "no films: mp4 videos need PyAV" in capsys.readouterr().err
    assert (tmp_path / "out" / "index.html").is_file()


def test_terminal_shows_tasks_flags_and_the_next_command(inspected: Inspected) -> None:
    assert re.search(r"^duplicate +2 ", inspected.text, re.MULTILINE)
    assert re.search(r"^cost \$5 <b>& \$6</b> +1 +24 +1 +0", inspected.text, re.MULTILINE)
    assert (
        f"ptr review '{inspected.store}' --from '{inspected.out}/episodes.csv'"
        in inspected.text
    )


def test_table_has_a_row_per_episode_with_every_measure(inspected: Inspected) -> None:
    rows = rows_of(inspected.out)
    assert [row["id"] for row in rows] == ["e0", "e1", "e2", "e3", "e4", "e5", "copy"]
    assert set(rows[0]) == {each.name for each in fields(EpisodeMetrics)} | {
        "flags",
        "verdict",
        "reason",
    }
    assert (rows[6]["shared_with"], float(rows[6]["shared"]), rows[6]["steps"]) == (
        "e2",
        1.0,
        "24",
    )
    assert [row["flags"] for row in rows] == [
        "",
        "",
        "duplicate; same actions",
        "",
        "",
        "",
        "duplicate; same actions",
    ]


def test_json_holds_card_tasks_actions_and_flags(inspected: Inspected) -> None:
    found = json.loads(
        (inspected.out / "inspection.json").read_text(), parse_constant=refuse_constant
    )
    assert found["card"]["name"] == "<odd> & co"
    assert found["card_sha256"] == EpisodeStore.open(inspected.store).fingerprint
    assert found["pixels_intact"] is True
    assert (found["episodes"], found["steps"]) == (7, 7 * 24)
    assert found["tasks"]["put a in b"] == {
        "episodes": 6,
        "steps": 144,
        "failure": 0,
        "success": 6,
        "flagged": 1,
    }
    assert list(found["flags"]) == [flag.name for flag in FLAGS]
    assert found["flags"]["duplicate"]["episodes"] == ["e2", "copy"]
    assert found["actions"][0]["correlation"][0] == pytest.approx(1.0, abs=1e-3)


def test_page_shows_every_picture_and_escapes_what_comes_from_the_data(
    inspected: Inspected,
) -> None:
    page = (inspected.out / "index.html").read_text(encoding="utf-8")
    links = {unquote(link) for link in re.findall(r'(?:href|src)="([^"]+)"', page)}
    beside = {file.name for file in inspected.out.iterdir() if file.is_file()}
    assert beside - links == {"index.html"}
    assert all((inspected.out / link).is_file() for link in links)
    assert "cost $5 &lt;b&gt;&amp; $6&lt;/b&gt;" in page
    assert "<b>" not in page
    assert "<script" not in page


@pytest.mark.parametrize(("sheets", "sizes"), [(0, []), (1, [12]), (9, [12, 3])])
def test_contact_sheets_are_paged_and_limited(
    tmp_path: Path, sheets: int, sizes: list[int]
) -> None:
    assert EPISODES_PER_SHEET == 12
    store = EpisodeStore.open(make_store(tmp_path / "many", 14), reviewed=False)
    names = draw_sheets(tmp_path, store, measure(store)[0], {}, range(15), sheets)
    row = TEXT_HEIGHT + FRAME_HEIGHT + MARGIN
    assert [cv2.imread(str(tmp_path / name)).shape[0] for name in names] == [
        size * row + MARGIN for size in sizes
    ]


def test_contact_sheet_begins_with_flagged_episodes_and_shows_their_frames(
    inspected: Inspected,
) -> None:
    page = cv2.imread(str(inspected.out / "contact_sheet_1.png"))[..., ::-1]
    width = round(FRAME_HEIGHT * CARD.image_width / CARD.image_height)
    top, left = MARGIN + TEXT_HEIGHT, 2 * MARGIN + 7 * (width + 2)
    frame = EpisodeStore.open(inspected.store).episode(2).frames[-1]
    wanted = cv2.resize(frame, (width, FRAME_HEIGHT), interpolation=cv2.INTER_CUBIC)
    shown = page[top : top + FRAME_HEIGHT, left : left + width]
    assert (
        abs(shown[30:].astype(int) - wanted[30:]).max() <= 1
    )  # the step's number stands above


def test_marks_are_shown_and_the_table_can_go_back_to_review(
    store: Path, tmp_path: Path
) -> None:
    review([str(store), "--bad", "copy", "--reason", "a copy"])
    review([str(store), "--trim", "e1", "5:16", "--reason", "late"])
    before = snapshot(store)
    main([str(store), "--out", str(tmp_path / "out")])
    rows = {row["id"]: row for row in rows_of(tmp_path / "out")}
    assert (rows["copy"]["verdict"], rows["e1"]["verdict"], rows["e0"]["verdict"]) == (
        "bad",
        "trim 5:16",
        "",
    )
    assert rows["e1"]["steps"] == "24"  # as written
    found = json.loads((tmp_path / "out" / "inspection.json").read_text())
    assert found["marks"]["copy"] == {"verdict": "bad", "reason": "a copy"}
    review([str(store), "--from", str(tmp_path / "out" / "episodes.csv")])
    assert snapshot(store) == before


def test_smallest_store_is_shown_from_within_even_if_all_of_it_is_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write(tmp_path / "s", make_episode("e", 0, 1)).path
    review([str(store), "--bad", "e", "--reason", "dark"])
    monkeypatch.chdir(store)
    main([".", "--sheets", "0"])
    out = tmp_path / "s-inspection"
    found = json.loads(
        (out / "inspection.json").read_text(), parse_constant=refuse_constant
    )
    assert found["actions"][0]["correlation"] == [None] * 4  # there is no NaN in JSON
    assert (rows_of(out)[0]["verdict"], rows_of(out)[0]["agreement"]) == ("bad", "")


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("taken", "exists already"),
        ("a store/report", "is inside the store"),
        ("a store", "is inside"),
    ],
)
def test_wrong_place_is_refused(
    store: Path, tmp_path: Path, out: str, message: str
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "episodes.csv").write_text("filled in by hand")
    with pytest.raises(PtrError, match=message):
        main([str(store), "--out", str(tmp_path / out)])
    assert (tmp_path / "taken" / "episodes.csv").read_text() == "filled in by hand"


def test_what_cannot_be_inspected_leaves_nothing(
    store: Path,
    tmp_path: Path,
    full_disk: Callable[[], contextlib.AbstractContextManager[None]],
) -> None:
    before = set(tmp_path.iterdir())
    assert cli.main(["inspect", str(tmp_path)]) == 2
    assert cli.main(["inspect", "/"]) == 2
    assert cli.main(["inspect", str(store), "--sheets", "-1"]) == 2
    with full_disk():
        assert cli.main(["inspect", str(store)]) == 2
    assert set(tmp_path.iterdir()) == before

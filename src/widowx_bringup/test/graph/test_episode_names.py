"""Names of a person's episodes: date, task, number; safe, short, each of them once."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widowx_bringup.graph.episode_names import EpisodeNames, task_slug
from widowx_bringup.recording.bag_writer import bag_name_problem

TASK = "put the yellow cube on the white plate"
SERIES = "2026-11-27_put-the-yellow-cube-on-the-white-plate"


def names() -> EpisodeNames:
    return EpisodeNames(lambda: date(2026, 11, 27))


def numbers(made: list[str]) -> list[str]:
    return [name.split("_")[2] for name in made]


def test_a_name_has_date_task_and_number() -> None:
    name = names().next(TASK, None)
    assert name.startswith(f"{SERIES}_001_")
    assert len(name) == len(SERIES) + 9


def test_numbers_follow_those_of_the_same_day_and_task_in_the_folder(
    tmp_path: Path,
) -> None:
    hidden = f".{SERIES}_099_1234.partial"
    for other in (f"{SERIES}_002_00ff", f"{SERIES}_010_abcd", "first", hidden):
        (tmp_path / other).mkdir()
    (tmp_path / "2026-11-26_put-the-yellow-cube-on-the-white-plate_050_0000").mkdir()
    (tmp_path / "2026-11-27_put-the-yellow-cube_070_0000").mkdir()
    assert numbers([names().next(TASK, tmp_path)]) == ["011"]


def test_a_kept_episode_counts_before_its_bag_is_complete_and_a_discarded_one_does_not() -> (
    None
):
    session = names()
    made = [session.next(TASK, None)]
    made.append(session.next(TASK, None))  # the first was discarded
    session.keep(made[-1])
    made.append(session.next(TASK, None))
    assert numbers(made) == ["001", "001", "002"]
    assert len(set(made)) == 3


def test_a_folder_that_is_not_here_is_no_error(tmp_path: Path) -> None:
    assert numbers([names().next(TASK, tmp_path / "on the robot")]) == ["001"]


@pytest.mark.parametrize(
    ("task", "slug"),
    [
        ("Öffne die Tür!", "offne-die-tur"),
        ("../../etc/passwd", "etc-passwd"),
        ("把黄色方块放到白盘子上", "task"),
        ("", "task"),
    ],
)
def test_a_task_in_other_letters_becomes_a_safe_name(task: str, slug: str) -> None:
    assert task_slug(task) == slug


@given(st.text(max_size=200))
def test_every_task_gives_a_name_that_a_bag_may_have(task: str) -> None:
    name = names().next(task, None)
    assert len(name) <= 90
    assert not bag_name_problem(name)

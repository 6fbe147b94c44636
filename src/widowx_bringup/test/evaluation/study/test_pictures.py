"""Film strips of a study: the first scenes, whatever came of them, rows below each other."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from widowx_bringup.evaluation.film_strip import STRIP_HEIGHT, write_film_strip
from widowx_bringup.evaluation.study.commands import Study
from widowx_bringup.evaluation.study.pictures import CAPTION_HEIGHT, write_strips
from widowx_bringup.evaluation.study.plan import Row, StudyPlan

ROWS = {
    "ptr": Row("ptr", "PTR", "ptr"),
    "drawn": Row("drawn", "drawn", "ptr", deploys="ptr"),
    "bc": Row("bc", "BC", "bc"),
    "more": Row("more", "more", "bc"),
}


def make_study(out: Path) -> Study:
    return Study(StudyPlan(ROWS), {}, "task", out, rollouts=9, max_steps=2, seed=0)


def write(out: Path, row: str, scene: int, grey: int) -> None:
    frames = [np.full((60, 80, 3), grey, np.uint8)] * 3
    write_film_strip(out / row / "evaluation" / "strips" / f"{row}_{scene:03d}.jpg", frames)


def test_rows_of_their_own_training_are_shown_scene_by_scene(tmp_path: Path) -> None:
    for scene in range(6):
        for grey, row in enumerate(ROWS):
            write(tmp_path, row, scene, 10 + 40 * grey + 5 * scene)
    path = tmp_path / "strips.jpg"
    assert write_strips(path, make_study(tmp_path), list(ROWS.values()))
    picture = cv2.imread(str(path))
    assert picture is not None
    step = STRIP_HEIGHT + CAPTION_HEIGHT
    assert len(picture) == 4 * 2 * step
    middles = picture[CAPTION_HEIGHT + STRIP_HEIGHT // 2 :: step, 40, 0]
    expected = [10, 90, 15, 95, 20, 100, 25, 105]  # PTR and BC, in the scenes 0 to 3
    np.testing.assert_allclose(middles, expected, atol=3)


def test_a_scene_without_a_strip_is_left_out_and_no_strip_is_no_file(
    tmp_path: Path,
) -> None:
    path, study = tmp_path / "strips.jpg", make_study(tmp_path)
    assert not write_strips(path, study, list(ROWS.values()))
    assert not path.exists()
    write(tmp_path, "bc", 1, 50)
    assert write_strips(path, study, list(ROWS.values()))
    picture = cv2.imread(str(path))
    assert picture is not None
    assert len(picture) == STRIP_HEIGHT + CAPTION_HEIGHT

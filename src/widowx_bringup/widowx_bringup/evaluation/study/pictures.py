"""Film strips of several rows on the same starts, one below the other (paper, figures 5 and 15)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ptr_common.files import atomic_file
from widowx_bringup.evaluation.film_strip import STRIP_HEIGHT

from .commands import Study
from .plan import Row

SCENES = 4
"""Scenes that are shown: the first ones, whatever came of them."""

ROWS = 2
"""Rows that are shown: the first ones that were trained and evaluated."""

CAPTION_HEIGHT = 18  # of the line above each strip [pixels]


def write_strips(path: Path, study: Study, rows: Sequence[Row]) -> bool:
    """Write the film strips of the first scenes, those of a scene next to each other.

    Args:
        path: JPEG file to write.
        study: A study whose rows were evaluated.
        rows: Its rows.

    Returns:
        Whether there was anything to show.
    """
    shown = [row for row in rows if row.evaluate and not row.deploys][:ROWS]
    lines = []
    for scene in range(SCENES):
        for row in shown:
            strip = _strip(study, row, scene)
            if strip is not None:
                lines += [_caption(f"scene {scene}: {row.title}", strip.shape[1]), strip]
    if not lines:
        return False
    width = max(line.shape[1] for line in lines)
    padded = []
    for line in lines:
        margin = ((0, 0), (0, width - line.shape[1]), (0, 0))
        padded.append(np.pad(line, margin, constant_values=255))
    with atomic_file(path) as temporary:
        _, data = cv2.imencode(".jpg", np.vstack(padded), [cv2.IMWRITE_JPEG_QUALITY, 80])
        temporary.write_bytes(data.tobytes())
    return True


def _strip(study: Study, row: Row, scene: int) -> np.ndarray | None:
    """Return the film strip of a row's rollout, BGR; None if there is none."""
    name = f"{row.name}_{scene:03d}.jpg"
    file = study.out / row.name / "evaluation" / "strips" / name
    strip = cv2.imread(str(file)) if file.is_file() else None
    return strip if strip is None or strip.shape[0] == STRIP_HEIGHT else None


def _caption(text: str, width: int) -> np.ndarray:
    """Return a line of text on white, BGR."""
    line = np.full((CAPTION_HEIGHT, width, 3), 255, np.uint8)
    cv2.putText(
        line, text, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA
    )
    return line

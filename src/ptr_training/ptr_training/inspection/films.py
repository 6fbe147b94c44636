"""Films of the episodes that `ptr inspect` shows, each with a page that plays it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ptr_training.data.store import EpisodeStore
from ptr_training.errors import TrainingError


def write_films(
    folder: Path, store: EpisodeStore, order: Sequence[int], films: int
) -> dict[int, str]:
    """Write films into `films/`; nothing, after a line that says why, where PyAV is missing.

    Args:
        folder: Where to.
        store: The episodes as written.
        order: Indices of the episodes, those most worth a look first.
        films: Films at most.

    Returns:
        The page of each film, relative to the folder, by the episode's index.
    """
    from ptr_training.viewing.film import make_film
    from ptr_training.viewing.timeline import of_episode

    pages = {}
    digits = len(str(len(store)))
    bar = tqdm(order[:films], unit="film", desc="films", disable=None)
    try:
        for index in bar:
            name = f"episode_{index:0{digits}d}"
            film = make_film(of_episode(store.episode(index), store.info.camera))
            film.write(folder / "films", name)
            pages[index] = f"films/{name}.html"
    except TrainingError as error:
        print(f"no films: {error}", file=sys.stderr)
    return pages

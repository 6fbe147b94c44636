from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from ptr_common.errors import PtrError
from ptr_training.data.store import EpisodeStore
from widowx_bringup.sim import rendering
from widowx_bringup.sim.collect import CollectError, main
from widowx_bringup.sim.rendering import RenderingError
from widowx_bringup.sim.tasks import TaskError, prior_tasks

TASK = "put the red cube on the white plate"


@pytest.fixture(autouse=True)
def _pictures() -> None:
    try:
        rendering.choose_backend()
    except RenderingError as error:
        pytest.skip(str(error))


def collect(out: Path, *options: str) -> EpisodeStore:
    small = ["--camera-size", "48x64", "--image-size", "32"]
    assert main(["--out", str(out), *small, *options]) == 0
    return EpisodeStore.open(out)


def test_the_store_holds_successes_of_every_task_and_says_how_it_was_made(
    tmp_path: Path,
) -> None:
    store = collect(tmp_path / "prior", "--episodes-per-task", "1", "--workers", "1")
    assert store.tasks == tuple(sorted(prior_tasks()))
    for episode in store:
        assert episode.success
        assert episode.operator == "scripted"
        assert episode.stamps_ns[0] == 0
        assert episode.frames.shape == (len(episode) + 1, 32, 32, 3)
    card = yaml.safe_load((tmp_path / "prior" / "card.yaml").read_text())
    assert (card["camera"], card["camera_height"], card["camera_width"]) == (
        "over_shoulder",
        48,
        64,
    )
    assert card["sources"][0]["seed"] == 0


def test_the_number_of_workers_changes_no_byte(tmp_path: Path) -> None:
    options = ["--tasks", TASK, "--episodes-per-task", "3", "--seed", "4"]
    collect(tmp_path / "a" / "store", *options, "--workers", "1")
    collect(tmp_path / "b" / "store", *options, "--workers", "2")
    for name in ("frames.npy", "steps.npy", "episodes.json", "card.yaml"):
        assert (tmp_path / "a/store" / name).read_bytes() == (
            tmp_path / "b/store" / name
        ).read_bytes()


def test_another_seed_gives_other_episodes(tmp_path: Path) -> None:
    options = ["--tasks", TASK, "--episodes-per-task", "1", "--workers", "1"]
    first = collect(tmp_path / "a", *options, "--seed", "0")
    second = collect(tmp_path / "b", *options, "--seed", "1")
    assert not np.array_equal(first.episode(0).proprio[0], second.episode(0).proprio[0])


def test_an_unknown_task_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="unknown task 'fold the towel'"):
        main(["--tasks", "fold the towel", "--out", str(tmp_path / "store")])
    assert not list(tmp_path.iterdir())


def test_an_existing_store_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with pytest.raises(PtrError, match="exists already"):
        main(
            ["--tasks", TASK, "--episodes-per-task", "1", "--out", str(tmp_path / "store")]
        )


def test_impossible_noise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CollectError, match=r"--noise in \[0, 1\]"):
        main(["--noise", "7", "--out", str(tmp_path / "store")])


def test_a_machine_that_cannot_draw_is_told_so_before_work_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "vulkan")
    with pytest.raises(PtrError, match="MUJOCO_GL is 'vulkan'"):
        main(
            [
                "--tasks",
                TASK,
                "--episodes-per-task",
                "1",
                "--workers",
                "1",
                "--out",
                str(tmp_path / "store"),
            ]
        )
    assert not list(tmp_path.iterdir())

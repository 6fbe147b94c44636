"""Scripted demonstrations: what the store holds, and which options are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from ptr_common.errors import PtrError
from ptr_training.data.store import EpisodeStore
from widowx_bringup.sim import rendering
from widowx_bringup.sim.collect import main
from widowx_bringup.sim.demonstrations import CollectError
from widowx_bringup.sim.rendering import RenderingError
from widowx_bringup.sim.tasks import TaskError, prior_tasks

TASK = "put the red cube on the white plate"


@pytest.fixture(autouse=True)
def _rendering() -> None:
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


def test_a_typing_error_in_a_task_is_answered_with_the_nearest_task(tmp_path: Path) -> None:
    typed = "put the red cub on the white plate"
    with pytest.raises(TaskError, match=f"did you mean {TASK!r}"):
        main(["--tasks", typed, "--out", str(tmp_path / "store")])


def test_an_existing_store_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "store"
    out.mkdir()
    with pytest.raises(PtrError, match="exists already"):
        main(["--tasks", TASK, "--episodes-per-task", "1", "--out", str(out)])


@pytest.mark.parametrize("noise", ["7", "-0.1", "nan"])
def test_impossible_noise_is_refused(tmp_path: Path, noise: str) -> None:
    with pytest.raises(CollectError, match=r"--noise must be in \[0, 1\]"):
        main(["--noise", noise, "--out", str(tmp_path / "store")])


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--episodes-per-task", "0", "0 is not allowed; give a whole number of at least 1"),
        ("--episodes-per-task", "-1", "-1 is not allowed"),
        ("--episodes-per-task", "many", "'many' is not a whole number"),
        ("--workers", "0", "0 is not allowed"),
        ("--seed", "-3", "-3 is not allowed; give a seed"),
        ("--wrong-moves", "1", "'1' is not a share from 0 to 0.9"),
        ("--misses", "often", "'often' is not a share from 0 to 0.9"),
        ("--image-size", "4", "height x width must be between 8x8 and 960x1280"),
        ("--camera-size", "2x", "2x is not allowed"),
        ("--camera-size", "961x1280", "961x1280 is not allowed"),
        ("--image-size", "big", "'big' is not HEIGHTxWIDTH"),
    ],
)
def test_an_impossible_value_is_refused_in_one_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    option: str,
    value: str,
    reason: str,
) -> None:
    with pytest.raises(SystemExit) as end:
        main([option, value, "--out", str(tmp_path / "store")])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert option in line
    assert reason in line
    assert not list(tmp_path.iterdir())


def test_a_machine_that_cannot_render_is_refused_before_work_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "vulkan")
    one = ["--episodes-per-task", "1", "--workers", "1", "--out", str(tmp_path / "store")]
    with pytest.raises(PtrError, match="MUJOCO_GL is 'vulkan'"):
        main(["--tasks", TASK, *one])
    assert not list(tmp_path.iterdir())


def test_without_a_terminal_the_log_gets_lines_and_the_last_line_names_the_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    collect(tmp_path / "store", "--tasks", TASK, "--episodes-per-task", "2")
    printed = capsys.readouterr()
    assert "collect store: 2/2 episode" in printed.err
    assert "\r" not in printed.err
    last = printed.out.splitlines()[-1]
    assert last.startswith(f"{tmp_path / 'store'}: 2 episodes of 1 tasks; ")


def test_mistakes_are_labels_and_failed_attempts_can_be_kept(tmp_path: Path) -> None:
    options = ["--tasks", TASK, "--episodes-per-task", "3", "--workers", "1"]
    habits = ["--wrong-moves", "0.5", "--hesitation", "0.1", "--keep-failures"]
    store = collect(tmp_path / "store", *options, *habits)
    outcomes = [entry.outcome for entry in store.entries]
    assert outcomes.count("success") == 3
    assert "failure" in outcomes
    (source,) = yaml.safe_load((tmp_path / "store" / "card.yaml").read_text())["sources"]
    assert source["mistakes"]["wrong_moves"] == 0.5
    assert source["failed_attempts"] == {TASK: outcomes.count("failure")}

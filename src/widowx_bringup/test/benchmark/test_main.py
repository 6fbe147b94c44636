"""`ptr benchmark`: what is refused before anything runs, and how to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest
from simpler_standin import write_assets

from ptr_common.errors import PtrError
from widowx_bringup.benchmark import driver
from widowx_bringup.benchmark.main import main
from widowx_bringup.benchmark.tasks import TASKS, BenchmarkError, parse_tasks

OUT = ["--out", "unused"]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the packages count as installed, so that later checks are reached."""
    monkeypatch.setattr(driver, "MODULES", ("numpy",))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["simpler", *OUT], "give --policy NAME=BUNDLE, or --scripted"),
        (["simpler", "--policy", "/nowhere", *OUT], "/nowhere is no bundle"),
        (["simpler", "--scripted", "--tasks", "carot", *OUT], "did you mean carrot?"),
        (["simpler", "--scripted", "--task-name", "carrot", *OUT], "is not TASK=NAME"),
        (["simpler", "--scripted", "--task-name", "pot=stir", *OUT], "no task 'pot'"),
        (["collect", "--noise", "2", *OUT], r"--noise must be in \[0, 1\]; found 2"),
    ],
)
def test_a_wrong_option_is_refused_with_what_would_do(
    arguments: list[str], said: str
) -> None:
    with pytest.raises(PtrError, match=said):
        main(arguments)


def test_missing_packages_are_named_with_the_line_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(driver, "MODULES", ("no_such_simulator",))
    with pytest.raises(
        BenchmarkError, match=r"no_such_simulator; pip install .*benchmark\.txt"
    ):
        main(["simpler", "--scripted", *OUT])


@pytest.mark.usefixtures("installed")
def test_missing_assets_are_named(tmp_path: Path) -> None:
    folder = write_assets(tmp_path / "assets", TASKS[1])
    with pytest.raises(BenchmarkError, match=r"lacks .*bridge_spoon.*collision\.obj"):
        main(["simpler", "--scripted", "--tasks", "spoon", "--assets", str(folder), *OUT])


@pytest.mark.usefixtures("installed")
def test_a_missing_driver_is_named_with_the_package_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_assets(tmp_path / "assets", TASKS[1])
    (tmp_path / "sapien.py").write_text("raise RuntimeError('no rendering device')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    with pytest.raises(BenchmarkError, match=r"no rendering device.*mesa-vulkan-drivers"):
        main(["simpler", "--scripted", "--tasks", "carrot", "--assets", str(folder), *OUT])


def test_tasks_come_in_the_order_of_published_tables() -> None:
    assert parse_tasks(["cubes", "spoon"]) == [TASKS[0], TASKS[2]]
    assert parse_tasks([]) == list(TASKS)

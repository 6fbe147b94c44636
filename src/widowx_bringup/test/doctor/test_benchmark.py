"""What `ptr doctor` says of the benchmark: absent and not needed, or what is missing of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from simpler_standin import write_assets

from widowx_bringup.benchmark.tasks import TASKS
from widowx_bringup.doctor.benchmark import check_assets_of_tasks, check_simulator


def test_a_simulator_that_is_not_installed_is_no_failure() -> None:
    found = check_simulator(["sapien"])
    assert found.level == "none"
    assert found.found.startswith("not installed: sapien; for `ptr benchmark`: pip install")


def test_a_driver_that_does_not_open_is_a_warning_with_the_way_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sapien.py").write_text("raise RuntimeError('no rendering device')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    found = check_simulator([])
    assert found.level == "warn"
    assert "no rendering device" in found.found
    assert "mesa-vulkan-drivers" in found.remedy


def test_missing_assets_are_named_where_the_simulator_is_installed(tmp_path: Path) -> None:
    folder = write_assets(tmp_path, *TASKS[:3])
    found = check_assets_of_tasks(folder, installed=True)
    assert found.level == "warn"
    assert "spoon, carrot, cubes; missing: " in found.found
    assert "eggplant/collision.obj" in found.found
    assert "download_asset" in found.remedy
    assert check_assets_of_tasks(folder, installed=False).level == "none"


def test_complete_assets_are_ok(tmp_path: Path) -> None:
    found = check_assets_of_tasks(write_assets(tmp_path, *TASKS), installed=True)
    assert (found.level, found.remedy) == ("ok", "")

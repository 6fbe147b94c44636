"""Checks of `ptr doctor` for what only `ptr benchmark` needs: packages, driver, assets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from widowx_bringup.benchmark.assets import HOW_TO_GET, check_assets, listed
from widowx_bringup.benchmark.driver import INSTALL, check_driver
from widowx_bringup.benchmark.tasks import TASKS, BenchmarkError

from .results import CheckResult, missing


def check_simulator(absent: Sequence[str]) -> CheckResult:
    """Check that the simulator is installed and that its renderer finds a driver.

    Args:
        absent: Packages of it that are not installed.
    """
    if absent:
        found = f"not installed: {', '.join(absent)}; for `ptr benchmark`: {INSTALL}"
        return missing(found, INSTALL, needed=False)
    try:
        check_driver()
    except BenchmarkError as error:
        found, _, remedy = str(error).partition("; ")
        return CheckResult("warn", found, remedy)
    return CheckResult("ok", "ManiSkill renders on this computer")


def check_assets_of_tasks(folder: Path, installed: bool) -> CheckResult:
    """Check which tasks of the benchmark have their files.

    Args:
        folder: Folder of assets, above `data`.
        installed: Whether the simulator is; without it nobody misses the files.
    """
    if not installed:
        return missing("not looked for without the simulator", HOW_TO_GET, needed=False)
    tasks = [check_assets(folder, task) for task in TASKS]
    complete = [each.task.name for each in tasks if not each.missing]
    lacking = dict.fromkeys(name for each in tasks for name in each.missing)
    if not lacking:
        return CheckResult("ok", f"{folder}: all tasks")
    found = f"{folder}: tasks with all files: {', '.join(complete) or 'none'}; missing: "
    return CheckResult("warn", found + listed(lacking, 3), HOW_TO_GET)

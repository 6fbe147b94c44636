"""What a session refuses before its first trial."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from session_plans import write_plan

from ptr_common.errors import PtrError
from widowx_bringup.evaluation.session.main import main


def damaged(bundles: Path, folder: Path) -> None:
    """Make a copy of a bundle, one of whose files was altered."""
    shutil.copytree(bundles / "bc", folder)
    program = folder / "policy.pt"
    program.write_bytes(program.read_bytes()[:-1] + b"!")


@pytest.mark.parametrize("options", [[], ["--in-process"]])
def test_a_damaged_bundle_ends_the_session_before_its_first_trial(
    bundles: Path, tmp_path: Path, options: list[str]
) -> None:
    damaged(bundles, tmp_path / "bad")
    plan = write_plan(bundles, methods={"ptr": "ptr", "bad": str(tmp_path / "bad")})
    with pytest.raises(PtrError, match=r"policy\.pt"):
        main(["run", str(plan), "--out", str(tmp_path / "out"), *options])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        (
            {"judge": "person"},
            ["--in-process"],
            "--in-process has no arm .* nobody who judges",
        ),
        ({}, ["use_sim:=false"], "judge is checker, which only the simulation has"),
        (
            {"judge": "person", "task": "fold the towel"},
            [],
            "unknown task 'fold the towel'",
        ),
        ({"task": "put the red cube on the white plate"}, ["--in-process"], "has no task"),
    ],
)
def test_what_cannot_be_judged_or_done_is_refused_before_the_first_trial(
    bundles: Path,
    tmp_path: Path,
    changes: dict[str, object],
    arguments: list[str],
    message: str,
) -> None:
    plan = write_plan(bundles, **changes)
    with pytest.raises(PtrError, match=message):
        main(["run", str(plan), "--out", str(tmp_path / "out"), *arguments])
    assert not (tmp_path / "out").exists()  # nothing is locked

"""A plan, and a blinded session of it with bags."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("ptr_msgs", reason="ROS 2 is not installed")

from trial_bags import plan_with, record

from widowx_bringup.evaluation.session.plan import SessionPlan


@pytest.fixture(scope="module")
def plan(bundles: Path) -> SessionPlan:
    """Two methods, two scenes."""
    return plan_with(bundles)


@pytest.fixture(scope="module")
def recorded(plan: SessionPlan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A blinded session of four trials, the second of which was tried twice."""
    return record(plan, tmp_path_factory.mktemp("recorded") / "out", void=(1,))


@pytest.fixture
def folder(recorded: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(recorded, tmp_path / "out"))

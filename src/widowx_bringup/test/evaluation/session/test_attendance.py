"""What a plan says of attended sessions: start poses, layouts, words; and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from toy_episodes import write_store

from widowx_bringup.evaluation.session import attendance
from widowx_bringup.evaluation.session.attendance import (
    REASONS,
    UNATTENDED,
    Placement,
    SessionError,
)
from widowx_bringup.evaluation.session.plan import SessionPlan, load_plan
from widowx_bringup.sim.tasks import TARGET_TASK

POSE = [0.3, 0.0, 0.15, 0.0, 0.0, 0.0, 1.0]


def plan_of(bundles: Path, **changes: object) -> SessionPlan:
    """Return a plan of three scenes with changes."""
    values = {"task": TARGET_TASK, "methods": {"ptr": "ptr", "bc": "bc"}, "trials": 3}
    file = bundles / "attended.yaml"
    file.write_text(yaml.safe_dump({**values, **changes}))
    return load_plan(file)

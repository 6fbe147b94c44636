"""Two bundles of toy policies, which tests of sessions compare."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import toy_bundle

from ptr_policy_node.bundle import write_bundle
from widowx_bringup.sim.tasks import TARGET_TASK


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bundles, `ptr` and `bc`."""
    folder = tmp_path_factory.mktemp("bundles")
    camera = replace(toy_bundle.CAMERA, name="over_shoulder")
    for name, gain in (("ptr", 0.01), ("bc", 0.02)):
        policy = toy_bundle.Toy(gain)
        info = replace(toy_bundle.INFO, camera=camera, tasks=(TARGET_TASK, "b"))
        programs = toy_bundle.programs(policy, "torchscript")
        write_bundle(folder / name, info, programs, toy_bundle.golden(policy))
    return folder

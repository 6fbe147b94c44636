"""Demonstrations of the scripted expert."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from widowx_bringup.sim.demonstrations import CollectError, Demonstrator, Settings

TASK = "put the red cube on the white plate"


def test_an_expert_that_always_fails_is_an_error_after_some_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    demonstrator = Demonstrator(Settings(0, 0.5, (48, 64), (32, 32)))
    attempts = []

    def fail(task: str, seeds: np.random.SeedSequence) -> SimpleNamespace:
        attempts.append(int(seeds.generate_state(1)[0]))
        return SimpleNamespace(success=False)

    monkeypatch.setattr(demonstrator, "_attempt", fail)
    with pytest.raises(CollectError, match="failed 20 times in a row; lower --noise"):
        demonstrator.demonstrate(TASK, 0)
    assert len(set(attempts)) == 20

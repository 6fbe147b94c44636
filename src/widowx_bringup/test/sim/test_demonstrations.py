"""Demonstrations of the scripted expert."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from widowx_bringup.sim import demonstrations
from widowx_bringup.sim.demonstrations import CollectError, Demonstrator, Settings
from widowx_bringup.sim.families.family import Layout
from widowx_bringup.sim.mistakes import Mistakes
from widowx_bringup.sim.tasks import sample_layout

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


def test_a_mistaken_demonstrator_goes_above_the_other_object_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layouts: list[Layout] = []

    def sample(task: str, seed: int) -> Layout:
        layouts.append(sample_layout(task, seed))
        return layouts[-1]

    monkeypatch.setattr(demonstrations, "sample_layout", sample)
    counts = []
    for share in (0.0, 0.9):
        settings = Settings(3, 0.0, (48, 64), (32, 32), Mistakes(wrong_objects=share))
        demonstrator = Demonstrator(settings)
        count = 0
        for index in range(10):
            path = demonstrator.demonstrate(TASK, index).episode.proprio[:, :2]
            first = dict.fromkeys(layouts[-1].objects, np.inf)
            for name, (x, y, _) in layouts[-1].objects.items():
                near = np.hypot(*(path - (x, y)).T) < 0.04
                if near.any():
                    first[name] = int(near.argmax())
            count += min(first, key=first.__getitem__) != "red cube"
        counts.append(count)
    # without mistakes the way to the cube sometimes leads across the other object as well
    assert counts[1] >= counts[0] + 3

"""Stamps that are late or early; camera latency as a number, as text, and in a bag."""

from __future__ import annotations

import pytest

from ptr_common.errors import PtrError
from ptr_common.stamps import (
    CameraLatencyError,
    age_problem,
    camera_latency,
    early_problem,
    recorded_latency,
)


@pytest.mark.parametrize("value", [0, 0.0, "0.08", 1, "1.0"])
def test_possible_latencies_are_taken_as_numbers_and_as_text(value: object) -> None:
    assert camera_latency(value) == float(str(value))


@pytest.mark.parametrize(
    "value", [-0.001, 1.001, "80", "80 ms", "", "nan", float("inf"), None, [0.1]]
)
def test_impossible_latencies_are_refused_with_what_is_allowed(value: object) -> None:
    with pytest.raises(CameraLatencyError, match="allowed are 0 to 1 s") as caught:
        camera_latency(value)
    assert isinstance(caught.value, PtrError)


@pytest.mark.parametrize(
    ("custom", "front", "wrist"),
    [
        ({"cameras": "front", "camera_latency": "0.08"}, 0.08, 0.0),
        ({"cameras": "front,wrist", "camera_latency": "0.08,0.03"}, 0.08, 0.03),
        ({"cameras": "front,wrist", "camera_latency": "0.08"}, 0.08, 0.0),
        ({"cameras": "front,wrist"}, 0.0, 0.0),
        ({"camera": "front", "camera_latency": "0.08"}, 0.08, 0.0),
        ({}, 0.0, 0.0),
    ],
)
def test_a_bag_has_the_latency_of_each_of_its_cameras(
    custom: dict[str, str], front: float, wrist: float
) -> None:
    assert (recorded_latency(custom, "front"), recorded_latency(custom, "wrist")) == (
        front,
        wrist,
    )


NOW_NS = 1_700_000_000_000_000_000


@pytest.mark.parametrize(
    ("age", "problem"),
    [
        (0.0, ""),
        (0.5, ""),
        (-0.05, ""),
        (0.501, "image is 0.501 s old; at most 0.5 s are allowed"),
        (-0.051, "image is stamped 0.051 s in the future; at most 0.05 s are allowed"),
        (-1e9, "image is stamped 1000000000.000 s in the future"),
    ],
)
def test_a_stamp_is_refused_when_it_is_late_or_early(age: float, problem: str) -> None:
    found = age_problem("image", NOW_NS - round(age * 1e9), NOW_NS, 0.5)
    assert found.startswith(problem)
    assert bool(found) == bool(problem)


def test_an_old_stamp_is_not_early() -> None:
    assert early_problem("image", NOW_NS - 10**15, NOW_NS) == ""
    assert "sender's clock" in early_problem("image", NOW_NS + 10**9, NOW_NS)

"""Camera latency: as a number, as text, and in the metadata of a bag."""

from __future__ import annotations

import pytest

from ptr_common.camera_latency import CameraLatencyError, camera_latency, recorded_latency
from ptr_common.errors import PtrError


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

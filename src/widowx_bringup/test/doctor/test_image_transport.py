"""Images are sent between two real processes, over DDS."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from widowx_bringup.doctor.image_transport import (
    LATEST,
    ImageStream,
    TransportError,
    _latencies,
    measure,
)
from widowx_bringup.graph.environment import environment

STREAM = ImageStream(seconds=0.5)


@pytest.mark.parametrize("raw", [False, True])
def test_images_arrive_through_shared_memory_with_the_settings_of_the_nodes(
    raw: bool,
) -> None:
    transport = measure(replace(STREAM, raw=raw), {**os.environ, **environment({})})
    assert transport.sent == STREAM.count == 15
    assert len(transport.latencies) > 0
    assert (transport.latencies > 0).all()
    assert transport.shared_memory


def test_processes_that_cannot_start_are_an_error_with_their_words() -> None:
    with pytest.raises(TransportError, match="no image arrives: "):
        measure(STREAM, {**os.environ, **environment({}), "ROS_DOMAIN_ID": "500"})


def test_an_image_that_is_late_counts_as_lost() -> None:
    late = round(LATEST * 1e9)
    arrivals = [(1, 1 + 3_000_000), (2, 2 + late), (3, 3 + late // 2), (9, 10)]
    np.testing.assert_allclose(_latencies({1, 2, 3}, arrivals), [0.003, LATEST / 2])


def test_no_image_has_no_latency() -> None:
    assert _latencies({1, 2}, []).shape == (0,)

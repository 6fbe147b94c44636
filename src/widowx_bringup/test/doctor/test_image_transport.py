"""Pictures really cross between two processes here, over DDS."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from widowx_bringup.doctor.image_transport import Pictures, TransportError, measure
from widowx_bringup.graph.graphs import environment

PICTURES = Pictures(seconds=0.5)


@pytest.mark.parametrize("raw", [False, True])
def test_pictures_cross_through_shared_memory_with_the_settings_of_the_nodes(
    raw: bool,
) -> None:
    crossing = measure(replace(PICTURES, raw=raw), {**os.environ, **environment({})})
    assert crossing.sent == PICTURES.count == 15
    assert len(crossing.latencies) > 0
    assert (crossing.latencies > 0).all()
    assert crossing.shared_memory


def test_processes_that_cannot_start_are_an_error_with_their_words() -> None:
    with pytest.raises(TransportError, match="no picture crosses: "):
        measure(PICTURES, {**os.environ, **environment({}), "ROS_DOMAIN_ID": "500"})

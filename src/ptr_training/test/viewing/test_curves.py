"""Curves: places on the time axis, gaps, holds, and names that are escaped."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from moving_episodes import make_episode

from ptr_training.viewing.curves import LEFT, RIGHT, WIDTH, curves_svg, panels_of
from ptr_training.viewing.timeline import Mark, Series, Span, Timeline, of_episode


@pytest.fixture
def timeline() -> Timeline:
    episode = make_episode("e <1>", 1, 10)
    q = np.linspace(0.0, 1.0, 20).reshape(10, 2)
    return of_episode(episode, "front", q)


def points(svg: str) -> list[list[tuple[float, float]]]:
    """Return the points of each line of a drawing."""
    lines = []
    for text in re.findall(r'points="([^"]*)"', svg):
        lines.append([tuple(map(float, point.split(","))) for point in text.split()])
    return lines  # type: ignore[return-value]


def test_a_drawing_is_xml_that_needs_nothing_else_and_names_are_escaped(
    timeline: Timeline,
) -> None:
    svg = curves_svg(timeline)
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"].startswith("Q and actions of e <1> over 2.0 s")
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")


def test_every_command_stands_at_the_time_of_its_image(timeline: Timeline) -> None:
    first = points(curves_svg(timeline))[0]  # Q1
    steps = [x for x, _ in first]
    expected = LEFT + np.arange(10) / 10 * (RIGHT - LEFT)
    np.testing.assert_allclose(steps, expected, atol=0.06)
    heights = [y for _, y in first]
    assert heights == sorted(heights, reverse=True)  # Q rises


def test_the_ends_of_the_axis_are_the_middles_of_the_outer_images_of_a_strip() -> None:
    assert (LEFT, WIDTH - RIGHT) == (WIDTH / 16, WIDTH / 16)


def test_an_episode_without_critic_has_no_panel_of_q(timeline: Timeline) -> None:
    titles = [panel.title for panel in panels_of(timeline)]
    assert titles[0] == "Q of the action"
    unknown = of_episode(make_episode("e", 1, 4), "front", np.full((4, 2), np.nan))
    assert [panel.title for panel in panels_of(unknown)] == titles[1:]


def test_a_value_that_is_not_finite_is_a_gap(timeline: Timeline) -> None:
    values = timeline.q.values.copy()
    values[[4, 9], 0] = np.nan, np.inf
    lines = points(curves_svg(replace(timeline, q=Series(timeline.q.times, values))))
    assert [len(line) for line in lines[:3]] == [4, 4, 10]


def test_holds_clips_and_marks_are_drawn_with_their_reasons(timeline: Timeline) -> None:
    marked = replace(
        timeline,
        holds=[Span(0.5, 0.9, "no image <for> 0.3 s")],
        clips=np.array([0.2, 0.4]),
        marks=[Mark(-0.5, "START"), Mark(99.0, "SUCCESS")],
    )
    svg = curves_svg(marked)
    ElementTree.fromstring(svg)
    assert "held: no image &lt;for&gt; 0.3 s" in svg
    assert svg.count("<title>clipped</title>") == 2
    assert f'x1="{LEFT:.1f}"' in svg  # outside of the images: at the ends
    assert f'x1="{RIGHT:.1f}"' in svg


def test_one_image_and_no_command_can_be_drawn(timeline: Timeline) -> None:
    nothing = Series(np.zeros(0), np.zeros((0, 7)))
    alone = replace(
        timeline,
        requested=nothing,
        executed=nothing,
        q=Series(np.zeros(0), np.zeros((0, 2))),
    )
    ElementTree.fromstring(curves_svg(replace(alone, cameras=[])))

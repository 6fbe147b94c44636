"""The Foxglove layout: each topic and field in it is one of ours, each panel is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CameraInfo, Image

from ptr_common.topics import (
    TOPIC_ARM_STATE,
    TOPIC_COMMAND,
    TOPIC_DIAGNOSTICS,
    TOPIC_EPISODE_EVENT,
    TOPIC_EXECUTED,
    TOPIC_POLICY_STATE,
    camera_info_topic,
    image_topic,
)
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent, PolicyState
from widowx_bringup.graph.arguments import CAMERA, ROBOT_NAME

PACKAGE = Path(__file__).parents[2]
FILE = "share/foxglove_layout.json"
LAYOUT = json.loads((PACKAGE / FILE).read_text())
PANELS: dict[str, dict[str, Any]] = LAYOUT["configById"]

RELATIVE = {
    TOPIC_ARM_STATE: ArmState,
    TOPIC_COMMAND: EefCommand,
    TOPIC_EPISODE_EVENT: EpisodeEvent,
    TOPIC_EXECUTED: EefCommand,
    TOPIC_POLICY_STATE: PolicyState,
    image_topic(CAMERA.default): Image,
    camera_info_topic(CAMERA.default): CameraInfo,
}
OURS = {f"/{ROBOT_NAME.default}/{name}": kind for name, kind in RELATIVE.items()}
OURS[TOPIC_DIAGNOSTICS] = DiagnosticArray


def strings(value: Any) -> Iterator[str]:
    """Yield every string in a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


PATHS = sorted({text for text in strings(PANELS) if text.startswith("/")})


def test_every_topic_is_one_of_ours_and_every_one_of_ours_is_shown() -> None:
    assert {path.partition(".")[0] for path in PATHS} == set(OURS)


def test_every_field_is_one_of_its_message_and_every_index_is_inside() -> None:
    for path in PATHS:
        topic, dot, field = path.partition(".")
        if not dot:
            continue
        match = re.fullmatch(r"(\w+)(?:\[(\d+)\])?", field)
        assert match, path
        value = getattr(OURS[topic](), match[1])
        assert match[2] is None or int(match[2]) < len(value), path


def test_every_panel_has_a_place_and_every_place_a_panel() -> None:
    shown = [text for text in strings(LAYOUT["layout"]) if "!" in text]
    assert sorted(shown) == sorted(PANELS)


def test_setup_installs_the_layout() -> None:
    assert f'"{FILE}"' in (PACKAGE / "setup.py").read_text()

"""Names of topics: bags of earlier recordings have them, and so do launch files."""

from __future__ import annotations

import pytest

from ptr_common import topics


def test_topics_of_a_camera_are_those_of_recorded_bags() -> None:
    assert topics.image_topic("front") == "camera/front/image_raw"
    assert topics.camera_info_topic("front") == "camera/front/camera_info"


def test_frames_have_the_name_of_the_robot_before_them_as_in_interbotix_urdf() -> None:
    for namespace in ("wx250s", "/wx250s", "/wx250s/"):
        assert topics.robot_frame(namespace, "base_link") == "wx250s/base_link"
    assert topics.robot_frame("/", "base_link") == "base_link"


def test_only_diagnostics_and_transforms_are_outside_the_robots_namespace() -> None:
    names = {
        name: value for name, value in vars(topics).items() if name.startswith("TOPIC_")
    }
    absolute = [name for name, value in names.items() if value.startswith("/")]
    assert absolute == ["TOPIC_DIAGNOSTICS", "TOPIC_STATIC_TRANSFORMS"]
    assert len(set(names.values())) == len(names)


def test_the_events_are_those_of_the_message() -> None:
    msg = pytest.importorskip("ptr_msgs.msg", reason="ROS 2 is not installed")
    for name in ("START", "SUCCESS", "FAILURE", "DISCARD", "STOP"):
        assert getattr(topics, name) == getattr(msg.EpisodeEvent, name)
    assert set(topics.END_WORDS) == {2, 3, 4, 5}

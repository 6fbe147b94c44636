"""Names of topics: bags of earlier recordings have them, and so do launch files."""

from __future__ import annotations

from ptr_common import topics


def test_topics_of_a_camera_are_those_of_recorded_bags() -> None:
    assert topics.image_topic("front") == "camera/front/image_raw"
    assert topics.camera_info_topic("front") == "camera/front/camera_info"


def test_only_diagnostics_are_outside_the_robots_namespace() -> None:
    names = {
        name: value for name, value in vars(topics).items() if name.startswith("TOPIC_")
    }
    absolute = [name for name, value in names.items() if value.startswith("/")]
    assert absolute == ["TOPIC_DIAGNOSTICS"]
    assert len(set(names.values())) == len(names)

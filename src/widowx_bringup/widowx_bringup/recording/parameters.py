"""ROS parameters of the recorder."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

from rclpy.node import Node

from ptr_common.action_space import CONTROL_RATE
from ptr_common.managed_node import parameter
from ptr_common.stamps import camera_latency
from ptr_common.topics import goal_of
from ptr_msgs.msg import EpisodeEvent

from .bag_writer import CHUNK_BYTES


@dataclass(frozen=True)
class RecorderSettings:
    """What the recorder was asked to record, and how.

    Attributes:
        directory: Folder that receives one bag per episode.
        operator: Who demonstrates.
        queue_bytes: Largest size of the queue to the disk [bytes].
        chunk_bytes: Size of an MCAP chunk [bytes].
        cameras: Latency of each camera [s], the policy's camera first.
    """

    directory: Path
    operator: str
    queue_bytes: int
    chunk_bytes: int
    cameras: dict[str, float]

    def custom_data(self, event: EpisodeEvent) -> dict[str, str]:
        """Return the custom data of the bag that the START of an episode begins."""
        custom = {
            "episode_id": event.episode_id,
            "task": event.task,
            "operator": self.operator,
            "control_rate": str(CONTROL_RATE),
            "camera": next(iter(self.cameras)),
            "cameras": ",".join(self.cameras),
            "camera_latency": ",".join(map(str, self.cameras.values())),
            "text": event.text,
            "version": importlib.metadata.version("widowx_bringup"),
        }
        if goal := goal_of(event.text):
            custom["goal_id"] = goal
        return custom


def declare_settings(node: Node) -> RecorderSettings:
    """Declare the parameters of the recorder and return their values.

    Raises:
        PtrError: If a parameter has an impossible value.
    """
    directory = parameter(
        node, "directory", "bags", "folder that receives one bag per episode"
    )
    camera = parameter(node, "camera", "over_shoulder", "name of the policy's camera")
    others = parameter(node, "other_cameras", [""], "names of further cameras to record")
    latencies = parameter(
        node, "camera_latency", [0.0], "latency of each camera [s]; goes into the bag"
    )
    operator = parameter(
        node, "operator", "", "who demonstrates; goes into the bag's custom data"
    )
    queue_bytes = parameter(
        node, "queue_bytes", 256 << 20, "largest size of the queue to the disk [bytes]"
    )
    chunk_bytes = parameter(
        node, "chunk_bytes", CHUNK_BYTES, "size of an MCAP chunk [bytes]"
    )
    names = dict.fromkeys([camera, *filter(None, others)])
    given = [camera_latency(latency) for latency in latencies]
    padded = [*given, *([0.0] * len(names))]  # 0 for those without an entry
    cameras = dict(zip(names, padded, strict=False))
    return RecorderSettings(Path(directory), operator, queue_bytes, chunk_bytes, cameras)

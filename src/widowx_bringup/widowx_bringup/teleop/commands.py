"""Commands of a person to the arm, and who else sends some."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.publisher import Publisher

from ptr_common import qos
from ptr_common.action_space import BASE_FRAME
from ptr_common.managed_node import now_ns, to_stamp
from ptr_common.topics import TOPIC_COMMAND, robot_frame
from ptr_msgs.msg import EefCommand


class CommandSender:
    """Publishes steps of the end effector while it is open.

    The arm holds when two nodes could command it, so a person who only watches has it closed.

    Args:
        node: The person's node.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher: Publisher | None = None

    def open(self) -> None:
        """Become a sender of commands."""
        if self._publisher is None:
            kind, topic = EefCommand, TOPIC_COMMAND
            self._publisher = self._node.create_publisher(kind, topic, qos.COMMANDS)

    def close(self) -> None:
        """Be no sender of commands any more."""
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)
            self._publisher = None

    def others(self) -> list[str]:
        """Return the full names of the other nodes that could command the arm."""
        topic = self._node.resolve_topic_name(TOPIC_COMMAND)
        names = []
        for publisher in self._node.get_publishers_info_by_topic(topic):
            names.append(f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}")
        own = self._node.get_fully_qualified_name()
        if self._publisher is not None and own in names:
            names.remove(own)
        return sorted(names)

    def send(self, action: np.ndarray, observation_stamp: Time) -> None:
        """Publish a step, stamped by the node's clock.

        Args:
            action: Step and gripper opening, (7,).
            observation_stamp: Stamp of the image that it answers.
        """
        assert self._publisher is not None
        command = EefCommand(
            action=action,
            source=EefCommand.SOURCE_TELEOP,
            observation_stamp=observation_stamp,
        )
        command.header.stamp = to_stamp(now_ns(self._node))
        command.header.frame_id = robot_frame(self._node.get_namespace(), BASE_FRAME)
        self._publisher.publish(command)

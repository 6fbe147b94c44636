"""Topics and services of Interbotix's driver node `xs_sdk`, on a separate node and thread.

Where Interbotix's Python package (`interbotix_xs_modules`) is installed, its
`InterbotixManipulatorXS` provides them and checks the robot's description as well;
otherwise `OwnCore` does. Of both, only the topics, the services and the latest joint states
are used: the methods of the package wait without a deadline, sleep, and leave a timer behind.
"""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from interbotix_xs_msgs.msg import JointGroupCommand, JointSingleCommand
from interbotix_xs_msgs.srv import (
    OperatingModes,
    Reboot,
    RegisterValues,
    RobotInfo,
    TorqueEnable,
)
from rclpy.client import Client
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.task import Future
from sensor_msgs.msg import JointState

from ptr_common import qos
from ptr_common.node import Executor, subscribe
from widowx_bringup.arm.protocol import ArmError

MODEL = "wx250s"
"""Interbotix's name of the arm."""

SERVICES = {
    "set_operating_modes": OperatingModes,
    "set_motor_registers": RegisterValues,
    "get_motor_registers": RegisterValues,
    "get_robot_info": RobotInfo,
    "torque_enable": TorqueEnable,
    "reboot_motors": Reboot,
}
"""Services of xs_sdk and their types."""

START_LIMIT = 10.0
"""Longest wait for the driver node's services and its first joint states [s]."""

NAMES = ("xs_sdk", "xs_sdk_sim")
"""Node names of the driver and of Interbotix's simulation of it."""

NAME_LIMIT = 2.0
"""Longest wait for the driver's node name [s]; it may be discovered after its services."""

START = (
    "start it with `ros2 launch interbotix_xsarm_control xsarm_control.launch.py "
    f"robot_model:={MODEL}`"
)
"""Advice for a driver that does not answer or drives another robot."""


class XsCore(Protocol):
    """The part of Interbotix's `InterbotixRobotXSCore` that is used, with its names.

    Attributes:
        joint_states: The latest message; None before the first.
    """

    joint_states: JointState | None
    pub_group: Publisher
    pub_single: Publisher
    srv_set_op_modes: Client
    srv_set_reg: Client
    srv_get_reg: Client
    srv_get_info: Client
    srv_torque: Client
    srv_reboot: Client


class OwnCore:
    """Topics and services of xs_sdk in the namespace of a node."""

    def __init__(self, node: Node) -> None:
        self.joint_states: JointState | None = None
        self.pub_group = node.create_publisher(
            JointGroupCommand, "commands/joint_group", 10
        )
        self.pub_single = node.create_publisher(
            JointSingleCommand, "commands/joint_single", 10
        )
        self.srv_set_op_modes = _client(node, "set_operating_modes")
        self.srv_set_reg = _client(node, "set_motor_registers")
        self.srv_get_reg = _client(node, "get_motor_registers")
        self.srv_get_info = _client(node, "get_robot_info")
        self.srv_torque = _client(node, "torque_enable")
        self.srv_reboot = _client(node, "reboot_motors")
        subscribe(
            node,
            JointState,
            "joint_states",
            self._on_states,
            qos.STATE,
            on_malformed=self._on_malformed,
        )

    def _on_states(self, states: JointState) -> None:
        self.joint_states = states

    def _on_malformed(self, _: str) -> None:
        self.joint_states = JointState()  # as implausible as one without joints


def _client(node: Node, service: str) -> Client:
    return node.create_client(SERVICES[service], service)


class XsConnection:
    """A core, its node, and the thread that spins that node.

    Args:
        namespace: Namespace of xs_sdk, such as "/wx250s".
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self._stopped = False
        if has_interbotix_modules():
            self.node, self.core = _interbotix(namespace)
        else:
            self.node, self.core = _own(namespace)
        self._executor = Executor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, name="xs_core", daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        try:
            while not self._stopped:
                self._executor.spin_once(timeout_sec=0.1)
        except ExternalShutdownException:
            pass

    def wait_ready(self, limit: float = START_LIMIT) -> None:
        """Wait until xs_sdk offers its services and has published joint states.

        Args:
            limit: Longest wait [s].

        Raises:
            ArmError: If xs_sdk does not in time.
        """
        deadline = time.monotonic() + limit
        while missing := self._missing():
            if time.monotonic() > deadline:
                raise ArmError(
                    f"nothing answers under {self.namespace} ({', '.join(missing)}): "
                    f"no xs_sdk? {START}"
                )
            time.sleep(0.02)
        deadline = time.monotonic() + NAME_LIMIT
        while not self._has_name() and time.monotonic() < deadline:
            time.sleep(0.02)

    def _missing(self) -> list[str]:
        """Return the interfaces of xs_sdk that are needed and not there yet."""
        clients = (
            self.core.srv_get_info,
            self.core.srv_set_op_modes,
            self.core.srv_set_reg,
            self.core.srv_get_reg,
        )
        names: list[str] = []
        for client in clients:
            if not client.service_is_ready():
                names.append(client.srv_name)
        if not names and self.core.joint_states is None:
            names.append("joint_states")
        return names

    def _has_name(self) -> bool:
        """Return whether the driver's node name is known."""
        return any(self.serves(name) for name in NAMES)

    def serves(self, name: str) -> bool:
        """Return whether a node of this name runs in the namespace of the driver.

        Args:
            name: Name of a node, without its namespace.
        """
        return (name, self.namespace) in self.node.get_node_names_and_namespaces()

    def call(self, client: Client, request: Any, limit: float) -> Any:
        """Call a service of xs_sdk and return its response; not for the control loop.

        Args:
            client: Client of the service.
            request: Request of its type.
            limit: Longest wait [s].

        Raises:
            ArmError: If the service does not answer in time.
        """
        done = threading.Event()
        future: Future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        if not done.wait(limit):
            client.remove_pending_request(future)
            raise ArmError(
                f"xs_sdk did not answer {client.srv_name} within {limit:g} s; "
                "is its bus in order?"
            )
        return future.result()

    def close(self) -> None:
        """End the thread and the node."""
        self._stopped = True
        self._executor.wake()
        self._thread.join(timeout=2.0)
        self._executor.shutdown(timeout_sec=0)
        self.node.destroy_node()


def has_interbotix_modules() -> bool:
    """Return whether Interbotix's Python package is installed."""
    return importlib.util.find_spec("interbotix_xs_modules") is not None


def _own(namespace: str) -> tuple[Node, XsCore]:
    """Return a node and our client of xs_sdk on it.

    The names and parameters given to the process belong to the arm node.
    """
    node = Node(
        "xs_client",
        namespace=namespace,
        use_global_arguments=False,
        start_parameter_services=False,
    )
    return node, OwnCore(node)


def _interbotix(namespace: str) -> tuple[Node, XsCore]:
    """Return a node and the core of an `InterbotixManipulatorXS` on it.

    The constructor of that class waits without a deadline, so the services must be there
    before.

    Raises:
        ArmError: If they are not there in time.
    """
    robot: Callable[..., Node] = importlib.import_module(
        "interbotix_common_modules.common_robot.robot"
    ).InterbotixRobotNode
    arm = importlib.import_module("interbotix_xs_modules.xs_robot.arm")
    node = robot(node_name="xs_client", namespace=namespace, use_global_arguments=False)
    deadline = time.monotonic() + START_LIMIT
    while missing := _missing_services(node, namespace):
        if time.monotonic() > deadline:
            node.destroy_node()
            raise ArmError(
                f"nothing answers under {namespace} ({', '.join(missing)}): no xs_sdk? {START}"
            )
        time.sleep(0.05)
    # Without a gripper: that would add a timer which publishes efforts.
    robot_arm = arm.InterbotixManipulatorXS(
        MODEL,
        gripper_name=None,
        robot_name=namespace.strip("/"),
        node=node,
        iterative_update_fk=False,
    )
    return node, robot_arm.core


def _missing_services(node: Node, namespace: str) -> list[str]:
    """Return the services that Interbotix's class waits for and that are not there yet."""
    missing = {f"{namespace}/{name}" for name in (*SERVICES, "set_motor_pid_gains")}
    for name, _ in node.get_service_names_and_types():
        missing.discard(name)
    return sorted(missing)

"""The interfaces of Interbotix's driver node (`xs_sdk`), on a node and a thread of their own.

Whoever has Interbotix's Python package (`interbotix_xs_modules`) gets its
`InterbotixManipulatorXS` here, which checks the robot's description as well; everybody else
a client of the same shape. Of both, only topics, services and the newest joint states are
used: the package's own calls wait without a deadline, sleep, and leave a timer behind.
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
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.task import Future
from sensor_msgs.msg import JointState

from widowx_bringup.arm.protocol import ArmError

MODEL = "wx250s"

SERVICES = {
    "set_operating_modes": OperatingModes,
    "set_motor_registers": RegisterValues,
    "get_motor_registers": RegisterValues,
    "get_robot_info": RobotInfo,
    "torque_enable": TorqueEnable,
    "reboot_motors": Reboot,
}
START_LIMIT = 10.0
"""Longest wait for the driver node's services and its first joint states [s]."""

NAMES = ("xs_sdk", "xs_sdk_sim")
"""What the driver and its maker's simulation are called."""

NAME_LIMIT = 2.0
"""Longest wait for the driver's name [s]: it may become known later than its services."""

START = f"start it with `ros2 launch interbotix_xsarm_control xsarm_control.launch.py robot_model:={MODEL}`"


class XsCore(Protocol):
    """What is used of Interbotix's `InterbotixRobotXSCore`; the names are its."""

    joint_states: JointState | None  # the newest
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
        clients = {name: node.create_client(kind, name) for name, kind in SERVICES.items()}
        self.srv_set_op_modes = clients["set_operating_modes"]
        self.srv_set_reg = clients["set_motor_registers"]
        self.srv_get_reg = clients["get_motor_registers"]
        self.srv_get_info = clients["get_robot_info"]
        self.srv_torque = clients["torque_enable"]
        self.srv_reboot = clients["reboot_motors"]
        node.create_subscription(JointState, "joint_states", self._on_states, 10)

    def _on_states(self, states: JointState) -> None:
        self.joint_states = states


class XsConnection:
    """A core, the node it lives on, and the thread that spins that node.

    Args:
        namespace: Where xs_sdk runs, such as "/wx250s".
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self._stopped = False
        self.node, self.core = (
            _interbotix(namespace) if has_interbotix_modules() else _own(namespace)
        )
        self._executor = SingleThreadedExecutor()
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

        Raises:
            ArmError: If it does not within `limit` seconds.
        """
        deadline = time.monotonic() + limit
        clients = [
            self.core.srv_get_info,
            self.core.srv_set_op_modes,
            self.core.srv_set_reg,
            self.core.srv_get_reg,
        ]
        while not (
            all(client.service_is_ready() for client in clients)
            and self.core.joint_states is not None
        ):
            if time.monotonic() > deadline:
                missing = [
                    client.srv_name for client in clients if not client.service_is_ready()
                ] or ["joint_states"]
                raise ArmError(
                    f"nothing answers under {self.namespace} ({', '.join(missing)}): no xs_sdk? {START}"
                )
            time.sleep(0.02)
        known = time.monotonic() + NAME_LIMIT
        while not any(map(self.serves, NAMES)) and time.monotonic() < known:
            time.sleep(0.02)

    def serves(self, name: str) -> bool:
        """Return whether a node of this name runs in the namespace of the driver."""
        return (name, self.namespace) in self.node.get_node_names_and_namespaces()

    def call(self, client: Client, request: Any, limit: float) -> Any:
        """Call a service of xs_sdk and return its response; not for the control loop.

        Raises:
            ArmError: If it does not answer within `limit` seconds.
        """
        done = threading.Event()
        future: Future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        if not done.wait(limit):
            client.remove_pending_request(future)
            raise ArmError(
                f"xs_sdk did not answer {client.srv_name} within {limit:g} s; is its bus in order?"
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
    # Names and parameters given to the process are the arm node's.
    node = Node(
        "xs_client",
        namespace=namespace,
        use_global_arguments=False,
        start_parameter_services=False,
    )
    return node, OwnCore(node)


def _interbotix(namespace: str) -> tuple[Node, XsCore]:
    """Return InterbotixManipulatorXS's core; its constructor waits for ever, so the services must be there before."""
    robot: Callable[..., Node] = importlib.import_module(
        "interbotix_common_modules.common_robot.robot"
    ).InterbotixRobotNode
    arm = importlib.import_module("interbotix_xs_modules.xs_robot.arm")
    node = robot(node_name="xs_client", namespace=namespace, use_global_arguments=False)
    deadline = time.monotonic() + START_LIMIT
    wanted = {f"{namespace}/{name}" for name in (*SERVICES, "set_motor_pid_gains")}
    while missing := wanted - {name for name, _ in node.get_service_names_and_types()}:
        if time.monotonic() > deadline:
            node.destroy_node()
            raise ArmError(
                f"nothing answers under {namespace} ({', '.join(sorted(missing))}): no xs_sdk? {START}"
            )
        time.sleep(0.05)
    name = namespace.strip("/")
    # No gripper: it would add a timer that publishes efforts of its own.
    robot_arm = arm.InterbotixManipulatorXS(
        MODEL, gripper_name=None, robot_name=name, node=node, iterative_update_fk=False
    )
    return node, robot_arm.core

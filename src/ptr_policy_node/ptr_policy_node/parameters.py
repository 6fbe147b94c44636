"""ROS parameters of the policy node and its shadow."""

from __future__ import annotations

from rclpy.node import Node

from ptr_common.node import PIXELS, parameter
from ptr_common.stamps import MAX_CAMERA_LATENCY

MAX_AGES = (0.01, 2.0)
"""Range of the maximum ages [s]; no value in it switches the check off."""


def declare_parameters(node: Node) -> None:
    """Declare what a policy node can be told."""
    latency = (0.0, MAX_CAMERA_LATENCY)
    parameter(node, "bundle", "", "folder of the bundle", settable=True)
    name = "full SHA-256 that the bundle must have; empty: any"
    parameter(node, "bundle_sha256", "", name, settable=True)
    key = "public key (PEM file) with which the bundle must be signed; empty: none"
    parameter(node, "policy_key", "", key, settable=True)
    parameter(node, "camera", "over_shoulder", "camera of the policy", settable=True)
    width = "image width of the camera [pixels]"
    parameter(node, "width", 640, width, PIXELS, settable=True)
    height = "image height of the camera [pixels]"
    parameter(node, "height", 480, height, PIXELS, settable=True)
    task = "task of an episode whose START names none"
    parameter(node, "task", "", task, settable=True)
    backend = "backend of the bundle: auto, or one of BACKENDS"
    parameter(node, "backend", "auto", backend, settable=True)
    precision = "type of convolutions: float32 or bfloat16"
    parameter(node, "precision", "float32", precision, settable=True)
    threads = "CPU threads of PyTorch"
    parameter(node, "threads", 1, threads, (1, 256), settable=True)
    parameter(node, "camera_latency", 0.0, "camera latency [s]", latency, settable=True)
    hold = "steps of Q below the demonstrations after which it stops; 0: any number"
    parameter(node, "q_hold_steps", 0, hold, (0, 1000), settable=True)
    age = "maximum time since the exposure of an image that is acted on [s]"
    parameter(node, "max_image_age", 0.2, age, MAX_AGES)
    age = "maximum age of an arm state that is acted on [s]"
    parameter(node, "max_state_age", 0.2, age, MAX_AGES)

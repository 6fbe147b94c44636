"""Imports that run against the direction of docs/design.md, and circles; part of `make check`.

Every import counts, also one inside a function. Allowed is only what `ALLOWED` lists.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

MESSAGES = (
    "builtin_interfaces",
    "diagnostic_msgs",
    "rcl_interfaces",
    "rosgraph_msgs",
    "sensor_msgs",
)
NUMERIC = ("cv2", "numpy", "tqdm", "yaml")
SHARED = ("ptr_common",)
DATA = (*SHARED, "ptr_training.errors", *NUMERIC)
LEARNING = (*DATA, "torch")
ROS = (
    *SHARED,
    *NUMERIC,
    *MESSAGES,
    "ptr_msgs",
    "rclpy",
    "geometry_msgs",
    "std_msgs",
    "std_srvs",
)

ALLOWED: dict[str, tuple[str, ...]] = {
    "ptr_common": (*NUMERIC, "argcomplete", "jinja2", "markupsafe"),
    "ptr_common.qos": ("rclpy",),
    "ptr_common.managed_node": ("rclpy", *MESSAGES),
    "ptr_common.node": ("rclpy", *MESSAGES),
    "ptr_policy_node": (*ROS, "torch", "openvino", "cryptography"),
    "ptr_policy_node.served": ("msgpack", "websockets"),
    "ptr_training.errors": SHARED,
    "ptr_training.submit": (*SHARED, "ptr_training.errors", "submitit", "tqdm"),
    "ptr_training.data": LEARNING,
    "ptr_training.bags": (
        *DATA,
        "ptr_training.data",
        "rosbags",
        "mcap",
        "apsw",
        "lz4",
        "compression",
        "backports",
    ),
    "ptr_training.importers": (
        *LEARNING,
        "ptr_training.data",
        "av",
        "google",
        "google_crc32c",
        "lance",
        "pyarrow",
    ),
    "ptr_training.viewing": (
        *(*DATA, "ptr_training.data", "ptr_training.bags"),
        *("ptr_training.importers.video", "rerun"),
    ),
    "ptr_training.inspection": (
        *(*DATA, "ptr_training.data", "ptr_training.viewing"),
        *("jinja2", "matplotlib"),
    ),
    "ptr_training.models": (*LEARNING, "ptr_training.data"),
    "ptr_training.agents": (*LEARNING, "ptr_training.data", "ptr_training.models"),
    "ptr_training.training": (
        *(*LEARNING, "ptr_training.data", "ptr_training.models", "ptr_training.agents"),
        "tensorboard",
    ),
    "ptr_training.deploy": (
        *(*LEARNING, "ptr_training.data", "ptr_training.models", "ptr_training.agents"),
        *(
            "ptr_training.training",
            "ptr_policy_node.bundle",
            "ptr_policy_node.policy",
            "ptr_policy_node.signature",
            "matplotlib",
        ),
    ),
    "widowx_bringup.arm": (
        *ROS,
        "daqp",
        "interbotix_xs_modules",
        "interbotix_xs_msgs",
        "mink",
        "mujoco",
        "qpsolvers",
    ),
    "widowx_bringup.camera": (*ROS, "tf2_msgs", "glfw", "OpenGL"),
    "widowx_bringup.sim": (
        *(
            *ROS,
            "mujoco",
            "widowx_bringup.arm",
            "widowx_bringup.camera",
            "ptr_policy_node.policy",
        ),
        *("ptr_policy_node.observation", "ptr_training.data"),
    ),
    "widowx_bringup.graph": (
        *ROS,
        "lifecycle_msgs",
        "launch",
        "launch_ros",
        "ptr_policy_node.bundle",
        "widowx_bringup.arm",
        "widowx_bringup.camera",
        "widowx_bringup.sim.tasks",
    ),
    "widowx_bringup.recording": (
        *ROS,
        "ament_index_python",
        "mcap",
        "ptr_training.bags",
        "widowx_bringup.camera",
    ),
    "widowx_bringup.run_task": (
        *(*ROS, "widowx_bringup.arm", "widowx_bringup.graph"),
        "widowx_bringup.recording.bag_writer",
    ),
    "widowx_bringup.teleop": (
        *(*ROS, "pyspacemouse", "widowx_bringup.arm", "widowx_bringup.graph"),
        *("widowx_bringup.sim.tasks", "widowx_bringup.camera"),
        *("ptr_policy_node", "ptr_training.bags", "ptr_training.inspection"),
    ),
    "widowx_bringup.console": (
        *(*ROS, "websockets", "widowx_bringup.graph", "widowx_bringup.teleop"),
        *("widowx_bringup.sim.tasks", "widowx_bringup.evaluation.session"),
        *("ptr_policy_node.bundle", "ptr_policy_node.q_band", "widowx_bringup.camera"),
    ),
    "widowx_bringup.replay": (
        *(*ROS, "ptr_policy_node.bundle", "ptr_policy_node.policy", "ptr_training.bags"),
        "widowx_bringup.graph",
    ),
    "widowx_bringup.doctor": (
        *(
            *ROS,
            "interbotix_xs_msgs",
            "mujoco",
            "torch",
            "widowx_bringup.camera",
            "widowx_bringup.graph",
        ),
        "widowx_bringup.sim",
        *(f"widowx_bringup.benchmark.{name}" for name in ("assets", "driver", "tasks")),
    ),
    "widowx_bringup.benchmark": (
        *(*LEARNING, "gymnasium", "mani_skill", "sapien", "trimesh"),
        *("ptr_policy_node", "ptr_training", "widowx_bringup.evaluation"),
        "widowx_bringup.sim.collect",
    ),
    "widowx_bringup.evaluation": (
        *ROS,
        "jinja2",
        "matplotlib",
        "ptr_policy_node",
        "ptr_training",
        "scipy",
        "widowx_bringup",
    ),
}
"""What each room may import beside the standard library, `ptr_common` and itself."""


def modules() -> dict[str, Path]:
    """Return the file of each of our modules by its dotted name."""
    found = {}
    for package in sorted((ROOT / "src").iterdir()):
        for file in sorted((package / package.name).rglob("*.py")):
            name = ".".join(file.relative_to(package).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = file
    return found


def imports_of(
    source: str, module: str, *, is_package: bool = False
) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of whatever a module imports, wherever in it the import stands.

    Args:
        source: Its text.
        module: Its dotted name.
        is_package: Whether it is the `__init__` of a package.
    """
    parents = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else []
            start = ".".join([*base, *filter(None, [node.module])])
            yield from ((node.lineno, f"{start}.{alias.name}") for alias in node.names)


def violations(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """Return a line of text for each import of a module that `ALLOWED` does not list."""
    rooms = [name for name in ALLOWED if _is_within(module, name)]
    own = max(rooms, key=len, default=module)
    allowed = {own, *SHARED, *sys.stdlib_module_names}
    for room in rooms:
        allowed |= {room, *ALLOWED[room]}
    return [
        f"line {line}: {module} imports {name}; {own} may import: {', '.join(ALLOWED.get(own, ()))}"
        for line, name in imports_of(source, module, is_package=is_package)
        if not any(_is_within(name, permitted) for permitted in allowed)
    ]


def _is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def graph(files: Mapping[str, Path]) -> dict[str, set[str]]:
    """Return which of our modules each of them imports."""
    edges: dict[str, set[str]] = {}
    for module, file in files.items():
        edges[module] = set()
        for _, name in imports_of(
            file.read_text(), module, is_package=file.name == "__init__.py"
        ):
            target = name if name in files else name.rpartition(".")[0]
            if target in files and target != module:
                edges[module].add(target)
    return edges


def circle(edges: Mapping[str, set[str]]) -> list[str]:
    """Return the modules of an import circle in order; empty where there is none."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def main() -> int:
    """Print what is wrong; return 1 if anything is."""
    files, wrong = modules(), []
    for module, file in files.items():
        found = violations(file.read_text(), module, is_package=file.name == "__init__.py")
        wrong += [f"{file.relative_to(ROOT)}: {text}" for text in found]
    if modules_in_circle := circle(graph(files)):
        wrong.append(f"import circle: {' -> '.join(modules_in_circle)}")
    print(
        "\n".join(wrong)
        or f"imports of {len(files)} modules: all along the direction, no circle"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

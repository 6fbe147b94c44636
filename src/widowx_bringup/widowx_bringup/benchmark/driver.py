"""The simulator's packages and its Vulkan driver: whether they are there, and how to get them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

from ptr_common.process.separate import run_separately

from .tasks import BenchmarkError

INSTALL = "pip install --no-deps -r requirements/optional/benchmark.txt (about 1 GB)"

HOW_TO_GET = (
    "Mesa's software driver serves from version 25 on (22.3 of Debian 12 is refused), with or "
    "without a GPU: apt-get install -t bookworm-backports mesa-vulkan-drivers on Debian 12, "
    "apt-get install mesa-vulkan-drivers on Debian 13 and Ubuntu 24.04; VK_ICD_FILENAMES names "
    "one that lies elsewhere (…/lvp_icd.json)"
)

MODULES = ("mani_skill", "sapien")

TIMEOUT = 60.0
"""Longest time in which a renderer is opened [s]."""


def missing_modules() -> list[str]:
    """Return which of the simulator's packages are not installed."""
    return [name for name in MODULES if importlib.util.find_spec(name) is None]


def check_installed() -> None:
    """Refuse to go on without the simulator's packages.

    Raises:
        BenchmarkError: With the line that installs them.
    """
    if absent := missing_modules():
        raise BenchmarkError(f"not installed: {', '.join(absent)}; {INSTALL}")


def check_driver() -> None:
    """Open a renderer on the CPU in a process of its own: a driver may crash it.

    Raises:
        BenchmarkError: If there is none, with how to get one.
    """
    try:
        done = run_separately(__name__, TIMEOUT)
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"no renderer within {TIMEOUT:g} s; {HOW_TO_GET}") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        reason = lines[-1] if lines else f"the process ended with status {done.returncode}"
        raise BenchmarkError(f"no Vulkan driver that SAPIEN takes ({reason}); {HOW_TO_GET}")


def main() -> int:
    """Open a renderer on the CPU; what hinders it goes to standard error."""
    import sapien

    print(sapien.render.RenderSystem(sapien.Device("cpu")))
    return 0


if __name__ == "__main__":
    sys.exit(main())

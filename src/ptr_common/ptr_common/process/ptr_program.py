"""How the verbs of `ptr` are started as processes."""

from __future__ import annotations

import sys

SHARED_VERBS = ("pretrain", "finetune")
"""Verbs whose work several processes can share."""


def ptr_program(processes: int = 1) -> list[str]:
    """Return the first words of a command line; the verb and its arguments follow.

    Args:
        processes: Processes that share each batch of `SHARED_VERBS`, by torchrun.
    """
    module = ["-m", "ptr_common.cli"]
    if processes > 1:
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        module = [*torchrun, str(processes), *module]
    return [sys.executable, *module]

"""The options of `ptr bundle`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ptr_common.arguments import positive_float, positive_int
from ptr_policy_node.bundle import FORMS

DESCRIPTION = "Export a checkpoint as a bundle for the policy node."


def make_parser() -> argparse.ArgumentParser:
    """Return the options of `ptr bundle`."""
    parser = argparse.ArgumentParser(prog="ptr bundle", description=DESCRIPTION)
    parser.add_argument(
        "run", type=Path, help="run folder, or a checkpoint file (required)"
    )
    parser.add_argument(
        "--step",
        type=int,
        metavar="N",
        help="which checkpoint of the run (default: the choice of `ptr select`, else the newest)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the bundle (required)"
    )
    parser.add_argument(
        "--format",
        choices=FORMS,
        default="export",
        help="of the programs: torch.export, which every backend but one runs, "
        "or TorchScript (default: %(default)s)",
    )
    parser.add_argument(
        "--sign",
        type=Path,
        metavar="KEYFILE",
        help="sign the bundle with this private Ed25519 key, PEM (default: not signed)",
    )
    _add_acting_options(parser)
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace an existing bundle (default: off, it is refused)",
    )
    return parser


def _add_acting_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of how an agent with a critic acts."""
    parser.add_argument(
        "--act",
        choices=("mode", "best_of_n"),
        help="how an agent with a critic acts: the policy's mode, or of drawn motions the one of "
        "the largest min Q (default: agent.act of the configuration)",
    )
    parser.add_argument(
        "--act-samples",
        type=positive_int,
        metavar="N",
        help="motions that best_of_n chooses from (default: agent.act_samples of the run)",
    )
    parser.add_argument(
        "--draw-gripper",
        action=argparse.BooleanOptionalAction,
        help="draw a binary gripper, or take the likelier or better value "
        "(default: agent.draw_gripper of the run)",
    )
    parser.add_argument(
        "--gripper-temperature",
        type=positive_float,
        metavar="T",
        help="best_of_n draws the gripper by p exp(min Q / T) "
        "(default: agent.gripper_temperature of the run)",
    )

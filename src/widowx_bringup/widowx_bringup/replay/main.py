"""`ptr replay`: recorded episodes again, through a bundle or on the arm.

    ptr replay runs/ptr/evaluation/bags --bundle runs/ptr/bundle
    ptr replay bags/first --on-arm --simulated

The first command gives the recorded frames to a bundle and compares its actions with those that
were published. The second plays the actions that were requested on an arm, through all its limits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ptr_common.arguments import VerbParser, positive_float
from ptr_training.bags.find import find_bags
from widowx_bringup.graph.arguments import ROBOT_NAME
from widowx_bringup.graph.values import parse_values

from .through_bundle import RECORDED, BundleChoice, replay_through_bundle

TOLERANCE = 1e-5
"""Largest difference from the recording [m, rad, opening; Q relative where it is above 1]."""

OF_BUNDLE = ("tolerance", "out", "backend", "other_bundle")
OF_ARM = ("simulated", "yes", "robot_name", "start_tolerance", "log", "values")
"""Options of one use only."""


def _parser() -> VerbParser:
    parser = VerbParser("replay", __doc__)
    parser.add_argument(
        "bags", type=Path, nargs="+", metavar="BAG", help="bags, or folders of bags"
    )
    use = parser.add_mutually_exclusive_group(required=True)
    use.add_argument(
        "--bundle",
        type=Path,
        help="recompute the recorded actions of this bundle (default: none; it or --on-arm "
        "is needed)",
    )
    use.add_argument(
        "--on-arm",
        action="store_true",
        help="play the requested actions of one episode on the arm (default: off)",
    )
    parser.add_argument(
        "--episode", default="", help="identifier of one episode (default: every one)"
    )
    _add_options_of_bundle(parser)
    _add_options_of_arm(parser)
    return parser


def _add_options_of_bundle(parser: VerbParser) -> None:
    group = parser.add_argument_group("with --bundle")
    group.add_argument(
        "--tolerance",
        type=positive_float,
        default=TOLERANCE,
        help="largest difference allowed [m, rad, opening; Q relative where it is above 1]",
    )
    group.add_argument(
        "--out", type=Path, help="folder for replay.json and steps.csv (default: none)"
    )
    group.add_argument(
        "--backend",
        default=RECORDED,
        help="backend of the bundle, see config/policy.yaml (default: %(default)s: the one "
        "that ran, in its precision)",
    )
    group.add_argument(
        "--other-bundle",
        action="store_true",
        help="compare with a bundle that did not run in the bag (default: it is refused)",
    )


def _add_options_of_arm(parser: VerbParser) -> None:
    group = parser.add_argument_group("with --on-arm")
    group.add_argument(
        "--simulated",
        action="store_true",
        help="start a simulated graph with the recorded scene (default: the running graph)",
    )
    group.add_argument(
        "--yes",
        action="store_true",
        help="move a real arm without asking (default: it is asked)",
    )
    group.add_argument(
        "--robot-name", default=ROBOT_NAME.default, help="namespace of the graph"
    )
    group.add_argument(
        "--start-tolerance",
        type=positive_float,
        default=0.03,
        help="largest distance of the gripper from where the episode began [m]",
    )
    group.add_argument(
        "--log",
        type=Path,
        default=Path("runs", "replay"),
        help="folder for bag and logs of the simulated graph",
    )
    group.add_argument(
        "--values",
        nargs="+",
        default=[],
        metavar="name:=value",
        help="arguments of the simulated graph `record` (default: none)",
    )


def main(argv: list[str]) -> int:
    """Recompute a policy's recorded actions, or play recorded actions on the arm."""
    parser = _parser()
    options = parser.parse_args(argv)
    _refuse_unused(parser, options)
    bags = find_bags(options.bags)
    if options.on_arm:
        from .on_arm import ArmOptions, replay_on_arm

        values = {"robot_name": options.robot_name, **parse_values(options.values)}
        return replay_on_arm(
            bags,
            options.episode,
            ArmOptions(
                simulated=options.simulated,
                yes=options.yes,
                start_tolerance=options.start_tolerance,
                log=options.log,
                values=values,
            ),
        )
    choice = BundleChoice(options.bundle, options.backend, options.other_bundle)
    return replay_through_bundle(
        bags, options.episode, choice, tolerance=options.tolerance, out=options.out
    )


def _refuse_unused(parser: VerbParser, options: argparse.Namespace) -> None:
    """Refuse options of the other use."""
    unused, use = (OF_BUNDLE, "--bundle") if options.on_arm else (OF_ARM, "--on-arm")
    for name in unused:
        if getattr(options, name) != parser.get_default(name):
            parser.error(f"--{name.replace('_', '-')} goes with {use}")

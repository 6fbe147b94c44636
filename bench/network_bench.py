"""Measure the second computer: two network namespaces, joined by a cable.

A robot runs on one computer. A peer with ROS's default settings lists its nodes, takes arm
states and images, and calls arm/hold: from the other computer, from the same one, and the
other way round. Then images go from process to process on the robot's computer while the
peer takes them too.

    .venv/bin/python bench/network_bench.py --seconds 60

Needs root, or user namespaces; ends with status 77 where neither is permitted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from network_roles import Sight
from two_computers import (
    ADDRESSES,
    CABLE,
    Computer,
    NotPermittedError,
    become_root,
    two_computers,
)

from ptr_common.text_table import text_table
from widowx_bringup.graph.environment import (
    DISCOVERY_RANGE,
    PROFILE,
    STATIC_PEERS,
    environment,
    profile_file,
)

NOT_PERMITTED = 77
"""Exit status where this computer makes no namespaces."""

SLOW = "50mbit"
"""Rate of the slow cable; the images of one camera are 221 Mbit/s."""


# --- who sees whom ------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A robot, a peer, and what the peer is to reach.

    Attributes:
        name: What is tried.
        robot: Variables of ROS of the robot.
        peer: Variables of ROS of the peer.
        apart: Whether the peer is on the other computer.
        reaches: Whether the peer is to reach the robot; None where it is only measured.
    """

    name: str
    robot: Mapping[str, str]
    peer: Mapping[str, str]
    apart: bool = True
    reaches: bool | None = True


def cases(other_profile: Path | None) -> list[Case]:
    """Return what is tried.

    Args:
        other_profile: A Fast DDS profile to compare with; None for none.
    """
    ours = {PROFILE: str(profile_file())}
    simulation = environment({})
    names_it = {STATIC_PEERS: ADDRESSES[0]}
    here = {DISCOVERY_RANGE: "LOCALHOST"}
    found = [
        Case("robot with our profile, default peer", ours, {}),
        Case("robot with our profile, default peer beside it", ours, {}, apart=False),
        Case("default robot, peer with our profile", {}, ours),
        Case("simulation, LOCALHOST peer beside it", simulation, here, apart=False),
        Case(
            "simulation, peer that names its computer", simulation, names_it, reaches=False
        ),
    ]
    if other_profile is not None:
        other = {PROFILE: str(other_profile)}
        title = other_profile.name
        found += [
            Case("our profile at both ends", ours, ours),
            Case("no profile at either end", {}, {}),
            Case(
                "our profile and LOCALHOST, default peer",
                {**ours, **here},
                {},
                reaches=False,
            ),
            Case(f"robot with {title}, default peer", other, {}, reaches=None),
            Case(f"robot with {title}, default peer beside it", other, {}, False, None),
            Case(f"default robot, peer with {title}", {}, other, reaches=None),
        ]
    return found


def look(
    case: Case,
    domain: int,
    computers: tuple[Computer, Computer],
    options: argparse.Namespace,
) -> Sight:
    """Start robot and peer of a case and return what the peer reached.

    Args:
        case: What is tried.
        domain: ROS domain of both.
        computers: That of the robot, and the other one.
        options: See `_parser`.
    """
    robot, other = computers
    in_domain = {"ROS_DOMAIN_ID": str(domain)}
    role = "graph" if options.graph else "robot"
    moving = robot.start({**case.robot, **in_domain}, role)
    try:
        assert moving.stdout is not None
        if moving.stdout.readline() != "ready\n":
            raise SystemExit(f"{case.name}: the robot ended: {moving.communicate()[1]}")
        where = other if case.apart else robot
        limit = options.limit if case.reaches else options.silence
        looking = where.start({**case.peer, **in_domain}, "peer", str(limit))
        return Sight(**_answer(looking, case.name))
    finally:
        moving.communicate()  # it ends with its standard input


def _answer(process: subprocess.Popen[str], name: str) -> dict[str, object]:
    """Close the standard input of a process and return what it prints in the end."""
    output, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{name}: a process ended: {errors or output}")
    answer: dict[str, object] = json.loads(output.splitlines()[-1])
    return answer


def judge(case: Case, sight: Sight) -> bool:
    """Return whether a peer reached what it is to reach: all of it, or nothing."""
    if case.reaches is None:
        return True
    return sight.whole if case.reaches else sight.nothing


# --- images -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stream:
    """Images from process to process on the robot's computer.

    Attributes:
        name: Settings.
        profile: Fast DDS profile of both processes.
        watched: Whether a default peer on the other computer takes the images too.
        slow: Whether the cable is slow.
    """

    name: str
    profile: Path
    watched: bool = False
    slow: bool = False


def streams(other_profile: Path | None) -> Iterator[Stream]:
    """Yield what is sent, the slow cable last.

    Args:
        other_profile: A Fast DDS profile to compare with; None for none.
    """
    if other_profile is not None:
        yield Stream(other_profile.name, other_profile)
    ours = profile_file()
    yield Stream("our profile", ours)
    yield Stream("our profile, a default peer takes them too", ours, watched=True)
    yield Stream(f"the same over a cable of {SLOW}", ours, watched=True, slow=True)
    if other_profile is not None:
        yield Stream(f"{other_profile.name}, again", other_profile)


def send(
    stream: Stream, seconds: float, computers: tuple[Computer, Computer]
) -> dict[str, object]:
    """Send 640x480 images at 30 Hz; return what arrived, and what the peer took.

    Args:
        stream: What is sent.
        seconds: Duration [s].
        computers: That of publisher and subscriber, and the other one.
    """
    robot, other = computers
    slow_down(robot, stream.slow)
    watching = other.start({}, "watch") if stream.watched else None
    arrived = _answer(
        robot.start({PROFILE: str(stream.profile)}, "images", str(seconds)), stream.name
    )
    taken = _answer(watching, stream.name)["images"] if watching else None
    return {"name": stream.name, **arrived, "peer": taken}


def slow_down(computer: Computer, slow: bool) -> None:
    """Make the cable slow, or as fast as it was.

    Args:
        computer: The computer that sends.
        slow: Whether it is to be slow.
    """
    words = [
        "add",
        "dev",
        CABLE,
        "root",
        "tbf",
        "rate",
        SLOW,
        "burst",
        "64kb",
        "limit",
        "64mb",
    ]
    if not slow:
        words = ["delete", "dev", CABLE, "root"]
    command = computer.command("tc", "qdisc", *words)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if slow and done.returncode:
        raise SystemExit(f"the cable cannot be made slow: {done.stderr.strip()}")


# --- command ------------------------------------------------------------------------------


def main() -> int:
    """Measure; return 1 if a peer does not reach what it is to reach, or an image is lost."""
    options = _parser().parse_args()
    try:
        become_root()
        with two_computers() as computers:
            return _measure(options, computers)
    except NotPermittedError as error:
        print(f"network namespaces are not permitted here: {error}", file=sys.stderr)
        return NOT_PERMITTED


def _measure(options: argparse.Namespace, computers: tuple[Computer, Computer]) -> int:
    tried = cases(options.other_profile)
    with ThreadPoolExecutor(options.jobs) as pool:
        sights = list(
            pool.map(
                lambda domain, case: look(case, domain, computers, options),
                range(1, len(tried) + 1),
                tried,
            )
        )
    good = all(map(judge, tried, sights))
    rows = [_row(case, sight) for case, sight in zip(tried, sights, strict=True)]
    print(
        text_table(("", "nodes", "states", "images", "arm/hold", "s"), rows, align="lrrrlr")
    )

    sent = []
    if options.seconds:
        sent = [
            send(stream, options.seconds, computers)
            for stream in streams(options.other_profile)
        ]
        titles = (
            *("640x480 at 30 Hz", "sent", "received", "p50 ms", "p99 ms"),
            *("send CPU ms", "take CPU ms", "peer"),
        )
        print(
            text_table(titles, [_stream_row(arrived) for arrived in sent], align="lrrrrr")
        )
        good &= all(
            arrived["received"] == arrived["sent"]
            for arrived in sent
            if str(arrived["name"]).startswith(("our profile", "the same"))
        )
    if options.json:
        found = {
            case.name: asdict(sight) for case, sight in zip(tried, sights, strict=True)
        }
        options.json.write_text(json.dumps({"sights": found, "images": sent}, indent=1))
    return int(not good)


def _row(case: Case, sight: Sight) -> tuple[str, ...]:
    counts = map(str, (len(sight.nodes), sight.states, sight.images))
    answered = "answers" if sight.held else "no answer"
    return (case.name, *counts, answered, f"{sight.seconds:.1f}")


def _stream_row(arrived: Mapping[str, object]) -> tuple[str, ...]:
    cells = []
    keys = ("sent", "received", "p50", "p99", "publisher_cpu", "subscriber_cpu", "peer")
    for key in ("name", *keys):
        value = arrived[key]
        text = f"{value:.1f}" if isinstance(value, float) else str(value)
        cells.append("" if value is None else text)
    return tuple(cells)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of images; 0 for none (default: 10)"
    )
    parser.add_argument(
        "--limit", type=float, default=20.0, help="longest time of a peer [s] (default: 20)"
    )
    parser.add_argument(
        "--silence",
        type=float,
        default=4.0,
        help="time of a peer that is to reach nothing [s] (default: 4)",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="cases tried at the same time (default: 1)"
    )
    parser.add_argument(
        "--graph",
        action="store_true",
        help="the robot is the simulated graph (default: one small node)",
    )
    parser.add_argument(
        "--other-profile",
        type=Path,
        metavar="FILE",
        help="Fast DDS profile to compare with (default: none)",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="receives the results (default: none)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

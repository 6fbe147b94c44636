"""Damages files of every format that we read, and sees whether each damage is refused.

    make fuzz                             # 5000 inputs
    make fuzz ARGS="--inputs 300 bundle"  # some of them, of formats whose name has `bundle`
    make fuzz ARGS="--only store 17"      # one input again, with its traceback

Input N of a format is always the same. Each is a genuine file with bytes or values changed. It
must be read as the genuine one is, or be refused by a `PtrError`, within 20 s of processor time
and 2 GB of memory. Where a format has a checksum, no altered value may be accepted.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, cast

import numpy as np
import yaml
from fuzz_formats import FORMATS, Format

from ptr_common.errors import PtrError

SECONDS = 20
BYTES = 2 << 30

EVIL: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    10**30,
    2**63,
    0.5,
    1e308,
    float("inf"),
    float("nan"),
    "",
    "x",
    "5",
    "../../x",
    "\u202e\x00",
    "x" * 100_000,
    [],
    ["x"] * 9,
    [[[[1]]]],
    {},
    {"x": {"y": 1}},
)
"""Values that take the place of genuine ones in documents."""


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Return bytes with one kind of damage."""
    data = bytearray(content)
    size = len(data)
    at = int(rng.integers(0, max(1, size)))
    length = int(rng.integers(1, 65))
    kind = int(rng.integers(0, 7))
    if kind == 0 and size:  # bits
        for _ in range(int(rng.integers(1, 5))):
            data[int(rng.integers(0, size))] ^= 1 << int(rng.integers(0, 8))
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        del data[at : at + length]
    elif kind == 3:
        data[at:at] = rng.bytes(length)
    elif kind == 4:  # a number becomes huge, or negative
        data[at : at + 8] = bytes(
            [255, 0, 127, 128][int(rng.integers(0, 4))] for _ in range(8)
        )
    elif kind == 5:
        data[at:at] = data[at : at + length] * int(rng.integers(1, 50))
    else:
        data[at : at + length] = rng.bytes(length)
    return bytes(data)


def damage_document(content: bytes, suffix: str, rng: np.random.Generator) -> bytes:
    """Return a JSON or YAML document with a value of another kind, or a key missing."""
    root = {"": json.loads(content) if suffix == ".json" else yaml.safe_load(content)}
    parent, place = cast("Any", root), cast("Any", "")
    while True:
        child = parent[place]
        if not isinstance(child, (dict, list)) or not child or rng.random() < 0.15:
            break
        keys = list(child) if isinstance(child, dict) else list(range(len(child)))
        parent, place = child, keys[int(rng.integers(0, len(keys)))]
    if rng.random() < 0.2 and place != "":
        del parent[place]
    else:
        parent[place] = EVIL[int(rng.integers(0, len(EVIL)))]
    values = root[""]
    text = (
        json.dumps(values) if suffix == ".json" else yaml.safe_dump(values, sort_keys=False)
    )
    return text.encode("utf-8", "surrogatepass")


def altered(format: Format, number: int, genuine: Path, folder: Path) -> None:
    """Copy a genuine input into an empty folder, and damage one file of it."""
    rng = np.random.default_rng([number, sum(format.name.encode())])
    shutil.copytree(genuine, folder, dirs_exist_ok=True)
    name = format.files[int(rng.integers(0, len(format.files)))]
    file = folder / name
    content = file.read_bytes()
    if file.suffix in (".json", ".yaml") and rng.random() < 0.6:
        file.write_bytes(damage_document(content, file.suffix, rng))
    else:
        file.write_bytes(damage(content, rng))
    is_list = name.endswith(("card.yaml", "bundle.json"))  # which has the checksums
    if format.repair and not is_list and rng.random() < 0.5:
        format.repair(folder, name)


# One input


class TookTooLongError(Exception):
    """An input took more than `SECONDS` of processor time."""


def _alarm(_number: int, _frame: FrameType | None) -> NoReturn:
    raise TookTooLongError


def outcome_of(format: Format, number: int, genuine: Path, expected: Any) -> str:
    """Return what is wrong with how one input is read; "" if nothing is."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "input"
        altered(format, number, genuine, folder)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            found = format.read(folder)
        except PtrError:
            return ""
        except TookTooLongError:
            return f"took more than {SECONDS} s"
        except BaseException as error:  # anything else is what this program looks for
            return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:120]}"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        if format.sealed and repr(found) != repr(expected):
            return "an altered value was accepted"
    return ""


def fuzz(format: Format, numbers: list[int]) -> dict[int, str]:
    """Return what is wrong by the number of the input; a child process reads them.

    A child that dies of an input is replaced by another one that goes on after it.
    """
    wrong: dict[int, str] = {}
    left = list(numbers)
    while left:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _read_all(format, left, writer)
        os.close(writer)
        with os.fdopen(reader) as lines:
            for line in lines:
                if reason := line.rstrip("\n").partition(" ")[2]:
                    wrong[left[0]] = reason
                left.pop(0)
        status = os.waitpid(child, 0)[1]
        if left:
            wrong[left.pop(0)] = (
                f"the process ended with {os.waitstatus_to_exitcode(status)}"
            )
    return wrong


def _read_all(format: Format, numbers: list[int], writer: int) -> NoReturn:
    """Read inputs and write a line for each: its number, and what is wrong."""
    signal.signal(signal.SIGPROF, _alarm)
    warnings.simplefilter("ignore")
    try:
        with tempfile.TemporaryDirectory() as name, os.fdopen(writer, "w", 1) as lines:
            genuine = Path(name) / "genuine"
            genuine.mkdir()
            format.make(genuine)
            expected = format.read(genuine)
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + BYTES
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            # libraries tell of what they decode
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            for number in numbers:
                reason = outcome_of(format, number, genuine, expected)
                lines.write(f"{number} {reason}\n")
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


# Command line


def _repeat(format: Format, number: int) -> None:
    """Read one input again, in this process, with its traceback."""
    with tempfile.TemporaryDirectory() as name:
        genuine, folder = Path(name) / "genuine", Path(name) / "input"
        genuine.mkdir()
        format.make(genuine)
        altered(format, number, genuine, folder)
        print(format.read(folder))


def main() -> int:
    """Damage files and count what is read wrongly."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("names", nargs="*", help="parts of names of formats (default: all)")
    parser.add_argument("--inputs", type=int, default=5000, help="of all (default: 5000)")
    parser.add_argument(
        "--only",
        nargs=2,
        metavar=("FORMAT", "N"),
        help="read input N of a format again and show its traceback (default: off)",
    )
    args = parser.parse_args()
    if args.only:
        _repeat(
            {format.name: format for format in FORMATS}[args.only[0]], int(args.only[1])
        )
        return 0
    chosen = [
        format
        for format in FORMATS
        if not args.names or any(part in format.name for part in args.names)
    ]
    failures = 0
    for index, format in enumerate(chosen):
        count = args.inputs // len(chosen) + (index < args.inputs % len(chosen))
        wrong = fuzz(format, list(range(count)))
        failures += len(wrong)
        print(f"{format.name}: {count} inputs, {len(wrong)} wrong", flush=True)
        for number, reason in wrong.items():
            print(f"  {format.name} {number}: {reason}")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())

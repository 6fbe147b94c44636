# PYTHON_ARGCOMPLETE_OK
"""The `ptr` command: finds its verbs among the installed packages and runs one."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from types import FrameType
from typing import NoReturn

from .errors import PtrError
from .names import did_you_mean
from .process import interrupts
from .process.end_limit import end_limit
from .verbs import OURS, Verb, complete, find_verbs, how_to_get, missing

REFUSED = 2
INTERRUPTED = 130
LATEST_EXIT = 10.0
"""Longest time from the end of an interrupted verb to that of its process [s]."""

LATEST_UNWINDING = 60.0
"""Longest time in which a verb ends that was told to [s]; a driver that is ended last takes 45."""

COLUMN = 12  # characters of the longest verb and the gap after it


def main(argv: list[str] | None = None) -> int:
    """Run `ptr VERB …`.

    Returns:
        The exit status: 0 done, 2 refused with a reason on standard error, 130 interrupted.
    """
    arguments = sys.argv[1:] if argv is None else argv
    verbs = find_verbs()
    if "_ARGCOMPLETE" in os.environ:
        _complete(verbs)
        return 0
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview(verbs))
        return 0
    if arguments[0] == "--version":
        from .versions import revision  # deferred: the overview needs no subprocess

        print(f"ptr {revision()}")
        return 0

    name, *rest = arguments
    if name not in verbs:
        return _refuse("ptr", f"no verb {name!r}; {did_you_mean(name, verbs)}")
    return _run(verbs[name], rest)


def _run(verb: Verb, arguments: list[str]) -> int:
    """Run a verb and return its exit status.

    An error that the user can mend is printed as one sentence; one of the program is raised.

    Args:
        verb: The verb.
        arguments: Command line after the verb.
    """
    command = f"ptr {verb.name}"
    if verb.entry is None:
        return _refuse(command, f"this verb needs {how_to_get(verb.package)}")

    try:
        function = verb.entry.load()
        _unwind_on_terminate()
        interrupts.raise_again()
        return int(function(arguments) or 0)
    except KeyboardInterrupt:
        return _interrupted(command)
    except Exception as error:
        return _explain(command, error)
    finally:
        interrupts.end_at_once()


def _explain(command: str, error: Exception) -> int:
    """Print an error that the user can mend, and return the exit status; raise another one."""
    if isinstance(
        error, (PtrError, OSError)
    ):  # no permission, disk full: it names the path
        return _refuse(command, str(error))
    if interrupts.received():  # a module that was interrupted while it was imported
        return _interrupted(command)
    if isinstance(error, ImportError) and (reason := missing(error)):
        return _refuse(command, f"this verb needs {reason}")
    if isinstance(error, ValueError) and _is_raised_by_us(error):
        return _refuse(command, str(error))
    raise error


def _interrupted(command: str) -> int:
    _limit_end(LATEST_EXIT)
    print(f"{command}: interrupted", file=sys.stderr)
    return INTERRUPTED


def _limit_end(limit: float) -> None:
    """End this process after a time [s], whatever hangs; one that others started is left alone."""
    if interrupts.OURS:
        end_limit.start(limit)


def _refuse(command: str, reason: str) -> int:
    """Print why a command is refused, and return the exit status."""
    print(f"{command}: {reason}", file=sys.stderr)
    return REFUSED


def _is_raised_by_us(error: BaseException) -> bool:
    """Return whether code of our packages raised an error.

    An error of ours is about a value that the user gave. An error of a library that our code
    calls is a mistake of the program, and its traceback is needed.
    """
    trace = error.__traceback__
    module = ""
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        trace = trace.tb_next

    return module.partition(".")[0] in OURS


def _complete(verbs: Mapping[str, Verb]) -> None:
    """Answer a shell that asks for completions; without an answer, it offers file names."""
    # A shell that waits for completions has no use for an error.
    with contextlib.suppress(Exception):
        complete(verbs)


def _unwind_on_terminate() -> None:
    """Let SIGTERM and SIGHUP unwind a verb as Ctrl-C does, so that it removes unfinished files."""

    def leave(number: int, _: FrameType | None) -> NoReturn:
        """End with the exit status of a process that a signal ended."""
        _limit_end(LATEST_UNWINDING)
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, leave)


def overview(verbs: Mapping[str, Verb]) -> str:
    """Return the usage of `ptr` with a line for each verb; no verb is imported.

    Args:
        verbs: All verbs by name, in the order in which they are listed.
    """
    lines = ["usage: ptr VERB [options]      (options of a verb: ptr VERB --help)", ""]
    for verb in verbs.values():
        lines.append(f"  {verb.name:<{COLUMN}} {verb.summary()}".rstrip())
    lines += ["", "ptr --version prints the version and the git revision."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

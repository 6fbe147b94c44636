"""The `ptr` command: finds its verbs among the installed packages and runs one."""

from __future__ import annotations

import difflib
import signal
import sys
from importlib.metadata import EntryPoint, entry_points
from types import FrameType
from typing import NoReturn

from .errors import PtrError

GROUP = "ptr.commands"


def main(argv: list[str] | None = None) -> int:
    """Run `ptr VERB …`; return the exit status (0 done, 2 refused with a reason, 130 interrupted)."""
    arguments = sys.argv[1:] if argv is None else argv
    verbs = {entry.name: entry for entry in entry_points(group=GROUP)}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview(verbs))
        return 0
    verb, *rest = arguments
    if verb not in verbs:
        near = difflib.get_close_matches(verb, verbs, 1)
        hint = f"did you mean {near[0]}? There" if near else "there"
        print(
            f"ptr: no verb {verb!r}; {hint} are: {', '.join(sorted(verbs))}",
            file=sys.stderr,
        )
        return 2
    _unwind_on_terminate()
    try:
        return int(verbs[verb].load()(rest) or 0)
    except PtrError as error:
        print(f"ptr {verb}: {error}", file=sys.stderr)
        return 2
    except (
        OSError
    ) as error:  # no permission, disk full, missing file: the message names the path
        print(f"ptr {verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"ptr {verb}: interrupted", file=sys.stderr)
        return 130


def _unwind_on_terminate() -> None:
    """Have SIGTERM and SIGHUP end a verb as Ctrl-C does: nothing is left half-written, and no process behind."""

    def leave(number: int, _: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, leave)


def _overview(verbs: dict[str, EntryPoint]) -> str:
    lines = ["usage: ptr VERB [options]      (ptr VERB --help tells more)", ""]
    for name in sorted(verbs):
        summary = (verbs[name].load().__doc__ or "").strip().splitlines()
        lines.append(f"  {name:<12} {summary[0] if summary else ''}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

"""Shell completion of `ptr` by argcomplete: verbs, and the options of the verb that is typed.

    eval "$(register-python-argcomplete ptr)"

A verb makes its parser inside its function. So the function is called, and stopped where it
would parse; argcomplete gets the parser that it would have used.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn

from .verbs import Verb

METHODS = ("parse_known_args", "parse_known_intermixed_args")
"""Methods of `argparse.ArgumentParser` by which all others parse."""


class _ParserFoundError(BaseException):
    """Carries a parser out of the function that made it, past every `except Exception`."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def parser_of(function: Callable[[list[str]], object]) -> argparse.ArgumentParser:
    """Return the parser that the function of a verb makes; the function ends where it parses.

    Args:
        function: The function of a verb, which takes its command line.

    Raises:
        LookupError: If the function ends without parsing anything.
    """
    try:
        with _stop_at_parsing():
            function([])
    except _ParserFoundError as found:
        return found.parser
    raise LookupError(f"{function.__module__}.{function.__qualname__} parses no arguments")


@contextlib.contextmanager
def _stop_at_parsing() -> Iterator[None]:
    """Have every parser raise `_ParserFoundError` where it would parse."""

    def stop(parser: argparse.ArgumentParser, *_: object, **__: object) -> NoReturn:
        """Take the place of a method that parses."""
        raise _ParserFoundError(parser)

    originals = {}
    for method in METHODS:
        originals[method] = getattr(argparse.ArgumentParser, method)
        setattr(argparse.ArgumentParser, method, stop)
    try:
        yield
    finally:
        for method, original in originals.items():
            setattr(argparse.ArgumentParser, method, original)


def complete(verbs: Mapping[str, Verb]) -> None:
    """Answer the shell's request for completions and end the process.

    Nothing happens where argcomplete is not installed. The shell's request is in the
    environment: `COMP_LINE`, `COMP_POINT`, and `_ARGCOMPLETE`, the number of words that
    start the program.

    Args:
        verbs: All verbs by name.
    """
    try:
        import argcomplete
        from argcomplete.lexers import split_line
    except ImportError:
        return
    first = int(os.environ["_ARGCOMPLETE"])
    words = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))[3][first:]

    parser = _parser_of_verbs(verbs)
    if words:
        verb = verbs.get(words[0])
        if verb is None or verb.entry is None:
            return
        parser = parser_of(verb.entry.load())
        os.environ["_ARGCOMPLETE"] = str(first + 1)  # the verb starts the program, too
    argcomplete.autocomplete(parser)


def _parser_of_verbs(verbs: Mapping[str, Verb]) -> argparse.ArgumentParser:
    """Return a parser of `ptr` itself; shells that show descriptions show the summaries."""
    parser = argparse.ArgumentParser(prog="ptr")
    parser.add_argument("--version", action="store_true")
    commands = parser.add_subparsers()
    for verb in verbs.values():
        commands.add_parser(verb.name, help=verb.summary().replace("%", "%%"))
    return parser

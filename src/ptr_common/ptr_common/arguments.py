"""Command lines of the verbs: one parser for all, and the types of their options."""

from __future__ import annotations

import argparse
import ipaddress
import math
from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import urlsplit

MAX_SEED = 2**63 - 1
"""Largest seed that NumPy, PyTorch and the messages take."""


class DefaultsFormatter(argparse.RawDescriptionHelpFormatter):
    """Help that ends each option with its default; a description keeps its lines."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        """Return the help of an option with its default, unless the help says it already."""
        text = action.help
        if not text or "default" in text or not action.option_strings:
            return text
        has_no_default = action.default is None or action.default is False
        if has_no_default or action.default in (argparse.SUPPRESS, []):
            return text
        return f"{text} (default: %(default)s)"


class VerbParser(argparse.ArgumentParser):
    """The parser of a `ptr` verb: it shows every default, and refuses in one sentence.

    Args:
        verb: Name of the verb.
        description: What the verb does, for `--help`.
        options: Passed on to `argparse.ArgumentParser`.
    """

    def __init__(self, verb: str, description: str | None, **options: Any) -> None:
        options.setdefault("formatter_class", DefaultsFormatter)
        options["prog"] = f"ptr {verb}"
        super().__init__(description=description, **options)

    def error(self, message: str) -> NoReturn:
        """Print why the command line is refused, and end with status 2."""
        self.exit(2, f"{self.prog}: {message}; all options: {self.prog} --help\n")


def whole_number(
    smallest: int, largest: int | None = None, *, noun: str = "a whole number"
) -> Callable[[str], int]:
    """Return an argparse type for whole numbers in a range.

    Args:
        smallest: Smallest value allowed.
        largest: Largest value allowed; None: no bound.
        noun: Name of the value in an error message.

    Returns:
        A function from text to number that raises `argparse.ArgumentTypeError`.
    """
    bounds = f"{noun} of at least {smallest}"
    if largest is not None:
        bounds = f"{noun} from {smallest} to {largest}"

    def parse(text: str) -> int:
        """Return the number, or raise ArgumentTypeError with the range."""
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {bounds}") from None
        if value < smallest or (largest is not None and value > largest):
            raise argparse.ArgumentTypeError(f"{value} is not allowed; give {bounds}")
        return value

    return parse


positive_int = whole_number(1)
"""Type of a count: at least 1."""

tcp_port = whole_number(0, 65535, noun="a TCP port")
"""Type of a port to serve on; 0: any free one."""

seed = whole_number(0, MAX_SEED, noun="a seed")
"""Type of a random seed: not negative."""


def positive_float(text: str) -> float:
    """Return a finite number above 0; the argparse type of factors and durations.

    Raises:
        argparse.ArgumentTypeError: If the text is no number, or the number is not above 0.
    """
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0") from None
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text} is not allowed; give a number above 0")
    return value


def is_loopback(host: str) -> bool:
    """Return whether a host name or address to serve on is this computer alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def host_of(text: str) -> str:
    """Return the name in a header `Host`, without its port; empty if there is none."""
    try:
        return urlsplit(f"//{text}").hostname or ""
    except ValueError:
        return ""

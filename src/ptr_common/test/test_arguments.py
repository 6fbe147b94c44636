"""Command lines: which values are refused, and what the help says of a default."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest

from ptr_common.arguments import (
    MAX_SEED,
    VerbParser,
    host_of,
    positive_float,
    positive_int,
    seed,
    whole_number,
)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (positive_int, "1", 1),
        (seed, "0", 0),
        (seed, str(MAX_SEED), MAX_SEED),
        (whole_number(0, 5), "5", 5),
        (positive_float, "0.5", 0.5),
    ],
)
def test_values_in_the_range_are_taken(
    kind: Callable[[str], float], text: str, value: float
) -> None:
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (positive_int, "0", "0 is not allowed; give a whole number of at least 1"),
        (positive_int, "-1", "-1 is not allowed"),
        (positive_int, "1.5", "'1.5' is not a whole number of at least 1"),
        (seed, "-3", "-3 is not allowed; give a seed from 0 to"),
        (seed, str(MAX_SEED + 1), "is not allowed; give a seed from 0 to"),
        (whole_number(0, 5), "6", "6 is not allowed; give a whole number from 0 to 5"),
        (positive_float, "0", "0 is not allowed; give a number above 0"),
        (positive_float, "nan", "nan is not allowed"),
        (positive_float, "inf", "inf is not allowed"),
        (positive_float, "fast", "'fast' is not a number above 0"),
    ],
)
def test_other_values_are_refused_with_what_is_allowed(
    kind: Callable[[str], float], text: str, message: str
) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        kind(text)


def test_a_refusal_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    parser = VerbParser("record", "Record.")
    parser.add_argument("--episodes", type=positive_int, default=10)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--episodes", "-1"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "ptr record: argument --episodes: -1 is not allowed; give a whole number of at least 1; "
        "all options: ptr record --help\n"
    )


def test_the_help_names_a_default_once() -> None:
    parser = VerbParser("record", "Record.")
    parser.add_argument("--episodes", default=10, help="bags to record")
    parser.add_argument("--task", default="a", help="task (default: the first)")
    parser.add_argument("--seed", default=0, help="seed")
    parser.add_argument("--log", help="file")
    parser.add_argument("--quiet", action="store_true", help="print nothing")
    text = parser.format_help()
    assert "bags to record (default: 10)" in text
    assert "seed (default: 0)" in text
    assert text.count("(default:") == 3


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("127.0.0.1:8080", "127.0.0.1"),
        ("[::1]:80", "::1"),
        ("robot", "robot"),
        ("", ""),
        ("[", ""),
    ],
)
def test_a_host_header_has_a_name_before_its_port(header: str, host: str) -> None:
    assert host_of(header) == host

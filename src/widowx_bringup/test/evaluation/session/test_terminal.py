"""The terminal of a session, on a pseudo-terminal and without one."""

from __future__ import annotations

import os
import pty
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from widowx_bringup.evaluation.session.terminal import numbered, open_terminal


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The other side of a terminal that is the standard input."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield ours
    os.close(ours)


def test_keys_come_one_by_one_and_the_terminal_is_as_before_afterwards(
    keyboard: int,
) -> None:
    before = termios.tcgetattr(sys.stdin.fileno())
    with open_terminal() as terminal:
        assert terminal.present
        assert terminal.key() == ""
        os.write(keyboard, b"f2\n")
        assert [terminal.key() for _ in range(4)] == ["f", "2", "\n", ""]
    assert termios.tcgetattr(sys.stdin.fileno()) == before


def test_without_a_terminal_no_key_ever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path(os.devnull).open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with open_terminal() as terminal:
            assert not terminal.present
            assert terminal.key() == ""


def test_words_are_chosen_by_their_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("grasped", "lifted")
    assert numbered(words) == "1 grasped  2 lifted"
    with Path(os.devnull).open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with open_terminal() as terminal:
            chosen = [terminal.choice(key, words) for key in ("2", "0", "\n", "3", "x", "")]
    assert chosen == ["lifted", "", "", None, None, None]

"""Options of the verbs: each has a help text, and its default is in it."""

from __future__ import annotations

import argparse

import pytest

from ptr_common.verbs import find_verbs, parser_of

VERBS = (
    *(
        "benchmark",
        "calibrate",
        "compile",
        "demo",
        "evaluate",
        "record",
        "replay",
        "report",
    ),
    *("serve", "study", "view"),
)


def parser(verb: str) -> argparse.ArgumentParser:
    """Return the parser of a verb."""
    entry = find_verbs()[verb].entry
    assert entry is not None
    return parser_of(entry.load())


def actions_below(found: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return the options of the actions of a verb, such as those of `ptr benchmark simpler`."""
    below: list[argparse.Action] = []
    for action in found._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                below += one._actions
    return below


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_has_a_help_text_with_its_default(verb: str) -> None:
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    found = parser(verb)
    formatter = found.formatter_class(prog=found.prog)
    for action in [*found._actions, *actions_below(found)]:
        assert action.help, f"{verb} {action.dest} has no help text"
        if action.option_strings and not action.required and action.dest != "help":
            text = formatter._expand_help(action)
            assert "(default: " in text, f"{verb} {action.dest}: {text}"


@pytest.mark.parametrize(
    ("verb", "arguments", "sentence"),
    [
        ("record", ["--episodes", "-1"], "argument --episodes: -1 is not allowed"),
        ("record", ["--episodes", "0"], "argument --episodes: 0 is not allowed"),
        ("record", ["--max-steps", "-5"], "argument --max-steps: -5 is not allowed"),
        ("record", ["--seed", "-3"], "argument --seed: -3 is not allowed; give a seed"),
        ("evaluate", ["--rollouts", "0"], "argument --rollouts: 0 is not allowed"),
        ("evaluate", ["--max-steps", "-5"], "argument --max-steps: -5 is not allowed"),
        ("evaluate", ["--workers", "0"], "argument --workers: 0 is not allowed"),
        ("evaluate", ["--real-time-factor", "0"], "argument --real-time-factor: 0 is not"),
        ("study", ["p", "--rollouts", "0"], "argument --rollouts: 0 is not allowed"),
        ("study", ["p", "--jobs", "-1"], "argument --jobs: -1 is not allowed"),
        ("demo", ["--seed", "x"], "argument --seed: 'x' is not a seed from 0 to"),
        ("calibrate", ["arm"], "argument what: invalid choice: 'arm'"),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(
    verb: str, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    entry = find_verbs()[verb].entry
    assert entry is not None
    with pytest.raises(SystemExit) as ended:
        entry.load()(arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"ptr {verb}: {sentence}")
    assert error.count("\n") == 1

"""Mutants: what is changed, what is left alone, and whether the tests of a module notice."""

from __future__ import annotations

import ast
import subprocess
import sys

import mutants
import pytest
import yaml
from mutants import KNOWN, TARGETS


def changes(source: str) -> set[tuple[str, str]]:
    return {(mutant.before, mutant.after) for mutant in mutants.mutants(source)}


@pytest.mark.parametrize(
    ("source", "change"),
    [
        ("x = a < b", ("a < b", "a <= b")),
        ("x = a < b", ("a < b", "a >= b")),
        ("x = a + b", ("a + b", "a - b")),
        ("x = a and b", ("a and b", "a or b")),
        ("x = not a", ("not a", "a")),
        ("x = -a", ("-a", "a")),
        ("x = 3", ("3", "4")),
        ("x = 0.5", ("0.5", "0.75")),
        ("x = True", ("True", "False")),
        ("x = min(a, b)", ("min(a, b)", "max(a, b)")),
        ("x = a.any()", ("a.any()", "a.all()")),
        ("x = np.clip(a, 0, b)", ("np.clip(a, 0, b)", "a")),
        ("x = a.detach()", ("a.detach()", "a")),
        ("self.x = a", ("self.x = a", "pass")),
        ("f(a)", ("f(a)", "pass")),
        ("x += a", ("x += a", "x -= a")),
    ],
)
def test_a_spot_is_changed(source: str, change: tuple[str, str]) -> None:
    assert change in changes(source)


@pytest.mark.parametrize(
    "source",
    [
        "import a",
        "'text'",
        "raise E(f'{a + b}')",
        "def f(x: int | None): ...",
        "if TYPE_CHECKING:\n    a = 1",
    ],
)
def test_texts_and_types_are_left_alone(source: str) -> None:
    assert not changes(source)


def test_a_mutant_changes_one_spot_only() -> None:
    for mutant in mutants.mutants("def f(a, b):\n    return a < b or a + 1 > b"):
        assert ast.unparse(mutant.tree).count("\n") == 1
        assert mutant.function == "f"


def survive(change: str) -> str:
    """Run the tests of the guard after a change, in a fresh interpreter; return if they pass."""
    program = (
        "import ast, mutants; target = mutants.TARGETS['guard']; source = target.file.read_text(); "
        f"print(mutants.survives(target, ast.parse(source{change}), 120.0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=mutants.ROOT / "scripts",
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_tests_notice_a_guard_that_lets_late_commands_pass() -> None:
    assert survive("") == "True"
    assert survive(".replace(' > self.max_age', ' < self.max_age')") == "False"


def test_what_is_known_to_survive_is_a_mutant_of_today_and_has_a_reason() -> None:
    known = yaml.safe_load(KNOWN.read_text()) or []
    files = {target.module: target.file for target in TARGETS.values()}
    for entry in known:
        assert len(entry["reason"]) > 20, entry
        found = mutants.mutants(files[entry["module"]].read_text())
        keys = {(mutant.function, mutant.before, mutant.after) for mutant in found}
        assert (entry["function"], entry["before"], entry["after"]) in keys, entry

"""Changes one spot of a module at a time and asks whether its tests notice: `make mutants`.

A mutant that no test kills is either a hole in the tests or means the same as the original; what is
known to mean the same stands in docs/surviving_mutants.yaml, with the reason. Each mutant runs in a
forked process that has imported the libraries and none of our packages, so that only the tests cost
time.

    python scripts/mutants.py                       every module of TARGETS, a sample of 60 each
    python scripts/mutants.py limits guard --all    every mutant of two modules
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import yaml

ROOT = Path(__file__).resolve().parents[1]
KNOWN = ROOT / "docs" / "surviving_mutants.yaml"
ASKED = 0.9
"""Share of the mutants, less those known to mean the same, that tests have to kill."""

LIBRARIES = (
    "numpy",
    "yaml",
    "hypothesis",
    "hypothesis.extra.numpy",
    "pytest",
    "torch",
    "mujoco",
    "mink",
    "cv2",
)


@dataclass(frozen=True)
class Target:
    """A module and the tests that have to notice a change of it."""

    module: str
    tests: tuple[str, ...]  # paths from the root

    @property
    def file(self) -> Path:
        """Its source."""
        return (
            ROOT
            / "src"
            / self.module.split(".")[0]
            / Path(*self.module.split(".")).with_suffix(".py")
        )


ARM, TRAINING = "src/widowx_bringup/test/arm", "src/ptr_training/test"


def _arm(module: str, *tests: str) -> Target:
    return Target(
        f"widowx_bringup.arm.{module}", tuple(f"{ARM}/test_{name}.py" for name in tests)
    )


def _training(module: str, *tests: str) -> Target:
    return Target(
        f"ptr_training.{module}", tuple(f"{TRAINING}/{name}.py" for name in tests)
    )


CQL_TESTS = (
    "agents/test_cql_terms",
    "agents/test_cql_sampling",
    "agents/test_cql",
    "agents/test_cql_order",
    "agents/test_cql_passes",
    "agents/test_binary_gripper",
    "agents/test_cql_stages",
    "agents/test_cql_literal",
)

TARGETS = {
    "limits": _arm("limits", "limits", "joint_limits", "moving_targets", "controller"),
    "refusal": _arm("refusal", "refusal", "limits", "joint_limits", "controller"),
    "counts": _arm("counts", "counts", "guard"),
    "guard": _arm("guard", "guard"),
    "controller": _arm("controller", "controller", "controller_sequences"),
    "alignment": _training(
        "bags.alignment", "bags/test_alignment", "bags/test_alignment_rule"
    ),
    "cql": _training("agents.cql", *CQL_TESTS),
    "cql_terms": _training("agents.cql_terms", *CQL_TESTS),
    "cql_sampling": _training("agents.cql_sampling", *CQL_TESTS),
    "replay": _training("data.replay", "data/test_replay", "data/test_distributed"),
    "transitions": _training(
        "data.transitions", "data/test_transitions", "data/test_replay"
    ),
    "selection": _training("deploy.selection_rules", "deploy/test_selection_rules"),
    "trends": _training(
        "training.trends", "training/test_trends", "deploy/test_selection_rules"
    ),
}


@dataclass(frozen=True)
class Mutant:
    """One change."""

    line: int
    function: str  # where it is, dotted; empty at module level
    before: str  # source of the smallest changed expression or statement
    after: str
    tree: ast.Module

    def __str__(self) -> str:
        return f"line {self.line}, {self.function or 'module'}: {self.before}  ->  {self.after}"


SWAPPED: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
}
"""Operators and those that take their place."""

RENAMED = {
    "min": "max",
    "max": "min",
    "amin": "amax",
    "amax": "amin",
    "any": "all",
    "all": "any",
}
RENAMED |= {
    "minimum": "maximum",
    "maximum": "minimum",
    "argmin": "argmax",
    "argmax": "argmin",
}
RENAMED |= {"floor": "ceil", "ceil": "floor", "left": "right", "right": "left"}
"""Functions and methods, and those that take their place."""

TRANSPARENT = ("clip", "clamp", "detach", "abs")
"""Calls that are replaced by what they are given."""


def mutants(source: str) -> list[Mutant]:
    """Return every change of a module's source, in the order of its lines."""
    tree = ast.parse(source)
    found = []
    for path in _paths(tree):
        for change in _changes(_at(tree, path)):
            mutated = copy.deepcopy(tree)
            node = _at(mutated, path)
            parent = _at(mutated, path[:-1])
            before = ast.unparse(node)
            after = _apply(parent, path[-1], node, change)
            if after != before:
                ast.fix_missing_locations(mutated)
                line = getattr(node, "lineno", 0)
                found.append(
                    Mutant(
                        line, _function(tree, path), _short(before), _short(after), mutated
                    )
                )
    return sorted(found, key=lambda mutant: mutant.line)


Step = tuple[str, int | None]
Path_ = tuple[Step, ...]


def _paths(node: ast.AST, path: Path_ = ()) -> Iterator[Path_]:
    """Yield the way from the root to every node that may be changed."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "type_comment"):
            continue
        children = value if isinstance(value, list) else [value]
        for index, child in enumerate(children):
            if isinstance(child, ast.AST) and not _is_left_alone(child):
                step = (name, index if isinstance(value, list) else None)
                yield (*path, step)
                yield from _paths(child, (*path, step))


def _is_left_alone(node: ast.AST) -> bool:
    """Return whether changes inside of a node say nothing: texts, imports, assertions."""
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.JoinedStr, ast.Assert, ast.Raise)):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _at(node: ast.AST, path: Path_) -> ast.AST:
    for name, index in path:
        value = getattr(node, name)
        node = value if index is None else value[index]
    return node


def _function(tree: ast.AST, path: Path_) -> str:
    names = []
    node = tree
    for step in path:
        node = _at(node, (step,))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.append(node.name)
    return ".".join(names)


def _changes(node: ast.AST) -> list[object]:
    """Return what a node may become: another operator, constant or name; None: it goes."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        return list(SWAPPED.get(type(node.ops[0]), ()))
    if isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp)):
        return list(SWAPPED.get(type(node.op), ()))
    if isinstance(node, ast.Constant):
        return _other_constants(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        return [None]
    if isinstance(node, ast.Call):
        return _other_calls(node)
    if isinstance(node, (ast.Expr, ast.AugAssign)):
        return [None]
    return (
        [None]
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute)
        else []
    )


def _other_constants(value: object) -> list[object]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1] if value else [1]
    if isinstance(value, float):
        return [value * 1.5, value * 0.5] if value else [1.0]
    return []


def _other_calls(node: ast.Call) -> list[object]:
    name = (
        node.func.attr
        if isinstance(node.func, ast.Attribute)
        else getattr(node.func, "id", "")
    )
    if name in RENAMED:
        return [RENAMED[name]]
    return [None] if name in TRANSPARENT else []


def _apply(parent: ast.AST, step: Step, node: ast.AST, change: object) -> str:
    """Change a node in place, or put another one in its place; return its source then."""
    if isinstance(node, ast.Compare):
        node.ops[0] = change()  # type: ignore[operator]
        return ast.unparse(node)
    if isinstance(node, (ast.BinOp, ast.BoolOp)) or (
        isinstance(node, ast.AugAssign) and change
    ):
        node.op = change()  # type: ignore[operator]
        return ast.unparse(node)
    if isinstance(node, ast.Constant):
        node.value = change  # type: ignore[assignment]
        return ast.unparse(node)
    if isinstance(node, ast.Call) and isinstance(change, str):
        _rename(node, change)
        return ast.unparse(node)
    other: ast.AST = ast.Pass()
    if isinstance(node, ast.UnaryOp):
        other = node.operand
    elif isinstance(node, ast.Call):
        is_method = isinstance(node.func, ast.Attribute) and not _is_module(node.func.value)
        other = node.func.value if is_method else node.args[0]  # type: ignore[attr-defined]
    name, index = step
    if index is None:
        setattr(parent, name, other)
    else:
        getattr(parent, name)[index] = other
    return ast.unparse(other)


def _is_module(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("np", "torch", "math", "F")


def _rename(node: ast.Call, name: str) -> None:
    if isinstance(node.func, ast.Attribute):
        node.func.attr = name
    elif isinstance(node.func, ast.Name):
        node.func.id = name


def _short(source: str) -> str:
    return " ".join(source.split())


# --- running -------------------------------------------------------------------------------------


class MutatedModule(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module as the mutant's tree, before its file is found."""

    def __init__(self, name: str, file: Path, tree: ast.Module) -> None:
        self._name, self._file, self._tree = name, file, tree

    def find_spec(
        self, name: str, path: object, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(name, self._file, loader=self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """See `importlib.abc.Loader`."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """See `importlib.abc.Loader`."""
        exec(compile(self._tree, str(self._file), "exec"), module.__dict__)


def survives(target: Target, tree: ast.Module, timeout: float) -> bool:
    """Return whether the tests of a module pass with a mutant in its place.

    Args:
        target: The module.
        tree: What it becomes.
        timeout: Time after which the mutant counts as killed: it may have made an endless loop [s].
    """
    child = os.fork()
    if child == 0:
        os.setsid()
        _run_tests(target, tree)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _run_tests(target: Target, tree: ast.Module) -> None:
    """Run the tests in this forked process, which ends with their exit status."""
    import pytest

    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    sys.meta_path.insert(0, MutatedModule(target.module, target.file, tree))
    options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "-W", "ignore"]
    status = 1
    try:
        status = int(pytest.main([*options, *(str(ROOT / test) for test in target.tests)]))
    finally:
        os._exit(status)


def known_survivors() -> set[tuple[str, str, str, str]]:
    """Return module, function, before and after of the mutants known to mean the same."""
    if not KNOWN.is_file():
        return set()
    entries = yaml.safe_load(KNOWN.read_text(encoding="utf-8")) or []
    return {
        (entry["module"], entry["function"], entry["before"], entry["after"])
        for entry in entries
    }


def examine(name: str, target: Target, count: int | None, seed: int) -> bool:
    """Run mutants of a module, print those that survive, and return whether enough are killed."""
    every = mutants(target.file.read_text(encoding="utf-8"))
    chosen = (
        every
        if count is None or count >= len(every)
        else random.Random(seed).sample(every, count)
    )
    known = known_survivors()
    started = time.monotonic()
    if not survives(target, ast.parse(target.file.read_text(encoding="utf-8")), 600.0):
        print(f"{name}: the tests fail without any change; see them with `make test`")
        return False
    timeout = 10.0 + 5.0 * (time.monotonic() - started)
    killed, equivalent = 0, 0
    for mutant in sorted(chosen, key=lambda mutant: mutant.line):
        if not survives(target, mutant.tree, timeout):
            killed += 1
        elif (target.module, mutant.function, mutant.before, mutant.after) in known:
            equivalent += 1
        else:
            print(f"  {name}: {mutant}", flush=True)
    counted = len(chosen) - equivalent
    share = killed / counted if counted else 1.0
    duration = time.monotonic() - started
    print(
        f"{name}: {killed} of {counted} mutants killed ({share:.0%}; asked {ASKED:.0%}), "
        f"{equivalent} known to mean the same, {len(every)} in all, {duration:.0f} s",
        flush=True,
    )
    return share >= ASKED


def main(argv: Sequence[str] | None = None) -> int:
    """Run mutants of the modules that must not be wrong; return 1 if too many survive."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("modules", nargs="*", help=f"of {', '.join(TARGETS)} [all]")
    parser.add_argument(
        "--sample",
        type=int,
        default=60,
        help="mutants of each module, drawn at random [60]",
    )
    parser.add_argument("--all", action="store_true", help="every mutant, no sample")
    parser.add_argument("--seed", type=int, default=0, help="of the sample [0]")
    options = parser.parse_args(argv)
    if unknown := set(options.modules) - set(TARGETS):
        parser.error(f"no module {sorted(unknown)[0]!r}; there are: {', '.join(TARGETS)}")
    for library in LIBRARIES:
        importlib.import_module(library)
    sys.modules["torch"].set_num_threads(1)  # more threads would not survive the fork
    os.chdir(ROOT)
    count = None if options.all else options.sample
    results = [
        examine(name, TARGETS[name], count, options.seed)
        for name in options.modules or TARGETS
    ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Figures of the code, beside what docs/design.md asks of it: `make figures`.

Counted with `ast` over our packages, without tests, set-up files and launch files. A length of a
function or a file is in physical lines; a folder counts its modules without `__init__.py`.
"""

from __future__ import annotations

import argparse
import ast
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSION = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass
class Figures:
    """What was counted in some files."""

    files: dict[Path, int] = field(default_factory=dict)  # lines of each
    functions: dict[str, int] = field(
        default_factory=dict
    )  # lines of each, by file:line name
    line_lengths: list[int] = field(
        default_factory=list
    )  # characters, of lines that are not blank
    statements: int = 0
    comprehensions: int = 0
    nested: list[str] = field(default_factory=list)  # comprehensions inside comprehensions
    untyped: list[str] = field(default_factory=list)
    undocumented: list[str] = field(default_factory=list)  # public functions and classes
    public: int = 0

    def add(self, file: Path) -> None:
        """Count one file."""
        text = file.read_text(encoding="utf-8")
        lines = text.splitlines()
        self.files[file] = len(lines)
        self.line_lengths += [len(line) for line in lines if line.strip()]
        for node in ast.walk(ast.parse(text)):
            place = f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            self.statements += isinstance(node, ast.stmt)
            if isinstance(node, COMPREHENSION):
                self._add_comprehension(node, place)
            if isinstance(node, FUNCTION):
                self._add_function(node, place)
        for node in _public(ast.parse(text)):
            self._add_public(node, f"{file.relative_to(ROOT)}:{node.lineno}")

    def _add_comprehension(self, node: ast.AST, place: str) -> None:
        self.comprehensions += 1
        if any(
            isinstance(inner, COMPREHENSION)
            for inner in ast.walk(node)
            if inner is not node
        ):
            self.nested.append(place)

    def _add_function(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef, place: str
    ) -> None:
        assert node.end_lineno is not None
        self.functions[f"{place} {node.name}"] = node.end_lineno - node.lineno + 1
        if not _is_typed(node):
            self.untyped.append(f"{place} {node.name}")

    def _add_public(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, place: str
    ) -> None:
        self.public += 1
        if ast.get_docstring(node) is None:
            self.undocumented.append(f"{place} {node.name}")


def _public(
    scope: ast.Module | ast.ClassDef,
) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Yield the public functions and classes of a module, and public methods of those classes."""
    for node in scope.body:
        if isinstance(node, (*FUNCTION, ast.ClassDef)) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node)


def _is_typed(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    named = [argument for argument in arguments if argument.arg not in ("self", "cls")]
    return node.returns is not None and all(argument.annotation for argument in named)


def source_files(packages: Iterable[str]) -> Iterator[Path]:
    """Yield the modules of packages."""
    for package in packages:
        yield from sorted((ROOT / "src" / package / package).rglob("*.py"))


def percentile(values: Sequence[int], share: float) -> int:
    """Return the value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def largest_folder(files: Iterable[Path]) -> tuple[int, Path]:
    """Return how many modules the fullest folder holds, and the folder."""
    counts = Counter(file.parent for file in files if file.name != "__init__.py")
    folder, count = max(counts.items(), key=lambda item: item[1])
    return count, folder.relative_to(ROOT)


def rows(figures: Figures) -> list[tuple[str, float, str, bool]]:
    """Return what was counted: name, figure, what is asked, whether it is reached."""
    lengths = list(figures.functions.values())
    typed = 100 * (1 - len(figures.untyped) / max(1, len(lengths)))
    per_statement = sum(figures.files.values()) / figures.statements
    per_thousand = 1000 * figures.comprehensions / figures.statements
    folder, _ = largest_folder(figures.files)
    p90 = percentile(figures.line_lengths, 0.9)
    longest = max(figures.line_lengths)
    return [
        ("modules in the largest folder", folder, "<= 20", folder <= 20),
        (
            "lines of a function, median",
            statistics.median(lengths),
            "<= 10",
            statistics.median(lengths) <= 10,
        ),
        ("lines of a function, longest", max(lengths), "<= 50", max(lengths) <= 50),
        (
            "lines of a file, longest",
            max(figures.files.values()),
            "<= 400",
            max(figures.files.values()) <= 400,
        ),
        ("characters of a line, p90", p90, "<= 90", p90 <= 90),
        ("characters of a line, longest", longest, "<= 100", longest <= 100),
        ("lines per statement", round(per_statement, 2), ">= 1.9", per_statement >= 1.9),
        (
            "comprehensions per 1000 statements",
            round(per_thousand, 1),
            "<= 25",
            per_thousand <= 25,
        ),
        ("nested comprehensions", len(figures.nested), "0", not figures.nested),
        ("functions typed [%]", round(typed, 1), "100", typed == 100),
        (
            "public without docstring",
            len(figures.undocumented),
            "0",
            not figures.undocumented,
        ),
    ]


def offenders(figures: Figures) -> list[str]:
    """Return what stands in the way of a figure, worst first."""
    functions = sorted(figures.functions.items(), key=lambda item: -item[1])
    found = [f"{lines} lines: {name}" for name, lines in functions if lines > 50]
    files = sorted(figures.files.items(), key=lambda item: -item[1])
    found += [
        f"{lines} lines: {file.relative_to(ROOT)}" for file, lines in files if lines > 400
    ]
    found += [f"nested comprehension: {place}" for place in figures.nested]
    found += [f"not typed: {place}" for place in figures.untyped]
    return found + [f"no docstring: {place}" for place in figures.undocumented]


def main(argv: list[str] | None = None) -> int:
    """Print the table; return 1 if a figure is not reached."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "paths", nargs="*", type=Path, help="files or folders [all our packages]"
    )
    parser.add_argument("--list", action="store_true", help="list what stands in the way")
    options = parser.parse_args(argv)
    figures = Figures()
    packages = ("ptr_common", "ptr_policy_node", "ptr_training", "widowx_bringup")
    chosen: list[Path] = []
    for path in options.paths:
        chosen += (
            sorted(path.resolve().rglob("*.py")) if path.is_dir() else [path.resolve()]
        )
    for file in chosen or source_files(packages):
        figures.add(file)
    print(f"{len(figures.files)} files, {sum(figures.files.values())} lines")
    table = rows(figures)
    for name, value, asked, reached in table:
        print(
            f"  {name:<36} {value:>8}   asked {asked:<7} {'' if reached else 'not reached'}"
        )
    if options.list:
        print("\n".join(offenders(figures)))
    return 0 if all(reached for *_, reached in table) else 1


if __name__ == "__main__":
    sys.exit(main())

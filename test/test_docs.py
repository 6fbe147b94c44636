"""What the documents name exists: modules, classes, functions, presets, rows of studies, verbs."""

from __future__ import annotations

import ast
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TRAINING = ROOT / "src" / "ptr_training" / "ptr_training"
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
DOCUMENTS += [ROOT / "docker" / "README.md"]


def names_in(module: Path) -> set[str]:
    """Functions and classes of a module, methods as Class.method."""
    names = set()
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
            inner = node.body if isinstance(node, ast.ClassDef) else []
            names |= {
                f"{node.name}.{each.name}"
                for each in inner
                if isinstance(each, ast.FunctionDef)
            }
    return names


def test_code_that_the_map_of_the_paper_names_exists() -> None:
    text = (ROOT / "docs" / "paper.md").read_text()
    found = re.findall(r"`([\w/]+\.py)`((?:,? `\w+(?:\.(?!py)\w+)?`)+)", text)
    assert len(found) > 10
    for module, words in found:
        there = names_in(TRAINING / module)
        for word in re.findall(r"`([\w.]+)`", words):
            assert word in there, f"{module} has no {word}"


def test_plans_and_rows_that_the_map_of_the_paper_names_exist() -> None:
    text = (ROOT / "docs" / "paper.md").read_text()
    folder = ROOT / "config" / "studies"
    plans = {path.stem for path in folder.glob("*.yaml")}
    rows = yaml.safe_load((folder / "paper.yaml").read_text())["rows"]
    table = text.split("## Tables")[1].split("## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(lines) > 8
    for line in lines:
        for code in re.findall(r"`([^`]+)`", line):
            words = code.split()
            if words[0] in plans and "--only" in words:
                named = set(words[words.index("--only") + 1 :]) - {"…"}
                assert named <= rows.keys(), line
    named = set(re.findall(r"`(\w+)[ `]", table))
    assert plans - {"cpu", "q_decides"} <= named


def test_every_preset_but_those_of_the_demonstration_is_in_the_map_of_the_paper() -> None:
    text = (ROOT / "docs" / "paper.md").read_text()
    ours = {
        "demo_ptr",
        "demo_cql",
        "demo_bc",
        "small",
        "flow",
        "demo_macaw",
        "calql",
        "iql",
    }
    missing = (
        {path.stem for path in (ROOT / "config" / "train").glob("*.yaml")}
        - ours
        - set(re.findall(r"\b\w+\b", text))
    )
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_verbs_that_documents_show_exist(document: Path) -> None:
    verbs = {entry.name for entry in entry_points(group="ptr.commands")}
    shown = set(re.findall(r"(?:^|`|bin/)ptr ([a-z]+)", document.read_text(), re.MULTILINE))
    assert shown <= verbs


def test_tests_that_the_page_on_the_robot_names_exist() -> None:
    files = list((ROOT / "src/widowx_bringup/test").rglob("test_*.py"))
    tests = {name for file in files for name in names_in(file)} | {
        file.name for file in files
    }
    named = set(
        re.findall(r"`(test_\w+(?:\.py)?)`", (ROOT / "docs" / "robot.md").read_text())
    )
    assert len(named) > 15
    assert named <= tests


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_of_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        assert target.startswith("http") or (document.parent / target).exists(), target

"""Plans of studies: rows of methods and ablations, read from YAML files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ptr_common.documents import read_yaml
from ptr_common.errors import PtrError
from ptr_common.names import did_you_mean
from widowx_bringup.graph.graphs import config_folder

STAGES = ("pretrain", "finetune")
"""Stages of training that a row may have."""

REFERENCE = re.compile(r"\{(\w+)\}")
"""A setting's reference to the run of another row."""


class StudyError(PtrError):
    """A plan cannot be carried out."""


@dataclass(frozen=True)
class Row:
    """One method or ablation.

    In `settings`, `{name}` stands for the run of another row, which is then trained first:
    its fine-tuning, or its pre-training if it has no other stage.
    """

    name: str
    title: str
    preset: str
    source: str = ""  # place in the paper
    stages: tuple[str, ...] = (
        STAGES  # only pretrain: zero-shot; only finetune: from scratch
    )
    pretrained: str = ""  # row whose pre-training this one begins from
    prior: bool = True  # fine-tuning mixes prior data in
    retarget: str = ""  # known task whose id the target takes
    settings: tuple[str, ...] = ()  # KEY=VALUE, in both stages
    evaluate: bool = True
    deploys: str = ""  # row whose run this one bundles again; it trains nothing itself
    act: str = ""  # how its bundle acts, see `ptr bundle --act`
    draw_gripper: bool | None = None  # see `ptr bundle --draw-gripper`; None: as configured

    @property
    def needs(self) -> set[str]:
        """Names of the rows that come first."""
        names: set[str] = set()
        for setting in self.settings:
            names.update(REFERENCE.findall(setting))
        names.update(filter(None, (self.pretrained, self.deploys)))
        return names


@dataclass(frozen=True)
class StudyPlan:
    """The rows of a study, by name.

    Attributes:
        rows: The rows.
        bases: Presets that take the place of others, see `ptr pretrain --base`.
    """

    rows: dict[str, Row]
    bases: dict[str, str] = field(default_factory=dict)


def load_plan(name: str) -> StudyPlan:
    """Read a plan: a YAML file, or the name of one in config/studies.

    Raises:
        StudyError: If there is none, or it is not a plan.
    """
    path = _find(name)
    values = read_yaml(path, StudyError)
    if not isinstance(values, dict) or not isinstance(values.get("rows"), dict):
        raise StudyError(f"{path} is no plan: it needs a section `rows`")
    parent = load_plan(values["like"]) if values.get("like") else StudyPlan({})
    rows = dict(parent.rows)
    for row_name, changes in values["rows"].items():
        inherited: dict[str, Any] = {}
        if row_name in rows:
            inherited = asdict(rows[row_name])
            del inherited["name"]
        rows[row_name] = _row(path, row_name, {**inherited, **(changes or {})})
    for row in rows.values():
        if unknown := row.needs - set(rows):
            raise StudyError(
                f"{path}: row {row.name} builds on {', '.join(unknown)}, which is no row"
            )
    return StudyPlan(rows, {**parent.bases, **values.get("bases", {})})


def _find(name: str) -> Path:
    """Return the file of a plan."""
    if Path(name).is_file():
        return Path(name)
    folder = config_folder() / "studies"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in folder.glob("*.yaml"))
        raise StudyError(
            f"no plan {name!r} in config/studies, and no such YAML file; "
            f"{did_you_mean(name, known)}"
        )
    return path


def _row(path: Path, name: str, values: Mapping[str, Any]) -> Row:
    """Return a row of a plan after checking its keys and stages.

    Args:
        path: File of the plan, for error messages.
        name: Name of the row.
        values: Its keys, inherited ones included.
    """
    known = [column.name for column in fields(Row) if column.name != "name"]
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise StudyError(
                f"{path}: row {name} has an unknown key {key!r}; {did_you_mean(key, known)}"
            )
        arguments[key] = tuple(value) if isinstance(value, list) else value
    try:
        row = Row(name, **arguments)
    except TypeError as error:
        raise StudyError(
            f"{path}: row {name} needs a title and a preset ({error})"
        ) from error
    if not row.stages or set(row.stages) - set(STAGES):
        raise StudyError(
            f"{path}: row {name} has stages {list(row.stages)}; "
            f"allowed are {', '.join(STAGES)}"
        )
    return row


def with_needs(plan: StudyPlan, names: Sequence[str]) -> list[Row]:
    """Return rows and all rows that they build on, each after those it needs.

    Args:
        plan: The plan.
        names: Names of rows; none: all.

    Raises:
        StudyError: If a name is not that of a row.
    """
    ordered: dict[str, Row] = {}
    for name in names or plan.rows:
        _add_with_needs(plan, name, ordered)
    return list(ordered.values())


def _add_with_needs(plan: StudyPlan, name: str, ordered: dict[str, Row]) -> None:
    """Append a row to `ordered`, after the rows that it needs."""
    if name not in plan.rows:
        raise StudyError(f"no row {name!r} in the plan; {did_you_mean(name, plan.rows)}")
    if name in ordered:
        return
    for other in sorted(plan.rows[name].needs):
        _add_with_needs(plan, other, ordered)
    ordered[name] = plan.rows[name]

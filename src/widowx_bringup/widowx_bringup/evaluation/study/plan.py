"""Plans of studies: rows of methods and ablations, read from YAML files."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ptr_common.documents import read_yaml
from ptr_common.names import did_you_mean
from widowx_bringup.graph.graphs import config_folder
from widowx_bringup.sim.tasks import TARGET_TASK, parse_task

from .stores import GIVEN, StudyError, check_options

SECTIONS = ("like", "only", "bases", "data", "task", "rollouts", "seeds", "caution", "rows")
"""Sections of a plan's file."""

STAGES = ("pretrain", "finetune")
"""Stages of training that a row may have."""

REFERENCE = re.compile(r"\{(\w+)\}")
"""A setting's reference to the run of another row."""


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
    prior: str = "prior"  # store of prior data
    mix_prior: bool = True  # fine-tuning mixes prior data in
    target: str = "target"  # store of demonstrations
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

    @property
    def stores(self) -> list[str]:
        """Names of the stores that its own training reads."""
        if self.deploys:
            return []
        read = []
        pretrains = "pretrain" in self.stages and not self.pretrained
        finetunes = "finetune" in self.stages
        if pretrains or (finetunes and self.mix_prior):
            read.append(self.prior)
        if finetunes:
            read.append(self.target)
        return read


@dataclass(frozen=True)
class StudyPlan:
    """The rows of a study, by name.

    Attributes:
        rows: The rows.
        bases: Presets that take the place of others, see `ptr pretrain --base`.
        data: Options of `ptr collect` for each store that a study makes itself, by the store's
            name; `seed` is added to the seed of the training.
        task: Task of the demonstrations, unless another is asked for.
        rollouts: Rollouts of each row, unless asked otherwise.
        seeds: Number of seeds, unless asked otherwise; 0: the one of `--seed`.
        caution: What a reader of the table must know, beside it.
    """

    rows: dict[str, Row]
    bases: dict[str, str] = field(default_factory=dict)
    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    task: str = TARGET_TASK
    rollouts: int = 50
    seeds: int = 0
    caution: str = ""


def load_plan(name: str) -> StudyPlan:
    """Read a plan: a YAML file, or the name of one in config/studies.

    Raises:
        StudyError: If there is none, or it is not a plan.
    """
    path = _find(name)
    values = read_yaml(path, StudyError)
    if not isinstance(values, dict) or not isinstance(values.get("rows"), dict):
        raise StudyError(f"{path} is no plan: it needs a section `rows`")
    for key in values:
        if key not in SECTIONS:
            raise StudyError(
                f"{path} has an unknown section {key!r}; {did_you_mean(str(key), SECTIONS)}"
            )
    parent = load_plan(values["like"]) if values.get("like") else StudyPlan({})
    rows = _rows(path, values, parent)
    data = {**parent.data, **_checked_data(path, values.get("data", {}))}
    numbers = _numbers(path, values, parent)
    for row in rows.values():
        if unknown := row.needs - set(rows):
            raise StudyError(
                f"{path}: row {row.name} builds on {', '.join(unknown)}, which is no row"
            )
        for store in row.stores:
            if store not in (*data, *GIVEN):
                raise StudyError(
                    f"{path}: row {row.name} reads the store {store!r}, which `data` does not "
                    f"have; {did_you_mean(store, (*data, *GIVEN))}"
                )
    task = parse_task(values["task"]).name if "task" in values else parent.task
    caution = str(values.get("caution", parent.caution))
    bases = {**parent.bases, **values.get("bases", {})}
    return StudyPlan(rows, bases, data, task, **numbers, caution=caution)


def _rows(path: Path, values: Mapping[str, Any], parent: StudyPlan) -> dict[str, Row]:
    """Return the rows of a plan, those of the plan it is like included.

    Args:
        path: File of the plan, for error messages.
        values: What it holds.
        parent: The plan that it is like; with `only` just those of its rows that are named.
    """
    rows = dict(parent.rows)
    for row_name, changes in values["rows"].items():
        inherited: dict[str, Any] = {}
        if row_name in rows:
            inherited = asdict(rows[row_name])
            del inherited["name"]
        keys = {**inherited, **(changes or {})}
        grid = keys.pop("grid", {})
        row = _row(path, row_name, keys)
        if not isinstance(grid, dict) or not all(
            isinstance(v, list) for v in grid.values()
        ):
            raise StudyError(
                f"{path}: row {row_name}: grid must have a list for each setting"
            )
        rows |= _grid(row, grid)
    if not values.get("only"):
        return rows
    for name in values["only"]:
        if name not in rows:
            raise StudyError(f"{path}: `only` names no row: {did_you_mean(name, rows)}")
    return {name: rows[name] for name in values["only"]}


def _grid(row: Row, grid: Mapping[str, Sequence[Any]]) -> dict[str, Row]:
    """Return a row for each combination of a grid's values; the row itself without a grid.

    Args:
        row: What they have in common.
        grid: Values by setting; NAME_0, NAME_1 … have them in the order of nested loops.
    """
    if not grid:
        return {row.name: row}
    rows = {}
    for number, values in enumerate(itertools.product(*grid.values())):
        settings = [f"{key}={value}" for key, value in zip(grid, values, strict=True)]
        name = f"{row.name}_{number}"
        title = f"{row.title}, {' '.join(settings)}"
        rows[name] = replace(
            row, name=name, title=title, settings=(*row.settings, *settings)
        )
    return rows


def _numbers(path: Path, values: Mapping[str, Any], parent: StudyPlan) -> dict[str, int]:
    """Return how many rollouts and seeds a plan has."""
    numbers = {}
    for name in ("rollouts", "seeds"):
        number = values.get(name, getattr(parent, name))
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise StudyError(f"{path}: {name} is {number!r}; it must be a whole number")
        numbers[name] = number
    return numbers


def _checked_data(path: Path, data: Any) -> dict[str, dict[str, Any]]:
    """Return the stores of a plan after checking the options of each as `ptr collect` does."""
    if not isinstance(data, dict):
        raise StudyError(
            f"{path}: data must name stores, each with options of `ptr collect`"
        )
    for name, options in data.items():
        if not isinstance(options, dict):
            raise StudyError(f"{path}: data: {name} must have options of `ptr collect`")
        check_options(f"{path}: data: {name}", options)
    return data


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
        if key in ("prior", "target") and not isinstance(value, str):
            raise StudyError(
                f"{path}: row {name}: {key} is {value!r}; it must be the name of a store "
                "(mix_prior: false leaves prior data out of fine-tuning)"
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

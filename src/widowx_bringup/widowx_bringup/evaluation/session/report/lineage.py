"""Where the methods of a session come from: their bundles, and the runs that made them.

What is needed of both is copied into the session when it begins, under the full name of the
bundle, so that its report can be written wherever the folder goes.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptr_common.documents import read_json
from ptr_common.errors import PtrError
from ptr_common.files import atomic_folder, sha256
from ptr_policy_node.bundle import (
    BundleInfo,
    description_file,
    read_description,
    read_info,
)
from widowx_bringup.evaluation.session.plan import SessionPlan

FOLDER = "lineage"
"""Folder of the copies, in that of the session."""

DESCRIPTIONS = ("bundle.json", "served.yaml")
"""Names of the copy of what describes a method: its bundle, or how a server is asked."""

RUN_FILES = ("config.yaml", "metrics.csv", "select/choice.json", "select/q_trend.png")
"""What is copied of a run, where it has it."""


@dataclass(frozen=True)
class Lineage:
    """Where a method comes from.

    Attributes:
        method: Its name.
        sha256: Full name of its bundle.
        folder: With the copies of its run.
        info: What the bundle says of itself; None if its copy is missing or another one.
    """

    method: str
    sha256: str
    folder: Path
    info: BundleInfo | None

    @property
    def data(self) -> list[tuple[str, str, str]]:
        """Role, name and SHA-256 of each store that it learnt from."""
        if self.info is None:
            return []
        found = []
        for role, stores in self.info.data.items():
            for store in stores if isinstance(stores, list) else [stores]:
                if isinstance(store, Mapping) and "sha256" in store:
                    found.append((role, str(store.get("name", role)), str(store["sha256"])))
        return found

    @property
    def checkpoint(self) -> str:
        """Path and step of the checkpoint that it was made of; the server of a served policy."""
        if self.info is None:
            return ""
        told = self.info.checkpoint
        if self.folder.joinpath(DESCRIPTIONS[1]).exists():
            return str(told["path"])
        return f"{told.get('path', '?')}, step {told.get('step', '?')}"

    def text(self, name: str) -> str:
        """Return a text file of its run; empty if there is none."""
        file = self.folder / name
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    @property
    def q_trend(self) -> Path | None:
        """The plot by which its checkpoint was chosen."""
        file = self.folder / "q_trend.png"
        return file if file.is_file() else None

    def metrics(self) -> dict[str, list[tuple[float, float]]]:
        """Return step and value of each metric of the training, by its name.

        Raises:
            PtrError: If the file is damaged.
        """
        found: dict[str, list[tuple[float, float]]] = {}
        try:
            for row in csv.DictReader(self.text("metrics.csv").splitlines()):
                step = float(row.pop("step"))
                for name, value in row.items():
                    if value:
                        found.setdefault(name, []).append((step, float(value)))
        except (KeyError, TypeError, ValueError) as error:
            raise PtrError(
                f"{self.folder / 'metrics.csv'} is damaged: {error!r}"
            ) from error
        return found


def keep_lineage(plan: SessionPlan, folder: Path) -> None:
    """Copy what tells where the methods come from into a session.

    Args:
        plan: Of the session; its bundles are at hand.
        folder: Of the session.

    Raises:
        PtrError: If a bundle is incomplete, or a file of its run damaged.
    """
    for method, name in plan.methods.items():
        target = folder / FOLDER / name
        if target.exists():
            continue
        bundle = plan.bundles[method]
        run = _run_of(bundle)
        with atomic_folder(target) as copies:
            description = description_file(bundle)
            is_bundle = description.name == DESCRIPTIONS[0]
            copy = copies / (DESCRIPTIONS[0] if is_bundle else DESCRIPTIONS[1])
            shutil.copyfile(description, copy)
            for file in RUN_FILES if run is not None else ():
                assert run is not None
                if (run / file).is_file():
                    shutil.copyfile(run / file, copies / Path(file).name)


def _run_of(bundle: Path) -> Path | None:
    """Return the run that made a bundle, where it lies beside it; None if it does not."""
    info = read_info(bundle)
    if not info.data:  # it was not made here
        return None
    run = Path(
        str(info.checkpoint.get("path", ""))
    ).parent.parent  # RUN/checkpoints/step_N.pt
    beside = bundle.absolute().parent
    for candidate in (beside, beside / run.name, beside.parent.joinpath(*run.parts[-2:])):
        if (candidate / "config.yaml").is_file() and _same_data(candidate, info):
            return candidate
    return None


def _same_data(run: Path, info: BundleInfo) -> bool:
    """Return whether a run learnt from the target data that a bundle names."""
    file = run / "data.json"
    values = read_json(file, PtrError) if file.is_file() else None
    if not isinstance(values, dict):
        return False
    hashes = []
    for data in (values, info.data):
        target = data.get("target")
        hashes.append(target.get("sha256") if isinstance(target, Mapping) else None)
    return bool(hashes[0] == hashes[1])


def read_lineage(plan: Mapping[str, Any], folder: Path) -> list[Lineage]:
    """Return where the methods of a session come from.

    Args:
        plan: The locked plan, as `SessionPlan.to_json` has it.
        folder: Of the session.

    Raises:
        PtrError: If a copy is damaged.
    """
    found = []
    for method, name in plan["methods"].items():
        copies, info = folder / FOLDER / name, None
        for file in (copies / each for each in DESCRIPTIONS):
            if file.is_file() and sha256(file) == name:
                info = read_description(file)
        found.append(Lineage(method, name, copies, info))
    return found

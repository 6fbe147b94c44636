"""Whether the table of a session follows from its bags alone.

A bag names its trial and try (`bag_names`), scene and task (START), bundle (`PolicyState`) and
verdict (the end event); steps are its executed commands, and clipped, held and rejected are what
it adds to the arm's counters. Of several tries of a trial, the last one counts if it has a
verdict; the others are void.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from ptr_common.errors import PtrError
from ptr_policy_node.bundle import ID_DIGITS
from ptr_training.bags.metadata import METADATA
from widowx_bringup.evaluation.results import Rollout
from widowx_bringup.evaluation.session import codes
from widowx_bringup.evaluation.session.bag_names import FOLDER, trial_of
from widowx_bringup.evaluation.session.plan import SessionError, Trial
from widowx_bringup.evaluation.session.session import SessionState, load_state

from .trial_bag import COUNTERS, TrialBag, read_trial_bag
from .trials import plan_of


@dataclass(frozen=True)
class Check:
    """What bags and journal say of each other.

    Attributes:
        planned: Trials of the plan.
        counted: Trials that count, by the bags.
        void: Bags of tries that do not count.
        differences: A line for each; empty if the table follows from the bags.
        notes: A line for each try that has a verdict and does not count, and one for the trials
            that were judged after their bags had ended.
    """

    planned: int
    counted: int
    void: int
    differences: list[str]
    notes: list[str]

    @property
    def text(self) -> str:
        """The result in one line, or a line for each difference and their number."""
        done = f"{self.counted} of {self.planned} trials"
        if not self.differences:
            tries = "try" if self.void == 1 else "tries"
            void = f" ({self.void} void {tries} left out)" if self.void else ""
            told = f"{done}: the table follows from the bags{void}"
            return "\n".join([*self.notes, told])
        found = len(self.differences)
        noun = "difference" if found == 1 else "differences"
        return "\n".join(
            [
                *self.notes,
                *self.differences,
                f"{done} in the bags; {found} {noun} from the journal",
            ]
        )


def check_session(folder: Path) -> Check:
    """Compare the bags of a session with its journal.

    Args:
        folder: Of the session; its methods may still be blinded.

    Raises:
        SessionError: If it is no session, its journal or codes were changed, or it has no bags.
    """
    state = load_state(folder)
    _check_plan(state, folder)
    counted = state.counted
    if counted and not any(row.bag for row in counted.values()):
        raise SessionError(
            f"{folder} was run without ROS (--in-process): it has no bags to check; "
            "run the session over ROS for bags"
        )
    paths = {folder / row.bag for row in counted.values() if row.bag}
    bags, unread = _read_bags(paths | {*(folder / FOLDER).glob("[!.]*/")})
    differences = list(unread.values())
    judged = {number for number, row in counted.items() if row.judge}
    chosen = _chosen(bags, judged)
    if state.pending is not None and state.pending not in counted:
        chosen.pop(state.pending, None)  # it runs, or was cut off: nothing counts of it yet
    notes = _notes(bags, chosen)
    plan = plan_of(state)
    sealed = codes.read_sealed(folder, state.seal)
    for trial in plan.order(sealed.salt):
        row, bag = counted.get(trial.number), chosen.get(trial.number)
        if bag is not None:
            bundle = plan.methods[trial.method][:ID_DIGITS]
            differences += _against_plan(bag, trial, plan.task, bundle)
        if row is None or folder / row.bag not in unread:
            differences += _against_journal(trial.number, row, bag, folder)
        if row is not None and row.method != sealed.codes[trial.method]:
            differences.append(
                f"trial {trial.number}: the plan's order has another method than {row.method}"
            )
    beyond = sorted(set(chosen) - set(range(state.planned)))
    differences += [
        f"{chosen[number].path}: the plan has no such trial" for number in beyond
    ]
    void = len(bags) - len(chosen)
    return Check(state.planned, len(chosen), void, differences, notes)


def _check_plan(state: SessionState, folder: Path) -> None:
    """Refuse a plan that is not the one that was locked."""
    text = json.dumps(state.plan, sort_keys=True)
    if hashlib.sha256(text.encode()).hexdigest() != state.plan_sha256:
        raise SessionError(
            f"{folder}: the plan in the journal is not that of its hash "
            f"{state.plan_sha256[:ID_DIGITS]}; restore the journal"
        )


def _read_bags(paths: Iterable[Path]) -> tuple[list[TrialBag], dict[Path, str]]:
    """Return the bags that exist, and a line for each that cannot be read, by its path."""
    found, problems = [], {}
    for path in sorted(filter(Path.exists, paths)):
        if not (path / METADATA).is_file():
            problems[path] = f"{path} is no complete bag: it has no {METADATA}"
            continue
        try:
            bag = read_trial_bag(path)
        except PtrError as error:
            problems[path] = str(error)
            continue
        if trial_of(path.name) != (bag.number, bag.attempt):
            problems[path] = (
                f"{path} holds trial {bag.number}, try {bag.attempt}: it was renamed"
            )
        else:
            found.append(bag)
    return found, problems


def _chosen(bags: list[TrialBag], judged: Set[int]) -> dict[int, TrialBag]:
    """Return the bag that counts of each trial: its last try, if that has a verdict.

    Args:
        bags: All bags.
        judged: Trials that a person judged, perhaps after their time was over.
    """
    last: dict[int, TrialBag] = {}
    for bag in sorted(bags, key=lambda bag: bag.attempt):
        last[bag.number] = bag
    return {
        number: bag
        for number, bag in last.items()
        if bag.has_verdict or (bag.stopped and number in judged)
    }


def _notes(bags: list[TrialBag], chosen: Mapping[int, TrialBag]) -> list[str]:
    """Return a line for each verdict that does not count, and one for those no bag has."""
    notes = []
    for bag in bags:
        if bag.has_verdict and chosen.get(bag.number) != bag:
            verdict = "solved" if bag.success else "not solved"
            notes.append(
                f"trial {bag.number}, try {bag.attempt}: it ended {verdict}, and does not count"
            )
    late = [str(number) for number, bag in sorted(chosen.items()) if not bag.has_verdict]
    if late:
        notes.append(
            f"trial{'s' if late[1:] else ''} {', '.join(late)}: judged after the bag had ended; "
            "the verdict is the journal's alone"
        )
    return notes


def _against_plan(bag: TrialBag, trial: Trial, task: str, bundle: str) -> list[str]:
    """Return how a bag differs from what the plan has of its trial.

    Args:
        bag: The bag.
        trial: Its trial.
        task: Of the plan.
        bundle: Id of the method's bundle; it is not told, since that would name the method.
    """
    where, found = f"trial {trial.number} ({bag.path.name})", []
    if bag.layout_seed not in (trial.layout_seed, None):
        found.append(
            f"{where}: its scene is that of seed {bag.layout_seed}, planned is "
            f"{trial.layout_seed}"
        )
    if bag.task != task:
        found.append(f"{where}: its task is {bag.task!r}, planned is {task!r}")
    if bag.bundles != {bundle}:
        found.append(f"{where}: its policy is not the one bundle of the planned method")
    return found


def _against_journal(
    number: int, row: Rollout | None, bag: TrialBag | None, folder: Path
) -> list[str]:
    """Return how journal and bag of a trial differ.

    Args:
        number: Of the trial.
        row: What the journal counts; None if nothing.
        bag: The bag that counts; None if there is none.
        folder: Of the session.
    """
    if row is None and bag is None:
        return []
    if row is None:
        assert bag is not None
        says = "solved" if bag.success else "not solved"
        return [f"trial {number}: {bag.path.name} says {says}; the journal counts no try"]
    if bag is None or folder / row.bag != bag.path:
        lost = "is missing" if not (folder / row.bag).exists() else "does not count"
        return [f"trial {number}: its bag {row.bag or '(none)'} {lost}"]
    differences = []
    verdict = {"success": bag.success} if bag.has_verdict else {}
    told: Mapping[str, object] = {**verdict, "steps": bag.steps}
    counted = {name: getattr(bag, name) for name in COUNTERS}
    for name, value in {**told, **counted}.items():
        if (written := getattr(row, name)) != value:
            differences.append(
                f"trial {number} ({bag.path.name}): {name} is {value} in the bag, "
                f"{written} in the journal"
            )
    return differences

"""A second rater: verdicts on the films of a session, blinded, and how far they agree."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ptr_common.documents import Fields, parse_json
from ptr_common.files import append_durably
from widowx_bringup.evaluation.results import Rollout
from widowx_bringup.evaluation.statistics import (
    Agreement,
    cohen_kappa,
    wilson_interval,
)

from .attendance import REASONS, STAGES, SessionError
from .session import SessionState, load_state
from .terminal import numbered

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""Name of a rater, which is part of a file's name."""


@dataclass(frozen=True)
class Rating:
    """What a rater said of a trial.

    Attributes:
        trial: Its number.
        success: Whether the task was solved.
        reason: Why not; empty for a success.
        stage: How far it came; empty if it was not said.
    """

    trial: int
    success: bool
    reason: str = ""
    stage: str = ""


def ratings_file(folder: Path, rater: str) -> Path:
    """Return the file of a rater's verdicts.

    Raises:
        SessionError: If the name is none.
    """
    if not NAME.fullmatch(rater):
        raise SessionError(
            f"--rater is {rater!r}; expected letters, digits, - and _, as in a file's name"
        )
    return folder / f"ratings_{rater}.jsonl"


def read_ratings(file: Path, state: SessionState) -> dict[int, Rating]:
    """Return a rater's verdicts by the number of the trial; the last one on a trial counts.

    A line that a crash tore does not count.

    Raises:
        SessionError: If a line is damaged, or is about a trial that does not count.
    """
    ratings: dict[int, Rating] = {}
    content = file.read_bytes() if file.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), 1):
        where = f"{file}: line {number}"
        try:
            fields = Fields(parse_json(line), where, SessionError)
        except ValueError as error:
            raise SessionError(f"{where} is damaged; take it out") from error
        rating = Rating(
            fields.integer("trial", 0, 1 << 40),
            fields.flag("success"),
            fields.text("reason", ""),
            fields.text("stage", ""),
        )
        if rating.trial not in state.counted:
            raise SessionError(
                f"{where} rates trial {rating.trial}, which is none of the session's "
                f"{len(state.counted)} trials that count; take it out"
            )
        ratings[rating.trial] = rating
    return ratings


def rate(folder: Path, rater: str, ask: Callable[[str], str]) -> int:
    """Ask a rater about each trial that is not rated yet, in an order drawn anew.

    Neither methods nor earlier verdicts are shown. Each answer is on disk before the next
    question; the end of the input, or q, ends it until another time.

    Args:
        folder: Of the session.
        rater: Name of the rater.
        ask: Shows a question and returns the answer; raises EOFError at the end.

    Returns:
        Number of trials that the rater has judged by now.

    Raises:
        SessionError: If there is nothing to rate, the session is unblinded, or the file of the
            ratings is damaged.
    """
    state, file = load_state(folder), ratings_file(folder, rater)
    if state.unblinded:
        raise SessionError(
            f"{folder} was unblinded; a rating would no longer be blind to the methods"
        )
    if not state.counted:
        raise SessionError(f"{folder} has no trial that counts; there is nothing to rate")
    done = read_ratings(file, state)
    missing = [number for number in state.counted if number not in done]
    random.SystemRandom().shuffle(missing)
    with file.open("a+b", buffering=0) as ratings:
        _drop_torn_line(ratings)
        for number in missing:
            try:
                rating = _ask_one(folder, state, number, ask)
            except EOFError:
                break
            at = datetime.now(timezone.utc).isoformat(timespec="seconds")
            line = json.dumps({**asdict(rating), "at": at})
            append_durably(ratings, line.encode() + b"\n")
            done[number] = rating
    return len(done)


def _drop_torn_line(file: Any) -> None:
    """Cut off what a crash has left of a line."""
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)


def _ask_one(
    folder: Path, state: SessionState, number: int, ask: Callable[[str], str]
) -> Rating:
    """Return what a rater says of a trial; EOFError if the rater ends."""
    row = state.counted[number]
    reasons = state.plan.get("reasons", REASONS)
    stages = state.plan.get("stages", STAGES)
    shown = f"trial {number}: {_film(folder, row)}"
    verdict = _choose(f"{shown}\n  s success  f failure  q quit: ", ("s", "f"), ask)
    if verdict == "s":
        return Rating(number, True, stage=stages[-1] if stages else "")
    reason = _choose(f"  why?  {numbered(reasons)}: ", _digits(reasons), ask)
    question = f"  how far did it come?  0 not at all  {numbered(stages)}: "
    stage = _choose(question, ("0", *_digits(stages)), ask) if stages else "0"
    return Rating(
        number,
        False,
        reasons[int(reason) - 1],
        stages[int(stage) - 1] if int(stage) else "",
    )


def _digits(words: Sequence[str]) -> list[str]:
    return [str(number) for number in range(1, len(words) + 1)]


def _choose(question: str, allowed: Sequence[str], ask: Callable[[str], str]) -> str:
    """Return the first answer that is allowed; EOFError for q."""
    while True:
        answer = ask(question).strip().lower()
        if answer == "q":
            raise EOFError
        if answer in allowed:
            return answer
        question = f"  one of {', '.join(allowed)}, or q: "


def _film(folder: Path, row: Rollout) -> Path:
    """Return the film of a trial, or what there is instead: its strip of images, its bag."""
    film = folder / row.film
    if row.strip and film.is_file():
        return film
    return folder / (row.strip or row.bag)


# --- agreement ----------------------------------------------------------------------------


def all_ratings(folder: Path, state: SessionState) -> dict[str, dict[int, Rating]]:
    """Return the verdicts of all raters of a session, by their names."""
    found = {}
    for file in sorted(folder.glob("ratings_*.jsonl")):
        rater = file.stem.removeprefix("ratings_")
        if ratings := read_ratings(file, state):
            found[rater] = ratings
    return found


def agreement(state: SessionState, ratings: dict[int, Rating]) -> Agreement:
    """Return how far the judge of a session and a rater agree on what is a success."""
    judged = [state.counted[number].success for number in ratings]
    return cohen_kappa(judged, [rating.success for rating in ratings.values()])


def disagreements(state: SessionState, ratings: dict[int, Rating]) -> list[dict[str, Any]]:
    """Return the trials of which judge and rater say something else.

    Their methods are the names once the session is unblinded.
    """
    names = {code: method for method, code in state.unblinded.items()}
    found = []
    for number, rating in sorted(ratings.items()):
        row = state.counted[number]
        if row.success != rating.success:
            found.append(
                {
                    "trial": number,
                    "method": names.get(row.method, row.method),
                    "scene": row.rollout,
                    "judge": row.success,
                    "rater": rating.success,
                    "reason": rating.reason or row.reason,
                }
            )
    return found


def ratings_text(folder: Path, state: SessionState) -> str:
    """Return how far each rater agrees with the judge; after unblinding, where they do not."""
    lines = []
    for rater, ratings in all_ratings(folder, state).items():
        found = agreement(state, ratings)
        low, high = wilson_interval(found.alike, found.trials)
        kappa = f"kappa {found.kappa:.2f} ({found.low:.2f} … {found.high:.2f})"
        if math.isnan(found.kappa):
            kappa = "kappa is not defined, as both said the same of every trial"
        lines.append(
            f"rater {rater}: as the judge in {found.alike} of {found.trials} trials "
            f"({low:.0%} … {high:.0%}), {kappa}"
        )
        if state.unblinded:
            lines += [_disagreement(entry) for entry in disagreements(state, ratings)]
    return "\n".join(lines)


def _disagreement(entry: dict[str, Any]) -> str:
    words = {True: "success", False: "failure"}
    return (
        f"  trial {entry['trial']} ({entry['method']}, scene {entry['scene']}): judge "
        f"{words[entry['judge']]}, rater {words[entry['rater']]} ({entry['reason']})"
    )


def ratings_json(folder: Path, state: SessionState) -> list[dict[str, Any]]:
    """Return the agreement of each rater for `results.json`; NaN is None there."""
    found = []
    for rater, ratings in all_ratings(folder, state).items():
        values = asdict(agreement(state, ratings))
        if math.isnan(values["kappa"]):
            values |= {"kappa": None, "low": None, "high": None}
        where = disagreements(state, ratings) if state.unblinded else None
        found.append({"rater": rater, **values, "disagreements": where})
    return found

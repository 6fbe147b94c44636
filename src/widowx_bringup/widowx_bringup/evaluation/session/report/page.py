"""Writes the report of a session: `report.html`, `results.csv` and `results.json`."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptr_common.errors import PtrError
from ptr_common.files import atomic_file, sha256
from ptr_common.html_page import data_uri, render_page
from widowx_bringup.evaluation import results_html
from widowx_bringup.evaluation.results import Rollout, summarise, write_results
from widowx_bringup.evaluation.results_html import rate_bars, results_table
from widowx_bringup.evaluation.session import journal
from widowx_bringup.evaluation.session.attendance import KEYS as ATTENDANCE
from widowx_bringup.evaluation.session.rating import ratings_json, ratings_text

from .check import check_session
from .curves import curves_png
from .differences import all_pairs, cochran_text, solved_by_scene
from .films import make_films
from .lineage import Lineage, read_lineage
from .template import STYLE, TEMPLATE
from .told import anytime_text, attendance_facts, power_text
from .trials import SessionTold, read_told

PAGE = "report.html"

TOLD = {
    *("name", "task", "methods", "trials", "seed", "time_limit", "blind"),
    *("camera_rise", "camera_turn"),
}
"""Values of a plan that the page has in words; any other is shown as it is."""


@dataclass(frozen=True)
class FilmFiles:
    """Files of a trial's film, relative to the session; empty where there is none."""

    video: str
    poster: str
    strip: str
    curves: str
    page: str


@dataclass(frozen=True)
class Origin(Lineage):
    """Where a method comes from, with what is drawn of its training."""

    choice: str = ""  # how its checkpoint was chosen
    curves: str = ""  # data URI

    @property
    def curves_text(self) -> str:
        """What the curves show, for those who do not see them."""
        last = {name: curve[-1][1] for name, curve in self.metrics().items()}
        told = ", ".join(f"{name} {value:.3g}" for name, value in last.items())
        return f"Training of {self.method}; at its end: {told}"


def write_session_report(folder: Path, *, films: bool = True) -> Path:
    """Write the report of a session, blinded or not, and return its path.

    Args:
        folder: Of the session.
        films: Make the films that are missing, from the bags.

    Raises:
        PtrError: If it is no session, or a file of it is damaged.
    """
    session = read_told(folder)
    counted = [told.row for told in session.counted]
    if films:
        make_films(folder, counted, blinded=session.blinded)
    write_tables(session)
    with atomic_file(folder / PAGE) as path:
        path.write_text(_render(session), encoding="utf-8")
    return folder / PAGE


def write_tables(session: SessionTold) -> None:
    """Write `results.csv` and `results.json` of a session."""
    state = session.state
    plan = dict(state.plan)
    if session.blinded:
        del plan["methods"]
    about = {
        "plan": plan,
        "plan_sha256": state.plan_sha256,
        "raters": ratings_json(session.folder, state),
    }
    pairs = all_pairs(solved_by_scene([session]), session.methods)
    write_results(session.folder, session.rollouts, about, pairs)


def _render(session: SessionTold) -> str:
    solved = solved_by_scene([session])
    summaries = summarise(session.rollouts)
    return render_page(
        f"Session: {session.name}",
        TEMPLATE,
        style=STYLE + results_html.STYLE,
        session=session,
        protocol=protocol(session),
        table=results_table({"": summaries}),
        bars=rate_bars(summaries),
        checked=_checked(session),
        contrasts=all_pairs(solved, session.methods),
        cochran=cochran_text(solved, session.methods),
        anytime=anytime_text(session.state, session.rollouts),
        reasons=session.reasons(),
        stages=any(told.stage for told in session.counted),
        residuals=any(told.residual for told in session.counted),
        films=_films(session),
        lineage=[] if session.blinded else _lineage(session),
        data_uri=data_uri,
    )


def protocol(session: SessionTold) -> dict[str, str]:
    """Return what was done, by the name of the fact."""
    plan, state = session.state.plan, session.state
    done, planned = len(session.counted), state.planned
    methods = ", ".join(session.methods) or "none has a trial yet"
    moved = f"raised {plan['camera_rise']:g} m, turned {plan['camera_turn']:g}°"
    in_place = not plan["camera_rise"] and not plan["camera_turn"]
    blinding = "none: methods had their names" if not plan["blind"] else "codes"
    if plan["blind"]:
        blinding += _named(state.unblinded) or ", which still stand"
    facts = {
        "task": plan["task"],
        "methods": methods,
        "trials": f"{done} of {planned} done, {plan['trials']} of each method; "
        f"{len(session.void)} void",
        "order": "all methods meet a scene before the next one comes, each first as often as "
        "the others; drawn from the seed"
        + (" and the sealed codes" if plan["blind"] else ""),
        "seed": str(plan["seed"]),
        "time limit": f"{plan['time_limit']:g} s",
        "camera": "not moved" if in_place else moved,
        "blinding": blinding,
        "judged by": ", ".join(session.judges) or "nobody yet",
        "agreement": ratings_text(session.folder, state)
        or "not measured: each trial has one judge",
        "power, before": power_text(plan["trials"]) if len(plan["methods"]) > 1 else "",
        "began": session.began,
        "last entry": session.ended,
        "plan": f"SHA-256 {state.plan_sha256}",
        "journal": f"SHA-256 {sha256(session.folder / journal.FILE)}",
    }
    facts |= attendance_facts(plan)
    for name in sorted({*plan} - TOLD - {*ATTENDANCE}):
        facts[name] = textwrap.shorten(json.dumps(plan[name], ensure_ascii=False), 300)
    return {name: value for name, value in facts.items() if value}


def _named(unblinded: Mapping[str, str]) -> str:
    """Return which method each code stood for; empty before it is known."""
    named = sorted((code, method) for method, code in unblinded.items())
    return (
        ": " + ", ".join(f"{code} was {method}" for code, method in named) if named else ""
    )


def _checked(session: SessionTold) -> str:
    """Return what the bags say of the table."""
    if not any(told.row.bag for told in session.counted):
        return "No bag was recorded (ptr session run --in-process)."
    found = check_session(session.folder)
    if found.differences:
        return f"Bags and journal differ, see `ptr session check`: {found.differences[0]}."
    lines = found.text.splitlines()
    return " ".join(f"{line[0].upper()}{line[1:]}." for line in lines)


def _films(session: SessionTold) -> dict[int, FilmFiles]:
    """Return the files of each trial's film by the trial's number."""
    return {told.number: _film_files(session, told.row) for told in session.counted}


def _film_files(session: SessionTold, row: Rollout) -> FilmFiles:
    def kept(name: str) -> str:
        """Return the name of a file if the session has it."""
        return name if name and (session.folder / name).is_file() else ""

    if not row.strip:
        return FilmFiles("", "", "", "", "")
    film = Path(row.film)
    names = [film.with_suffix(suffix).as_posix() for suffix in (".mp4", ".jpg", ".svg")]
    video, poster, curves = (kept(name) for name in names)
    if session.blinded:
        return FilmFiles(video, poster, kept(row.strip), "", "")
    return FilmFiles(video, poster, kept(row.strip), curves, kept(row.film))


def _lineage(session: SessionTold) -> list[Origin]:
    """Return where the methods come from, with what is drawn of their training."""
    found = []
    for one in read_lineage(session.state.plan, session.folder):
        known = (one.method, one.sha256, one.folder, one.info)
        found.append(Origin(*known, _choice(one), curves_png(one.metrics())))
    return found


def _choice(one: Lineage) -> str:
    """Return how a method's checkpoint was chosen; empty if nothing tells it."""
    text = one.text("choice.json")
    if not text:
        return ""
    try:
        told: dict[str, Any] = json.loads(text)
        return (
            f"step {told['step']}, the {told['rule']}, on {told['demonstrations']} "
            "held-out demonstrations"
        )
    except (ValueError, KeyError, TypeError) as error:
        raise PtrError(f"{one.folder / 'choice.json'} is damaged: {error!r}") from error

"""`ptr session`: compare methods blindly in the trials of a locked plan."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ptr_common.arguments import VerbParser, positive_float
from widowx_bringup.evaluation.results import results_text
from widowx_bringup.graph.values import parse_values

from .plan import load_plan
from .rating import rate, ratings_text
from .report.check import check_session
from .report.lineage import keep_lineage
from .report.page import write_session_report, write_tables
from .report.told import anytime_text, power_text
from .report.trials import read_told
from .running import check_plan, open_trial_runner, run_trials
from .session import Session, SessionState, load_state, unblind

VERBS = "run|status|rate|unblind|report|check"

DESCRIPTION = """Compare methods blindly in the trials of a locked plan.

  ptr session run PLAN --out FOLDER      run the trials that are missing; after a kill, too
  ptr session status FOLDER              what is done, by the methods' codes
  ptr session rate FOLDER --rater NAME   a second rater judges the films, blinded
  ptr session unblind FOLDER             which method each code stands for, and the results
  ptr session report FOLDER              FOLDER/report.html; before it is unblinded, too
  ptr session check FOLDER               whether the table follows from the bags alone

A plan is a YAML file: name, task, methods (NAME: BUNDLE), trials (of each method), seed,
time_limit [s], blind, camera (rise [m], turn [degrees]). All methods meet each scene, in an
order that is drawn and sealed. The first trial locks the plan.

Where a person attends: judge (checker, person), starts (poses x y z roll pitch yaw gripper, or
a store of held-out demonstrations), placements (text, photo), tolerance (position [m], rotation
[degrees]), reasons, stages. A real arm (use_sim:=false) needs a person.
"""


def _parser() -> VerbParser:
    parser = VerbParser("session", DESCRIPTION)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar=VERBS)
    _add_run(verbs)
    status = _add(verbs, "status", "what is done so far")
    status.add_argument("folder", type=Path, help="folder of the session")
    rating = _add(verbs, "rate", "judge the films of a session as a second rater, blinded")
    rating.add_argument("folder", type=Path, help="folder of the session")
    rating.add_argument(
        "--rater",
        required=True,
        help="name of the rater, for ratings_NAME.jsonl (required)",
    )
    end = _add(verbs, "unblind", "name the methods, and end the session")
    end.add_argument("folder", type=Path, help="folder of the session")
    end.add_argument(
        "--early",
        metavar="TEXT",
        default="",
        help="why trials are missing; kept in the journal (default: none may be missing)",
    )
    report = _add(verbs, "report", "write report.html, results.csv and results.json")
    report.add_argument("folder", type=Path, help="folder of the session")
    check = _add(
        verbs, "check", "recompute the table from the bags, and compare the journal"
    )
    check.add_argument("folder", type=Path, help="folder of the session")
    return parser


def _add_run(verbs: Any) -> None:
    """Add what `ptr session run` takes."""
    run = _add(verbs, "run", "run the trials that are missing")
    run.add_argument("plan", type=Path, help="YAML file of the session")
    run.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder of the session; a stopped one goes on",
    )
    run.add_argument(
        "--in-process",
        action="store_true",
        help="run without ROS: faster, no bags (default: over ROS)",
    )
    run.add_argument(
        "--running",
        action="store_true",
        help="join the graph that `ptr up eval` has started with the same name:=value "
        "(default: start a graph, and end it)",
    )
    run.add_argument(
        "--real-time-factor",
        type=positive_float,
        default=1.0,
        help="simulated seconds per second, over ROS",
    )
    run.add_argument(
        "values",
        nargs="*",
        metavar="name:=value",
        help="arguments of the graph (ptr up --help)",
    )


def _add(verbs: Any, name: str, text: str) -> VerbParser:
    """Add what `ptr session NAME` takes; in the help it is the line `text`."""
    verb = f"session {name}"
    parser: VerbParser = verbs.add_parser(name, help=text, verb=verb, description=text)
    return parser


def main(argv: list[str]) -> int:
    """Compare methods blindly in the trials of a locked plan, killed and resumed at will."""
    # argparse takes arguments of the graph only straight behind the plan
    given = [argument for argument in argv if ":=" in argument and argv[0] == "run"]
    options = _parser().parse_args([each for each in argv if each not in given])
    if options.verb == "run":
        return _run(options, parse_values([*given, *options.values]))
    if options.verb == "status":
        _print_status(options.folder, load_state(options.folder))
        return 0
    if options.verb == "rate":
        done = rate(options.folder, options.rater, input)
        state = load_state(options.folder)
        write_tables(read_told(options.folder))
        print(f"{done} of {len(state.counted)} trials are rated by {options.rater}")
        return 0
    if options.verb == "report":
        return _report(options.folder)
    if options.verb == "check":
        return _check(options.folder)
    state = unblind(options.folder, options.early)
    write_tables(read_told(options.folder))
    _print_status(options.folder, state)
    return 0


def _print_status(folder: Path, state: SessionState) -> None:
    """Print what is done, and how far raters agree."""
    print(status_text(state))
    if found := ratings_text(folder, state):
        print(found)


def _run(options: argparse.Namespace, values: dict[str, str]) -> int:
    plan = load_plan(options.plan)
    out = options.out.absolute()
    arguments = {
        "real_time_factor": str(options.real_time_factor),
        **values,
    }
    check_plan(plan, arguments, over_ros=not options.in_process)
    if len(plan.methods) > 1:
        print(power_text(plan.trials))
    with Session(plan, out) as session:
        keep_lineage(plan, out)
        if session.missing():
            how = {"over_ros": not options.in_process, "joins": options.running}
            with open_trial_runner(plan, out, arguments, **how) as runner:
                run_trials(session, runner)
        state = session.state
    write_tables(read_told(out))
    _print_status(out, state)
    if not state.unblinded and plan.blind:
        print(f"all trials are done; `ptr session unblind {out}` names the methods")
    return 0


def _report(folder: Path) -> int:
    print(f"report: {write_session_report(folder)}")
    return 0


def _check(folder: Path) -> int:
    found = check_session(folder)
    print(found.text)
    return 1 if found.differences else 0


def status_text(state: SessionState) -> str:
    """Return what is done, as a table, with codes in place of names until it is unblinded."""
    done = len(state.counted)
    void = len(state.trials) - done
    lines = [
        f"{state.plan['name']}: {done} of {state.planned} trials done, {void} void; plan "
        f"{state.plan_sha256[:12]}, {'unblinded' if state.unblinded else 'blinded'}"
    ]
    if state.pending is not None:
        lines.append(f"trial {state.pending} is running, or was cut off")
    if done:
        lines += ["", results_text(state.rollouts)]
    if found := anytime_text(state):
        lines.append(found)
    return "\n".join(lines)

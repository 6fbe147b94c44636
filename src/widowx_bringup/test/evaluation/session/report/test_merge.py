"""Sessions of the same trials under one name, and those that are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from trial_bags import plan_with, record

from widowx_bringup.evaluation.report import main
from widowx_bringup.evaluation.results import read_results
from widowx_bringup.evaluation.session.plan import SessionError
from widowx_bringup.evaluation.session.report.merge import write_merged_report
from widowx_bringup.evaluation.session.report.page import write_session_report
from widowx_bringup.evaluation.session.session import unblind


def session(bundles: Path, folder: Path, **changes: object) -> Path:
    """Return the folder of an unblinded session of two scenes."""
    record(plan_with(bundles, **changes), folder)
    unblind(folder)
    return folder


@pytest.fixture(scope="module")
def monday(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return session(bundles, tmp_path_factory.mktemp("monday") / "monday", name="monday")


@pytest.fixture(scope="module")
def friday(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("friday") / "friday"
    return session(bundles, folder, name="friday", seed=9, trials=4)


def test_each_session_has_its_row_and_pairs_are_of_one_session(
    monday: Path, friday: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "both"
    write_session_report(monday, films=False)
    assert main([str(monday), str(friday), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"report: {out / 'report.html'}\n"
    page = (out / "report.html").read_text()
    for group, solved in (("monday", "2/2"), ("friday", "4/4"), ("all", "6/6")):
        row = page[page.index(f"<td>{group}</td>") :]
        assert row.index(solved) < row.index("</tr>")
    assert "ptr against bc: 6 of 6 scenes were solved by ptr alone" in page
    assert "p = 0.03: ptr is better" in page
    assert "ptr against bc: 2 of 2 scenes" in page
    assert page.count("#trial-0") == 1  # friday has no report to link
    rows = read_results(out)
    assert len({(row.method, row.rollout) for row in rows}) == len(rows) == 12
    assert all((out / row.bag).is_dir() for row in rows)


def test_a_scene_that_two_sessions_met_is_said(
    bundles: Path, monday: Path, tmp_path: Path
) -> None:
    again = session(bundles, tmp_path / "again", name="again")
    page = write_merged_report([monday, again], tmp_path / "both").read_text()
    assert "2 scenes were met by more than one session" in page
    assert "ptr against bc: 4 of 4 scenes" in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time_limit": 20.0}, "time_limit is 10.0 in .*monday, 20.0 in"),
        ({"task": "put the red cube on the white plate"}, "task is 'put the yellow"),
        ({"camera": {"turn": 5}}, "camera_turn is 0.0 in"),
        (
            {"methods": {"ptr": "bc", "bc": "ptr"}},
            "method bc is bundle .* in .*monday, bundle",
        ),
        (
            {"methods": {"ptr": "ptr", "new": "bc"}},
            "method new is missing in .*monday, bundle",
        ),
    ],
)
def test_sessions_that_differ_are_merged_only_where_asked(
    bundles: Path, monday: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    other = session(bundles, tmp_path / "other", **changes)
    with pytest.raises(SessionError, match=message):
        write_merged_report([monday, other], tmp_path / "both")
    assert not (tmp_path / "both").exists()
    page = write_merged_report([monday, other], tmp_path / "both", mixed=True).read_text()
    assert "Merged although they differ: " in page


def test_blinded_sessions_and_copies_are_refused(
    monday: Path, recorded: Path, tmp_path: Path
) -> None:
    with pytest.raises(SessionError, match="is still blinded, and its code A"):
        write_merged_report([monday, recorded], tmp_path / "both")
    copy = shutil.copytree(monday, tmp_path / "copy")
    with pytest.raises(SessionError, match="is named twice, or is a copy"):
        write_merged_report([monday, Path(copy)], tmp_path / "both")
    with pytest.raises(SessionError, match="is a session itself"):
        write_merged_report([monday], monday)


def test_one_session_has_its_own_report(friday: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(friday, tmp_path / "copy"))
    assert main([str(copy)]) == 0
    assert (copy / "report.html").is_file()


@pytest.mark.parametrize(
    "arguments", [["a", "b"], ["a", "--out", "c"], ["a", "--mixed"], []]
)
def test_options_that_do_not_go_together_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert "all options: ptr report --help" in capsys.readouterr().err

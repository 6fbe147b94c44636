"""Names of tasks that nobody can tell apart are one name."""

from __future__ import annotations

import unicodedata

import pytest

from ptr_common.task_names import clean_task, find_task, fold_task


@pytest.mark.parametrize(
    "name",
    [
        "\ufeffput the cube",
        "put the cube\u200b",
        "put  the\tcube\r\n",
        "put\u00a0the cube",
        "p\u00adut the cube",
        "put the cube\ufe0f",
        "\u202eput the cube",
    ],
)
def test_what_does_not_show_is_no_part_of_a_name(name: str) -> None:
    assert clean_task(name) == "put the cube"


def test_letters_are_composed() -> None:
    name = "die Gemüse"
    assert clean_task(unicodedata.normalize("NFD", name)) == name


def test_case_and_blanks_do_not_count_where_names_are_compared() -> None:
    known = ["put the Cube", "other"]
    assert find_task("Put  the cube", known) == "put the Cube"
    assert find_task("other", known) == "other"
    assert find_task("put the cup", known) is None
    assert fold_task("STRASSE") == fold_task("straße")


def test_exact_name_comes_before_one_of_another_case() -> None:
    assert find_task("Lift", ["lift", "Lift"]) == "Lift"

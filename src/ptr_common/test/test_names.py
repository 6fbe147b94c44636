"""Names of tasks, and answers to unknown names."""

from __future__ import annotations

import unicodedata

import pytest

from ptr_common.names import clean_task, did_you_mean, find_task, fold_task


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


def test_the_nearest_name_stands_before_all_of_them() -> None:
    clause = did_you_mean("pretrian", ["finetune", "pretrain"])
    assert clause == "did you mean pretrain? Known are: finetune, pretrain"


def test_without_a_near_name_all_are_listed_in_their_order() -> None:
    assert did_you_mean("x", ["select", "bundle"]) == "known are: select, bundle"


def test_no_names_are_named_as_none() -> None:
    assert did_you_mean("x", []) == "known are: none"


def test_names_of_several_words_are_quoted_and_still_found() -> None:
    clause = did_you_mean("teh", ["the", "a cup"], quote=True)
    assert clause == "did you mean 'the'? Known are: 'the', 'a cup'"

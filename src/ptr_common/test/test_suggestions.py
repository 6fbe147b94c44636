"""The answer to a name that does not exist."""

from __future__ import annotations

from ptr_common.suggestions import did_you_mean


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

"""The rules of selection: scores of a checkpoint, the choice at its bounds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ptr_training.deploy.selection_rules import (
    RULES,
    Score,
    Selection,
    applies,
    choose,
    score,
)
from ptr_training.training.trends import Trend

NAN = float("nan")


def make_score(step: int, *trends: float, **changes: float) -> Score:
    """Return a score whose critic has had enough updates, with a correlation for each trend."""
    trends = trends or (0.0,)
    values = {"standard_error": 0.0, "rising": 0.5, "error": 1.0, "td_error": 1.0}
    values |= {"critic_steps": 100, "correlations": trends, **changes}  # type: ignore[dict-item]
    return Score(step, float(np.mean(trends)), **values)  # type: ignore[arg-type]


def make_trend(
    q: list[float], other: list[float] | None = None, **changes: object
) -> Trend:
    """Return a demonstration with the Q values of both heads; the second one repeats the first."""
    heads = np.stack([q, q if other is None else other], axis=1)
    values = {"error": np.zeros(len(q)), "td_error": np.zeros(len(q)), **changes}
    return Trend("a", heads, **values)  # type: ignore[arg-type]


# Scores


def test_score_takes_the_smaller_head() -> None:
    falling = make_trend([0.0, 1.0, 2.0, 3.0], [0.0, -1.0, -2.0, -3.0])
    result = score(5, [falling])
    assert result.step == 5
    assert result.spearman == pytest.approx(-1.0)
    assert result.rising == 0.0


def test_correlation_of_a_checkpoint_is_the_mean_over_demonstrations() -> None:
    rising, flat = make_trend([0.0, 1.0, 2.0]), make_trend([4.0, 4.0, 4.0])
    assert score(1, [rising, flat]).spearman == pytest.approx(0.5)


def test_errors_are_means_over_the_time_steps_of_all_demonstrations() -> None:
    short = make_trend([1.0], error=np.array([4.0]), td_error=np.array([8.0]))
    long = make_trend([1.0, 2.0, 3.0], error=np.zeros(3), td_error=np.full(3, 4.0))
    result = score(1, [short, long])
    assert (result.error, result.td_error) == (1.0, 5.0)


def test_rising_counts_the_steps_of_all_demonstrations_at_which_q_rises() -> None:
    # steps: up, equal, up | down: of four two rise
    trends = [make_trend([1.0, 2.0, 2.0, 3.0]), make_trend([5.0, 4.0])]
    assert score(1, trends).rising == pytest.approx(0.5)


def test_standard_error_is_that_of_the_mean_over_demonstrations() -> None:
    both = [make_trend([0.0, 1.0, 2.0]), make_trend([2.0, 1.0, 0.0])]
    expected = np.std([1.0, -1.0], ddof=1) / np.sqrt(2)
    assert score(1, both).standard_error == pytest.approx(expected)
    assert math.isnan(score(1, both[:1]).standard_error)  # one value has no error


def test_a_missing_q_value_makes_the_rising_fraction_unknown() -> None:
    trends = [make_trend([1.0, 2.0]), make_trend([1.0, NAN])]
    assert math.isnan(score(1, trends).rising)


def test_critic_steps_are_recorded_and_zero_unless_given() -> None:
    assert score(1, [make_trend([1.0, 2.0])], 70).critic_steps == 70
    assert score(1, [make_trend([1.0, 2.0])]).critic_steps == 0
    assert Score(1, 0.0, 0.0, 0.0, 0.0).critic_steps == 0


def test_an_agent_without_critic_has_an_error_and_no_trend() -> None:
    missing = np.full(3, NAN)
    for count in (1, 2):
        trend = make_trend([NAN] * 3, error=np.full(3, 2.0), td_error=missing)
        result = score(1, [trend] * count)
        assert result.error == 2.0
        missing_values = (
            result.spearman,
            result.standard_error,
            result.rising,
            result.td_error,
        )
        assert all(map(math.isnan, missing_values))
    assert math.isnan(Score(1, 0.0, 0.0, 0.0, 0.0).td_error)


# Which rules apply


def test_rules_of_a_critic_apply_only_to_agents_that_have_one() -> None:
    with_critic = [make_score(1)]
    assert all(applies(rule, with_critic) for rule in RULES)
    no_q, no_td = [make_score(1, NAN)], [make_score(1, td_error=NAN)]
    assert [applies(rule, no_q) for rule in RULES] == [False, True, True]
    assert [applies(rule, no_td) for rule in RULES] == [True, True, False]


def test_the_first_checkpoint_says_whether_there_is_a_critic() -> None:
    scores = [make_score(1), make_score(2, NAN, td_error=NAN)]
    assert all(applies(rule, scores) for rule in RULES)


# Choices


def test_every_rule_has_its_own_choice() -> None:
    scores = [
        make_score(1, 0.2, error=0.1, td_error=3.0),
        make_score(2, 0.9, error=0.4, td_error=2.0),
        make_score(3, 0.7, error=0.2, td_error=1.0),
    ]
    steps = {rule: choose(scores, rule).step for rule in RULES}
    assert steps == {"q_trend": 2, "error": 1, "td_error": 3}


def test_of_checkpoints_that_tie_the_earliest_is_chosen() -> None:
    # differences from the best: 0.1, 0.1, 0.4 (mean 0.2, error 0.1) and 0.0, 0.3, 0.0 (0.1, 0.1)
    far = make_score(5, 0.8, 0.8, 0.5)
    tied = make_score(6, 0.9, 0.6, 0.9)
    best, later = make_score(7, 0.9, 0.9, 0.9), make_score(8, 0.9, 0.9, 0.9)
    assert choose([far, tied, best, later], "q_trend").step == 6
    assert choose([far, best, later], "q_trend").step == 7


def test_checkpoints_are_compared_on_the_same_demonstrations() -> None:
    """Demonstrations differ by 0.5, checkpoints by 0.1 on each of them: that is no tie."""
    scores = [make_score(1, 0.3, 0.8, 0.5), make_score(2, 0.4, 0.9, 0.6)]
    assert choose(scores, "q_trend").step == 2
    shuffled = [make_score(1, 0.8, 0.3, 0.5), make_score(2, 0.4, 0.9, 0.6)]
    assert choose(shuffled, "q_trend").step == 1


def test_a_mean_difference_of_exactly_one_standard_error_ties() -> None:
    best = make_score(2, 0.5, 1.0)  # differences 0 and 0.5: mean 0.25, error 0.25
    assert choose([make_score(1, 0.5, 0.5), best], "q_trend").step == 1
    below = math.nextafter(0.5, 0.0)
    assert choose([make_score(1, below, 0.5), best], "q_trend").step == 2


@pytest.mark.parametrize("rule", ["error", "td_error"])
def test_of_equal_errors_the_earliest_is_chosen(rule: str) -> None:
    scores = [make_score(1, **{rule: 2.0}), make_score(2), make_score(3)]
    assert choose(scores, rule).step == 2


@pytest.mark.parametrize("rule", RULES)
def test_step_0_is_chosen_only_if_there_is_no_other(rule: str) -> None:
    perfect = make_score(0, 1.0, error=0.0, td_error=0.0)
    assert choose([perfect, make_score(1, 0.2)], rule).step == 1
    assert choose([perfect], rule).step == 0


@pytest.mark.parametrize("rule", ["q_trend", "td_error"])
def test_a_critic_with_less_than_half_the_updates_is_no_candidate(rule: str) -> None:
    early = make_score(1, 0.9, td_error=0.0, critic_steps=49)
    last = make_score(2, 0.4, td_error=0.1, critic_steps=100)
    assert choose([early, last], rule).step == 2
    half = replace(early, critic_steps=50)
    assert choose([half, last], rule).step == 1


def test_the_updates_are_compared_with_those_of_the_last_checkpoint() -> None:
    scores = [
        make_score(4, 0.9, critic_steps=20),
        make_score(5, 0.5, critic_steps=30),
        make_score(6, 0.4, critic_steps=40),
    ]
    assert choose(scores, "q_trend").step == 4


@pytest.mark.parametrize("rule", ["q_trend", "td_error"])
def test_a_checkpoint_with_less_than_half_the_steps_is_no_candidate(rule: str) -> None:
    best, last = make_score(49, 0.9, td_error=0.0), make_score(100, 0.4, td_error=0.1)
    assert choose([best, last], rule).step == 100
    assert choose([replace(best, step=50), last], rule).step == 50
    assert choose([replace(best, error=0.5), last], "error").step == 49


def test_the_error_ignores_how_often_a_critic_was_updated() -> None:
    early = make_score(1, error=0.0, critic_steps=0)
    assert choose([early, make_score(2)], "error").step == 1


def test_a_critic_that_left_the_possible_returns_is_no_candidate() -> None:
    diverged = make_score(2, 0.98, inside=0.94)
    assert choose([make_score(1, 0.3), diverged], "q_trend").step == 1
    assert choose([make_score(1, 0.3), replace(diverged, inside=0.95)], "q_trend").step == 2
    scores = [make_score(1, 0.3, inside=0.0, error=0.5), replace(diverged, error=0.9)]
    assert choose(scores, "q_trend").step == 1  # none is possible: the smallest error


@pytest.mark.parametrize(
    ("q", "share"), [(1.25, 1.0), (1.26, 0.75), (-0.25, 1.0), (-0.26, 0.75)]
)
def test_q_may_leave_the_possible_returns_by_a_quarter(q: float, share: float) -> None:
    trend = make_trend([0.0, 0.5, 1.0, q], [9.0, 9.0, 9.0, q], returns=(0.0, 1.0))
    assert score(1, [trend]).inside == share


def test_a_critic_that_does_not_tell_actions_apart_is_no_candidate() -> None:
    blind = make_score(2, 0.9, above=0.49)
    assert choose([make_score(1, 0.3), blind], "q_trend").step == 1
    assert choose([make_score(1, 0.3), replace(blind, above=0.5)], "q_trend").step == 2


def test_a_flat_critic_is_no_candidate() -> None:
    flat = make_score(2, 0.9, rise=0.049)
    assert choose([make_score(1, 0.3), flat], "q_trend").step == 1
    assert choose([make_score(1, 0.3), replace(flat, rise=0.05)], "q_trend").step == 2


def test_rise_is_from_the_first_to_the_last_third_in_ranges_of_returns() -> None:
    trend = make_trend([0.0, 2.0, 9.0, -5.0, 4.0, 4.0], returns=(-2.0, 8.0))
    assert score(1, [trend]).rise == pytest.approx(0.3)
    both = [trend, make_trend([1.0, 2.0], returns=(-2.0, 8.0))]
    assert score(1, both).rise == pytest.approx((0.3 + 0.1) / 2)
    assert score(1, [make_trend([1.0, 1.0])]).rise == 1.0  # no range is known


def test_share_above_is_over_the_steps_of_all_demonstrations() -> None:
    trends = [
        make_trend([0.0] * 4, above=np.array([1.0, 0.5, NAN, 0.0])),
        make_trend([0.0], above=np.array([0.9])),
    ]
    assert score(1, trends).above == pytest.approx(0.6)
    assert score(1, [make_trend([0.0])]).above == 1.0
    assert score(1, [make_trend([NAN], above=np.array([NAN]))]).above == 1.0


def test_with_one_demonstration_the_best_is_taken_and_no_error_invented() -> None:
    nan = {"standard_error": NAN}
    scores = [make_score(1, 0.8, **nan), make_score(2, 0.9, **nan), make_score(3, 0.9)]
    assert choose(scores, "q_trend").step == 2


# Selection


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"spearman": 0.4, "standard_error": 0.2}, ""),
        ({"spearman": 0.39, "standard_error": 0.2}, "not two standard errors above zero"),
        ({"standard_error": NAN}, "of one held-out demonstration"),
        ({"inside": 0.5}, "in 50% of the steps"),
        ({"above": 0.25}, "in 25% of the comparisons"),
        ({"rise": -0.125}, "rises by -12% of the range"),
    ],
)
def test_missing_evidence_is_said(changes: dict[str, float], text: str) -> None:
    only = replace(make_score(1, 0.5), **changes)
    evidence = Selection([only], {"q_trend": only, "error": only}, "q_trend").evidence
    assert evidence.startswith("no evidence: ") if text else evidence == ""
    assert text in evidence
    by_error = Selection([only], {"q_trend": only, "error": only}, "q_trend").reason
    assert (by_error == RULES["error"]) == ("the smallest held-out error" in evidence)
    for choices in ({"error": only}, {"q_trend": only, "error": only}):
        assert Selection([only], choices, "error").evidence == ""


def test_the_deciding_rule_gives_the_best_and_a_note_names_the_others() -> None:
    scores = [make_score(step) for step in (1, 2, 3)]
    choices = {"q_trend": scores[1], "error": scores[0], "td_error": scores[2]}
    selection = Selection(scores, choices, "q_trend")
    assert selection.best is scores[1]
    assert selection.note == (
        "the rules disagree: q_trend takes step 2 (error: step 1, td_error: step 3); "
        "look at q_trend.png"
    )


def test_a_single_rule_that_disagrees_is_noted() -> None:
    one, two = make_score(1), make_score(2)
    choices = {"q_trend": one, "error": one, "td_error": two}
    assert "error takes step 1 (q_trend: step 1, td_error: step 2)" in (
        Selection([one, two], choices, "error").note
    )


def test_rules_that_agree_need_no_note() -> None:
    only = make_score(1)
    assert Selection([only], dict.fromkeys(RULES, only), "error").note == ""
    assert Selection([only], {"error": only}, "error").note == ""

"""Intervals, tests of paired scenes and power, against published values and oracles."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widowx_bringup.evaluation.statistics import (
    LEVEL,
    AnytimeComparison,
    PairedComparison,
    cochran_q,
    cohen_kappa,
    compare_pairs,
    difference_text,
    holm,
    mcnemar_p,
    mcnemar_power,
    probability_text,
    tango_interval,
    tango_score,
    wilson_interval,
)

COUNTS = [
    (9, 2, 20),
    (0, 0, 5),
    (5, 0, 5),
    (0, 7, 30),
    (61, 0, 150),
    (1, 1, 3),
    (3, 40, 44),
]
"""Scenes that the first method alone solved, that the second alone did, and all."""


# One method


def test_wilson_interval_agrees_with_published_values() -> None:
    # Newcombe 1998, table I, method 3: 81/263 and 15/148
    np.testing.assert_allclose(wilson_interval(81, 263), (0.2553, 0.3662), atol=5e-5)
    np.testing.assert_allclose(wilson_interval(15, 148), (0.0624, 0.1605), atol=5e-5)


@given(st.integers(0, 200), st.integers(0, 200))
def test_wilson_interval_holds_the_observed_rate(a: int, b: int) -> None:
    successes, trials = min(a, b), max(a, b)
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= high <= 1
    if trials:
        assert low <= successes / trials <= high


# Two methods


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("111110", "000010", (4, 0, 0.125)),  # 2 / 2^4
        ("1100", "0110", (1, 1, 1.0)),
        ("1010", "1010", (0, 0, 1.0)),
        ("11111111110", "00000000001", (10, 1, 2 * (1 + 11) / 2**11)),
    ],
)
def test_mcnemar_by_hand(first: str, second: str, expected: tuple[int, int, float]) -> None:
    found = compare_pairs(*[[letter == "1" for letter in each] for each in (first, second)])
    assert (found.won, found.lost, found.p) == pytest.approx(expected)
    assert found.scenes == len(first)


def test_tango_interval_agrees_with_the_published_example() -> None:
    # Fagerland, Lydersen and Laake 2014, children before and after a transplantation: 21 pairs
    np.testing.assert_allclose(tango_interval(1, 7, 21), (-0.517, -0.026), atol=5e-4)


@pytest.mark.parametrize("counts", COUNTS)
def test_the_ends_of_tango_s_interval_are_1_96_standard_errors_away(
    counts: tuple[int, int, int],
) -> None:
    low, high = tango_interval(*counts)
    estimate = (counts[0] - counts[1]) / counts[2]
    assert -1 <= low <= estimate <= high <= 1
    for end, sign in ((low, 1), (high, -1)):
        if abs(end) < 1:
            assert tango_score(*counts, end) == pytest.approx(sign * 1.959964, abs=1e-5)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_the_methods_exchanged_turn_the_interval_round(
    won: int, lost: int, tied: int
) -> None:
    scenes = won + lost + tied
    if not scenes:
        return
    low, high = tango_interval(won, lost, scenes)
    np.testing.assert_allclose(tango_interval(lost, won, scenes), (-high, -low), atol=1e-9)


def test_tango_s_interval_covers_the_true_difference() -> None:
    """Exactly, over every outcome of 15 scenes of which 40 and 15 % are solved by one alone."""
    shares, covered = (0.4, 0.15, 0.45), 0.0
    for won, lost in product(range(16), repeat=2):
        if (tied := 15 - won - lost) >= 0:
            low, high = tango_interval(won, lost, 15)
            ways = math.comb(15, won) * math.comb(15 - won, lost)
            chance = ways * shares[0] ** won * shares[1] ** lost * shares[2] ** tied
            covered += chance * (low <= 0.25 <= high)
    assert 0.94 < covered < 0.98


def test_an_interval_needs_a_scene() -> None:
    with pytest.raises(ValueError, match="needs a scene"):
        tango_interval(0, 0, 0)


def test_words_say_what_the_scenes_do_not() -> None:
    clear = PairedComparison(12, 1, 20, mcnemar_p(12, 1), 0.3, 0.7)
    assert clear.verdict() == "better"
    assert clear.verdict(0.2) == "not resolved"
    assert PairedComparison(1, 12, 20, mcnemar_p(1, 12), -0.7, -0.3).verdict() == "worse"
    assert (
        PairedComparison(3, 2, 20, mcnemar_p(3, 2), -0.2, 0.3).verdict() == "not resolved"
    )
    assert difference_text(clear) == "+55 (30 … 70)"
    assert probability_text(0.0342) == "p = 0.03"
    assert probability_text(3e-15) == "p < 1e-9"


# Several methods


def test_cochran_s_q_of_two_methods_is_mcnemar_s_square() -> None:
    first = np.array([1] * 10 + [0] * 5 + [1] * 7, bool)
    second = np.array([0] * 10 + [1] * 5 + [1] * 7, bool)
    q, p = cochran_q([first, second])
    assert q == pytest.approx((10 - 5) ** 2 / (10 + 5))
    assert p == pytest.approx(math.erfc(math.sqrt(q / 2)))


def test_methods_that_solve_the_same_do_not_differ() -> None:
    assert cochran_q([[True, False, True]] * 3) == (0.0, 1.0)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.2]) == pytest.approx([0.04, 0.09, 0.09, 0.2])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


# Two raters


def raters(table: list[list[int]]) -> tuple[list[int], list[int]]:
    """Return what two raters said, from how often the first said i and the second j."""
    first, second = [], []
    for (i, j), count in np.ndenumerate(np.array(table)):
        first += [i] * count
        second += [j] * count
    return first, second


def test_kappa_agrees_with_published_examples() -> None:
    # Fleiss, Levin and Paik 2003, table 18.1: kappa 0.68, standard error 0.087
    found = cohen_kappa(*raters([[75, 1, 4], [5, 4, 1], [0, 0, 10]]))
    assert (found.alike, found.trials) == (89, 100)
    assert found.kappa == pytest.approx(0.676, abs=5e-4)
    assert (found.high - found.low) / (2 * 1.959964) == pytest.approx(0.087, abs=1e-3)
    # Cohen 1960, table 1: 0.44 + 0.20 + 0.06 alike, by chance 0.41
    found = cohen_kappa(*raters([[88, 10, 2], [14, 40, 6], [18, 10, 12]]))
    assert found.kappa == pytest.approx((0.70 - 0.41) / (1 - 0.41))


def test_kappa_of_raters_that_always_or_never_agree() -> None:
    always = cohen_kappa([True, False, True], [True, False, True])
    assert (always.kappa, always.low, always.high) == (1.0, 1.0, 1.0)
    assert cohen_kappa([True, False], [False, True]).kappa == -1.0
    assert math.isnan(cohen_kappa([True, True], [True, True]).kappa)
    assert cohen_kappa([True, True], [True, False]).kappa == 0.0


def test_kappa_needs_the_same_trials() -> None:
    for first, second in (([], []), ([True], [True, False])):
        with pytest.raises(ValueError, match="the same are needed"):
            cohen_kappa(first, second)


# Power


def test_power_is_the_share_of_outcomes_that_are_found() -> None:
    """Against every outcome of six scenes, added up one by one."""
    power = 0.0
    for cells in product((0, 1, 2), repeat=6):  # won, lost, alike
        if mcnemar_p(cells.count(0), cells.count(1)) < 0.05:
            power += 0.6 ** cells.count(0) * 0.1 ** cells.count(1) * 0.3 ** cells.count(2)
    assert mcnemar_power(0.6, 0.1, 6) == pytest.approx(power)


def test_power_of_no_difference_is_at_most_the_level() -> None:
    assert mcnemar_power(0.0, 0.0, 20) == 0.0
    assert 0.0 < mcnemar_power(0.25, 0.25, 20) <= 1 - LEVEL


@pytest.mark.parametrize("shares", [(0.7, 0.5), (-0.1, 0.2), (math.nan, 0.1)])
def test_shares_that_are_none_are_refused(shares: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="at most 1"):
        mcnemar_power(*shares, 10)


# Looking after every scene


def drawn(rng: np.random.Generator, won: float, lost: float, scenes: int) -> list[int]:
    """Return the difference of each scene: 1 won, -1 lost, 0 alike."""
    return list(rng.choice([1, -1, 0], size=scenes, p=[won, lost, 1 - won - lost]))


@pytest.mark.parametrize(
    ("won", "lost"), [(0.0, 0.0), (0.15, 0.15), (0.4, 0.1), (0.9, 0.02)]
)
def test_the_anytime_interval_covers_at_all_times_at_once(won: float, lost: float) -> None:
    """In 500 sessions of 40 scenes for each pair of shares, 2,000 in all."""
    rng, missed = np.random.default_rng(3), 0
    means = np.array([0.0, won - lost])
    for _ in range(500):
        session = AnytimeComparison(means)
        for value in drawn(rng, won, lost, 40):
            session.add(value == 1, value == -1)
        missed += session.ever_left(1)
    assert missed / 500 <= 1 - LEVEL


def test_a_clear_difference_is_resolved_and_its_interval_narrows() -> None:
    session, widths = AnytimeComparison(), []
    for _ in range(20):
        session.add(True, False)
        low, high = session.interval
        widths.append(high - low)
    assert session.resolved
    assert 0.5 < session.interval[0] < session.interval[1] == 1.0
    assert widths == sorted(widths, reverse=True)


def test_nothing_is_resolved_without_a_difference() -> None:
    session = AnytimeComparison()
    assert (session.interval, session.p) == ((-1.0, 1.0), 1.0)
    for _ in range(30):
        session.add(True, True)
    assert not session.resolved
    assert session.interval[0] < 0.0 < session.interval[1]


def test_what_was_shown_once_stays_shown() -> None:
    session = AnytimeComparison()
    for _ in range(12):
        session.add(True, False)
    p, (low, _) = session.p, session.interval
    for _ in range(12):
        session.add(False, True)
    assert session.p <= p
    assert session.interval[0] >= low


# Oracles: pip install -r requirements/optional/statistics.txt


def test_fieldtrial_has_the_same_figures_of_pairs() -> None:
    paired = pytest.importorskip("fieldtrial.stats.paired")
    power = pytest.importorskip("fieldtrial.stats.power")
    for won, lost, scenes in COUNTS:
        np.testing.assert_allclose(
            tango_interval(won, lost, scenes),
            paired.tango_interval(won, lost, scenes),
            atol=1e-9,
        )
        expected = paired.mcnemar_exact(won, lost).pvalue
        assert mcnemar_p(won, lost) == pytest.approx(expected)
    expected = power.mcnemar_power(0.3, 0.05, 40).power
    assert mcnemar_power(0.3, 0.05, 40) == pytest.approx(expected)


def test_statsmodels_has_the_same_figures_of_several_methods() -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    tests = pytest.importorskip("statsmodels.stats.multitest")
    rng = np.random.default_rng(0)
    solved = rng.random((4, 30)) < np.array([[0.2], [0.4], [0.5], [0.6]])
    expected = tables.cochrans_q(solved.T.astype(int))
    assert cochran_q(solved) == pytest.approx((expected.statistic, expected.pvalue))
    probabilities = list(rng.random(6) * 0.1)
    np.testing.assert_allclose(
        holm(probabilities), tests.multipletests(probabilities, method="holm")[1]
    )


def test_statsmodels_has_the_same_kappa() -> None:
    raters_of = pytest.importorskip("statsmodels.stats.inter_rater")
    rng = np.random.default_rng(1)
    for _ in range(5):
        table = rng.integers(1, 30, (2, 2))
        found = cohen_kappa(*raters(table.tolist()))
        expected = raters_of.cohens_kappa(table)
        assert found.kappa == pytest.approx(expected.kappa)
        assert found.low == pytest.approx(expected.kappa_low)
        assert found.high == pytest.approx(expected.kappa_upp)

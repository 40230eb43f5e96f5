from __future__ import annotations

import numpy as np
import pytest

from pixeltune.evaluation.statistics import bootstrap, holm, interval, mcnemar, wilson


@pytest.mark.parametrize(
    ("right", "n", "expected"),
    [  # Newcombe (1998), Statistics in Medicine 17, table I, method 3
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0000, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_gives_the_published_intervals(right, n, expected):
    assert wilson(right, n) == pytest.approx(expected, abs=5e-5)
    assert interval([1.0] * right + [0.0] * (n - right)) == wilson(right, n)


def test_wilson_of_nothing_says_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


def _pairs(wins: int, losses: int, ties: int = 7) -> tuple[list[float], list[float]]:
    return [1.0] * wins + [0.0] * losses + [1.0] * ties, [0.0] * wins + [1.0] * losses + [1.0] * ties


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 0), (3, 9), (9, 3), (59, 6), (40, 38), (1200, 900)])
def test_mcnemar_is_scipys_binomial_test(wins, losses):
    stats = pytest.importorskip("scipy.stats")
    p = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert mcnemar(*_pairs(wins, losses)) == pytest.approx(p, rel=1e-9)


def test_mcnemar_does_not_see_rows_on_which_both_agree():
    assert mcnemar(*_pairs(8, 1, 0)) == mcnemar(*_pairs(8, 1, 500)) == pytest.approx(2 * 10 / 2**9)


def test_mcnemar_refuses_what_it_is_not_made_for():
    with pytest.raises(ValueError, match="0 and 1"):
        mcnemar([0.5], [1.0])
    with pytest.raises(ValueError, match="2 scores against 1"):
        mcnemar([1.0, 0.0], [1.0])


def test_bootstrap_is_scipys_percentile_interval():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(3)
    a, b = rng.random(80), rng.random(80) - 0.1
    seen, low, high, p = bootstrap(a, b)
    other = stats.bootstrap((a - b,), np.mean, n_resamples=10_000, method="percentile", rng=1)
    assert seen == pytest.approx((a - b).mean())
    assert (low, high) == pytest.approx(tuple(other.confidence_interval), abs=0.006)
    assert p == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.02)
    assert bootstrap(a, b) == bootstrap(a, b, seed=0) != bootstrap(a, b, seed=1)


def test_bootstrap_keeps_its_level_when_there_is_no_difference():
    rng = np.random.default_rng(5)
    draws = [bootstrap(rng.random(50), rng.random(50), seed)[3] for seed in range(200)]
    assert 2 <= sum(p < 0.05 for p in draws) <= 22  # 10 expected, within four standard deviations


def test_bootstrap_of_equal_scores_finds_nothing():
    assert bootstrap([0.3, 0.7], [0.3, 0.7]) == (0.0, 0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="no rows"):
        bootstrap([], [])


def test_a_mean_of_partial_scores_gets_a_bootstrap_interval():
    scores = [0.2, 0.9, 0.4, 0.6, 0.5] * 20
    low, high = interval(scores)
    error = np.std(scores) / 10
    assert (low, high) == pytest.approx((0.52 - 1.96 * error, 0.52 + 1.96 * error), abs=0.005)


def test_holm_multiplies_and_never_falls():
    ps = [0.0010, 0.0040, 0.0190, 0.0240]
    assert holm(ps) == pytest.approx([4 * 0.001, 3 * 0.004, 2 * 0.019, 2 * 0.019])
    assert holm([0.6, 0.01, 0.9]) == pytest.approx([1.0, 0.03, 1.0])
    assert holm([]) == []

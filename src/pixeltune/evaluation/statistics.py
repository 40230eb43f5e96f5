"""How sure: intervals of a score, and tests between two candidates that answered the same rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pixeltune.errors import UserError

DRAWS = 10_000  # of a bootstrap: a p of 0.05 is then known to about 0.002


def wilson(right: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion (E. B. Wilson, 1927). ``(0, 1)`` for n = 0."""
    if n == 0:
        return 0.0, 1.0
    p = right / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def interval(scores: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """95 % interval of a mean score: Wilson's where every row is right or wrong, else of a bootstrap.

    Args:
        scores: one per row, in [0, 1].
        seed: of the bootstrap.
    """
    if set(scores) <= {0.0, 1.0}:
        return wilson(sum(scores), len(scores))
    low, high = np.quantile(_means(np.asarray(scores, float), seed), [0.025, 0.975])
    return float(low), float(high)


def mcnemar(a: Sequence[float], b: Sequence[float]) -> float:
    """Two-sided exact p of McNemar's test (Q. McNemar, 1947): do ``a`` and ``b`` go wrong equally often?

    Only rows that one of the two got right and the other did not say anything; under the null hypothesis
    each falls to either side with probability one half.

    Args:
        a: 1.0 or 0.0 per row.
        b: the same rows in the same order.

    Raises:
        ValueError: the lengths differ, or a score is neither 0 nor 1.
    """
    _check(a, b)
    if not set(a) | set(b) <= {0.0, 1.0}:
        raise UserError("McNemar's test wants scores of 0 and 1: use bootstrap for others")
    wins = sum(x > y for x, y in zip(a, b, strict=True))
    losses = sum(x < y for x, y in zip(a, b, strict=True))
    n, fewer = wins + losses, min(wins, losses)
    # Integers, divided once: exact up to the last rounding, also where 2**n is beyond a float.
    tail = sum(math.comb(n, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / 2**n) if n else 1.0


def bootstrap(a: Sequence[float], b: Sequence[float], seed: int = 0) -> tuple[float, float, float, float]:
    """Paired bootstrap of a difference of means (Efron and Tibshirani, 1993, chapters 13 and 16).

    Args:
        a: scores per row.
        b: of the same rows in the same order.
        seed: of the draws.

    Returns:
        mean(a) - mean(b), its 95 % percentile interval (low, high), and a two-sided p: the share of resampled
        differences, shifted to a mean of zero, that are at least as large as the one seen.

    Raises:
        ValueError: the lengths differ, or there is no row.
    """
    _check(a, b)
    if not len(a):
        raise UserError("no rows, nothing to compare")
    difference = np.asarray(a, float) - np.asarray(b, float)
    seen, means = float(difference.mean()), _means(difference, seed)
    low, high = np.quantile(means, [0.025, 0.975])
    # The draw that was seen counts as one of them: a p of 0 cannot be had from finitely many draws.
    beyond = (np.sum(np.abs(means - seen) >= abs(seen) - 1e-12) + 1) / (DRAWS + 1)
    return seen, float(low), float(high), float(min(1.0, beyond))


def holm(ps: Sequence[float]) -> list[float]:
    """p values corrected for being several (S. Holm, 1979), in the order given."""
    order, out, largest = sorted(range(len(ps)), key=lambda i: ps[i]), [1.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        out[i] = largest
    return out


def _means(values: np.ndarray, seed: int) -> np.ndarray:
    """Means of ``DRAWS`` samples with replacement; in slices, so that a million rows fit into memory."""
    rng, n = np.random.default_rng(seed), len(values)
    step = max(1, 10_000_000 // max(1, n))
    return np.concatenate(
        [values[rng.integers(0, n, (min(step, DRAWS - start), n))].mean(1) for start in range(0, DRAWS, step)]
    )


def _check(a: Sequence[float], b: Sequence[float]) -> None:
    if len(a) != len(b):
        raise UserError(f"{len(a)} scores against {len(b)}: compare the same rows")

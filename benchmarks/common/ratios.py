"""Ratios of what was measured in turn."""

from __future__ import annotations

import statistics


def ratio(ones: list[float], others: list[float]) -> str:
    """The median of the rounds' ratios, with the smallest and the largest."""
    ratios = [one / other for one, other in zip(ones, others, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"

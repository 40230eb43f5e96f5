"""Geometry of curves and histograms."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixeltune.gallery import charts
from pixeltune.gallery.run import Point
from pixeltune.gallery.untrusted import MAX_NUMBER

FINITE = st.floats(-MAX_NUMBER, MAX_NUMBER)


@given(FINITE, FINITE)
def test_ticks_are_round_and_hold_the_range(one, two):
    low, high = sorted((one, two))
    marks = charts.ticks(low, high)
    assert 2 <= len(marks) <= 9
    slack = 1e-8 * max(abs(low), abs(high), marks[-1] - marks[0])
    assert marks[0] <= low + slack
    assert marks[-1] >= high - slack
    step = marks[1] - marks[0]
    lead = step / 10 ** math.floor(math.log10(step) + 1e-3)
    assert min(abs(lead - n) for n in (1, 2, 5)) < 1e-2 or step < 1e-5 * max(abs(low), abs(high))


def test_a_curve_lies_where_its_values_are():
    points = [Point(0, 0.0, 0.0), Point(5, 2.0, 1.0), Point(10, 4.0, 0.5)]
    chart = charts.curve("reward", points, by_seconds=False)
    bottom, top = charts.HEIGHT - charts.BOTTOM, charts.TOP
    right = charts.WIDTH - charts.RIGHT
    places = [(dot.x, dot.y) for dot in chart.dots]
    middle = (charts.LEFT + right) / 2
    assert places == pytest.approx([(charts.LEFT, bottom), (middle, top), (right, (bottom + top) / 2)])
    assert chart.dots[1].label == "step 5: 1"
    assert "0 at step 0, 0.5 at step 10; lowest 0, highest 1" in chart.description
    seconds = charts.curve("reward", points, by_seconds=True)
    assert seconds.x_ticks[-1] == (right, "4")
    assert seconds.dots[1].label == "second 2: 1"


def test_without_seconds_there_is_no_curve_against_them():
    assert charts.curve("loss", [Point(1, 1.0, 1.0), Point(2, None, 1.0)], by_seconds=True) is None


def test_many_values_are_averaged_in_groups_and_the_page_says_so():
    rng = np.random.default_rng(0)
    points = [Point(i, float(i), float(v)) for i, v in enumerate(rng.normal(size=2000), 1)]
    chart = charts.curve("loss", points, by_seconds=False)
    assert len(chart.dots) <= charts.MAX_POINTS
    assert "mean of 7 logged values" in chart.note
    first = np.mean([point.value for point in points[:7]])
    assert chart.dots[0].label == f"step 7: {charts.figure(first)}"


@given(st.lists(st.tuples(FINITE, st.floats(0, 1e6)), min_size=1, max_size=20))
def test_no_curve_leaves_its_frame(values):
    points = [Point(i, seconds, value) for i, (value, seconds) in enumerate(values)]
    for by_seconds in (False, True):
        chart = charts.curve("loss", points, by_seconds)
        for dot in chart.dots:
            assert -0.5 <= dot.x <= charts.WIDTH + 0.5
            assert -0.5 <= dot.y <= charts.HEIGHT + 0.5


def test_a_histogram_is_an_outline_over_its_bins():
    shares = np.zeros((3, 64))
    shares[0, 0] = shares[1, 32] = shares[2, 63] = 1.0
    chart = charts.levels(shares)
    assert len(chart.paths) == 3
    for path in chart.paths:
        heights = [float(y) for y in re.findall(r"V([\d.]+)", path)]
        assert len(heights) == 65
        assert min(heights) >= charts.TOP - 1e-6
    assert "red 2, green 130, blue 254" in chart.description


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.00917, "0.00917"), (12345.6, "12,346"), (2.5e9, "2.5e+09")]
)
def test_figures(value, text):
    assert charts.figure(value) == text


@pytest.mark.parametrize(("value", "text"), [(1.0, "100 %"), (0.917, "91.7 %"), (0.0, "0 %")])
def test_percent(value, text):
    assert charts.percent(value) == text

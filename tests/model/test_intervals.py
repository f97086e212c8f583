"""Intervals: they cover, at every predicted value; draws are like what was measured; what is too little is refused."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import jamie as jm
from jamie.model import _intervals
from jamie.model._intervals import ConditionalQuantiles, Reliability, n_calibrated, require_level


def calibrated(imputed, measured, kind="continuous", **options):
    there = ~np.isnan(measured).all(axis=0)
    sd = np.ones(measured.shape[1], np.float32)
    sd[there] = np.nanstd(measured[:, there], axis=0)
    knots, quantiles, ranks, n_cells = _intervals._quantiles_of(
        imputed.astype(np.float32), measured.astype(np.float32), from_zero=kind == "counts"
    )
    scaled = (quantiles / sd).astype(np.float32)
    arrays = {"knots": knots, "quantiles": scaled, "ranks": ranks, "n_cells": n_cells}
    return ConditionalQuantiles.of(arrays, SimpleNamespace(kind=kind, sd=sd, **{"is_nonnegative": False, **options}))


def continuous(n, seed, d=40):
    """Skewed noise that grows with what is imputed."""
    rng = np.random.default_rng(seed)
    imputed = rng.normal(5, 2, (n, d))
    return imputed, imputed + (rng.gamma(2, 1, (n, d)) - 2) * (0.3 + 0.2 * np.abs(imputed))


def counts(n, seed, d=40):
    rng = np.random.default_rng(seed)
    mean = rng.gamma(1.5, 1.5, (n, d))
    return np.log1p(mean) * 0.8, np.log1p(rng.poisson(mean)).astype(float)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_intervals_cover_as_they_say_at_low_and_at_high_values(level):
    fitted = calibrated(*continuous(1_200, 0))
    imputed, measured = continuous(4_000, 1)
    lower, upper = fitted.interval(imputed, level)
    within = (measured >= lower) & (measured <= upper)
    assert within.mean() == pytest.approx(level, abs=0.015)
    for part in np.array_split(np.argsort(imputed, axis=0), 4):
        assert np.take_along_axis(within, part, 0).mean() == pytest.approx(level, abs=0.06)
    low, high = (
        np.take_along_axis(upper - lower, part, 0).mean() for part in np.argsort(imputed, axis=0)[[0, -1]][:, None]
    )
    assert high > 1.5 * low


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_intervals_of_counts_start_at_zero_and_cover_at_least(level):
    fitted = calibrated(*counts(1_200, 0), kind="counts")
    imputed, measured = counts(4_000, 1)
    lower, upper = fitted.interval(imputed, level)
    assert lower.min() == 0
    within = (measured >= lower - 2e-3 * (1 + measured)) & (measured <= upper + 2e-3 * (1 + measured))
    assert within.mean() > level - 0.01
    assert within[measured > 0].mean() < 1


def test_wider_the_higher_the_level():
    for kind, simulated in (("continuous", continuous), ("counts", counts)):
        fitted, widths = calibrated(*simulated(900, 0), kind=kind), []
        imputed, _ = simulated(200, 1)
        for level in (0.1, 0.3, 0.5, 0.7, 0.9, 0.98):
            lower, upper = fitted.interval(imputed, level)
            assert (lower <= upper).all()
            widths.append(upper - lower)
        assert all((wide - narrow > -1e-4).all() for narrow, wide in pairwise(widths))


@pytest.mark.parametrize(("kind", "is_nonnegative", "least"), [("protein", False, 0), ("continuous", True, 0)])
def test_bounds_and_draws_are_where_values_can_be(kind, is_nonnegative, least):
    fitted = calibrated(*continuous(300, 0), kind=kind, is_nonnegative=is_nonnegative)
    imputed = np.full((50, 40), -3.0)
    assert min(side.min() for side in fitted.interval(imputed, 0.9)) == least
    assert fitted.draw(imputed, np.random.default_rng(0)).min() == least
    free = calibrated(*continuous(300, 0))
    assert free.interval(imputed, 0.9)[0].min() < 0


def test_thirty_cells_cover_and_more_than_they_can_tell_is_refused():
    covered = []
    for seed in range(30):
        fitted = calibrated(*continuous(30, seed))
        imputed, measured = continuous(200, 100 + seed)
        lower, upper = fitted.interval(imputed, 0.9)
        covered.append(((measured >= lower) & (measured <= upper)).mean())
    assert np.mean(covered) > 0.86
    assert fitted.highest == pytest.approx(1 - 2 / 31)
    with pytest.raises(ValueError, match=r"`interval` above 0 and at most 0\.93, found 0\.95"):
        require_level(0.95, fitted.highest)
    for wrong in (0, 1, -0.5, 90, "0.9", True, None):
        with pytest.raises(ValueError, match="expected `interval` above 0"):
            require_level(wrong, 0.98)
    assert (n_calibrated(29, 10), n_calibrated(30, 10)) == (0, 30)
    assert (n_calibrated(9_000, 10), n_calibrated(9_000, 4_000), n_calibrated(9_000, 50_000)) == (2_000, 1_000, 500)


def test_missing_values_leave_the_other_features_as_they_are():
    imputed, measured = continuous(900, 0)
    whole = calibrated(imputed, measured)
    gaps = measured.copy()
    gaps[:450, 0], gaps[:880, 1], gaps[:, 2] = np.nan, np.nan, np.nan
    fitted = calibrated(imputed, gaps)
    new, truth = continuous(2_000, 1)
    lower, upper = fitted.interval(new, 0.9)
    assert_array_equal(lower[:, 3:], whole.interval(new, 0.9)[0][:, 3:])
    assert np.isnan(lower[:, 1:3]).all()
    assert ((truth[:, 0] >= lower[:, 0]) & (truth[:, 0] <= upper[:, 0])).mean() == pytest.approx(0.9, abs=0.05)
    drawn = fitted.draw(new, np.random.default_rng(0))
    assert_array_equal(np.isnan(drawn).any(axis=0), [False, True, True] + 37 * [False])


def test_some_columns_are_those_of_all():
    fitted = calibrated(*continuous(600, 0))
    imputed, _ = continuous(50, 1)
    columns = np.array([7, 3])
    for some, everything in zip(
        fitted.interval(imputed[:, columns], 0.8, columns), fitted.interval(imputed, 0.8), strict=True
    ):
        assert_array_equal(some, everything[:, columns])


def test_draws_vary_and_go_together_as_what_was_measured():
    rng = np.random.default_rng(0)
    imputed = np.log1p(rng.gamma(1.5, 1.5, (1_500, 6)))
    together = rng.gamma(2, 0.5, (1_500, 1))
    measured = np.log1p(rng.poisson(np.expm1(imputed) * together * 2)).astype(float)
    fitted = calibrated(imputed, measured, kind="counts")
    drawn = fitted.draw(imputed, np.random.default_rng(1))
    assert_allclose((drawn == 0).mean(0), (measured == 0).mean(0), atol=0.05)
    assert_allclose(drawn.std(0), measured.std(0), rtol=0.1)
    assert_allclose(np.corrcoef(drawn.T), np.corrcoef(measured.T), atol=0.15)
    assert np.corrcoef(measured.T)[0, 1] > 0.2
    assert_array_equal(drawn, fitted.draw(imputed, np.random.default_rng(1)))
    assert not np.array_equal(drawn, fitted.draw(imputed, np.random.default_rng(2)))
    assert drawn[drawn > 0].min() > 0.3  # nothing between 0 and one count


def test_regions_are_open_as_often_as_pairs_of_this_probability_were():
    rng = np.random.default_rng(0)
    imputed = rng.beta(0.5, 3, 200_000)
    measured = (rng.random(200_000) < imputed**2).astype(float)
    regions = SimpleNamespace(openness=np.full((2, 1), 0.1))
    fitted = Reliability.of(_intervals._reliability(imputed, measured), regions)
    assert_allclose(np.interp([0.2, 0.5, 0.8], fitted.imputed, fitted.open), [0.04, 0.25, 0.64], atol=0.03)
    lower, upper = fitted.interval(np.array([[0.05, 0.6, 0.999]]), 0.9)
    assert_array_equal([lower[0], upper[0]], [[0, 0, lower[0, 2]], [0, 1, 1]])
    drawn = fitted.draw(np.full((10_000, 1), 0.5), np.random.default_rng(0))
    assert set(np.unique(drawn)) == {0, 1}
    assert drawn.mean() == pytest.approx(0.25, abs=0.03)
    assert Reliability.of(fitted.arrays(), regions).highest == 0.98


@pytest.mark.parametrize("level", [0.1, 0.3, 0.5])
def test_a_region_of_any_level_is_closed_or_open_and_bounds_are_in_order(level):
    fitted = Reliability(imputed=np.array([0.0, 1.0]), open=np.array([0.0, 1.0]), sd=np.ones(4))
    lower, upper = fitted.interval(np.array([[0.1, 0.4, 0.6, 0.9]]), level)
    assert_array_equal(lower, [[0, 0, 1, 1]])
    assert_array_equal(upper, lower)


def test_bounds_of_counts_hold_the_measured_values_that_they_are():
    rng = np.random.default_rng(0)
    imputed = rng.gamma(2, 1, (600, 3)) * 1000
    measured = np.repeat([1234.567, 2345.678, 3456.789], 200)[:, None] * np.ones(3)
    fitted = calibrated(imputed, measured, kind="counts")
    lower, upper = fitted.interval(imputed, 0.9)
    assert jm.metrics._coverage.is_within(measured, lower, upper).mean() >= 0.9


def test_fewer_than_thirty_pairs_or_no_kernel_is_said():
    few = jm.JAMIE(max_steps=2).fit(jm.datasets.toy(share_paired=0.4))
    with pytest.raises(ValueError, match=r"found 'rna' → 'protein', which is not: fewer than 30 known pairs"):
        few.calibration("rna", "protein")
    paper = jm.JAMIE("paper", max_steps=1).fit(jm.datasets.toy())
    with pytest.raises(ValueError, match=r"'paper' has no kernel regression.*recipe='default'"):
        paper.calibration("rna", "protein")
    with pytest.raises(ValueError, match="it is a reconstruction; impute another modality"):
        few.calibration("rna", "rna")

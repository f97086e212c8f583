"""Calibration error, beside scikit-learn's curve and what binomial noise gives."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.calibration import calibration_curve

import jamie as jm
from jamie.metrics import calibration_floor, reliability_bins


def said(n=3_000, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.beta(4, 2, n)
    return p, rng.random(n) < p**2


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
@pytest.mark.parametrize("n_bins", [1, 5, 10])
def test_the_bins_are_those_of_scikit_learn_and_the_error_is_their_mean_distance(strategy, n_bins):
    p, right = said()
    bins = reliability_bins(p, right, n_bins=n_bins, strategy=strategy)
    share, mean = calibration_curve(right, p, n_bins=n_bins, strategy=strategy)
    assert_allclose(bins.right, share, atol=5e-3)
    assert_allclose(bins.probability, mean, atol=5e-3)
    assert bins.n.sum() == len(p)
    error = jm.metrics.calibration_error(p, right, n_bins=n_bins, strategy=strategy)
    assert error == pytest.approx(np.average(np.abs(bins.right - bins.probability), weights=bins.n))
    assert 0.1 < error < 0.3


def test_by_hand():
    p, right = [0.05, 0.15, 0.15, 0.95, 1.0], [True, False, False, True, False]
    expected = (abs(0.05 - 1) + 2 * 0.15 + 2 * abs(0.975 - 0.5)) / 5
    assert jm.metrics.calibration_error(p, right) == pytest.approx(expected)
    assert jm.metrics.calibration_error([*p, np.nan], [*right, True]) == pytest.approx(expected)
    assert jm.metrics.calibration_error([1.0, 0.0], [True, False]) == 0
    assert np.isnan(jm.metrics.calibration_error([], []))


def test_by_default_there_are_ten_bins_of_the_same_width():
    p, right = said()
    for found, expected in zip(
        reliability_bins(p, right), reliability_bins(p, right, n_bins=10, strategy="uniform"), strict=True
    ):
        assert_array_equal(found, expected)
    assert jm.metrics.calibration_error(p, right) == reliability_bins(p, right).error


@pytest.mark.parametrize("kind", [object, "Float64"])
def test_columns_of_a_table_are_taken_as_they_come(kind):
    p, right = said(50)
    given = pd.Series([*p, None], dtype=kind), pd.Series([*right, None], dtype=object)
    assert jm.metrics.calibration_error(*given) == jm.metrics.calibration_error(p, right)


def test_equal_probabilities_are_one_bin():
    bins = reliability_bins(np.full(50, 0.3), np.arange(50) < 20, strategy="quantile")
    assert_array_equal(bins.n, [50])
    assert bins.error == pytest.approx(0.1)


def test_the_floor_is_the_error_of_probabilities_that_are_true():
    p = np.full(241, 0.9)
    assert calibration_floor(p) == pytest.approx(np.sqrt(2 / np.pi * 0.09 / 241), rel=0.15)  # mean of a half-normal
    assert calibration_floor(np.ones(100)) == 0
    assert np.isnan(calibration_floor(np.empty(0)))


@pytest.mark.parametrize(
    ("p", "right", "options", "message"),
    [
        ([0.2, 0.3], [True], {}, "`probability` and `right` of the same shape"),
        ([90.0], [True], {}, "probabilities from 0 to 1, found some from 90 to 90; divide percentages by 100"),
        ([0.5], [True], {"strategy": "width"}, "`strategy` to be one of"),
        ([0.5], [True], {"n_bins": 0}, "`n_bins` of at least 1"),
    ],
)
def test_wrong_input_is_refused(p, right, options, message):
    with pytest.raises(ValueError, match=message):
        jm.metrics.calibration_error(p, right, **options)

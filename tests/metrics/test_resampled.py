"""Standard errors and comparisons by resampling cells, against loops and against what chance does."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from jamie._errors import InvalidValueError
from jamie.metrics import binomial_test, compare_methods, correlation_error, feature_correlation
from jamie.metrics._resampled import mean_error, resampled, resamples


def predicted(n=60, d=8, noise=(1.0, 1.0), seed=0):
    """Measured values, and what two methods make of them."""
    rng = np.random.default_rng(seed)
    measured = rng.normal(size=(n, 3)) @ rng.normal(size=(3, d)) + 5
    return measured, *(measured + sd * rng.normal(size=(n, d)) for sd in noise)


@pytest.mark.parametrize("holes", [False, True])
def test_correlations_of_resampled_cells_are_those_of_repeated_rows(holes):
    measured, imputed, _ = predicted()
    if holes:
        measured[np.random.default_rng(1).random(measured.shape) < 0.2] = np.nan
    weights = resamples(60, 20)
    assert (weights[0] == 1).all()
    assert (weights.sum(axis=1) == 60).all()
    found = resampled(measured, imputed, weights)
    for draw, counts in zip(found, weights.astype(int), strict=True):
        rows = np.repeat(np.arange(60), counts)
        np.testing.assert_allclose(draw, feature_correlation(measured[rows], imputed[rows]), atol=1e-8)


def test_features_far_from_zero_and_from_each_other_lose_nothing():
    measured, imputed, _ = predicted()
    weights, far = resamples(60, 20), 1e7 * np.arange(8)
    np.testing.assert_allclose(
        resampled(measured + far, imputed - far, weights), resampled(measured, imputed, weights), atol=1e-6
    )


def test_the_error_is_how_far_the_mean_moves_with_other_cells():
    """Many data sets of the same kind against the bootstrap of single ones."""
    means, errors = [], []
    rng = np.random.default_rng(5)
    mixing = rng.normal(size=(3, 8))
    for seed in range(300):
        rng = np.random.default_rng(seed)
        measured = rng.normal(size=(60, 3)) @ mixing
        imputed = measured + 2 * rng.normal(size=(60, 1)) + rng.normal(size=(60, 8))  # errors that features share
        means.append(np.nanmean(feature_correlation(measured, imputed)))
        if seed < 30:
            errors.append(correlation_error(measured, imputed, rng=seed))
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.2)


def test_two_methods_that_are_alike_are_told_apart_as_often_as_chance_has_it():
    """Features share cells and errors, of which a count of features knows nothing: it sees one in every sixth."""
    loading = np.random.default_rng(9).normal(size=(1, 20))
    by_cells, by_features = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        measured = rng.normal(size=(80, 20))
        a, b = (measured + rng.normal(size=(80, 1)) @ loading + 0.5 * rng.normal(size=(80, 20)) for _ in range(2))
        of_a, of_b = feature_correlation(measured, a), feature_correlation(measured, b)
        found = compare_methods(measured, a, b, rng=seed)
        assert found.difference == pytest.approx((of_a - of_b).mean(), abs=1e-9)
        by_cells.append(found.p_value)
        by_features.append(binomial_test(of_a, of_b).p_value)
    assert 0.02 < np.mean(np.array(by_cells) < 0.05) < 0.09
    assert np.mean(np.array(by_features) < 0.05) > 0.1


def test_a_better_method_is_better_and_the_order_only_turns_the_sign():
    measured, good, bad = predicted(n=200, noise=(0.5, 2.0))
    found, turned = compare_methods(measured, good, bad), compare_methods(measured, bad, good)
    assert found.difference > 0
    assert found.p_value < 1e-4
    assert turned.difference == pytest.approx(-found.difference)
    assert turned.p_value == pytest.approx(found.p_value)


def test_a_method_is_no_better_than_itself():
    measured, imputed, _ = predicted()
    assert compare_methods(measured, imputed, imputed) == (0, 0, 1)


def test_features_without_a_correlation_of_both_are_left_out():
    measured, a, b = predicted()
    a[:, 0], b[:, 1], measured[:, 2] = 4.0, 4.0 + 4e-16 * np.arange(60), 7.0
    rest = slice(3, None)
    expected = compare_methods(measured[:, rest], a[:, rest], b[:, rest])
    assert compare_methods(measured, a, b) == pytest.approx(expected)
    nothing = compare_methods(measured[:, :1], a[:, :1], b[:, :1])
    assert np.isnan(nothing).all()
    assert np.isnan(correlation_error(measured[:, :1], a[:, :1]))


def test_sparse_matrices_and_seeds():
    rng = np.random.default_rng(0)
    measured, imputed = (rng.poisson(0.5, size=(50, 6)).astype(float) for _ in range(2))
    dense = correlation_error(measured, imputed, rng=3)
    assert correlation_error(sparse.csr_matrix(measured), sparse.csc_matrix(imputed), rng=3) == pytest.approx(dense)
    assert correlation_error(measured, imputed, rng=3) == dense
    assert correlation_error(measured, imputed, rng=4) != dense


def test_other_shapes_are_refused():
    measured, a, _ = predicted()
    with pytest.raises(ValueError, match="imputed_b"):
        compare_methods(measured, a, a[1:])
    with pytest.raises(ValueError, match="imputed"):
        correlation_error(measured, a[:, 1:])


def test_constants_of_single_precision_are_constants_here_too():
    """As for the correlation itself, so that a gain is of the features that have one."""
    measured, a, b = (values.astype(np.float32) for values in predicted())
    b[:, 0] = 4 + 1e-6 * np.random.default_rng(0).normal(size=60)
    assert np.isnan(feature_correlation(measured, b)[0])
    assert compare_methods(measured, a, b) == pytest.approx(compare_methods(measured[:, 1:], a[:, 1:], b[:, 1:]))
    double = measured.astype(float)  # the coarser of the two types decides
    assert np.isnan(resampled(double, b, resamples(60, 3))[:, 0]).all()
    assert np.isnan(resampled(b, double, resamples(60, 3))[:, 0]).all()


def test_the_error_is_the_standard_deviation_of_the_draws():
    values = np.array([[0.9, 0.8], [0.1, 0.3], [0.5, np.nan], [np.nan, np.nan]])
    assert mean_error(values) == pytest.approx(np.std([0.2, 0.5], ddof=1))  # the first row is no draw
    assert np.isnan(mean_error(values[[0, 1, 3]]))


def test_no_cells_and_no_resamples_are_refused_in_our_words():
    measured, a, b = predicted()
    with pytest.raises(InvalidValueError, match="at least one cell"):
        correlation_error(measured[:0], a[:0])
    with pytest.raises(InvalidValueError, match="at least one cell"):
        compare_methods(measured[:0], a[:0], b[:0])
    with pytest.raises(InvalidValueError, match="n_resamples"):
        correlation_error(measured, a, n_resamples=-1)

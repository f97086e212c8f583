"""What some features say of the components, against the conditional distribution of the whole factor model."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from jamie.data._partial_panel import LEAST_NOISE, PartialPanel, noise_of

D, K = 9, 3
T = np.array([3.0, 1.5, 0.4])


@pytest.fixture
def loadings():
    return np.linalg.qr(np.random.default_rng(0).normal(size=(D, K)))[0]


@pytest.fixture
def noise():
    return np.random.default_rng(1).uniform(0.1, 0.9, D)


@pytest.mark.parametrize("columns", [[0, 1, 2, 3, 4], [8, 2, 5], [7], [3, 0, 8, 1, 6, 2, 5]])
def test_missing_features_are_expected_as_by_the_joint_distribution(loadings, noise, columns):
    """All features have the covariance L T L' + Ψ; what is missing is a regression on the others."""
    covariance = loadings * T @ loadings.T + np.diag(noise)
    o, m = np.array(columns), np.setdiff1d(np.arange(D), columns)
    slope = np.linalg.solve(covariance[np.ix_(o, o)], covariance[np.ix_(o, m)])  # E[x_m | x_o] = slope' x_o
    found = PartialPanel(loadings, T, noise, o)
    assert_allclose(found.loadings, loadings[o] + slope @ loadings[m])
    left = covariance[np.ix_(m, m)] - covariance[np.ix_(m, o)] @ slope
    assert found.share == pytest.approx(1 - np.trace(loadings[m].T @ left @ loadings[m]) / T.sum())
    assert 0 < found.share < 1


def test_with_all_features_these_are_the_components(loadings, noise):
    order = np.random.default_rng(2).permutation(D)
    found = PartialPanel(loadings.astype(np.float32), T, noise, order)
    assert found.loadings.dtype == np.float32
    assert_allclose(found.loadings, loadings[order], rtol=1e-6)
    assert found.share == 1


def test_what_is_known_is_never_less_than_nothing(loadings):
    assert PartialPanel(loadings, T, np.full(D, 1e3), np.array([4])).share == 0


def test_noise_is_what_components_leave_of_a_variance_of_one(loadings):
    variance = np.array([0.9, 0.5, 0.2])
    left = 1 - np.diag(loadings * variance @ loadings.T)
    assert_allclose(noise_of(loadings, variance, is_standardised=True), left)
    assert_allclose(noise_of(loadings, 100 * variance, is_standardised=True).min(), LEAST_NOISE)
    assert_allclose(noise_of(loadings, variance, is_standardised=False), np.full(D, 0.2))

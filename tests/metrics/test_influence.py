"""Standard errors without draws, against the bootstrap and against samples drawn anew."""

from __future__ import annotations

import numpy as np
import pytest

from jamie.metrics import MeanCorrelation, correlation_error, feature_correlation


def sample(rng, n=150, d=30):
    latent, weights = rng.normal(size=(n, 5)), np.random.default_rng(1).normal(size=(5, d))
    return latent @ weights + 3 * rng.normal(size=(n, d)), latent @ weights


def of(measured, imputed):
    mean = MeanCorrelation()
    for features in (slice(0, 10), slice(10, None)):
        mean.add(measured[:, features], imputed[:, features])
    return mean


def test_it_is_what_other_cells_would_move():
    rng = np.random.default_rng(0)
    anew = np.std([feature_correlation(*sample(rng)).mean() for _ in range(200)])
    mean = of(*sample(rng))
    assert mean.standard_error == pytest.approx(anew, rel=0.25)


def test_it_is_the_bootstrap_with_gaps_and_constants():
    rng = np.random.default_rng(0)
    measured, imputed = sample(rng)
    measured[:60, 3:20], imputed[:, 25] = np.nan, 1
    mean = of(measured, imputed)
    assert mean.value == pytest.approx(np.nanmean(feature_correlation(measured, imputed)))
    assert mean.standard_error == pytest.approx(correlation_error(measured, imputed, n_resamples=1000), rel=0.1)


def test_a_constant_but_for_the_rounding_of_either_type_has_none():
    rng = np.random.default_rng(0)
    measured, _ = sample(rng)
    single = (1 + 1e-7 * rng.normal(size=(150, 1))).astype(np.float32)
    assert single.std() > 0
    for sides in ((measured[:, :1], single), (single, measured[:, :1])):
        mean = MeanCorrelation()
        mean.add(*sides)
        assert np.isnan(mean.value)


def test_without_a_correlation_there_is_none():
    mean = of(np.ones((10, 12)), np.ones((10, 12)))
    assert np.isnan(mean.value)
    assert np.isnan(mean.standard_error)

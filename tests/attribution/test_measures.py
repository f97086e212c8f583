"""Updated measures are those taken anew."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from jamie.attribution import Correlation, Readout
from jamie.metrics import feature_correlation


@pytest.mark.parametrize("is_probability", [False, True])
@pytest.mark.parametrize("share_missing", [0, 0.2])
def test_correlations_are_updated_by_the_rows_that_change(is_probability, share_missing):
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(200, 4)).astype(np.float32)
    readout = Readout("target", 0.3 * rng.normal(size=(6, 4)), np.linspace(0.2, 100, 6), is_probability)
    if is_probability:
        readout = readout._replace(offset=np.full(6, 0.4))
    measured = readout(outputs) + rng.normal(size=(200, 6))
    measured[rng.random(measured.shape) < share_missing] = np.nan
    measured[:, 5] = 1
    measure = Correlation(readout, measured, outputs)
    for rows in (np.arange(0), np.array([3, 50]), np.arange(200)):
        changed = outputs.copy()
        changed[rows] = rng.normal(size=(len(rows), 4))
        expected = feature_correlation(measured, readout(changed))
        assert_allclose(measure(rows, changed[rows]), expected, atol=1e-5)
        features = np.array([4, 1])
        assert_allclose(measure(rows, changed[rows], features), expected[features], atol=1e-5)
    assert np.isnan(expected[5])


def test_what_does_not_vary_any_more_correlates_with_nothing():
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(50, 2))
    readout = Readout("target", np.eye(2), np.array([7.0, 1e4]))
    measure = Correlation(readout, rng.normal(size=(50, 2)) + outputs, outputs)
    noise = 1e-7 * rng.normal(size=(50, 2))
    assert_allclose(measure(np.arange(50), np.ones((50, 2)) + noise), 0)

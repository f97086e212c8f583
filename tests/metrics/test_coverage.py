"""Which measured values lie within their bounds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from jamie.metrics import is_within


@pytest.mark.parametrize("size", [1e-30, 1e-6, 1.0, 1e6, 1e30])
def test_bounds_are_part_of_the_interval_and_rounding_is_relative(size):
    measured = size * np.array([1.0, 2.0, 2.001, 0.999, np.nan, -1.0])
    lower, upper = np.full(6, size), np.full(6, 2 * size)
    assert_array_equal(is_within(measured, lower, upper), [1, 1, 0, 0, np.nan, 0])
    in_single = measured.astype(np.float32)
    assert_array_equal(is_within(in_single[:2], measured[:2], measured[:2]), [1, 1])


def test_zero_is_not_within_what_is_above_it():
    assert_array_equal(is_within(np.zeros(2), np.array([1e-7, 0.0]), np.ones(2)), [0, 1])

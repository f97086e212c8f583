"""Some of many positions, evenly spaced."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from jamie._spread import spread


@pytest.mark.parametrize("n", [0, 1, 7, 50])
def test_few_are_all(n):
    assert_array_equal(spread(n, 50), np.arange(n))


@pytest.mark.parametrize(("n", "most"), [(51, 50), (1_000, 7), (10**6, 300)])
def test_many_are_spread_from_the_first_to_the_last(n, most):
    chosen = spread(n, most)
    assert len(chosen) == most
    assert (chosen[0], chosen[-1]) == (0, n - 1)
    assert np.ptp(np.diff(chosen)) <= 1

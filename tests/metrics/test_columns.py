"""Blocks of columns, means of what is known, and what is only rounding."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from jamie.metrics import _columns, known_mean
from jamie.metrics._columns import column_blocks, paired_columns, rounding, vary


@pytest.mark.parametrize(
    ("block", "n", "width", "expected"),
    [
        (100, 30, 7, [(0, 3), (3, 6), (6, 7)]),
        (90, 30, 6, [(0, 3), (3, 6)]),
        (89, 30, 3, [(0, 2), (2, 3)]),
        (1, 30, 2, [(0, 1), (1, 2)]),
        (1, 30, 1, [(0, 1)]),
        (1, 30, 0, [(0, 0)]),
        (100, 30, 0, [(0, 0)]),
        (30, 30, 1, [(0, 1)]),
    ],
)
def test_slices_hold_each_column_once_and_as_many_values_as_fit(monkeypatch, block, n, width, expected):
    monkeypatch.setattr(_columns, "_BLOCK", block)
    values = np.ones((n, width))
    assert paired_columns(values, values) == [slice(*ends) for ends in expected]


def test_what_is_no_pair_of_tables_is_refused():
    table = np.ones((3, 2))
    for wrong in (np.ones(3), np.ones((0, 2)), np.ones((1, 3, 2))):
        with pytest.raises(ValueError, match=r"`measured` as cells × features.*values\[:, None\]"):
            paired_columns(wrong, table)
        with pytest.raises(ValueError, match=r"`imputed` as cells × features"):
            paired_columns(table, wrong)
    with pytest.raises(ValueError, match=r"`measured` and `imputed` of the same shape"):
        paired_columns(table, table[:2])


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix, sparse.coo_array])
@pytest.mark.parametrize("dtype", [int, np.float32, np.float64])
def test_blocks_are_double_and_copies(container, dtype):
    values = np.arange(6).reshape(3, 2).astype(dtype)
    ((a, b),) = column_blocks(container(values), values)
    assert a.dtype == b.dtype == np.float64
    assert_array_equal(a, values)
    a[:] = b[:] = -1
    assert values.min() == 0


def test_what_is_missing_or_infinite_on_one_side_is_missing_on_both():
    a, b = np.array([[1.0, np.nan], [np.inf, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0], [7.0, -np.inf], [np.nan, 8.0]])
    ((left, right),) = column_blocks(a, b)
    nothing = np.nan
    assert_array_equal(left, [[1, nothing], [nothing, nothing], [nothing, 4]])
    assert_array_equal(right, [[5, nothing], [nothing, nothing], [nothing, 8]])


def test_the_mean_is_of_what_is_finite():
    values = np.array([[1.0, np.nan, np.inf], [5.0, 4.0, np.nan]])
    assert_array_equal(known_mean(values, axis=0), [3, 4, np.nan])
    assert_array_equal(known_mean(values, axis=1), [1, 4.5])
    assert known_mean(values) == 10 / 3
    assert np.isnan(known_mean(values[:, 2]))


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ((np.float64, np.float64), 7e-15),
        ((np.float64, np.float32), 4e-6),
        ((np.float16, np.float32), 2e-3),
        ((np.float32, np.int64), 4e-6),
        ((np.int64, bool), 0.0),
    ],
)
def test_rounding_is_that_of_the_coarser_type(types, expected):
    sides = [np.ones((2, 2), dtype=kind) for kind in types]
    assert rounding(*sides) == rounding(*sides[::-1]) == expected
    if np.float16 not in types:
        assert rounding(*map(sparse.csr_matrix, sides)) == expected
    assert rounding([[1, 2]], [[3, 4]]) == 0


def test_values_vary_if_they_differ_by_more_than_rounding_of_the_largest():
    values = np.array([[-8.0, 1.0, np.nan, 3.0, 0.0], [-6.0, 1.0, np.nan, np.nan, 0.0]])
    assert_array_equal(vary(values, 0.0), [True, False, False, False, False])
    assert_array_equal(vary(values, 0.24), [True, False, False, False, False])
    assert_array_equal(vary(values, 0.25), [False, False, False, False, False])  # 2 is a quarter of 8

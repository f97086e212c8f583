from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import jamie as jm
from jamie.data import CellMatrix, value_stats


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("gb", [4.0, 1e-7])
def test_one_pass_tells_what_numpy_tells(container, gb, monkeypatch):
    monkeypatch.setattr(jm.settings, "memory_gb", gb)
    rng = np.random.default_rng(0)
    x = rng.poisson(0.7, (300, 9)).astype(np.float32)
    train = rng.random(300) < 0.6
    found = value_stats(CellMatrix(container(x)), train)
    assert found.is_whole
    assert found.n_train == train.sum()
    assert found.filled == (x[train] != 0).mean()
    assert_array_equal(found.totals, x[train].sum(1))
    assert_array_equal(found.opened, (x[train] > 0).sum(0))
    assert_array_equal(found.sums, x[train].sum(0))
    assert_array_equal(found.n_open, (x[train] > 0).sum(1))
    assert_allclose(found.mean, x[train].astype(float).mean(0), rtol=1e-6)
    assert_allclose(found.sd, x[train].astype(float).std(0), rtol=1e-6)
    assert (found.n_cells, found.n_missing, found.share_missing) == (300, 0, 0)
    assert not found.negative.any()
    assert not found.missing.any()
    x[290, 2], x[5, 2], x[7, 8] = -1, -0.5, np.nan
    found = value_stats(CellMatrix(container(x)), train)
    assert not found.is_whole
    assert_array_equal(found.negative, [0, 0, 2, 0, 0, 0, 0, 0, 0])
    assert_array_equal(found.missing, [0, 0, 0, 0, 0, 0, 0, 0, 1])


def test_fractions_and_nothing_are_not_whole():
    for x in (np.full((4, 3), 0.5, np.float32), sparse.csr_matrix((4, 3), dtype=np.float32)):
        assert not value_stats(CellMatrix(x), np.ones(4, bool)).is_whole


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("gb", [4.0, 1e-7])
def test_gaps_are_no_values(container, gb, monkeypatch):
    monkeypatch.setattr(jm.settings, "memory_gb", gb)
    rng = np.random.default_rng(0)
    x = rng.poisson(0.7, (300, 9)).astype(np.float32)
    x[rng.random(x.shape) < 0.2] = np.nan
    train = rng.random(300) < 0.6
    found = value_stats(CellMatrix(container(x)), train)
    measured = ~np.isnan(x[train])
    assert found.is_whole
    assert (found.n_cells, found.n_train, found.n_missing) == (300, train.sum(), (~measured).sum())
    assert_array_equal(found.missing, np.isnan(x).sum(0))
    assert found.share_missing == np.isnan(x).mean()
    assert found.filled == (np.nan_to_num(x[train]) != 0).sum() / measured.sum()
    assert_array_equal(found.totals, np.nansum(x[train], 1))
    assert_array_equal(found.sums, np.nansum(x[train], 0))
    assert_array_equal(found.opened, (np.nan_to_num(x[train]) > 0).sum(0))
    x[7, 3] = 0.5
    assert not value_stats(CellMatrix(container(x)), train).is_whole


def test_a_probability_counts_as_itself():
    x = np.array([[0, 0.25, 3], [1, 0, 0.5]], np.float32)
    for container in (np.asarray, sparse.csr_matrix):
        assert_array_equal(value_stats(CellMatrix(container(x)), np.ones(2, bool)).opened, [1, 0.25, 1.5])

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import jamie as jm
from jamie.data import CellMatrix
from jamie.data._panels import Panels, offsets, panels, shares


def panels_of(x, gb=4.0, monkeypatch=None):
    if monkeypatch:
        monkeypatch.setattr(jm.settings, "memory_gb", gb)
    return panels(CellMatrix(x), np.ones(x.shape[0], bool), lambda block: block)


@pytest.fixture
def x():
    rng = np.random.default_rng(0)
    x = rng.poisson(4, (150, 11)).astype(np.float32)
    x[:40, :3] = x[40:90, 8:] = np.nan
    return x


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize(("gb", "n_rows"), [(4.0, 1_024), (4.0, 16), (1e-7, 1_024)])
def test_sums_are_by_the_features_that_cells_have(x, container, gb, n_rows, monkeypatch):
    monkeypatch.setattr("jamie.data._panels.DENSE_ROWS", n_rows)
    found = panels_of(container(x), gb, monkeypatch)
    assert found.n.tolist() == [40, 50, 60]
    assert_array_equal(found.measured, ~np.isnan(x[[0, 40, 90]]))
    for rows, sums in zip((slice(40), slice(40, 90), slice(90, None)), found.sums, strict=True):
        assert_allclose(sums, np.nansum(x[rows], axis=0))


def test_only_training_cells_are_summed(x):
    train = np.arange(150) >= 100
    found = panels(CellMatrix(x), train, lambda block: block)
    assert found.n.tolist() == [50]
    assert_allclose(found.sums[0], x[100:].sum(0))


@pytest.mark.parametrize("shared", [1, 4])
def test_factors_are_found_exactly_where_the_model_holds(shared):
    """Panels of 10 features that share few of them, in cells of very different depth."""
    rng = np.random.default_rng(1)
    d = 20 - shared
    measured = np.zeros((2, d), bool)
    measured[0, :10] = measured[1, d - 10 :] = True
    share, depth = rng.dirichlet(np.ones(d)), np.array([50.0, 900.0])
    found = shares(Panels(measured, np.array([5, 9]), measured * np.outer(depth, share)))
    assert_allclose(found, share, rtol=1e-3)
    offset = rng.normal(size=d)
    offset -= offset.mean()
    level, n = np.array([3.0, -1.0]), np.array([5, 9])
    found = offsets(Panels(measured, n, measured * n[:, None] * (level[:, None] + offset)))
    assert_allclose(found, offset, atol=1e-3)


def test_least_squares_is_that_of_numpy():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(60, 6)).astype(np.float32)
    x[rng.random(x.shape) < 0.3] = np.nan
    x[:, 0] = rng.normal(size=60)
    rows, columns = np.nonzero(~np.isnan(x))
    design = np.zeros((len(rows), 66))
    design[np.arange(len(rows)), rows] = design[np.arange(len(rows)), 60 + columns] = 1
    solved = np.linalg.lstsq(design, x[rows, columns], rcond=None)[0][60:]
    assert_allclose(offsets(panels_of(x)), solved - solved.mean(), atol=1e-5)


def test_panels_that_share_nothing_count_as_equally_deep():
    measured = np.array([[True, True, False, False], [False, False, True, True]])
    found = Panels(measured, np.array([3, 3]), np.array([[3.0, 9, 0, 0], [0, 0, 30, 90]]))
    assert np.isfinite(shares(found)).all()
    assert shares(found).sum() == pytest.approx(1)
    assert np.isfinite(offsets(found)).all()


def test_features_without_counts_have_no_share():
    measured = np.array([[True, True, False], [True, False, True]])
    found = shares(Panels(measured, np.array([2, 2]), np.array([[4.0, 0, 0], [4, 0, 4]])))
    assert_allclose(found, [0.5, 0, 0.5], rtol=1e-5)
    assert found[1] == 0
    assert_allclose(shares(Panels(measured, np.array([2, 2]), np.zeros((2, 3)))), 1 / 3)


def test_of_too_many_panels_the_first_are_told_apart_and_go_on_to_count(x, monkeypatch):
    monkeypatch.setattr("jamie.data._panels.MOST_PANELS", 2)
    rows = np.r_[0:40, 90:120, 40:90, 20:40]  # of the first panel, the third, the second, the first again
    monkeypatch.setattr(CellMatrix, "blocks", lambda _: [slice(0, 70), slice(70, 120), slice(120, 140)])
    found = panels_of(x[rows])
    assert found.n.tolist() == [60, 30]
    assert_allclose(found.sums[0], np.nansum(x[:40], axis=0) + np.nansum(x[20:40], axis=0))
    assert_allclose(found.sums[1], x[90:120].sum(axis=0))

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer

from jamie.data import CellMatrix, measured, measured_as, value_stats
from jamie.data._kinds import Normaliser

CONTAINERS = [np.asarray, sparse.csr_matrix]


def counts(mean=1.0, shape=(30, 20), seed=0):
    return np.random.default_rng(seed).poisson(mean, shape).astype(np.float32)


def fit(kind, x):
    cells, train = CellMatrix(x), np.ones(x.shape[0], dtype=bool)
    return Normaliser.fit(kind, cells, train, value_stats(cells, train))


def dense(x):
    return x.toarray() if sparse.issparse(x) else x


FLOATS = np.random.default_rng(1).normal(size=(30, 20)).astype(np.float32)


@pytest.mark.parametrize("container", CONTAINERS)
def test_counts_are_normalised_as_scanpy_does(container):
    x = counts()
    x[3] = 0
    normaliser = fit("counts", container(x))
    assert normaliser.depth == np.median(np.delete(x.sum(1), 3))
    adata = ad.AnnData(np.delete(x, 3, 0))
    sc.pp.normalize_total(adata, target_sum=normaliser.depth)
    sc.pp.log1p(adata)
    found = normaliser(container(x))
    assert sparse.issparse(found) == (container is sparse.csr_matrix)
    assert_allclose(np.delete(dense(found), 3, 0), adata.X, rtol=1e-5)
    assert_array_equal(dense(found)[3], 0)


def test_accessibility_is_tfidf_of_open_and_closed():
    x = counts(0.4)
    x[2] = 0
    expected = TfidfTransformer().fit_transform(sparse.csr_matrix(x > 0, dtype=float))
    for container in CONTAINERS:
        normaliser = fit("accessibility", container(x))
        assert_allclose(normaliser(container(x)).toarray(), expected.toarray(), rtol=1e-5)
    assert_array_equal(normaliser(x * 7).toarray(), normaliser(x).toarray())


@pytest.mark.parametrize("container", CONTAINERS)
def test_protein_is_the_centred_log_ratio(container):
    x = counts(8)
    x[4] = 0
    expected = np.empty_like(x)
    for i, cell in enumerate(x):
        expected[i] = np.log(1 + cell / np.exp(np.log(1 + cell).mean()))
    found = fit("protein", container(x))(container(x))
    assert sparse.issparse(found) == (container is sparse.csr_matrix)
    assert_allclose(dense(found), expected, rtol=1e-5)


@pytest.mark.parametrize("container", CONTAINERS)
def test_continuous_values_stay_as_they_are(container):
    x = container(FLOATS)
    assert fit("continuous", x)(x) is x


@pytest.mark.parametrize("kind", ["counts", "accessibility", "protein"])
def test_an_empty_cell_survives_as_zeros(kind):
    x = counts(0.3)
    x[0] = 0
    x = sparse.csr_matrix(x)
    assert abs(fit(kind, x)(x)[0]).sum() == 0
    nothing = sparse.csr_matrix((5, 20), dtype=np.float32)
    assert np.isfinite(fit(kind, nothing).depth)


@pytest.mark.parametrize("kind", ["counts", "accessibility", "protein"])
def test_sparse_stays_sparse(kind, never_dense):
    x = sparse.csr_matrix(counts(0.3))
    never_dense(30)
    assert sparse.issparse(fit(kind, x)(x))
    assert sparse.issparse(measured(x, kind=kind, depth=10.0))


@pytest.mark.parametrize("kind", ["counts", "accessibility", "protein"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_the_input_is_left_alone(kind, container):
    x = container(counts())
    before = x.copy()
    fit(kind, x)(x)
    assert abs(x - before).sum() == 0


def test_input_units_of_a_cell_of_median_depth_are_its_counts():
    x = counts(8, shape=(31, 20))
    for kind, depth_of in (("counts", lambda x: x.sum(1)), ("protein", lambda x: np.exp(np.log1p(x).mean(1)))):
        normaliser = fit(kind, x)
        (typical,) = np.nonzero(np.isclose(depth_of(x), normaliser.depth))
        assert_allclose(normaliser.to_input_units(normaliser(x)[typical]), x[typical], rtol=1e-4, atol=1e-4)
    negative = np.array([[-0.3, 1.0]])
    assert_allclose(Normaliser("counts", 5.0, np.empty(0)).to_input_units(negative), [[0, np.e - 1]])
    for kind in ("continuous", "accessibility"):
        assert_array_equal(Normaliser(kind, 1.0, np.empty(0)).to_input_units(negative), negative)


def test_measured_values_are_on_the_imputed_scale():
    x = counts()
    assert_array_equal(measured(x, kind="accessibility", depth=1.0), x > 0)
    assert_array_equal(measured(FLOATS, kind="continuous", depth=1.0), FLOATS)
    for kind in ("counts", "protein"):
        normaliser = fit(kind, x)
        assert_array_equal(measured(x, kind=kind, depth=normaliser.depth), normaliser(x))


def test_a_probability_counts_as_itself_where_regions_are_open():
    x = np.array([[0, 0.25, 3], [1, 0, 0.5]], np.float32)
    for container in CONTAINERS:
        assert_array_equal(dense(measured(container(x), kind="accessibility", depth=1.0)), np.minimum(x, 1))


@pytest.fixture
def two_panels():
    """Counts of 400 cells of depths of their own, the second half without the 8 highest of 20 features; and all."""
    rng = np.random.default_rng(0)
    rate = np.sort(np.exp(rng.normal(2, 1, 20)))
    truth = rng.poisson(rng.gamma(5, 1 / 5, (400, 1)) * rate).astype(np.float32)
    x = truth.copy()
    x[200:, 12:] = np.nan
    return x, truth


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("kind", ["counts", "protein"])
def test_cells_of_two_panels_are_normalised_as_if_they_had_all(two_panels, kind, container):
    x, truth = two_panels
    normaliser, complete = fit(kind, container(x)), fit(kind, truth)
    found, expected = dense(normaliser(container(x))), complete(truth)
    assert_array_equal(np.isnan(found), np.isnan(x))
    assert normaliser.depth == pytest.approx(complete.depth, rel=0.05)
    assert_allclose(normaliser.levels, complete.levels, atol=0.02 if kind == "counts" else 0.1)
    first, second = found[:200, :12].mean(0), found[200:, :12].mean(0)
    by_chance = expected[:200, :12].mean(0) - expected[200:, :12].mean(0)
    assert np.abs((first - second) - by_chance).max() < 0.12
    alone = np.log1p(x / np.nansum(x, 1, keepdims=True) * complete.depth) if kind == "counts" else (
        np.log1p(x / np.exp(np.nanmean(np.log1p(x), 1, keepdims=True)))
    )  # fmt: skip
    assert np.abs(np.nanmean(alone[:200, :12], 0) - np.nanmean(alone[200:, :12], 0)).max() > 0.2


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("kind", ["counts", "protein"])
def test_a_feature_that_is_not_there_is_as_one_that_is_nan(two_panels, kind, container):
    _, truth = two_panels
    normaliser, columns = fit(kind, container(truth)), np.array([3, 0, 7, 15])
    gaps = np.full_like(truth, np.nan)
    gaps[:, columns] = truth[:, columns]
    with_nan, without = normaliser(container(gaps)), normaliser(container(truth[:, columns]), columns)
    assert_allclose(dense(with_nan)[:, columns], dense(without), rtol=1e-5)
    shift = dense(without).mean(0) - normaliser(truth)[:, columns].mean(0)
    assert np.abs(shift).max() < 0.1


@pytest.mark.parametrize("kind", ["counts", "protein"])
def test_without_gaps_the_levels_are_those_of_the_means(two_panels, kind):
    _, truth = two_panels
    levels = fit(kind, truth).levels
    if kind == "counts":
        assert_allclose(levels, truth.sum(0) / truth.sum(), rtol=1e-6)
    else:
        assert_allclose(levels, np.log1p(truth).mean(0) - np.log1p(truth).mean(), atol=1e-5)


@pytest.mark.parametrize("kind", ["counts", "protein"])
def test_a_cell_without_counts_and_with_gaps_is_zero(kind):
    x = counts(3)
    x[4] = 0
    x[4, 7] = x[9, 2] = np.nan
    for container in CONTAINERS:
        found = dense(fit(kind, container(x))(container(x)))
        assert_array_equal(np.isnan(found), np.isnan(x))
        assert_array_equal(np.nan_to_num(found[4]), 0)
        assert np.isfinite(found[9][~np.isnan(x[9])]).all()


def test_where_nothing_was_counted_every_feature_has_the_same_share():
    normaliser = fit("counts", np.zeros((5, 4), np.float32))
    assert_allclose(normaliser.levels, 0.25)
    assert normaliser.depth == 1


@pytest.mark.parametrize("kind", ["counts", "protein"])
def test_values_are_measured_as_the_record_of_their_preparation_says(two_panels, kind):
    """Levels are for cells with gaps, and of all features: where some features are gone they say nothing."""
    x, truth = two_panels
    normaliser = fit(kind, x)
    about = {"kind": kind, "depth": str(normaliser.depth), "levels": list(normaliser.levels)}
    assert_allclose(measured_as(x, about), normaliser(x), rtol=1e-6)
    assert_allclose(measured_as(truth[:, 3:], about), measured(truth[:, 3:], kind=kind, depth=normaliser.depth))
    assert_allclose(measured_as(truth, {"kind": kind, "depth": 7}), measured(truth, kind=kind, depth=7.0))


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_size_of_a_cell_is_its_total_or_its_geometric_mean(container):
    x = counts(3)
    assert_allclose(fit("counts", x).size(container(x)), x.sum(1))
    assert_allclose(fit("protein", x).size(container(x)), np.exp(np.log1p(x).mean(1)), rtol=1e-5)
    x[3, :5] = np.nan  # without levels a cell has what was measured of it
    for kind, size in (("counts", np.nansum(x, 1)), ("protein", np.exp(np.nanmean(np.log1p(x), 1)))):
        assert_allclose(Normaliser(kind, 1.0, np.empty(0)).size(container(x)), size, rtol=1e-5)

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer

from jamie.data import SCALES, CellMatrix, detect_kind, measured, value_stats
from jamie.data._kinds import Normaliser

CONTAINERS = [np.asarray, sparse.csr_matrix]


def counts(mean=1.0, shape=(30, 20), seed=0):
    return np.random.default_rng(seed).poisson(mean, shape).astype(np.float32)


def fit(kind, x):
    cells, train = CellMatrix(x), np.ones(x.shape[0], dtype=bool)
    return Normaliser.fit(kind, cells, train, value_stats(cells, train))


def dense(x):
    return x.toarray() if sparse.issparse(x) else x


DENSE_COUNTS, FEW_COUNTS = counts(50), counts(0.2)
FLOATS = np.random.default_rng(1).normal(size=(30, 20)).astype(np.float32)
WITH_NAN = np.where(FLOATS > 1, np.nan, DENSE_COUNTS)


@pytest.mark.parametrize(
    ("name", "x", "kind"),
    [
        ("rna", FEW_COUNTS, "counts"),
        ("rna", DENSE_COUNTS, "counts"),
        ("GEX", sparse.csr_matrix(FEW_COUNTS), "counts"),
        ("rna", np.log1p(FEW_COUNTS), "continuous"),
        ("rna", sparse.csr_matrix(np.log1p(FEW_COUNTS)), "continuous"),
        ("rna", FLOATS, "continuous"),
        ("rna", WITH_NAN, "continuous"),
        ("atac", sparse.csr_matrix(FEW_COUNTS > 0, dtype=np.float32), "accessibility"),
        ("peaks", FEW_COUNTS, "accessibility"),
        ("atac", DENSE_COUNTS, "continuous"),  # topic scores
        ("atac", FLOATS, "continuous"),
        ("protein", DENSE_COUNTS, "protein"),
        ("ADT", sparse.csr_matrix(DENSE_COUNTS), "protein"),
        ("prot", FLOATS, "continuous"),
        ("protein_expression", DENSE_COUNTS, "protein"),
        ("x", sparse.csr_matrix(FEW_COUNTS), "counts"),
        ("x", DENSE_COUNTS, "continuous"),
        ("ephys", FLOATS, "continuous"),
        ("ephys", -DENSE_COUNTS, "continuous"),
        ("met", np.random.default_rng(0).random((30, 20)), "continuous"),
    ],
)
def test_kind_follows_from_name_and_values(name, x, kind):
    assert detect_kind(name, value_stats(CellMatrix(x), np.ones(x.shape[0], dtype=bool))) == kind
    assert kind in SCALES


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

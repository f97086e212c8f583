from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.decomposition import PCA

import jamie as jm
from jamie.data import CellMatrix, _pca
from jamie.data._pca import principal_components

N, D, K = 900, 40, 4


@pytest.fixture
def z():
    """Four strong directions in noise, off centre."""
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(N, K)) * [6, 5, 4, 3] @ np.linalg.qr(rng.normal(size=(D, K)))[0].T
    return (signal + 0.3 * rng.normal(size=(N, D)) + rng.normal(size=D)).astype(np.float32)


def components(x, train=None, n_comps=K):
    train = np.ones(x.shape[0], dtype=bool) if train is None else train
    return principal_components(CellMatrix(x), train, lambda x, dtype: x.astype(dtype), n_comps=n_comps, seed=0)


def captured(vectors, z):
    return np.trace(vectors @ np.cov(z.T) @ vectors.T)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_summed_covariance_gives_what_scikit_learn_gives(z, container, monkeypatch):
    train = np.arange(N) % 5 > 0
    monkeypatch.setattr(jm.settings, "memory_gb", 1e-5)
    monkeypatch.setattr(_pca, "of_gathered", None)  # is not called
    found, oracle = components(container(z), train), PCA(K, svd_solver="full").fit(z[train])
    assert_allclose(found.vectors, oracle.components_, atol=1e-4)
    assert_allclose(found.variance, oracle.explained_variance_, rtol=1e-4)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_some_cells_and_one_pass_come_close_to_all(z, container, monkeypatch):
    whole = PCA(K, svd_solver="full").fit(z)
    monkeypatch.setattr(_pca, "EXACT_FEATURES", D - 1)
    monkeypatch.setattr(jm.settings, "memory_gb", 60 * 2 * 4 * D / _pca.GATHERED / 2**30)  # 60 dense cells
    some = np.random.default_rng(0).choice(N, 60, replace=False)
    only_some = PCA(K, svd_solver="full").fit(z[some])
    found = components(container(z))
    share = [captured(v, z) / whole.explained_variance_.sum() for v in (only_some.components_, found.vectors)]
    assert share[1] > 0.9999 > share[0]
    assert_allclose(found.vectors @ found.vectors.T, np.eye(K), atol=1e-5)
    assert_allclose(found.variance, whole.explained_variance_, rtol=2e-3)
    assert_allclose(np.abs(np.diag(found.vectors @ whole.components_.T)), 1, atol=2e-3)


@pytest.mark.parametrize("size", [70, 500])
def test_gathered_blocks_are_the_whole(z, size, monkeypatch):
    whole = components(z)
    monkeypatch.setattr(CellMatrix, "blocks", lambda _: [slice(i, min(i + size, N)) for i in range(0, N, size)])
    assert_allclose(components(z).vectors, whole.vectors, atol=1e-6)


def test_no_more_components_than_the_data_have(z, monkeypatch):
    monkeypatch.setattr(jm.settings, "memory_gb", 1e-5)
    assert components(z, n_comps=200).vectors.shape == (D, D)


@pytest.mark.parametrize("n_blocks", [1, 3])
def test_components_of_many_values_are_those_of_few(z, n_blocks, monkeypatch):
    many = _pca.of_many_values
    monkeypatch.setattr(_pca, "EXACT_VALUES", N * D)
    monkeypatch.setattr(_pca, "of_many_values", None)  # is not called
    exact = components(sparse.csr_matrix(z))
    monkeypatch.setattr(_pca, "of_many_values", many)
    monkeypatch.setattr(_pca, "EXACT_VALUES", N * D - 1)
    monkeypatch.setattr(_pca, "of_gathered", None)  # is not called
    if n_blocks > 1:
        monkeypatch.setattr(CellMatrix, "blocks", lambda _: [slice(i, i + N // 3) for i in range(0, N, N // 3)])
    found = components(sparse.csr_matrix(z))
    assert_allclose(found.variance, exact.variance, rtol=1e-4)
    assert_allclose(np.abs(np.diag(found.vectors @ exact.vectors.T)), 1, atol=1e-4)
    assert_allclose(found.vectors @ found.vectors.T, np.eye(K), atol=1e-5)


def test_columns_that_depend_on_each_other_still_give_a_basis():
    vectors = np.random.default_rng(0).normal(size=(30, 4))
    vectors[:, 3] = vectors[:, 0]
    basis = _pca.orthonormal(vectors)
    assert_allclose(basis.T @ basis, np.eye(4), atol=1e-5)
    assert_allclose(basis @ (basis.T @ vectors), vectors, atol=1e-5)


def test_few_blocks_of_many_are_the_same_cells():
    rng = np.random.default_rng(0)
    x = sparse.random(60, 9, density=0.4, format="csr", rng=rng)
    blocks = [x[i : i + 3] for i in range(0, 60, 3)]
    merged = _pca._merged(blocks)
    assert len(merged) == _pca.MERGED
    assert_allclose(sparse.vstack(merged).toarray(), x.toarray())
    assert _pca._merged(blocks[:5]) == blocks[:5]


def test_sums_of_blocks_are_the_covariance(z, monkeypatch):
    monkeypatch.setattr(_pca, "DENSE_ROWS", 64)
    vectors = np.random.default_rng(1).normal(size=(D, 3))
    blocks = [z[:100], z[100:101], z[101:]]
    for container in (np.asarray, sparse.csr_matrix):
        for v in (None, vectors):
            found = _pca.total(_pca.summed(container(block.astype(float)), v) for block in blocks).covariance
            assert_allclose(found, np.cov(z.T) @ (np.eye(D) if v is None else v), rtol=1e-5, atol=1e-5)


def test_leading_components_are_given_with_signs_by_their_largest_entry(z):
    covariance, oracle = np.cov(z.T.astype(float)), PCA(5, svd_solver="full").fit(z)
    exact = _pca.of_covariance(covariance, n_comps=5)
    basis = np.random.default_rng(1).normal(size=(D, D))
    for found in (exact, _pca.of_products(covariance @ basis, basis, n_comps=5)):
        assert_allclose(found.vectors, oracle.components_, atol=1e-4)
        assert_allclose(found.variance, oracle.explained_variance_, rtol=1e-5)
    largest = np.take_along_axis(exact.vectors, np.abs(exact.vectors).argmax(axis=1)[:, None], axis=1)
    assert (largest > 0).all()


def test_directions_without_variance_give_no_component():
    covariance = np.diag([4.0, 1, 0, 0, 0])
    found = _pca.of_products(covariance, np.eye(5), n_comps=4)
    assert_allclose(found.variance, [4, 1])
    assert_allclose(found.vectors, np.eye(5)[:2], atol=1e-12)


def test_a_basis_spans_the_columns_and_is_that_of_gram_and_schmidt():
    vectors = np.random.default_rng(0).normal(size=(30, 4)) * [1, 30, 0.1, 1]
    basis = _pca.orthonormal(vectors)
    q, r = np.linalg.qr(vectors)
    assert basis.dtype == np.float32
    assert_allclose(basis, q * np.sign(r.diagonal()), atol=1e-5)


def test_some_training_cells_are_drawn_and_never_others():
    train = np.arange(50) % 2 == 0
    rng = np.random.default_rng(0)
    some = [_pca.drawn(train, 10, rng) for _ in range(2)]
    assert [chosen.sum() for chosen in some] == [10, 10]
    assert not any((chosen & ~train).any() for chosen in some)
    assert (some[0] != some[1]).any()
    assert all((_pca.drawn(train, n, rng) == train).all() for n in (25, 26, 1000))


def test_values_are_counted_per_cell():
    x = np.zeros((10, 6), np.float32)
    x[:, :2] = 1
    assert _pca.values_per_cell(CellMatrix(x)) == 6
    assert _pca.values_per_cell(CellMatrix(sparse.csr_matrix(x))) == 2
    assert _pca.values_per_cell(CellMatrix(sparse.csr_matrix(x.shape, dtype=np.float32))) == 1


@pytest.mark.parametrize(
    ("shape", "container"),
    [((60, 20), np.asarray), ((20, 60), np.asarray), ((60, 20), sparse.csr_matrix), ((20, 60), sparse.csr_matrix)],
)
@pytest.mark.parametrize("n_comps", [2, 15, 100])
def test_cells_in_memory_have_the_components_of_scikit_learn(shape, container, n_comps):
    x = np.random.default_rng(0).normal(size=shape) * np.geomspace(1, 5, shape[1])
    found = _pca.of_gathered(container(x), n_comps=n_comps, seed=0)
    k = min(n_comps, shape[0] - 1, shape[1])
    oracle = PCA(k, svd_solver="full").fit(x)
    assert found.vectors.shape == (k, shape[1])
    assert_allclose(found.variance, oracle.explained_variance_, rtol=1e-8)
    assert_allclose(np.abs(np.diag(found.vectors @ oracle.components_.T)), 1, rtol=1e-6)


def test_many_values_take_no_step_that_gains_nothing(z, monkeypatch):
    steps, summed = [], _pca.summed
    monkeypatch.setattr(_pca, "summed", lambda z, vectors: (steps.append(1), summed(z, vectors))[1])
    _pca.of_many_values([sparse.csr_matrix(z)], n_comps=K, rng=np.random.default_rng(0))
    assert 2 < len(steps) < 8


def test_the_seed_decides_the_components_to_the_bit():
    x = np.random.default_rng(0).normal(size=(60, 50))
    found = [_pca.of_gathered(x, n_comps=2, seed=seed).vectors for seed in (0, 0, 1)]  # by Lanczos, from a random start
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])

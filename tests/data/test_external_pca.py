"""Components that scanpy or the user computed before, taken as they are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.decomposition import PCA

from jamie.data import external_pca, open_cells


@pytest.fixture
def mdata(make_mdata, rng):
    """Two modalities, of which x has four components of its values under the names of scanpy; some are held out."""
    x = (rng.normal(size=(60, 4)) @ rng.normal(size=(4, 9)) + 0.1 * rng.normal(size=(60, 9)) + 5).astype(np.float32)
    mdata = make_mdata(x=x, y=x[:, :3].copy())
    mdata.obs["jamie_split"] = np.where(np.arange(60) % 3, "train", "test")
    with_components(mdata["x"], x)
    return mdata


def with_components(adata, values):
    pca = PCA(4, svd_solver="full").fit(values)
    adata.obsm["X_pca"], adata.varm["PCs"] = pca.transform(values), pca.components_.T


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_components_are_those_given_and_of_new_cells_the_same_projection(mdata, container, rng):
    x = mdata["x"].X
    mdata["x"].X = container(x)
    preparation, scores = external_pca(open_cells(mdata), "x", "X_pca")
    assert scores.dtype == preparation.loadings.dtype == np.float32
    assert_allclose(scores, mdata["x"].obsm["X_pca"], rtol=1e-6)
    assert_allclose(preparation.transform(container(x)), scores, atol=1e-4)
    new = rng.normal(size=(7, 9)).astype(np.float32)
    assert_allclose(preparation.transform(container(new)), (new - x.mean(0)) @ mdata["x"].varm["PCs"], atol=1e-4)
    assert_allclose(preparation.inverse(scores), scores @ preparation.loadings.T + x.mean(0), atol=1e-4)
    train = np.arange(60) % 3 > 0
    assert_allclose(preparation.mean, x.mean(0), rtol=1e-5)  # the components are of all cells, and so is their mean
    assert_array_equal(preparation.sd, 1)
    assert_allclose(preparation.variance, scores[train].var(axis=0, ddof=1), rtol=1e-5)
    assert (preparation.kind, preparation.n_fitted, preparation.layer) == ("continuous", 40, "")
    assert list(preparation.features) == [f"x{j}" for j in range(9)]
    assert preparation.openness.shape == (2, 0)
    assert_array_equal(preparation.normaliser(x), x)


def test_components_may_be_of_a_layer_and_have_another_name(mdata):
    adata = mdata["x"]
    adata.layers["squared"] = adata.X**2
    pca = PCA(3, svd_solver="full").fit(adata.layers["squared"])
    adata.obsm["mine"], adata.varm["mine"] = pca.transform(adata.layers["squared"]), pca.components_.T
    preparation, scores = external_pca(open_cells(mdata, layer={"x": "squared"}), "x", "mine")
    assert preparation.layer == "squared"
    assert_allclose(preparation.transform(adata.layers["squared"]), scores, atol=1e-3)
    with pytest.raises(ValueError, match=r"`mdata\['x'\].obsm\['mine'\]` to be the components of `mdata\['x'\].X`"):
        external_pca(open_cells(mdata), "x", "mine")


def test_values_far_from_0_are_read_in_double_precision(mdata):
    adata = mdata["x"]
    adata.X = adata.X.astype(np.float64) * 0.1 + 1e6
    with_components(adata, adata.X)
    preparation, scores = external_pca(open_cells(mdata), "x", "X_pca")
    assert preparation.dtype == np.float64
    assert_allclose(preparation.mean, adata.X.mean(axis=0), rtol=1e-12)
    assert_allclose(preparation.transform(adata.X), scores, atol=1e-6)


@pytest.mark.parametrize("slot", ["obsm", "varm"])
def test_what_is_not_there_is_named(mdata, slot):
    del getattr(mdata["x"], slot)["X_pca" if slot == "obsm" else "PCs"]
    with pytest.raises(KeyError, match=rf"`use_rep` .*mdata\['x'\]\.{slot}"):
        external_pca(open_cells(mdata), "x", "X_pca")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda loadings: loadings * 2, "4 columns with products of up to 4; "),
        (lambda loadings: loadings[:, :3], "3 columns with products of up to 1; "),
        (lambda loadings: loadings * (1 + 1e-3), "4 columns with products of up to 1; "),
    ],
)
def test_loadings_that_are_not_orthonormal_are_refused(mdata, change, found):
    mdata["x"].varm["PCs"] = change(mdata["x"].varm["PCs"])
    message = rf"orthonormal loadings of 4 components in `mdata\['x'\].varm\['PCs'\]`, found {found}call jm.pp.prepare"
    with pytest.raises(ValueError, match=message):
        external_pca(open_cells(mdata), "x", "X_pca")


@pytest.mark.parametrize(("apart", "is_refused"), [(0.04, False), (0.06, True), (np.nan, True)])
def test_components_of_other_values_are_refused(mdata, apart, is_refused):
    """Up to a twentieth of a standard deviation of the first is rounding."""
    scores = mdata["x"].obsm["X_pca"].copy()
    scores[7, 2] += apart * scores[np.arange(60) % 3 > 0, 0].std(ddof=1)
    mdata["x"].obsm["X_pca"] = scores
    if not is_refused:
        external_pca(open_cells(mdata), "x", "X_pca")
        return
    with pytest.raises(
        ValueError, match=r"found them (0\.06|nan) standard deviations apart; pass layer= for the values"
    ):
        external_pca(open_cells(mdata), "x", "X_pca")

"""The toy set: counts, partly shared cells, and enough signal to learn from."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from jamie.datasets import toy


def dense(matrix):
    return matrix.toarray() if sparse.issparse(matrix) else matrix


@pytest.fixture(scope="module", params=[0, 1, 2])
def mdata(request):
    return toy(rng=request.param)


def test_modalities_hold_counts_sparse_and_dense(mdata):
    assert sparse.issparse(mdata["rna"].X)
    assert mdata["rna"].X.format == "csr"
    assert isinstance(mdata["protein"].X, np.ndarray)
    for adata in mdata.mod.values():
        counts = dense(adata.X)
        assert counts.dtype == np.float32
        assert counts.min() >= 0
        assert_array_equal(counts, np.round(counts))
        assert counts.sum(axis=1).min() > 0
    assert (mdata["rna"].n_vars, mdata["protein"].n_vars) == (40, 12)


@pytest.mark.parametrize(
    ("n_cells", "share", "shapes"),
    [
        (60, 0.8, (54, 54, 48)),
        (60, 1, (60, 60, 60)),
        (60, 0, (30, 30, 0)),
        (61, 0.5, (46, 45, 30)),
        (3, 0, (2, 1, 0)),
    ],
)
def test_share_paired_says_how_many_cells_have_both(n_cells, share, shapes):
    mdata = toy(n_cells=n_cells, share_paired=share)
    rna, protein = mdata["rna"].obs_names, mdata["protein"].obs_names
    assert (len(rna), len(protein), len(rna.intersection(protein))) == shapes
    assert mdata.n_obs == n_cells


def test_cells_are_to_be_matched_by_name(mdata):
    rna, protein = mdata["rna"].obs_names, mdata["protein"].obs_names
    assert (rna[:48] == protein[:48]).mean() < 0.2


def test_labels_agree_everywhere(mdata):
    assert mdata.obs.columns.tolist() == ["cell_type"]
    assert set(mdata.obs["cell_type"].value_counts()) == {20}
    for adata in mdata.mod.values():
        assert_array_equal(adata.obs["cell_type"], mdata.obs["cell_type"].loc[adata.obs_names])


def test_rows_of_the_whole_follow_its_names():
    mdata = toy(n_cells=600, share_paired=0)
    for name, adata in mdata.mod.items():
        rows = np.ravel(mdata.obsmap[name])  # from 1, 0 is not measured
        assert_array_equal(adata.obs_names[rows[rows > 0] - 1], mdata.obs_names[rows > 0])
    assert (mdata.obsm["true_latent"].argmax(axis=1) == mdata.obs["cell_type"].cat.codes).mean() > 0.9


@pytest.mark.parametrize("name", ["rna", "protein"])
def test_types_and_latent_show_in_each_modality(name):
    mdata = toy(n_cells=600, share_paired=1)
    adata = mdata[name]
    logged = np.log1p(dense(adata.X))
    assert cross_val_score(KNeighborsClassifier(5), logged, adata.obs["cell_type"], cv=5).mean() > 0.85
    z = mdata.obsm["true_latent"][mdata.obs_names.get_indexer(adata.obs_names)]
    design = np.c_[z, np.ones(len(z))]
    residual = logged - design @ np.linalg.lstsq(design, logged, rcond=None)[0]
    assert residual.var(axis=0).sum() / logged.var(axis=0).sum() < 0.75


def test_the_seed_decides_everything_and_leaves_the_global_state():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one, same, other = (toy(rng=seed) for seed in (3, np.random.default_rng(3), 4))
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    for m in ("rna", "protein"):
        assert_array_equal(one[m].obs_names, same[m].obs_names)
        assert_array_equal(dense(one[m].X), dense(same[m].X))
        assert not np.array_equal(dense(one[m].X), dense(other[m].X))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_cells": 2}, r"`n_cells` of at least 3.*found 2"),
        ({"share_paired": 80}, r"0 ≤ `share_paired` ≤ 1, found 80; pass 0.8"),
        ({"share_paired": float("nan")}, r"found nan"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        toy(**options)

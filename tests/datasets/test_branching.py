"""The simulated tree: what it promises of its views holds, for more than one seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from jamie.datasets import branching_manifold

SMALL = {"n_cells": 60, "n_features": (20, 30)}


def neighbours(z, k=10):
    return NearestNeighbors(n_neighbors=k).fit(z).kneighbors_graph()


def overlap(a, b, k=10):
    return neighbours(a, k).multiply(neighbours(b, k)).sum() / (k * len(a))


def components(view):
    return PCA(10, random_state=0).fit_transform(view)


@pytest.fixture(scope="module", params=[0, 1, 2])
def mdata(request):
    return branching_manifold(rng=request.param)


def test_the_default_has_the_size_of_the_published_simulation(mdata):
    assert {m: a.shape for m, a in mdata.mod.items()} == {"x": (300, 1000), "y": (300, 2000)}
    assert all(a.X.dtype == np.float32 for a in mdata.mod.values())
    assert_array_equal(mdata["x"].obs_names, mdata["y"].obs_names)
    assert_array_equal(mdata.obs_names, mdata["x"].obs_names)
    assert mdata.var_names.is_unique
    assert mdata.obsm["true_latent"].shape == (300, 2)


def test_columns_of_cells_are_the_same_everywhere(mdata):
    assert mdata.obs.columns.tolist() == ["cell_type", "pseudotime"]
    for adata in mdata.mod.values():
        pd.testing.assert_frame_equal(adata.obs, mdata.obs)
    assert mdata.obs["cell_type"].value_counts().to_dict() == {f"branch {k}": 100 for k in (1, 2, 3)}


@pytest.mark.parametrize("view", ["x", "y"])
def test_each_view_keeps_the_neighbours_and_the_branches(mdata, view):
    z, seen = mdata.obsm["true_latent"], components(mdata[view].X)
    assert overlap(z, seen) > 0.75  # chance is 10 / 300
    assert cross_val_score(KNeighborsClassifier(5), seen, mdata.obs["cell_type"], cv=5).mean() > 0.9


def test_neighbours_in_one_view_are_neighbours_in_the_other(mdata):
    assert overlap(components(mdata["x"].X), components(mdata["y"].X)) > 0.75


@pytest.mark.parametrize("view", ["x", "y"])
def test_views_are_not_linear_in_the_latent(view):
    mdata = branching_manifold(noise=0)
    z, seen = mdata.obsm["true_latent"], mdata[view].X
    assert LinearRegression().fit(z, seen).score(z, seen) < 0.9


def test_branches_meet_at_the_joint_and_differ_in_length(mdata):
    z, obs = mdata.obsm["true_latent"], mdata.obs
    assert np.linalg.norm(z[obs["pseudotime"] < 0.05], axis=1).max() < 0.5
    reach = obs.groupby("cell_type", observed=True)["pseudotime"].max()
    assert_allclose(reach, [1, 1.6, 2.4], rtol=0.1)


def test_branches_have_a_width(mdata):
    first = (mdata.obs["cell_type"] == "branch 1").to_numpy()
    along = mdata.obs["pseudotime"].to_numpy()[first]
    centre = np.polynomial.polynomial.polyvander(along, 3)
    z = mdata.obsm["true_latent"][first]
    off = z - centre @ np.linalg.lstsq(centre, z, rcond=None)[0]
    assert_allclose(np.sqrt((off**2).sum(axis=1).mean()), 0.08, rtol=0.25)


def test_noise_is_relative_to_the_view():
    clean, noisy = (branching_manifold(n_cells=900, n_features=(50, 70), noise=noise) for noise in (0, 0.5))
    for m in "xy":
        assert_allclose(clean[m].X.var(axis=0).mean(), 1, rtol=1e-3)
    assert_array_equal(clean.obsm["true_latent"], noisy.obsm["true_latent"])
    assert_allclose((noisy["x"].X - clean["x"].X).std(), 0.5, rtol=0.02)


def test_the_seed_decides_everything_and_leaves_the_global_state():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one, same, other = (branching_manifold(**SMALL, rng=seed) for seed in (3, np.random.default_rng(3), 4))
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    for m in "xy":
        assert_array_equal(one[m].X, same[m].X)
        assert not np.array_equal(one[m].X, other[m].X)
    pd.testing.assert_frame_equal(one.obs, same.obs)


def test_a_generator_is_advanced():
    rng = np.random.default_rng(0)
    first, second = branching_manifold(**SMALL, rng=rng), branching_manifold(**SMALL, rng=rng)
    assert not np.array_equal(first["x"].X, second["x"].X)


def test_more_cells_than_one_slice_of_noise():
    mdata = branching_manifold(n_cells=10_000, n_features=(4, 3))
    assert mdata["x"].shape == (10_000, 4)
    assert len(np.unique(mdata["y"].X[:, 0])) > 9_900
    assert_allclose(mdata["x"].X.var(axis=0).mean(), 1.04, rtol=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_cells": 2}, r"`n_cells` of at least 3.*found 2"),
        ({"n_features": (5, 0)}, r"two positive numbers, of x and of y, found \(5, 0\)"),
        ({"n_features": 5}, r"two positive numbers.*found 5"),
        ({"noise": -1}, r"`noise` ≥ 0, found -1"),
        ({"noise": float("nan")}, r"`noise` ≥ 0, found nan"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        branching_manifold(**options)

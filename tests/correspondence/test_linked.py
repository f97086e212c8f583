"""Pseudo-pairs beside the same in plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist

from jamie.correspondence import _linked
from jamie.correspondence._linked import pseudo_pairs


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def problem(seed=0, n=120, n_y=100, noise=1.0):
    """Cells in three types and along a gradient; linked features are noisy, whole profiles are not."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n, 3)) + 4 * np.eye(3)[rng.integers(3, size=n)]
    order = rng.permutation(n)[:n_y]
    to_linked = rng.normal(size=(3, 8))
    profiles = [z @ rng.normal(size=(3, 20)) + 0.05 * rng.normal(size=(len(z), 20)) for z in (latent, latent[order])]
    linked = [z @ to_linked + noise * rng.normal(size=(len(z), 8)) for z in (latent, latent[order])]
    return *linked, *profiles, latent, order


def reference(linked_x, linked_y, x, y):
    profiles = []
    for linked, z in ((linked_x, x), (linked_y, y)):
        near = cdist(z, z).argsort(axis=1)[:, :15]
        smoothed = linked[near].mean(1)
        profiles.append((smoothed - smoothed.mean(0)) / smoothed.std(0))
    r = np.corrcoef(*profiles)[: len(x), len(x) :]
    of_x, of_y = (-r).argsort(axis=1)[:, :5], (-r).argsort(axis=0)[:5].T
    best = {}
    for i in range(len(x)):
        mutual = [j for j in of_x[i] if i in of_y[j]]
        if mutual:
            most = max(r[i, j] for j in mutual)
            best[i] = {j for j in mutual if r[i, j] > most - 1e-6}  # cells with the same neighbours are equally near
    return best


def ends(f):
    return set(zip(*(side.tolist() for side in f.nonzero()), strict=True))


def test_they_are_mutual_neighbours_by_correlation_after_smoothing(rng):
    linked_x, linked_y, x, y, _, _ = problem()
    found = pseudo_pairs(linked_x, linked_y, x, y, rng)
    expected = reference(linked_x, linked_y, x, y)
    assert {i for i, _ in ends(found)} == set(expected)
    assert all(j in expected[i] for i, j in ends(found))
    assert found.shape == (120, 100)
    assert found.nnz > 20
    assert_array_equal(found.data, 1)
    assert np.diff(found.indptr).max() == 1


def test_smoothing_finds_partners_that_single_features_hide(monkeypatch, rng):
    *given, latent, order = problem(noise=3.0)

    def apart():
        rows, columns = pseudo_pairs(*given, np.random.default_rng(0)).nonzero()
        return np.linalg.norm(latent[rows] - latent[order[columns]], axis=1).mean()

    smoothed = apart()
    monkeypatch.setattr(_linked, "N_SMOOTHED", 1)
    assert smoothed < 0.75 * apart()
    assert smoothed < 0.6 * cdist(latent, latent[order]).mean()


def test_units_and_constant_features_do_not_matter(rng):
    linked_x, linked_y, x, y, _, _ = problem()
    scaled = linked_x * np.arange(1, 9) * 1e3 + 7
    expected = ends(pseudo_pairs(linked_x, linked_y, x, y, rng))
    assert ends(pseudo_pairs(scaled, linked_y, x, y, rng)) == expected


def test_a_feature_that_says_nothing_breaks_nothing(rng):
    linked_x, linked_y, x, y, _, _ = problem()
    linked_x[:, 0] = 3
    found = pseudo_pairs(linked_x, linked_y, x, y, rng)
    assert found.nnz > 20
    assert np.isfinite(found.data).all()


def test_squared_distances_of_profiles_are_correlations(rng):
    linked = rng.normal(size=(12, 6)) * 5 + 2
    z = _linked._profile(linked)
    standardised = (linked - linked.mean(0)) / linked.std(0)
    assert_allclose(1 - cdist(z, z, "sqeuclidean") / 2, np.corrcoef(standardised), atol=1e-5)

"""Coordinates from known pairs: right on pairs they did not see, and wrong where the pairs are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import jamie as jm
from jamie.correspondence import _anchors
from jamie.correspondence._anchors import anchored
from jamie.correspondence._manifold import manifold
from jamie.metrics import foscttm

N = 200


@pytest.fixture(scope="module")
def views():
    """Cells of the branching simulation in two views, of which row i is one cell."""
    mdata = jm.datasets.branching_manifold(n_cells=N, n_features=(40, 60))
    x, y = (np.asarray(mdata[m].X) for m in mdata.mod)
    return x, y, tuple(manifold(z, np.random.default_rng(0)) for z in (x, y))


def known(rows, columns=None, confidence=1.0):
    columns = rows if columns is None else columns
    values = np.broadcast_to(np.asarray(confidence, np.float32), len(rows))
    return sparse.csr_matrix((values, (rows, columns)), shape=(N, N))


def score(views, f, skip=60):
    """FOSCTTM of the cells from `skip` on; 0.5 is chance."""
    x, y = anchored(*views, f, np.random.default_rng(0))
    return foscttm(x[skip:], y[skip:])


@pytest.mark.parametrize(("n", "most"), [(10, 0.1), (30, 0.05), (60, 0.04)])
def test_partners_that_were_not_known_lie_close(views, n, most):
    assert score(views, known(np.arange(n))) < most


def test_pairs_of_any_order_mean_the_same(views):
    rng = np.random.default_rng(1)
    x, y, (graph_x, _) = views
    order = rng.permutation(N)  # row i of y is cell order[i]
    shuffled = y[order]
    place = order.argsort()
    f = known(np.arange(40), place[:40])
    found = anchored(x, shuffled, (graph_x, manifold(shuffled, rng)), f, rng)
    assert foscttm(found[0], found[1][place]) < 0.05


def test_wrong_pairs_are_no_better_than_chance(views):
    wrong = np.random.default_rng(2).permutation(60)
    assert 0.3 < score(views, known(np.arange(60), wrong)) < 0.7


def test_a_pair_of_hardly_any_confidence_hardly_matters(views):
    rng = np.random.default_rng(3)
    rows = np.arange(60)
    columns = np.concatenate([np.arange(20), 20 + rng.permutation(40)])
    right = score(views, known(np.arange(20)))
    doubted = score(views, known(rows, columns, np.where(rows < 20, 1, 1e-3)))
    trusted = score(views, known(rows, columns))
    assert doubted < right + 0.02
    assert trusted > doubted + 0.05


def test_coordinates_are_centred_on_the_pairs(views):
    confidence = np.linspace(0.1, 1, 40)
    for z in anchored(*views, known(np.arange(40), confidence=confidence), np.random.default_rng(0)):
        assert_allclose(confidence @ z[:40] / confidence.sum(), 0, atol=1e-5)
        assert z.std() > 0.1


def test_confidence_is_relative(views):
    one, half = (anchored(*views, known(np.arange(30), confidence=c), np.random.default_rng(0)) for c in (1, 0.5))
    for a, b in zip(one, half, strict=True):
        assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_anchors_that_repeat_a_place_do_not_count_more(views):
    """Profiles are whitened: 40 pairs from one spot beside 30 from everywhere leave the rest where it was."""
    x = views[0]
    spot = np.argsort(np.square(x - x[0]).sum(1))[:40]
    rows = np.union1d(np.arange(30), spot)
    left = np.setdiff1d(np.arange(60, N), rows)
    scores = []
    for f in (known(np.arange(30)), known(rows)):
        a, b = anchored(*views, f, np.random.default_rng(0))
        scores.append(foscttm(a[left], b[left]))
    assert scores[1] < scores[0] + 0.01


def test_features_that_only_one_side_has_are_left_out(views):
    """A second, unshared source of variation in x: pairs tell that it is none of y's business."""
    x, y, _ = views
    rng = np.random.default_rng(4)
    own = np.hstack([x, rng.normal(size=(N, 1)) @ rng.normal(size=(1, 20)) * 0.7]).astype(np.float32)
    graphs = manifold(own, rng), manifold(y, rng)
    a, b = anchored(own, y, graphs, known(np.arange(60)), rng)
    assert foscttm(a[60:], b[60:]) < 0.15


def test_one_cell_may_have_many_partners(views):
    neighbours = np.argsort(np.square(views[1][:40, None] - views[1][None, :]).sum(-1), axis=1)[:, :3]
    f = known(np.repeat(np.arange(40), 3), neighbours.ravel(), 1 / 3)
    assert score(views, f) < 0.06
    a, b = anchored(*views, known(np.zeros(20, int), np.arange(20)), np.random.default_rng(0))
    assert np.isfinite(a).all()
    assert np.isfinite(b).all()


def test_some_cells_have_the_coordinates_they_have_among_all(views):
    f, rows = known(np.arange(30)), (np.array([5, 150, 5]), np.array([199, 0]))
    x, y = anchored(*views, f, np.random.default_rng(0))
    some_x, some_y = anchored(*views, f, np.random.default_rng(0), rows=rows)
    assert_allclose(some_x, x[rows[0]], rtol=1e-4, atol=1e-5)
    assert_allclose(some_y, y[rows[1]], rtol=1e-4, atol=1e-5)
    assert x.dtype == y.dtype == np.float32
    assert x.shape[1] == y.shape[1] <= _anchors.N_DIMENSIONS


def test_blocks_change_nothing(monkeypatch, views):
    whole = anchored(*views, known(np.arange(30)), np.random.default_rng(0))
    monkeypatch.setattr(_anchors, "ROWS", 64)
    for a, b in zip(whole, anchored(*views, known(np.arange(30)), np.random.default_rng(0)), strict=True):
        assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_of_very_many_pairs_some_are_enough(monkeypatch, views):
    monkeypatch.setattr(_anchors, "MOST_ANCHORS", 25)
    monkeypatch.setattr(_anchors, "MOST_PAIRS", 50)
    assert score(views, known(np.arange(60))) < 0.06


def test_the_seed_decides(views):
    f = known(np.arange(60))
    one, two = (anchored(*views, f, np.random.default_rng(7)) for _ in range(2))
    assert_array_equal(one[0], two[0])
    assert_array_equal(one[1], two[1])


def test_canonical_directions_are_those_of_the_weighted_covariance():
    """One shared direction among noise: it is found, scaled by its correlation, and is no other in another basis."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(5_000, 1))
    x = np.hstack([shared, rng.normal(size=(5_000, 2))])
    y = np.hstack([rng.normal(size=(5_000, 1)), shared])
    weights = rng.random(5_000)
    (centre, to_x), (_, to_y) = _anchors._canonical(x, y, weights)
    assert_allclose(centre, np.average(x, axis=0, weights=weights))
    a, b = (x @ to_x)[:, 0], (y @ to_y)[:, 0]
    assert np.corrcoef(a, shared[:, 0])[0, 1] ** 2 > 0.99
    assert np.corrcoef(a, b)[0, 1] > 0.99
    assert np.abs(to_x[:, 1]).max() < 0.1 * np.abs(to_x[:, 0]).max()  # what is not shared is shrunk


def test_a_weight_is_a_number_of_copies():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3))
    y = x @ rng.normal(size=(3, 4)) + rng.normal(size=(40, 4))
    copies = 1 + 3 * (x[:, 0] > 0)
    weighted = _anchors._canonical(x, y, copies.astype(float))
    repeated = _anchors._canonical(np.repeat(x, copies, 0), np.repeat(y, copies, 0), np.ones(copies.sum()))
    for (centre, projection), (other_centre, other) in zip(weighted, repeated, strict=True):
        assert_allclose(centre, other_centre)
        assert_allclose(np.abs(projection), np.abs(other), rtol=1e-6, atol=1e-9)  # a direction has no sign


def test_whitening_inverts_a_covariance():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6))
    covariance = z.T @ z
    w = _anchors._inverse_root(covariance)
    assert_allclose(w @ w.T, np.linalg.inv(covariance), rtol=1e-6, atol=1e-12)
    for unit in (1e-9, 1e9):
        in_unit = _anchors._inverse_root(unit * covariance)
        assert_allclose(in_unit @ in_unit.T, np.linalg.inv(covariance) / unit, rtol=1e-6)
    flat = np.diag([2.0, 0.0, 1.0])
    assert_allclose(_anchors._inverse_root(flat) @ _anchors._inverse_root(flat).T, np.diag([0.5, 0, 1]), atol=1e-12)


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("origin", [0.0, 1e3])
def test_whitened_is_the_shrunk_covariance_in_any_unit(unit, origin):
    rng = np.random.default_rng(0)
    z, weights = rng.normal(size=(50, 3)) * [1, 2, 5], rng.random(50)
    flat = np.column_stack([z + origin, np.full(50, 3.0)])  # the last does not vary
    centre, whitening = _anchors.whitened(unit * flat, weights)
    assert_allclose(centre, unit * np.average(flat, axis=0, weights=weights))
    assert whitening.shape == (4, 3)
    covariance = np.cov(flat.T, aweights=weights, ddof=0)
    level = np.trace(covariance) / 4
    shrunk = 0.2 * covariance[:3, :3] + 0.8 * level * np.eye(3)
    assert_allclose(unit**2 * (whitening @ whitening.T)[:3, :3], np.linalg.inv(shrunk), rtol=1e-6)


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_units_of_the_inputs_do_not_matter(views, unit):
    x, y, graphs = views
    f = known(np.arange(40))
    expected = anchored(x, y, graphs, f, np.random.default_rng(0))
    in_unit = tuple(manifold(z, np.random.default_rng(0)) for z in (unit * x, y))
    found = anchored(unit * x, y, in_unit, f, np.random.default_rng(0))
    for a, b in zip(found, expected, strict=True):
        assert_allclose(a @ a.T, b @ b.T, atol=1e-3 * np.square(b).max())

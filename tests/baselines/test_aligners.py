from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.linalg import block_diag, eigh
from sklearn.cross_decomposition import CCA

from jamie.baselines import _aligners
from jamie.baselines._aligners import ALIGNERS, align
from jamie.metrics import foscttm


@pytest.fixture(scope="module")
def spiral():
    """One manifold in two modalities, of 3 and 5 features: x, y, known pairs and held-out pairs, y in another order."""
    rng = np.random.default_rng(0)
    t, u = rng.uniform(0, 1, size=(2, 400))
    x = np.column_stack([np.cos(4 * t), np.sin(4 * t), u]) + 0.03 * rng.normal(size=(400, 3))
    y = np.column_stack([t, u, t * u, t**2, np.sin(3 * u)]) @ rng.normal(size=(5, 5)) + 4
    y += 0.03 * rng.normal(size=y.shape)
    order = rng.permutation(400)
    place = np.argsort(order)
    return x, y[order], (np.arange(300), place[:300]), (np.arange(300, 400), place[300:])


@pytest.fixture
def few():
    """Forty and forty-four cells, twenty-five pairs."""
    rng = np.random.default_rng(1)
    z = rng.normal(size=(44, 2))
    x = z[:40] @ rng.normal(size=(2, 4)) + 0.3 * rng.normal(size=(40, 4))
    y = z @ rng.normal(size=(2, 3)) + 0.3 * rng.normal(size=(44, 3))
    rows = rng.permutation(40)[:25]
    return x - x[rows].mean(0), y - y[rows].mean(0), (rows, rows)


def within(x, y):
    return sparse.block_diag([_aligners._neighbor_graph(x), _aligners._neighbor_graph(y)], format="csr")


def dense_graph(x, y, pairs):
    """Weights as Wang & Mahadevan's: 5 neighbours either way, pairs 0.9 of the mean weight of the two graphs."""
    graphs = []
    for z in (x, y):
        distance = np.linalg.norm(z[:, None] - z, axis=2)
        np.fill_diagonal(distance, np.inf)
        nearest = np.zeros_like(distance)
        np.put_along_axis(nearest, np.argsort(distance)[:, :5], 1, axis=1)
        graphs.append(np.maximum(nearest, nearest.T))
    across = np.zeros((len(x), len(y)))
    across[pairs] = 0.9 * (graphs[0].sum() + graphs[1].sum()) / (2 * len(pairs[0]))
    return np.block([[graphs[0], across], [across.T, graphs[1]]])


def same_up_to_sign_and_scale(found, expected):
    for a, b in zip(found.T, expected.T, strict=True):
        assert abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b) == pytest.approx(1, abs=1e-8)


def test_joint_graph(few):
    assert_allclose(_aligners._joint_graph(within(*few[:2]), few[2], 40, 0.9).toarray(), dense_graph(*few))


def test_cca_is_scikit_learns(few):
    x, y, (rows, columns) = few
    found = _aligners._cca(x, y, None, (rows, columns), 2, 0.0, None)
    model = CCA(2, scale=False, tol=1e-14, max_iter=100_000).fit(x[rows], y[columns])
    for latent, expected in zip((found.x, found.y), model.transform(x, y), strict=True):
        same_up_to_sign_and_scale(latent, expected)
        assert_allclose(np.square(latent[rows]).mean(0), 1)
    correlation = [np.corrcoef(a, b)[0, 1] for a, b in zip(found.x[rows].T, found.y[columns].T, strict=True)]
    assert_allclose(found.agreement, correlation)


def test_ridge_is_added_to_the_variance(few):
    x, y, (rows, columns) = few
    a, b = x[rows], y[columns]
    ridged = [z.T @ z / 25 + 0.5 * np.trace(z.T @ z) / 25 / z.shape[1] * np.eye(z.shape[1]) for z in (a, b)]
    cross = a.T @ b / 25
    squared = eigh(cross @ np.linalg.inv(ridged[1]) @ cross.T, ridged[0], eigvals_only=True)[::-1][:3]
    assert_allclose(_aligners._cca(x, y, None, (rows, columns), 32, 0.5, None).agreement, np.sqrt(squared))


@pytest.mark.parametrize("unit", [1e-24, 1.0, 1e24])
def test_whitening_is_of_what_varies_in_any_unit(unit):
    directions = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    covariance = unit * (directions * [1e-14, 1e-9, 1.0, 5.0]) @ directions.T
    whitening = _aligners._whitening(covariance)
    assert whitening.shape == (4, 3)  # the first is rounding
    assert_allclose(whitening.T @ covariance @ whitening, np.eye(3), atol=1e-6)


def test_lma_solves_the_generalised_eigenproblem(few):
    x, y, _ = few
    graph = dense_graph(*few)
    degree, z = np.diag(graph.sum(0)), block_diag(x, y)
    values, vectors = eigh(z.T @ (degree - graph) @ z, z.T @ degree @ z)
    found = _aligners._lma(*few[:2], within(*few[:2]), few[2], 3, 0.9, None)
    assert_allclose(1 - found.agreement, values[:3], atol=1e-10)
    same_up_to_sign_and_scale(np.vstack([found.x, found.y]), z @ vectors[:, :3])
    assert_allclose(graph.sum(0) @ np.square(np.vstack([found.x, found.y])) / graph.sum(), 1)  # one unit for all


def test_nlma_solves_the_generalised_eigenproblem(few):
    graph = dense_graph(*few)
    degree = np.diag(graph.sum(0))
    values, vectors = eigh(degree - graph, degree)
    found = _aligners._nlma(*few[:2], within(*few[:2]), few[2], 6, 0.9, np.random.default_rng(0).normal(size=84))
    assert_allclose(1 - found.agreement, values[1:7], atol=1e-10)
    same_up_to_sign_and_scale(np.vstack([found.x, found.y]), vectors[:, 1:7])
    assert_allclose(graph.sum(0) @ np.square(np.vstack([found.x, found.y])) / graph.sum(), 1)


def test_separate_components_of_the_graph_are_told_apart():
    rng = np.random.default_rng(0)
    group = np.arange(60) % 3
    x, y = (10 * np.eye(3)[group] + 0.1 * rng.normal(size=(60, 3)) for _ in range(2))
    found = _aligners._nlma(x, y, within(x, y), (np.arange(60), np.arange(60)), 2, 0.9, rng.normal(size=120))
    assert_allclose(found.agreement, 1)
    centres = np.stack([found.x[group == i].mean(0) for i in range(3)])
    assert max(np.ptp(latent[group == i], axis=0).max() for latent in (found.x, found.y) for i in range(3)) < 1e-6
    assert min(np.linalg.norm(centres[i] - centres[i - 1]) for i in range(3)) > 1


@pytest.mark.parametrize("method", ALIGNERS)
def test_held_out_cells_land_near_their_partners(method, spiral):
    x, y, known, (rows, columns) = spiral
    a, b = align(method, x, y, known, rng=0)
    assert a.shape == (400, a.shape[1])
    assert b.shape == a.shape
    assert foscttm(a[rows], b[columns]) < 0.06
    apart = np.linalg.norm(a[rows] - b[columns], axis=1).mean()
    assert apart < 0.3 * np.linalg.norm(a[rows] - b[columns[::-1]], axis=1).mean()


@pytest.mark.parametrize("method", ALIGNERS)
def test_permuted_pairs_align_nothing(method, spiral):
    x, y, known, (rows, columns) = spiral
    shuffled = known[0], np.random.default_rng(0).permutation(known[1])
    a, b = align(method, x, y, shuffled, rng=0)
    assert foscttm(a[rows], b[columns]) > 0.25


@pytest.mark.parametrize("method", ["lma", "nlma"])
def test_neighbours_help_where_pairs_are_few(method, spiral):
    x, y, known, (rows, columns) = spiral
    a, b = align(method, x, y, (known[0][:30], known[1][:30]), rng=0)
    assert foscttm(a[rows], b[columns]) < 0.15


@pytest.mark.parametrize("method", ALIGNERS)
def test_scale_and_origin_do_not_matter(method, spiral):
    x, y, known, _ = spiral
    for found, expected in zip(
        align(method, 30 * x + 5, y / 7 - 2, known, rng=0), align(method, x, y, known, rng=0), strict=True
    ):
        assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4 * np.abs(expected).max() ** 2)


@pytest.mark.parametrize("method", ALIGNERS)
def test_a_seed_repeats(method, spiral):
    x, y, known, _ = spiral
    for found, again in zip(
        align(method, x, y, known, rng=3), align(method, x, y, known, rng=np.random.default_rng(3)), strict=True
    ):
        assert_array_equal(found, again)


def test_noisy_components_weigh_little():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(300, 1))
    x, y = (np.hstack([signal, rng.normal(size=(300, 9))]) for _ in range(2))
    known, held_out = np.arange(200), np.arange(200, 300)
    a, b = align("cca", x, y, (known, known), rng=0)
    found = _aligners._cca(x, y, None, (known, known), 32, 0.01, None)
    assert foscttm(a[held_out], b[held_out]) < 0.3 * foscttm(found.x[held_out], found.y[held_out])


@pytest.mark.parametrize("method", ALIGNERS)
def test_settings_are_chosen_on_folds_of_the_known_pairs(method, spiral, monkeypatch):
    x, y, known, _ = spiral
    seen = []
    family, settings = _aligners._FAMILIES[method]

    def watched(x, y, within, pairs, *rest):
        seen.append(set(pairs[0]))
        return family(x, y, within, pairs, *rest)

    monkeypatch.setitem(_aligners._FAMILIES, method, (watched, settings))
    align(method, x, y, known, rng=0)
    assert set.union(*seen) == set(known[0])
    assert [len(pairs) for pairs in seen] == [240] * 5 * len(settings) + [300]


@pytest.mark.parametrize(("method", "g"), [("cca", 1), ("lma", 2), ("nlma", 3)])
def test_few_cells_and_constant_features(method, g):
    x, y = np.arange(8.0).reshape(4, 2), np.column_stack([np.arange(5.0), np.full(5, 3.0)])
    a, b = align(method, x, y, ([0, 1, 2], [0, 1, 2]), rng=0)
    assert (a.shape, b.shape) == ((4, g), (5, g))
    assert [latent.shape for latent in align(method, y, x, ([0, 1, 2], [0, 1, 2]), rng=0)] == [(5, g), (4, g)]
    assert np.isfinite(a).all()
    assert np.isfinite(b).all()
    assert align(method, x, y, ([0, 1, 2], [0, 1, 2]), n_components=1, rng=0)[0].shape == (4, 1)


@pytest.mark.parametrize("method", ALIGNERS)
def test_two_pairs_are_enough(method, few):
    x, y, (rows, columns) = few
    latents = align(method, x, y, (rows[:2], columns[:2]), rng=0)
    assert [len(latent) for latent in latents] == [40, 44]
    assert all(np.isfinite(latent).all() for latent in latents)


def test_refusals(few):
    x, y, (rows, columns) = few
    with pytest.raises(ValueError, match="did you mean 'nlma'"):
        align("nmla", x, y, (rows, columns))
    with pytest.raises(ValueError, match=r"found shapes \(25,\) and \(24,\)"):
        align("cca", x, y, (rows, columns[1:]))
    with pytest.raises(ValueError, match="at least two rows"):
        align("cca", x, y, ([0], [0]))
    with pytest.raises(ValueError, match="expected rows 0 to 43 of `y` in `pairs`, found 1 to 44"):
        align("cca", x, y, ([0, 1], [1, 44]))

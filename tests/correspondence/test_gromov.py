"""Gromov-Wasserstein beside its definition, and on shapes whose result is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

import jamie as jm
from jamie.correspondence import _gromov
from jamie.correspondence._gromov import Landmarks, Solution, landmarks, place, solve
from jamie.correspondence._manifold import Manifold, manifold


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def side(x, seed=0):
    rng = np.random.default_rng(seed)
    return landmarks(manifold(x, rng), rng)


def distortion(c_x, c_y, plan):
    """Σ (c_x(i, k) − c_y(j, l))² T_ij T_kl, as it stands."""
    squares = (c_x[:, None, :, None] - c_y[None, :, None, :]) ** 2
    return np.einsum("ijkl,ij,kl", squares, plan, plan)


@pytest.fixture(scope="module")
def tree():
    """A shape that lies on itself in one way only, and a shuffled, turned and moved copy."""
    rng = np.random.default_rng(0)
    x = np.asarray(jm.datasets.branching_manifold(n_cells=90, n_features=(1, 1)).obsm["true_latent"])
    order, turn = rng.permutation(90), np.linalg.qr(rng.normal(size=(2, 2)))[0]
    return side(x), side(x[order] @ turn + 5), order


@pytest.fixture(scope="module")
def solution(tree):
    return solve(*tree[:2], 16, np.random.default_rng(0))


def test_the_objective_is_the_double_sum(rng):
    c_x, c_y, plan = rng.random((4, 4)), rng.random((5, 5)), rng.random((4, 5))
    c_x, c_y, plan = c_x + c_x.T, c_y + c_y.T, plan / plan.sum()
    assert_allclose(_gromov._objective(c_x, c_y, plan), distortion(c_x, c_y, plan))


def test_objectives_are_those_of_the_plans_and_the_best_comes_first(tree, solution):
    x, y, _ = tree
    for plan, objective in zip(solution.plans[[0, -1]], solution.objectives[[0, -1]], strict=True):
        assert_allclose(objective, distortion(x.among, y.among, plan), rtol=1e-6, atol=1e-9)
    assert (np.diff(solution.objectives) >= 0).all()
    assert solution.optimum[0] == 0


def test_plans_have_the_shares_as_marginals(solution, tree):
    x, y, _ = tree
    assert solution.plans.shape == (16, 90, 90)
    assert_allclose(solution.plans.sum(2), np.tile(x.share, (16, 1)), rtol=1e-6)
    assert_allclose(solution.plans[0].sum(0), y.share, rtol=0.1)
    assert (solution.plans >= 0).all()


def test_a_shuffled_and_turned_copy_is_recovered(solution, tree):
    x, y, order = tree
    found = solution.plans[0].argmax(axis=0)
    assert np.mean(found == order) > 0.8
    assert_allclose(x.among[found], x.among[order], atol=0.25)  # what is not found lies close by
    assert solution.objectives[0] < 1e-2 * distortion(x.among, y.among, np.outer(x.share, y.share))


def test_a_symmetric_shape_has_two_optima_and_says_so(rng):
    line = np.linspace(0, 1, 40)[:, None] + 0.001 * rng.normal(size=(40, 1))
    x = side(line)
    found = solve(x, side(line), 12, rng)
    ends = {tuple(np.abs(np.array([0, 39]) - plan.argmax(axis=1)[[0, 39]]) // 20) for plan in found.plans[:12]}
    assert {(0, 0), (1, 1)} <= ends  # as it is, and mirrored
    assert found.optimum.max() >= 1
    assert found.agreement < 1
    assert found.gap < 5


def test_gap_and_agreement():
    plans = np.zeros((4, 2, 2))
    found = Solution(plans, np.array([2.0, 2.1, 3.0, 4.0]), np.array([0, 0, 1, 2]))
    assert (found.gap, found.agreement) == (0.5, 0.5)
    alone = Solution(plans, np.array([2.0, 2.1, 3.0, 4.0]), np.zeros(4, int))
    assert np.isnan(alone.gap)
    assert alone.agreement == 1


def test_plans_that_share_most_of_their_mass_are_one_optimum():
    same, other = np.eye(4) / 4, np.eye(4)[::-1] / 4
    near = 0.6 * same + 0.4 * other
    assert_array_equal(_gromov._distinct(np.stack([same, other, near, other, same])), [0, 1, 0, 1, 0])


def test_scaling_meets_both_marginals(rng):
    a, b = rng.random(5), rng.random(7)
    a, b = a / a.sum(), b / b.sum()
    plans = _gromov._sinkhorn(rng.normal(size=(3, 5, 7)), a, b, 200)
    assert_allclose(plans.sum(2), np.tile(a, (3, 1)), rtol=1e-6)
    assert_allclose(plans.sum(1), np.tile(b, (3, 1)), rtol=1e-6)


def test_landmarks_are_roots_of_paths_in_units_of_their_mean(monkeypatch, rng):
    monkeypatch.setattr(_gromov, "N_LANDMARKS", 12)
    x = rng.random((70, 2))
    graph = manifold(x, rng)
    found = landmarks(graph, np.random.default_rng(3))
    chosen = [int(np.flatnonzero(row == 0)[0]) for row in found.profile.T]
    expected = np.sqrt(graph.geodesic(np.array(chosen)))
    share = np.bincount(expected.argmin(1), minlength=12) / 70
    assert_allclose(found.share, share, atol=1e-4)
    assert_allclose(found.share.sum(), 1)
    assert_allclose(
        found.profile / expected.clip(1e-9),
        np.where(expected > 0, 1 / (share @ expected[chosen] @ share), 0),
        rtol=1e-3,
    )
    assert_allclose(found.share @ found.among @ found.share, 1)
    assert_array_equal(found.among, found.profile[chosen])


def test_landmarks_stand_for_the_cells_of_their_nodes(rng):
    x = rng.random((10, 2))
    graph = manifold(x, rng)
    share = np.arange(1, 11) / 55
    found = landmarks(Manifold(graph.nodes, graph.graph, graph.nearest, graph.weights, share), rng)
    assert_allclose(found.share, share, atol=1e-4)


def test_a_landmark_that_stands_for_no_cell_has_a_share_all_the_same():
    x = np.array([[0.0], [1.0], [3.0]])
    graph = manifold(x, np.random.default_rng(0)).graph
    nodes = Manifold(x, graph, np.arange(3)[:, None], np.ones((3, 1)), np.array([0.5, 0, 0.5]))
    share = landmarks(nodes, np.random.default_rng(0)).share
    assert (share > 0).all()
    assert_allclose(share, [0.5, 0, 0.5], atol=1e-5)


def sinkhorn(cost, a, b, n):
    """Sinkhorn's scaling of exp(−cost), in logarithms."""
    u = np.zeros(len(a))
    for _ in range(n):
        v = np.log(b) - logsumexp(u[:, None] - cost, axis=0)
        u = np.log(a) - logsumexp(v - cost, axis=1)
    return np.exp(u[:, None] - cost + v)


def test_starts_are_the_independent_plan_one_of_quantiles_and_some_of_three_landmarks(tree):
    x, y, _ = tree
    independent, quantiles, third = (_gromov._start(x, y, kind, np.random.default_rng(3)) for kind in range(3))
    assert_allclose(independent, np.outer(x.share, y.share))
    cost = cdist(_gromov._quantiles(x), _gromov._quantiles(y), "sqeuclidean")
    assert_allclose(quantiles, sinkhorn(cost / (0.05 * cost.mean()), x.share, y.share, 50), rtol=1e-6, atol=1e-12)
    rng = np.random.default_rng(3)
    three = [side.among[:, rng.choice(len(side.share), 3, replace=False)] for side in (x, y)]
    cost = cdist(*three, "sqeuclidean")
    assert_allclose(third, sinkhorn(cost / (0.1 * cost.mean()), x.share, y.share, 50), rtol=1e-3, atol=1e-12)


def test_the_first_two_starts_draw_nothing(tree):
    one, other = (solve(*tree[:2], 2, np.random.default_rng(seed)) for seed in (0, 1))
    assert_array_equal(one.plans, other.plans)


def test_distances_are_carried_through_the_plan(rng):
    x = Landmarks(np.array([0.5, 0.3, 0.2]), np.zeros((3, 3)), rng.random((8, 3)))
    y = Landmarks(np.array([0.6, 0.4]), np.zeros((2, 2)), rng.random((6, 2)))
    plan = rng.random((3, 2))
    found = place(x, y, plan)
    root = np.sqrt([0.5, 0.3, 0.2, 0.6, 0.4])
    for i in range(8):  # to a landmark of y: the mean over its partners
        own = [sum(plan[k, j] * x.profile[i, k] for k in range(3)) / plan[:, j].sum() for j in range(2)]
        assert_allclose(found.x[i], np.array([*x.profile[i], *own]) * root)
    for j in range(6):
        own = [sum(plan[k, m] * y.profile[j, m] for m in range(2)) / plan[k].sum() for k in range(3)]
        assert_allclose(found.y[j], np.array([*own, *y.profile[j]]) * root)


def test_partners_are_placed_together(solution, tree):
    x, y, order = tree
    found = place(x, y, solution.plans[0])
    apart = cdist(found.x[order], found.y)
    assert np.mean(apart < apart.diagonal()[:, None]) < 0.02


def test_a_landmark_without_a_partner_is_placed_in_the_middle(solution, tree):
    x, y, _ = tree
    plan = solution.plans[0].copy()
    plan[3], plan[:, 5] = 0, 0
    found = place(x, y, plan)
    assert np.isfinite(found.x).all()
    n = len(x.share)
    assert_allclose(found.y[:, 3] / np.sqrt(x.share[3]), y.profile @ y.share, rtol=1e-6)
    assert_allclose(found.x[:, n + 5] / np.sqrt(y.share[5]), x.profile @ x.share, rtol=1e-6)


def test_the_seed_decides(tree):
    one, two = (solve(*tree[:2], 4, np.random.default_rng(5)) for _ in range(2))
    assert_array_equal(one.plans, two.plans)
    assert_array_equal(one.objectives, two.objectives)


def test_quantiles_know_no_order(rng):
    x = side(rng.random((30, 2)))
    order = rng.permutation(30)
    shuffled = Landmarks(x.share[order], x.among[np.ix_(order, order)], x.profile[order][:, order])
    assert_allclose(_gromov._quantiles(shuffled), _gromov._quantiles(x)[order])

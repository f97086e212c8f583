from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from jamie.correspondence._unioncom import unioncom


def distances(n, seed=0, width=2):
    points = np.random.default_rng(seed).normal(size=(n, width))
    return np.linalg.norm(points[:, None] - points, axis=-1)


def objective(k_x, k_y, f):
    """Eq. 8 with the best α by least squares, as a share of ‖K_y‖²."""
    g = (f @ k_y @ f.T).ravel()
    alpha, *_ = np.linalg.lstsq(k_x.reshape(-1, 1), g)
    return np.sum((alpha * k_x.ravel() - g) ** 2) / np.sum(k_y**2), alpha[0]


def solve(k_x, k_y, seed=0, **options):
    return unioncom(k_x, k_y, rng=np.random.default_rng(seed), **options)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("n", [6, 30])
def test_shuffled_cells_are_found_again(n, seed):
    k_y = distances(n, seed)
    order = np.random.default_rng(seed).permutation(n)
    solution = solve(3 * k_y[np.ix_(order, order)], k_y)
    assert_array_equal(solution.plan.argmax(1), order)
    assert_allclose(solution.plan, np.eye(n)[order], atol=0.01)
    assert_allclose(solution.alpha, 1 / 3, rtol=1e-3)
    assert solution.objective < 1e-6
    assert solution.converged


@pytest.mark.parametrize("seed", range(4))
def test_no_permutation_is_better(seed):
    k_x, k_y = distances(6, seed), distances(6, seed + 50)
    best = min(objective(k_x, k_y, np.eye(6)[list(order)])[0] for order in permutations(range(6)))
    assert solve(k_x, k_y, n_starts=4).objective <= best


def test_missing_cells_are_left_out():
    k_y = distances(12, 4, width=1)
    kept = np.array([7, 0, 3, 10, 5, 11, 2, 8])
    solution = solve(k_y[np.ix_(kept, kept)], k_y, n_starts=8)
    assert solution.objective < 1e-3
    assert solution.plan.sum(0).max() <= 1 + 1e-12


@pytest.mark.parametrize("sizes", [(30, 30), (20, 33), (33, 20), (9, 1), (1, 9), (40, 5), (5, 40)])
def test_plan_is_feasible_and_the_objective_falls(sizes):
    n_x, n_y = sizes
    k_x, k_y = (distances(n, n) + (n == 1) for n in sizes)
    solution = solve(k_x, k_y, max_steps=40)
    assert solution.plan.shape == sizes
    assert solution.plan.min() >= 0
    assert_allclose(solution.plan.sum(1), 1, atol=1e-9)
    assert solution.plan.sum(0).max() <= max(1, n_x / n_y) + 1e-9
    assert np.all(np.diff(solution.trace) <= 0)
    assert len(solution.trace) == solution.n_steps + 1 <= 41
    assert solution.trace[-1] == solution.objective
    expected, alpha = objective(k_x, k_y, solution.plan)
    assert_allclose(solution.objective, expected, rtol=1e-6, atol=1e-12)
    assert_allclose(solution.alpha, alpha, rtol=1e-6)


@pytest.mark.parametrize("sizes", [(30, 30), (20, 33), (33, 20)])
def test_end_is_stationary(sizes):
    k_x, k_y = (distances(n, n) for n in sizes)
    solution = solve(k_x, k_y, n_starts=1, tolerance=5e-4)
    assert solution.converged
    f, alpha = solution.plan, solution.alpha
    rng = np.random.default_rng(0)
    here = objective(k_x, k_y, f)[0]
    for _ in range(20):  # move mass along a cycle of two rows and two columns that stays feasible
        i, j = (rng.choice(n, 2, replace=False) for n in sizes)
        mass = min(f[i[0], j[0]], f[i[1], j[1]]) / 10
        other = f.copy()
        other[i, j] -= mass
        other[i, j[::-1]] += mass
        assert objective(k_x, k_y, other)[0] >= here * (1 - 2e-3)
    assert alpha > 0


def test_same_generator_same_plan_and_more_starts_are_no_worse():
    k_x, k_y = distances(15, 1), distances(15, 2)
    first, second = (solve(k_x, k_y, seed=3) for _ in range(2))
    assert_array_equal(first.plan, second.plan)
    assert_array_equal(first.trace, second.trace)
    one, many = (solve(k_x, k_y, n_starts=n, max_steps=50) for n in (1, 8))
    assert many.objective <= one.objective
    assert not one.converged


def test_units_of_the_distances_only_change_alpha():
    k_x, k_y = distances(15, 1), distances(15, 2)
    plain, scaled = solve(k_x, k_y), solve(8 * k_x, 0.25 * k_y)
    assert_allclose(scaled.plan, plain.plan, atol=1e-6)
    assert_allclose(scaled.alpha, plain.alpha / 32, rtol=1e-6)
    assert_allclose(scaled.objective, plain.objective, rtol=1e-6)


def test_given_matrices_are_left_alone():
    k_x, k_y = distances(8, 1), distances(9, 2)
    copies = k_x.copy(), k_y.copy()
    solve(k_x, k_y, max_steps=5)
    assert_array_equal(k_x, copies[0])
    assert_array_equal(k_y, copies[1])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.ones((3, 4)), r"expected `k_y`.*found shape \(3, 4\)"),
        (np.full((3, 3), np.inf), "expected `k_y`.*finite.*from inf to inf"),
        (np.triu(np.ones((3, 3))), "expected `k_y`.*symmetric"),
        (np.zeros((3, 3)), "expected `k_y`.*from 0 to 0"),
        (-distances(3), "expected `k_y`.*≥ 0, found values from -"),
    ],
)
def test_what_is_no_distance_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        solve(distances(3), wrong)
    with pytest.raises(ValueError, match=message.replace("k_y", "k_x")):
        solve(wrong, distances(3))

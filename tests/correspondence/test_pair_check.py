"""Known pairs left out in turn, beside the same in plain loops and beside chance."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from scipy.spatial.distance import cdist

import jamie as jm
from jamie.correspondence import PairCheck, _pair_check, check_pairs
from jamie.correspondence._anchors import anchored
from jamie.correspondence._manifold import manifold

N = 80


@pytest.fixture(scope="module")
def views():
    """Cells of the branching simulation in two views, of which row i is one cell."""
    mdata = jm.datasets.branching_manifold(n_cells=N, n_features=(30, 40))
    return tuple(np.asarray(mdata[m].X) for m in mdata.mod)


def pairs(rows, columns, confidence=1.0, shape=(N, N)):
    values = np.broadcast_to(np.asarray(confidence, np.float32), len(rows))
    return sparse.csr_matrix((values, (rows, columns)), shape=shape)


def check(views, known, seed=0):
    return check_pairs(*views, known, np.random.default_rng(seed))


def left_out_one_by_one(views, rows, columns, confidence):
    """Share of the cells in no pair, of either side, that are closer than the partner, for each pair left out."""
    sides = tuple(manifold(z, np.random.default_rng(0)) for z in views)
    free = np.setdiff1d(np.arange(N), rows), np.setdiff1d(np.arange(N), columns)
    shares = []
    for i in range(len(rows)):
        rest = np.delete(np.arange(len(rows)), i)
        fit = pairs(rows[rest], columns[rest], confidence[rest])
        asked = np.append(free[0], rows[i]), np.append(free[1], columns[i])
        a, b = anchored(*views, sides, fit, np.random.default_rng(0), rows=asked)
        own = np.linalg.norm(a[-1] - b[-1])
        shares.append([(cdist(a[-1:], b[:-1]) < own).mean(), (cdist(a[:-1], b[-1:]) < own).mean()])
    return np.average(np.mean(shares, axis=1), weights=confidence)


@pytest.mark.parametrize("n", [10, 13])
def test_the_objective_is_that_of_anchors_fitted_without_each_pair(views, n):
    rows = np.random.default_rng(1).permutation(N)[:n]
    confidence = np.linspace(0.2, 1, n).astype(np.float32)
    expected = left_out_one_by_one(views, rows, rows, confidence)
    assert_allclose(check(views, pairs(rows, rows, confidence)).objective, expected, atol=0.003)


def test_chance_is_the_objective_of_pairs_dealt_anew_and_fitted_anew(views, monkeypatch):
    """Two deals, of which plain loops know the objective."""
    rng = np.random.default_rng(2)
    rows, columns = (rng.permutation(N)[:11] for _ in range(2))
    drawn = _pair_check._independent_pairs(pairs(rows, columns), np.random.default_rng(0))
    deals = [rng.permutation(11) for _ in range(2)]
    given = iter(deals)
    monkeypatch.setattr(_pair_check, "N_PERMUTATIONS", 2)
    monkeypatch.setattr(_pair_check, "_deal", lambda *_: (order := next(given), order))
    found = check(views, pairs(rows, columns))
    expected = [left_out_one_by_one(views, drawn[0], drawn[1][order], np.ones(11)) for order in deals]
    assert_allclose((found.chance, found.standard_error), (np.mean(expected), np.std(expected, ddof=1)), atol=0.003)
    value = left_out_one_by_one(views, rows, columns, np.ones(11))
    assert_allclose(found.objective, value, atol=0.003)
    assert_allclose(found.p_value, (1 + sum(np.array(expected) <= value)) / 3)


def test_deals_keep_folds_together_and_reach_all_orders():
    folds = [np.array([0, 1]), np.array([2, 3]), np.array([4])]
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        fold_of, partner = _pair_check._deal(folds, rng)
        for fold, source in zip(folds, fold_of, strict=True):
            assert set(partner[fold]) == set(folds[source])
        seen.add(tuple(partner))
    assert len(seen) == 8  # two folds swapped or not, each in two orders; the odd one alone


@pytest.mark.parametrize("n", [12, 30])
def test_right_pairs_are_verified_and_wrong_ones_are_not(views, n):
    rng = np.random.default_rng(n)
    for seed in range(2):
        rows = rng.permutation(N)[:n]
        right, wrong = (check(views, pairs(rows, columns), seed) for columns in (rows, rng.permutation(N)[:n]))
        assert right.verified
        assert right.promising
        assert (right.n_pairs, right.n_checked) == (n, n)
        assert not wrong.verified
        assert abs(wrong.chance - 0.5) < 0.06
        assert right.objective < 0.2 < wrong.objective
        assert 0.18 / np.sqrt(n) < wrong.standard_error < 0.48 / np.sqrt(n)


def test_the_uncertainty_is_that_of_unrelated_pairs(views, monkeypatch):
    """Objectives of many unrelated pairs scatter by the standard error that each of them tells."""
    monkeypatch.setattr(_pair_check, "N_PERMUTATIONS", 20)
    rng = np.random.default_rng(3)
    found = [check(views, pairs(*(rng.permutation(N)[:12] for _ in range(2))), seed) for seed in range(40)]
    z = [(c.chance - c.objective) / c.standard_error for c in found]
    assert abs(np.mean(z)) < 0.6
    assert 0.65 < np.std(z) < 1.6


@pytest.mark.slow
@pytest.mark.parametrize("n", [10, 12, 20, 30, 100])
def test_one_in_a_hundred_of_unrelated_pairs_is_verified_at_most(n):
    """In two clumps, five, or none: 10 pairs in two clumps agree by chance as one set in a hundred does."""
    verified = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x, y = (rng.normal(size=(size, 6)) for size in (400, 300))
        for z in (x, y):
            z += 8 * np.eye(6)[rng.integers((1, 2, 5)[seed % 3], size=len(z))]
        known = pairs(rng.permutation(400)[:n], rng.permutation(300)[:n], shape=(400, 300))
        verified += check((x, y), known, seed).verified
    assert verified <= 2  # the rate is 0.1 to 0.3 %


@pytest.mark.parametrize("n_wrong", [10, 30])
def test_of_mixed_pairs_the_objective_decides(views, n_wrong):
    rows = np.arange(40)
    columns = np.concatenate([rows[:-n_wrong], np.roll(rows[-n_wrong:], 3)])
    found = check(views, pairs(rows, columns))
    assert found.objective > check(views, pairs(rows, rows)).objective + 0.03
    assert found.verified is (n_wrong == 10)


def test_pairs_of_hardly_any_confidence_hardly_count(views):
    rows = np.arange(40)
    columns = np.concatenate([rows[:20], np.roll(rows[20:], 3)])
    doubted = check(views, pairs(rows, columns, np.where(rows < 20, 1, 0.01)))
    assert doubted.objective < check(views, pairs(rows, columns)).objective - 0.05


def test_pairs_that_share_a_cell_are_left_out_together():
    """Ten groups of three by three cells are ten pairs, not ninety: a cell would stand in for its own group."""
    group = np.repeat(np.arange(10), 3)
    known = sparse.csr_matrix(np.equal.outer(group, group).astype(np.float32))
    rows, columns, confidence = _pair_check._independent_pairs(known, np.random.default_rng(0))
    assert sorted(group[rows]) == sorted(group[columns]) == list(range(10))
    assert (group[rows] == group[columns]).all()
    assert confidence.dtype == float
    rng = np.random.default_rng(0)
    found = check_pairs(rng.normal(size=(30, 4)), rng.normal(size=(30, 4)), known, rng)
    assert (found.n_pairs, found.n_checked) == (90, 10)


def test_sure_pairs_are_drawn_sooner(monkeypatch):
    monkeypatch.setattr(_pair_check, "MOST_PAIRS", 20)
    known = pairs(np.arange(N), np.arange(N), np.where(np.arange(N) < 40, 1, 0.05))
    rows, _, _ = _pair_check._independent_pairs(known, np.random.default_rng(0))
    assert len(rows) == 20
    assert (rows < 40).mean() > 0.8


@pytest.mark.parametrize("n", [0, 1, 3])
def test_hardly_any_pair_is_not_checked(views, n):
    found = check(views, pairs(np.arange(n), np.arange(n)))
    assert np.isnan(found.objective)
    assert not found.verified
    assert not found.promising
    assert "cannot be left out in turn" in str(found)


@pytest.mark.parametrize("n", [4, 5, 9, 30])
def test_all_cells_may_be_in_pairs(views, n):
    some = tuple(z[:n] for z in views)
    found = check(some, sparse.eye_array(n, format="csr", dtype=np.float32))
    assert 0 <= found.objective <= 1
    assert found.n_checked == n
    assert found.verified is (n == 30)


@pytest.mark.parametrize("constant", [0, 1])
def test_cells_that_are_all_alike_say_nothing(views, constant):
    alike = [np.array(z) for z in views]
    alike[constant][:] = 3
    found = check(tuple(alike), pairs(np.arange(20), np.arange(20)))
    assert not found.verified
    assert np.isfinite(dataclasses.astuple(found)).all()


def test_many_cells_and_pairs_are_sampled(views, monkeypatch):
    taken = []
    monkeypatch.setattr(_pair_check, "MOST_CELLS", 60)
    monkeypatch.setattr(_pair_check, "MOST_PAIRS", 25)
    monkeypatch.setattr(_pair_check, "manifold", lambda z, rng: taken.append(len(z)) or manifold(z, rng))
    found = check(views, pairs(np.arange(70), np.arange(70)))
    assert taken == [60, 60]  # pairs that are not drawn lend their cells
    assert (found.n_pairs, found.n_checked) == (70, 25)


def test_the_seed_decides_and_nothing_that_was_given_changes(views):
    known = pairs(np.arange(15), np.arange(15))
    before = known.copy(), *(z.copy() for z in views)
    assert check(views, known, 3) == check(views, known, 3)
    assert check(views, known, 3) != check(views, known, 4)
    for now, then in zip((known.toarray(), *views), (before[0].toarray(), *before[1:]), strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize(
    ("objective", "p_value", "verified", "promising"),
    [(0.19, 0.005, True, True), (0.19, 0.01, False, True), (0.21, 0.005, False, True), (0.42, 0.3, False, False)],
)
def test_better_than_all_and_by_enough(objective, p_value, verified, promising):
    found = PairCheck(objective, 0.5, 0.1, p_value, 30, 12)
    assert (found.verified, found.promising) == (verified, promising)
    assert f"of 12 left out in turn, {objective:.2f} of the cells lie closer" in str(found)
    assert f"chance is 0.50 ± 0.10 (p = {p_value:.3f})" in str(found)
    assert found.to_dict()["n_pairs"] == 30


def test_no_better_than_chance_is_not_better():
    even = PairCheck(0.5, 0.5, 0.0, 0.005, 30, 12)
    assert (even.verified, even.promising) == (False, False)
    better = PairCheck(0.49, 0.5, 0.0, 0.005, 30, 12)
    assert (better.verified, better.promising) == (True, True)

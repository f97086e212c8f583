"""Scores against the same numbers in plain NumPy, at both ends and at chance."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from jamie.correspondence._score import (
    N_PERMUTATIONS,
    binned,
    by_features,
    by_labels,
    by_pairs,
    by_position,
    label_mass,
    normalised,
    without_truth,
)
from jamie.metrics import foscttm


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def f(rng):
    """30 × 40, rows sum to 1, two of them empty."""
    values = sparse.random(30, 40, density=0.15, format="lil", rng=rng)
    values[[3, 17]] = 0
    return normalised(values.tocsr())


def shifted(n, by=0):
    """Every cell has one partner, `by` places on."""
    return normalised(sparse.csr_matrix((np.ones(n), (np.arange(n), (np.arange(n) + by) % n)), shape=(n, n)))


def test_rows_become_probabilities_and_the_given_matrix_stays():
    given = sparse.csr_matrix(np.array([[0, 2, 6], [0, 0, 0], [1, 0, 0]], np.float32))
    assert_allclose(normalised(given).toarray(), [[0, 0.25, 0.75], [0, 0, 0], [1, 0, 0]])
    assert_array_equal(given.data, [2, 6, 1])
    stored_zero = sparse.csr_matrix((np.array([0.0, 1.0]), ([0, 1], [0, 1])), shape=(2, 2))
    assert normalised(stored_zero).nnz == 1


def test_pairs_against_a_loop(f, rng):
    partners = rng.integers(40, size=30)
    found, dense = by_pairs(f, partners, rng), f.toarray()
    own = np.array([dense[i, j] for i, j in enumerate(partners)])
    assert_allclose(found["recall"].value, np.mean(own > 0))
    assert_allclose(found["probability"].value, own.mean())
    assert_allclose(found["recall"].chance, np.mean([np.mean(dense[:, j] > 0) for j in partners]))
    assert_allclose(found["probability"].chance, np.mean([dense[:, j].mean() for j in partners]))
    assert found["recall"].n_cells == 30


def test_position_is_foscttm(rng):
    z = rng.normal(size=(60, 4))
    projected = z + rng.normal(size=z.shape)
    projected[:5] = projected[5:10]  # ties count one half
    found = by_position(projected, z, rng)
    assert_allclose(found.value, foscttm(projected, z))
    assert 0 < found.value < found.chance
    assert_allclose(found.chance, 0.5, atol=0.01)
    assert found.p_value == 1 / (1 + N_PERMUTATIONS)
    assert by_position(z, z, rng).value == 0
    assert by_position(-z, z, rng).p_value > 0.95


def test_labels_against_a_loop(f, rng):
    rows, columns = rng.integers(-1, 3, size=30), rng.integers(-1, 4, size=40)
    found, dense = by_labels(f, rows, columns, rng), f.toarray()
    agreement, right, of = [], [], []
    for i in range(30):
        mass = np.array([dense[i, columns == label].sum() for label in range(4)])
        if rows[i] >= 0 and mass.sum() > 0:
            agreement.append(mass[rows[i]] / mass.sum())
            right.append(mass.argmax() == rows[i])
            of.append(rows[i])
    agreement, right, of = map(np.array, (agreement, right, of))
    assert_allclose(found["label_agreement"].value, agreement.mean())
    assert_allclose(found["label_accuracy"].value, right.mean())
    macro = [np.mean([values[of == label].mean() for label in range(3)]) for values in (agreement, right)]
    assert_allclose([found["label_agreement_macro"].value, found["label_accuracy_macro"].value], macro)
    assert found["label_agreement"].n_cells == len(of)


def test_chance_of_labels_is_that_of_their_frequencies(rng):
    n = 3_000
    rows, columns = rng.choice(3, n, p=[0.6, 0.3, 0.1]), rng.choice(3, n, p=[0.2, 0.3, 0.5])
    f = normalised(sparse.random(n, n, density=20 / n, format="csr", rng=rng))
    found = by_labels(f, rows, columns, rng)
    expected = 0.6 * 0.2 + 0.3 * 0.3 + 0.1 * 0.5
    assert_allclose(found["label_agreement"].chance, expected, atol=0.01)
    assert_allclose(found["label_agreement"].value, expected, atol=0.02)
    assert_allclose(found["label_agreement_macro"].chance, 1 / 3, atol=0.01)


def test_the_commonest_label_for_all_is_no_better_than_chance(rng):
    labels = np.repeat([0, 1], [80, 20])
    to_the_first = normalised(sparse.csr_matrix((np.ones(100), (np.arange(100), np.zeros(100, int))), shape=(100, 100)))
    for score in by_labels(to_the_first, labels, labels, rng).values():
        assert_allclose(score.value, score.chance)
        assert score.p_value == 1


def test_features_are_the_mean_of_pearsons(rng):
    x, y = rng.normal(size=(2, 50, 6)) * [1, 2, 1e-4, 3, 1e3, 1] + 7
    y[:, :3] += x[:, :3]
    y[:, 5] = 2.7  # constant: left out
    found = by_features(x, y, rng)
    assert_allclose(found.value, np.mean([np.corrcoef(x[:, j], y[:, j])[0, 1] for j in range(5)]))
    assert (found.chance, found.n_cells) == (0, 50)
    assert found.p_value < 0.05
    assert by_features(x[:, 5:], y[:, 5:], rng) is None
    assert_allclose(by_features(x, -x, rng).value, -1)


def test_missing_values_of_features_count_as_the_mean(rng):
    x, y = rng.normal(size=(2, 50, 1))
    x[:7] = np.nan
    filled = np.where(np.isnan(x), np.nanmean(x), x)
    assert_allclose(by_features(x, y, rng).value, np.corrcoef(filled[:, 0], y[:, 0])[0, 1])


def test_without_truth_against_a_loop(f):
    found, dense = without_truth(f), f.toarray()
    entropy = [-sum(p * np.log(p) for p in row if p > 0) for row in dense if row.any()]
    assert_allclose(found["effective_partners"].value, np.exp(entropy).mean())
    assert_allclose(found["source_coverage"].value, 28 / 30)
    assert_allclose(found["target_coverage"].value, np.mean(dense.any(axis=0)))
    assert_allclose(found["largest_load"].value, dense.sum(axis=0).max())
    assert all(np.isnan(score.p_value) for score in found.values())


def test_one_partner_is_a_partner():
    found = without_truth(normalised(sparse.csr_matrix([[0.0, 2.0, 0], [0, 0, 0], [0, 3, 0], [1, 1, 0]])))
    values = {name: score.value for name, score in found.items()}
    expected = {"source_coverage": 3 / 4, "target_coverage": 2 / 3, "effective_partners": 4 / 3, "largest_load": 2.5}
    assert values == pytest.approx(expected)
    assert [score.n_cells for score in found.values()] == [4, 3, 3, 3]


@pytest.mark.parametrize(("by", "expected"), [(0, 1), (1, 0)])
def test_both_ends(rng, by, expected):
    f, partners = shifted(60, by), np.arange(60)
    for score in by_pairs(f, partners, rng).values():
        assert score.value == expected
        assert_allclose(score.chance, 1 / 60)
        assert (score.p_value < 0.05) == bool(expected)
    labels = np.arange(60) % 3
    found = by_labels(f, labels, labels, rng)
    assert {score.value for score in found.values()} == {expected}
    assert {score.p_value < 0.05 for score in found.values()} == {bool(expected)}


def test_p_values_of_chance_are_uniform(rng):
    f, labels = normalised(sparse.random(60, 60, density=0.1, format="csr", rng=rng)), np.arange(60) % 3
    p = []
    for _ in range(40):
        dealt = rng.permutation(labels)
        p.append(by_labels(f, dealt, labels, rng)["label_agreement"].p_value)
    assert 0.35 < np.mean(p) < 0.65
    assert np.mean(np.array(p) < 0.05) < 0.2


def test_bins_hold_the_mean_mass(f, rng):
    rows, columns = np.arange(30) // 2, rng.permutation(np.arange(40) % 7)
    rows[[3, 17]] = 15  # a bin of cells without partners
    found, dense = binned(f, rows, columns), f.toarray()
    for i in range(15):
        of = dense[(rows == i) & dense.any(axis=1)]
        assert_allclose(found[i], [of[:, columns == j].sum(axis=1).mean() for j in range(7)])
    assert np.isnan(found[15]).all()
    assert_allclose(found[:15].sum(axis=1), 1)


def test_many_cells_take_little_memory(rng):
    n, k = 20_000, 20
    f = sparse.csr_matrix((rng.random(n * k), rng.integers(n, size=n * k), np.arange(0, n * k + 1, k)), shape=(n, n))
    labels = rng.integers(10, size=n)
    tracemalloc.start()
    f = normalised(f)
    by_pairs(f[:5_000], np.arange(5_000), rng)
    by_labels(f[:5_000], labels[:5_000], labels, rng)
    without_truth(f)
    binned(f, np.arange(n) // 100, np.arange(n) // 100)
    label_mass(f, labels, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6

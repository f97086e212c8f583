from __future__ import annotations

import tracemalloc
from itertools import islice

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from jamie.correspondence import cap_rows, from_names
from jamie.data import Units
from jamie.data._sampler import block


def eye(n, m, pairs):
    f = np.zeros((n, m))
    f[tuple(np.transpose(pairs))] = 1
    return f


@pytest.fixture
def partly_paired(make_problem):
    """8 and 7 cells: five pairs crosswise, of which one is held out; the others are alone."""
    f = eye(8, 7, [(0, 6), (1, 5), (2, 4), (3, 3), (7, 0)])
    return make_problem({"a": 8, "b": 7}, {("a", "b"): f}, {"a": [3], "b": [3]})


def every(units):
    return units.cells(np.arange(len(units)))


def test_every_training_cell_is_in_one_unit(partly_paired):
    units = Units.of(partly_paired)
    assert len(units) == 4 + 3 + 2
    assert_array_equal(np.sort(units.rows["a"]), [0, 1, 2, 4, 5, 6, 7])
    assert_array_equal(np.sort(units.rows["b"]), [0, 1, 2, 4, 5, 6])
    for name in ("a", "b"):
        assert_array_equal(np.sort(every(units)[name]), np.sort(units.rows[name]))
    assert sorted(units.n_modalities) == [1] * 5 + [2] * 4


def test_a_unit_holds_a_cell_and_its_partner(partly_paired):
    units = Units.of(partly_paired)
    partner = {0: 6, 1: 5, 2: 4, 7: 0}
    for i in range(len(units)):
        cells = units.cells(np.array([i]))
        assert len(cells["a"]) + len(cells["b"]) == units.n_modalities[i]
        if units.n_modalities[i] == 2:
            assert partner[cells["a"][0]] == cells["b"][0]


def test_one_to_many_pairs_stay_together(make_problem):
    f = eye(4, 5, [(0, 0), (0, 1), (0, 4), (1, 2), (2, 2)])
    units = Units.of(make_problem({"a": 4, "b": 5}, {("a", "b"): f}))
    groups = [units.cells(np.array([i])) for i in range(len(units))]
    found = {(tuple(sorted(cells["a"].tolist())), tuple(sorted(cells["b"].tolist()))) for cells in groups}
    assert found == {((0,), (0, 1, 4)), ((1, 2), (2,)), ((3,), ()), ((), (3,))}


def test_three_modalities_join_through_any_pair(make_problem):
    known = {
        ("a", "b"): eye(3, 3, [(0, 1)]),
        ("a", "c"): np.zeros((3, 2)),
        ("b", "c"): eye(3, 2, [(1, 0), (2, 1)]),
    }
    units = Units.of(make_problem({"a": 3, "b": 3, "c": 2}, known))
    assert sorted(units.n_modalities) == [1, 1, 1, 2, 3]
    whole = units.cells(np.flatnonzero(units.n_modalities == 3))
    assert [whole[name].tolist() for name in "abc"] == [[0], [1], [0]]


def test_a_pair_whose_partner_is_held_out_does_not_join(make_problem):
    f = eye(3, 3, [(0, 0), (0, 1), (2, 1)])  # b1 would join a0 and a2
    units = Units.of(make_problem({"a": 3, "b": 3}, {("a", "b"): f}, {"b": [1]}))
    assert sorted(units.n_modalities) == [1, 1, 1, 2]
    assert 1 not in units.rows["b"]


def test_stored_zeros_are_no_pairs(make_problem):
    f = sparse.csr_matrix((np.zeros(2, np.float32), ([0, 1], [0, 1])), shape=(2, 2))
    assert len(Units.of(make_problem({"a": 2, "b": 2}, {("a", "b"): f}))) == 4


def test_an_epoch_draws_each_unit_at_most_once_and_epochs_are_fair(partly_paired):
    units = Units.of(partly_paired)
    batches = units.batches(np.arange(len(units)), size=4, rng=np.random.default_rng(0))
    drawn = np.zeros(8)
    n_epochs = 1000
    for _ in range(n_epochs):
        epoch = list(islice(batches, 2))  # 9 units: two batches of four, one unit left out
        cells = np.concatenate([batch["a"] for batch in epoch])
        assert len(np.unique(cells)) == len(cells)
        assert 3 not in cells
        drawn[cells] += 1
    expected = n_epochs * 8 / 9
    assert np.all(abs(np.delete(drawn, 3) - expected) < 5 * np.sqrt(n_epochs * 8 / 81))


def test_paired_cells_meet_in_every_batch(partly_paired):
    units = Units.of(partly_paired)
    partner = {0: 6, 1: 5, 2: 4, 7: 0}
    for batch in islice(units.batches(np.arange(len(units)), size=3, rng=np.random.default_rng(1)), 30):
        assert {partner[a] for a in batch["a"] if a in partner} == set(batch["b"]) & set(partner.values())


def test_cells_of_one_modality_are_drawn_in_proportion(make_problem):
    f = eye(60, 100, [(i, i) for i in range(40)])
    units = Units.of(make_problem({"a": 60, "b": 100}, {("a", "b"): f}))  # 40 pairs, 20 and 60 alone
    batches = units.batches(np.arange(len(units)), size=30, rng=np.random.default_rng(0))
    n_epochs = 200
    epochs = list(islice(batches, 4 * n_epochs))
    assert sum(len(batch["a"]) for batch in epochs) / len(epochs) == pytest.approx(30 * 60 / 120, rel=0.02)
    assert sum(len(batch["b"]) for batch in epochs) / len(epochs) == pytest.approx(30 * 100 / 120, rel=0.02)


def test_only_the_given_units_are_drawn_and_a_large_batch_holds_them_all(partly_paired):
    units = Units.of(partly_paired)
    some = np.array([0, 2, 5])
    batch = next(units.batches(some, size=512, rng=np.random.default_rng(0)))
    for name in ("a", "b"):
        assert_array_equal(np.sort(batch[name]), np.sort(units.cells(some)[name]))


def test_the_seed_decides_the_batches(partly_paired):
    units = Units.of(partly_paired)
    first, same, other = (
        next(units.batches(np.arange(9), size=5, rng=np.random.default_rng(seed)))["a"].tolist() for seed in (0, 0, 1)
    )
    assert first == same != other


@pytest.mark.parametrize("density", [0, 0.1, 0.6])
def test_block_is_the_part_of_f(density):
    rng = np.random.default_rng(0)
    f = sparse.random(30, 40, density=density, format="csr", dtype=np.float32, rng=rng)
    rows, columns = rng.permutation(30)[:12], rng.permutation(40)[:9]
    found = block(f, rows, columns)
    assert found.dtype == np.float32
    assert_array_equal(found, f[rows][:, columns].toarray())
    assert block(f, rows[:0], columns).shape == (0, 9)


def test_memory_grows_with_the_pairs_and_not_with_the_square_of_the_cells(make_problem):
    n = 100_000
    names = pd.Index(np.arange(n).astype(str))
    shuffled = names[np.random.default_rng(0).permutation(n)]
    problem = make_problem({"a": n, "b": n}, {("a", "b"): sparse.csr_matrix((n, n))})
    tracemalloc.start()
    problem.known["a", "b"] = cap_rows(from_names(names, shuffled))
    units = Units.of(problem)
    batch = next(units.batches(np.arange(n), size=512, rng=np.random.default_rng(0)))
    f = block(problem.known["a", "b"], batch["a"], batch["b"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(units) == n
    assert_array_equal(f.sum(1), np.ones(512))
    assert peak < 200e6

from __future__ import annotations

import time
import tracemalloc

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_array_equal
from scipy import sparse

import jamie as jm
from jamie.correspondence import cap_rows, from_names
from jamie.data import Draw, LinkedCells, permuted
from jamie.data._batch_index import Indexer, taken_apart
from jamie.data._sampler import MOST_CELLS


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


def linked(problem, draw):
    """Links of a draw: rows, columns, confidence."""
    (links,) = taken_apart(Indexer(problem.known, least=1, steady=False)([draw])).links.values()
    return [part.numpy() for part in links]


def test_every_training_cell_is_in_one_unit(partly_paired):
    units = LinkedCells.of(partly_paired)
    assert len(units) == 4 + 3 + 2
    assert_array_equal(np.sort(units.rows["a"]), [0, 1, 2, 4, 5, 6, 7])
    assert_array_equal(np.sort(units.rows["b"]), [0, 1, 2, 4, 5, 6])
    for name in ("a", "b"):
        assert_array_equal(np.sort(every(units)[name]), np.sort(units.rows[name]))
    assert sorted(units.n_modalities) == [1] * 5 + [2] * 4


def test_a_unit_holds_a_cell_and_its_partner(partly_paired):
    units = LinkedCells.of(partly_paired)
    partner = {0: 6, 1: 5, 2: 4, 7: 0}
    for i in range(len(units)):
        cells = units.cells(np.array([i]))
        assert len(cells["a"]) + len(cells["b"]) == units.n_modalities[i]
        if units.n_modalities[i] == 2:
            assert partner[cells["a"][0]] == cells["b"][0]


def test_one_to_many_pairs_stay_together(make_problem):
    f = eye(4, 5, [(0, 0), (0, 1), (0, 4), (1, 2), (2, 2)])
    units = LinkedCells.of(make_problem({"a": 4, "b": 5}, {("a", "b"): f}))
    groups = [units.cells(np.array([i])) for i in range(len(units))]
    found = {(tuple(sorted(cells["a"].tolist())), tuple(sorted(cells["b"].tolist()))) for cells in groups}
    assert found == {((0,), (0, 1, 4)), ((1, 2), (2,)), ((3,), ()), ((), (3,))}


def sizes_of(units):
    return np.sum([np.diff(starts) for starts in units.starts.values()], axis=0)


def chain(n, first=0.5, second=0.5):
    """Cell i is paired with i and i + 1."""
    return sparse.diags_array([np.full(n, first), np.full(n - 1, second)], offsets=[0, 1])


def test_a_group_stays_together_up_to_the_most_cells(make_problem):
    m = MOST_CELLS - 1
    blocks = [np.full((1, m), 1 / m), np.full((1, m + 1), 1 / m), np.ones((1, 1))]
    f = sparse.block_diag(list(map(sparse.coo_array, blocks)))
    units = LinkedCells.of(make_problem({"a": 3, "b": 2 * m + 2}, {("a", "b"): f}))
    assert sorted(sizes_of(units)) == [*[1] * m, 2, 2, m + 1]
    (whole,) = np.flatnonzero(sizes_of(units) == m + 1)
    cells = units.cells(np.array([whole]))
    assert_array_equal(cells["a"], [0])
    assert_array_equal(np.sort(cells["b"]), np.arange(m))


def test_a_chain_that_would_swallow_all_falls_into_pairs(make_problem):
    n = 10_000
    problem = make_problem({"a": n, "b": n}, {("a", "b"): chain(n)})
    units = LinkedCells.of(problem)
    assert sizes_of(units).max() == 2
    assert (units.n_modalities == 2).sum() > 0.8 * n  # at random: 0.86; by position there would be few
    for a, b in zip(*units.cells(np.flatnonzero(units.n_modalities == 2)).values(), strict=True):
        assert b in (a, a + 1)
    for name in ("a", "b"):
        assert_array_equal(np.sort(every(units)[name]), np.arange(n))
    again = LinkedCells.of(problem)
    for name in ("a", "b"):
        assert_array_equal(again.rows[name], units.rows[name])


def test_the_surest_links_keep_cells_together(make_problem):
    n = 1_000
    for first, second, shift in ((0.6, 0.4, 0), (0.4, 0.6, 1)):
        units = LinkedCells.of(make_problem({"a": n, "b": n}, {("a", "b"): chain(n, first, second)}))
        cells = units.cells(np.flatnonzero(units.n_modalities == 2))
        assert_array_equal(cells["b"], cells["a"] + shift)
        assert len(cells["a"]) == n - shift


def test_links_ever_surer_along_a_chain_take_few_rounds(make_problem):
    n = 100_000
    sure = np.linspace(0.1, 0.5, 2 * n - 1)
    f = sparse.diags_array([sure[::2], sure[1::2]], offsets=[0, 1])
    problem = make_problem({"a": n, "b": n}, {("a", "b"): f})
    start = time.process_time()
    units = LinkedCells.of(problem)
    assert time.process_time() - start < 2
    assert sizes_of(units).max() == 2
    assert (units.n_modalities == 2).sum() > 0.8 * n


def test_other_components_are_as_they_would_be_without_a_large_one(make_problem):
    n = 200
    few = eye(4, 5, [(0, 0), (0, 1), (0, 4), (1, 2), (2, 2)])
    units = LinkedCells.of(make_problem({"a": n + 4, "b": n + 5}, {("a", "b"): sparse.block_diag([chain(n), few])}))
    groups = [units.cells(np.array([i])) for i in range(len(units))]
    late = [{name: cells[name][cells[name] >= n] - n for name in "ab"} for cells in groups]
    found = {(tuple(sorted(c["a"].tolist())), tuple(sorted(c["b"].tolist()))) for c in late} - {((), ())}
    assert found == {((0,), (0, 1, 4)), ((1, 2), (2,)), ((3,), ()), ((), (3,))}
    assert sizes_of(units).max() == 4


def test_a_component_is_measured_by_its_training_cells(make_problem):
    held_out = {"b": np.arange(0, 200, 20).tolist()}  # cuts the chain: what is left is connected in parts of 39
    units = LinkedCells.of(make_problem({"a": 200, "b": 200}, {("a", "b"): chain(200)}, held_out))
    assert sorted(sizes_of(units)) == [39] * 10


def test_in_a_large_component_a_unit_has_one_cell_of_each_modality(make_problem):
    n = 500
    rng = np.random.default_rng(0)
    noise = [sparse.random_array((n, n), density=0.01, rng=rng) * 0.1 for _ in range(3)]
    sure = sparse.diags_array([np.full(n, 0.9)], offsets=[0])
    known = dict(zip([("a", "b"), ("a", "c"), ("b", "c")], [noise[0] + sure, noise[1], noise[2] + sure], strict=True))
    units = LinkedCells.of(make_problem(dict.fromkeys("abc", n), known))
    assert len(units) == n
    cells = every(units)
    assert_array_equal(cells["a"], cells["b"])
    assert_array_equal(cells["a"], cells["c"])
    known["b", "c"] = noise[2]
    units = LinkedCells.of(make_problem(dict.fromkeys("abc", n), known))
    for starts in units.starts.values():
        assert np.diff(starts).max() == 1
    assert (units.n_modalities == 3).mean() > 0.8


def test_other_pairs_of_a_large_component_count_where_both_cells_meet(make_problem):
    n = 200
    problem = make_problem({"a": n, "b": n}, {("a", "b"): chain(n)})
    units = LinkedCells.of(problem)
    cells = units.cells(np.arange(len(units)))
    assert linked(problem, Draw(cells, None, {}))[2].sum() == pytest.approx(n - 0.5)


def test_a_chain_of_known_pairs_trains():
    n = 4_000
    rng = np.random.default_rng(0)
    at = np.linspace(0, 6, n)[:, None]
    x, y = (np.sin(at + np.arange(m)) + rng.normal(0, 0.1, (n, m)) for m in (6, 5))
    mdata = MuData({
        name: ad.AnnData(
            values.astype(np.float32),
            obs=pd.DataFrame(index=[f"{name}{i}" for i in range(n)]),
            var=pd.DataFrame(index=[f"{name}_{i}" for i in range(values.shape[1])]),
        )
        for name, values in (("x", x), ("y", y))
    })  # fmt: skip
    jm.pp.correspondence(mdata, pairs=sparse.csr_matrix(chain(n)))
    model = jm.JAMIE(max_steps=40).fit(mdata)
    assert np.isfinite(model.history_["total"]).all()
    imputed = model.impute(mdata, source="x", target="y")
    assert np.corrcoef(imputed[:, 0], y[:, 0])[0, 1] > 0.5


@pytest.mark.parametrize("entries", [1, 20])
def test_memory_and_time_grow_with_the_pairs(make_problem, entries):
    n = 100_000
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(n), entries)
    columns = rng.permutation(n) if entries == 1 else rng.integers(0, n, entries * n)
    f = sparse.csr_matrix((rng.uniform(0.01, 1 / entries, entries * n), (rows, columns)), shape=(n, n))
    problem = make_problem({"a": n, "b": n}, {("a", "b"): f})
    start = time.process_time()
    units = LinkedCells.of(problem)
    assert time.process_time() - start < 2
    tracemalloc.start()
    LinkedCells.of(problem)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150 * (f.nnz + 2 * n)  # bytes; the square of the cells would be 1e10
    assert sizes_of(units).max() == 2
    assert (units.n_modalities == 2).sum() > 0.9 * n


def test_three_modalities_join_through_any_pair(make_problem):
    known = {
        ("a", "b"): eye(3, 3, [(0, 1)]),
        ("a", "c"): np.zeros((3, 2)),
        ("b", "c"): eye(3, 2, [(1, 0), (2, 1)]),
    }
    units = LinkedCells.of(make_problem({"a": 3, "b": 3, "c": 2}, known))
    assert sorted(units.n_modalities) == [1, 1, 1, 2, 3]
    whole = units.cells(np.flatnonzero(units.n_modalities == 3))
    assert [whole[name].tolist() for name in "abc"] == [[0], [1], [0]]


def test_a_pair_whose_partner_is_held_out_does_not_join(make_problem):
    f = eye(3, 3, [(0, 0), (0, 1), (2, 1)])  # b1 would join a0 and a2
    units = LinkedCells.of(make_problem({"a": 3, "b": 3}, {("a", "b"): f}, {"b": [1]}))
    assert sorted(units.n_modalities) == [1, 1, 1, 2]
    assert 1 not in units.rows["b"]


def test_stored_zeros_are_no_pairs(make_problem):
    f = sparse.csr_matrix((np.zeros(2, np.float32), ([0, 1], [0, 1])), shape=(2, 2))
    assert len(LinkedCells.of(make_problem({"a": 2, "b": 2}, {("a", "b"): f}))) == 4


def test_the_pattern_tells_the_modalities_of_a_unit(make_problem):
    known = {
        ("a", "b"): eye(4, 3, [(0, 1), (0, 2)]),
        ("a", "c"): np.zeros((4, 2)),
        ("b", "c"): eye(3, 2, [(0, 0), (1, 1)]),
    }
    units = LinkedCells.of(make_problem({"a": 4, "b": 3, "c": 2}, known))
    assert len(units) == 5
    for i, pattern in enumerate(units.pattern):
        held = [name for name, cells in units.cells(np.array([i])).items() if len(cells)]
        assert pattern == sum({"a": 1, "b": 2, "c": 4}[name] for name in held)
        assert units.n_modalities[i] == len(held)


def test_a_value_of_a_unit_is_that_of_each_of_its_cells(make_problem):
    units = LinkedCells.of(
        make_problem({"a": 4, "b": 5}, {("a", "b"): eye(4, 5, [(0, 0), (0, 1), (0, 4), (1, 2), (2, 2)])})
    )
    some = np.array([3, 0, 2])
    values = np.array([0.5, 2.0, 7.0])
    spread = units.per_cell(some, values)
    for name, cells in units.cells(some).items():
        for cell, value in zip(cells, spread[name], strict=True):
            (i,) = (i for i, unit in enumerate(some) if cell in units.cells(np.array([unit]))[name])
            assert value == values[i]


def test_memory_grows_with_the_pairs_and_not_with_the_square_of_the_cells(make_problem):
    n = 100_000
    names = pd.Index(np.arange(n).astype(str))
    shuffled = names[np.random.default_rng(0).permutation(n)]
    problem = make_problem({"a": n, "b": n}, {("a", "b"): sparse.csr_matrix((n, n))})
    tracemalloc.start()
    problem.known["a", "b"] = cap_rows(from_names(names, shuffled))
    units = LinkedCells.of(problem)
    draw = next(permuted(units, np.arange(n), size=512, rng=np.random.default_rng(0)))
    rows, columns, confidence = linked(problem, draw)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(units) == n
    for side in (rows, columns):
        assert_array_equal(np.sort(side), np.arange(512))
    assert (confidence == 1).all()
    assert peak < 200e6

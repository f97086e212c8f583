from __future__ import annotations

import time
import tracemalloc
from itertools import islice

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from jamie.data import Draw, LinkedCells, permuted, stratified, with_partners
from jamie.data._batches import _shares


def eye(n, m, pairs):
    f = np.zeros((n, m))
    f[tuple(np.transpose(pairs))] = 1
    return f


def everyone(units):
    return np.arange(len(units))


def some_batches(draw, problem, n, *, size, seed=0, **options):
    units = LinkedCells.of(problem)
    return list(islice(draw(units, everyone(units), size=size, rng=np.random.default_rng(seed), **options), n))


@pytest.fixture
def partly_paired(make_problem):
    """8 and 7 cells: five pairs crosswise, of which one is held out; the others are alone."""
    f = eye(8, 7, [(0, 6), (1, 5), (2, 4), (3, 3), (7, 0)])
    return make_problem({"a": 8, "b": 7}, {("a", "b"): f}, {"a": [3], "b": [3]})


@pytest.fixture
def few_pairs(make_problem):
    """5,000 cells alone, 2,000 of them in a, and 20 pairs between."""
    f = sparse.csr_matrix((np.ones(20), (np.arange(20) * 7, np.arange(20) * 11)), shape=(2_020, 3_020))
    return make_problem({"a": 2_020, "b": 3_020}, {("a", "b"): f})


# permuted


def test_an_epoch_draws_each_unit_at_most_once_and_epochs_are_fair(partly_paired):
    units = LinkedCells.of(partly_paired)
    batches = permuted(units, everyone(units), size=4, rng=np.random.default_rng(0))
    drawn = np.zeros(8)
    n_epochs = 1000
    for _ in range(n_epochs):
        epoch = list(islice(batches, 2))  # 9 units: two batches of four, one unit left out
        cells = np.concatenate([draw.cells["a"] for draw in epoch])
        assert len(np.unique(cells)) == len(cells)
        assert 3 not in cells
        drawn[cells] += 1
    expected = n_epochs * 8 / 9
    assert np.all(abs(np.delete(drawn, 3) - expected) < 5 * np.sqrt(n_epochs * 8 / 81))


@pytest.mark.parametrize(("draw", "options"), [(permuted, {}), (stratified, {"least_paired": 0.5})])
def test_paired_cells_meet_in_every_batch(partly_paired, draw, options):
    partner = {0: 6, 1: 5, 2: 4, 7: 0}
    for batch in some_batches(draw, partly_paired, 30, size=3, seed=1, **options):
        assert {partner[a] for a in batch.cells["a"] if a in partner} == set(batch.cells["b"]) & set(partner.values())


def test_cells_of_one_modality_are_drawn_in_proportion(make_problem):
    f = eye(60, 100, [(i, i) for i in range(40)])  # 40 pairs, 20 and 60 alone
    epochs = some_batches(permuted, make_problem({"a": 60, "b": 100}, {("a", "b"): f}), 800, size=30)
    assert sum(len(draw.cells["a"]) for draw in epochs) / len(epochs) == pytest.approx(30 * 60 / 120, rel=0.02)
    assert sum(len(draw.cells["b"]) for draw in epochs) / len(epochs) == pytest.approx(30 * 100 / 120, rel=0.02)
    assert all(draw.weights is None and not draw.partners for draw in epochs)


def test_only_the_given_units_are_drawn_and_a_large_batch_holds_them_all(partly_paired):
    units = LinkedCells.of(partly_paired)
    some = np.array([0, 2, 5])
    for batches in (
        permuted(units, some, size=512, rng=np.random.default_rng(0)),
        stratified(units, some, size=512, least_paired=0, rng=np.random.default_rng(0)),
    ):
        for draw in islice(batches, 3):
            for name in ("a", "b"):
                assert_array_equal(np.sort(draw.cells[name]), np.sort(units.cells(some)[name]))


@pytest.mark.parametrize(("draw", "options"), [(permuted, {}), (stratified, {"least_paired": 0.5})])
def test_the_seed_decides_the_batches(partly_paired, draw, options):
    first, same, other = (
        [batch.cells["a"].tolist() for batch in some_batches(draw, partly_paired, 5, size=5, seed=seed, **options)]
        for seed in (0, 0, 1)
    )
    assert first == same != other


# stratified


@pytest.mark.parametrize(("size", "least_paired"), [(200, 0.1), (64, 0.1), (10, 0.1), (128, 0.15), (40, 0.5)])
def test_few_pairs_are_in_every_batch(few_pairs, size, least_paired):
    sides = {"a": np.arange(20) * 7, "b": np.arange(20) * 11}
    for draw in some_batches(stratified, few_pairs, 100, size=size, least_paired=least_paired):
        pairs, others = (np.flatnonzero(np.isin(sides[name], draw.cells[name])) for name in "ab")
        assert_array_equal(pairs, others)
        assert least_paired * size <= len(pairs) < least_paired * size + 1
        assert len(draw.cells["a"]) + len(draw.cells["b"]) - len(pairs) == size


def test_fewer_pairs_than_they_should_have_are_all_in_every_batch(few_pairs):
    for draw in some_batches(stratified, few_pairs, 30, size=400, least_paired=0.1):
        assert len(np.unique(draw.cells["a"])) == len(draw.cells["a"])
        assert np.isin(np.arange(20) * 7, draw.cells["a"]).all()


def test_every_unit_is_drawn_as_often_as_others_of_its_kind(make_problem):
    f = eye(40, 70, [(i, i + 20) for i in range(7)])  # 7 pairs, 33 and 63 alone
    problem = make_problem({"a": 40, "b": 70}, {("a", "b"): f})
    seen = {"a": np.zeros(40), "b": np.zeros(70)}
    n = 4_000
    for draw in some_batches(stratified, problem, n, size=24, least_paired=0.25):
        for name, cells in draw.cells.items():
            assert len(np.unique(cells)) == len(cells)
            seen[name][cells] += 1
    assert_array_equal(seen["a"][:7], seen["b"][20:27])
    kinds = {"pairs": seen["a"][:7], "a": seen["a"][7:], "b": np.delete(seen["b"], np.s_[20:27])}
    for counts in kinds.values():
        rate = counts.mean() / n
        assert counts.std() > 0
        assert np.all(abs(counts - counts.mean()) < 5 * np.sqrt(n * rate * (1 - rate)))
    assert kinds["pairs"].sum() / n == 6
    for name, n_alone in (("a", 33), ("b", 63)):
        assert abs(kinds[name].sum() / n - 18 * n_alone / 96) < 1


CASES = {
    "few pairs": ({"a": 60, "b": 90}, {("a", "b"): [(i, 2 * i) for i in range(5)]}, 20, 0.4),
    "most paired": ({"a": 60, "b": 60}, {("a", "b"): [(i, i) for i in range(57)]}, 7, 0.1),
    "a rare kind": ({"a": 100, "b": 300}, {("a", "b"): [(i, i) for i in range(99)]}, 16, 0.5),
    "a small batch": ({"a": 30, "b": 70}, {("a", "b"): [(i, i) for i in range(10)]}, 3, 0.1),
    "three": ({"a": 40, "b": 50, "c": 30}, {("a", "b"): [(0, 0), (1, 1)], ("a", "c"): [(1, 4), (7, 7)]}, 30, 0.3),
}


@pytest.mark.parametrize("case", CASES)
def test_the_weighted_mean_of_a_batch_estimates_that_of_all_cells(make_problem, case):
    sizes, pairs, size, least_paired = CASES[case]
    names = list(sizes)
    known = {
        (a, b): eye(sizes[a], sizes[b], pairs[a, b]) if (a, b) in pairs else np.zeros((sizes[a], sizes[b]))
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    }
    problem = make_problem(sizes, known)
    rng = np.random.default_rng(1)
    paired = {name: np.zeros(n, dtype=bool) for name, n in sizes.items()}
    for pair, f in known.items():
        for name, axis in zip(pair, (1, 0), strict=True):
            paired[name] |= f.any(axis)
    losses = {name: rng.random(n) + 3 * paired[name] for name, n in sizes.items()}  # cells of a pair are harder
    means, plain = {name: [] for name in sizes}, {name: [] for name in sizes}
    for draw in some_batches(stratified, problem, 3_000, size=size, least_paired=least_paired):
        for name, cells in draw.cells.items():
            assert draw.weights[name].shape == cells.shape
            means[name].append(np.average(losses[name][cells], weights=draw.weights[name]))
            plain[name].append(losses[name][cells].mean())
    for name, found in means.items():
        error = np.std(found) / np.sqrt(len(found))
        assert abs(np.mean(found) - losses[name].mean()) < 4.5 * error + 1e-9
        if case in ("few pairs", "three"):
            assert abs(np.mean(plain[name]) - losses[name].mean()) > 20 * error


def test_units_of_many_cells_weigh_as_much_as_cells_alone(make_problem):
    """Sums are compared, for means over a varying number of cells are not the mean over all."""
    f = eye(30, 80, [(i, 4 * i + j) for i in range(6) for j in range(1 + i % 4)])  # 13 cells of b in 6 units
    problem = make_problem({"a": 30, "b": 80}, {("a", "b"): f})
    losses = np.random.default_rng(1).random(80) + 2 * f.any(0)
    n_units = 6 + 24 + 67
    found = []
    for draw in some_batches(stratified, problem, 3_000, size=20, least_paired=0.25):
        n_drawn = len(draw.cells["a"]) + (~f.any(0))[draw.cells["b"]].sum()
        found.append((draw.weights["b"] * losses[draw.cells["b"]]).sum() * n_units / n_drawn)
    assert abs(np.mean(found) - losses.sum()) < 4 * np.std(found) / np.sqrt(len(found))


def test_weights_of_a_batch_are_one_on_average_over_its_units(few_pairs):
    (draw,) = some_batches(stratified, few_pairs, 1, size=200, least_paired=0.1)
    paired = np.isin(draw.cells["a"], np.arange(20) * 7)
    expected_pair, expected_alone = (20 / 5_020) / (20 / 200), (2_000 / 5_020) / ((~paired).sum() / 200)
    assert_allclose(draw.weights["a"], np.where(paired, expected_pair, expected_alone))
    alone_b = draw.weights["b"][~np.isin(draw.cells["b"], np.arange(20) * 11)]
    assert draw.weights["a"].sum() + alone_b.sum() == pytest.approx(200)


@pytest.mark.parametrize("paired", [True, False])
def test_one_kind_has_no_weights(make_problem, paired):
    f = np.eye(12) if paired else np.zeros((12, 12))
    held_out = {} if paired else {"b": range(12)}
    for draw in some_batches(
        stratified, make_problem({"a": 12, "b": 12}, {("a", "b"): f}, held_out), 3, size=5, least_paired=0.1
    ):
        assert draw.weights is None
        assert len(draw.cells["a"]) == 5


def test_with_enough_pairs_kinds_have_the_share_that_they_have(make_problem):
    f = eye(60, 80, [(i, i) for i in range(40)])  # 40 pairs, 20 and 40 alone
    for draw in some_batches(
        stratified, make_problem({"a": 60, "b": 80}, {("a", "b"): f}), 5, size=20, least_paired=0.1
    ):
        assert [len(draw.cells[name]) for name in "ab"] == [8 + 4, 8 + 8]
        for weights in draw.weights.values():
            assert_allclose(weights, 1)


def test_a_batch_has_every_kind_its_pairs_and_no_more_than_was_asked_for():
    rng = np.random.default_rng(0)
    for _ in range(2_000):
        n_kinds = rng.integers(1, 8)
        counts = np.maximum(rng.lognormal(3, 2, n_kinds).astype(int), 1)
        paired = rng.random(n_kinds) < 0.5
        size = int(rng.integers(1, min(counts.sum(), 300) + 1))
        drawn = _shares(counts, paired, size, 0.1)
        assert (drawn >= 1).all()
        assert (drawn <= counts).all()
        assert drawn.sum() <= max(size, n_kinds)
        if size >= 10 * n_kinds and paired.any():
            assert drawn[paired].sum() >= min(0.1 * size, counts[paired].sum()) - 1e-9
        if not paired.any() or paired.all() or counts[paired].sum() >= 0.1 * counts.sum():
            assert np.all(abs(drawn - counts / counts.sum() * size) < n_kinds + 1)


def test_kinds_of_singles_that_are_furthest_above_their_share_go_first():
    """Ten kinds of 5.4 cells a batch make 6 each, six too many, which are not taken from the one that has its 46."""
    counts = np.array([460, *[54] * 10])
    drawn = _shares(counts, np.zeros(11, dtype=bool), 100, 0.1)
    assert drawn[0] == 46
    assert sorted(drawn[1:]) == [5] * 6 + [6] * 4


# with_partners


@pytest.fixture
def guessed(make_problem):
    """Six and seven cells, of which a0 and b0 are a pair; F̃ for the rest; a5 and b3 are held out."""
    inferred = np.zeros((6, 7))
    inferred[0, 0] = 1
    inferred[1, [1, 2, 3]] = [0.2, 0.3, 0.5]  # of which b3 is never asked
    inferred[2, [0, 6]] = [0.9, 0.1]
    inferred[4, [2, 4, 5]] = [0.1, 0.1, 0.2]  # a sum of 0.4
    inferred[5, 1] = 1
    known = eye(6, 7, [(0, 0)])
    return make_problem({"a": 6, "b": 7}, {("a", "b"): known}, {"a": [5], "b": [3]}, {("a", "b"): inferred})


def training(problem):
    return {name: view.train for name, view in problem.modalities.items()}


def repeated(cells, weights=None):
    while True:
        yield Draw({name: np.array(rows, dtype=int) for name, rows in cells.items()}, weights, {})


def test_partners_are_drawn_with_the_probabilities_of_their_row_and_independently(guessed):
    n = 4_000
    counts = np.zeros((6, 7, 7))
    for draw in islice(
        with_partners(
            repeated({"a": [4, 0, 2, 3, 1], "b": [2]}), guessed, training(guessed), rng=np.random.default_rng(0)
        ),
        n,
    ):
        (rows, first, second) = draw.partners["a", "b"]
        assert_array_equal(rows, [0, 2, 4])
        counts[draw.cells["a"][rows], draw.cells["b"][first], draw.cells["b"][second]] += 1
    f = guessed.inferred["a", "b"].toarray().astype(float)
    f[:, 3] = 0
    f[[0, 5]] = 0
    f /= f.sum(1, keepdims=True).clip(1e-12)
    expected = n * f[:, :, None] * f[:, None, :]
    assert_array_equal(counts.sum((1, 2)), [0, n, n, 0, n, 0])
    assert (counts[expected == 0] == 0).all()
    assert np.all(abs(counts - expected) < 5 * np.sqrt(expected) + 1e-9)


def test_guests_weigh_nothing_and_come_after_the_cells_that_were_drawn(guessed):
    drawn = repeated({"a": [1, 2], "b": [6, 0, 5]}, {"a": np.array([0.5, 2.0]), "b": np.array([1.0, 3.0, 0.25])})
    for draw in islice(with_partners(drawn, guessed, training(guessed), rng=np.random.default_rng(0)), 200):
        assert_array_equal(draw.cells["a"], [1, 2])
        assert_array_equal(draw.weights["a"], [0.5, 2.0])
        assert_array_equal(draw.cells["b"][:3], [6, 0, 5])
        assert_array_equal(draw.weights["b"][:3], [1.0, 3.0, 0.25])
        assert len(np.unique(draw.cells["b"])) == len(draw.cells["b"])
        assert not draw.weights["b"][3:].any()
        rows, first, second = draw.partners["a", "b"]
        assert_array_equal(rows, [0, 1])
        asked = {int(draw.cells["b"][i]) for i in (*first, *second)}
        assert set(draw.cells["b"][3:].tolist()) == asked - {6, 0, 5}
        for place in (first, second):
            assert draw.cells["b"][place[0]] in {1, 2}
            assert draw.cells["b"][place[1]] in {0, 6}


def test_cells_drawn_without_weights_weigh_one_beside_their_guests(guessed):
    draw = next(with_partners(repeated({"a": [1], "b": [4]}), guessed, training(guessed), rng=np.random.default_rng(0)))
    assert_array_equal(draw.weights["a"], [1])
    assert_array_equal(draw.weights["b"], [1] + [0] * (len(draw.cells["b"]) - 1))
    assert len(draw.cells["b"]) >= 2


def test_cells_with_a_known_partner_or_no_row_and_held_out_ones_ask_nobody(guessed):
    draw = next(
        with_partners(repeated({"a": [0, 3, 5], "b": [0, 1]}), guessed, training(guessed), rng=np.random.default_rng(0))
    )
    assert not draw.partners
    assert_array_equal(draw.cells["b"], [0, 1])


def test_a_held_out_cell_neither_asks_nor_comes(make_problem):
    rng = np.random.default_rng(0)
    out_a, out_b = (rng.permutation(n)[: n // 2] for n in (60, 40))
    problem = make_problem(
        {"a": 60, "b": 40},
        {("a", "b"): np.zeros((60, 40))},
        {"a": out_a, "b": out_b},
        {("a", "b"): rng.random((60, 40))},
    )
    units = LinkedCells.of(problem)
    draws = with_partners(permuted(units, everyone(units), size=20, rng=rng), problem, training(problem), rng=rng)
    for draw in islice(draws, 200):
        assert not np.isin(draw.cells["b"], out_b).any()
        assert not np.isin(draw.cells["a"], out_a).any()


def test_guests_do_not_ask_in_their_turn(make_problem):
    """a asks b, and the guests from b, whose partners in c are inferred as well, ask nobody."""
    inferred = {("a", "b"): np.full((3, 4), 0.25), ("a", "c"): np.full((3, 5), 0.2), ("b", "c"): np.full((4, 5), 0.2)}
    known = {pair: np.zeros(f.shape) for pair, f in inferred.items()}
    problem = make_problem({"a": 3, "b": 4, "c": 5}, known, inferred=inferred)
    draws = with_partners(
        repeated({"a": [2, 0], "b": [3], "c": []}), problem, training(problem), rng=np.random.default_rng(0)
    )
    n_guests = 0
    for draw in islice(draws, 50):
        assert set(draw.partners) == set(inferred)
        assert_array_equal(draw.partners["a", "b"].rows, [0, 1])
        assert_array_equal(draw.partners["a", "c"].rows, [0, 1])
        assert_array_equal(draw.partners["b", "c"].rows, [0])
        assert not draw.weights["c"].any()
        n_guests += len(draw.cells["b"]) - 1
        for name in "abc":
            assert len(np.unique(draw.cells[name])) == len(draw.cells[name])
            assert len(draw.cells[name]) == len(draw.weights[name])
    assert n_guests > 50


def test_the_seed_decides_the_partners(guessed):
    def drawn(seed):
        draws = with_partners(
            repeated({"a": [1, 2, 4], "b": []}), guessed, training(guessed), rng=np.random.default_rng(seed)
        )
        return [draw.cells["b"][list(draw.partners["a", "b"][1:])].tolist() for draw in islice(draws, 5)]

    assert drawn(0) == drawn(0) != drawn(1)


@pytest.mark.parametrize("n", [20_000, 100_000])
def test_time_and_memory_grow_with_the_entries_and_not_with_the_square_of_the_cells(make_problem, n):
    rng, k = np.random.default_rng(0), 10
    columns = (np.arange(n)[:, None] + rng.integers(0, 50, (n, k)).cumsum(1)) % n
    values = rng.random((n, k), dtype=np.float32)
    f = sparse.csr_matrix((values.ravel(), columns.ravel(), np.arange(n + 1) * k), shape=(n, n))
    known = sparse.csr_matrix((np.ones(n // 50), (np.arange(n // 50), np.arange(n // 50))), shape=(n, n))
    problem = make_problem({"a": n, "b": n}, {("a", "b"): known}, inferred={("a", "b"): f})
    tracemalloc.start()
    began = time.perf_counter()
    units = LinkedCells.of(problem)
    batches = with_partners(
        stratified(units, everyone(units), size=512, least_paired=0.1, rng=rng), problem, training(problem), rng=rng
    )
    draws = list(islice(batches, 30))
    seconds, peak = time.perf_counter() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * (f.nnz + 2 * n)
    assert seconds < 5
    for draw in draws:
        rows, first, second = draw.partners["a", "b"]
        alone = draw.cells["a"] >= n // 50
        assert_array_equal(rows, np.flatnonzero(alone))
        for place in (first, second):
            assert np.all(f[draw.cells["a"][rows], draw.cells["b"][place]] > 0)


def test_pairs_alone_are_asked_for_and_the_others_come_all_the_same(few_pairs):
    (draw,) = some_batches(stratified, few_pairs, 1, size=50, least_paired=1.0)
    assert all(len(rows) for rows in draw.cells.values())
    assert np.isfinite(np.concatenate(list(draw.weights.values()))).all()


# blocks of a large batch


def by_block(draw, n_blocks):
    """Cells of each modality in each block."""
    assert {name: len(of) for name, of in draw.blocks.items()} == {name: len(of) for name, of in draw.cells.items()}
    return [{name: rows[draw.blocks[name] == k] for name, rows in draw.cells.items()} for k in range(n_blocks)]


PARTNER = {0: 6, 1: 5, 2: 4, 7: 0}  # of the training, in `partly_paired`


def test_blocks_have_as_many_groups_that_an_epoch_draws_once(partly_paired):
    for draw in some_batches(permuted, partly_paired, 40, size=7, n_blocks=3):  # 2 groups each, of 9 in all
        drawn = []
        for cells in by_block(draw, 3):
            alone = set(cells["b"]) - {PARTNER[a] for a in cells["a"] if a in PARTNER}
            assert {PARTNER[a] for a in cells["a"] if a in PARTNER} <= set(cells["b"])  # pairs stay together
            assert len(cells["a"]) + len(alone) == 2
            drawn += [*((0, a) for a in cells["a"]), *((1, b) for b in alone)]
        assert len(set(drawn)) == len(drawn) == 6
    assert all(draw.blocks is None for draw in some_batches(permuted, partly_paired, 3, size=7))


def test_each_block_has_its_share_of_each_kind_and_their_weights(make_problem):
    f = eye(60, 80, [(i, i) for i in range(12)])  # 12 pairs, 48 and 68 alone
    problem, options = make_problem({"a": 60, "b": 80}, {("a", "b"): f}), {"least_paired": 0.25}
    (one,) = some_batches(stratified, problem, 1, size=16, **options)
    for draw in some_batches(stratified, problem, 10, size=64, n_blocks=4, **options):
        for k, cells in enumerate(by_block(draw, 4)):
            assert [len(cells[name]) for name in "ab"] == [len(one.cells[name]) for name in "ab"]
            assert (cells["a"] < 12).sum() == (cells["b"] < 12).sum() == 4
            assert set(cells["a"][cells["a"] < 12]) == set(cells["b"][cells["b"] < 12])
            for name in "ab":
                weights = draw.weights[name][draw.blocks[name] == k]
                assert_allclose(np.sort(weights), np.sort(one.weights[name]))
                assert len(set(weights[cells[name] < 12])) == 1
        alone = draw.cells["b"][draw.cells["b"] >= 12]
        assert len(set(alone)) == len(alone)


def test_what_is_too_rare_for_all_blocks_is_in_each(make_problem):
    """Of three pairs each of four blocks gets one, by a permutation of its own."""
    problem = make_problem({"a": 43, "b": 43}, {("a", "b"): eye(43, 43, [(i, i) for i in range(3)])})
    seen = set()
    for draw in some_batches(stratified, problem, 30, size=40, n_blocks=4, least_paired=0.0):
        pairs = [cells["a"][cells["a"] < 3].tolist() for cells in by_block(draw, 4)]
        assert [len(of) for of in pairs] == [1] * 4
        seen.add(tuple(pair for (pair,) in pairs))
    assert len(seen) > 20


def test_guests_come_to_the_block_that_asks_them(guessed):
    """A cell may be in two blocks; there it is asked if it was drawn, and comes as a guest if it was not."""
    cells = {"a": np.array([1, 2, 2, 4]), "b": np.array([0, 2, 6, 1])}
    blocks = {"a": np.array([0, 0, 1, 1]), "b": np.array([0, 0, 1, 1])}
    drawn = iter([Draw(cells, None, {}, blocks)] * 200)
    n_met = n_guests = 0
    for draw in with_partners(drawn, guessed, training(guessed), rng=np.random.default_rng(0)):
        rows, first, second = draw.partners["a", "b"]
        assert_array_equal(rows, [0, 1, 2, 3])
        assert_array_equal(draw.blocks["a"], blocks["a"])
        assert_array_equal(draw.blocks["b"][:4], blocks["b"])
        assert_array_equal(draw.cells["b"][:4], cells["b"])
        there = list(zip(draw.blocks["b"], draw.cells["b"], strict=True))
        assert len(set(there)) == len(there)
        for place in (first, second):
            assert_array_equal(draw.blocks["b"][place], blocks["a"])
            assert (guessed.inferred["a", "b"][cells["a"], draw.cells["b"][place]] > 0).all()
            n_met += (place < 4).sum()
        n_guests += len(there) - 4
        assert not draw.weights["b"][4:].any()
    assert n_met
    assert n_guests

"""Where the cells of a batch go, and which links they have, against plain loops."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import sparse

from jamie.data import Draw, LinkedCells, Loader, permuted, stratified, with_partners
from jamie.data._batch_index import Indexer, taken_apart
from jamie.data._batches import Partners


@pytest.fixture
def known():
    """Three modalities of 30, 40 and 20 cells, a tenth of all pairs known."""
    rng = np.random.default_rng(0)
    sizes = {"a": 30, "b": 40, "c": 20}
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    return {
        (x, y): sparse.random(sizes[x], sizes[y], density=0.1, format="csr", dtype=np.float32, rng=rng)
        for x, y in pairs
    }


def drawn(rng, *, n_blocks, sizes, weighted=False, queries=0):
    """Different cells for each modality, in blocks of as many as the sizes say, in any order."""
    cells, blocks = {}, {}
    for name, n in {"a": 30, "b": 40, "c": 20}.items():
        block = np.repeat(np.arange(n_blocks), [sizes[name] + k for k in range(n_blocks)])
        blocks[name] = rng.permutation(block)
        cells[name] = rng.permutation(n)[: len(block)]
    weights = {name: rng.random(len(rows)) for name, rows in cells.items()} if weighted else None
    partners = {}
    if queries:
        (a,), (b,) = (np.nonzero(blocks[name] == 0) for name in "ab")
        partners = {("a", "b"): Partners(a[:queries], rng.choice(b, queries), rng.choice(b, queries))}
    return Draw(cells, weights, partners, blocks if n_blocks > 1 else None)


CASES = [
    {"n_networks": n_networks, "n_blocks": n_blocks, "weighted": weighted, "queries": queries, "steady": steady}
    for n_networks, n_blocks in ((1, 1), (3, 1), (1, 3), (2, 3))
    for weighted, queries, steady in ((False, 0, False), (True, 0, True), (True, 2, False), (False, 3, True))
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.values())))
def test_a_batch_is_what_plain_loops_say(known, case):
    rng = np.random.default_rng(1)
    indexer = Indexer(known, least=1, steady=case["steady"])
    for sizes in ({"a": 4, "b": 3, "c": 5}, {"a": 3, "b": 5, "c": 2}, {"a": 4, "b": 4, "c": 4}):
        draws = [
            drawn(rng, n_blocks=case["n_blocks"], sizes=sizes, weighted=case["weighted"], queries=case["queries"])
            for _ in range(case["n_networks"])
        ]
        index = indexer(draws)
        check(index, draws, known)


def check(index, draws, known):
    """Rows, weights, links and partners, cell by cell."""
    layout, parts = index.layout, taken_apart(index)
    assert (layout.n_networks, layout.n_blocks) == (len(draws), 3 if draws[0].blocks else 1)
    assert index.positions.dtype == torch.int64
    assert index.numbers.dtype == torch.float32
    where = {}  # network, modality, position in the draw → position in the batch
    for name, n in layout.cells:
        assert n % layout.n_blocks == 0
        rows = parts.rows[name].numpy()
        present = np.ones(len(rows)) if parts.present is None else parts.present[name].numpy()
        assert set(present) <= {0, 1}
        assert present.sum() == sum(len(draw.cells[name]) for draw in draws)
        for i, draw in enumerate(draws):
            block = draw.blocks[name] if draw.blocks else np.zeros(len(draw.cells[name]), dtype=int)
            width = n // layout.n_blocks
            for k in range(layout.n_blocks):
                there = np.arange(width) + i * n + k * width
                there = there[present[there] > 0]
                members = np.flatnonzero(block == k)
                assert_array_equal(rows[there], draw.cells[name][members])
                where |= {(i, name, int(cell)): int(place) for cell, place in zip(members, there, strict=True)}
                if parts.weights is not None:
                    expected = np.ones(len(members)) if draw.weights is None else draw.weights[name][members]
                    assert_array_equal(parts.weights[name][there], expected.astype(np.float32))
        if parts.weights is not None:
            assert not parts.weights[name][present == 0].any()
    for (a, b), f in known.items():
        expected = {}
        for i, draw in enumerate(draws):
            for p, row in enumerate(draw.cells[a]):
                for q, column in enumerate(draw.cells[b]):
                    together = draw.blocks is None or draw.blocks[a][p] == draw.blocks[b][q]
                    if together and f[row, column]:
                        expected[where[i, a, p], where[i, b, q]] = f[row, column]
        rows, columns, confidence = (part.numpy() for part in parts.links[a, b])
        some = confidence > 0
        assert dict(zip(zip(rows[some], columns[some], strict=True), confidence[some], strict=True)) == expected
        assert some.sum() == len(expected)
    for pair, (queries, first, second) in parts.partners.items():
        asked = np.ones(len(queries)) if parts.asked is None else parts.asked[pair].numpy()
        assert set(asked) <= {0, 1}
        expected = [
            tuple(where[i, name, int(at)] for name, at in zip("abb", query, strict=True))
            for i, draw in enumerate(draws)
            for query in zip(*draw.partners[pair], strict=True)
        ]
        found = list(zip(queries.tolist(), first.tolist(), second.tolist(), strict=True))
        assert [one for one, there in zip(found, asked, strict=True) if there] == expected
        n_a = dict(layout.cells)["a"]
        assert [q // n_a for q in queries.tolist()] == sorted(list(range(len(draws))) * dict(layout.partners)[pair])
    weights = parts.weights or {}
    check_compared(
        parts.compared.own, {name: np.flatnonzero(w) for name, w in weights.items()}, layout.cells, len(draws)
    )
    linked = {}
    for (a, b), (rows, columns, confidence) in parts.links.items():
        linked |= {(a, b): columns[confidence > 0].numpy(), (b, a): rows[confidence > 0].numpy()}
    cells = tuple((pair, dict(layout.cells)[pair[1]]) for pair in linked)
    check_compared(parts.compared.crossed, linked, cells, len(draws))


def check_compared(chosen, wanted, cells, n_networks):
    """All that are wanted are chosen, each once, as many in each network, and never all."""
    for key, n in cells:
        if key not in wanted:
            assert key not in chosen
            continue
        if key not in chosen:
            continue
        found = chosen[key].numpy()
        assert set(wanted[key]) <= set(found)
        assert len(set(found)) == len(found)
        per_network = np.bincount(found // n, minlength=n_networks)
        assert (per_network == per_network[0]).all()
        assert 1 <= per_network[0] < n


def test_cells_that_nothing_compares_are_not_decoded(make_problem):
    """From the other modality only cells with a partner are decoded, from their own only those with a weight."""
    f = sparse.csr_matrix((np.ones(30), (np.arange(30), np.arange(30))), shape=(60, 50))
    problem = make_problem({"a": 60, "b": 50}, {("a", "b"): f})
    indexer = Indexer(problem.known, least=1, steady=False)
    weights = {"a": np.ones(60), "b": np.repeat([1.0, 0.0], [40, 10])}
    index = indexer([Draw({"a": np.arange(60), "b": np.arange(50)}, weights, {})])
    compared = taken_apart(index).compared
    assert compared.own.keys() == {"b"}
    assert_array_equal(compared.own["b"], np.arange(40))
    assert compared.crossed.keys() == {("a", "b"), ("b", "a")}
    for cells in compared.crossed.values():
        assert_array_equal(cells, np.arange(30))


@pytest.mark.parametrize("least", [1, 2])
def test_a_batch_without_links_has_as_few_cells_decoded_as_layers_can_take(make_problem, least):
    problem = make_problem({"a": 60, "b": 50}, {("a", "b"): sparse.csr_matrix((60, 50))})
    index = Indexer(problem.known, least=least, steady=False)([Draw({"a": np.arange(9), "b": np.arange(8)}, None, {})])
    crossed = taken_apart(index).compared.crossed
    assert {pair: len(cells) for pair, cells in crossed.items()} == {("a", "b"): least, ("b", "a"): least}


def test_batches_of_the_same_composition_have_one_layout(make_problem):
    """Pairs and cells alone, as the default recipe draws them: no cell fills up, and sizes never change."""
    f = sparse.eye(300, 500, format="csr")
    problem = make_problem({"a": 300, "b": 500}, {("a", "b"): f})
    units = LinkedCells.of(problem)
    draws = stratified(
        units, np.arange(len(units)), size=120, least_paired=0.1, n_blocks=3, rng=np.random.default_rng(0)
    )
    indexer = Indexer(problem.known, least=1, steady=True)
    layouts = {indexer([draw]).layout for draw in islice(draws, 20)}
    assert len(layouts) == 1
    assert not layouts.pop().padded


def test_sizes_that_vary_soon_stand_still(make_problem):
    """With inferred partners each batch has as many extra cells as chance brings."""
    rng = np.random.default_rng(0)
    problem = make_problem(
        {"a": 200, "b": 300},
        {("a", "b"): sparse.csr_matrix((200, 300))},
        inferred={("a", "b"): sparse.random(200, 300, density=0.1, format="csr", rng=rng)},
    )
    units = LinkedCells.of(problem)
    allowed = {name: view.train for name, view in problem.modalities.items()}
    batches = permuted(units, np.arange(len(units)), size=100, rng=rng)
    indexer = Indexer(problem.known, least=1, steady=True)
    layouts = [indexer([draw]).layout for draw in islice(with_partners(batches, problem, allowed, rng=rng), 300)]
    assert len(set(layouts)) <= 12
    assert len(set(layouts[-100:])) == 1


def test_rows_that_the_device_does_not_hold_come_along(make_problem):
    problem = make_problem({"a": 6, "b": 5}, {("a", "b"): np.eye(6, 5)})
    load = Loader(problem, {"a": 2.0, "b": 1.0}, torch.device("cpu"))
    draw = Draw({"a": np.array([4, 0]), "b": np.array([3])}, None, {})
    index = load.index([draw])
    there = index.__class__(index.layout, index.positions, index.numbers, {"a": torch.tensor([[8.0], [6.0]])})
    again = there.with_tensors([tensor.clone() for tensor in there.tensors()])
    assert_array_equal(load.gather(again).inputs["a"], [[4.0], [3.0]])
    assert_array_equal(load.gather(again).inputs["b"], [[3.0]])


def test_what_is_gathered_once_does_not_set_the_size_of_batches(make_problem):
    """Held-out pairs are many, and batches on a GPU never shrink."""
    problem = make_problem({"a": 60, "b": 60}, {("a", "b"): np.eye(60)})
    load = Loader(problem, {"a": 1.0, "b": 1.0}, torch.device("cpu"))
    load._index = Indexer(problem.known, least=1, steady=True)
    load([Draw({name: np.arange(60) for name in "ab"}, None, {})])
    layout = load.index([Draw({name: np.arange(8) for name in "ab"}, None, {})]).layout
    assert dict(layout.cells) == {"a": 8, "b": 8}
    assert not layout.padded


def test_a_modality_that_one_of_the_networks_has_is_there(known):
    """Of batches that are drawn from all alike some lack a modality."""
    rng = np.random.default_rng(0)
    sizes = {"a": 4, "b": 3, "c": 5}
    one, other = (drawn(rng, n_blocks=1, sizes=sizes) for _ in range(2))
    other.cells["c"] = other.cells["c"][:0]
    index = Indexer(known, least=1, steady=False)([one, other])
    check(index, [one, other], known)
    assert dict(index.layout.cells)["c"] == 5
    index = Indexer(known, least=2, steady=False)([one, other])
    assert set(dict(index.layout.cells)) == {"a", "b"}


def test_steady_sizes_never_shrink_and_grow_by_an_eighth_or_more():
    indexer = Indexer({}, least=1, steady=True)
    assert [indexer._size("a", n) for n in (80, 7, 80, 81, 90, 91, 300, 1)] == [80, 80, 80, 90, 90, 101, 300, 300]
    assert indexer._size("b", 3) == 3
    indexer = Indexer({}, least=1, steady=False)
    assert [indexer._size("a", n) for n in (80, 7)] == [80, 7]

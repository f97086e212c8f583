"""What a recipe makes of the cells: which train, how batches are drawn, who is invited."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from jamie.data import LinkedCells, ModalityView, Problem
from jamie.model._plan import draws, hold_out, require_batch, size_of_batch
from jamie.train import RECIPES


def problem_of(n_pairs, n_a, n_b, *, inferred=False):
    """Pairs first, then cells alone; F̃, if there is one, gives each cell of a all of b alike."""
    views = {
        name: ModalityView(name, pd.RangeIndex(n), np.zeros((n, 2), np.float32), None, np.ones(n, dtype=bool), None)
        for name, n in (("a", n_a), ("b", n_b))
    }
    known = sparse.csr_matrix(np.eye(n_a, n_b, dtype=np.float32) * (np.arange(n_a) < n_pairs)[:, None])
    guess = sparse.csr_matrix(np.full((n_a, n_b), 1 / n_b, dtype=np.float32))
    return Problem(views, {("a", "b"): known}, {("a", "b"): guess} if inferred else {})


def drawn(problem, recipe, n=6, seed=0):
    units = LinkedCells.of(problem)
    return list(islice(draws(problem, units, np.arange(len(units)), recipe, np.random.default_rng(seed)), n))


def test_the_papers_batches_are_permutations_of_all_units_alike():
    problem = problem_of(5, 40, 60)
    units = LinkedCells.of(problem)
    recipe = replace(RECIPES["paper"], batch_size=20)
    rng = np.random.default_rng(0)
    epochs = [rng.permutation(95) for _ in range(2)]
    expected = [epoch[start : start + 20] for epoch in epochs for start in (0, 20, 40, 60)]
    found = drawn(problem, recipe, n=8)
    for draw, some in zip(found, expected, strict=True):
        assert draw.weights is None
        assert not draw.partners
        for name, cells in units.cells(some).items():
            assert_array_equal(draw.cells[name], cells)
    assert min(np.isin(np.arange(5), draw.cells["a"]).sum() for draw in found) == 0


@pytest.mark.parametrize("name", ["default", "paper"])
def test_inferred_partners_are_invited_by_any_recipe(name):
    for draw in drawn(problem_of(5, 40, 60, inferred=True), replace(RECIPES[name], batch_size=20)):
        partners = draw.partners["a", "b"]
        assert_array_equal(draw.cells["a"][partners.rows], draw.cells["a"][draw.cells["a"] >= 5])
        assert (draw.weights["b"] == 0).any()
        if name == "paper":
            assert {*draw.weights["a"], *draw.weights["b"]} == {0, 1}


def test_the_default_recipe_has_pairs_in_every_batch():
    for draw in drawn(problem_of(5, 400, 600), RECIPES["default"]):
        assert np.isin(np.arange(5), draw.cells["a"]).all()
        assert np.isin(np.arange(5), draw.cells["b"]).all()
        assert draw.weights["a"].min() < 0.3 < 1 < draw.weights["a"].max()
        assert not draw.partners
    for draw in drawn(problem_of(400, 400, 400), RECIPES["default"]):
        assert draw.weights is None
        assert len(draw.cells["a"]) == 256


def test_the_share_of_pairs_is_the_recipes():
    recipe = replace(RECIPES["default"], batch_size=40, least_paired=0.5)
    for draw in drawn(problem_of(30, 400, 600), recipe):
        assert (draw.cells["a"] < 30).sum() == 20


@pytest.mark.parametrize(
    ("shares", "size"),
    [
        ((1.0, 0.0, 0.0), 256),  # pairs
        ((0.0, 0.0, 1.0), 256),  # cells alone
        ((0.5, 0.5, 0.0), 205),  # half of them triples: 5/2 cells each
        ((0.0, 1.0, 0.0), 171),
        ((0.0, 0.5, 0.5), 256),
    ],
)
def test_a_batch_of_many_modalities_has_as_many_cells_as_one_of_pairs(shares, size):
    """Also where pairs are many to many: it is modalities that count."""
    pairs, triples, alone = (round(100 * share) for share in shares)
    n = {"a": pairs + triples + alone, "b": pairs + triples, "c": triples}
    views = {
        name: ModalityView(name, pd.RangeIndex(k), np.zeros((k, 2), np.float32), None, np.ones(k, dtype=bool), None)
        for name, k in n.items()
    }
    known = {
        ("a", "b"): sparse.eye(n["a"], n["b"], format="csr", dtype=np.float32),
        ("a", "c"): sparse.eye(n["a"], n["c"], format="csr", dtype=np.float32),
    }
    units = LinkedCells.of(Problem(views, known, {}))
    assert size_of_batch(units, RECIPES["default"]) == size
    assert size_of_batch(units, RECIPES["paper"]) == 512


def test_many_partners_make_no_smaller_batch():
    problem = problem_of(0, 40, 60)
    problem.known["a", "b"] = sparse.csr_matrix(np.kron(np.eye(20), np.ones((2, 3))).astype(np.float32))
    assert size_of_batch(LinkedCells.of(problem), RECIPES["default"]) == 256


def test_held_out_pairs_are_not_drawn_and_only_pairs_are():
    units = LinkedCells.of(problem_of(200, 300, 260))
    training, validation = hold_out(units, replace(RECIPES["default"], validation=0.1), np.random.default_rng(0))
    assert len(validation) == 20
    assert (units.n_modalities[validation] == 2).all()
    assert_array_equal(np.sort(np.concatenate([training, validation])), np.arange(len(units)))
    training, validation = hold_out(units, RECIPES["paper"], np.random.default_rng(0))
    assert_array_equal(training, np.arange(len(units)))
    assert not len(validation)


@pytest.mark.parametrize(("n_pairs", "held_out"), [(50, 10), (99, 19), (100, 20), (199, 20), (250, 25)])
def test_of_few_pairs_a_larger_share_is_held_out(n_pairs, held_out):
    units = LinkedCells.of(problem_of(n_pairs, 300, 260))
    training, validation = hold_out(units, replace(RECIPES["default"], validation=0.1), np.random.default_rng(0))
    assert len(validation) == held_out
    assert (units.n_modalities[validation] == 2).all()
    assert_array_equal(np.sort(np.concatenate([training, validation])), np.arange(len(units)))


@pytest.mark.parametrize(("n_pairs", "share"), [(49, 0.1), (1, 0.1), (250, 0.0)])
def test_too_few_pairs_to_tell_are_all_trained_on(n_pairs, share):
    units = LinkedCells.of(problem_of(n_pairs, 300, 260))
    training, validation = hold_out(units, replace(RECIPES["default"], validation=share), np.random.default_rng(0))
    assert_array_equal(training, np.arange(len(units)))
    assert not len(validation)


def test_too_few_cells_for_a_batch_are_refused():
    require_batch(10, None)
    require_batch(3, 3)
    with pytest.raises(ValueError, match="at least 10 training cells, found 9; collect more cells"):
        require_batch(9, None)
    with pytest.raises(ValueError, match="at least 30 training cells for batch_size=30, found 20; pass batch_size=20"):
        require_batch(20, 30)


def test_pairs_that_choose_the_weights_are_not_invited():
    problem = problem_of(20, 40, 40, inferred=True)
    units = LinkedCells.of(problem)
    chosen, validation = np.arange(len(units))[5:], np.arange(len(units))[:5]
    recipe = replace(RECIPES["default"], batch_size=20)
    invited = [draw.cells["b"] for draw in islice(draws(problem, units, chosen, recipe, np.random.default_rng(0)), 50)]
    held = units.cells(validation)["b"]
    assert len(held) == 5
    assert set(np.concatenate(invited)) == set(range(40)) - set(held)

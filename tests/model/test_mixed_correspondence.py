"""The aggregation of a training is eq. 3 with ρF + (1 − ρ)F̃ in place of F (section 4.6)."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from jamie.data import LinkedCells, Loader, ModalityView, Problem
from jamie.model._plan import draws
from jamie.nn import JointVAE
from jamie.train import RECIPES

N_X, N_Y = 7, 6
NOTHING = 6  # the row of which neither F nor F̃ says anything


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def dense_problem(rng, f, f_inferred):
    views = {
        name: ModalityView(
            name, pd.RangeIndex(n), rng.normal(size=(n, 3)).astype(np.float32), None, np.ones(n, dtype=bool), None
        )
        for name, n in (("x", N_X), ("y", N_Y))
    }
    known, inferred = ({("x", "y"): sparse.csr_matrix(m, dtype=np.float32)} for m in (f, f_inferred))
    return Problem(views, known, inferred)


def known_pairs():
    """Sure pairs, one with a confidence of 0.4, one of which nothing is inferred, and cells without."""
    f = np.zeros((N_X, N_Y))
    f[[0, 1, 2, 3], [0, 1, 2, 3]] = [1, 1, 0.4, 1]
    return f


def batches(problem, rho, n, rng):
    recipe = replace(RECIPES["paper"], rho=rho)
    units = LinkedCells.of(problem)
    load = Loader(problem, {"x": 1.0, "y": 1.0}, torch.device("cpu"), least=2)
    chosen = np.arange(len(units))
    for draw in islice(draws(problem, units, chosen, recipe, rng), n):
        order = {name: torch.from_numpy(rows) for name, rows in draw.cells.items()}
        batch = load([draw])
        f = torch.zeros(N_X, N_Y).index_put(
            (order["x"][:, None], order["y"][None]), batch.correspondence(rho)["x", "y"].to_dense()
        )
        yield batch, order, f.double().numpy()


def mixed(f, f_inferred, rho):
    """Section 4.6 on dense matrices; F stays in rows of which nothing was inferred."""
    has = f_inferred.any(1, keepdims=True)
    return np.where(has, rho * f + (1 - rho) * f_inferred, f)


@pytest.mark.parametrize("rho", [0.7, 0.25, 0])
def test_the_aggregation_is_equation_3_with_both_correspondences(rng, rho):
    f, f_inferred = known_pairs(), np.zeros((N_X, N_Y))
    f_inferred[[0, 1, 2, 4, 5], [0, 5, 2, 4, 1]] = 1  # agrees with F, contradicts it, is surer, and says it alone
    problem = dense_problem(rng, f, f_inferred)
    torch.manual_seed(0)
    network = JointVAE({"x": 3, "y": 3}, n_latent=2, hidden={"x": (4,), "y": (4,)}, norm="layer", dropout=0.0).eval()
    with torch.no_grad():
        network.log_weights.copy_(torch.tensor([0.0, 0.5]))
    delta, g = np.exp(0.5), mixed(f, f_inferred, rho)
    for batch, order, found in batches(problem, rho, 5, rng):
        assert_allclose(found, g, atol=1e-6)
        with torch.no_grad():
            outputs = network(batch.inputs, batch.correspondence(rho))
        latent, m = {}, {}
        for name, n in (("x", N_X), ("y", N_Y)):
            for into, values in ((latent, outputs.latent[name]), (m, outputs.aggregated[name])):
                into[name] = np.empty((n, 2))
                into[name][order[name].numpy()] = values.numpy()
        m_x = (latent["x"] + delta * g @ latent["y"]) / (1 + delta * g.sum(1, keepdims=True))
        m_y = (latent["y"] + g.T @ latent["x"] / delta) / (1 + g.T.sum(1, keepdims=True) / delta)
        assert_allclose(m["x"], m_x, atol=1e-5)
        assert_allclose(m["y"], m_y, atol=1e-5)


def test_partners_that_are_drawn_are_the_inferred_correspondence_on_average(rng):
    rho, n = 0.6, 3_000
    f, f_inferred = known_pairs(), rng.dirichlet(np.full(N_Y, 2.0), N_X)
    f_inferred[[3, NOTHING]] = 0
    found = np.array([f for *_, f in batches(dense_problem(rng, f, f_inferred), rho, n, rng)])
    expected = mixed(f, f_inferred, rho)
    error = found.std(0) / np.sqrt(n)
    assert np.all(abs(found.mean(0) - expected) < 5 * error + 1e-6)
    assert_allclose(found.sum(2), np.broadcast_to(expected.sum(1), (n, N_X)), atol=1e-6)


def test_what_is_known_for_sure_is_mixed_with_itself(rng):
    """F̃ as it is inferred holds the known pairs, F + (1 − F1) F̃: no partner need be drawn for sure ones."""
    f = known_pairs()
    guess = rng.dirichlet(np.ones(N_Y), N_X)
    with_known = f + (1 - f.sum(1, keepdims=True)) * guess
    for batch, order, found in batches(dense_problem(rng, f, with_known), 0.3, 20, rng):
        assert_array_equal(np.sort(order["x"][batch.inferred["x", "y"].queries]), [2, 4, 5, 6])
        assert_allclose(found[[0, 1, 3]], f[[0, 1, 3]])


def test_by_default_only_cells_without_a_known_partner_are_given_others(rng):
    f, f_inferred = known_pairs(), rng.dirichlet(np.ones(N_Y), N_X)
    for batch, order, found in batches(dense_problem(rng, f, f_inferred), 1.0, 5, rng):
        assert_array_equal(np.sort(order["x"][batch.inferred["x", "y"].queries]), [4, 5, 6])
        assert_allclose(found, f)

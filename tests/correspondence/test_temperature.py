"""Votes become probabilities: beside a loop over cells, and a temperature that is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from jamie.correspondence._temperature import SHARPEST, UNSEEN, probability_of_first, temperature


def votes_of(n, n_labels=4, seed=0):
    rng = np.random.default_rng(seed)
    return np.array([rng.multinomial(15, rng.dirichlet(np.full(n_labels, 0.3))) for _ in range(n)], dtype=float)


def probabilities(votes, tau):
    powers = (votes + UNSEEN) ** tau
    return powers / powers.sum(axis=1, keepdims=True)


def test_the_probability_is_that_of_all_labels_also_of_those_without_a_vote():
    votes = votes_of(50)
    for tau in (0.4, 1.0, 2.5):
        found = probability_of_first(sparse.csr_matrix(votes), tau, 4)
        assert_allclose(found, probabilities(votes, tau).max(axis=1))
    more = np.hstack([votes, np.zeros((50, 3))])
    unused, used = (probability_of_first(sparse.csr_matrix(more), 1.0, n) for n in (4, 7))
    assert_allclose(unused, probabilities(votes, 1.0).max(axis=1))
    assert_allclose(used, probabilities(more, 1.0).max(axis=1))


@pytest.mark.parametrize("tau", [0.5, 1.0, 1.8])
def test_a_temperature_that_is_known_is_found(tau):
    votes, rng = votes_of(4_000), np.random.default_rng(1)
    codes = np.array([rng.choice(4, p=p) for p in probabilities(votes, tau)])
    assert temperature(sparse.csr_matrix(votes), codes, 4) == pytest.approx(tau, rel=0.08)


def test_a_few_cells_that_are_all_right_make_none_certain():
    votes = np.array([[14.0, 1, 0]] * 40)
    tau = temperature(sparse.csr_matrix(votes), np.zeros(40, int), 3)
    assert tau < SHARPEST
    assert_allclose(probability_of_first(sparse.csr_matrix(votes), tau, 3), 41 / 42, atol=1e-3)

"""From votes of neighbours to probabilities of labels, by one number that cells of known labels tell.

Neighbours of a cell are like each other, so that 15 votes are worth fewer than 15 cells drawn at random: shares of
votes are surer than they are right. A temperature (Guo et al. 2017) makes up for it and keeps the order of the labels.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.optimize import minimize_scalar

from jamie._types import Array

UNSEEN = 0.2
"""Votes that each label has besides those of neighbours, so that no label is impossible: .02 to 1 err by up to .003
more (splits 10 to 12 of motor cortex and the mosaic, expected calibration error .024)."""
FLATTEST, SHARPEST = 0.05, 5.0


def temperature(votes: sparse.csr_matrix, codes: Array, n_labels: int) -> float:
    """Inverse temperature τ under which the true labels of cells are likeliest, for votes (n, labels) and their codes.

    The probability of a label of v votes is (v + u)^τ, of all `n_labels` that there are together 1, with u = `UNSEEN`.
    Each cell counts as one of a wrong label for 1 / (n + 2) (Platt 1999): that n cells are all right makes none sure.
    """
    true, right = np.asarray(votes[np.arange(len(codes)), codes]).ravel(), (len(codes) + 1) / (len(codes) + 2)

    def cost(logarithm: float) -> float:
        p = _probability(votes, true, np.exp(logarithm), n_labels).clip(1e-12, 1 - 1e-12)
        return -float((right * np.log(p) + (1 - right) * np.log1p(-p)).mean())

    bounds = float(np.log(FLATTEST)), float(np.log(SHARPEST))
    return float(np.exp(minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-3}).x))


def probability_of_first(votes: sparse.csr_matrix, tau: float, n_labels: int) -> Array:
    """Probability of the label with the most votes, (n,)."""
    return _probability(votes, votes.max(axis=1).toarray().ravel(), tau, n_labels)


def _probability(votes: sparse.csr_matrix, chosen: Array, tau: float, n_labels: int) -> Array:
    """Probability of a label that has `chosen` votes, (n,)."""
    n = votes.shape[0]
    powers = np.power(votes.data + UNSEEN, tau)
    rows = np.repeat(np.arange(n), np.diff(votes.indptr))
    without = n_labels - np.diff(votes.indptr)
    total = np.bincount(rows, powers, minlength=n) + without * UNSEEN**tau
    return np.power(chosen + UNSEEN, tau) / total

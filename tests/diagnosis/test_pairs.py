"""Known pairs are judged by themselves, and by held-out ones where there are any."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from jamie.correspondence import PairCheck
from jamie.diagnosis import JudgedPairs, _pairs, check_known_pairs

PAIR = ("rna", "protein")
N = 60


class Opened:
    """What the check asks of opened cells."""

    def __init__(self, n_pairs=N):
        self.known = sparse.csr_matrix(np.diag((np.arange(N) < n_pairs).astype(float)))

    def known_of_training(self, _a, _b):
        return self.known

    def train(self, _name):
        return np.ones(N, dtype=bool)

    def inputs(self, _name):
        return np.zeros((N, 2))


def held_out(*, aligned):
    x = np.random.default_rng(0).normal(size=(N, 4))
    return JudgedPairs(PAIR, (np.arange(N), np.arange(N)), (x, x if aligned else x[::-1].copy()), None, "held-out")


def judged(monkeypatch, objective, pairs=None, *, n_pairs=N, p_value=0.005):
    check = PairCheck(objective, 0.5, 0.02, p_value, n_pairs, n_pairs)
    monkeypatch.setattr(_pairs, "check_pairs", lambda *_: check)
    return check_known_pairs(Opened(n_pairs), PAIR, pairs, np.random.default_rng(0)).verdict


@pytest.mark.parametrize(
    ("objective", "aligned", "verdict"),
    [
        (0.2, None, "good"),
        (0.2, False, "good"),  # the pairs are right, the training was not
        (0.47, None, "doubtful"),
        (0.47, True, "good"),
        (0.47, False, "bad"),
        (0.51, None, "bad"),
        (0.51, True, "good"),
    ],
)
def test_held_out_pairs_prove_or_refute_what_is_doubtful(monkeypatch, objective, aligned, verdict):
    assert judged(monkeypatch, objective, None if aligned is None else held_out(aligned=aligned)) == verdict


def test_few_pairs_tell_nothing(monkeypatch):
    assert judged(monkeypatch, 0.2, n_pairs=3) == "unknown"

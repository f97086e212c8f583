"""Known pairs are judged by themselves, and by held-out ones where there are any."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from jamie.correspondence import PairCheck
from jamie.diagnosis import JudgedPairs, UnseenAlignment, _pairs, check_known_pairs, unseen_alignment
from jamie.metrics import foscttm
from jamie.model import Summary
from jamie.model._summary import PairScore

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


def judged(monkeypatch, objective, unseen=None, *, n_pairs=N, p_value=0.005):
    check = PairCheck(objective, 0.5, 0.02, p_value, n_pairs, n_pairs)
    monkeypatch.setattr(_pairs, "check_pairs", lambda *_: check)
    return check_known_pairs(Opened(n_pairs), PAIR, unseen, np.random.default_rng(0)).verdict


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
    unseen = None if aligned is None else UnseenAlignment(0.1 if aligned else 0.48, 0.02)
    assert judged(monkeypatch, objective, unseen) == verdict


def test_few_pairs_tell_nothing(monkeypatch):
    assert judged(monkeypatch, 0.2, n_pairs=3) == "unknown"


def test_what_was_not_learned_from_is_held_out_else_of_the_validation():
    x, y = np.random.default_rng(0).normal(size=(2, N, 4))
    held_out = JudgedPairs(PAIR, (np.arange(N), np.arange(N)), (x, y), None, "held-out")
    score = PairScore(*PAIR, "foscttm", 0.1, 0.02)
    validated, trained = (Summary(cells, 20, 1.0, 20, scores=(score,)) for cells in ("validation", "training"))
    assert unseen_alignment(held_out, validated, PAIR).value == foscttm(x, y)
    assert unseen_alignment(None, validated, PAIR[::-1]) == (0.1, 0.02)
    assert unseen_alignment(None, validated, ("rna", "atac")) is None
    assert unseen_alignment(None, trained, PAIR) is None


@pytest.mark.parametrize(("value", "error", "clear"), [(0.1, 0.02, True), (0.42, 0.001, False), (0.35, 0.06, False)])
def test_unseen_pairs_prove_something_only_where_they_are_clear(value, error, clear):
    assert UnseenAlignment(value, error).is_clear is clear

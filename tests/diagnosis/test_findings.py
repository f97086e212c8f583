"""Verdicts of single checks, on arrays whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import jamie as jm
from jamie.diagnosis import (
    COLUMNS,
    Finding,
    JudgedDirection,
    JudgedPairs,
    alignment_finding,
    as_table,
    beyond,
    check_alignment,
    check_disguises,
    check_imputation,
    check_spread,
    check_training,
    dimensions_in_use,
    imputation_finding,
    still_falling,
    swapped,
    types_finding,
)
from jamie.model import Summary

PAIR = ("rna", "protein")


def direction(measured, imputed, regressed=None):
    rows = np.arange(len(measured)), np.arange(len(measured))
    return JudgedDirection("rna", "protein", rows, measured, imputed, regressed)


def pairs(x, y, labels=None):
    rows = np.arange(len(x)), np.arange(len(x))
    return JudgedPairs(PAIR, rows, (x, y), None if labels is None else (labels, labels), "held-out")


@pytest.fixture
def noise():
    return np.random.default_rng(0).normal(size=(200, 20))


def test_a_finding_becomes_a_row():
    finding = Finding("alignment", *PAIR, 0.1, 0.5, "good", "found")
    table = as_table([finding, replace(finding, verdict="bad", next_step="Do.")])
    assert list(table) == list(COLUMNS)
    assert table["verdict"].tolist() == ["good", "bad"]
    assert list(as_table([])) == list(COLUMNS)


@pytest.mark.parametrize(
    ("value", "error", "verdict"),
    [(0.05, 0.01, "good"), (0.3, 0.02, "doubtful"), (0.45, 0.01, "bad"), (0.38, 0.06, "bad"), (np.nan, np.nan, "bad")],
)
def test_alignment_is_judged_beside_chance(value, error, verdict):
    found = alignment_finding(PAIR, value, error, "100 held-out pairs")
    assert found.verdict == verdict
    assert (found.next_step == "") is (verdict == "good")


def test_within_labels_chance_is_told_from_what_is_known_beyond_them(noise):
    labels = np.repeat(np.array(["a", "b"], dtype=object), 100)
    centres = np.where(labels == "a", 50.0, -50.0)[:, None]
    types_only = pairs(noise + centres, noise[::-1] * 1.1 + centres, labels)
    of_cells = pairs(noise + centres, noise + centres, labels)
    assert [finding.verdict for finding in check_alignment(types_only)] == ["doubtful", "doubtful"]
    assert [finding.verdict for finding in check_alignment(of_cells)] == ["good", "good"]
    assert len(list(check_alignment(pairs(noise, noise)))) == 1


@pytest.mark.parametrize(
    ("value", "error", "kernel", "verdict"),
    [
        (0.5, 0.02, 0.5, "good"),
        (0.5, 0.02, np.nan, "good"),
        (0.4, 0.02, 0.5, "doubtful"),
        (0.04, 0.001, 0.04, "bad"),
        (0.1, 0.05, 0.1, "bad"),
        (-0.2, 0.01, 0.0, "bad"),
        (np.nan, np.nan, np.nan, "bad"),
    ],
)
def test_imputation_is_judged_beside_nothing_and_the_kernel(value, error, kernel, verdict):
    assert imputation_finding(PAIR, value, error, kernel, 0.01).verdict == verdict


def test_imputation_of_held_out_cells(noise):
    measured = noise
    good = check_imputation(direction(measured, measured + 1, measured), np.random.default_rng(0))
    bad = check_imputation(direction(measured, measured[::-1].copy(), measured), np.random.default_rng(0))
    assert (good.verdict, bad.verdict) == ("good", "bad")
    assert good.value == pytest.approx(1)
    assert good.reference == pytest.approx(1)


@pytest.mark.parametrize(("factor", "verdict"), [(0.0, "bad"), (0.1, "doubtful"), (0.5, "good"), (2.0, "doubtful")])
def test_spread_is_judged_beside_the_regression(noise, factor, verdict):
    found = check_spread(direction(noise, factor * noise, 0.5 * noise))
    assert found.verdict == verdict
    assert found.value == pytest.approx(factor)
    assert found.reference == pytest.approx(0.5)


def test_beyond_what_is_known_is_what_a_regression_leaves(noise):
    depth = np.random.default_rng(1).normal(size=(200, 1))
    other = np.random.default_rng(2).normal(size=noise.shape)
    shared_depth = direction(noise + 3 * depth, other + 3 * depth)
    assert beyond(shared_depth, np.empty((200, 0))) > 0.8
    assert abs(beyond(shared_depth, depth)) < 0.05
    signal = direction(noise + 3 * depth, noise + 3 * depth)
    assert beyond(signal, depth) == pytest.approx(1)


def test_labels_of_one_cell_each_leave_nothing_to_judge(noise):
    each = direction(noise, noise)
    assert np.isnan(beyond(each, np.eye(len(noise))))
    opened = Opened(np.random.default_rng(3).uniform(1, 2, (200, 1)), np.arange(200).astype(str))
    found = list(check_disguises(opened, each, column="batch", batch_key="batch"))
    assert [finding.measure for finding in found] == ["beyond depth", "beyond batch"]
    assert {finding.verdict for finding in found} == {"unknown"}
    assert all("nothing is left to judge" in finding.finding for finding in found)


class Opened:
    """What the check of disguises asks of opened cells."""

    def __init__(self, depth, batch):
        self.depth, self.batch = depth, batch

    def matched(self, name):
        return type("Matched", (), {"cells": self.depth})

    def labels(self, column, name):
        return pd.Series(self.batch)


def test_depth_and_batch_in_disguise(noise):
    depth = np.exp(np.random.default_rng(1).normal(size=(200, 1)))
    batch = np.repeat(["one", "two"], 100)
    shift = 5.0 * (batch == "one")[:, None]
    other = np.random.default_rng(2).normal(size=noise.shape)
    judged = direction(noise + 3 * np.log1p(depth) + shift, other + 3 * np.log1p(depth) + shift)
    found = list(check_disguises(Opened(depth, batch), judged, column=None, batch_key="batch"))
    assert [finding.measure for finding in found] == ["beyond depth", "beyond batch"]
    only_depth = direction(noise + 9 * np.log1p(depth), other + 9 * np.log1p(depth))
    assert next(check_disguises(Opened(depth, batch), only_depth, column=None, batch_key=None)).verdict == "bad"
    only_batch = direction(noise + 9 * shift, other + 9 * shift)
    assert list(check_disguises(Opened(depth, batch), only_batch, column=None, batch_key="b"))[1].verdict == "bad"
    cells = direction(noise, noise)
    found = list(check_disguises(Opened(depth, batch), cells, column=None, batch_key="b"))
    assert [finding.verdict for finding in found] == ["good", "good"]
    nothing = direction(noise, other)
    assert next(check_disguises(Opened(depth, batch), nothing, column=None, batch_key=None)).verdict == "unknown"


@pytest.mark.parametrize(
    ("most", "circles"),
    [
        ({"a": "a", "b": "b"}, []),
        ({"a": "b", "b": "a", "c": "c"}, [("a", "b")]),
        ({"a": "b", "b": "c", "c": "a"}, [("a", "b", "c")]),
        ({"a": "b", "b": "b"}, []),
        ({"a": "b", "b": "elsewhere"}, []),
        ({"d": "a", "a": "b", "b": "a"}, [("a", "b")]),
        ({"a": "b", "b": "a", "c": "d", "d": "c"}, [("a", "b"), ("c", "d")]),
    ],
)
def test_labels_in_each_others_place_are_circles(most, circles):
    assert swapped(most) == circles


def labelled(**moved):
    own = np.repeat(np.array(["a", "b", "c"], dtype=object), 20)
    return own, np.array([moved.get(label, label) for label in own], dtype=object)


@pytest.mark.parametrize(
    ("moved", "verdict", "says"),
    [
        ({}, "good", "100%"),
        ({"a": "b", "b": "a"}, "bad", "'a' → 'b' → 'a'"),
        ({"a": "b"}, "doubtful", "'a' among 'b'"),
        ({"a": "c", "b": "c"}, "bad", "as good as chance"),
    ],
)
def test_types_are_judged_by_where_they_lie(moved, verdict, says):
    own, found = labelled(**moved)
    finding = types_finding(PAIR, own, found, own)
    assert finding.verdict == verdict
    assert says in finding.finding


def test_a_type_that_its_own_modality_does_not_tell_is_no_fault():
    own, found = labelled(a="b")
    assert types_finding(PAIR, own, found, found).verdict == "good"


def test_few_cells_of_a_type_prove_nothing():
    own, _ = labelled()
    own = np.append(own, ["d"] * 3 + ["e"] * 3)
    found = np.append(own[:60], ["e"] * 3 + ["d"] * 3)
    assert types_finding(PAIR, own, found, own).verdict == "good"


def summary(**changes):
    return Summary(**{"cells": "validation", "best_step": 300, "seconds": 1.0, "n_steps": 700, **changes})


FLAT = pd.DataFrame({"step": [100, 300, 700], "score": [1.0, 0.9, 0.895]})
FALLING = pd.DataFrame({"step": [100, 300, 700], "score": [1.0, 0.9, 0.6]})


@pytest.mark.parametrize(
    ("changes", "history", "verdict"),
    [
        ({}, FLAT, "good"),
        ({"best_step": 700}, FLAT, "good"),
        ({"best_step": 700}, FALLING, "doubtful"),
        ({"best_step": 300}, FALLING, "good"),
        ({"best_step": 700, "cells": "training"}, FALLING, "good"),
        ({"best_step": 20, "n_steps": 20}, FLAT.head(1), "bad"),
        ({"interrupted": "SIGINT"}, FLAT, "doubtful"),
        ({"diverged": 141, "rolled_back": 2}, FLAT, "bad"),
        ({"diverged": 14, "n_steps": 15}, FLAT, "bad"),
        ({"rolled_back": 14}, FLAT, "doubtful"),
        ({"rolled_back": 1}, FLAT, "good"),
    ],
)
def test_training_is_judged_by_its_steps(changes, history, verdict):
    found = check_training(summary(**changes), jm.recipes["default"], history)
    assert found.verdict == verdict
    assert (found.next_step == "") is (verdict == "good")


def test_a_history_without_scores_says_nothing():
    assert not still_falling(FALLING.drop(columns="score"), 700)


def test_dimensions_in_use():
    assert dimensions_in_use(np.array([1.0, 0.5, 0.001, 0.0])) == 2
    assert dimensions_in_use(np.zeros(4)) == 0
    assert dimensions_in_use(np.full(4, 1e-14)) == 0  # rounding

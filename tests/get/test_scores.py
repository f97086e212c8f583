"""Scores by feature and method, as they were stored."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

import jamie as jm


@pytest.fixture
def evaluated(trained):
    mdata, model = trained
    jm.tl.evaluate(mdata, model, labels="cell_type", baselines=["mean", "knn"])
    return mdata, model


def test_a_column_for_each_method(evaluated):
    mdata, _ = evaluated
    found = jm.get.scores(mdata, source="rna", target="protein")
    frame = mdata["protein"].varm["jamie_scores_rna"]
    for name in ("correlation", "auroc"):
        table = getattr(found, name)
        assert list(table) == list(found.means.index) == ["jamie", "mean", "knn"]
        assert_array_equal(table["knn"], frame[f"{name}_knn"])
    assert found.means.loc["knn", "correlation"] == pytest.approx(found.correlation["knn"].mean())


def test_distances_within_labels_lie_under_each_other(evaluated):
    mdata, _ = evaluated
    found = jm.get.scores(mdata, source="rna", target="protein")
    frame = mdata["protein"].varm["jamie_js_distance_rna"]
    assert found.within_labels
    assert found.js_distance.shape == (36, 3)
    ours = [frame[f"jamie: type {letter}"] for letter in "ABC"]
    assert_array_equal(np.sort(found.js_distance["jamie"]), np.sort(np.concatenate(ours)))
    floor = [frame[f"floor: type {letter}"] for letter in "ABC"]
    assert_array_equal(np.sort(found.js_floor), np.sort(np.concatenate(floor)))
    assert_array_equal(found.r_max, mdata["protein"].varm["jamie_scores_rna"]["r_max"])


def test_without_labels_distances_of_features(evaluated):
    mdata, model = evaluated
    jm.tl.evaluate(mdata, model, baselines=["knn"])
    found = jm.get.scores(mdata, source="rna", target="protein")
    assert not found.within_labels
    pd.testing.assert_series_equal(
        found.js_distance["knn"], mdata["protein"].varm["jamie_scores_rna"]["js_distance_knn"], check_names=False
    )


def test_wins_are_counted_against_the_best_baseline_or_another(evaluated):
    mdata, _ = evaluated
    scores = jm.get.scores(mdata, source="rna", target="protein")
    assert scores.baseline() == "knn"  # the mean has no correlation
    assert scores.baseline("mean") == "mean"
    ours, theirs = scores.correlation["jamie"], scores.correlation["knn"]
    wins = scores.wins("correlation", "knn")
    assert (wins.n_wins, wins.n_features) == ((ours > theirs).sum(), 12)
    assert wins.p_value == jm.metrics.binomial_test(ours, theirs).p_value
    assert scores.wins("correlation", "mean").n_features == 0
    with pytest.raises(KeyError, match=r"`against`.*\['mean', 'knn'\], found 'ridge'"):
        scores.baseline("ridge")

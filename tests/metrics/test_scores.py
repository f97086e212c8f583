"""Scores of features by method: each is what the measure of that name gives, and stands where it is looked for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal

from jamie.metrics import (
    FLOOR,
    MEASURES,
    FeatureScores,
    compare_methods,
    correlation_error,
    feature_auroc,
    feature_correlation,
    js_distance,
    js_floor,
    sd_ratio,
)

FEATURES = np.array(["Gad1", "Vip", "Sst"], dtype=object)
METHOD_OF_MEASURE = {
    "correlation": feature_correlation,
    "auroc": feature_auroc,
    "js_distance": js_distance,
    "sd_ratio": sd_ratio,
}


@pytest.fixture
def sides():
    """Measured values, what a good and a bad method make of them; the last feature has no correlation in the bad."""
    rng = np.random.default_rng(0)
    measured = rng.normal(size=(60, 3))
    good, bad = (measured + sd * rng.normal(size=measured.shape) for sd in (0.5, 2.0))
    bad[:, 2] = 1
    return measured, good, bad


@pytest.fixture
def labels():
    """59 cells of two labels, one of a third, none of a fourth."""
    return pd.Series(pd.Categorical([*"ab" * 29, "a", "c"], categories=["c", "none", "b", "a"]))


def scored(sides, labels=None):
    scores = FeatureScores(FEATURES, labels)
    measured, *imputed = sides
    return scores, [
        scores.add(method, measured, values) for method, values in zip(("ours", "mlp"), imputed, strict=True)
    ]


def test_every_measure_has_a_column_of_each_method(sides):
    assert METHOD_OF_MEASURE == MEASURES
    scores, _ = scored(sides)
    frame = scores.frame(pd.Index(["Sst", "other", "Gad1", "Vip"]))
    assert list(frame) == [f"{measure}_{method}" for measure in MEASURES for method in ("ours", "mlp")]
    for name, measure in METHOD_OF_MEASURE.items():
        for method, imputed in zip(("ours", "mlp"), sides[1:], strict=True):
            found = frame[f"{name}_{method}"]
            assert_array_equal(found[list(FEATURES)], measure(sides[0], imputed))
            assert np.isnan(found["other"])
    assert scores.distances(frame.index) is None


def test_means_are_over_features_with_a_score_and_errors_over_cells(sides):
    _, (ours, mlp) = scored(sides)
    measured, good, bad = sides
    for row, imputed in ((ours, good), (mlp, bad)):
        for name, measure in METHOD_OF_MEASURE.items():
            assert row[name] == pytest.approx(np.nanmean(measure(measured, imputed)))
        assert row["correlation_se"] == correlation_error(measured, imputed)
    assert (ours["n_failed"], mlp["n_failed"]) == (0, 1)
    assert not {"gain", "gain_se", "p_value"} & set(ours)
    assert (mlp["gain"], mlp["gain_se"], mlp["p_value"]) == compare_methods(measured, good, bad)
    assert mlp["gain"] > 0


def test_a_third_method_is_compared_with_the_first(sides):
    measured, good, bad = sides
    scores, _ = scored(sides)
    row = scores.add("third", measured, (good + bad) / 2)
    assert (row["gain"], row["gain_se"], row["p_value"]) == compare_methods(measured, good, (good + bad) / 2)


def test_distances_within_labels_are_those_of_their_cells(sides, labels):
    scores, _ = scored(sides, labels)
    index = pd.Index(["other", *FEATURES])
    found = scores.distances(index)
    assert list(found) == [f"{method}: {label}" for method in ("ours", "mlp") for label in labels.cat.categories]
    assert_array_equal(found.index, index)
    assert set(found.dtypes) == {np.dtype(float)}
    for method, imputed in zip(("ours", "mlp"), sides[1:], strict=True):
        for label in "ab":
            rows = (labels == label).to_numpy()
            expected = js_distance(sides[0][rows], imputed[rows])
            assert_array_equal(found[f"{method}: {label}"].to_numpy(), [np.nan, *expected])
        assert found[[f"{method}: c", f"{method}: none"]].isna().all(axis=None)  # of one cell, and of none
    by_method, without = scores.frame(index), scored(sides)[0].frame(index)
    assert_frame_equal(by_method, without)


def test_limits_are_noted_beside_the_scores_and_their_means_returned(sides, labels):
    rng = np.random.default_rng(1)
    pool, of_pool = rng.normal(size=(200, 3)), pd.Series(rng.choice(list("abc"), size=200))
    r_max = np.array([0.9, np.nan, 0.6])
    scores = FeatureScores(FEATURES, labels)
    means = scores.bound(r_max, pool, of_pool, 60, np.random.default_rng(7))
    again = np.random.default_rng(7)
    floor = js_floor(pool, 60, rng=again)
    assert means == pytest.approx({"r_max": 0.75, "js_floor": floor.mean()})
    scores.add("ours", *sides[:2])
    index = pd.Index(["other", *FEATURES])
    frame = scores.frame(index)
    assert list(frame)[-2:] == ["r_max", "js_floor"]
    assert_array_equal(frame["r_max"], [np.nan, *r_max])
    assert_array_equal(frame["js_floor"], [np.nan, *floor])
    distances = scores.distances(index)
    assert list(distances)[:4] == [f"{FLOOR}: {label}" for label in labels.cat.categories]
    counts = {"c": 1, "none": 0, "b": 29, "a": 30}
    for label, n in counts.items():
        found = distances[f"{FLOOR}: {label}"].to_numpy()[1:]
        if n < 2:
            assert np.isnan(found).all()
        else:
            assert_array_equal(found, js_floor(pool[of_pool == label], n, rng=again))


def test_two_cells_of_a_label_are_enough_for_a_floor(sides):
    labels = pd.Series(pd.Categorical(["a"] * 58 + ["b"] * 2))
    pool = np.random.default_rng(0).normal(size=(120, 3))
    scores = FeatureScores(FEATURES, labels)
    scores.bound(np.ones(3), pool, pd.Series(["a"] * 60 + ["b"] * 60), 60, np.random.default_rng(0))
    assert np.isfinite(scores.distances(pd.Index(FEATURES))[f"{FLOOR}: b"]).all()


def test_without_labels_of_either_side_no_distance_is_within_one(labels):
    pool = np.random.default_rng(0).normal(size=(120, 3))
    scores = FeatureScores(FEATURES, labels)
    scores.bound(np.ones(3), pool, None, 60, np.random.default_rng(0))
    assert scores.distances(pd.Index(FEATURES)).empty
    scores = FeatureScores(FEATURES, None)
    means = scores.bound(np.ones(3), pool, pd.Series(["a"] * 120), 60, np.random.default_rng(0))
    assert means["r_max"] == 1
    assert scores.distances(pd.Index(FEATURES)) is None
    assert_allclose(scores.frame(pd.Index(FEATURES))["js_floor"].mean(), means["js_floor"])

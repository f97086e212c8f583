"""Confidence: surer cells err less; novelty: as few known cells are taken for new ones as is said, and new ones are."""

from __future__ import annotations

from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal

import jamie as jm
from jamie.data import Preparation
from jamie.model import _confidence, _intervals
from jamie.model._confidence import ConfidenceModel, _confidence_model

D = 30
PREPARATION = SimpleNamespace(
    kind="continuous",
    is_nonnegative=False,
    features=np.arange(D),
    dtype=np.float32,
    sd=np.full(D, 2.0, np.float32),
    inverse=lambda scores, columns: np.repeat(scores[:, :1], D, axis=1)[:, columns],
)


def cells(n, seed):
    """Cells whose error grows with the second predicted component, which features do not show."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, 3))
    error = np.exp(0.5 * scores[:, 1])
    return scores, scores[:, :1] + rng.normal(size=(n, D)) * error[:, None], error


def learned(n=600):
    scores, measured, _ = cells(n, 0)
    calibration = _intervals.calibrated(measured, scores, PREPARATION)
    return _confidence_model(measured, scores, calibration, PREPARATION, 1.0), calibration


def test_surer_cells_err_less_and_confidence_is_a_share_of_cells():
    model, calibration = learned(2_000)
    scores, _, error = cells(4_000, 1)
    confidence = model.confidence(scores, calibration, PREPARATION)
    assert np.corrcoef(np.argsort(np.argsort(-error)), confidence)[0, 1] > 0.97
    assert_allclose([(confidence > share).mean() for share in (0.1, 0.5, 0.9)], [0.9, 0.5, 0.1], atol=0.05)
    assert confidence.min() >= 0
    assert confidence.max() <= 1
    assert confidence.dtype == np.float32


def test_a_cell_is_judged_no_further_than_cells_that_were_seen():
    model, calibration = learned()
    far, further = (model.confidence(np.array([[0, 0, x]]), calibration, PREPARATION) for x in (1e3, 1e6))
    assert_array_equal(far, further)


def test_few_cells_are_asked_for_fewer_numbers():
    assert [len(learned(n)[0].weights) for n in (30, 60, 600)] == [3, 5, 7]


def test_cells_without_a_measured_value_tell_nothing():
    scores, measured, _ = cells(300, 0)
    calibration = _intervals.calibrated(measured, scores, PREPARATION)
    gaps = measured.copy()
    gaps[::3], gaps[1, :5] = np.nan, np.nan
    model = _confidence_model(gaps, scores, calibration, PREPARATION, 1.0)
    assert all(np.isfinite(array).all() for array in model.arrays().values())


def test_novelty_is_in_units_of_the_threshold():
    model = ConfidenceModel(*np.ones((4, 1)), threshold=np.array([4.0]))
    assert_allclose(model.novelty(np.array([2.0, 8.0])), [0.5, 2])


def of_few_cells_in_many_dimensions(n, seed):
    """Two modalities of eight common dimensions, in noise of more dimensions than there are cells."""
    rng = np.random.default_rng(seed)
    common, loadings = rng.normal(size=(n, 8)), rng.normal(size=(8, 420))
    x = 0.2 * common @ loadings[:, :400] + rng.normal(size=(n, 400))
    y = common @ loadings[:, 400:] + rng.normal(size=(n, 20))
    cells = pd.DataFrame(index=[f"cell{i}" for i in range(n)])
    features = {name: pd.DataFrame(index=[f"{name}{i}" for i in range(z.shape[1])]) for name, z in (("a", x), ("b", y))}
    return MuData({name: ad.AnnData(z.astype(np.float32), cells, features[name]) for name, z in (("a", x), ("b", y))})


@pytest.fixture(scope="module")
def high():
    mdata = of_few_cells_in_many_dimensions(500, 0)
    jm.pp.split(mdata, test_fraction=0.5)
    jm.pp.prepare(mdata, kinds={"a": "continuous", "b": "continuous"})
    return mdata, jm.tl.train(mdata, max_steps=10)


def flagged(mdata, model):
    held_out = (mdata["a"].obs["jamie_role"] == "held-out").to_numpy()
    return (model.novelty(model.open(mdata).inputs("a"), "a", "b")[held_out] > 1).mean()


def test_one_in_twenty_cells_like_those_of_the_training_is_taken_for_a_new_one(high, monkeypatch):
    mdata, model = high
    assert 0.01 < flagged(mdata, model) < 0.09
    monkeypatch.setattr(Preparation, "outside", lambda _, x: np.zeros(x.shape[0]))
    unshrunk = jm.JAMIE(max_steps=10).fit(mdata)
    assert unshrunk.confidences_["a", "b"].threshold > 1.02 * model.confidences_["a", "b"].threshold


def test_cells_that_lie_elsewhere_are_new(high):
    mdata, model = high
    inputs = model.open(mdata).inputs("a")
    away = inputs + 8 * inputs.std(axis=0) * np.eye(inputs.shape[1], dtype=np.float32)[0]
    assert (model.novelty(away, "a", "b") > 1).mean() > 0.95
    assert (mdata["a"].obs["jamie_novelty_b"] > 1).mean() < 0.1


def test_the_threshold_is_learned_from_cells_without_themselves(high, monkeypatch):
    mdata, model = high
    distance = jm.JAMIE.distance
    monkeypatch.setattr(jm.JAMIE, "distance", lambda self, x, a, b, itself=None: distance(self, x, a, b))
    other = jm.JAMIE(max_steps=10).fit(mdata)
    assert other.confidences_["a", "b"].threshold < model.confidences_["a", "b"].threshold


def test_a_share_of_the_features_stands_for_all(monkeypatch):
    monkeypatch.setattr(_confidence, "FEATURES", 4)
    assert_array_equal(_confidence.told_by(PREPARATION), [0, 9, 19, 29])

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import jamie as jm
from jamie.data import MAX_MISSING, model_inputs, prepare


@pytest.fixture
def mdata(make_mdata, rng):
    def wide(d):
        return (rng.normal(size=(40, 3)) @ rng.normal(size=(3, d)) + 2).astype(np.float32)

    return make_mdata(x=wide(10), y=wide(4))


@pytest.fixture
def preparation(mdata):
    return prepare(mdata, "x")


def only(mdata, columns):
    mdata = mdata.copy()
    mdata.mod["x"] = mdata["x"][:, columns].copy()
    mdata.update()
    return mdata


def test_features_are_matched_by_name(mdata, preparation):
    expected = preparation.transform(mdata["x"].X)
    assert_array_equal(model_inputs(mdata, "x", preparation), expected)
    assert_allclose(model_inputs(only(mdata, np.arange(10)[::-1]), "x", preparation), expected, atol=1e-5)


def test_unknown_features_are_ignored(mdata, make_mdata, preparation, rng):
    wider = make_mdata(x=np.c_[mdata["x"].X, rng.normal(size=40)].astype(np.float32), y=mdata["y"].X)
    assert_allclose(model_inputs(wider, "x", preparation), preparation.transform(mdata["x"].X), atol=1e-5)


def test_sparse_values_give_the_same(mdata, make_mdata, preparation):
    thin = make_mdata(x=sparse.csc_matrix(mdata["x"].X), y=mdata["y"].X)
    assert_allclose(model_inputs(thin, "x", preparation), preparation.transform(mdata["x"].X), atol=1e-4)


def test_a_few_missing_features_count_as_their_mean_and_are_announced(mdata, preparation, capsys):
    jm.settings.verbosity = "info"
    kept = np.delete(np.arange(10), [2, 7])
    found = model_inputs(only(mdata, kept), "x", preparation)
    with_means = mdata["x"].X.copy()
    with_means[:, [2, 7]] = preparation.mean[[2, 7]]
    assert_allclose(found, preparation.transform(with_means), atol=1e-4)
    assert "2 of 10 features of 'x' are missing, first 'x2'" in capsys.readouterr().err


def test_many_missing_features_are_refused(mdata, preparation):
    assert MAX_MISSING == 0.2
    message = r"at least 80% of the 10 features of 'x'.*found 7 in `mdata\['x'\].var_names`, missing first 'x0'; match"
    with pytest.raises(ValueError, match=message):
        model_inputs(only(mdata, np.arange(3, 10)), "x", preparation)

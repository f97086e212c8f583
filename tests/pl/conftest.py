"""A trained and imputed MuData that must come out of a plot as it went in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

import jamie as jm


def assert_same(found, expected):
    if isinstance(expected, Mapping):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected)
    elif sparse.issparse(expected):
        assert (found != expected).nnz == 0
    else:
        assert_array_equal(np.asarray(found), np.asarray(expected))


@pytest.fixture
def mdata(trained):
    mdata, model = trained
    jm.tl.impute(mdata, model, source="rna", target="protein")
    return mdata


@pytest.fixture
def unchanged():
    """Function to call with a MuData before drawing it; compared after the test."""
    kept = []

    def keep(mdata):
        before = mdata.copy()
        before.obs, before.var = mdata.obs.copy(), mdata.var.copy()  # mudata 0.3 pulls columns when it copies
        kept.append((mdata, before))
        return mdata

    yield keep
    for mdata, before in kept:
        for slot in ("obs", "var", "obsm", "obsp", "uns"):
            assert_same(getattr(mdata, slot), getattr(before, slot))
        for name in before.mod:
            for slot in ("X", "obs", "var", "obsm", "varm", "layers", "uns", "obsp"):
                assert_same(getattr(mdata[name], slot), getattr(before[name], slot))

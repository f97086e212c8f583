"""Distances by feature and group are those of the metric on the same cells."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import jamie as jm

DIRECTION = {"source": "rna", "target": "protein"}


@pytest.fixture
def mdata(trained):
    mdata, model = trained
    jm.tl.impute(mdata, model, **DIRECTION)
    return mdata


@pytest.mark.parametrize("groupby", [None, "cell_type"])
def test_each_distance_is_that_of_its_feature_and_group(mdata, groupby):
    found = jm.get.js_distances(mdata, **DIRECTION, groupby=groupby)
    pairs = jm.get.comparison(mdata, **DIRECTION)
    labels = mdata.obs["cell_type"].reindex(pairs.measured.index).astype(str) if groupby else None
    assert list(found.table.index) == list(pairs.measured)
    assert list(found.table) == (["all"] if labels is None else sorted(set(labels)))
    assert found.cells == pairs.cells == "held-out"
    for group in found.table:
        rows = slice(None) if labels is None else (labels == group).to_numpy()
        x, y = (frame.to_numpy()[rows] for frame in (pairs.measured, pairs.imputed))
        assert found.n_cells[group] == len(x)
        assert_allclose(found.table[group], np.ravel(jm.metrics.js_distance(x, y)))


def test_cells_without_a_group_are_in_none(mdata):
    mdata.obs["group"] = mdata.obs["cell_type"].astype(object)
    lost = jm.get.comparison(mdata, **DIRECTION).measured.index
    mdata.obs.loc[lost[:5], "group"] = None
    assert jm.get.js_distances(mdata, **DIRECTION, groupby="group").n_cells.sum() == len(lost) - 5
    mdata.obs["group"] = np.nan
    with pytest.raises(ValueError, match=r"found none of .* in 'group'"):
        jm.get.js_distances(mdata, **DIRECTION, groupby="group")

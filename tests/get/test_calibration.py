"""Coverage by level and group, against bounds that were imputed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import jamie as jm

DIRECTION = {"source": "rna", "target": "protein"}


@pytest.fixture(scope="module")
def both():
    mdata = jm.datasets.toy(n_cells=150)
    jm.pp.split(mdata)
    return mdata, jm.tl.train(mdata, max_steps=20)


def test_coverage_is_that_of_the_bounds_that_are_imputed(both):
    mdata, model = both
    table = jm.get.calibration(mdata, model, **DIRECTION, groupby="cell_type", levels=[0.6, 0.9])
    jm.tl.impute(mdata, model, **DIRECTION, interval=0.9)
    pairs = jm.get.comparison(mdata, **DIRECTION)
    assert pairs.interval == 0.9
    within = (pairs.measured >= pairs.beside["lower"] - 1e-4) & (pairs.measured <= pairs.beside["upper"] + 1e-4)
    labels = mdata.obs["cell_type"].reindex(pairs.measured.index).astype(str)
    at_90 = table[table["level"] == 0.9].set_index("group")
    assert at_90.loc["all", "coverage"] == pytest.approx(within.to_numpy().mean())
    expected = within.groupby(labels.to_numpy()).mean().mean(axis=1)
    assert_allclose(at_90["coverage"].drop("all").sort_index(), expected.sort_index())
    width = (pairs.beside["upper"] - pairs.beside["lower"]) / pairs.measured.std(ddof=0)
    assert at_90.loc["all", "width"] == pytest.approx(width.to_numpy().mean(), rel=1e-4)
    assert at_90["n_cells"].drop("all").sum() == at_90.loc["all", "n_cells"] == len(labels)
    assert set(table["cells"]) == {"held-out"}
    assert (table[table["level"] == 0.6].set_index("group")["coverage"] <= at_90["coverage"]).all()
    both_ways = jm.get.agreement(mdata, **DIRECTION)
    assert both_ways.within.to_numpy().mean() == pytest.approx(within.to_numpy().mean())


def test_what_cannot_be_given_is_said(both):
    mdata, model = both
    with pytest.raises(ValueError, match=r"`interval` above 0 and at most 0\.9\d, found 0\.99"):
        jm.get.calibration(mdata, model, **DIRECTION, levels=[0.99])
    with pytest.raises(KeyError, match="`groupby`"):
        jm.get.calibration(mdata, model, **DIRECTION, groupby="celltype")
    with pytest.raises(KeyError, match="`target`"):
        jm.get.calibration(mdata, model, source="rna", target="protien")


def test_by_default_the_levels_that_the_model_can_give(both):
    levels = jm.get.calibration(*both, source="protein", target="rna")["level"]
    assert isinstance(levels, pd.Series)
    assert np.isclose(levels, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]).all()


@pytest.mark.parametrize("names", [["all", "b"], [1, "1"]])
def test_groups_that_would_be_read_as_others_are_refused(both, names):
    mdata, model = both
    mdata = mdata.copy()
    mdata.obs["odd"] = pd.Series(names * (len(mdata.obs) // 2), index=mdata.obs_names, dtype=object).astype("category")
    with pytest.raises(ValueError, match="differ as text from each other and from 'all'"):
        jm.get.calibration(mdata, model, **DIRECTION, groupby="odd")


def test_no_level_is_no_question(both):
    with pytest.raises(ValueError, match=r"pass e\.g\. levels=\[0\.5, 0\.9\]"):
        jm.get.calibration(*both, **DIRECTION, levels=[])

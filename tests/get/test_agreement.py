"""Imputed beside measured, feature by feature."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal

import jamie as jm

DIRECTION = {"source": "rna", "target": "protein"}


@pytest.fixture
def imputed(trained):
    mdata, model = trained
    jm.tl.impute(mdata, model, **DIRECTION)
    return mdata


def test_values_and_correlations_are_those_of_the_comparison(imputed):
    pairs, both = jm.get.comparison(imputed, **DIRECTION), jm.get.agreement(imputed, **DIRECTION)
    pd.testing.assert_frame_equal(both.measured, pairs.measured)
    pd.testing.assert_frame_equal(both.imputed, pairs.imputed)
    assert (both.scale, both.cells) == (pairs.scale, pairs.cells)
    assert_allclose(both.correlation, pairs.measured.corrwith(pairs.imputed), rtol=1e-5)
    assert_array_equal(both.correlation.index, pairs.measured.columns)
    assert_allclose(both.js_distance, jm.metrics.js_distance(pairs.measured, pairs.imputed))
    assert list(both.groups.cat.categories) == ["all"]


def test_distances_are_means_over_groups(imputed):
    both = jm.get.agreement(imputed, **DIRECTION, groupby="cell_type", features=["protein5", "protein2"])
    assert list(both.measured) == list(both.imputed) == list(both.js_distance.index) == ["protein5", "protein2"]
    assert len(both.correlation) == 12
    types = imputed.obs["cell_type"].reindex(both.measured.index)
    assert_array_equal(both.groups.astype(str), types.astype(str))
    expected = jm.metrics.js_distance(both.measured.to_numpy(), both.imputed.to_numpy(), groups=types).mean(axis=0)
    assert_allclose(both.js_distance, expected)


def test_features_from_the_best_to_the_worst(imputed):
    chosen = jm.get.agreement(imputed, **DIRECTION, n_features=4)
    ranked = chosen.correlation.sort_values(ascending=False)
    names = list(chosen.measured)
    assert len(names) == 4
    assert (names[0], names[-1]) == (ranked.index[0], ranked.index[-1])
    assert chosen.correlation[names].is_monotonic_decreasing
    assert len(list(jm.get.agreement(imputed, **DIRECTION, n_features=99).measured)) == 12


def test_without_any_correlation_the_first_feature_is_shown(imputed):
    imputed["rna"].uns["jamie_imputed_protein"]["kind"] = "continuous"
    imputed["protein"].X[:] = 1
    both = jm.get.agreement(imputed, **DIRECTION, n_features=4, groupby="cell_type")
    assert both.correlation.isna().all()
    assert list(both.measured) == ["protein1"]


def test_groups_of_a_modality_only_and_cells_without_one(imputed, without_pull):
    imputed["protein"].obs["own"] = pd.Categorical(["b", "a"] * 90, categories=["b", "a", "none"])
    imputed["protein"].obs.iloc[:100, -1] = None
    with without_pull():
        mdata = MuData({name: adata.copy() for name, adata in imputed.mod.items()})
    mdata.obs["jamie_split"] = imputed.obs["jamie_split"].reindex(mdata.obs_names)
    both = jm.get.agreement(mdata, **DIRECTION, groupby="own")
    assert list(both.groups.cat.categories) == ["b", "a"]
    assert 0 < both.groups.isna().sum() < len(both.groups)
    kept = both.groups.notna().to_numpy()
    expected = jm.metrics.js_distance(
        both.measured.to_numpy()[kept], both.imputed.to_numpy()[kept], groups=both.groups[kept]
    ).mean(axis=0)
    assert_allclose(both.js_distance, expected)


def test_no_cell_with_a_group_has_no_distance(imputed):
    imputed.obs["nothing"] = np.nan
    both = jm.get.agreement(imputed, **DIRECTION, groupby="nothing")
    assert both.js_distance.isna().all()
    assert both.correlation.notna().all()


def test_what_is_not_there_is_said(imputed):
    with pytest.raises(KeyError, match=r"`groupby` to name a column .*did you mean 'cell_type' of"):
        jm.get.agreement(imputed, **DIRECTION, groupby="celltype")
    with pytest.raises(KeyError, match=r"`features`.*found 'protein99'"):
        jm.get.agreement(imputed, **DIRECTION, features=["protein99"])
    with pytest.raises(KeyError, match=r"`source`.*did you mean 'rna'"):
        jm.get.agreement(imputed, source="ran", target="protein", groupby="cell_type")
    with pytest.raises(KeyError, match=r"call jm\.tl\.impute\(mdata, model, source='protein', target='rna'\)"):
        jm.get.agreement(imputed, source="protein", target="rna")


def test_groups_that_are_one_as_text_are_one(trained):
    mdata, model = trained
    jm.tl.impute(mdata, model, source="rna", target="protein")
    mdata.obs["mixed"] = pd.Series([1, "1", 2.0, "b"] * (mdata.n_obs // 4), index=mdata.obs_names, dtype=object)
    both = jm.get.agreement(mdata, source="rna", target="protein", groupby="mixed")
    assert set(both.groups.cat.categories) == {"1", "2", "b"}
    given = mdata.obs["mixed"].reindex(both.groups.index)
    assert (both.groups == "1").sum() == given.isin([1, "1"]).sum()

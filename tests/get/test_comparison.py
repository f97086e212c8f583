"""Measured beside imputed values: the same cells and features, on one scale, and which cells they are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal

import jamie as jm
from jamie.get import comparison


@pytest.fixture
def imputed(trained):
    mdata, model = trained
    jm.tl.impute(mdata, model, source="rna", target="protein")
    return mdata


def test_held_out_cells_on_the_imputed_scale(imputed):
    found = comparison(imputed, source="rna", target="protein")
    test = imputed.obs_names[imputed.obs["jamie_split"] == "test"]
    assert found.cells == "held-out"
    assert set(found.measured.index) == set(test)
    x = imputed["protein"].X
    clr = pd.DataFrame(np.log1p(x / np.exp(np.log1p(x).mean(1, keepdims=True))), index=imputed["protein"].obs_names)
    assert_allclose(found.measured, clr.loc[found.measured.index], rtol=1e-4, atol=1e-5)
    assert_array_equal(found.imputed, imputed["rna"].obsm["jamie_imputed_protein"].loc[found.measured.index])
    assert_array_equal(found.imputed.columns, found.measured.columns)


def test_without_a_split_all_cells_in_both(imputed):
    del imputed.obs["jamie_split"]
    found = comparison(imputed, source="rna", target="protein", features=["protein7", "protein2"])
    assert found.cells == "in-sample"
    assert len(found.measured) == 160
    assert list(found.measured.columns) == ["protein7", "protein2"]


def test_cells_are_called_held_out_only_if_they_are(imputed):
    only_rna = imputed["rna"].obs_names.difference(imputed["protein"].obs_names)
    imputed.obs["jamie_split"] = np.where(imputed.obs_names.isin(only_rna), "test", "train")
    found = comparison(imputed, source="rna", target="protein")
    assert len(found.measured) == 160
    assert found.cells == "in-sample"


def test_features_that_the_data_lacks_are_left_out(imputed):
    part = MuData({"rna": imputed["rna"].copy(), "protein": imputed["protein"][:, 4:].copy()})
    found = comparison(part, source="rna", target="protein")
    assert_array_equal(found.measured.columns, imputed["protein"].var_names[4:])


def test_a_record_of_another_version_is_refused(imputed):
    imputed["rna"].uns["jamie_imputed_protein"]["schema"] = 99
    with pytest.raises(ValueError, match=r"schema 1 .*found 99.*call jm\.tl\.impute"):
        comparison(imputed, source="rna", target="protein")

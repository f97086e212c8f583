"""Imputed values as an AnnData."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import jamie as jm


def test_cells_of_the_source_by_features_of_the_target(trained):
    mdata, model = trained
    jm.tl.impute(mdata, model, source="rna", target="protein")
    found = jm.get.imputed(mdata, source="rna", target="protein")
    assert isinstance(found, ad.AnnData)
    assert_array_equal(found.obs_names, mdata["rna"].obs_names)
    assert_array_equal(found.var_names, mdata["protein"].var_names)
    assert_array_equal(found.X, model.impute(mdata, source="rna", target="protein"))
    assert_array_equal(found.obs["cell_type"], mdata["rna"].obs["cell_type"])
    found.X[:] = 0
    found.obs["cell_type"] = "none"
    assert mdata["rna"].obsm["jamie_imputed_protein"].to_numpy().any()
    assert mdata["rna"].obs["cell_type"].nunique() == 3


def test_features_have_the_names_that_the_target_gave_them(toy):
    toy["protein"].var_names = ["CD3/CD8", *toy["protein"].var_names[1:]]
    toy.update()
    model = jm.tl.train(toy, max_steps=2)
    jm.tl.impute(toy, model, source="rna", target="protein")
    found = jm.get.imputed(toy, source="rna", target="protein")
    assert_array_equal(found.var_names, toy["protein"].var_names)
    assert np.isfinite(found.X).all()


def test_what_was_not_imputed_names_the_call(trained):
    mdata, _ = trained
    with pytest.raises(KeyError, match=r"call jm\.tl\.impute\(mdata, model, source='protein', target='rna'\)"):
        jm.get.imputed(mdata, source="protein", target="rna")
    with pytest.raises(KeyError, match=r"`source`.*did you mean 'protein'"):
        jm.get.imputed(mdata, source="protien", target="rna")

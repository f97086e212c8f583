"""A MuData without holes: every cell everywhere, what was measured as it was."""

from __future__ import annotations

import mudata as md
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import jamie as jm
from jamie.data import model_inputs


def dense(x):
    return x.toarray() if sparse.issparse(x) else np.asarray(x)


@pytest.fixture
def completed(trained):
    mdata, model = trained
    return mdata, model, jm.tl.complete(mdata, model)


def test_every_cell_has_every_modality_and_flags_say_which_were_measured(completed):
    mdata, _, whole = completed
    assert set(whole.obs_names) == set(mdata.obs_names)
    for name, adata in whole.mod.items():
        assert adata.n_obs == mdata.n_obs
        assert_array_equal(adata.var_names, mdata[name].var_names)
        assert_array_equal(adata.obs["jamie_imputed"], ~adata.obs_names.isin(mdata[name].obs_names))
        assert np.isfinite(dense(adata.X)).all()
        assert dense(adata.X).min() >= 0


def test_measured_values_are_untouched_bit_for_bit(completed):
    mdata, _, whole = completed
    for name, adata in mdata.mod.items():
        assert whole[name].X.dtype == adata.X.dtype
        assert sparse.issparse(whole[name].X) == sparse.issparse(adata.X)
        assert_array_equal(dense(whole[name][adata.obs_names].X), dense(adata.X))


def test_imputed_rows_are_the_joint_latent_decoded_in_input_units(completed):
    mdata, model, whole = completed
    alone = mdata["rna"].obs_names.difference(mdata["protein"].obs_names)
    latent = mdata["rna"].obsm["X_jamie"][mdata["rna"].obs_names.get_indexer(alone)]
    inputs = model_inputs(mdata, "rna", model.preparations_["rna"])[mdata["rna"].obs_names.get_indexer(alone)]
    correction = model.correction(inputs, "rna", "protein")
    assert np.abs(correction).max() > 0
    clr = model.decode(latent, "protein", correction=correction)
    x = mdata["protein"].X
    train = (mdata.obs["jamie_split"].reindex(mdata["protein"].obs_names) == "train").to_numpy()
    typical = np.median(np.exp(np.log1p(x[train]).mean(1)))
    assert_allclose(whole["protein"][alone].X, np.expm1(clr.clip(0)) * typical, rtol=1e-3, atol=1e-3)
    ratio = whole["protein"][alone].X.mean(0) / x.mean(0)
    assert 0.3 < np.median(ratio) < 2


def test_labels_and_latents_follow_the_names(completed):
    mdata, _, whole = completed
    assert_array_equal(whole.obs["cell_type"], mdata.obs["cell_type"].reindex(whole.obs_names))
    rows = mdata.obs_names.get_indexer(whole.obs_names)
    assert_allclose(whole.obsm["X_jamie"], mdata.obsm["X_jamie"][rows], rtol=1e-5)
    measured = whole["rna"].obs["cell_type"].dropna()
    assert_array_equal(measured, mdata["rna"].obs["cell_type"].reindex(measured.index))


def test_the_original_is_left_alone(trained):
    mdata, model = trained
    before = {name: (set(adata.obs), set(adata.obsm), set(adata.layers)) for name, adata in mdata.mod.items()}
    whole = jm.tl.complete(mdata, model)
    whole["protein"].X[:] = -1
    assert mdata["protein"].X.min() >= 0
    assert before == {name: (set(adata.obs), set(adata.obsm), set(adata.layers)) for name, adata in mdata.mod.items()}


def test_the_whole_can_be_written_and_read(trained, tmp_path):
    mdata, model = trained
    mdata["rna"].obs["note"] = [f"n{i % 7}" for i in range(mdata["rna"].n_obs)]
    mdata["rna"].obs["flag"] = True
    mdata["rna"].obs["number"] = 3
    whole = jm.tl.complete(mdata, model)
    whole.write(tmp_path / "whole.h5mu")
    read = md.read_h5mu(tmp_path / "whole.h5mu")
    for name in whole.mod:
        assert_array_equal(dense(read[name].X), dense(whole[name].X))
        assert_array_equal(read[name].obs["jamie_imputed"], whole[name].obs["jamie_imputed"])


def test_a_modality_that_nobody_has_is_imputed_for_all(trained):
    mdata, model = trained
    whole = jm.tl.complete(MuData({"rna": mdata["rna"].copy()}), model)
    assert whole["protein"].shape == (mdata["rna"].n_obs, 12)
    assert whole["protein"].obs["jamie_imputed"].all()
    assert_array_equal(whole["protein"].var_names, mdata["protein"].var_names)


def test_a_partner_by_another_name_has_its_say(toy):
    rna, protein = toy["rna"].obs_names, toy["protein"].obs_names
    only_rna, only_protein = rna.difference(protein), protein.difference(rna)
    model = jm.tl.train(toy, max_steps=5)
    alone = jm.tl.complete(toy, model)
    jm.pp.correspondence(toy, pairs=pd.DataFrame({"a": only_rna, "b": only_protein}))
    paired = jm.tl.complete(toy, model)
    assert not np.allclose(alone["protein"][only_rna].X, paired["protein"][only_rna].X)


def test_whole_numbers_are_not_cut_off(toy):
    toy["rna"].X = toy["rna"].X.astype(int)
    real = toy.copy()
    real["rna"].X = real["rna"].X.astype(np.float32)
    model = jm.tl.train(toy, max_steps=20)
    whole, expected = (jm.tl.complete(mdata, model)["rna"] for mdata in (toy, real))
    imputed = expected.obs["jamie_imputed"].to_numpy()
    a, b = dense(whole[imputed].X), dense(expected[imputed].X)
    assert abs(a - b).max() <= 0.51
    assert abs(a.mean() - b.mean()) < 0.05 * b.mean()


def test_other_features_are_refused(trained):
    mdata, model = trained
    other = MuData({"rna": mdata["rna"][:, ::-1].copy(), "protein": mdata["protein"].copy()})
    with pytest.raises(ValueError, match=r"mdata\['rna'\].*to be those of the model, in its order"):
        jm.tl.complete(other, model)


def test_a_cell_of_one_source_is_completed_as_it_is_imputed(trained):
    mdata, model = trained
    whole = jm.tl.complete(mdata, model)
    lonely = whole["protein"].obs_names[whole["protein"].obs["jamie_imputed"]]
    position = mdata["rna"].obs_names.get_indexer(lonely)
    assert len(lonely)
    assert model.network_.kernel_mix("rna", "protein") is not None
    imputed = model.impute(mdata, source="rna", target="protein")[position]
    expected = model.preparations_["protein"].normaliser.to_input_units(imputed)
    if np.issubdtype(mdata["protein"].X.dtype, np.integer):
        expected = np.rint(expected)
    assert_allclose(dense(whole["protein"][lonely].X), expected, rtol=1e-4, atol=1e-5)

"""Latents of the cells that were trained on, and of new ones with other features."""

from __future__ import annotations

import copy

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal

import jamie as jm


@pytest.fixture
def new():
    return jm.datasets.toy(rng=1)


def without(mdata, name, features):
    """The same cells with only some features of one modality."""
    return MuData({m: (a[:, features] if m == name else a).copy() for m, a in mdata.mod.items()})


def test_training_cells_get_the_latents_of_the_training(trained):
    mdata, model = trained
    before = {name: mdata[name].obsm["X_jamie"].copy() for name in mdata.mod} | {None: mdata.obsm["X_jamie"].copy()}
    assert jm.tl.embed(mdata, model) is None
    for name in mdata.mod:
        assert_array_equal(mdata[name].obsm["X_jamie"], before[name])
    assert_array_equal(mdata.obsm["X_jamie"], before[None])


def test_the_latent_is_the_mean_of_the_encoder(trained):
    mdata, model = trained
    preparation = model.preparations_["protein"]
    inputs = preparation.transform(mdata["protein"].X) / model.divisors_["protein"]
    with torch.no_grad():
        mean, _ = model.network_.encode("protein", torch.from_numpy(inputs.astype(np.float32)))
    assert_allclose(mdata["protein"].obsm["X_jamie"], mean.numpy(), atol=1e-5)


@pytest.mark.parametrize("confidence", [1.0, 0.5])
def test_the_joint_latent_is_equation_3(trained, confidence):
    mdata, model = trained
    model = copy.deepcopy(model)
    model.network_.members[0].log_weights.data = torch.tensor([0.3, -0.9])
    rna, protein = mdata["rna"].obs_names, mdata["protein"].obs_names
    both, only_rna, only_protein = rna.intersection(protein), rna.difference(protein), protein.difference(rna)
    if confidence < 1:
        jm.pp.correspondence(mdata, pairs=pd.DataFrame({"a": both, "b": both, "c": confidence}))
    jm.tl.embed(mdata, model)
    l_rna, l_protein = (pd.DataFrame(mdata[name].obsm["X_jamie"], index=mdata[name].obs_names) for name in mdata.mod)
    joint = pd.DataFrame(mdata.obsm["X_jamie"], index=mdata.obs_names)
    delta = np.exp(-0.9) / np.exp(0.3)
    m_rna = (l_rna.loc[both] + delta * confidence * l_protein.loc[both]) / (1 + delta * confidence)
    m_protein = (l_protein.loc[both] + confidence / delta * l_rna.loc[both]) / (1 + confidence / delta)
    assert_allclose(joint.loc[both], (m_rna + m_protein) / 2, rtol=1e-4, atol=1e-5)
    assert_allclose(joint.loc[only_rna], l_rna.loc[only_rna], rtol=1e-5)
    assert_allclose(joint.loc[only_protein], l_protein.loc[only_protein], rtol=1e-5)


def test_cells_are_embedded_one_by_one(trained, new):
    _, model = trained
    jm.tl.embed(new, model)
    part = MuData({"rna": new["rna"][[9, 2, 30]].copy(), "protein": new["protein"][:2].copy()})
    jm.tl.embed(part, model)
    assert_allclose(part["rna"].obsm["X_jamie"], new["rna"].obsm["X_jamie"][[9, 2, 30]], atol=1e-5)


def test_features_are_matched_by_name_and_extra_ones_ignored(trained, new, capsys):
    _, model = trained
    jm.tl.embed(new, model)
    permuted = without(new, "rna", new["rna"].var_names[::-1])
    extra = ad.AnnData(new["rna"].X[:, :5] + new["rna"].X[:, 5:10], obs=new["rna"].obs.copy())
    extra.var_names = [f"other{i}" for i in range(5)]
    wide = ad.concat([extra, new["rna"]], axis=1, merge="same")
    capsys.readouterr()
    for other in (permuted, MuData({"rna": wide, "protein": new["protein"].copy()})):
        jm.tl.embed(other, model)
        assert_allclose(other["rna"].obsm["X_jamie"], new["rna"].obsm["X_jamie"], atol=1e-5)
    assert "missing" not in capsys.readouterr().err


def test_features_may_be_missing_and_it_is_logged(trained, new, capsys):
    _, model = trained
    jm.tl.embed(new, model)
    some = without(new, "rna", new["rna"].var_names[12:])
    jm.tl.embed(some, model)
    error = capsys.readouterr().err
    assert "12 of 40 features of 'rna' are missing, first 'gene1': the others tell" in error
    a, b = some["rna"].obsm["X_jamie"], new["rna"].obsm["X_jamie"]
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.7


def test_too_few_features_are_refused_with_the_numbers(trained, new):
    _, model = trained
    some = without(new, "rna", new["rna"].var_names[37:])
    with pytest.raises(ValueError, match=r"at least 10% of the 40 features of 'rna'.*found 3 .*missing first 'gene1'"):
        jm.tl.embed(some, model)
    assert "X_jamie" not in some["rna"].obsm
    assert "X_jamie" not in some["protein"].obsm


def test_one_modality_is_enough(trained, new):
    _, model = trained
    only = MuData({"protein": new["protein"].copy()})
    jm.tl.embed(only, model)
    jm.tl.embed(new, model)
    assert_array_equal(only["protein"].obsm["X_jamie"], new["protein"].obsm["X_jamie"])
    assert_allclose(only.obsm["X_jamie"], only["protein"].obsm["X_jamie"], rtol=1e-5)


def test_a_modality_that_the_model_does_not_know_is_left_alone(trained, new):
    _, model = trained
    other = MuData({"protein": new["protein"].copy(), "atac": new["rna"].copy()})
    jm.tl.embed(other, model)
    assert "X_jamie" not in other["atac"].obsm
    alone = ~other.obs_names.isin(other["protein"].obs_names)
    assert np.isnan(other.obsm["X_jamie"][alone]).all()
    assert np.isfinite(other.obsm["X_jamie"][~alone]).all()


def test_no_modality_of_the_model_is_refused(trained, new):
    _, model = trained
    with pytest.raises(
        KeyError, match=r"modality of the model, \['rna', 'protein'\].*found \['atac'\].*MuData\(\{'rna'"
    ):
        jm.tl.embed(MuData({"atac": new["rna"].copy()}), model)


def test_a_copy_leaves_the_original(trained, new):
    _, model = trained
    copied = jm.tl.embed(new, model, key_added="mine", copy=True)
    assert "X_mine" in copied.obsm
    assert "X_mine" in copied["rna"].obsm
    assert not new["rna"].obsm
    assert "X_mine" not in new.obsm


def test_latents_of_another_model_do_not_stay_beside_those_of_this_one(capsys):
    mdata = jm.datasets.toy()
    third = mdata["protein"].copy()
    third.var_names = [f"x{name}" for name in third.var_names]
    mdata = MuData({**mdata.mod, "third": third})
    jm.tl.train(mdata, modalities=["rna", "protein"], max_steps=2)
    jm.tl.train(mdata, modalities=["rna", "third"], max_steps=2)
    assert "X_jamie" not in mdata["protein"].obsm
    assert "jamie_role" not in mdata["protein"].obs
    assert "latents of 'protein' were of a model without those of 'rna' and 'third'" in capsys.readouterr().err
    with pytest.raises(KeyError, match=r"expected latents in `mdata\['protein'\]"):
        jm.tl.match(mdata, source="rna", target="protein")
    jm.tl.train(mdata, modalities=["rna", "protein"], max_steps=2, key_added="second")
    assert "X_jamie" in mdata["third"].obsm

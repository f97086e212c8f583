"""A model of several networks: what it gives is of all of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

import jamie as jm
from jamie.attribution._contributions import PreparedCells, contributions, feature_readout, outputs
from jamie.attribution._explained import explained_latents


@pytest.fixture(scope="module")
def trained():
    mdata = jm.datasets.toy()
    jm.pp.split(mdata)
    return mdata, jm.tl.train(mdata, n_networks=3, n_latent=5, max_steps=30, rng=0)


def test_latents_of_all_networks_are_embedded(trained):
    mdata, model = trained
    assert len(model.network_.members) == model.recipe_.n_networks == 3
    for name in mdata.mod:
        assert mdata[name].obsm["X_jamie"].shape == (mdata[name].n_obs, 15)
        inputs = model.open(mdata).inputs(name)
        assert_allclose(mdata[name].obsm["X_jamie"], model.encode(inputs, name), atol=1e-6)
    assert mdata.obsm["X_jamie"].shape == (mdata.n_obs, 15)


def test_networks_differ_and_what_is_imputed_is_their_mean(trained):
    mdata, model = trained
    inputs = model.open(mdata).inputs("rna")
    latent, decoded = model.encode(inputs, "rna"), []
    for i, network in enumerate(model.network_.members):
        part = torch.from_numpy(latent[:, 5 * i : 5 * i + 5])
        decoded.append(network.decode("protein", part).detach().numpy())
    assert min(abs(decoded[i] - decoded[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 0.01
    scores = np.mean(decoded, axis=0) * model.divisors_["protein"]
    expected = model.preparations_["protein"].inverse(scores)
    assert_allclose(model.decode(latent, "protein"), expected, rtol=1e-4, atol=1e-5)


def test_a_saved_model_is_the_same(trained, tmp_path):
    mdata, model = trained
    model.save(tmp_path / "three.jamie")
    again = jm.JAMIE.load(tmp_path / "three.jamie")
    assert again.n_networks == 3
    for name, latent in model.embed(mdata).items():
        assert_array_equal(again.embed(mdata)[name], latent)
    assert_array_equal(
        again.impute(mdata, source="rna", target="protein"), model.impute(mdata, source="rna", target="protein")
    )


@pytest.mark.parametrize("target", ["protein", None])
def test_what_features_give_adds_up(trained, target):
    mdata, model = trained
    readout = feature_readout(model, "protein") if target else explained_latents(15, None).readout
    inputs = model.open(mdata).inputs("rna")
    preparation = model.preparations_["rna"]
    scaled = preparation.scaled(model.open(mdata).matrix("rna")[:])
    cells, background = PreparedCells(inputs[:3], scaled[:3]), PreparedCells(inputs[10:20], scaled[10:20])
    f = outputs(model, "rna", target, inputs[:20]) @ readout.matrix.T + readout.offset
    for contribution in contributions(model, "rna", readout, cells, background):
        assert_allclose(contribution.explained, f[contribution.cell], rtol=1e-3, atol=1e-4)
        gained = contribution.values.sum(axis=0)
        assert_allclose(gained, contribution.explained - contribution.base, rtol=1e-3, atol=2e-4)


def test_the_explainer_of_the_shap_package_is_of_one_network(trained):
    mdata, model = trained
    with pytest.raises(ValueError, match=r"found .*several networks; pass\s+method='deeplift'"):
        jm.tl.explain(mdata.copy(), model, source="rna", target="protein", method="shap", n_cells=3)


def test_the_seed_decides_and_one_network_is_what_it_was():
    mdata = jm.datasets.toy()
    once, again, other = (jm.tl.train(mdata, n_networks=2, max_steps=10, rng=seed) for seed in (0, 0, 1))
    for a, b in zip(once.arrays(), again.arrays(), strict=True):
        assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(once.arrays(), other.arrays(), strict=True))
    alone, default = (jm.tl.train(mdata, max_steps=10, rng=0, **options) for options in ({"n_networks": 1}, {}))
    for a, b in zip(alone.arrays(), default.arrays(), strict=True):
        assert_array_equal(a, b)


def test_everything_else_takes_it_too(trained):
    mdata, model = trained
    mdata = mdata.copy()
    table = jm.tl.evaluate(mdata, model, labels="cell_type", rng=0)
    assert np.isfinite(table.query("method == 'jamie'")["correlation"]).all()
    jm.tl.impute(mdata, model, source="rna", target="protein")
    jm.tl.reconstruct(mdata, model, modality="protein")
    jm.tl.knockout(mdata, model, source="rna", target="protein", features=["protein1"])
    jm.tl.match(mdata, source="rna", target="protein")
    assert "jamie_match_rna_protein" in mdata.obsp
    completed = jm.tl.complete(mdata, model)
    assert completed.obsm["X_jamie"].shape[1] == 15


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "three"])
def test_a_number_of_networks_that_is_none_is_refused(value):
    with pytest.raises(
        (ValueError, TypeError), match=r"expected `n_networks` of a recipe to be a whole number of at le"
    ):
        jm.tl.train(jm.datasets.toy(), n_networks=value)


def test_batch_norm_is_not_trained_side_by_side():
    with pytest.raises(
        ValueError, match=r"expected n_networks=1 for recipe 'paper', .* found 2; take recipe='default'"
    ):
        jm.tl.train(jm.datasets.toy(), recipe="paper", n_networks=2)


def test_what_it_is_says_how_many(trained):
    assert "3 networks of 5 latent dimensions" in repr(trained[1])
    assert "networks of" not in repr(jm.tl.train(jm.datasets.toy(), max_steps=2))


def test_batches_without_a_modality_train_several_networks():
    mdata = jm.datasets.toy(n_cells=100, share_paired=0.3)
    recipe = replace(jm.recipes["default"], least_paired=0.0, batch_size=1, infer_below=0.0, max_steps=30, cycles=1)
    model = jm.tl.train(mdata, recipe=replace(recipe, n_networks=2))
    assert all(np.isfinite(latent).all() for latent in model.embed(mdata).values())

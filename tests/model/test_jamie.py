"""The estimator: scikit-learn's contract, and arrays that agree with what the functions write."""

from __future__ import annotations

import pickle
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

import jamie as jm


def test_parameters_are_kept_as_given_and_cloned():
    model = jm.JAMIE("paper", n_latent=7, dropout=0.2, batch_size=50, max_steps=3, device="cpu", rng=5)
    assert model.get_params() == {
        "recipe": "paper",
        "n_latent": 7,
        "n_networks": None,
        "dropout": 0.2,
        "batch_size": 50,
        "max_steps": 3,
        "batch_key": None,
        "covariates": (),
        "device": "cpu",
        "rng": 5,
    }
    assert clone(model).get_params() == model.get_params()
    assert clone(model).set_params(n_latent=9).n_latent == 9
    assert [name for name in vars(model) if name.endswith("_")] == []


def test_fit_learns_attributes_that_end_in_an_underscore(toy):
    model = jm.JAMIE(max_steps=2, n_latent=6)
    parameters = model.get_params()
    with pytest.raises(NotFittedError):
        check_is_fitted(model)
    assert model.fit(toy) is model
    check_is_fitted(model)
    assert model.get_params() == parameters
    assert {"recipe_", "preparations_", "history_", "summary_", "network_"} <= set(vars(model))
    assert not hasattr(clone(model), "network_")
    assert not toy.uns
    assert not any(adata.obsm for adata in toy.mod.values())


def test_no_data_are_kept_but_inputs_of_the_kernel_ranks_of_some_cells_and_digests(trained):
    mdata, model = trained
    both = mdata["rna"].obs_names.intersection(mdata["protein"].obs_names)
    n_pairs = int((mdata.obs["jamie_split"].reindex(both) == "train").sum())
    for kernel_mix in model.network_.kernel_mixes.values():
        assert [len(x) for x in (kernel_mix.landmarks, kernel_mix.coefficients)] == [n_pairs, n_pairs]
    model = deepcopy(model)
    model.network_.kernel_mixes.clear()
    for calibration in model.calibrations_.values():
        assert calibration.ranks.dtype == np.uint8
        assert len(calibration.ranks) <= 200
    model.calibrations_ = {pair: replace(found, ranks=None) for pair, found in model.calibrations_.items()}
    digests = [part for seen in model.seen_.values() for part in (seen.names, seen.values)]
    assert all(part.dtype == np.uint32 for part in digests)
    model.seen_ = {}
    kept = []

    def walk(value, seen):
        if id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, (np.ndarray, torch.Tensor, pd.DataFrame)) or sparse.issparse(value):
            kept.append(tuple(value.shape))
        elif isinstance(value, dict):
            for item in value.values():
                walk(item, seen)
        elif isinstance(value, (list, tuple)):
            for item in value:
                walk(item, seen)
        elif hasattr(value, "__dict__"):
            walk(vars(value), seen)

    walk(vars(model), set())
    assert model.preparations_["rna"].loadings.shape in kept
    cells = {adata.n_obs for adata in mdata.mod.values()} | {mdata.n_obs}
    cells |= {n_pairs, int((mdata.obs["jamie_split"] == "train").sum()), model.preparations_["rna"].n_fitted}
    assert not [shape for shape in kept if set(shape) & cells]
    assert not isinstance(getattr(model, "mdata", None), MuData)
    assert pickle.dumps(model).find(mdata.obs_names[17].encode() + b"\x94") < 0


def test_arrays_agree_with_the_slots(trained):
    mdata, model = trained
    latents = model.embed(mdata)
    assert list(latents) == ["rna", "protein"]
    for name, latent in latents.items():
        assert_array_equal(latent, mdata[name].obsm["X_jamie"])
    jm.tl.impute(mdata, model, source="protein", target="rna")
    assert_array_equal(model.impute(mdata, source="protein", target="rna"), mdata["protein"].obsm["jamie_imputed_rna"])
    jm.tl.reconstruct(mdata, model, modality="rna")
    assert_array_equal(model.reconstruct(mdata, modality="rna"), mdata["rna"].layers["jamie_reconstructed"])


def test_imputation_is_the_decoder_on_the_sources_latent(trained):
    mdata, model = trained
    latent = model.embed(mdata)["rna"]
    assert_allclose(model.reconstruct(mdata, modality="rna"), model.decode(latent, "rna"), rtol=1e-6)
    model = deepcopy(model)
    model.network_.kernel_mixes.clear()
    digests = [part for seen in model.seen_.values() for part in (seen.names, seen.values)]
    assert all(part.dtype == np.uint32 for part in digests)
    model.seen_ = {}
    full = model.decode(latent, "protein")
    assert_allclose(model.impute(mdata, source="rna", target="protein"), full, rtol=1e-6)


def test_some_features_are_imputed_as_with_all(trained):
    mdata, model = trained
    full = model.impute(mdata, source="rna", target="protein")
    some = model.impute(mdata, source="rna", target="protein", features=["protein5", "protein1"])
    assert_allclose(some, full[:, [4, 0]], rtol=1e-5)


def test_blocks_of_rows_change_nothing(trained, monkeypatch):
    from jamie.model import _device

    mdata, model = trained
    whole = model.impute(mdata, source="rna", target="protein")
    monkeypatch.setattr(_device, "ROWS", 7)
    assert_allclose(model.impute(mdata, source="rna", target="protein"), whole, rtol=1e-4, atol=1e-5)


def test_aggregation_is_equation_3_on_arrays(trained):
    _, model = trained
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(n, 32)).astype(np.float32) for n in (6, 4))
    f = rng.random((6, 4)) * (rng.random((6, 4)) < 0.4)
    found = model.aggregate({"rna": x, "protein": y}, {("rna", "protein"): sparse.csr_matrix(f)})
    log_weights = model.network_.members[0].log_weights.detach().numpy()
    delta = np.exp(log_weights[1] - log_weights[0])
    assert_allclose(found["rna"], (x + delta * f @ y) / (1 + delta * f.sum(1, keepdims=True)), rtol=1e-4, atol=1e-5)
    expected = (y + f.T @ x / delta) / (1 + f.sum(0)[:, None] / delta)
    assert_allclose(found["protein"], expected, rtol=1e-4, atol=1e-5)


def test_a_recipe_object_is_taken(toy):
    from dataclasses import replace

    from jamie.train import RECIPES

    recipe = replace(RECIPES["default"], name="mine", hidden=(8,), max_steps=2)
    model = jm.JAMIE(recipe).fit(toy)
    assert model.recipe_ == recipe
    assert clone(model).recipe == recipe
    widths = {m.out_features for m in model.network_.members[0].encoders[0].trunk if isinstance(m, torch.nn.Linear)}
    assert widths == {8}


def test_an_unfitted_model_says_so(toy):
    with pytest.raises((NotFittedError, ValueError), match="fit"):
        jm.JAMIE().embed(toy)

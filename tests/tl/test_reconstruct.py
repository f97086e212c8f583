"""Denoised values: the model's own round trip of a modality."""

from __future__ import annotations

import numpy as np
import pytest
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal

import jamie as jm


def test_values_are_decoded_from_the_own_latent(trained):
    mdata, model = trained
    assert jm.tl.reconstruct(mdata, model, modality="rna") is None
    layer = mdata["rna"].layers["jamie_reconstructed"]
    assert layer.dtype == np.float32
    assert_allclose(layer, model.decode(mdata["rna"].obsm["X_jamie"], "rna"), rtol=1e-6)
    x = mdata["rna"].X.toarray()
    log = np.log1p(x / x.sum(1, keepdims=True) * np.median(x.sum(1)))
    assert np.mean([np.corrcoef(log[:, j], layer[:, j])[0, 1] for j in range(40)]) > 0.4


def test_features_are_matched_by_name_and_unknown_ones_nan(trained):
    mdata, model = trained
    jm.tl.reconstruct(mdata, model, modality="protein")
    other = mdata["protein"][:, ::-1].copy()
    other.var_names = ["unknown", *other.var_names[1:]]
    other = MuData({"protein": other})
    jm.tl.reconstruct(other, model, modality="protein")
    layer = other["protein"].layers["jamie_reconstructed"]
    assert np.isnan(layer[:, 0]).all()
    expected = mdata["protein"].layers["jamie_reconstructed"][:, ::-1][:, 1:]
    assert np.corrcoef(layer[:, 1:].ravel(), expected.ravel())[0, 1] > 0.9


def test_a_copy_and_a_prefix(trained):
    mdata, model = trained
    copied = jm.tl.reconstruct(mdata, model, modality="rna", key_added="mine", copy=True)
    assert "mine_reconstructed" in copied["rna"].layers
    assert not mdata["rna"].layers
    jm.tl.reconstruct(mdata, model, modality="rna")
    assert_array_equal(copied["rna"].layers["mine_reconstructed"], mdata["rna"].layers["jamie_reconstructed"])


def test_an_unknown_modality_gets_the_close_ones_under_the_name_of_the_argument(trained):
    mdata, model = trained
    with pytest.raises(KeyError, match=r"`modality` to be one of .*did you mean 'rna'"):
        jm.tl.reconstruct(mdata, model, modality="rnaa")

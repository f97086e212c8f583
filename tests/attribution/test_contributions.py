"""Contributions of features: they sum to what is explained, exactly, whatever the container, kind and readout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mudata import MuData
from numpy.testing import assert_allclose
from scipy import sparse

import jamie as jm
from jamie.attribution import _contributions
from jamie.attribution._contributions import PreparedCells, Readout, _Outwards, contributions, feature_readout


@pytest.fixture(scope="module")
def explained():
    """A model of genes, regions and proteins, and a reader of cells by position."""
    mdata = jm.datasets.toy(share_paired=1.0)
    regions = mdata["rna"].copy()
    regions.X = (regions.X > 1).astype(np.float32)
    regions.var_names = [f"chr1:{100 * j}-{100 * j + 50}" for j in range(regions.n_vars)]
    mdata = MuData({**mdata.mod, "atac": regions})
    model = jm.tl.train(mdata, max_steps=60)

    def cells(source, rows):
        preparation = model.preparations_[source]
        scaled = preparation.scaled(model.open(mdata).matrix(source)[:])
        return PreparedCells(model.open(mdata).inputs(source)[rows], scaled[rows])

    return mdata, model, cells


def gathered(model, source, readout, cells, background):
    each = list(contributions(model, source, readout, cells, background))
    assert [one.cell for one in each] == list(range(len(cells.inputs)))
    return (np.stack([getattr(one, name) for one in each]) for name in ("values", "explained", "base"))


@pytest.mark.parametrize(
    ("source", "target"), [("rna", "protein"), ("protein", "rna"), ("rna", "atac"), ("atac", "rna"), ("rna", "rna")]
)
def test_contributions_sum_to_the_imputed_value(explained, source, target):
    mdata, model, cells = explained
    values, total, base = gathered(
        model, source, feature_readout(model, target), cells(source, slice(0, 9)), cells(source, slice(20, 32))
    )
    imputed = model.impute(mdata, source=source, target=target)
    spread = imputed.std(axis=0).max()
    assert_allclose(total, imputed[:9], atol=1e-3 * spread)
    assert_allclose(base, np.tile(imputed[20:32].mean(0), (9, 1)), atol=1e-3 * spread)
    assert_allclose(values.sum(1) + base, total, atol=1e-4 * spread)


def test_latents_are_explained_too(explained):
    mdata, model, cells = explained
    readout = Readout(None, np.eye(model.recipe_.n_latent)[:4], np.zeros(4))
    values, total, base = gathered(model, "rna", readout, cells("rna", slice(0, 5)), cells("rna", slice(20, 30)))
    latent = model.embed(mdata)["rna"][:, :4]
    assert_allclose(total, latent[:5], atol=1e-5)
    assert_allclose(values.sum(1) + base, latent[:5], atol=1e-5)


def test_sparse_and_dense_features_get_the_same(explained):
    _, model, cells = explained
    readout = feature_readout(model, "protein", np.array([3, 0]))
    some, background = cells("rna", slice(0, 4)), cells("rna", slice(10, 20))
    assert sparse.issparse(some.scaled)
    expected, *_ = gathered(model, "rna", readout, some, background)
    dense = (PreparedCells(one.inputs, one.scaled.toarray()) for one in (some, background))
    values, *_ = gathered(model, "rna", readout, *dense)
    assert_allclose(values, expected, atol=1e-6)


def test_blocks_of_cells_do_not_change_the_result(explained, monkeypatch):
    _, model, cells = explained
    readout, background = feature_readout(model, "protein"), cells("rna", slice(10, 20))
    expected, *_ = gathered(model, "rna", readout, cells("rna", slice(0, 7)), background)
    monkeypatch.setattr(_contributions, "BUDGET", 3 * 4 * 10 * len(readout.matrix[0]) * _contributions.WIDEST)
    values, *_ = gathered(model, "rna", readout, cells("rna", slice(0, 7)), background)
    assert_allclose(values, expected, atol=1e-6)


def test_features_in_feature_space_are_as_shap_explains_them():
    """The whole path from standardised features to a protein, walked by shap, on the paper's network."""
    shap = pytest.importorskip("shap")
    mdata = jm.datasets.toy(share_paired=1.0)
    model = jm.tl.train(mdata, recipe="paper", max_steps=30)
    source, target = model.preparations_["rna"], model.preparations_["protein"]
    network = model.network_.double().members[0]
    encoder, decoder = network.encoders[0], network.decoders[1]
    first = torch.nn.Linear(*source.loadings.shape).double()
    first.weight.data = torch.from_numpy(source.loadings.T / model.divisors_["rna"]).double()
    first.bias.data[:] = 0
    last = torch.nn.Linear(*target.loadings.shape[::-1]).double()
    last.weight.data = torch.from_numpy(target.loadings * target.sd[:, None] * model.divisors_["protein"]).double()
    last.bias.data = torch.from_numpy(target.mean).double()
    path = torch.nn.Sequential(first, *encoder.trunk, encoder.mean, *decoder.trunk, decoder.output, last)
    scaled = source.scaled(model.open(mdata).matrix("rna")[:]).toarray() - source.mean / source.sd
    z = torch.from_numpy(scaled).double()
    expected = shap.DeepExplainer(path, z[20:30]).shap_values(z[:5], check_additivity=False)
    model.network_.float()
    inputs = model.open(mdata).inputs("rna")
    values, *_ = gathered(
        model,
        "rna",
        feature_readout(model, "protein"),
        PreparedCells(inputs[:5], scaled[:5]),
        PreparedCells(inputs[20:30], scaled[20:30]),
    )
    assert_allclose(values, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("n_filled", [0, 2])
def test_background_cells_that_have_nothing_are_as_zeros(n_filled):
    rng = np.random.default_rng(0)
    loadings, multipliers = rng.normal(size=(6, 3)), rng.normal(size=(4, 2, 3))
    background, cell = np.zeros((4, 6)), rng.normal(size=(1, 6))
    background[:n_filled, 1:3] = 1
    expected = _Outwards(loadings, background)(multipliers, cell)
    found = _Outwards(loadings, sparse.csr_matrix(background))(multipliers, sparse.csr_matrix(cell))
    assert_allclose(found, expected, atol=1e-6)

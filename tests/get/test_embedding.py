"""Coordinates of all cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal

import jamie as jm


@pytest.fixture
def mdata(trained):
    return trained[0]


def test_a_row_for_each_cell_of_each_modality(mdata):
    cells = jm.get.embedding(mdata, color="cell_type", basis="pca")
    assert list(cells) == ["modality", "x", "y", "color"]
    for name, part in cells.groupby("modality", observed=True):
        assert_array_equal(part.index, mdata[name].obs_names)
        assert_array_equal(part["color"].astype(str), mdata[name].obs["cell_type"].astype(str))
    stacked = np.concatenate([adata.obsm["X_jamie"] for adata in mdata.mod.values()])
    centred = stacked - stacked.mean(0)
    scores = np.linalg.svd(centred, full_matrices=False)
    expected = (scores.U * scores.S)[:, :2]
    assert_allclose(np.abs(cells[["x", "y"]]), np.abs(expected), rtol=1e-2, atol=1e-3)


def test_part_of_the_cells_by_the_seed(mdata):
    drawn = [jm.get.embedding(mdata, basis="pca", n_cells=30, rng=seed) for seed in (0, 0, 1)]
    assert [len(cells) for cells in drawn] == [60, 60, 60]
    pd.testing.assert_frame_equal(drawn[0], drawn[1])
    assert set(drawn[0].index) != set(drawn[2].index)
    assert list(drawn[0]) == ["modality", "x", "y"]


def test_slots_of_unequal_widths_have_planes_of_their_own(mdata):
    jm.pp.prepare(mdata, n_comps=8)
    mdata["rna"].obsm["X_jamie_input"] = np.pad(mdata["rna"].obsm["X_jamie_input"], ((0, 0), (0, 3)))
    cells = jm.get.embedding(mdata, basis="pca", use_rep="X_jamie_input")
    assert_allclose(cells.groupby("modality", observed=True)[["x", "y"]].mean(), 0, atol=1e-3)


def test_a_column_of_one_modality_colours_the_cells_of_all(mdata, without_pull):
    mdata["rna"].obs["own"] = pd.Categorical(np.where(np.arange(mdata["rna"].n_obs) % 2, "odd", "even"))
    with without_pull():
        fresh = MuData({name: adata.copy() for name, adata in mdata.mod.items()})
    cells = jm.get.embedding(fresh, color="own", basis="pca")
    assert list(cells["color"].cat.categories) == ["even", "odd"]
    of_rna, of_protein = (cells[cells["modality"] == name]["color"] for name in ("rna", "protein"))
    assert of_rna.notna().all()
    both = of_protein.index.intersection(of_rna.index)
    assert_array_equal(of_protein[both].astype(str), of_rna[both].astype(str))
    assert of_protein[of_protein.index.difference(of_rna.index)].isna().all()


@pytest.mark.parametrize("names", [("x", "y"), ("modality", "color"), ("a column", "a/b")])
def test_columns_of_any_name_may_be_drawn(mdata, names):
    for name in names:
        mdata.obs[name] = mdata.obs["cell_type"]
        cells = jm.get.embedding(mdata, color=name, basis="pca")
        assert list(cells) == ["modality", "x", "y", "color"]
        assert set(cells["color"]) == {"type A", "type B", "type C"}


def test_modalities_with_other_categories_and_numbers_are_joined(mdata):
    n_rna, n_protein = (mdata[name].n_obs for name in ("rna", "protein"))
    mdata["rna"].obs["leiden"] = pd.Categorical(["1"] * n_rna, categories=["0", "1"])
    mdata["protein"].obs["leiden"] = pd.Categorical(["2"] * n_protein, categories=["2", "0"])
    mdata["rna"].obs["n"], mdata["protein"].obs["n"] = 3, np.nan
    assert list(jm.get.embedding(mdata, color="leiden", basis="pca")["color"].cat.categories) == ["0", "1", "2"]
    numbers = jm.get.embedding(mdata, color="n", basis="pca")["color"]
    assert numbers.dtype == float
    assert numbers.notna().sum() == n_rna


def test_what_is_not_there_is_said(mdata):
    with pytest.raises(KeyError, match=r"`color`.*did you mean 'cell_type' of `mdata\.obs` and"):
        jm.get.embedding(mdata, color="celltype")
    with pytest.raises(KeyError, match=r"X_mine.*call jm\.tl\.train\(mdata\) or jm\.tl\.embed"):
        jm.get.embedding(mdata, key_added="mine")
    with pytest.raises(ValueError, match="`n_cells` of at least 1, found 0"):
        jm.get.embedding(mdata, n_cells=0)


def test_many_cells_are_laid_out_by_a_search_of_our_own(mdata, monkeypatch):
    """Of few cells it is the search of scanpy, which finds the same ones."""
    few = jm.get.embedding(mdata, n_cells=100)
    monkeypatch.setattr("jamie.get._embedding.MANY", 0)
    many = jm.get.embedding(mdata, n_cells=100)
    near = [
        np.argsort(np.linalg.norm(xy[:, None] - xy[None], axis=2), axis=1)[:, 1:11]
        for xy in (cells[["x", "y"]].to_numpy() for cells in (few, many))
    ]
    shared = np.mean([len(set(a) & set(b)) for a, b in zip(*near, strict=True)])
    assert shared > 7


def test_torch_has_as_many_threads_as_before(mdata):
    """UMAP is compiled by numba, which starts threads of OpenMP, and torch takes their number for its own."""
    before = torch.get_num_threads()
    jm.get.embedding(mdata, n_cells=100)
    assert torch.get_num_threads() == before

"""The simulated Multiome: coordinates, planted links, and signal where it was planted."""

from __future__ import annotations

import mudata as md
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from jamie.datasets import multiome

SIZE = {"n_cells": 800, "n_genes": 60, "n_peaks": 400}


@pytest.fixture(scope="module", params=[0, 1])
def mdata(request):
    return multiome(**SIZE, rng=request.param)


def correlations(mdata):
    """Of every region with every gene, after normalisation by depth."""
    genes = mdata["rna"].X.toarray()
    genes = np.log1p(genes / genes.sum(1, keepdims=True) * np.median(genes.sum(1)))
    regions = mdata["atac"][mdata["rna"].obs_names].X.toarray()
    z, x = ((side - side.mean(0)) / np.maximum(side.std(0), 1e-9) for side in (regions, genes))
    return pd.DataFrame(z.T @ x / len(x), index=mdata["atac"].var_names, columns=mdata["rna"].var_names)


def test_matrices_are_sparse_counts_and_open_or_not(mdata):
    assert (mdata["rna"].shape, mdata["atac"].shape) == ((800, 60), (800, 400))
    for adata in mdata.mod.values():
        assert sparse.issparse(adata.X)
        assert adata.X.dtype == np.float32
        assert_array_equal(adata.X.data, np.round(adata.X.data))
    assert set(mdata["atac"].X.data) == {1}
    assert 0.05 < mdata["atac"].X.mean() < 0.15
    counts = mdata["rna"].X.toarray()
    assert (counts.var(0) > counts.mean(0)).mean() > 0.95  # overdispersed


def test_cells_agree_by_name_and_not_by_row(mdata):
    rna, atac = mdata["rna"], mdata["atac"]
    assert set(rna.obs_names) == set(atac.obs_names)
    assert (rna.obs_names == atac.obs_names).mean() < 0.05
    for column in ("cell_type", "batch"):
        assert_array_equal(rna.obs[column].reindex(atac.obs_names), atac.obs[column])
        assert_array_equal(mdata.obs[column].reindex(atac.obs_names), atac.obs[column])
    depth = {name: np.asarray(mdata[name].X.sum(1)).ravel() for name in mdata.mod}
    assert np.corrcoef(depth["rna"][atac.obs_names.map(rna.obs_names.get_loc)], depth["atac"])[0, 1] > 0.2


def test_names_are_unique_and_say_where_regions_lie(mdata):
    var = mdata["atac"].var
    assert var.index.is_unique
    assert [f"{c}:{a}-{b}" for c, a, b in zip(var["chrom"], var["start"], var["end"], strict=True)] == list(var.index)
    assert (var["end"] - var["start"] == 500).all()
    for _, of_one in var.groupby("chrom"):
        assert of_one["start"].is_monotonic_increasing


def test_links_have_the_distances_of_their_coordinates(mdata):
    links, genes, regions = mdata.uns["true_links"], mdata["rna"].var, mdata["atac"].var
    assert links["gene"].value_counts().eq(3).all()
    assert len(links) == 3 * 60
    gene, region = genes.loc[links["gene"]], regions.loc[links["region"]]
    assert_array_equal(gene["chrom"], region["chrom"])
    forward = (gene["strand"] == "+").to_numpy()
    tss = np.where(forward, gene["start"], gene["end"])
    middle = (region["start"] + region["end"]).to_numpy() / 2
    assert_array_equal(links["distance"], np.where(forward, middle - tss, tss - middle))
    assert links["distance"].abs().between(90, 100_010).all()
    assert set(links["region"]) == set(regions.index[regions["role"] == "driver"])
    assert 0 < (links["effect"] < 0).mean() < 0.25


def test_drivers_stand_out_with_the_sign_of_their_effect_and_decoys_do_not(mdata):
    links, found = mdata.uns["true_links"], correlations(mdata)
    of_drivers = np.array([found.loc[r, g] for r, g in zip(links["region"], links["gene"], strict=True)])
    assert (np.sign(of_drivers) == np.sign(links["effect"])).mean() > 0.9
    roles = mdata["atac"].var["role"]
    of_decoys = found[roles.to_numpy() != "driver"].to_numpy()
    assert np.abs(of_drivers).mean() > 2.5 * np.abs(of_decoys).mean()


def test_decoys_lie_as_near_to_genes_as_drivers_do():
    mdata = multiome(n_cells=10, n_genes=300, n_peaks=1_800)
    var, genes = mdata["atac"].var, mdata["rna"].var
    tss = np.where(genes["strand"] == "+", genes["start"], genes["end"])
    middle = ((var["start"] + var["end"]) / 2).to_numpy()
    nearest = np.array(
        [np.abs(m - tss[(genes["chrom"] == c).to_numpy()]).min() for m, c in zip(middle, var["chrom"], strict=True)]
    )
    medians = pd.Series(nearest).groupby(var["role"].to_numpy()).median()
    assert medians.max() < 1.7 * medians.min()


def test_the_seed_decides_and_a_file_keeps_all(tmp_path):
    first, again, other = (multiome(n_cells=50, n_genes=10, n_peaks=40, rng=rng) for rng in (3, 3, 4))
    for name in ("rna", "atac"):
        assert_array_equal(first[name].X.toarray(), again[name].X.toarray())
        assert (first[name].X.toarray() != other[name].X.toarray()).any()
    first.write(tmp_path / "cells.h5mu")
    read = md.read_h5mu(tmp_path / "cells.h5mu")
    pd.testing.assert_frame_equal(
        read.uns["true_links"], again.uns["true_links"], check_dtype=False, check_index_type=False
    )
    assert read["rna"].var["start"].dtype.kind == "i"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_genes": 10, "n_peaks": 29}, "3 drivers of 10 genes each and 29 regions; pass n_peaks=30 or more"),
        ({"n_true": 0}, "expected a gene, a driver a gene"),
        ({"n_genes": 0}, "expected a gene, a driver a gene"),
        ({"window": 100}, "`window` over 100 and up to 5,000,000 bases, found 100"),
        ({"window": 10_000_000}, "found 10,000,000"),
        ({"n_cells": 5}, "`n_cells` of at least `n_types`=6"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        multiome(**arguments)

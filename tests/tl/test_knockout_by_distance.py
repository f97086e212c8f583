"""Figure 6a's comparison against knock-outs one by one."""

from __future__ import annotations

import mudata as md
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import jamie as jm


@pytest.fixture(scope="module")
def learned():
    mdata = jm.datasets.multiome(n_cells=400, n_genes=20, n_peaks=100)
    jm.pp.split(mdata)
    return mdata, jm.tl.train(mdata, max_steps=60)


def test_each_set_is_as_knocked_out_by_itself(learned, tmp_path):
    mdata, model = learned[0].copy(), learned[1]
    table = jm.tl.knockout_by_distance(mdata, model, genes="rna", regions="atac", distance=20_000)
    regions, genes = mdata["atac"].var, mdata["rna"].var
    middle = (regions["start"] + regions["end"]) / 2
    for gene in table["gene"].unique()[[0, 5]]:
        place = genes.loc[gene]
        tss = place["start"] if place["strand"] == "+" else place["end"]
        on = regions["chrom"] == place["chrom"]
        sets = {
            "near": list(regions.index[on & ((middle - tss).abs() <= 20_000)]),
            "chromosome": list(regions.index[on]),
            "genome": list(regions.index),
        }
        expected = jm.tl.knockout(mdata, model, source="atac", features=[gene], groups=sets, n_random=0)
        of_gene = table[table["gene"] == gene].set_index("set")
        assert of_gene.index.tolist() == ["none", "near", "chromosome", "genome", "random"]
        for name, members in sets.items():
            assert of_gene.loc[name, "n_regions"] == len(members)
            assert_allclose(of_gene.loc[name, "correlation"], expected.loc[name, "value"], atol=1e-4)
        baseline = mdata["atac"].uns["jamie_knockout_groups_correlation_rna"]["baseline"]
        assert_allclose(of_gene.loc["none", "correlation"], baseline, atol=1e-5)
        assert of_gene.loc["random", "n_regions"] == len(sets["near"])
        assert of_gene.loc["genome", "correlation"] == 0
    pd.testing.assert_frame_equal(mdata.uns["jamie_knockout_by_distance"], table)
    assert mdata.uns["jamie_knockout_by_distance"] is not table
    mdata.write(tmp_path / "cells.h5mu")
    assert len(md.read_h5mu(tmp_path / "cells.h5mu").uns["jamie_knockout_by_distance"]) == len(table)


def test_what_is_near_costs_more_than_as_much_at_random(learned):
    """Drivers lie within the window, random regions anywhere."""
    mdata, model = learned[0].copy(), learned[1]
    table = jm.tl.knockout_by_distance(mdata, model, genes="rna", regions="atac", distance=110_000)
    mean = table.groupby("set")["correlation"].mean()
    assert mean["none"] > mean["random"] > mean["near"] > mean["genome"]
    assert np.isfinite(table["correlation"]).all()


def test_genes_with_nothing_near_are_left_out_and_none_at_all_is_refused(learned):
    mdata, model = learned[0].copy(), learned[1]
    table = jm.tl.knockout_by_distance(
        mdata, model, genes="rna", regions="atac", features=["gene1", "gene2"], distance=110_000, n_random=0
    )
    assert set(table["gene"]) == {"gene1", "gene2"}
    assert set(table["set"]) == {"none", "near", "chromosome", "genome"}
    with pytest.raises(ValueError, match="a region of 'atac' within 1 bases of a gene, found none"):
        jm.tl.knockout_by_distance(mdata, model, genes="rna", regions="atac", distance=1)
    for distance, remedy in (("10kb", "pass distance=10_000"), (-1, "found -1"), (0.5, "found 0.5"), (None, "None")):
        with pytest.raises(ValueError, match=f"`distance` as a number of bases.*{remedy}"):
            jm.tl.knockout_by_distance(mdata, model, genes="rna", regions="atac", distance=distance)
    with pytest.raises(KeyError, match="did you mean 'atac'"):
        jm.tl.knockout_by_distance(mdata, model, genes="rna", regions="atacc")

"""Links against the definitions: SHAP values cell by cell, regions closed by hand, planted drivers."""

from __future__ import annotations

import mudata as md
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import jamie as jm
from jamie.data import Preparation
from jamie.metrics import feature_correlation
from jamie.tl import _links


@pytest.fixture(scope="module")
def learned():
    mdata = jm.datasets.multiome(n_cells=400, n_genes=20, n_peaks=100)
    jm.pp.split(mdata)
    return mdata, jm.tl.train(mdata, max_steps=100)


@pytest.fixture
def cells(learned):
    return learned[0].copy()


@pytest.fixture
def model(learned):
    return learned[1]


def test_shap_values_are_those_of_explain(cells, model):
    genes = ["gene3", "gene11"]
    table = jm.tl.links(cells, model, genes="rna", regions="atac", features=genes, n_background=20)
    train = (cells.obs["jamie_split"] == "train").sum()
    jm.tl.explain(
        cells, model, source="atac", target="rna", features=genes, groupby="jamie_split", group="train",
        n_background=20,
    )  # fmt: skip
    atac = cells["atac"]
    assert atac.uns["jamie_shap_rna"]["n_cells"] == train
    for gene in genes:
        values = pd.DataFrame(atac.layers[f"jamie_shap_rna_{gene}"], index=atac.obs_names, columns=atac.var_names)
        is_open = pd.DataFrame(atac.X.toarray() > 0, index=atac.obs_names, columns=atac.var_names)
        of_gene = table[table["gene"] == gene].set_index("region")
        explained = values.notna().all(axis=1)
        size = np.abs(values[explained]).mean()
        # backgrounds are drawn from the same cells, not the same ones
        assert np.corrcoef(of_gene["abs_shap"], size.reindex(of_gene.index))[0, 1] > 0.97
        where_open = values[explained].where(is_open[explained]).mean().fillna(0)
        assert np.corrcoef(of_gene["shap"], where_open.reindex(of_gene.index))[0, 1] > 0.97


def test_the_knockout_is_the_correlation_with_the_region_closed(cells, model):
    table = jm.tl.links(cells, model, genes="rna", regions="atac", features=["gene5"], n_background=5)
    names = cells.obs_names[cells.obs["jamie_split"] == "test"]
    at, partners = cells["atac"].obs_names.get_indexer(names), cells["rna"].obs_names.get_indexer(names)
    measured = model.preparations_["rna"].measured(cells["rna"].X)[partners][:, [4]].toarray()
    scaled = model.preparations_["atac"].scaled(cells["atac"].X)

    def correlation(region=None):
        z = scaled.tolil(copy=True)
        if region is not None:
            z[:, region] = 0
        inputs = model.preparations_["atac"].components(z.tocsr())
        return feature_correlation(measured, model.translate(inputs[at], "atac", "rna", np.array([4])))[0]

    baseline = correlation()
    for row in table.head(3).itertuples():
        lost = baseline - correlation(cells["atac"].var_names.get_loc(row.region))
        assert_allclose(row.knockout, lost, atol=1e-4)


def test_partial_is_the_correlation_with_what_is_left_of_the_gene(cells, model):
    table = jm.tl.links(cells, model, genes="rna", regions="atac", knockout=False, n_cells=5)
    atac, rna = cells["atac"], cells["rna"]
    order = rna.obs_names.get_indexer(atac.obs_names)
    left = model.preparations_["rna"].measured(rna.X)[order].toarray()
    left = pd.DataFrame(left - model.impute(cells, source="atac", target="rna"), columns=rna.var_names)
    scaled = pd.DataFrame(model.preparations_["atac"].scaled(atac.X).toarray(), columns=atac.var_names)
    for row in table.sample(20, random_state=0).itertuples():
        assert_allclose(row.partial, np.corrcoef(scaled[row.region], left[row.gene])[0, 1], atol=1e-4)


def test_the_window_and_the_distances_are_as_planted(cells, model):
    table = jm.tl.links(cells, model, genes="rna", regions="atac", window=20_000, knockout=False, n_cells=20)
    assert "knockout" not in table
    assert table["distance"].abs().max() <= 20_000
    planted = cells.uns["true_links"].query("distance.abs() <= 20_000")
    both = planted.merge(table, on=["region", "gene"], suffixes=("_true", ""))
    assert len(both) == len(planted)
    assert_array_equal(both["distance"], both["distance_true"])
    assert_array_equal(table["chrom"], cells["atac"].var.loc[table["region"], "chrom"])
    assert table["abs_shap"].is_monotonic_decreasing
    pd.testing.assert_frame_equal(cells.uns["jamie_links"], table)
    wide = jm.tl.links(cells, model, genes="rna", regions="atac", window=None, knockout=False, n_cells=20)
    of_chromosome = cells["atac"].var["chrom"].value_counts()
    assert len(wide) == cells["rna"].var["chrom"].map(of_chromosome).sum()


def test_drivers_rank_above_decoys(cells, model):
    table = jm.tl.links(cells, model, genes="rna", regions="atac", window=110_000, n_cells=100, n_background=20)
    is_planted = set(zip(cells.uns["true_links"]["region"], cells.uns["true_links"]["gene"], strict=True))
    is_driver = np.array([pair in is_planted for pair in zip(table["region"], table["gene"], strict=True)])
    assert 0 < is_driver.mean() < 0.9
    for score, apart in (("abs_shap", 0.1), ("knockout", 0.1), ("partial", 0.3)):
        ranks = table[score].abs().rank(pct=True)
        assert ranks[is_driver].mean() > ranks[~is_driver].mean() + apart
    merged = table.merge(cells.uns["true_links"], on=["region", "gene"])
    merged = merged.nlargest(20, "abs_shap")
    assert (np.sign(merged["shap"]) == np.sign(merged["effect"])).mean() > 0.8


def test_genes_without_coordinates_are_left_out_with_a_word_and_a_file_keeps_the_table(cells, model, tmp_path, caplog):
    cells["rna"].var["chrom"] = cells["rna"].var["chrom"].astype(object).where(cells["rna"].var_names != "gene2")
    table = jm.tl.links(cells, model, genes="rna", regions="atac", knockout=False, n_cells=20)
    assert "1 of 20 features of 'rna' have no coordinates: they are left out" in caplog.text
    assert "gene2" not in set(table["gene"])
    cells.write(tmp_path / "cells.h5mu")
    assert_allclose(md.read_h5mu(tmp_path / "cells.h5mu").uns["jamie_links"]["abs_shap"], table["abs_shap"])


def test_the_table_is_sorted_and_what_is_stored_is_its_own(cells, model, tmp_path, monkeypatch):
    """With values that are equal and values that are missing: first come the highest, last those without one."""
    given = np.array([0.5, np.nan, 0.2, 0.5, 0.0, 0.2, 0.5, 0.0])

    def shap_of_pairs(*arguments):
        n = arguments[-1].shape[1]
        return np.zeros(n), np.resize(given, n)

    monkeypatch.setattr(_links, "shap_of_pairs", shap_of_pairs)
    genes = {"features": ["gene3", "gene7", "gene5"], "n_background": 5, "n_cells": 20, "knockout": False}
    table = jm.tl.links(cells, model, genes="rna", regions="atac", **genes)
    assert table.index.tolist() == list(range(len(table)))
    has = table["abs_shap"].notna()
    assert has.tolist() == sorted(has, reverse=True)
    assert table.loc[has, "abs_shap"].is_monotonic_decreasing
    for _, equal in table[has].groupby("abs_shap"):
        assert equal["gene"].map(dict(zip(genes["features"], range(3), strict=True))).is_monotonic_increasing
    expected = table.copy()
    table[:] = table.sort_values("partial", key=abs, ascending=False).to_numpy()
    table["mine"] = 1
    pd.testing.assert_frame_equal(cells.uns["jamie_links"], expected)
    cells.write(tmp_path / "cells.h5mu")
    read = md.read_h5mu(tmp_path / "cells.h5mu").uns["jamie_links"]
    for column in expected:
        assert_array_equal(read[column].to_numpy(), expected[column].to_numpy())


def test_the_spelling_of_strands_does_not_matter(cells, model, caplog):
    few = {"genes": "rna", "regions": "atac", "knockout": False, "n_cells": 20, "n_background": 5}
    expected = jm.tl.links(cells, model, **few)
    is_minus = (cells["rna"].var["strand"] == "-").to_numpy()
    for minus, plus in ((-1, 1), ("-1", "1"), ("minus", "plus"), (-1.0, 1.0), ("−", "+")):
        cells["rna"].var["strand"] = np.where(is_minus, minus, plus)
        pd.testing.assert_frame_equal(jm.tl.links(cells, model, **few), expected)
    caplog.clear()
    del cells["rna"].var["strand"]
    table = jm.tl.links(cells, model, **few, window=None)
    assert caplog.text.count("no column 'strand'") == 1
    middle = (cells["atac"].var["start"] + cells["atac"].var["end"]).loc[table["region"]].to_numpy() / 2
    assert_array_equal(table["distance"], middle - cells["rna"].var["start"].loc[table["gene"]].to_numpy())
    cells["rna"].var["strand"] = "up"
    with pytest.raises(ValueError, match="found 'up' in 20 of 20 genes"):
        jm.tl.links(cells, model, **few)


@pytest.mark.parametrize("verb", ["links", "knockout_by_distance"])
def test_chromosomes_that_are_named_otherwise_are_refused(cells, model, verb):
    cells["rna"].var["chrom"] = cells["rna"].var["chrom"].astype(str).str.removeprefix("chr")
    call = getattr(jm.tl, verb)
    with pytest.raises(ValueError, match=r"'rna' on chromosomes that 'atac' names otherwise, .* in place of 'chr"):
        call(cells, model, genes="rna", regions="atac")
    cells["rna"].var["chrom"] = "chr" + cells["rna"].var["chrom"].astype(str)
    assert len(call(cells, model, genes="rna", regions="atac", n_cells=20))


def test_modalities_are_taken_to_components_once(cells, model, monkeypatch):
    counted = []
    prepared = Preparation.components
    monkeypatch.setattr(Preparation, "components", lambda self, *a: counted.append(self.kind) or prepared(self, *a))
    jm.tl.links(cells, model, genes="rna", regions="atac", n_cells=20, n_background=5)
    jm.tl.knockout_by_distance(cells, model, genes="rna", regions="atac", n_cells=20, n_random=0)
    assert sorted(counted) == ["accessibility", "accessibility", "counts", "counts"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"genes": "rnaa"}, KeyError, "did you mean 'rna'"),
        ({"regions": "rna"}, KeyError, r"`regions` to be one of \['atac'\]"),
        ({"features": ["gene99"]}, KeyError, "found 'gene99'"),
        ({"genes": "atac", "regions": "rna"}, ValueError, "are `genes` and `regions` exchanged"),
        ({"n_background": 0}, ValueError, "`n_background` of at least 1, found 0"),
        ({"window": 0}, ValueError, "`window` as a number of bases, whole and at least 1, found 0"),
        ({"window": "100kb"}, ValueError, "found '100kb'; pass window=100_000"),
        ({"window": -5}, ValueError, "`window` as a number of bases.*found -5"),
        ({"window": float("nan")}, ValueError, "`window` as a number of bases.*found nan"),
        ({"window": 1}, ValueError, "pairs of a region and a gene within 1 bases, found 0"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(cells, model, arguments, error, message):
    with pytest.raises(error, match=message):
        jm.tl.links(cells, model, **{"genes": "rna", "regions": "atac", **arguments})
    assert "jamie_links" not in cells.uns


def test_too_many_pairs_are_refused(cells, model, monkeypatch):
    monkeypatch.setattr(_links, "MOST_PAIRS", 10)
    with pytest.raises(ValueError, match="1 to 10 pairs of a region and a gene within the whole chromosome, found"):
        jm.tl.links(cells, model, genes="rna", regions="atac", window=None)

"""Coordinates from columns or names, and pairs within a window against a plain double loop."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from mudata import MuData

from jamie.data import coordinates, near, starts


def modalities(names, **columns):
    var = pd.DataFrame(columns, index=list(names))
    other = AnnData(np.ones((3, 1), np.float32), obs=pd.DataFrame(index=list("abc")))
    return MuData({"m": AnnData(np.ones((3, len(var)), np.float32), obs=other.obs.copy(), var=var), "other": other})


@pytest.mark.parametrize("name", ["chr1:100-200", "chr1-100-200", "chr1_100_200"])
def test_coordinates_are_read_from_names(name):
    found = coordinates(modalities([name, "chrUn_KI270_5:7-9"]), "m")
    assert found.iloc[0].tolist() == ["chr1", 100, 200]
    assert found.iloc[1].tolist() == ["chrUn_KI270_5", 7, 9]


def test_columns_come_first_then_intervals_and_what_has_none_is_missing():
    mdata = modalities(["g1", "g2"], interval=["chr2:5-8", "unplaced"])
    found = coordinates(mdata, "m")
    assert found.iloc[0].tolist() == ["chr2", 5, 8]
    assert found.iloc[1].isna().all()
    mdata["m"].var["chrom"], mdata["m"].var["start"], mdata["m"].var["end"] = ["chr3", None], [1, 2], [3.0, 4.0]
    found = coordinates(mdata, "m")
    assert found.iloc[0].tolist() == ["chr3", 1, 3]
    assert found.iloc[1].isna().all()


def test_features_without_coordinates_are_refused_with_the_remedy():
    with pytest.raises(KeyError, match=r"columns 'chrom', 'start' and 'end' in `mdata\['m'\].var`.*'g1'; add columns"):
        coordinates(modalities(["g1", "g2"]), "m")


def test_the_start_site_is_the_end_on_the_minus_strand():
    mdata = modalities(["a", "b"], chrom="chr1", start=[10, 10], end=[90, 90], strand=["+", "-"])
    found = starts(mdata, "m")
    assert found["tss"].tolist() == [10, 90]
    assert found["strand"].tolist() == [1, -1]
    del mdata["m"].var["strand"]
    assert starts(mdata, "m")["tss"].tolist() == [10, 10]


@pytest.mark.parametrize("window", [50, 400, np.inf])
def test_pairs_and_distances_are_those_of_a_plain_loop(window):
    rng = np.random.default_rng(0)
    start = rng.integers(0, 2_000, 40)
    regions = pd.DataFrame({"chrom": rng.choice(["x", "y", None], 40), "start": start, "end": start + 10})
    genes = pd.DataFrame(
        {"chrom": rng.choice(["x", "y", "z", None], 15), "tss": rng.integers(0, 2_000, 15), "strand": 1}
    )
    genes.loc[::2, "strand"] = -1
    expected = {
        (i, j, (r.start + 5 - g.tss) * g.strand)
        for i, r in enumerate(regions.itertuples())
        for j, g in enumerate(genes.itertuples())
        if r.chrom is not None and r.chrom == g.chrom and abs(r.start + 5 - g.tss) <= window
    }
    region, gene, distance = near(regions, genes, window)
    assert len(region) == len(expected)
    assert set(zip(region.tolist(), gene.tolist(), distance.tolist(), strict=True)) == expected


def test_no_gene_has_a_place():
    genes = pd.DataFrame({"chrom": [None], "tss": [1], "strand": [1]})
    assert [len(part) for part in near(pd.DataFrame({"chrom": ["x"], "start": [1], "end": [2]}), genes, 10)] == [0] * 3

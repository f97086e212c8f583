"""How often labels and partners are right: beside a loop over cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import jamie as jm

DIRECTION = {"source": "rna", "target": "protein"}


def test_labels_are_compared_in_held_out_cells_that_have_a_true_one(trained):
    mdata, _ = trained
    truth = mdata.obs["cell_type"]
    held_out = mdata.obs["jamie_split"] == "test"
    mdata["rna"].obs["known"] = truth.mask(held_out).reindex(mdata["rna"].obs_names)
    gaps = truth.astype(object).copy()
    gaps.iloc[::7] = None
    mdata["protein"].obs["checked"] = gaps.reindex(mdata["protein"].obs_names)
    jm.tl.transfer_labels(mdata, labels="known", **DIRECTION)
    table = jm.get.reliability(mdata, labels="known", truth="checked", **DIRECTION)
    obs = mdata["protein"].obs[held_out.reindex(mdata["protein"].obs_names).to_numpy()].dropna(subset="checked")
    p, right = obs["jamie_confidence_known"], obs["jamie_label_known"].astype(str) == obs["checked"].astype(str)
    assert table["n"].sum() == len(obs) == table["n_cells"][0]
    assert (table["probability"] * table["n"]).sum() == pytest.approx(p.sum(), rel=1e-6)
    assert (table["share_right"] * table["n"]).sum() == pytest.approx(right.sum())
    assert table["calibration_error"][0] == pytest.approx(jm.metrics.calibration_error(p, right))
    assert 0 < table["floor"][0] < 0.2
    assert set(table["cells"]) == {"held-out"}
    assert set(table["what"]) == {"label"}


def test_partners_are_right_where_they_are_the_known_one(trained):
    mdata, _ = trained
    jm.tl.match(mdata, n_keep=15, **DIRECTION)
    table = jm.get.reliability(mdata, **DIRECTION)
    both = mdata["rna"].obs_names.intersection(mdata["protein"].obs_names)
    held_out = both[(mdata.obs["jamie_split"].reindex(both) == "test").to_numpy()]
    f = pd.DataFrame(mdata.obsp["jamie_match_rna_protein"].toarray(), mdata.obs_names, mdata.obs_names)
    p = f.loc[held_out]
    assert table["n"].sum() == 15 * len(held_out)
    assert table["n_cells"][0] == len(held_out)
    assert (table["probability"] * table["n"]).sum() == pytest.approx(p.to_numpy().sum(), rel=1e-5)
    right = sum(p.loc[cell, cell] > 0 for cell in held_out)
    assert (table["share_right"] * table["n"]).sum() == pytest.approx(right)
    assert_allclose(table["n"], 15 * len(held_out) / 10, rtol=0.1)


def test_cells_that_the_model_has_seen_stand_in_where_there_are_no_others(toy):
    jm.tl.train(toy, max_steps=5)
    jm.tl.transfer_labels(toy, labels="cell_type", **DIRECTION)
    assert set(jm.get.reliability(toy, labels="cell_type", **DIRECTION)["cells"]) == {"in-sample"}


def test_what_is_missing_is_said(trained):
    mdata, _ = trained
    with pytest.raises(KeyError, match=r"'jamie_match_rna_protein'.*call jm\.tl\.match\(mdata, source='rna'"):
        jm.get.reliability(mdata, **DIRECTION)
    with pytest.raises(KeyError, match=r"call jm\.tl\.transfer_labels\(mdata, labels='cell_type'"):
        jm.get.reliability(mdata, labels="cell_type", **DIRECTION)
    jm.tl.transfer_labels(mdata, labels="cell_type", **DIRECTION)
    with pytest.raises(KeyError, match="`truth`"):
        jm.get.reliability(mdata, labels="cell_type", truth="celltype", **DIRECTION)
    mdata["protein"].obs["none"] = np.nan
    with pytest.raises(ValueError, match="label that can be compared, found none; pass truth="):
        jm.get.reliability(mdata, labels="cell_type", truth="none", **DIRECTION)


def test_labels_are_judged_by_what_the_model_that_carried_them_has_seen(trained):
    mdata, model = trained
    jm.tl.transfer_labels(mdata, labels="cell_type", **DIRECTION)
    expected = jm.get.reliability(mdata, labels="cell_type", **DIRECTION)
    jm.pp.split(mdata, rng=7)
    jm.tl.train(mdata, max_steps=2)  # places the cells, and holds out others
    pd.testing.assert_frame_equal(jm.get.reliability(mdata, labels="cell_type", **DIRECTION), expected)
    jm.tl.transfer_labels(mdata, model, labels="cell_type", **DIRECTION)
    again = jm.get.reliability(mdata, labels="cell_type", **DIRECTION)
    assert again["n_cells"][0] == expected["n_cells"][0]


def test_cells_that_a_reference_labelled_are_new(trained):
    mdata, model = trained
    query = jm.datasets.toy(n_cells=80, rng=3)
    for name in query.mod:
        query[name].obs_names = [f"q{cell}" for cell in query[name].obs_names]
    query = type(query)({name: adata.copy() for name, adata in query.mod.items()})
    jm.tl.transfer_labels(query, model, reference=mdata, labels="cell_type", **DIRECTION)
    assert set(jm.get.reliability(query, labels="cell_type", **DIRECTION)["cells"]) == {"new"}


@pytest.mark.parametrize(
    "stored",
    [
        lambda codes: codes.astype(float).where(codes.index.str.len() > 5),  # some are missing
        lambda codes: codes.astype("Int64").where(codes.index.str.len() > 5),
        lambda codes: codes.astype(str),
        lambda codes: codes.astype("string"),
        lambda codes: codes.astype("category"),
    ],
)
def test_labels_are_right_however_they_are_stored(trained, stored):
    mdata, _ = trained
    codes = mdata.obs["cell_type"].cat.codes.astype(int)
    mdata["rna"].obs["cluster"] = codes.reindex(mdata["rna"].obs_names)
    jm.tl.transfer_labels(mdata, labels="cluster", **DIRECTION)
    mdata["protein"].obs["checked"] = stored(codes.reindex(mdata["protein"].obs_names))
    table = jm.get.reliability(mdata, labels="cluster", truth="checked", **DIRECTION)
    obs = mdata["protein"].obs.assign(true=codes)
    obs = obs[(obs["jamie_seen_cluster"] == "held-out") & obs["checked"].notna()]
    right = (obs["jamie_label_cluster"].astype(int) == obs["true"]).sum()
    assert (table["share_right"] * table["n"]).sum() == pytest.approx(right) != 0
    assert table["n"].sum() == len(obs)


def test_labels_of_another_annotation_are_refused(trained):
    mdata, _ = trained
    jm.tl.transfer_labels(mdata, labels="cell_type", **DIRECTION)
    mdata["protein"].obs["other"] = mdata["protein"].obs["cell_type"].astype(str).str.upper()
    with pytest.raises(ValueError, match="'TYPE A', 'TYPE B', 'TYPE C', which are none of 'type A'"):
        jm.get.reliability(mdata, labels="cell_type", truth="other", **DIRECTION)

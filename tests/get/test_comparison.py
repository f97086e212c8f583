"""Measured beside imputed values: the same cells and features, on one scale, and which cells they are."""

from __future__ import annotations

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal

import jamie as jm
from jamie.get import comparison


@pytest.fixture
def imputed(trained):
    mdata, model = trained
    jm.tl.impute(mdata, model, source="rna", target="protein")
    return mdata


def test_held_out_cells_on_the_imputed_scale(imputed):
    found = comparison(imputed, source="rna", target="protein")
    test = imputed.obs_names[imputed.obs["jamie_split"] == "test"]
    assert found.cells == "held-out"
    assert set(found.measured.index) == set(test)
    x = imputed["protein"].X
    clr = pd.DataFrame(np.log1p(x / np.exp(np.log1p(x).mean(1, keepdims=True))), index=imputed["protein"].obs_names)
    assert_allclose(found.measured, clr.loc[found.measured.index], rtol=1e-4, atol=1e-5)
    assert_array_equal(found.imputed, imputed["rna"].obsm["jamie_imputed_protein"].loc[found.measured.index])
    assert_array_equal(found.imputed.columns, found.measured.columns)


def test_without_a_split_all_cells_in_both(toy):
    model = jm.tl.train(toy, max_steps=2)
    jm.tl.impute(toy, model, source="rna", target="protein")
    jm.pp.split(toy)  # says nothing of what the model has seen
    found = comparison(toy, source="rna", target="protein", features=["protein7", "protein2"])
    assert found.cells == "in-sample"
    assert len(found.measured) == 48
    assert list(found.measured.columns) == ["protein7", "protein2"]


def test_what_the_split_says_today_does_not_count(imputed):
    expected = comparison(imputed, source="rna", target="protein").measured.index
    jm.pp.split(imputed, rng=7)
    found = comparison(imputed, source="rna", target="protein")
    assert found.cells == "held-out"
    assert_array_equal(found.measured.index, expected)


def test_features_that_the_data_lacks_are_left_out(imputed, trained):
    part = MuData({"rna": imputed["rna"].copy(), "protein": imputed["protein"][:, 2:].copy()})
    found = comparison(part, source="rna", target="protein")
    assert_array_equal(found.measured.columns, imputed["protein"].var_names[2:])
    columns = np.arange(2, 12)
    expected = trained[1].preparations_["protein"].measured(part["protein"][found.measured.index].X, columns)
    assert_allclose(found.measured, expected, rtol=1e-5)


def test_a_record_of_another_version_is_refused(imputed):
    imputed["rna"].uns["jamie_imputed_protein"]["schema"] = 99
    with pytest.raises(ValueError, match=r"schema 1 .*found 99.*call jm\.tl\.impute"):
        comparison(imputed, source="rna", target="protein")


@pytest.mark.parametrize("kind", ["protein", "counts"])
def test_cells_measured_in_a_part_of_the_features_are_compared_on_the_scale_of_the_model(toy, kind):
    toy["protein"].X = np.asarray(toy["protein"].X, dtype=np.float32)
    toy["protein"].X[:27, 8:] = np.nan
    jm.pp.prepare(toy, kinds={"protein": kind})
    model = jm.tl.train(toy, max_steps=2)
    jm.tl.impute(toy, model, source="rna", target="protein")
    found = comparison(toy, source="rna", target="protein").measured
    x = toy["protein"][found.index].X
    assert_allclose(found, model.preparations_["protein"].measured(x), rtol=1e-5)
    other = ad.AnnData(np.full((54, 1), 1e4, np.float32), toy["protein"].obs, pd.DataFrame(index=["new"]))
    more = ad.concat([toy["protein"], other], axis=1)
    again = comparison(MuData({"rna": toy["rna"], "protein": more}), source="rna", target="protein")
    assert_allclose(again.measured, found, rtol=1e-5)


def test_the_record_of_an_imputation_survives_a_file(toy, tmp_path):
    toy["protein"].X = np.asarray(toy["protein"].X, dtype=np.float32) - 0.5
    for source, target in (("rna", "protein"), ("protein", "rna")):
        jm.tl.impute(toy, jm.tl.train(toy, max_steps=2), source=source, target=target)
        expected = comparison(toy, source=source, target=target)
        toy.write(tmp_path / "x.h5mu")
        found = comparison(mudata.read(tmp_path / "x.h5mu"), source=source, target=target)
        assert_allclose(found.measured, expected.measured)


@pytest.mark.parametrize("left", [1, 5, 9])
def test_values_that_a_part_of_the_panel_would_normalise_are_refused(imputed, left):
    part = MuData({"rna": imputed["rna"].copy(), "protein": imputed["protein"][:, :left].copy()})
    with pytest.raises(ValueError, match=rf"at least 80% of the 12 features .*found {left}; take features with"):
        comparison(part, source="rna", target="protein")


def test_features_that_are_none_twice_or_renamed_are_refused(imputed):
    direction = {"source": "rna", "target": "protein"}
    with pytest.raises(ValueError, match=r"that were imputed, such as 'protein1', found none"):
        comparison(imputed, **direction, features=[])
    with pytest.raises(ValueError, match="found 1 repeated, first 'protein2'"):
        comparison(imputed, **direction, features=["protein2", "protein3", "protein2"])
    imputed["protein"].var_names = [f"ADT_{name}" for name in imputed["protein"].var_names]
    with pytest.raises(ValueError, match=r"found none of them in .*'ADT_protein1'.*rename them back"):
        comparison(imputed, **direction)
    with pytest.raises(KeyError, match=r"it was imputed, but mdata\['protein'\] lacks it"):
        comparison(imputed, **direction, features=["protein2"])


def test_cells_are_those_that_the_model_that_imputed_has_not_seen_whoever_placed_cells_since(imputed):
    expected = comparison(imputed, source="rna", target="protein")
    jm.pp.split(imputed, rng=7)
    other = jm.tl.train(imputed, max_steps=2)  # places all cells under the same prefix
    jm.tl.impute(imputed, other, source="protein", target="rna")
    found = comparison(imputed, source="rna", target="protein")
    pd.testing.assert_frame_equal(found.measured, expected.measured)
    pd.testing.assert_frame_equal(found.imputed, expected.imputed)
    of_other = comparison(imputed, source="protein", target="rna").measured.index
    assert set(of_other) == set(imputed.obs_names[imputed.obs["jamie_split"] == "test"].intersection(of_other))
    assert set(of_other) != set(expected.measured.index)


def test_partners_under_other_names_that_the_model_has_seen_are_not_compared():
    mdata = jm.datasets.toy(n_cells=100)
    renamed = mdata["protein"].copy()
    renamed.obs_names = [f"p_{name}" for name in renamed.obs_names]
    apart = MuData({"rna": mdata["rna"], "protein": renamed})
    pairs = pd.DataFrame({"rna": mdata["rna"].obs_names.intersection(mdata["protein"].obs_names)})
    pairs["protein"] = "p_" + pairs["rna"]
    jm.pp.correspondence(apart, pairs=pairs)
    apart.obs["jamie_split"] = np.where(apart.obs_names.isin(pairs["rna"][:40]), "test", "train")
    held_out = pairs["protein"][:20]
    apart.obs.loc[held_out, "jamie_split"] = "test"  # partners of the other twenty are learned from
    model = jm.tl.train(apart, max_steps=2)
    jm.tl.impute(apart, model, source="rna", target="protein")
    assert set(comparison(apart, source="rna", target="protein").measured.index) == set(pairs["rna"][:20])


def test_a_target_without_cells_is_named(imputed):
    empty = MuData({"rna": imputed["rna"].copy(), "protein": imputed["protein"][:0].copy()})
    with pytest.raises(ValueError, match="expected cells"):
        comparison(empty, source="rna", target="protein")


@pytest.mark.parametrize("batch", [None, "b"])
@pytest.mark.parametrize("direction", [("rna", "protein"), ("protein", "rna")])
def test_measured_values_are_without_the_effects_that_imputed_ones_are_without(tmp_path, direction, batch):
    mdata = jm.datasets.toy(n_cells=120)
    jm.pp.split(mdata)
    mdata.obs["lane"] = np.where(np.arange(mdata.n_obs) % 3, "a", "b")
    model = jm.tl.train(mdata, max_steps=5, batch_key="lane")
    source, target = direction
    jm.tl.impute(mdata, model, source=source, target=target, interval=0.9, batch=batch)
    mdata.write(tmp_path / "x.h5mu")
    found = comparison(mudata.read(tmp_path / "x.h5mu"), source=source, target=target)
    rows = mdata[target].obs_names.get_indexer(found.measured.index)
    expected = model.open(mdata).measured(target, rows, np.arange(mdata[target].n_vars))
    if batch is not None:
        expected = model.preparations_[target].as_in_batch(expected, batch)
    assert_allclose(found.measured, expected, rtol=1e-5, atol=1e-6)


def test_partners_that_the_model_knows_under_their_own_names_make_no_pair_new():
    mdata = jm.datasets.toy(n_cells=120)
    jm.pp.split(mdata)
    model = jm.tl.train(mdata, max_steps=2)
    both = mdata["rna"].obs_names.intersection(mdata["protein"].obs_names)
    rna = jm.datasets.toy(n_cells=120, rng=5)["rna"].copy()  # other cells, of which nothing was seen
    rna.obs_names = [f"again_{name}" for name in rna.obs_names]
    other = MuData(
        {"rna": rna, "protein": ad.AnnData(mdata["protein"].X, mdata["protein"].obs[[]], mdata["protein"].var)}
    )
    n = min(len(both), rna.n_obs)
    jm.pp.correspondence(other, pairs=pd.DataFrame({"rna": rna.obs_names[:n], "protein": both[:n]}))
    jm.tl.impute(other, model, source="rna", target="protein")
    found = comparison(other, source="rna", target="protein")
    held_out = both[:n].isin(mdata.obs_names[mdata.obs["jamie_split"] == "test"])
    assert set(found.measured.index) == set(rna.obs_names[:n][held_out])


def test_several_sources_that_were_not_imputed_name_the_call(imputed):
    with pytest.raises(KeyError, match=r"call jm\.tl\.impute\(mdata, model, source=\['rna', 'protein'\], target"):
        comparison(imputed, source=["rna", "protein"], target="protein")

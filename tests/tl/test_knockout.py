"""Knock-outs as users get them: measures by hand on changed values, groups, slots, refusals."""

from __future__ import annotations

import mudata as md
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression

import jamie as jm
from jamie.attribution import random_sets
from jamie.data import Preparation
from jamie.metrics import feature_correlation, foscttm, label_transfer_accuracy


@pytest.fixture(scope="module")
def learned():
    """Genes on a continuous scale, so that a knock-out can be done by hand in the values of the user."""
    mdata = jm.datasets.toy(share_paired=1.0, n_cells=90)
    mdata["rna"].X = np.log1p(mdata["rna"].X.toarray())
    mdata["rna"].var["chrom"] = ["chr1"] * 30 + ["chr2"] * 8 + [None] * 2
    mdata["rna"].var["start"] = np.arange(40) * 1_000
    mdata["rna"].var["end"] = np.arange(40) * 1_000 + 10
    jm.pp.split(mdata)
    jm.pp.prepare(mdata, kinds={"rna": "continuous"})
    return mdata, jm.tl.train(mdata, max_steps=60)


@pytest.fixture
def cells(learned):
    return learned[0].copy()


@pytest.fixture
def model(learned):
    return learned[1]


def without(mdata, features):
    """The same cells with features at the mean of the training cells."""
    changed = mdata.copy()
    train = (mdata.obs["jamie_split"].reindex(mdata["rna"].obs_names) == "train").to_numpy()
    for feature in features:
        j = mdata["rna"].var_names.get_loc(feature)
        changed["rna"].X[:, j] = changed["rna"].X[train, j].mean()
    return changed


def held_out(mdata):
    names = mdata.obs_names[mdata.obs["jamie_split"] == "test"]
    return [mdata[name].obs_names.get_indexer(names) for name in ("rna", "protein")]


def by_hand(mdata, model, measure):
    at, partners = held_out(mdata)
    if measure == "correlation":
        imputed = model.impute(mdata, source="rna", target="protein")[at]
        protein = mdata["protein"]
        measured = model.preparations_["protein"].measured(np.asarray(protein.X, dtype=np.float32))[partners]
        return np.nanmean(feature_correlation(measured, imputed))
    latents = model.embed(mdata)
    x, y = latents["rna"][at], latents["protein"][partners]
    if measure == "foscttm":
        return foscttm(x, y)
    labels = mdata.obs["cell_type"].reindex(mdata["rna"].obs_names[at]).astype(str).to_numpy()
    if measure == "lta":
        return label_transfer_accuracy(x, y, labels)
    fitted = LogisticRegression(max_iter=1000).fit(y, labels)
    return fitted.predict_log_proba(x)[np.arange(len(x)), np.searchsorted(fitted.classes_, labels)].mean()


@pytest.mark.parametrize("measure", ["correlation", "lta", "likelihood", "foscttm"])
def test_a_measure_is_that_of_values_changed_by_hand(cells, model, measure):
    labels = {"labels": "cell_type"} if measure in ("lta", "likelihood") else {}
    table = jm.tl.knockout(cells, model, source="rna", measure=measure, **labels)
    baseline = by_hand(cells, model, measure)
    about = cells["rna"].uns[f"jamie_knockout_{measure}_protein"]
    assert_allclose(about["baseline"], baseline, atol=1e-3)
    assert about["cells"] == "held-out"
    assert about["n_cells"] == (cells.obs["jamie_split"] == "test").sum()
    worse = 1 if measure == "foscttm" else -1
    for feature in [*table.index[:2], "gene7", "gene31"]:
        expected = by_hand(without(cells, [feature]), model, measure)
        assert_allclose(table.loc[feature, "value"], expected, atol=2e-3)
        assert_allclose(table.loc[feature, "loss"], worse * (expected - baseline), atol=3e-3)
    assert table["loss"].is_monotonic_decreasing
    assert_allclose(
        cells["rna"].var[f"jamie_knockout_{measure}_protein"], table["value"].reindex(cells["rna"].var_names)
    )


def test_correlations_of_each_feature_are_kept(cells, model):
    features = ["protein4", "protein2"]
    jm.tl.knockout(cells, model, source="rna", features=features)
    of_each = cells["rna"].varm["jamie_knockout_correlation_protein"]
    assert list(of_each.columns) == features
    assert list(cells["rna"].uns["jamie_knockout_correlation_protein"]["outputs"]) == features
    assert_allclose(of_each.mean(axis=1), cells["rna"].var["jamie_knockout_correlation_protein"], rtol=1e-5)
    assert cells["rna"].uns["jamie_knockout_correlation_protein"]["baselines"].shape == (2,)


def test_sets_are_knocked_out_together_and_never_cumulatively(cells, model):
    sets = {"a": ["gene3", "gene9", "gene12"], "b": ["gene9"], "again": ["gene12", "gene3", "gene9", "gene9"]}
    before = set(cells["rna"].var)
    table = jm.tl.knockout(cells, model, source="rna", groups=sets, n_random=4)
    assert table["n_features"].to_dict() == {"a": 3, "b": 1, "again": 3}
    for group, features in sets.items():
        assert_allclose(table.loc[group, "value"], by_hand(without(cells, features), model, "correlation"), atol=2e-3)
    assert_allclose(table.loc["a", "value"], table.loc["again", "value"], atol=1e-6)
    assert set(cells["rna"].var) == before
    stored = cells["rna"].uns["jamie_knockout_groups_correlation_protein"]
    pd.testing.assert_frame_equal(stored["table"], table)
    assert stored["table"] is not table
    assert (table["random_sd"] > 0).all()


def test_groups_by_place_in_the_genome(cells, model):
    table = jm.tl.knockout(cells, model, source="rna", groups="chromosome", n_random=0)
    assert table["n_features"].to_dict() == {"chr1": 30, "chr2": 8}
    table = jm.tl.knockout(cells, model, source="rna", groups=20_000, n_random=0)
    assert table["n_features"].to_dict() == {"chr1:0-20000": 20, "chr1:20000-40000": 10, "chr2:20000-40000": 8}
    pd.testing.assert_frame_equal(jm.tl.knockout(cells, model, source="rna", groups=2e4, n_random=0), table)
    assert table["random"].isna().all()


def test_a_chromosome_of_unknown_features_is_no_group_and_features_without_a_place_are_said(cells, model, caplog):
    rna = cells["rna"].copy()
    rna.var_names = [name if name != "gene38" else "unknown" for name in rna.var_names]
    rna.var.loc["unknown", "chrom"] = "chr9"
    other = md.MuData({"rna": rna, "protein": cells["protein"].copy()})
    table = jm.tl.knockout(other, model, source="rna", groups="chromosome", n_random=0)
    assert table["n_features"].to_dict() == {"chr1": 30, "chr2": 7}
    assert "2 of 39 features of 'rna' have no coordinates" in caplog.text


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"groups": "chromosome"},
        {"labels": "cell_type"},
        {"measure": "likelihood", "labels": "cell_type"},
        {"measure": "foscttm"},
    ],
)
def test_a_modality_is_taken_to_components_once_and_not_before_all_is_checked(cells, model, arguments, monkeypatch):
    counted = []
    compute = Preparation.components
    names = {model.preparations_[name].features[0]: name for name in ("rna", "protein")}
    monkeypatch.setattr(
        Preparation, "components", lambda self, *a: counted.append(names[self.features[0]]) or compute(self, *a)
    )
    jm.tl.knockout(cells, model, source="rna", n_random=1, **arguments)
    assert sorted(counted) == ["protein", "rna"]
    counted.clear()
    wrong = {"labels": "cell_tpye"} if "labels" in arguments else {"features": ["protein0"]}
    with pytest.raises(jm.JamieError):
        jm.tl.knockout(cells, model, source="rna", **{**arguments, **wrong})
    assert not counted


def test_labels_that_cells_of_both_do_not_have_are_refused(cells, model):
    cells.obs["one"] = "a"
    with pytest.raises(ValueError, match="two labels or more for a likelihood, found 'a' alone; pass measure='lta'"):
        jm.tl.knockout(cells, model, source="rna", labels="one", measure="likelihood")
    other = md.MuData({"rna": cells["rna"].copy(), "protein": cells["protein"].copy()})
    other["protein"].obs_names = [f"{name}-2" for name in other["protein"].obs_names]
    other.update()
    other.obs["kind"] = ["a" if name in set(other["rna"].obs_names) else "b" for name in other.obs_names]
    with pytest.raises(ValueError, match="labels that cells of both 'rna' and 'protein' have, found none, but 'a' in"):
        jm.tl.knockout(other, model, source="rna", labels="kind")


def test_cells_of_the_training_judge_where_there_are_no_others_and_a_sample_does_with_n_cells(cells, model):
    is_train = cells.obs["jamie_split"] == "train"
    del cells.obs["jamie_split"]  # the model knows its cells
    of_training = MuData({name: part[is_train[part.obs_names].to_numpy()].copy() for name, part in cells.mod.items()})
    for mdata, which in ((cells, "held-out"), (of_training, "in-sample")):
        jm.tl.knockout(mdata, model, source="rna", labels="cell_type", n_cells=10)
        about = mdata["rna"].uns["jamie_knockout_lta_protein"]
        assert (about["cells"], about["n_cells"], about["labels"]) == (which, 10, "cell_type")


def test_labels_need_no_pairs():
    mdata = jm.datasets.toy(share_paired=0.0, n_cells=90)
    jm.pp.infer_correspondence(mdata)
    trained = jm.tl.train(mdata, max_steps=20)
    table = jm.tl.knockout(mdata, trained, source="rna", labels="cell_type")
    assert table["value"].between(0, 1).all()
    with pytest.raises(ValueError, match=r"at least 3 pairs of 'rna' and 'protein' to judge by, found 0; .*labels"):
        jm.tl.knockout(mdata, trained, source="rna")


def test_a_target_that_one_feature_decides_is_lost_without_it():
    rng = np.random.default_rng(0)
    genes = rng.normal(size=(400, 15)).astype(np.float32)
    proteins = (genes[:, [4, 9]] * [2, -3] + 0.1 * rng.normal(size=(400, 2))).astype(np.float32)
    obs = pd.DataFrame(index=[f"c{i}" for i in range(400)])
    modalities = {"gene": genes, "protein": proteins}
    var = {name: pd.DataFrame(index=[f"{name}{j}" for j in range(x.shape[1])]) for name, x in modalities.items()}
    mdata = md.MuData({name: md.AnnData(x, obs=obs, var=var[name]) for name, x in modalities.items()})
    jm.pp.split(mdata)
    model = jm.tl.train(mdata, max_steps=100)
    jm.tl.knockout(mdata, model, source="gene")
    of_each = mdata["gene"].varm["jamie_knockout_correlation_protein"]
    assert of_each.idxmin().to_dict() == {"protein0": "gene4", "protein1": "gene9"}
    assert of_each.min().max() < 0.6
    assert of_each.apply(lambda column: column.nsmallest(2).iloc[1]).min() > 0.9
    jm.tl.knockout(mdata, model, source="gene", groups={"all": list(mdata["gene"].var_names)}, n_random=0)
    table = mdata["gene"].uns["jamie_knockout_groups_correlation_protein"]["table"]
    assert table.loc["all", "value"] == 0


def test_features_the_model_does_not_know_are_nan_and_a_file_keeps_all(cells, model, tmp_path):
    rna = cells["rna"][:, ::-1].copy()
    rna.var_names = [name if name != "gene20" else "unknown" for name in rna.var_names]
    other = md.MuData({"rna": rna, "protein": cells["protein"].copy()})
    other.obs["jamie_split"] = cells.obs["jamie_split"].reindex(other.obs_names)
    table = jm.tl.knockout(other, model, source="rna", features=["protein1"])
    assert len(table) == 39
    assert np.isnan(rna.var.loc["unknown", "jamie_knockout_correlation_protein"])
    expected = jm.tl.knockout(cells, model, source="rna", features=["protein1"])
    # not the same values: what is missing is expected from the others, so that it is lost with them
    assert np.corrcoef(table["value"], expected["value"].reindex(table.index))[0, 1] > 0.9
    jm.tl.knockout(other, model, source="rna", groups={"one/two": ["gene1"]})
    other.write(tmp_path / "cells.h5mu")
    read = md.read_h5mu(tmp_path / "cells.h5mu")["rna"].uns["jamie_knockout_groups_correlation_protein"]
    assert read["table"].index.tolist() == ["one/two"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"source": "ran"}, KeyError, "did you mean 'rna'"),
        ({"target": "rna"}, KeyError, r"`target` to be one of \['protein'\], found 'rna'"),
        ({"measure": "ltaa"}, ValueError, "did you mean 'lta'"),
        ({"measure": "lta"}, ValueError, "expected `labels` with lta or likelihood"),
        ({"measure": "foscttm", "labels": "cell_type"}, ValueError, "expected `labels` with lta or likelihood"),
        ({"labels": "cell_tpye"}, KeyError, "did you mean 'cell_type'"),
        ({"features": ["protein99"]}, KeyError, "found 'protein99'"),
        ({"groups": {"a": ["gene99"]}}, KeyError, r"groups\['a'\].*found 'gene99'"),
        ({"groups": {"a": []}}, ValueError, "found none of 'a'"),
        ({"groups": {}}, ValueError, "found no group"),
        ({"groups": 0}, ValueError, "`groups` as a number of bases, whole and at least 1, found 0"),
        ({"groups": -5}, ValueError, "`groups` as a number of bases.*found -5"),
        ({"groups": 0.5}, ValueError, "`groups` as a number of bases.*found 0.5"),
        ({"groups": float("nan")}, ValueError, "`groups` as a number of bases.*found nan"),
        ({"groups": "100bp"}, ValueError, "found '100bp'; pass groups=100"),
        ({"groups": "10 kb"}, ValueError, "found '10 kb'; pass groups=10_000"),
        ({"groups": {"a": "gene1"}}, TypeError, r"found the text 'gene1'; pass groups\['a'\]=\['gene1'\]"),
        ({"groups": {1: ["gene1"], "1": ["gene2"]}}, ValueError, "differ as text, found '1' twice"),
        ({"n_cells": 0}, ValueError, "`n_cells` of at least 1, found 0"),
        ({"groups": "chromosom"}, ValueError, "did you mean 'chromosome'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(cells, model, arguments, error, message):
    with pytest.raises(error, match=message):
        jm.tl.knockout(cells, model, **{"source": "rna", **arguments})
    assert not any("knockout" in name for name in [*cells["rna"].var, *cells["rna"].varm, *cells["rna"].uns])


def test_p_values_of_groups_count_random_sets_that_cost_as_much(monkeypatch, trained):
    """Features are put into the order of their losses by hand: a best set has no equal, the worst only betters."""
    mdata, model = trained
    alone = jm.tl.knockout(mdata, model, source="rna")
    assert_allclose(alone["p_value"], [(alone["loss"] >= loss).mean() for loss in alone["loss"]])
    sets = {"best": [alone.index[0]], "middle": [alone.index[20]], "least": [alone.index[-1]]}
    drawn = []

    def watch(*args, **options):
        drawn.extend(random_sets(*args, **options))
        return drawn

    monkeypatch.setattr("jamie.tl._knockout.random_sets", watch)
    table = jm.tl.knockout(mdata, model, source="rna", groups=sets, n_random=30, rng=1)
    by_feature = alone["loss"].reindex(mdata["rna"].var_names).to_numpy()
    random = by_feature[np.concatenate(drawn)].reshape(30, 3)
    for i, name in enumerate(sets):
        expected = (1 + (random[:, i] >= by_feature[mdata["rna"].var_names.get_loc(sets[name][0])] - 1e-12).sum()) / 31
        assert table.loc[name, "p_value"] == pytest.approx(expected)
    assert table["p_value"]["best"] < table["p_value"]["middle"] < table["p_value"]["least"] == 1

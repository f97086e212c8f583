"""SHAP values as users get them: slots, groups, labels, planted drivers, refusals."""

from __future__ import annotations

import mudata as md
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import jamie as jm
from jamie.data import Preparation
from jamie.tl import _explain


@pytest.fixture(scope="module")
def learned():
    mdata = jm.datasets.toy(share_paired=1.0)
    jm.pp.split(mdata)
    return mdata, jm.tl.train(mdata, max_steps=60)


@pytest.fixture
def toy(learned):
    return learned[0].copy()


@pytest.fixture
def model(learned):
    return learned[1]


def test_values_of_named_features_are_kept_by_cell_and_sum_to_what_was_imputed(toy, model):
    jm.tl.explain(toy, model, source="rna", target="protein", features=["protein3", "protein1"])
    rna = toy["rna"]
    assert list(rna.varm["jamie_shap_protein"].columns) == ["protein3", "protein1"]
    about = rna.uns["jamie_shap_protein"]
    imputed = model.impute(toy, source="rna", target="protein", features=["protein3", "protein1"])
    background = rna.obs_names.get_indexer(about["background"])
    assert len(background) == min(50, (toy.obs["jamie_split"] == "train").sum())
    assert set(toy.obs.loc[about["background"], "jamie_split"]) == {"train"}
    assert_allclose(about["base"], imputed[background].mean(0), atol=1e-3)
    for j, name in enumerate(["protein3", "protein1"]):
        values = rna.layers[f"jamie_shap_protein_{name}"]
        assert values.dtype == np.float32
        assert_allclose(values.sum(1) + about["base"][j], imputed[:, j], atol=1e-3)
        assert_allclose(rna.varm["jamie_shap_protein"][name], np.abs(values).mean(0), rtol=1e-4, atol=1e-7)
    assert about["additivity"] < 1e-4
    assert about["scale"] == model.preparations_["protein"].scale


def test_of_all_features_the_means_are_kept(toy, model):
    jm.tl.explain(toy, model, source="rna", target="protein")
    assert toy["rna"].varm["jamie_shap_protein"].shape == (40, 12)
    assert not list(filter(None, toy["rna"].layers))
    assert list(toy["rna"].uns["jamie_shap_protein"]["outputs"]) == list(toy["protein"].var_names)


def test_the_drivers_that_were_planted_are_found():
    """One gene and nothing else decides the protein."""
    rng = np.random.default_rng(0)
    genes = rng.normal(size=(300, 15)).astype(np.float32)
    proteins = (genes[:, [4, 9]] * [2, -3] + 0.1 * rng.normal(size=(300, 2))).astype(np.float32)
    cells = [f"c{i}" for i in range(300)]
    mdata = md.MuData(
        {
            name: md.AnnData(
                x, obs=pd.DataFrame(index=cells), var=pd.DataFrame(index=[f"{name}{j}" for j in range(x.shape[1])])
            )
            for name, x in (("gene", genes), ("protein", proteins))
        }
    )
    model = jm.tl.train(mdata, max_steps=100)
    jm.tl.explain(
        mdata, model, source="gene", target="protein", features=["protein0", "protein1"], n_cells=100, n_background=20
    )
    means = mdata["gene"].varm["jamie_shap_protein"]
    assert means.idxmax().to_dict() == {"protein0": "gene4", "protein1": "gene9"}
    assert (means.max() > 3 * means.apply(lambda column: column.nlargest(2).iloc[1])).all()
    by_cell = mdata["gene"].layers["jamie_shap_protein_protein1"][:, 9]
    explained = np.isfinite(by_cell)
    assert explained.sum() == 100
    assert np.corrcoef(by_cell[explained], genes[explained, 9])[0, 1] < -0.9


def test_latents_and_labels(toy, model):
    toy.obs["kind"] = np.where(np.arange(toy.n_obs) % 2, "odd", "even")
    latent = pd.DataFrame(model.embed(toy)["rna"], index=toy["rna"].obs_names)
    toy.obs["kind"] = np.where(latent[2].reindex(toy.obs_names) > latent[2].median(), "high", "low")
    jm.tl.explain(toy, model, source="rna", features=["latent2"])
    values, about = toy["rna"].layers["jamie_shap_latent_latent2"], toy["rna"].uns["jamie_shap_latent"]
    assert_allclose(values.sum(1) + about["base"][0], latent[2], atol=1e-4)
    jm.tl.explain(toy, model, source="rna", labels="kind", features=["high", "low"])
    high, low = (toy["rna"].layers[f"jamie_shap_kind_{name}"] for name in ("high", "low"))
    assert_allclose(high, -low, atol=1e-5)
    assert np.corrcoef(high.sum(1), latent[2])[0, 1] > 0.8


def test_one_group_against_another(toy, model):
    groups = np.where(np.arange(toy.n_obs) < 20, "a", "b").astype(object)
    groups[-3:] = None
    toy.obs["group"] = groups
    jm.tl.explain(
        toy, model, source="rna", target="protein", features=["protein1"],
        groupby="group", group="a", reference="b", n_background=7,
    )  # fmt: skip
    group_of = toy.obs["group"].reindex(toy["rna"].obs_names).to_numpy()
    values, about = toy["rna"].layers["jamie_shap_protein_protein1"], toy["rna"].uns["jamie_shap_protein"]
    assert_array_equal(np.isfinite(values).all(1), group_of == "a")
    assert_array_equal(np.isnan(values).all(1), group_of != "a")
    assert len(about["background"]) == 7
    assert set(toy.obs.loc[about["background"], "group"]) == {"b"}
    assert about["n_cells"] == (group_of == "a").sum()
    assert about["reference"] == "b"


def test_features_that_the_model_does_not_know_or_miss_have_no_part(toy, model):
    rna = toy["rna"][:, [*range(39, 2, -1)]].copy()
    rna.var_names = [name if name != "gene20" else "unknown" for name in rna.var_names]
    other = md.MuData({"rna": rna})
    jm.tl.explain(other, model, source="rna", target="protein", features=["protein3"])
    values, about = rna.layers["jamie_shap_protein_protein3"], rna.uns["jamie_shap_protein"]
    assert not values[:, rna.var_names.get_loc("unknown")].any()
    imputed = model.impute(other, source="rna", target="protein", features=["protein3"])
    assert_allclose(values.sum(1) + about["base"][0], imputed[:, 0], atol=1e-3)


def test_the_seed_draws_the_background_and_a_file_keeps_all(toy, model, tmp_path):
    runs = [
        jm.tl.explain(
            toy, model, source="rna", target="protein", features=["protein3"], n_background=5, rng=rng, copy=True
        )
        for rng in (1, 1, 2)
    ]
    first, again, other = (list(run["rna"].uns["jamie_shap_protein"]["background"]) for run in runs)
    assert first == again != other
    assert "jamie_shap_protein" not in toy["rna"].varm
    runs[0].write(tmp_path / "cells.h5mu")
    read = md.read_h5mu(tmp_path / "cells.h5mu")["rna"]
    assert_array_equal(read.layers["jamie_shap_protein_protein3"], runs[1]["rna"].layers["jamie_shap_protein_protein3"])
    assert read.uns["jamie_shap_protein"]["reference"] == "training cells"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"source": "ran"}, KeyError, "did you mean 'rna'"),
        ({"target": "protien"}, KeyError, "did you mean 'protein'"),
        ({"target": "protein", "features": ["protein99"]}, KeyError, "found 'protein99'"),
        ({"features": ["latent99"]}, KeyError, "found 'latent99'"),
        ({"labels": "kind"}, KeyError, "`labels`.*found 'kind'"),
        ({"target": "protein", "labels": "jamie_split"}, ValueError, "a target or labels"),
        ({"labels": "jamie_split"}, ValueError, "two labels or more among the training cells of 'rna', found 1"),
        ({"group": "a"}, ValueError, "expected `groupby`"),
        ({"groupby": "jamie_split", "group": "tset"}, KeyError, "did you mean 'test'"),
        ({"n_background": 0}, ValueError, "`n_background` of at least 1, found 0"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(toy, model, arguments, error, message):
    with pytest.raises(error, match=message):
        jm.tl.explain(toy, model, **{"source": "rna", **arguments})
    slots = [*toy["rna"].varm, *toy["rna"].uns, *filter(None, toy["rna"].layers)]
    assert not any(name.startswith("jamie_shap") for name in slots)


def test_what_is_constant_is_explained_by_nothing():
    mdata = jm.datasets.toy(share_paired=1.0)
    mdata["rna"].X = mdata["rna"].X.toarray()
    mdata["rna"].X[:, 7] = 3.3
    jm.pp.prepare(mdata, kinds={"rna": "continuous"})
    model = jm.tl.train(mdata, max_steps=20)
    jm.tl.explain(mdata, model, source="protein", target="rna", features=["gene8", "gene2"])
    assert mdata["protein"].varm["jamie_shap_rna"]["gene8"].max() < 1e-5
    assert mdata["protein"].uns["jamie_shap_rna"]["additivity"] < 1e-3


def test_too_many_values_to_keep_are_refused(toy, model, monkeypatch):
    monkeypatch.setattr(_explain, "MOST_VALUES", 1_000)
    with pytest.raises(
        ValueError, match="at most 1,000 values to keep by cell, found 1 × 60 cells × 40 features of 'rna'"
    ):
        jm.tl.explain(toy, model, source="rna", target="protein", features=["protein3"])
    jm.tl.explain(toy, model, source="rna", target="protein")


def test_values_of_an_earlier_call_do_not_stay_beside_another_base(toy, model):
    jm.tl.explain(toy, model, source="rna", target="protein", features=["protein3"])
    toy["rna"].layers["mine"] = toy["rna"].X.copy()
    jm.tl.explain(toy, model, source="rna", target="protein", features=["protein1"], n_background=5)
    assert sorted(filter(None, toy["rna"].layers)) == ["jamie_shap_protein_protein1", "mine"]


def test_means_only_and_a_sample_of_the_cells(toy, model):
    jm.tl.explain(toy, model, source="rna", target="protein", features=["protein3"], by_cell=False, n_cells=7)
    assert not list(filter(None, toy["rna"].layers))
    assert toy["rna"].uns["jamie_shap_protein"]["n_cells"] == 7
    jm.tl.explain(toy, model, source="rna", target="protein", features=["protein3"], n_cells=7)
    assert np.isfinite(toy["rna"].layers["jamie_shap_protein_protein3"]).all(axis=1).sum() == 7


@pytest.fixture(scope="module")
def hostile():
    """Modalities that are called as latents and labels may be."""
    toy = jm.datasets.toy(share_paired=1.0)
    mdata = md.MuData({"latent": toy["rna"].copy(), "a_b": toy["protein"].copy()})
    for column in ("latent", "a_b", "a/b", "rna", "cell_type"):
        mdata.obs[column] = toy.obs["cell_type"].reindex(mdata.obs_names).to_numpy()
    return mdata, jm.tl.train(mdata, max_steps=5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"`jamie_shap_latent` is of 'latent' alone, found it taken by the modality 'latent'; give the modality"),
        (
            {"labels": "latent"},
            r"the modality 'latent'; .*mdata.obs\['latent_label'\] = mdata.obs\['latent'\], and pass",
        ),
        (
            {"labels": "a_b"},
            r"`jamie_shap_a_b` is of 'a_b' alone.*by the modality 'a_b'; .*mdata.obs\['a_b_label'\] = ",
        ),
        ({"labels": "a/b"}, r"expected a name that a file can hold, found 'a/b', .*rename it 'a_b'"),
    ],
)
def test_what_would_have_the_slots_of_another_is_refused_before_anything_is_computed(
    hostile, arguments, message, monkeypatch
):
    mdata, model = hostile[0].copy(), hostile[1]
    monkeypatch.setattr(Preparation, "inputs", None)
    with pytest.raises(jm.JamieError, match=message):
        jm.tl.explain(mdata, model, source="a_b", **arguments)
    assert not any(
        "shap" in name for name in [*mdata["a_b"].varm, *mdata["a_b"].uns, *filter(None, mdata["a_b"].layers)]
    )


def test_names_that_coincide_with_nothing_are_explained_and_the_remedies_mend(hostile):
    mdata, model = hostile[0].copy(), hostile[1]
    mdata.obs["latent_label"] = mdata.obs["latent"]
    for arguments in ({"target": "latent"}, {"target": "a_b"}, {"labels": "latent_label"}, {"labels": "rna"}):
        jm.tl.explain(mdata, model, source="a_b", n_cells=3, n_background=3, **arguments)
    explained = {slot: about["explains"] for slot, about in mdata["a_b"].uns.items() if "shap" in slot}
    assert explained == {f"jamie_shap_{name}": name for name in ("latent", "a_b", "latent_label", "rna")}


def test_labels_called_latent_are_refused_and_so_is_what_would_replace_another(toy, model):
    toy.obs["latent"] = toy.obs["x/y"] = toy.obs["x_y"] = toy.obs["cell_type"]
    few = {"source": "rna", "n_cells": 3, "n_background": 3}
    with pytest.raises(ValueError, match=r"found it taken by the latent dimensions; copy the column"):
        jm.tl.explain(toy, model, labels="latent", **few)
    with pytest.raises(ValueError, match=r"file can hold, found 'x/y', of which slots are named; rename it 'x_y'"):
        jm.tl.explain(toy, model, labels="x/y", **few)


def test_the_source_is_taken_to_components_once_and_not_before_all_is_checked(toy, model, monkeypatch):
    counted = []
    compute = Preparation.components
    monkeypatch.setattr(Preparation, "components", lambda self, *a: counted.append(1) or compute(self, *a))
    for wrong in (
        {"labels": "kind"},
        {"target": "protein", "features": ["protein99"]},
        {"features": ["latent99"]},
        {"groupby": "kind"},
        {"groupby": "cell_type", "group": "none"},
    ):
        with pytest.raises(KeyError):
            jm.tl.explain(toy, model, source="rna", **wrong)
    assert not counted
    jm.tl.explain(toy, model, source="rna", labels="cell_type", n_cells=3)
    assert len(counted) == 1


@pytest.mark.parametrize("labels", [None, "cell_type"])
def test_new_cells_are_explained_beside_each_other_and_it_is_said(toy, model, capsys, labels):
    new = toy.copy()
    new["rna"].X = new["rna"].X * 2
    capsys.readouterr()
    jm.tl.explain(new, model, source="rna", labels=labels, n_cells=3, n_background=5)
    assert "trained on no cell of `mdata['rna']`: all of its cells are the background" in capsys.readouterr().err
    about = new["rna"].uns[f"jamie_shap_{labels or 'latent'}"]
    assert len(about["background"]) == 5

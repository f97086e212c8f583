"""Verbs on an AnnData of one modality, beside the same cells in a MuData."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.neighbors import KNeighborsClassifier

import jamie as jm

LABEL, CONFIDENCE = "jamie_label_cell_type", "jamie_confidence_cell_type"


@pytest.fixture
def query(trained):
    return trained[0]["rna"][:30].copy()


CALLS = {
    "embed": lambda cells, model, alone, **how: jm.tl.embed(
        cells, model, **({"modality": "rna"} if alone else {}), **how
    ),
    "impute": lambda cells, model, alone, **how: jm.tl.impute(
        cells, model, source="rna", target="protein", interval=0.9, n_samples=1, **how
    ),
    "reconstruct": lambda cells, model, alone, **how: jm.tl.reconstruct(cells, model, modality="rna", **how),
    "explain": lambda cells, model, alone, **how: jm.tl.explain(
        cells, model, source="rna", target="protein", features=["protein1"], **how
    ),
}


@pytest.mark.parametrize("verb", CALLS)
def test_an_anndata_gets_what_the_modality_of_a_mudata_gets(trained, query, verb, tmp_path, capsys):
    _, model = trained
    mdata = MuData({"rna": query.copy()})
    assert CALLS[verb](query, model, alone=True) is None
    assert "adata." in capsys.readouterr().err
    CALLS[verb](mdata, model, alone=False)
    for slot in ("obsm", "varm", "layers"):
        a, b = (getattr(adata, slot) for adata in (query, mdata["rna"]))
        assert {key for key in a if key} == {key for key in b if key}
        for key in filter(None, a):
            assert_array_equal(np.asarray(a[key]), np.asarray(b[key]))
    pd.testing.assert_frame_equal(query.obs, mdata["rna"].obs)
    query.write_h5ad(tmp_path / "query.h5ad")
    again = ad.read_h5ad(tmp_path / "query.h5ad")
    assert set(again.obsm) == set(query.obsm)


@pytest.mark.parametrize("verb", CALLS)
def test_a_copy_is_an_anndata_and_leaves_the_original(trained, query, verb):
    _, model = trained
    before = set(query.obsm), set(query.varm), set(query.layers)
    copied = CALLS[verb](query, model, alone=True, copy=True, key_added="mine")
    assert isinstance(copied, ad.AnnData)
    assert (set(query.obsm), set(query.varm), set(query.layers)) == before
    assert any("mine" in key for key in (*copied.obsm, *copied.varm, *copied.layers) if key)


def test_a_view_becomes_its_own(trained):
    mdata, model = trained
    view = mdata["rna"][:5]
    jm.tl.impute(view, model, source="rna", target="protein")
    assert view.obsm["jamie_imputed_protein"].shape == (5, 12)
    assert "jamie_imputed_protein" not in mdata["rna"].obsm


def test_imputed_to_a_file(trained, query, tmp_path):
    _, model = trained
    jm.tl.impute(query, model, source="rna", target="protein", out=tmp_path / "out.h5ad")
    jm.tl.impute(query, model, source="rna", target="protein")
    found = ad.read_h5ad(tmp_path / "out.h5ad")
    assert_allclose(found.X, jm.get.imputed(query, source="rna", target="protein").X, rtol=1e-6)


def test_completed_from_one_modality(trained, query):
    _, model = trained
    completed = jm.tl.complete(query, model, modality="rna")
    expected = jm.tl.complete(MuData({"rna": query}), model)
    assert completed["protein"].shape == (30, 12)
    assert_array_equal(completed["protein"].X, expected["protein"].X)


def test_results_are_read_from_an_anndata(trained, query):
    _, model = trained
    jm.tl.explain(query, model, source="rna", target="protein", features=["protein1"])
    assert len(jm.get.explanation(query, source="rna", target="protein")) == 40
    shown = jm.get.importance(query, source="rna", target="protein", feature="protein1", by_cell=True)
    assert shown.by_cell.values.shape == (30, 40)
    assert len(jm.pl.importance(query, source="rna", target="protein").patches)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a, m, model: jm.tl.embed(a, model), TypeError, r"pass modality='rna', or make a MuData"),
        (
            lambda a, m, model: jm.tl.embed(a, model, modality="rnaa"),
            KeyError,
            r"modality of the model.*found \['rnaa'",
        ),
        (lambda a, m, model: jm.tl.embed(a, model, modality=3), TypeError, r"`modality` as the name of a modality"),
        (
            lambda a, m, model: jm.tl.embed(m, model, modality="rna"),
            ValueError,
            r"leave it out, or pass mdata\['rna'\]",
        ),
        (lambda a, m, model: jm.tl.complete(m, model, modality="rna"), ValueError, "with an AnnData only"),
        (
            lambda a, m, model: jm.tl.impute(a, model, source="protein", target="rna"),
            ValueError,
            "at least 10% of the 12",
        ),
        (lambda a, m, model: jm.tl.evaluate(a, model), TypeError, "expected a MuData, found AnnData"),
    ],
)
def test_what_it_is_must_be_said(trained, query, call, error, message):
    mdata, model = trained
    with pytest.raises(error, match=message):
        call(query, mdata, model)


# labels of a reference


def of_reference(query, model, **options):
    how = {"labels": "cell_type", "source": "rna", "target": "rna"} | options
    return jm.tl.transfer_labels(query, model, **how)


@pytest.mark.parametrize("source", ["rna", "protein"])
@pytest.mark.parametrize("container", ["anndata", "mudata"])
@pytest.mark.parametrize("reference", ["anndata", "mudata"])
def test_the_vote_of_a_reference_is_that_of_scikit_learn(trained, query, source, container, reference):
    mdata, model = trained
    labelled = mdata[source] if reference == "anndata" else mdata
    new = query if container == "anndata" else MuData({"rna": query})
    before = labelled.obs.copy()
    of_reference(new, model, reference=labelled, source=source, n_neighbors=7)
    classes = mdata[source].obs["cell_type"]
    oracle = KNeighborsClassifier(7).fit(mdata[source].obsm["X_jamie"], classes.cat.codes)
    y = mdata["rna"].obsm["X_jamie"][:30]
    obs = query.obs if container == "anndata" else new["rna"].obs
    assert_array_equal(obs[LABEL].cat.codes, oracle.predict(y))
    assert_allclose(obs[CONFIDENCE], oracle.predict_proba(y).max(1), rtol=1e-6)
    assert (obs[LABEL].astype(str) == query.obs["cell_type"].astype(str)).mean() > 0.8
    pd.testing.assert_frame_equal(labelled.obs, before)


def test_a_model_places_the_cells_of_one_mudata_anew(trained):
    mdata, model = trained
    jm.tl.transfer_labels(mdata, labels="cell_type", source="rna", target="protein")
    expected = mdata["protein"].obs[LABEL].copy()
    for name in mdata.mod:
        del mdata[name].obsm["X_jamie"]
    jm.tl.transfer_labels(mdata, model, labels="cell_type", source="rna", target="protein")
    assert_array_equal(mdata["protein"].obs[LABEL], expected)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, TypeError, "found AnnData, which has no labelled modality beside it; pass the labelled cells, reference="),
        ({"reference": True, "model": False}, ValueError, r"a model, and through='latent', with a reference"),
        ({"reference": True, "through": "inferred"}, ValueError, "and through='inferred'"),
        ({"reference": True, "source": "rnaa"}, KeyError, "`source`.*found 'rnaa'; did you mean 'rna'"),
        ({"reference": True, "labels": "type"}, KeyError, "found 'type' in none"),
        ({"reference": True, "target": "protein"}, ValueError, "at least 10% of the 12 features of 'protein'"),
    ],
)
def test_bad_input_is_refused(trained, query, options, error, message):
    mdata, model = trained
    options = dict(options)
    model = model if options.pop("model", True) else None
    if options.pop("reference", False):
        options["reference"] = mdata
    before = list(query.obs)
    with pytest.raises(error, match=message):
        of_reference(query, model, **options)
    assert list(query.obs) == before


# a query on a reference


def test_a_query_is_placed_beside_its_reference(trained, query):
    mdata, model = trained
    jm.tl.embed(query, model, modality="rna")
    cells = jm.get.embedding(query, reference=mdata, color="cell_type", basis="pca")
    assert list(cells) == ["modality", "x", "y", "of", "color"]
    assert_array_equal(cells["of"], ["reference"] * (len(cells) - 30) + ["query"] * 30)
    new, same = cells[cells["of"] == "query"], cells[(cells["of"] == "reference") & (cells["modality"] == "rna")]
    assert_allclose(new[["x", "y"]], same.loc[new.index, ["x", "y"]], atol=1e-3)
    figure = jm.pl.embedding(query, reference=mdata, color="cell_type", basis="pca")
    assert [ax.get_title() for ax in figure.axes] == ["modality", "reference, cell_type", "cells, cell_type"]
    drawn = [sum(len(c.get_offsets()) for c in ax.collections if len(c.get_offsets()) > 1) for ax in figure.axes]
    assert drawn == [len(cells) + 30, len(cells) + len(cells) - 30, len(cells) + 30]


def test_a_column_that_only_the_query_has(trained, query):
    mdata, model = trained
    jm.tl.embed(query, model, modality="rna")
    query.obs["day"] = "first"
    figure = jm.pl.embedding(query, reference=mdata, color="day", basis="pca")
    assert [ax.get_title() for ax in figure.axes] == ["modality", "cells, day"]
    with pytest.raises(KeyError, match="found 'dayy' in none"):
        jm.pl.embedding(query, reference=mdata, color="dayy")


def test_a_reference_of_another_model_or_none_is_refused(trained, query):
    mdata, model = trained
    jm.tl.embed(query, model, modality="rna")
    mdata["rna"].obsm["X_jamie"] = mdata["rna"].obsm["X_jamie"][:, :5]
    with pytest.raises(ValueError, match=r"latents of one model in `mdata` and `reference`, found \[5, 32\]"):
        jm.get.embedding(query, reference=mdata, basis="pca")
    with pytest.raises(KeyError, match=r"expected cells in `reference\[m\].obsm\['X_jamie'\]`, found none"):
        jm.get.embedding(query, reference=jm.datasets.toy(), basis="pca")


def test_what_a_part_of_the_features_gives_adds_up(trained, query):
    """SHAP values of the genes that are there sum to what they make of the imputed value, without remainder."""
    _, model = trained
    part = query[:, 15:].copy()
    jm.tl.explain(part, model, source="rna", target="protein", features=["protein1"])
    jm.tl.impute(part, model, source="rna", target="protein")
    values, about = part.layers["jamie_shap_protein_protein1"], part.uns["jamie_shap_protein"]
    imputed = part.obsm["jamie_imputed_protein"]["protein1"].to_numpy()
    assert_allclose(values.sum(1), imputed - about["base"][0], atol=1e-3)
    assert about["additivity"] < 1e-3

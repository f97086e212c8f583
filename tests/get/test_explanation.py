"""SHAP values as a table and as an object of the shap package, against what pandas makes of the slots."""

from __future__ import annotations

import sys

import mudata as md
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import jamie as jm

WHAT = {"source": "rna", "target": "protein"}
SLOT = "jamie_shap_protein"


@pytest.fixture(scope="module")
def explained_once(trained_session):
    mdata, model = trained_session
    mdata = mdata.copy()
    jm.tl.explain(mdata, model, **WHAT, features=["protein3", "protein1"], n_background=10)
    return mdata, model


@pytest.fixture
def explained(explained_once):
    return explained_once[0].copy()


@pytest.fixture(scope="module")
def model(explained_once):
    return explained_once[1]


def test_the_table_is_the_slot_in_long_form(explained):
    found = jm.get.explanation(explained, **WHAT)
    assert list(found) == ["feature", "explained", "mean_abs_shap"]
    assert found["explained"].unique().tolist() == ["protein3", "protein1"]
    frame = explained["rna"].varm[SLOT]
    for name, rows in found.groupby("explained"):
        expected = frame[name].sort_values(ascending=False)
        assert_array_equal(rows["feature"], expected.index)
        assert_array_equal(rows["mean_abs_shap"], expected)
    found["mean_abs_shap"] = 0
    assert explained["rna"].varm[SLOT].to_numpy().all()


def test_what_is_equal_stays_in_the_order_of_the_features(explained):
    explained["rna"].varm[SLOT] = explained["rna"].varm[SLOT] * 0 + 1
    assert_array_equal(jm.get.explanation(explained, **WHAT)["feature"], [*explained["rna"].var_names] * 2)


def test_values_and_base_sum_to_what_was_imputed(explained, model):
    found = jm.get.shap_values(explained, **WHAT, feature="protein1")
    imputed = model.impute(explained, **WHAT, features=["protein1"])[:, 0]
    assert_allclose(found.values.sum(1) + found.base_values, imputed, atol=1e-3)
    assert_array_equal(found.values, explained["rna"].layers[f"{SLOT}_protein1"])
    assert_array_equal(found.base_values, explained["rna"].uns[SLOT]["base"][1])
    assert list(found.feature_names) == list(explained["rna"].var_names)
    found.values[:] = 0
    assert explained["rna"].layers[f"{SLOT}_protein1"].any()


def test_the_data_are_those_of_x_where_nothing_was_prepared(explained):
    found = jm.get.shap_values(explained, **WHAT, feature="protein1")
    assert_array_equal(found.data, explained["rna"].X.toarray())
    assert found.data.dtype == np.float32


@pytest.mark.parametrize(
    "container", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csr_matrix.toarray]
)
def test_the_data_are_on_the_imputed_scale_where_they_were_prepared(explained, container):
    x = explained["rna"].X.toarray()
    jm.pp.prepare(explained)
    explained["rna"].X = container(explained["rna"].X)
    found = jm.get.shap_values(explained, **WHAT, feature="protein1")
    train = (explained.obs["jamie_split"].reindex(explained["rna"].obs_names) == "train").to_numpy()
    depth = np.median(x[train].sum(1))
    assert_allclose(found.data, np.log1p(x / x.sum(1, keepdims=True) * depth), rtol=1e-5)
    assert found.data.dtype == np.float32


def test_the_data_are_of_the_kind_and_layer_that_were_prepared(explained):
    rna = explained["rna"]
    rna.layers["open"], rna.X = rna.X.copy(), sparse.csr_matrix(rna.shape, dtype=np.float32)
    jm.pp.prepare(explained, kinds={"rna": "accessibility"}, layer={"rna": "open"}, modalities=["rna", "protein"])
    found = jm.get.shap_values(explained, **WHAT, feature="protein1")
    assert_array_equal(found.data, rna.layers["open"].toarray() > 0)


def test_sparse_data_stay_sparse_until_they_are_handed_out(explained):
    asked = {**WHAT, "feature": "protein1", "by_cell": True}
    assert sparse.issparse(jm.get.importance(explained, **asked).by_cell.data)
    jm.pp.prepare(explained)
    assert sparse.issparse(jm.get.importance(explained, **asked).by_cell.data)


def test_cells_that_were_not_explained_are_left_out(explained, model):
    explained.obs["group"] = np.where(np.arange(explained.n_obs) % 3, "a", "b")
    of = explained.obs["group"].reindex(explained["rna"].obs_names).to_numpy()
    jm.tl.explain(explained, model, **WHAT, features=["protein3"], groupby="group", group="b", reference="a")
    found = jm.get.shap_values(explained, **WHAT, feature="protein3")
    imputed = model.impute(explained, **WHAT, features=["protein3"])[:, 0]
    assert_allclose(found.values.sum(1) + found.base_values, imputed[of == "b"], atol=1e-3)
    assert_array_equal(found.data, explained["rna"].X[of == "b"].toarray())


def test_a_part_of_the_cells_may_be_taken_afterwards(explained):
    whole = jm.get.shap_values(explained, **WHAT, feature="protein3")
    rows = np.flatnonzero((explained["rna"].obs["cell_type"] == "type A").to_numpy())
    part = explained[explained["rna"].obs_names[rows]]
    found = jm.get.shap_values(part, **WHAT, feature="protein3")
    assert_array_equal(found.values, whole.values[rows])
    assert_array_equal(found.data, whole.data[rows])


def test_a_feature_that_none_of_the_cells_has_is_missing(explained):
    rna = explained["rna"]
    rna.X = rna.X.toarray()
    rna.X[:, 4] = np.nan
    assert np.isnan(jm.get.shap_values(explained, **WHAT, feature="protein3").data[:, 4]).all()


def test_latents_and_labels(explained, model):
    jm.tl.explain(explained, model, source="rna", features=["latent2"])
    found = jm.get.shap_values(explained, source="rna", target="latent", feature="latent2")
    assert_allclose(found.values.sum(1) + found.base_values, model.embed(explained)["rna"][:, 2], atol=1e-3)
    jm.tl.explain(explained, model, source="rna", labels="cell_type")
    table = jm.get.explanation(explained, source="rna", target="cell_type")
    assert table["explained"].unique().tolist() == ["type A", "type B", "type C"]


def test_names_that_files_cannot_hold_come_back(explained):
    explained["protein"].var_names = ["CD3/CD8", "CD3_CD8", *explained["protein"].var_names[2:]]
    explained.update()
    model = jm.tl.train(explained, max_steps=2)
    jm.tl.explain(explained, model, **WHAT, features=["CD3/CD8", "CD3_CD8"])
    columns = list(explained["rna"].varm[SLOT])
    assert len(set(columns)) == 2
    for name, column in zip(("CD3/CD8", "CD3_CD8"), columns, strict=True):
        found = jm.get.shap_values(explained, **WHAT, feature=name)
        assert_array_equal(found.values, explained["rna"].layers[f"{SLOT}_({column})"])
    assert jm.get.explanation(explained, **WHAT)["explained"].unique().tolist() == ["CD3/CD8", "CD3_CD8"]


def test_a_file_keeps_it_all(explained, tmp_path):
    jm.pp.prepare(explained)
    explained.write(tmp_path / "cells.h5mu")
    read = md.read_h5mu(tmp_path / "cells.h5mu")
    pd.testing.assert_frame_equal(jm.get.explanation(read, **WHAT), jm.get.explanation(explained, **WHAT))
    found, expected = (jm.get.shap_values(one, **WHAT, feature="protein1") for one in (read, explained))
    for part in ("values", "base_values", "data"):
        assert_array_equal(getattr(found, part), getattr(expected, part))
    assert list(found.feature_names) == list(expected.feature_names)


def test_the_plots_of_shap_take_it(explained):
    from shap import plots

    found = jm.get.shap_values(explained, **WHAT, feature="protein3")
    state = np.random.get_state()  # noqa: NPY002 - shap draws from it
    plots.beeswarm(found, show=False, plot_size=None)
    plots.bar(found, show=False)
    plt.figure()
    plots.waterfall(found[0], show=False)
    most = found.feature_names[np.abs(found.values[0]).argmax()]
    assert any(label.get_text().endswith(f"= {most}") for label in plt.gca().get_yticklabels())
    plots.scatter(found[:, "gene3"], show=False)
    np.random.set_state(state)  # noqa: NPY002


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "ran"}, r"`source`.*did you mean 'rna'"),
        ({"target": "protien"}, r"`target`.*did you mean 'protein'"),
        ({"target": "cell_typ"}, r"`target`.*did you mean .*'cell_type'"),
        (
            {"source": "protein", "target": "rna"},
            r"`mdata\['protein'\]\.varm\['jamie_shap_rna'\]`.*call jm\.tl\.explain\(mdata, model, source='protein', "
            r"target='rna'\)",
        ),
        ({"target": "latent"}, r"call jm\.tl\.explain\(mdata, model, source='rna'\)"),
        ({"target": "cell_type"}, r"call jm\.tl\.explain\(mdata, model, source='rna', labels='cell_type'\)"),
        ({"key_added": "mine"}, r"'mine_shap_protein'"),
    ],
)
def test_what_was_not_explained_names_the_call(explained, arguments, message):
    with pytest.raises(KeyError, match=message):
        jm.get.explanation(explained, **{**WHAT, **arguments})
    with pytest.raises(KeyError, match=message):
        jm.get.shap_values(explained, **{**WHAT, **arguments}, feature="protein3")


def test_what_was_not_kept_by_cell_names_the_call(explained, model):
    with pytest.raises(KeyError, match=r"\['protein3', 'protein1'\], found 'protein4'.*features=\['protein4'\]\)"):
        jm.get.shap_values(explained, **WHAT, feature="protein4")
    del explained["rna"].layers[f"{SLOT}_protein3"]
    with pytest.raises(
        KeyError,
        match=r"mdata\['rna'\]\.layers\['jamie_shap_protein_protein3'\].*call jm\.tl\.explain\(mdata, model, "
        r"source='rna', target='protein', features=\['protein3'\]\)",
    ):
        jm.get.shap_values(explained, **WHAT, feature="protein3")
    jm.tl.explain(explained, model, source="rna", labels="cell_type")
    with pytest.raises(KeyError, match=r"source='rna', labels='cell_type', features=\['type A'\]\)"):
        jm.get.shap_values(explained, source="rna", target="cell_type", feature="type A")


def test_slots_of_another_version_and_cells_without_values_are_refused(explained):
    explained["rna"].layers[f"{SLOT}_protein3"][:] = np.nan
    with pytest.raises(ValueError, match=r"an explained cell in `mdata\['rna'\].*found none; call jm\.tl\.explain"):
        jm.get.shap_values(explained, **WHAT, feature="protein3")
    explained["rna"].uns[SLOT]["schema"] = 99
    with pytest.raises(ValueError, match=r"schema 1 in `mdata\['rna'\]\.uns.*found 99.*call jm\.tl\.explain"):
        jm.get.explanation(explained, **WHAT)


def test_only_the_object_of_shap_needs_shap(explained, monkeypatch):
    monkeypatch.setitem(sys.modules, "shap", None)
    jm.get.explanation(explained, **WHAT)
    for kind in ("bars", "beeswarm", "waterfall"):
        jm.pl.importance(explained, **WHAT, feature="protein3", kind=kind)
    with pytest.raises(ImportError):
        jm.get.shap_values(explained, **WHAT, feature="protein3")


def test_values_that_no_longer_sum_are_refused():
    mdata = jm.datasets.toy()
    model = jm.tl.train(mdata, max_steps=20)
    jm.tl.explain(mdata, model, source="rna", target="protein", features=["protein3"])
    mdata.mod["rna"] = mdata["rna"][:, :30].copy()
    with pytest.raises(ValueError, match=r"the 40 features of 'rna' whose values sum .*, found 30; call jm.tl.explain"):
        jm.get.shap_values(mdata, source="rna", target="protein", feature="protein3")
    assert len(jm.get.explanation(mdata, source="rna", target="protein")) == 30 * 1

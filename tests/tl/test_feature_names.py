"""Cells whose features go by other names: every verb gives what it gives by the names of the model."""

import mudata
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal

import jamie as jm

PAIR = {"source": "rna", "target": "protein"}


def plain(trained):
    mdata, model = trained
    return mdata.copy(), model


def renamed(mdata, step=1):
    """The same cells, features called otherwise, every `step` of them, their names of the training in a column."""
    parts = {}
    for name, adata in mdata.mod.items():
        other = adata[:, ::step].copy()
        other.var["symbol"] = other.var_names.astype(str)
        other.var_names = [f"ENS-{feature}" for feature in other.var_names]
        parts[name] = other
    again = MuData(parts)
    for column in mdata.obs:
        again.obs[column] = mdata.obs[column].reindex(again.obs_names)
    for key, value in mdata.obsp.items():
        again.obsp[key] = value
    return again


def as_column(mdata):
    return "symbol"


def as_mapping(mdata):
    return {own: name for adata in mdata.mod.values() for own, name in adata.var["symbol"].items()}


def as_series(mdata):
    return pd.concat([adata.var["symbol"] for adata in mdata.mod.values()])


GIVEN = [as_column, as_mapping, as_series]
TABLES = {
    "evaluate": lambda mdata, model, **how: jm.tl.evaluate(mdata, model, labels="cell_type", **how).drop(
        columns="seconds"
    ),
    "knockout": lambda mdata, model, **how: jm.tl.knockout(mdata, model, **PAIR, **how).sort_index(),
    "groups": lambda mdata, model, **how: jm.tl.knockout(
        mdata, model, **PAIR, groups={"some": ["gene1", "gene2"], "other": ["gene7"]}, n_random=2, **how
    )[["value", "loss"]],
    "diagnose": lambda mdata, model, **how: jm.tl.diagnose(mdata, model, labels="cell_type", **how),
    "calibration": lambda mdata, model, **how: jm.get.calibration(mdata, model, **PAIR, levels=[0.5, 0.9], **how),
    "inputs": lambda mdata, model, **how: jm.get.inputs(mdata, model, **how),
}


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("verb", TABLES)
def test_tables_are_those_by_the_names_of_the_model(trained, verb, given):
    mdata, model = plain(trained)
    other = renamed(mdata)
    found, expected = TABLES[verb](other, model, feature_names=given(other)), TABLES[verb](mdata, model)
    pd.testing.assert_frame_equal(found, expected, check_exact=False, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("verb", TABLES)
def test_without_them_the_remedy_is_named(trained, verb):
    mdata, model = plain(trained)
    with pytest.raises(ValueError, match="pass feature_names='symbol'"):
        TABLES[verb](renamed(mdata), model)


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("saved", [False, True])
def test_measured_values_are_found_by_what_was_written(trained, given, saved, tmp_path):
    mdata, model = plain(trained)
    other = renamed(mdata, -1)
    for each, names in ((mdata, None), (other, given(other))):
        jm.tl.impute(each, model, **PAIR, interval=0.8, feature_names=names)
    if saved:
        other.write(tmp_path / "x.h5mu")
        other = mudata.read_h5mu(tmp_path / "x.h5mu")
    found, expected = (jm.get.comparison(each, **PAIR) for each in (other, mdata))
    for a, b in ((found.measured, expected.measured), (found.imputed, expected.imputed)):
        pd.testing.assert_frame_equal(a[b.columns], b, check_exact=False, rtol=1e-4, atol=1e-4)
    some = jm.get.comparison(other, **PAIR, features=["protein3"])
    assert list(some.measured) == ["protein3"]
    pd.testing.assert_frame_equal(
        jm.get.imputed_features(other, **PAIR).sort_index(),
        jm.get.imputed_features(mdata, **PAIR).sort_index(),
        check_exact=False,
        rtol=1e-3,
    )
    jm.pl.imputation(other, **PAIR)


def test_names_may_be_given_to_the_comparison(trained):
    """Where only the source was called otherwise, or the target came later."""
    mdata, model = plain(trained)
    other = renamed(mdata)
    query = other["rna"].copy()
    jm.tl.impute(query, model, **PAIR, feature_names="symbol")
    both = MuData({"rna": query, "protein": other["protein"]})
    with pytest.raises(ValueError, match="feature_names="):
        jm.get.comparison(both, **PAIR)
    jm.tl.impute(mdata, model, **PAIR)
    found, expected = jm.get.comparison(both, **PAIR, feature_names="symbol"), jm.get.comparison(mdata, **PAIR)
    assert set(found.measured) == set(expected.measured)


def test_what_goes_by_its_own_name_is_noted_nowhere(trained):
    mdata, model = plain(trained)
    jm.tl.impute(mdata, model, **PAIR)
    assert "own_names" not in mdata["rna"].uns["jamie_imputed_protein"]


def test_slots_of_features_are_by_the_names_here(trained):
    mdata, model = plain(trained)
    other = renamed(mdata)
    for each, names in ((mdata, None), (other, "symbol")):
        jm.tl.evaluate(each, model, feature_names=names, labels="cell_type")
        jm.tl.knockout(each, model, **PAIR, feature_names=names)
    for slot in ("jamie_correlation", "jamie_js_distance"):
        assert_allclose(other["protein"].var[slot], mdata["protein"].var[slot], rtol=1e-3)
    for name, slot in (("protein", "jamie_scores_rna"), ("rna", "jamie_knockout_correlation_protein")):
        frame = other[name].varm[slot]
        assert_array_equal(frame.index, other[name].var_names)
        assert_allclose(frame, mdata[name].varm[slot], rtol=1e-3, atol=1e-4)
    jm.pl.metrics(other, **PAIR)
    jm.get.knockout(other, **PAIR)


def test_a_part_of_the_features_and_others_beside_them(trained):
    mdata, model = plain(trained)
    kept = MuData({name: adata[:, :-2].copy() for name, adata in mdata.mod.items()})
    other = renamed(kept, -1)
    other["rna"].var.loc[other["rna"].var_names[:2], "symbol"] = np.nan
    names = other["rna"].var["symbol"].dropna()
    jm.tl.evaluate(other, model, feature_names="symbol")
    table = jm.tl.knockout(other, model, **PAIR, feature_names="symbol")
    assert set(table.index) == set(names)
    assert other["rna"].var["jamie_knockout_correlation_protein"].isna().sum() == 2


@pytest.mark.parametrize("given", GIVEN)
def test_a_model_adapts_to_cells_of_other_names(given):
    model = jm.JAMIE(max_steps=20).fit(jm.datasets.toy())
    new = jm.datasets.toy(rng=1)
    other = renamed(new)
    found, expected = model.adapt(other, feature_names=given(other)), model.adapt(new)
    for name, latent in expected.embed(new).items():
        assert_allclose(found.embed(other, feature_names=given(other))[name], latent, atol=1e-4)
    imputed = [
        m.impute(c, **PAIR, feature_names=n) for m, c, n in ((found, other, given(other)), (expected, new, None))
    ]
    assert_allclose(*imputed, atol=1e-3)
    again = found.reconstruct(other, modality="protein", feature_names=given(other))
    assert_allclose(again, expected.reconstruct(new, modality="protein"), atol=1e-3)


@pytest.mark.parametrize("verb", ["links", "knockout_by_distance"])
def test_places_on_the_genome_go_with_their_features(verb):
    mdata = jm.datasets.multiome(n_cells=100, n_genes=10, n_peaks=40)
    model = jm.tl.train(mdata, max_steps=20)
    other = renamed(mdata)
    call = getattr(jm.tl, verb)
    found = call(other, model, genes="rna", regions="atac", feature_names="symbol")
    expected = call(mdata, model, genes="rna", regions="atac")
    by = [column for column in ("region", "gene", "set") if column in expected]
    left, right = (
        table[table["set"] != "random"] if "set" in table else table.drop(columns=["shap", "abs_shap"])
        for table in (found, expected)
    )
    pd.testing.assert_frame_equal(
        *(table.sort_values(by, ignore_index=True) for table in (left, right)), check_exact=False, rtol=1e-2, atol=1e-3
    )


def test_a_report_of_cells_of_other_names(trained, tmp_path):
    mdata, model = plain(trained)
    other = renamed(mdata)
    jm.tl.impute(other, model, **PAIR, feature_names="symbol")
    jm.pl.report(other, model, tmp_path / "x.html", feature_names="symbol", basis="pca")
    assert "protein3" in (tmp_path / "x.html").read_text()


def in_a_layer(mdata, layer):
    other = mdata.copy()
    other["rna"].layers[layer] = other["rna"].X.copy()
    other["rna"].X = other["rna"].X * 0
    return other


LABELS = {"labels": "cell_type", "source": "rna", "target": "rna"}


@pytest.fixture
def expected_labels(trained):
    mdata, model = plain(trained)
    query = mdata["rna"][:20].copy()
    jm.tl.transfer_labels(query, model, reference=mdata, **LABELS)
    return query.obs["jamie_label_cell_type"].tolist()


def test_options_of_a_query_leave_its_reference_as_it_was_trained(trained, expected_labels):
    mdata, model = plain(trained)
    for query, options in (
        (renamed(mdata)["rna"][:20].copy(), {"feature_names": "symbol"}),
        (in_a_layer(mdata, "raw")["rna"][:20].copy(), {"layer": "raw"}),
        (in_a_layer(mdata, "raw")["rna"][:20].copy(), {"layer": {"rna": "raw"}}),
    ):
        jm.tl.transfer_labels(query, model, reference=mdata, **LABELS, **options)
        assert query.obs["jamie_label_cell_type"].tolist() == expected_labels


def test_a_reference_with_another_layer_of_that_name_is_not_read_by_it(trained, expected_labels):
    mdata, model = plain(trained)
    mdata["rna"].layers["raw"] = mdata["rna"].X[::-1].copy()
    query = in_a_layer(mdata, "raw")["rna"][:20].copy()
    query.layers["raw"] = mdata["rna"][:20].X.copy()
    jm.tl.transfer_labels(query, model, reference=mdata, **LABELS, layer="raw")
    assert query.obs["jamie_label_cell_type"].tolist() == expected_labels


@pytest.mark.parametrize("kind", ["mudata", "anndata"])
def test_a_reference_that_cannot_be_read_as_the_training_is_refused(trained, kind):
    mdata, _ = plain(trained)
    layered = in_a_layer(mdata, "raw")
    model = jm.tl.train(layered, layer={"rna": "raw"}, max_steps=5)
    query = layered["rna"][:20].copy()

    def reference(mdata):
        return mdata if kind == "mudata" else mdata["rna"]

    with pytest.raises(KeyError, match=r"layer 'raw' in `reference\['rna'\].layers`.*of the query alone"):
        jm.tl.transfer_labels(query, model, reference=reference(mdata), **LABELS, layer="raw")
    model = trained[1]
    with pytest.raises(ValueError, match=r"found 0 in `reference\['rna'\].var_names`.*of the query alone"):
        jm.tl.transfer_labels(
            renamed(mdata)["rna"], model, reference=reference(renamed(mdata)), **LABELS, feature_names="symbol"
        )


@pytest.mark.parametrize("options", [{"layer": "raw"}, {"feature_names": "symbol"}])
@pytest.mark.parametrize("through", ["latent", "inferred"])
def test_how_values_are_read_is_refused_where_none_are(trained, options, through):
    mdata, _ = plain(trained)
    with pytest.raises(ValueError, match=f"expected a model with `{next(iter(options))}`"):
        jm.tl.transfer_labels(mdata, labels="cell_type", source="rna", target="protein", through=through, **options)


@pytest.mark.parametrize("given", GIVEN)
def test_a_mudata_is_completed_by_the_names_of_the_model(trained, given):
    """Also where rows of both modalities are imputed; measured ones keep the names that they have here."""
    mdata, model = plain(trained)
    expected = jm.tl.complete(mdata, model)
    other = renamed(mdata)
    found = jm.tl.complete(other, model, feature_names=given(other))
    for name, adata in expected.mod.items():
        assert adata.obs["jamie_imputed"].any()
        assert list(found[name].var_names) == [f"ENS-{feature}" for feature in adata.var_names]
        values = (x.toarray() if hasattr(x, "toarray") else x for x in (found[name][adata.obs_names].X, adata.X))
        assert_array_equal(*values)


@pytest.mark.parametrize("step", [-1, 2])
def test_cells_of_one_modality_are_completed_whatever_their_panel_and_names(trained, step):
    """No row of it is imputed, so that it stays as it is."""
    mdata, model = plain(trained)
    query = renamed(mdata, step)["rna"]
    before = query.X.copy()
    whole = jm.tl.complete(query, model, modality="rna", feature_names="symbol")
    assert list(whole["rna"].var_names) == list(query.var_names)
    assert_array_equal(whole["rna"].X.toarray(), before.toarray())
    assert not whole["rna"].obs["jamie_imputed"].any()
    assert whole["protein"].obs["jamie_imputed"].all()
    jm.tl.impute(query, model, source="rna", target="protein", feature_names="symbol")
    imputed = query.obsm["jamie_imputed_protein"].to_numpy()
    expected = model.preparations_["protein"].to_input_units(imputed)
    found = whole["protein"][query.obs_names].X
    assert_allclose(found.toarray() if hasattr(found, "toarray") else found, expected, rtol=1e-4, atol=1e-5)


def test_a_modality_with_imputed_rows_needs_the_features_of_the_model(trained):
    mdata, model = plain(trained)
    other = renamed(mdata, 2)
    with pytest.raises(ValueError, match=r"of `mdata\['rna'\]` to be those of the model.*some of its rows are imputed"):
        jm.tl.complete(other, model, feature_names="symbol")

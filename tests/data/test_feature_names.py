"""Features that the data calls otherwise than the model."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_allclose

import jamie as jm
from jamie.data._feature_names import mend_names


@pytest.fixture
def model(trained_session):
    return trained_session[1]


@pytest.fixture
def query(trained):
    return trained[0]["rna"][:30].copy()


def ensembl(adata):
    """The same cells by Ensembl ids, in another order, with the symbols in a column."""
    new = adata[:, ::-1].copy()
    new.var["symbol"] = new.var_names.to_numpy()
    new.var["length"] = np.arange(new.n_vars)
    new.var_names = [f"ENSG{i:011}.{i % 7}" for i in range(new.n_vars)]
    return new


@pytest.mark.parametrize("kind", ["column", "mapping", "series", "twice", "categories", "mixed"])
def test_a_column_or_a_mapping_gives_the_same_as_the_names(query, model, kind):
    new = ensembl(query)
    symbols = new.var["symbol"].to_dict()
    series = pd.Series(symbols)
    given = {"column": "symbol", "mapping": symbols, "series": series, "categories": "symbol"}.get(kind)
    if kind == "twice":  # as tables of databases say it
        given = pd.concat([series, series.iloc[:10]])
    if kind == "categories":
        new.var["symbol"] = new.var["symbol"].astype("category")
    if kind == "mixed":  # what the mapping leaves out keeps its name
        given = dict(list(symbols.items())[:25])
        new.var_names = [name if name in given else symbols[name] for name in new.var_names]
    jm.tl.embed(query, model, modality="rna")
    jm.tl.embed(new, model, modality="rna", feature_names=given)
    assert_allclose(new.obsm["X_jamie"], query.obsm["X_jamie"], atol=1e-4)
    assert new.var_names[0].startswith("ENSG")


@pytest.mark.parametrize("verb", ["impute", "reconstruct", "explain", "transfer_labels"])
def test_every_verb_on_new_cells_takes_it(trained, query, model, verb):
    new = ensembl(query)
    options = {
        "impute": {"source": "rna", "target": "protein"},
        "reconstruct": {"modality": "rna"},
        "explain": {"source": "rna", "target": "protein"},
        "transfer_labels": {"reference": trained[0], "labels": "cell_type", "source": "protein", "target": "rna"},
    }[verb]
    for adata, more in ((query, {}), (new, {"feature_names": "symbol"})):
        getattr(jm.tl, verb)(adata, model, **options, **more)
    if verb == "impute":
        a, b = (adata.obsm["jamie_imputed_protein"].to_numpy() for adata in (query, new))
    elif verb == "reconstruct":
        a, b = query.layers["jamie_reconstructed"][:, ::-1], new.layers["jamie_reconstructed"]
    elif verb == "explain":
        a, b = query.varm["jamie_shap_protein"].to_numpy()[::-1], new.varm["jamie_shap_protein"].to_numpy()
    else:
        a, b = (adata.obs["jamie_label_cell_type"].cat.codes.to_numpy() for adata in (query, new))
    assert_allclose(a, b, rtol=1e-2, atol=1e-3)


def test_a_modality_without_the_column_keeps_its_names(trained, model):
    mdata, _ = trained
    other = MuData({"rna": ensembl(mdata["rna"]), "protein": mdata["protein"].copy()})
    jm.tl.embed(other, model, feature_names="symbol")
    assert_allclose(other.obsm["X_jamie"], mdata.obsm["X_jamie"], atol=1e-4)


def test_features_without_a_name_are_of_no_use_and_no_harm(query, model):
    new = ensembl(query)
    extra = ad.AnnData(np.ones((30, 3), np.float32), obs=new.obs, var=pd.DataFrame(index=["e1", "e2", "gene1"]))
    extra.var["symbol"] = [None, np.nan, ""]
    wide = ad.concat([extra, new], axis=1, merge="same")
    jm.tl.embed(query, model, modality="rna")
    jm.tl.embed(wide, model, modality="rna", feature_names="symbol")
    assert_allclose(wide.obsm["X_jamie"], query.obsm["X_jamie"], atol=1e-4)


def test_two_features_of_one_name_are_refused(query, model):
    new = ensembl(query)
    new.var.loc[new.var_names[3], "symbol"] = "gene1"
    with pytest.raises(
        ValueError, match=r"each feature once in .*found 1 of the model's more than once, first 'gene1'"
    ):
        jm.tl.embed(new, model, modality="rna", feature_names="symbol")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("symbl", KeyError, r"one of \['symbol', 'length'\], found 'symbl'; did you mean 'symbol'\?"),
        ("nothing", KeyError, r"pass a mapping of names"),
        (["symbol"], TypeError, r"a column of `.var` or a mapping of names, found list; pass feature_names="),
        (3, TypeError, r"found int"),
        ({"ENSG0": "gene0", "ENSG1": "gene1"}, KeyError, r"found 2 names, first 'ENSG0', none of which is a feature"),
        (
            pd.Series(["a", "b"], index=["x", "x"]),
            ValueError,
            r"one name for each .* more for 1, first 'x'",
        ),
        (pd.Series({3: "gene0"}), KeyError, r"found 1 names, first 3, none .* pass the name that each feature has in"),
        (
            {f"gene{i}": f"ENSG{i:011}.{i % 3}" for i in range(40)},
            KeyError,
            r"leave `feature_names` out",
        ),
    ],
)
def test_what_is_neither_is_refused(query, model, given, error, message):
    with pytest.raises(error, match=message):
        jm.tl.embed(ensembl(query), model, modality="rna", feature_names=given)


def renamed(adata, change):
    new = adata.copy()
    new.var_names = [change(name) for name in new.var_names]
    return new


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (ensembl, r"`mdata\['rna'\].var\['symbol'\]` has 40 of them: pass feature_names='symbol', or rename"),
        (
            lambda a: renamed(a, str.upper),
            r"; they are the model's by another spelling: rename adata.var_names = adata.var_names.str.lower\(\)$",
        ),
        (lambda a: renamed(a, lambda name: f"{name}.3"), r"adata.var_names.str.split\('.'\).str\[0\]"),
        (lambda a: renamed(a, lambda name: f"ENSMUSG{int(name[4:]):011}"), "these are Ensembl ids and the model has"),
        (
            lambda a: renamed(a, lambda name: f"{name} x"),
            "; match the names with feature_names=, or train on these features with jm.tl.train\\(mdata\\)$",
        ),
    ],
)
def test_names_of_another_sort_are_told_with_what_mends_them(query, model, change, message):
    with pytest.raises(ValueError, match=rf"at least 10% of the 40 features.*found 0 .*{message}"):
        jm.tl.embed(change(query), model, modality="rna")


def test_symbols_where_the_model_has_ensembl_ids(toy):
    toy["rna"].var_names = [f"ENSG{i:011}" for i in range(40)]
    model = jm.tl.train(toy, max_steps=2)
    symbols = renamed(toy["rna"], lambda name: f"SYM{name[-3:]}")
    with pytest.raises(ValueError, match="these are symbols and the model has Ensembl ids: pass feature_names="):
        jm.tl.embed(symbols, model, modality="rna")


@pytest.mark.parametrize("here", ["symbols", "Ensembl ids"])
def test_the_mapping_that_would_help_is_named(here):
    sorts = {"symbols": [f"GENE{i}X" for i in range(9)], "Ensembl ids": [f"ENSG{i:011}" for i in range(9)]}
    (there,) = set(sorts) - {here}
    adata = ad.AnnData(np.zeros((2, 9), np.float32), var=pd.DataFrame(index=sorts[here]))
    said = mend_names("rna", adata, pd.Index(sorts[there]))
    assert said == (
        f"these are {here} and the model has {there}: pass feature_names=, a mapping from {here} to {there} or the "
        f"column of `.var` that holds {there}"
    )

"""Normalise, standardise, reduce: by hand the numbers are the same, and held-out cells have no say."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import jamie as jm


def dense(x):
    return x.toarray() if sparse.issparse(x) else np.asarray(x)


def with_gaps(n_cells=60):
    """Expression of the toy beside five continuous features with gaps, one of them constant."""
    mdata = jm.datasets.toy(n_cells=n_cells)
    rng = np.random.default_rng(0)
    values = (mdata.obsm["true_latent"] @ rng.normal(size=(3, 5)) + 50).astype(np.float32)
    values[0, 0] = np.nan
    values[3:9, 1] = np.nan
    values[10, 1:] = np.nan
    values[:, 4] = 2
    ephys = ad.AnnData(values, obs=pd.DataFrame(index=mdata.obs_names), var=pd.DataFrame(index=list("abcde")))
    return MuData({"rna": mdata["rna"], "ephys": ephys})


def test_slots_and_what_they_hold(toy):
    assert jm.pp.prepare(toy, n_comps={"rna": 7}) is None
    for name, kind, width in (("rna", "counts", 7), ("protein", "protein", 12)):
        adata = toy[name]
        loadings, inputs, about = adata.varm["jamie_loadings"], adata.obsm["X_jamie_input"], adata.uns["jamie_input"]
        assert loadings.shape == (adata.n_vars, width)
        assert inputs.shape == (adata.n_obs, width)
        assert inputs.dtype == np.float32
        assert about["kind"] == kind
        assert_allclose(loadings.T @ loadings, np.eye(width), atol=1e-5)
        assert_allclose(inputs.mean(0), 0, atol=1e-4)
        assert_allclose(inputs.var(0, ddof=1), about["variance"], rtol=1e-3)
        assert (np.diff(about["variance"]) <= 1e-5).all()


def test_counts_by_hand(toy):
    jm.pp.split(toy)
    jm.pp.prepare(toy)
    adata = toy["rna"]
    train = (toy.obs["jamie_split"].reindex(adata.obs_names) == "train").to_numpy()
    x = dense(adata.X).astype(np.float64)
    depth = np.median(x.sum(1)[train])
    log = np.log1p(x / x.sum(1, keepdims=True) * depth)
    mean, sd = log[train].mean(0), log[train].std(0)
    about = adata.uns["jamie_input"]
    assert_allclose(about["depth"], depth)
    assert_allclose(about["mean"], mean, rtol=1e-4)
    assert_allclose(about["sd"], sd, rtol=1e-4)
    assert_allclose(adata.obsm["X_jamie_input"], (log - mean) / sd @ adata.varm["jamie_loadings"], rtol=1e-3, atol=1e-3)


def test_protein_by_hand(toy):
    jm.pp.prepare(toy)
    x = toy["protein"].X.astype(np.float64)
    clr = np.log1p(x / np.exp(np.log1p(x).mean(1, keepdims=True)))
    assert_allclose(toy["protein"].uns["jamie_input"]["mean"], clr.mean(0), rtol=1e-4)
    assert_allclose(toy["protein"].uns["jamie_input"]["sd"], clr.std(0), rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "max_value"),
    [("counts", 3), ("protein", 3), ("accessibility", 3), ("continuous", 3), ("continuous", None)],
)
def test_sparse_and_dense_are_prepared_alike(toy, kind, max_value):
    other = toy.copy()
    other["rna"].X = other["rna"].X.toarray()
    for mdata in (toy, other):
        jm.pp.prepare(mdata, modalities=["rna", "protein"], kinds={"rna": kind}, n_comps=5, max_value=max_value)
    a, b = (mdata["rna"].obsm["X_jamie_input"] for mdata in (toy, other))
    if kind != "continuous" or max_value is None:
        assert_allclose(a.mean(0), 0, atol=1e-4)
    assert_allclose(a, b, atol=2e-3)


def test_accessibility_is_tfidf_of_open_or_closed(toy):
    jm.pp.prepare(toy, kinds={"rna": "accessibility"})
    is_open = dense(toy["rna"].X) > 0
    idf = np.log((1 + len(is_open)) / (1 + is_open.sum(0))) + 1
    weighted = is_open * idf
    weighted = weighted / np.linalg.norm(weighted, axis=1, keepdims=True)
    assert_allclose(toy["rna"].uns["jamie_input"]["mean"], weighted.mean(0), rtol=1e-4)
    doubled = toy.copy()
    doubled["rna"].X = doubled["rna"].X * 2
    jm.pp.prepare(doubled, kinds={"rna": "accessibility"})
    assert_array_equal(doubled["rna"].obsm["X_jamie_input"], toy["rna"].obsm["X_jamie_input"])


def test_kinds_are_detected_and_logged_and_overridden(toy, capsys):
    jm.pp.prepare(toy)
    logged = capsys.readouterr().err
    assert "`mdata['rna']` is taken as 'counts'" in logged
    assert "`mdata['protein']` is taken as 'protein'" in logged
    jm.pp.prepare(toy, kinds={"protein": "continuous"})
    logged = capsys.readouterr().err
    assert "mdata['protein']` is taken" not in logged
    about = toy["protein"].uns["jamie_input"]
    assert about["kind"] == "continuous"
    assert_allclose(about["mean"], toy["protein"].X.mean(0), rtol=1e-5)


def test_missing_values_are_left_out_of_means_and_stand_at_the_mean():
    mdata = with_gaps()
    jm.pp.prepare(mdata)
    about, x = mdata["ephys"].uns["jamie_input"], mdata["ephys"].X
    assert about["kind"] == "continuous"
    assert_allclose(about["mean"], np.nanmean(x, 0), rtol=1e-5)
    assert_allclose(about["sd"][:4], np.nanstd(x, 0)[:4], rtol=1e-4)
    assert about["sd"][4] == 1
    filled = np.where(np.isnan(x), about["mean"], x)
    expected = (filled - about["mean"]) / about["sd"] @ mdata["ephys"].varm["jamie_loadings"]
    assert_allclose(mdata["ephys"].obsm["X_jamie_input"], expected, atol=1e-4)
    assert np.isnan(mdata["ephys"].X).sum() == np.isnan(x).sum()


def test_a_layer_is_read_instead_of_x(toy):
    other = toy.copy()
    other["rna"].layers["raw"] = other["rna"].X.copy()
    other["rna"].X = other["rna"].X * 0 + sparse.csr_matrix(np.ones(other["rna"].shape, dtype=np.float32))
    jm.pp.prepare(toy)
    jm.pp.prepare(other, layer={"rna": "raw"})
    assert_array_equal(toy["rna"].obsm["X_jamie_input"], other["rna"].obsm["X_jamie_input"])
    assert other["rna"].uns["jamie_input"]["layer"] == "raw"


def test_only_training_cells_are_learned_from(toy):
    jm.pp.split(toy)
    changed = toy.copy()
    test = {name: (toy.obs["jamie_split"].reindex(toy[name].obs_names) == "test").to_numpy() for name in toy.mod}
    x = changed["rna"].X.toarray()
    x[test["rna"]] = x[test["rna"]] * 7 + 3
    changed["rna"].X = sparse.csr_matrix(x)
    changed["protein"].X[test["protein"]] = changed["protein"].X[test["protein"]][:, ::-1] * 2
    jm.pp.prepare(toy)
    jm.pp.prepare(changed)
    for name in toy.mod:
        a, b = toy[name], changed[name]
        assert_array_equal(a.varm["jamie_loadings"], b.varm["jamie_loadings"])
        assert_array_equal(a.obsm["X_jamie_input"][~test[name]], b.obsm["X_jamie_input"][~test[name]])
        for key, value in a.uns["jamie_input"].items():
            assert_array_equal(value, b.uns["jamie_input"][key])


def test_input_values_are_left_as_they_are(toy):
    before = toy.copy()
    jm.pp.prepare(toy)
    for name in toy.mod:
        assert_array_equal(dense(toy[name].X), dense(before[name].X))


@pytest.mark.parametrize("again", [{"test_fraction": 0.4}, {"rng": 1}], ids=["other size", "same size, other cells"])
def test_a_new_split_asks_to_prepare_again(toy, again):
    jm.pp.split(toy)
    jm.pp.prepare(toy)
    jm.pp.split(toy, **again)
    with pytest.raises(ValueError, match=r"split changed since; call jm\.pp\.prepare\(mdata\) again"):
        jm.tl.train(toy, max_steps=2)


def test_the_same_split_again_is_no_change(toy):
    jm.pp.split(toy)
    jm.pp.prepare(toy)
    jm.pp.split(toy)
    jm.tl.train(toy, max_steps=2)


def test_a_prefix_and_a_copy(toy):
    copied = jm.pp.prepare(toy, key_added="mine", copy=True)
    assert set(copied["rna"].obsm) == {"X_mine_input"}
    assert set(copied["rna"].varm) == {"mine_loadings"}
    assert set(copied["rna"].uns) == {"mine_input"}
    assert not toy["rna"].obsm


def test_components_are_never_more_than_there_are(toy):
    jm.pp.prepare(toy, n_comps=512)
    assert toy["rna"].obsm["X_jamie_input"].shape[1] == 40
    assert toy["protein"].obsm["X_jamie_input"].shape[1] == 12


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"kinds": {"rna": "count"}}, ValueError, "kinds\\['rna'\\].*did you mean 'counts'"),
        ({"kinds": {"rn": "counts"}}, KeyError, "`kinds`.*did you mean 'rna'"),
        ({"layer": "counts"}, KeyError, "layer 'counts' in `mdata\\['rna'\\]"),
        ({"n_comps": 600}, ValueError, "1 to 512 components, found n_comps=600"),
        ({"n_comps": {"protein": 0}}, ValueError, "found n_comps=0"),
        ({"max_value": -3}, ValueError, "max_value in standard deviations, or None .*, found -3"),
        ({"max_value": float("nan")}, ValueError, "found nan"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(toy, arguments, error, message):
    with pytest.raises(error, match=message):
        jm.pp.prepare(toy, **arguments)
    assert not any(adata.obsm or adata.varm or adata.uns for adata in toy.mod.values())


@pytest.mark.parametrize("kind", ["counts", "protein", "accessibility"])
def test_a_gap_in_counts_is_missing_or_refused_in_our_words(toy, kind):
    toy["protein"].X[3, 2] = np.nan
    try:
        jm.pp.prepare(toy, kinds={"protein": kind})
    except ValueError as error:
        assert "NaN" in str(error) and "mdata['protein']" in str(error)  # noqa: PT017, PT018
    else:
        assert np.isfinite(toy["protein"].obsm["X_jamie_input"]).all()
        assert np.isfinite(toy["protein"].uns["jamie_input"]["mean"]).all()


@pytest.fixture
def with_pca():
    """Genes with scanpy's components of their logarithms, proteins without."""
    mdata = jm.datasets.toy()
    rna = mdata["rna"]
    sc.pp.normalize_total(rna, target_sum=100)
    sc.pp.log1p(rna)
    sc.pp.pca(rna, n_comps=8)
    return mdata


def test_components_of_scanpy_are_taken_as_they_are(with_pca):
    jm.pp.prepare(with_pca, use_rep={"rna": "X_pca"})
    rna = with_pca["rna"]
    assert_array_equal(rna.obsm["X_jamie_input"], rna.obsm["X_pca"].astype(np.float32))
    assert rna.uns["jamie_input"]["kind"] == "continuous"
    assert with_pca["protein"].uns["jamie_input"]["kind"] == "protein"
    model = jm.tl.train(with_pca, max_steps=20)
    scores = model.preparations_["rna"].transform(rna.X)
    assert_allclose(scores, rna.obsm["X_pca"], atol=1e-3)
    assert_allclose(
        model.preparations_["rna"].inverse(scores),
        rna.obsm["X_pca"] @ rna.varm["PCs"].T + rna.X.toarray().mean(0),
        atol=1e-3,
    )


def test_components_that_are_not_of_the_values_are_refused(with_pca):
    rna = with_pca["rna"]
    with pytest.raises(KeyError, match=r"`use_rep`.*'X_pca'.*found 'X_pac'"):
        jm.pp.prepare(with_pca, use_rep={"rna": "X_pac"})
    with pytest.raises(KeyError, match="`use_rep`"):
        jm.pp.prepare(with_pca, use_rep="X_pca")  # proteins have none
    rna.layers["other"] = rna.X * 2
    with pytest.raises(
        ValueError, match=r"to be the components of `mdata\['rna'\].layers\['other'\]`, found them .* apart"
    ):
        jm.pp.prepare(with_pca, use_rep={"rna": "X_pca"}, layer={"rna": "other"})
    rna.varm["PCs"] = rna.varm["PCs"] * 2
    with pytest.raises(ValueError, match="expected orthonormal loadings of 8 components"):
        jm.pp.prepare(with_pca, use_rep={"rna": "X_pca"})
    assert "X_jamie_input" not in with_pca["protein"].obsm

"""A MuData without holes: every cell everywhere, what was measured as it was."""

from __future__ import annotations

from functools import cache

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import jamie as jm
from jamie.data import Preparation
from jamie.model import CellConfidence
from jamie.tl import _complete

CONTAINERS = [np.asarray, sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix]


def dense(x):
    return x.toarray() if sparse.issparse(x) else np.asarray(x)


@pytest.fixture
def completed(trained):
    mdata, model = trained
    return mdata, model, jm.tl.complete(mdata, model)


def test_every_cell_has_every_modality_and_flags_say_which_were_measured(completed):
    mdata, _, whole = completed
    assert set(whole.obs_names) == set(mdata.obs_names)
    for name, adata in whole.mod.items():
        assert adata.n_obs == mdata.n_obs
        assert_array_equal(adata.var_names, mdata[name].var_names)
        assert_array_equal(adata.obs["jamie_imputed"], ~adata.obs_names.isin(mdata[name].obs_names))
        assert np.isfinite(dense(adata.X)).all()
        assert dense(adata.X).min() >= 0


def test_measured_values_are_untouched_bit_for_bit(completed):
    mdata, _, whole = completed
    for name, adata in mdata.mod.items():
        assert whole[name].X.dtype == adata.X.dtype
        assert sparse.issparse(whole[name].X) == sparse.issparse(adata.X)
        assert_array_equal(dense(whole[name][adata.obs_names].X), dense(adata.X))


def test_imputed_rows_are_the_joint_latent_decoded_in_input_units(completed):
    mdata, model, whole = completed
    alone = mdata["rna"].obs_names.difference(mdata["protein"].obs_names)
    latent = mdata["rna"].obsm["X_jamie"][mdata["rna"].obs_names.get_indexer(alone)]
    inputs = model.open(mdata).inputs("rna")[mdata["rna"].obs_names.get_indexer(alone)]
    correction = model.correction(inputs, "rna", "protein")
    assert np.abs(correction).max() > 0
    clr = model.decode(latent, "protein", correction=correction)
    x = mdata["protein"].X
    train = (mdata.obs["jamie_split"].reindex(mdata["protein"].obs_names) == "train").to_numpy()
    typical = np.median(np.exp(np.log1p(x[train]).mean(1)))
    carried = np.expm1(clr.clip(0)) * typical * model.preparations_["protein"].recovery
    assert_allclose(whole["protein"][alone].X, carried, rtol=1e-3, atol=1e-3)


def test_labels_and_latents_follow_the_names(completed):
    mdata, _, whole = completed
    assert_array_equal(whole.obs["cell_type"], mdata.obs["cell_type"].reindex(whole.obs_names))
    rows = mdata.obs_names.get_indexer(whole.obs_names)
    assert_allclose(whole.obsm["X_jamie"], mdata.obsm["X_jamie"][rows], rtol=1e-5)
    measured = whole["rna"].obs["cell_type"].dropna()
    assert_array_equal(measured, mdata["rna"].obs["cell_type"].reindex(measured.index))


def test_the_original_is_left_alone(trained):
    mdata, model = trained
    before = {name: (set(adata.obs), set(adata.obsm), set(adata.layers)) for name, adata in mdata.mod.items()}
    whole = jm.tl.complete(mdata, model)
    whole["protein"].X[:] = -1
    assert mdata["protein"].X.min() >= 0
    assert before == {name: (set(adata.obs), set(adata.obsm), set(adata.layers)) for name, adata in mdata.mod.items()}


def test_the_whole_can_be_written_and_read(trained, tmp_path):
    mdata, model = trained
    mdata["rna"].obs["note"] = [f"n{i % 7}" for i in range(mdata["rna"].n_obs)]
    mdata["rna"].obs["flag"] = True
    mdata["rna"].obs["number"] = 3
    whole = jm.tl.complete(mdata, model)
    whole.write(tmp_path / "whole.h5mu")
    read = md.read_h5mu(tmp_path / "whole.h5mu")
    for name in whole.mod:
        assert_array_equal(dense(read[name].X), dense(whole[name].X))
        assert_array_equal(read[name].obs["jamie_imputed"], whole[name].obs["jamie_imputed"])


def test_a_modality_that_nobody_has_is_imputed_for_all(trained):
    mdata, model = trained
    whole = jm.tl.complete(MuData({"rna": mdata["rna"].copy()}), model)
    assert whole["protein"].shape == (mdata["rna"].n_obs, 12)
    assert whole["protein"].obs["jamie_imputed"].all()
    assert_array_equal(whole["protein"].var_names, mdata["protein"].var_names)


def test_a_partner_by_another_name_has_its_say(toy):
    rna, protein = toy["rna"].obs_names, toy["protein"].obs_names
    only_rna, only_protein = rna.difference(protein), protein.difference(rna)
    model = jm.tl.train(toy, max_steps=5)
    alone = jm.tl.complete(toy, model)
    jm.pp.correspondence(toy, pairs=pd.DataFrame({"a": only_rna, "b": only_protein}))
    paired = jm.tl.complete(toy, model)
    assert not np.allclose(alone["protein"][only_rna].X, paired["protein"][only_rna].X)


def test_other_features_are_refused(trained):
    mdata, model = trained
    other = MuData({"rna": mdata["rna"][:, ::-1].copy(), "protein": mdata["protein"].copy()})
    with pytest.raises(ValueError, match=r"mdata\['rna'\].*to be those of the model, in its order"):
        jm.tl.complete(other, model)


def test_a_cell_of_one_source_is_completed_as_it_is_imputed(trained):
    mdata, model = trained
    whole = jm.tl.complete(mdata, model)
    lonely = whole["protein"].obs_names[whole["protein"].obs["jamie_imputed"]]
    position = mdata["rna"].obs_names.get_indexer(lonely)
    assert len(lonely)
    assert model.network_.kernel_mix("rna", "protein") is not None
    imputed = model.impute(mdata, source="rna", target="protein")[position]
    expected = model.preparations_["protein"].to_input_units(imputed)
    assert_allclose(dense(whole["protein"][lonely].X), expected, rtol=1e-4, atol=1e-5)


def with_values(mdata, name, x, **slots):
    """The same MuData with other values, and slots, of a modality."""
    adata = mdata[name]
    other = ad.AnnData(x, obs=adata.obs.copy(), var=adata.var.copy(), **slots)
    return MuData({m: other if m == name else a.copy() for m, a in mdata.mod.items()})


def imputed_rows(completed, name):
    return dense(completed[name].X)[completed[name].obs["jamie_imputed"].to_numpy()]


@pytest.fixture(scope="module")
def of_floats(trained_session):
    """Function that gives counts that every type can hold, and what is completed of them as dense floats."""
    mdata, model = trained_session

    @cache
    def of(name):
        x = np.minimum(dense(mdata[name].X), 255)
        return x, jm.tl.complete(with_values(mdata, name, x), model)

    return of


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "uint64", "float32", "float64"])
@pytest.mark.parametrize("name", ["rna", "protein"])
def test_the_stored_type_of_counts_changes_nothing(trained, of_floats, name, dtype, container):
    mdata, model = trained
    x, expected = of_floats(name)
    found = jm.tl.complete(with_values(mdata, name, container(x.astype(dtype))), model)
    assert found[name].X.dtype == np.float32
    assert sparse.issparse(found[name].X) == (container is not np.asarray)
    for m in found.mod:
        assert_allclose(dense(found[m].X), dense(expected[m].X), rtol=1e-4, atol=1e-4)
    values = imputed_rows(found, name)
    assert (values % 1 != 0).mean() > 0.5
    assert (values.std(0) > 0).all()


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "float64"])
def test_the_stored_type_changes_no_training(dtype):
    found = []
    for kind in (np.float32, dtype):
        mdata = jm.datasets.multiome(n_cells=60, n_genes=20, n_peaks=60)
        x = (dense(mdata["atac"].X) > 0).astype(kind)
        atac = ad.AnnData(x, obs=mdata["atac"].obs, var=mdata["atac"].var)[:45].copy()
        mdata = MuData({"rna": mdata["rna"].copy(), "atac": atac})
        found.append(jm.tl.complete(mdata, jm.tl.train(mdata, max_steps=3))["atac"])
    assert [adata.X.dtype for adata in found] == [np.float32] * 2
    assert_array_equal(found[0].X, found[1].X)
    values = found[1].X[found[1].obs["jamie_imputed"].to_numpy()]
    assert values.shape == (15, 60)
    assert 0 < values.mean() < 0.5
    assert values.max() <= 1


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize(
    ("value", "dtype"), [(2**24 + 1, "int64"), (2**31 - 1, "uint32"), (2**24 - 1, "int64"), (2.0**40 + 1, "float64")]
)
def test_measured_values_keep_their_exact_numbers(trained, container, value, dtype):
    mdata, model = trained
    x = dense(mdata["protein"].X).astype(dtype)
    x[3, 4] = value
    found = jm.tl.complete(with_values(mdata, "protein", container(x)), model)["protein"]
    assert found.X.dtype == (np.float32 if value == 2**24 - 1 else np.float64)
    assert_array_equal(dense(found[mdata["protein"].obs_names].X).astype(dtype), x)


def test_a_modality_without_imputed_rows_is_as_it_was(trained):
    mdata, model = trained
    rna = mdata["rna"]
    only = mdata["protein"][mdata["protein"].obs_names.isin(rna.obs_names)].copy()
    rna = ad.AnnData(
        sparse.csr_matrix(rna.X.astype(np.uint16)),
        obs=rna.obs.assign(number=3),
        var=rna.var,
        layers={"sparse": rna.X.copy(), "dense": rna.X.toarray()},
        obsm={"X_pca": rna.X.toarray()[:, :2]},
        obsp={"distances": sparse.eye(rna.n_obs, format="csr")},
        uns={"note": {"a": 1}},
    )
    rna.raw = rna
    whole = jm.tl.complete(MuData({"rna": rna, "protein": only}), model)["rna"]
    assert whole.X.dtype == np.uint16
    assert "jamie_kind" not in whole.uns
    assert whole.uns["note"] == {"a": 1}
    assert whole.obs["number"].dtype.kind == "i"
    whole = whole[rna.obs_names]
    for found, expected in (
        (whole.X, rna.X),
        (whole.layers["sparse"], rna.layers["sparse"]),
        (whole.layers["dense"], rna.layers["dense"]),
        (whole.raw.X, rna.raw.X),
        (whole.obsp["distances"], rna.obsp["distances"]),
        (whole.obsm["X_pca"], rna.obsm["X_pca"]),
    ):
        assert_array_equal(dense(found), dense(expected))
        assert found.dtype == expected.dtype


@pytest.fixture
def furnished(trained):
    """Proteins with something in every slot."""
    mdata, model = trained
    protein, rng = mdata["protein"], np.random.default_rng(0)
    n, d = protein.shape
    x = dense(protein.X)
    jm.pp.prepare(mdata)
    protein.layers["clr"] = np.log1p(x)
    protein.layers["raw"] = x.astype(np.int64)
    protein.layers["sparse"] = sparse.csr_matrix(x)
    protein.obsm["X_pca"] = rng.normal(size=(n, 2))
    protein.obsm["table"] = pd.DataFrame({"a": np.arange(n)}, index=protein.obs_names)
    protein.obsm["sparse"] = sparse.csr_matrix(x)
    protein.obsp["distances"] = sparse.eye(n, format="csr")
    protein.varm["PCs"] = rng.normal(size=(d, 2))
    protein.varp["links"] = np.eye(d)
    protein.uns["note"] = {"a": [1, 2]}
    protein.raw = ad.AnnData(x[:, :5] + 1, obs=protein.obs, var=protein.var[:5])
    mdata.obsm["X_umap"] = rng.normal(size=(mdata.n_obs, 2))
    mdata.uns["note"] = "kept"
    return mdata, model


def test_what_else_is_there_is_kept_or_named(furnished, capsys):
    mdata, model = furnished
    whole = jm.tl.complete(mdata, model)
    found, given = whole["protein"], mdata["protein"]
    imputed = found.obs["jamie_imputed"].to_numpy()
    measured = found[given.obs_names]
    for key in ("clr", "raw"):
        assert_allclose(measured.layers[key], given.layers[key])
        assert np.isnan(found.layers[key][imputed]).all()
    assert_array_equal(measured.obsm["X_pca"], given.obsm["X_pca"])
    assert np.isnan(found.obsm["X_pca"][imputed]).all()
    assert_array_equal(measured.obsm["table"]["a"], given.obsm["table"]["a"])
    assert_array_equal(measured.raw.X, given.raw.X)
    assert np.isnan(found.raw.X[imputed]).all()
    assert_array_equal(found.varm["PCs"], given.varm["PCs"])
    assert_array_equal(found.varp["links"], given.varp["links"])
    assert found.uns["note"] == {"a": [1, 2]}
    assert_array_equal(whole.obsm["X_umap"], mdata[whole.obs_names].obsm["X_umap"])
    assert whole.uns["note"] == "kept"
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "are imputed" in line]
    for slot in ("layers['sparse']", "obsm['sparse']", "obsp['distances']", "uns['jamie_input']"):
        assert f"mdata['protein'].{slot}" in line
        kind, key = slot.rstrip("']").split("['")
        assert key not in getattr(found, kind)
    for slot in ("layers['clr']", "obsm['X_pca']", "varm['PCs']", ".raw"):
        assert f"mdata['protein'].{slot}" not in line


@pytest.mark.parametrize("suffix", ["h5mu", "zarr"])
def test_a_file_holds_every_slot(furnished, tmp_path, suffix):
    mdata, model = furnished
    mdata["protein"].X = mdata["protein"].layers["raw"]
    expected, out = jm.tl.complete(mdata, model)["protein"], tmp_path / f"x.{suffix}"
    jm.tl.complete(mdata, model, out=out)
    found = (md.read_h5mu if suffix == "h5mu" else md.read_zarr)(out)["protein"]
    assert_array_equal(found.X, expected.X)
    assert found.X.dtype == expected.X.dtype
    assert set(found.layers) == set(expected.layers)
    for key in expected.layers:
        assert_array_equal(found.layers[key], expected.layers[key])
    assert_array_equal(found.obsm["X_pca"], expected.obsm["X_pca"])
    if suffix == "h5mu":  # mudata 0.3 reads no .raw from zarr
        assert_array_equal(found.raw.X, expected.raw.X)
    assert found.uns["jamie_kind"] == expected.uns["jamie_kind"]


def test_cells_that_no_modality_of_the_model_has_are_not_invented(trained, capsys):
    mdata, model = trained
    names = [*mdata["rna"].obs_names[:3], "new 1", "new 2"]
    other = ad.AnnData(np.ones((5, 2), np.float32), obs=pd.DataFrame(index=names))
    whole = jm.tl.complete(MuData({**{m: a.copy() for m, a in mdata.mod.items()}, "other": other}), model)
    assert set(whole.obs_names) == set(mdata.obs_names)
    assert list(whole.mod) == ["rna", "protein"]
    assert all(np.isfinite(dense(adata.X)).all() for adata in whole.mod.values())
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "are imputed" in line]
    assert "; 2 cells are left out" in line
    assert "mdata.mod['other']" in line


@pytest.mark.parametrize("through_file", [False, True])
def test_what_was_completed_is_of_the_same_kinds(completed, tmp_path, capsys, through_file):
    _, model, whole = completed
    if through_file:
        whole.write(tmp_path / "whole.h5mu")
        whole = md.read_h5mu(tmp_path / "whole.h5mu")
    capsys.readouterr()
    again = jm.tl.train(whole, max_steps=2, key_added="second")
    log = capsys.readouterr().err.splitlines()
    for name, preparation in model.preparations_.items():
        assert again.preparations_[name].kind == preparation.kind
        (line,) = [line for line in log if f"`mdata[{name!r}]` is taken as" in line]
        assert "completed" in line
        depth = again.preparations_[name].normaliser.depth
        assert depth == pytest.approx(preparation.normaliser.depth, rel=0.2)


def test_completed_accessibility_is_still_open_or_closed():
    mdata = jm.datasets.multiome(n_cells=80, n_genes=20, n_peaks=60)
    atac = mdata["atac"][:60].copy()
    rate = np.minimum(dense(atac.X), 1).mean()
    mdata = MuData({"rna": mdata["rna"].copy(), "atac": atac})
    whole = jm.tl.complete(mdata, jm.tl.train(mdata, max_steps=30))
    assert imputed_rows(whole, "atac").mean() == pytest.approx(rate, rel=0.3)
    jm.pp.prepare(whole)
    about = whole["atac"].uns["jamie_input"]
    assert about["kind"] == "accessibility"
    assert about["openness"][0].mean() == pytest.approx(rate, rel=0.15)


def test_completed_again_nothing_changes(completed):
    _, model, whole = completed
    again = jm.tl.complete(whole, model)
    for name in whole.mod:
        assert_array_equal(dense(again[name][whole.obs_names].X), dense(whole[name].X))
        assert_array_equal(again[name][whole.obs_names].obs["jamie_imputed"], whole[name].obs["jamie_imputed"])
    assert again["rna"].obs["jamie_imputed"].any()


def test_values_of_a_layer_go_where_the_model_reads_them():
    mdata = jm.datasets.toy()
    rna = mdata["rna"]
    rna.layers["counts"] = rna.X.astype(np.int32)
    rna.X = rna.X.log1p()
    jm.pp.prepare(mdata, layer={"rna": "counts"})
    model = jm.tl.train(mdata, max_steps=3)
    whole = jm.tl.complete(mdata, model)
    for x in (whole["rna"].X, whole["rna"].layers["counts"]):
        assert_array_equal(dense(x)[~whole["rna"].obs["jamie_imputed"]].sum(), rna.layers["counts"].sum())
    assert_allclose(model.embed(whole)["rna"].shape, (60, 32))
    for layer in (None, "counts"):
        jm.pp.prepare(whole, layer=None if layer is None else {"rna": layer})
        assert whole["rna"].uns["jamie_input"]["kind"] == "counts"


def test_components_are_computed_once_for_each_modality(trained, monkeypatch):
    mdata, model = trained
    compute, calls = Preparation.components, []
    monkeypatch.setattr(Preparation, "components", lambda *given: calls.append(given[0]) or compute(*given))
    jm.tl.complete(mdata, model)
    assert len(calls) == len({id(preparation) for preparation in calls}) == 2


@pytest.mark.parametrize("target", ["rna", "protein"])
def test_imputed_counts_have_the_mean_of_the_counts(trained, target):
    """On the cells the factor was learned from: to within its prior of one count, with or without it far off."""
    mdata, model = trained
    source = {"rna": "protein", "protein": "rna"}[target]
    both = mdata[source].obs_names.intersection(mdata[target].obs_names)
    both = both[(mdata.obs.loc[both, "jamie_split"] == "train").to_numpy()]
    imputed = model.impute(mdata, source=source, target=target)[mdata[source].obs_names.get_indexer(both)]
    counts = dense(mdata[target][both].X).sum(0)
    preparation = model.preparations_[target]
    carried = preparation.to_input_units(imputed).sum(0)
    assert_allclose(carried, counts, atol=3, rtol=0.02)
    plain = preparation.normaliser.to_input_units(imputed).sum(0)
    assert np.median(plain / counts) < 0.97


def test_hidden_cells_are_completed_to_their_mean():
    full = jm.datasets.toy(n_cells=300, share_paired=1.0)
    order = np.random.default_rng(0).permutation(full.obs_names)
    hidden = {"rna": order[:80], "protein": order[80:160]}
    mdata = MuData({m: a[~a.obs_names.isin(hidden[m])].copy() for m, a in full.mod.items()})
    whole = jm.tl.complete(mdata, jm.tl.train(mdata, max_steps=60))
    for name, cells in hidden.items():
        ratio = dense(whole[name][cells].X).mean(0) / dense(full[name][cells].X).mean(0)
        assert 0.9 < np.median(ratio) < 1.1


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_proteins_that_a_panel_lacks_are_imputed_from_the_other(container):
    mdata = jm.datasets.toy(n_cells=120, share_paired=1.0)
    protein = mdata["protein"]
    truth, missing = dense(protein.X).copy(), np.arange(6)
    truth[:, missing] *= 20
    x = truth.copy()
    x[60:, missing] = np.nan
    protein.X = container(x)
    model = jm.tl.train(mdata, max_steps=60)
    preparation = model.preparations_["protein"]
    assert preparation.kind == "protein"
    assert np.isfinite(mdata.obsm["X_jamie"]).all()

    shared = np.arange(6, 12)
    found, alone = (
        preparation.measured(x)[:, shared],
        np.log1p(x / np.exp(np.nanmean(np.log1p(x), 1))[:, None])[:, shared],
    )
    complete = np.log1p(truth / np.exp(np.log1p(truth).mean(1))[:, None])[:, shared]
    shift = lambda values: (values[:60] - complete[:60]).mean(0) - (values[60:] - complete[60:]).mean(0)  # noqa: E731
    assert np.abs(shift(found)).max() < 0.12
    assert np.abs(shift(alone)).max() > 0.25

    jm.tl.impute(mdata, model, source="rna", target="protein")
    imputed = mdata["protein"].layers["jamie_imputed"]
    expected = np.log1p(truth / np.exp(np.log1p(truth).mean(1))[:, None])
    correlation = [np.corrcoef(imputed[60:, j], expected[60:, j])[0, 1] for j in missing]
    assert np.min(correlation) > 0.5
    whole = jm.tl.complete(mdata, model)["protein"]
    assert_array_equal(dense(whole[protein.obs_names].X), x)


def test_imputed_rows_say_how_sure_they_are(completed):
    mdata, model, whole = completed
    for source, target in (("rna", "protein"), ("protein", "rna")):
        found = model.confidence(model.open(mdata).inputs(source), source, target)
        expected = pd.DataFrame(found._asdict(), index=mdata[source].obs_names).reindex(whole[target].obs_names)
        expected[~whole[target].obs["jamie_imputed"].to_numpy()] = np.nan
        assert expected["confidence"].notna().any()
        for column, slot in (("confidence", "jamie_imputation_confidence"), ("novelty", "jamie_novelty")):
            assert_allclose(whole[target].obs[slot], expected[column], rtol=1e-4)


def test_rows_are_as_sure_as_all_of_their_sources_say(monkeypatch, trained):
    _, model = trained
    said = {("rna",): (0.3, 0.9), ("rna", "protein"): (0.6, 0.2)}
    directions = {("rna", "target"): None, (("rna", "protein"), "target"): None}
    monkeypatch.setattr(model, "preparations_", dict.fromkeys([*model.preparations_, "third"]))
    monkeypatch.setattr(model, "confidences_", directions)
    monkeypatch.setattr(
        model,
        "confidence_jointly",
        lambda x, _: CellConfidence(*(np.full(len(next(iter(x.values()))), v) for v in said[tuple(x)])),
    )
    cells, has = pd.Index(list("abcd")), {"rna": [1, 1, 0, 0], "protein": [1, 0, 1, 0], "third": [0, 0, 1, 1]}
    places = {name: _complete._Place(cells, np.where(of, np.cumsum(of) - 1, -1)) for name, of in has.items()}
    places["target"] = _complete._Place(cells, np.array([-1, -1, -1, 0]))
    known = _complete._Known({name: np.zeros((sum(of), 2)) for name, of in has.items()}, np.zeros((4, 2)), places)
    confidence, novelty = _complete._confidence(model, "target", known)
    assert_allclose(confidence, [0.6, 0.3, np.nan, np.nan])
    assert_allclose(novelty, [0.2, 0.9, np.nan, np.nan])

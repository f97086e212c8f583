"""Likeliest partners, by the latents."""

from __future__ import annotations

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal

import jamie as jm
from jamie.correspondence._nearest import nearest_partners
from jamie.data import open_cells
from jamie.tl import _match

SLOT = "jamie_match_rna_protein"


def match(mdata, **options):
    return jm.tl.match(mdata, **{"source": "rna", "target": "protein"} | options)


def test_partners_are_the_nearest_by_name(trained):
    mdata, _ = trained
    assert match(mdata, n_keep=5) is None
    f = pd.DataFrame(mdata.obsp[SLOT].toarray(), index=mdata.obs_names, columns=mdata.obs_names)
    rna, protein = (pd.DataFrame(mdata[m].obsm["X_jamie"], index=mdata[m].obs_names) for m in ("rna", "protein"))
    for cell in (rna.index[3], rna.index[-1], rna.index.difference(protein.index)[0]):
        distance = ((protein - rna.loc[cell]) ** 2).sum(axis=1).sort_values()
        partners = f.loc[cell][f.loc[cell] > 0].sort_values(ascending=False)
        assert list(partners.index) == list(distance.index[:5])
        assert_allclose(np.diff(np.log(partners)) / np.diff(distance[:5]), -1 / bandwidth(f, rna, protein), rtol=1e-2)


def bandwidth(f, rna, protein):
    """As the two likeliest partners of the first cell imply it."""
    p = f.loc[rna.index[0]].sort_values(ascending=False)[:2]
    d = ((protein.loc[p.index] - rna.iloc[0]) ** 2).sum(axis=1)
    return -np.diff(d)[0] / np.diff(np.log(p))[0]


@pytest.mark.parametrize("fewest", [5, 300])
def test_validation_pairs_are_looked_at_and_other_training_pairs_where_they_are_few(trained, monkeypatch, fewest):
    mdata, _ = trained
    given = []
    monkeypatch.setattr(
        "jamie.tl._match.nearest_partners",
        lambda *args, **options: given.append(options) or nearest_partners(*args, **options),
    )
    monkeypatch.setattr(_match, "FEWEST_UNSEEN", fewest)
    match(mdata)
    cells = open_cells(mdata)
    pairs = cells.known_of_training("rna", "protein")
    assert 0 < pairs.nnz < cells.known("rna", "protein").nnz
    assert_array_equal(given[0]["pairs"].toarray(), pairs.toarray())
    is_validation = [(mdata[m].obs["jamie_role"] == "validation").to_numpy() for m in ("rna", "protein")]
    unseen = cells.known("rna", "protein").toarray() * np.outer(*is_validation)
    assert 5 <= np.count_nonzero(unseen) < 300
    x, y = (mdata[m].obsm["X_jamie"] for m in ("rna", "protein"))
    expected = nearest_partners(x, y, n_keep=20, pairs=pairs)
    if fewest == 5:
        assert_array_equal(given[0]["unseen"].toarray(), unseen)
        expected = nearest_partners(x, y, n_keep=20, unseen=given[0]["unseen"])
    else:
        assert given[0]["unseen"] is None
    assert_allclose(cells.stored_pairs("match", "rna", "protein").toarray(), expected.toarray(), rtol=1e-6)


@pytest.mark.parametrize(("source", "target"), [("rna", "protein"), ("protein", "rna")])
def test_every_cell_of_the_source_has_partners_of_the_target(trained, source, target):
    mdata, _ = trained
    jm.tl.match(mdata, source=source, target=target)
    f = mdata.obsp[f"jamie_match_{source}_{target}"]
    assert (f.shape, f.format, f.dtype) == ((200, 200), "csr", np.float32)
    in_source, in_target = (mdata.obs_names.isin(mdata[m].obs_names) for m in (source, target))
    assert_array_equal(np.diff(f.indptr), np.where(in_source, 20, 0))
    mass = np.asarray(f.sum(axis=1)).ravel()
    assert ((mass > 0) & (mass <= 1))[in_source].all()
    assert set(f.indices) <= set(np.flatnonzero(in_target))
    assert f.data.min() >= 0


def test_a_true_partner_is_found_more_often_than_by_chance(trained):
    mdata, _ = trained
    match(mdata)
    held_out = (mdata.obs["jamie_split"] == "test").to_numpy()
    found = mdata.obsp[SLOT].diagonal()[held_out] > 0
    assert found.mean() > 2 * 20 / mdata["protein"].n_obs


def test_few_cells_of_other_names_and_no_pairs():
    rng = np.random.default_rng(0)
    mods = {}
    for name, n in (("rna", 12), ("protein", 4)):
        mods[name] = ad.AnnData(rng.normal(size=(n, 3)).astype(np.float32))
        mods[name].obs_names = [f"{name}{i}" for i in range(n)]
        mods[name].var_names = [f"{name} feature{i}" for i in range(3)]
        mods[name].obsm["X_jamie"] = rng.normal(size=(n, 2)).astype(np.float32)
    mdata = MuData(mods)
    match(mdata)
    assert mdata.obsp[SLOT].nnz == 12 * 4
    jm.tl.match(mdata, source="protein", target="rna", n_keep=3)
    assert mdata.obsp["jamie_match_protein_rna"].nnz == 4 * 3


def test_a_file_keeps_it_and_a_subset_stays_in_step(trained, tmp_path):
    mdata, _ = trained
    match(mdata)
    mdata.write(tmp_path / "cells.h5mu")
    again = mudata.read_h5mu(tmp_path / "cells.h5mu")
    assert_array_equal(again.obsp[SLOT].toarray(), mdata.obsp[SLOT].toarray())
    some = mdata.obs_names[::-3]
    part = mdata[some].copy()
    rows = mdata.obs_names.get_indexer(part.obs_names)
    assert_array_equal(part.obsp[SLOT].toarray(), mdata.obsp[SLOT].toarray()[rows][:, rows])
    f = open_cells(part).stored_pairs("match", "rna", "protein")
    assert f.shape == (part["rna"].n_obs, part["protein"].n_obs)


def test_a_copy_leaves_the_original_and_the_prefix_is_read_and_written(trained):
    mdata, model = trained
    copied = match(mdata, copy=True)
    assert SLOT in copied.obsp
    assert not list(mdata.obsp)
    with pytest.raises(KeyError, match="X_mine"):
        match(mdata, key_added="mine")
    jm.tl.embed(mdata, model, key_added="mine")
    match(mdata, key_added="mine")
    assert list(mdata.obsp) == ["mine_match_rna_protein"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"source": "rnaa"}, KeyError, "found 'rnaa'; did you mean 'rna'"),
        ({"target": "rna"}, ValueError, "at least two modalities"),
        ({"n_keep": 0}, ValueError, "expected `n_keep` of at least 1, found 0"),
        ({"n_keep": 2.5}, ValueError, r"`n_keep`.*found 2\.5"),
    ],
)
def test_bad_input_is_refused(trained, options, error, message):
    mdata, _ = trained
    with pytest.raises(error, match=message):
        match(mdata, **options)
    assert not list(mdata.obsp)


def test_latents_must_be_there_finite_and_of_one_model(toy, trained):
    with pytest.raises(KeyError, match=r"mdata\['rna'\].obsm\['X_jamie'\].*call jm.tl.train\(mdata\)"):
        match(toy)
    with pytest.raises(TypeError, match="expected a MuData, found AnnData"):
        match(toy["rna"])
    mdata, _ = trained
    latent = mdata["protein"].obsm["X_jamie"]
    mdata["protein"].obsm["X_jamie"] = latent[:, :7]
    with pytest.raises(ValueError, match=r"'rna' and 'protein' from the same model, found 32 and 7.*jm\.tl\.embed"):
        match(mdata)
    latent[3, 2] = np.nan
    mdata["protein"].obsm["X_jamie"] = latent
    with pytest.raises(ValueError, match=r"finite latents in `mdata\['protein'\]"):
        match(mdata)
    assert not list(mdata.obsp)


USES = {
    "match": match,
    "labels": lambda mdata: jm.tl.transfer_labels(mdata, labels="cell_type", source="rna", target="protein"),
    "embedding": lambda mdata: jm.get.embedding(mdata, basis="pca"),
    "picture": lambda mdata: jm.pl.embedding(mdata, basis="pca"),
    "reference": lambda mdata: jm.get.embedding(mdata["rna"], reference=mdata["protein"], basis="pca"),
}


@pytest.fixture(scope="module")
def another():
    """A model of the same shape that places cells otherwise."""
    return jm.tl.train(jm.datasets.toy(n_cells=200), max_steps=5, rng=7)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("saved", [False, True])
def test_latents_of_two_models_are_not_compared(trained, another, use, saved, tmp_path):
    mdata, model = trained
    jm.tl.embed(mdata["rna"], another, modality="rna")
    if saved:
        mdata.write(tmp_path / "x.h5mu")
        mdata = mudata.read_h5mu(tmp_path / "x.h5mu")
    with pytest.raises(ValueError, match=r"latents .*(same|one) model.*call jm\.tl\.embed"):
        USES[use](mdata)
    jm.tl.embed(mdata, model)
    USES[use](mdata)


def test_latents_of_copies_of_one_model_are(trained, tmp_path):
    mdata, model = trained
    model.save(tmp_path / "model")
    for other in (jm.JAMIE.load(tmp_path / "model"), model.adapt(jm.datasets.toy(rng=5))):
        jm.tl.embed(mdata["rna"], other, modality="rna")
        match(mdata)
    del mdata["protein"].uns["jamie_placed_by"]  # as when cells are concatenated: it is not known
    match(mdata)


def test_prefixes_keep_models_apart(trained, another):
    mdata, _ = trained
    jm.tl.embed(mdata, another, key_added="other")
    match(mdata)
    match(mdata, key_added="other")
    assert mdata["rna"].uns["jamie_placed_by"] != mdata["rna"].uns["other_placed_by"]


def test_a_view_is_refused(trained):
    mdata, _ = trained
    with pytest.raises(ValueError, match="found a view"):
        match(mdata[:50])
    assert match(mdata[:50], copy=True).obsp[SLOT].shape == (50, 50)

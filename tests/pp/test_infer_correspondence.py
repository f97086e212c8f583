"""Inferred correspondence from and to a MuData: slots, what was used of it, and what is refused."""

from __future__ import annotations

import sys

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.preprocessing import normalize

import jamie as jm
from jamie._compat import quiet_mudata
from jamie.correspondence import Evidence, MatchingReport, MatchingResult

KEY = "jamie_inferred_rna_protein"


@pytest.fixture
def alone(toy):
    """The toy without a shared name: no pair is known."""
    rna, protein = toy["rna"].copy(), toy["protein"].copy()
    rna.obs_names, protein.obs_names = "r" + rna.obs_names, "p" + protein.obs_names
    return md.MuData({"rna": rna, "protein": protein})


@pytest.fixture
def linked(alone):
    return pd.DataFrame({"gene": alone["rna"].var_names[:10], "antibody": alone["protein"].var_names[:10]})


@pytest.fixture
def asked(monkeypatch):
    """Problems that were put to the array level, which solves them at random."""
    problems = []

    def infer(problem, method, rng):
        problems.append(problem)
        f = sparse.csr_matrix(np.full((len(problem.x), len(problem.y)), 1 / len(problem.y), np.float32))
        return MatchingResult(f, MatchingReport(method, 0, 1, False, 1.0, Evidence()))

    monkeypatch.setattr(sys.modules["jamie.pp._infer_correspondence"], "infer", infer)
    return problems


def block(mdata, key=KEY, a="rna", b="protein"):
    """Rows of the cells of `a`, columns of those of `b`, as they stand in the modalities."""
    rows, columns = (mdata.obs_names.get_indexer(mdata[m].obs_names) for m in (a, b))
    return sparse.csr_matrix(mdata.obsp[key])[rows][:, columns]


def state(mdata):
    return {key: list(getattr(mdata, key)) for key in ("obs", "obsm", "obsp", "uns", "varm")} | {
        m: (list(adata.obs), list(adata.obsm), list(adata.uns), list(adata.layers), adata.X.sum())
        for m, adata in mdata.mod.items()
    }


def test_slots_of_pairs_that_are_known(toy):
    before = state(toy)
    assert jm.pp.infer_correspondence(toy, n_keep=5) is None
    f, report = toy.obsp[KEY], toy.uns[KEY]
    assert (f.format, f.dtype, f.shape) == ("csr", np.float32, (60, 60))
    inside = block(toy)
    assert inside.nnz == f.nnz  # nothing outside of the cells of both
    assert_allclose(inside.sum(1), 1, rtol=1e-5)
    assert np.diff(inside.indptr).max() == 5
    both = toy["rna"].obs_names.intersection(toy["protein"].obs_names)
    where = toy.obs_names.get_indexer(both)
    assert_array_equal(f[where].toarray(), np.eye(60)[where])
    assert report["method"] == "anchors"
    assert report["verified"] is True
    assert (report["schema"], report["n_pairs"], report["n_keep"]) == (1, len(both), 5)
    assert report["why"] == f"{len(both)} pairs are known"
    after = state(toy)
    assert (after.pop("obsp"), after.pop("uns")) == ([KEY], [KEY])
    assert after == {key: value for key, value in before.items() if key not in ("obsp", "uns")}


def test_a_file_keeps_it_even_a_gap_that_is_not_a_number(alone, tmp_path):
    jm.pp.infer_correspondence(alone, n_keep=4, n_starts=1)
    assert np.isnan(alone.uns[KEY]["gap"])
    alone.write(tmp_path / "cells.h5mu")
    again = md.read_h5mu(tmp_path / "cells.h5mu")
    assert_array_equal(again.obsp[KEY].toarray(), alone.obsp[KEY].toarray())
    stored, given = again.uns[KEY], alone.uns[KEY]
    assert set(stored) == set(given)
    for key, value in given.items():
        assert_array_equal(stored[key], value)


def test_a_subset_stays_in_step(toy):
    jm.pp.infer_correspondence(toy)
    some = toy[toy.obs_names[::-2]].copy()
    rows = toy.obs_names.get_indexer(some.obs_names)
    assert_array_equal(some.obsp[KEY].toarray(), toy.obsp[KEY].toarray()[rows][:, rows])


def test_the_log_says_which_method_and_why_and_warns_of_what_is_unverified(toy, alone, linked, capsys):
    def log(mdata, **options):
        jm.pp.infer_correspondence(mdata, **options)
        lines = capsys.readouterr().err.splitlines()
        return [line for line in lines if "method" in line], [line for line in lines if "unverified" in line]

    assert log(toy) == (["jamie: method 'anchors': 48 pairs are known"], [])
    said, (warning,) = log(alone, n_starts=2)
    assert said == ["jamie: method 'gw': 0 pairs are known, fewer than 10, and no linked features"]
    assert "'rna' and 'protein' is unverified: it rests on geometry alone" in warning
    assert "call jm.tl.check_correspondence(mdata, labels=...), or get 20 to 30 known pairs" in warning
    said, (warning,) = log(alone, linked=linked)
    assert said == ["jamie: method 'linked': 0 pairs are known, fewer than 10, but 10 features"]
    assert "rests on linked features alone" in warning
    assert log(toy, method="gw", n_starts=1)[0] == ["jamie: method 'gw': asked for"]
    assert toy.uns[KEY]["why"] == "asked for"


def by_chance(mdata, n, seed=0):
    """The toy, of which `n` cells have the name of another cell by chance, and the others a name of their own."""
    rng = np.random.default_rng(seed)
    rna, protein = mdata["rna"].copy(), mdata["protein"].copy()
    rna.obs_names = [f"one{i}" for i in range(rna.n_obs)]
    names = np.array([f"two {i}" for i in range(protein.n_obs)], dtype=object)
    names[rng.permutation(protein.n_obs)[:n]] = rng.permutation(rna.obs_names)[:n]
    protein.obs_names = names.astype(str)
    return md.MuData({"rna": rna, "protein": protein})


@pytest.mark.parametrize("n", [10, 12, 25])
@pytest.mark.parametrize("recorded", [False, True])
def test_names_that_coincide_by_chance_are_unverified_and_said_to_be(toy, capsys, n, recorded):
    mdata = by_chance(toy, n, seed=n)
    if recorded:
        jm.pp.correspondence(mdata)
    capsys.readouterr()
    jm.pp.infer_correspondence(mdata)
    report = mdata.uns[KEY]
    assert report["method"] == "anchors"
    assert report["verified"] is False
    assert (report["n_pairs"], report["n_checked"]) == (n, n)
    assert report["objective"] > report["chance"] - 3 * report["standard_error"]
    assert 0.005 <= report["p_value"] <= 1
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if "unverified" in line]
    source = "that jm.pp.correspondence recorded" if recorded else "that share a name"
    assert f"the {n} pairs of 'rna' and 'protein' {source} are unverified: of {n} left out in turn, " in warning
    assert f"{report['objective']:.2f} of the cells" in warning
    assert f"chance is {report['chance']:.2f} ± {report['standard_error']:.2f}" in warning
    for remedy in ("jm.pp.infer_correspondence(mdata, linked=...)", "jm.tl.check_correspondence(mdata, labels=...)"):
        assert remedy in warning
    assert ("names can coincide by chance; record pairs" in warning) is not recorded


def test_pairs_that_fail_give_way_to_linked_features(toy, capsys):
    mdata = by_chance(toy, 12)
    table = pd.DataFrame({"gene": mdata["rna"].var_names[:10], "antibody": mdata["protein"].var_names[:10]})
    jm.pp.infer_correspondence(mdata, linked=table)
    assert mdata.uns[KEY]["method"] == "linked"
    assert mdata.uns[KEY]["why"] == "12 pairs are known, which fail their check, but 10 features"
    assert "the 12 pairs" in capsys.readouterr().err
    jm.pp.infer_correspondence(toy, linked=table)
    assert toy.uns[KEY]["method"] == "anchors"


def test_few_shared_names_that_differ_in_writing_are_said(toy, capsys):
    rna, protein = toy["rna"].copy(), toy["protein"].copy()
    protein.obs_names = [name if i < 5 else f"{name}-1" for i, name in enumerate(protein.obs_names)]
    mdata = md.MuData({"rna": rna, "protein": protein})
    jm.pp.infer_correspondence(mdata, n_starts=1)
    said = capsys.readouterr().err
    assert "few cells of 'rna' and 'protein' share a name; written alike" in said
    assert "mdata.mod['protein'].obs_names = mdata['protein'].obs_names.str.removesuffix('-1')" in said
    jm.pp.infer_correspondence(toy)
    assert "share a name; written" not in capsys.readouterr().err


def test_that_it_is_unverified_is_a_warning(alone, capsys):
    jm.settings.verbosity = "warning"
    try:
        jm.pp.infer_correspondence(alone, n_starts=1)
    finally:
        jm.settings.verbosity = "info"
    (line,) = capsys.readouterr().err.splitlines()
    assert "unverified" in line


def test_distances_are_taken_in_the_prepared_input(toy, asked):
    jm.pp.infer_correspondence(toy)  # prepared on the fly, not written
    assert "X_jamie_input" not in toy["rna"].obsm
    jm.pp.prepare(toy)
    jm.pp.infer_correspondence(toy)
    for problem in asked:
        assert_allclose(problem.x, toy["rna"].obsm["X_jamie_input"], rtol=1e-3, atol=1e-3)
        assert_allclose(problem.y, toy["protein"].obsm["X_jamie_input"], rtol=1e-3, atol=1e-3)
    jm.pp.prepare(toy, n_comps=4)
    jm.pp.infer_correspondence(toy)
    assert asked[-1].x.shape == (54, 4)


def test_distances_are_taken_in_the_representation_that_is_named(toy, asked):
    rng = np.random.default_rng(0)
    for name in toy.mod:
        toy[name].obsm["mine"] = rng.normal(size=(toy[name].n_obs, 4))
    toy["rna"].obsm["sparse"] = sparse.csr_matrix(toy["rna"].obsm["mine"])
    toy["rna"].obsm["table"] = pd.DataFrame(toy["rna"].obsm["mine"], index=toy["rna"].obs_names)

    def centred(x):  # distances are the same
        return (x - x.mean(0, dtype=np.float64)).astype(np.float32)

    values = {m: centred(toy[m].X.toarray() if sparse.issparse(toy[m].X) else toy[m].X) for m in toy.mod}
    mine = {m: centred(toy[m].obsm["mine"]) for m in toy.mod}
    for use_rep, x, y in (
        ("X", values["rna"], values["protein"]),
        ("mine", mine["rna"], mine["protein"]),
        ({"rna": "mine", "protein": "X"}, mine["rna"], values["protein"]),
        ({"rna": "sparse", "protein": "mine"}, mine["rna"], mine["protein"]),
        ({"rna": "table", "protein": "mine"}, mine["rna"], mine["protein"]),
    ):
        jm.pp.infer_correspondence(toy, use_rep=use_rep)
        assert_array_equal(asked[-1].x, x)
        assert_array_equal(asked[-1].y, y)
        assert isinstance(asked[-1].x, np.ndarray)
    jm.pp.infer_correspondence(toy, use_rep={"rna": "mine"})
    assert asked[-1].y.shape != mine["protein"].shape  # prepared


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e30])
def test_distances_do_not_depend_on_the_unit(alone, asked, scale):
    x = np.random.default_rng(0).normal(size=(alone["rna"].n_obs, 4))
    alone["rna"].obsm["mine"] = x * scale
    jm.pp.infer_correspondence(alone, use_rep={"rna": "mine", "protein": "X"})
    centred = x - x.mean(0)
    assert_allclose(asked[-1].x, centred / np.abs(centred).max(), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_stored_in_single_precision_is_centred_in_double(alone, asked, dtype):
    x = (1e4 + np.random.default_rng(0).normal(size=(alone["rna"].n_obs, 4))).astype(np.float32)
    alone["rna"].obsm["mine"] = x.astype(dtype)
    jm.pp.infer_correspondence(alone, use_rep={"rna": "mine", "protein": "X"})
    assert_allclose(asked[-1].x, x - x.mean(0, dtype=np.float64), atol=1e-6)


@pytest.mark.parametrize("use_rep", ["X", "mine"])
def test_values_far_from_zero_are_as_good_as_near_ones(alone, asked, use_rep):
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=(alone["rna"].n_obs, alone["rna"].n_vars)) * 8, 2)
    table = pd.DataFrame({"g": alone["rna"].var_names[:3], "p": alone["protein"].var_names[:3]})
    rna = ad.AnnData(x - 2.0**30, obs=alone["rna"].obs[[]], var=alone["rna"].var[[]], obsm={"mine": x - 2.0**30})
    mdata = md.MuData({"rna": rna, "protein": alone["protein"]})
    jm.pp.infer_correspondence(mdata, use_rep={"rna": use_rep, "protein": "X"}, linked=table)
    centred = x - x.mean(0)
    assert_allclose(asked[-1].x, centred, atol=1e-4)
    linked = asked[-1].linked[0]
    assert_allclose(linked - linked.mean(0), centred[:, :3], atol=1e-4)


def test_linked_features_are_those_of_the_table_in_its_order(toy, asked):
    genes, antibodies = toy["rna"].var_names, toy["protein"].var_names
    table = pd.DataFrame({"g": genes[[5, 2, 2]], "p": antibodies[[0, 3, 1]]})
    toy["rna"].X = sparse.csr_matrix(toy["rna"].X)
    counts = toy["rna"].X.toarray().astype(float)
    toy["protein"].X = np.asarray(toy["protein"].X.todense() if sparse.issparse(toy["protein"].X) else toy["protein"].X)
    toy["protein"].X = (toy["protein"].X - 1_000).astype(np.float32)  # no counts
    jm.pp.infer_correspondence(toy, linked=table)
    x, y = asked[-1].linked
    depth = counts.sum(1, keepdims=True)
    assert_allclose(x, np.log1p(counts / depth * np.median(depth))[:, [5, 2, 2]], rtol=1e-4)
    assert_array_equal(y, toy["protein"].X[:, [0, 3, 1]])
    jm.pp.infer_correspondence(toy)
    assert asked[-1].linked is None


def test_linked_features_are_used_and_may_have_gaps(alone, linked):
    x = np.array(alone["protein"].X.todense() if sparse.issparse(alone["protein"].X) else alone["protein"].X)
    x = x.astype(np.float32)
    x[3, 2] = np.nan
    alone["protein"].X = x
    jm.pp.infer_correspondence(alone, linked=linked)
    assert alone.uns[KEY]["method"] == "linked"
    assert alone.uns[KEY]["n_pseudo_pairs"] >= 10
    assert_allclose(block(alone).sum(1), 1, rtol=1e-5)


def test_pairs_that_were_held_out_are_not_used(toy, asked):
    jm.pp.split(toy, test_fraction=0.3)
    jm.pp.infer_correspondence(toy)
    held_out = toy.obs_names[toy.obs["jamie_split"] == "test"]
    f = asked[-1].known
    rows = toy["rna"].obs_names.get_indexer(held_out)
    both = toy["rna"].obs_names.intersection(toy["protein"].obs_names)
    assert len(held_out) > 10
    assert f[rows].nnz == 0
    assert f.nnz == len(both) - len(held_out)


def test_held_out_cells_get_partners_by_inference_alone(toy):
    jm.pp.split(toy, test_fraction=0.3)
    jm.pp.infer_correspondence(toy, n_keep=8)
    held_out = toy["rna"].obs_names.get_indexer(toy.obs_names[toy.obs["jamie_split"] == "test"])
    f = block(toy)[held_out]
    assert_array_equal(np.diff(f.indptr), 8)
    assert f.data.max() < 1


def test_known_pairs_are_those_that_were_written(toy, asked):
    rna, protein = toy["rna"].obs_names, toy["protein"].obs_names
    jm.pp.correspondence(toy, pairs=pd.DataFrame({"a": rna[[7, 3]], "b": protein[[0, 9]], "c": [1, 0.5]}))
    jm.pp.infer_correspondence(toy, method="gw")
    f = asked[-1].known
    assert f.nnz == 2
    assert (f[7, 0], f[3, 9]) == (1, 0.5)
    jm.pp.infer_correspondence(toy, modalities=["protein", "rna"], method="gw")
    assert_array_equal(asked[-1].known.toarray(), f.T.toarray())


def test_the_order_of_the_modalities_is_that_of_rows_and_columns(toy):
    jm.pp.infer_correspondence(toy, modalities=["protein", "rna"], n_keep=4)
    key = "jamie_inferred_protein_rna"
    assert (list(toy.obsp), list(toy.uns)) == ([key], [key])
    f = block(toy, key, "protein", "rna")
    assert f.nnz == toy.obsp[key].nnz
    assert_allclose(f.sum(1), 1, rtol=1e-5)


def test_of_three_modalities_two_are_named(toy):
    again = toy["rna"].copy()
    again.var_names = "again " + again.var_names
    mdata = md.MuData({**toy.mod, "again": again})
    with pytest.raises(ValueError, match=r"expected two modalities, found 3: .*pass modalities="):
        jm.pp.infer_correspondence(mdata)
    jm.pp.infer_correspondence(mdata, modalities=["protein", "again"], n_keep=3)
    assert list(mdata.obsp) == ["jamie_inferred_protein_again"]


def test_without_shared_names_and_with_more_cells_on_one_side(alone):
    few = md.MuData({"rna": alone["rna"], "protein": alone["protein"][:20].copy()})
    jm.pp.infer_correspondence(few, n_keep=30, n_starts=2)
    f = block(few)
    assert f.shape == (few["rna"].n_obs, 20)
    assert_array_equal(np.diff(f.indptr), 20)
    assert_allclose(f.sum(1), 1, rtol=1e-5)
    assert few.uns[KEY]["verified"] is False
    assert few.uns[KEY]["largest_column_sum"] <= few["rna"].n_obs / 20 * 1.01
    assert few.uns[KEY]["n_pairs"] == 0


def test_a_copy_leaves_the_original_and_the_prefix_is_read_and_written(toy):
    before = state(toy)
    changed = jm.pp.infer_correspondence(toy, copy=True)
    assert state(toy) == before
    assert KEY in changed.obsp
    toy.obs["mine_split"] = pd.Categorical(["test"] * 5 + ["train"] * 55, categories=["test", "train"])
    jm.pp.infer_correspondence(toy, key_added="mine")
    assert list(toy.obsp) == list(toy.uns) == ["mine_inferred_rna_protein"]
    assert toy.uns["mine_inferred_rna_protein"]["n_pairs"] < changed.uns[KEY]["n_pairs"]


@pytest.mark.parametrize("method", ["anchors", "gw"])
def test_the_seed_decides_and_global_state_is_left_alone(toy, method):
    before = repr(np.random.get_state(legacy=False))  # noqa: NPY002
    one, two, other = (
        jm.pp.infer_correspondence(toy, method=method, n_starts=3, rng=seed, copy=True) for seed in (0, 0, 1)
    )
    assert repr(np.random.get_state(legacy=False)) == before  # noqa: NPY002
    for attribute in ("data", "indices", "indptr"):
        assert_array_equal(getattr(one.obsp[KEY], attribute), getattr(two.obsp[KEY], attribute))
    assert repr(one.uns[KEY]) == repr(two.uns[KEY])
    if method == "gw":
        assert repr(one.uns[KEY]) != repr(other.uns[KEY])


def test_options_reach_the_problem(toy, asked):
    jm.pp.infer_correspondence(toy, n_keep=7, cap=True, n_starts=3)
    assert (asked[-1].n_keep, asked[-1].cap, asked[-1].n_starts) == (7, True, 3)
    jm.pp.infer_correspondence(toy, cap=False)
    assert (asked[-1].n_keep, asked[-1].cap, asked[-1].n_starts) == (5, False, 16)
    jm.pp.infer_correspondence(toy)
    assert asked[-1].cap is None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "anchor"}, ValueError, "`method` to be one of .*found 'anchor'; did you mean 'anchors'"),
        ({"modalities": ["rna", "proteins"]}, KeyError, "`modality`.*found 'proteins'; did you mean 'protein'"),
        ({"modalities": ["rna"]}, ValueError, "at least two modalities"),
        ({"use_rep": "X_pca"}, KeyError, r"`use_rep` to be one of \['X'.*found 'X_pca'.*mdata\['rna'\].obsm"),
        ({"use_rep": {"protein": "none"}}, KeyError, r"found 'none'.*mdata\['protein'\].obsm"),
        ({"use_rep": {"proteins": "X"}}, KeyError, "`use_rep`.*found 'proteins'; did you mean 'protein'"),
        ({"n_keep": 0}, ValueError, "expected `n_keep` of at least 1, found 0"),
        ({"n_starts": -1}, ValueError, "expected `n_starts` of at least 1, found -1"),
        ({"cap": "yes"}, ValueError, "expected `cap` to be True, False or 'auto', found 'yes'"),
        ({"linked": pd.DataFrame({"a": ["x"]})}, ValueError, r"table of two columns.*found shape \(1, 1\)"),
        ({"linked": pd.DataFrame({"a": [], "b": []})}, ValueError, r"found shape \(0, 2\)"),
        ({"linked": {"a": "b"}}, ValueError, "features of 'rna' and of 'protein', found dict"),
        ({"method": "linked"}, ValueError, "expected `linked` features"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(toy, options, error, message):
    before = state(toy)
    with pytest.raises(error, match=message):
        jm.pp.infer_correspondence(toy, **options)
    assert state(toy) == before


def test_linked_features_must_be_there(alone, linked):
    linked.loc[3, "antibody"] = alone["protein"].var_names[0] + "x"
    with pytest.raises(KeyError, match=rf"linked\['antibody'\].*did you mean '{alone['protein'].var_names[0]}'"):
        jm.pp.infer_correspondence(alone, linked=linked)
    assert not list(alone.obsp)


def test_anchors_need_pairs_and_values_must_be_numbers(alone):
    with pytest.raises(ValueError, match="at least 10 known pairs for method='anchors', found 0"):
        jm.pp.infer_correspondence(alone, method="anchors")
    values = np.ones((alone["rna"].n_obs, 3))
    values[2, 1] = np.nan
    alone["rna"].obsm["mine"] = values
    with pytest.raises(ValueError, match=r"finite values in `mdata\['rna'\].obsm\['mine'\]`, found NaN"):
        jm.pp.infer_correspondence(alone, use_rep={"rna": "mine"})
    x = np.ones((alone["rna"].n_obs, 5), np.float32)
    x[0, 0] = np.nan
    gaps = md.MuData({"rna": ad.AnnData(x, obs=alone["rna"].obs[[]]), "protein": alone["protein"]})
    with pytest.raises(ValueError, match=r"finite values in `mdata\['rna'\].X`, found NaN"):
        jm.pp.infer_correspondence(gaps, use_rep="X")
    assert not list(alone.obsp)


def test_a_view_is_refused_and_other_things_too(toy):
    with pytest.raises(ValueError, match="found a view"):
        jm.pp.infer_correspondence(toy[:40])
    with pytest.raises(TypeError, match="expected a MuData"):
        jm.pp.infer_correspondence(toy["rna"])
    assert jm.pp.infer_correspondence(toy[:40], copy=True).obsp[KEY].shape == (40, 40)


def strangers(mdata, n_known, dropped=None, seed=0):
    """Cells of a public data set, shuffled, of which `n_known` have the same name in both, without most of one type."""
    rng = np.random.default_rng(seed)
    first, last = mdata.mod
    drop = (mdata[last].obs["cell_type"] == dropped).to_numpy() & (rng.random(mdata[last].n_obs) < 0.8)
    known = rng.choice(
        mdata[first].obs_names[mdata[first].obs_names.isin(mdata[last].obs_names[~drop])], n_known, replace=False
    )
    mods = {}
    for name, adata in mdata.mod.items():
        some = rng.permutation(np.flatnonzero(~drop) if name == last else adata.n_obs)
        mods[name] = adata[some].copy()
        names = mods[name].obs_names
        mods[name].obs["true"] = names
        mods[name].obs_names = np.where(names.isin(known), names, [f"{cell} {name}" for cell in names])
        mods[name].obsm["unit"] = normalize(mods[name].X)
    return md.MuData(mods)


def carried(mdata):
    """Share of cells carried to cells of their type, among those of the first modality with an unknown partner."""
    a, b = mdata.mod
    types = [pd.get_dummies(mdata[m].obs["cell_type"]).sort_index(axis=1).to_numpy(float) for m in (a, b)]
    votes = block(mdata, f"jamie_inferred_{a}_{b}", a, b) @ types[1]
    asked = ~mdata[a].obs_names.isin(mdata[b].obs_names) & mdata[a].obs["true"].isin(mdata[b].obs["true"])
    return float((votes.argmax(1) == types[0].argmax(1))[asked].mean())


@pytest.mark.real
@pytest.mark.parametrize("n_known", [0, 20])
def test_cell_lines_are_told_apart_by_geometry_and_by_pairs(data_dir, n_known):
    mdata = strangers(jm.datasets.load("snareseq_cellline", folder=data_dir), n_known)
    jm.pp.infer_correspondence(mdata, use_rep="unit")
    assert mdata.uns["jamie_inferred_rna_atac"]["method"] == ("anchors" if n_known else "gw")
    assert carried(mdata) > 0.9


@pytest.mark.real
def test_geometry_alone_is_confidently_wrong_where_composition_differs_and_pairs_are_not(data_dir):
    whole = jm.datasets.load("snareseq_cellline", folder=data_dir)

    def score(dropped, n_known):
        mdata = strangers(whole, n_known, dropped)
        jm.pp.infer_correspondence(mdata, use_rep="unit")
        return carried(mdata), mdata.uns["jamie_inferred_rna_atac"]

    assert min(score(dropped, 20)[0] for dropped in whole["rna"].obs["cell_type"].unique()) > 0.9
    wrong, report = score("H1", 0)  # 0.01 and 0.4; without most of K562 it is right
    assert wrong < 0.2
    assert report["agreement"] > 0.1


@pytest.mark.real
def test_reprogrammed_cells_with_and_without_pairs(data_dir):
    whole = jm.datasets.load("scgem", folder=data_dir)
    scores = {}
    for n_known in (0, 20):
        mdata = strangers(whole, n_known)
        jm.pp.infer_correspondence(mdata, use_rep="X")
        scores[n_known] = carried(mdata)
    share = whole["rna"].obs["cell_type"].value_counts(normalize=True)
    assert scores[0] > (share**2).sum() + 0.1  # chance
    assert scores[20] > 0.5


def unpaired(rna, protein, n_known, seed):
    """Counts of one data set, of which `n_known` cells have the same name in both."""
    kept = np.random.default_rng(seed).permutation(rna.obs_names)[:n_known]
    mods = {"rna": rna.copy(), "protein": protein.copy()}
    for name, adata in mods.items():
        adata.obs_names = [cell if cell in set(kept) else f"{cell} {name}" for cell in adata.obs_names]
    return md.MuData(mods)


@pytest.mark.real
def test_thirty_right_pairs_are_verified_and_another_experiment_is_not(data_dir, capsys):
    whole = jm.datasets.load("citeseq_pbmc10k", folder=data_dir)
    other = md.read_h5mu(data_dir / "citeseq_pbmc5k_rna.h5mu")["rna"]
    some = whole.obs_names.isin(other.obs_names) | (np.random.default_rng(0).random(whole.n_obs) < 0.2)
    with quiet_mudata():
        whole = whole[some].copy()
    jm.pp.infer_correspondence(mdata := unpaired(whole["rna"], whole["protein"], 30, 0), n_keep=5)
    assert mdata.uns[KEY]["verified"] is True
    mdata = md.MuData({"rna": other, "protein": whole["protein"].copy()})
    capsys.readouterr()
    jm.pp.infer_correspondence(mdata, n_keep=5)
    assert mdata.uns[KEY]["n_pairs"] == 11
    assert mdata.uns[KEY]["verified"] is False
    assert "the 11 pairs of 'rna' and 'protein' that share a name are unverified" in capsys.readouterr().err

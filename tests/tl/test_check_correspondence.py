"""A correspondence scored against what is known of it."""

from __future__ import annotations

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_allclose
from scipy import sparse

import jamie as jm
from jamie._keys import Keys
from jamie.data import open_cells
from jamie.metrics import foscttm

COLUMNS = ["slot", "source", "target", "truth", "measure", "value", "chance", "p_value", "n_cells", "better", "verdict"]
ON_PAIRS = ["recall", "probability", "foscttm"]
ON_NOTHING = ["source_coverage", "target_coverage", "effective_partners", "largest_load"]
ON_LABELS = ["label_agreement", "label_agreement_macro", "label_accuracy", "label_accuracy_macro"]


def put(mdata, f, a="rna", b="protein", key="inferred", prefix="jamie", **about):
    """Write a correspondence as the package does."""
    keys = Keys(prefix)
    mdata.obsp[getattr(keys, key)(a, b)] = open_cells(mdata).over_all_cells(sparse.csr_matrix(f), a, b)
    if about:
        mdata.uns[getattr(keys, key)(a, b)] = about
    return mdata


def true(mdata, a="rna", b="protein"):
    """Cells × cells, 1 for those of the same name."""
    names_a, names_b = (mdata[name].obs_names.to_numpy(dtype=str) for name in (a, b))
    return np.equal.outer(names_a, names_b).astype(float)


def noisy(mdata, seed=0):
    """The truth with as much mass on five other cells."""
    rng = np.random.default_rng(seed)
    f = true(mdata)
    for row in f:
        row[rng.choice(len(row), 5, replace=False)] += 0.2
    return f / f.sum(axis=1, keepdims=True)


def apart(n=120):
    """Two modalities that share no name: `rna` cell i is `protein` cell n − i; types in the `.obs` of both."""
    toy = jm.datasets.toy(n_cells=n, share_paired=1)
    rna, protein = toy["rna"].copy(), toy["protein"][toy["rna"].obs_names][::-1].copy()
    table = pd.DataFrame({"rna": rna.obs_names, "protein": [f"p{i}" for i in range(n)][::-1]})
    protein.obs_names = [f"p{i}" for i in range(n)]
    mdata = MuData({"rna": rna, "protein": protein})
    mdata.obs = mdata.obs[[]]
    f = np.eye(n)[:, ::-1]
    return mdata, table, f


def values(table, column="value"):
    return table.set_index("measure")[column]


@pytest.fixture
def warned(capsys):
    """Call that says whether the last table was called unverified."""
    return lambda: "is unverified" in capsys.readouterr().err


def test_a_row_for_each_measure_with_its_chance(toy, warned):
    jm.pp.prepare(toy)
    put(toy, noisy(toy), n_pairs=0)
    table = jm.tl.check_correspondence(toy, labels="cell_type")
    assert list(table) == COLUMNS
    assert list(table["measure"]) == [*ON_PAIRS, *ON_LABELS, *ON_NOTHING]
    assert list(table["truth"]) == ["held-out pairs"] * 3 + ["labels"] * 4 + ["nothing"] * 4
    assert (table[["slot", "source", "target"]].drop_duplicates().to_numpy() == [["inferred", "rna", "protein"]]).all()
    assert (table["verdict"][:7] == "better than chance").all()
    assert (table["verdict"][7:] == "not tested").all()
    assert values(table, "better")[["recall", "foscttm", "largest_load", "effective_partners"]].tolist() == [
        "higher",
        "lower",
        "lower",
        "",
    ]
    pd.testing.assert_frame_equal(toy.uns["jamie_correspondence"], table)
    assert not warned()


def test_measures_of_pairs_are_those_of_the_cells_in_both(toy):
    jm.pp.prepare(toy)
    f = noisy(toy)
    both = toy["rna"].obs_names.intersection(toy["protein"].obs_names)
    i, j = (toy[name].obs_names.get_indexer(both) for name in ("rna", "protein"))
    f[i[:4]] = 0  # missed, but nowhere
    put(toy, f, n_pairs=0)
    found = jm.tl.check_correspondence(toy)
    z = toy["protein"].obsm["X_jamie_input"].astype(float)
    expected = [np.mean(f[i, j] > 0), f[i, j].mean(), foscttm((f @ z)[i[4:]], z[j[4:]])]
    assert_allclose(values(found)[ON_PAIRS], expected, rtol=1e-5)
    assert values(found, "n_cells")[ON_PAIRS].tolist() == [48, 48, 44]
    assert_allclose(values(found, "chance")["foscttm"], 0.5, atol=0.05)


def test_the_truth_is_perfect_and_shuffled_it_is_chance():
    mdata, table, f = apart()
    jm.pp.prepare(mdata)
    found = jm.tl.check_correspondence(put(mdata, f), pairs=table, labels="cell_type")
    expected = {"recall": 1, "probability": 1, "foscttm": 0} | dict.fromkeys(ON_LABELS, 1)
    assert_allclose(values(found)[list(expected)], list(expected.values()))
    assert_allclose(values(found)[ON_NOTHING], 1)
    shuffled = f[np.random.default_rng(0).permutation(len(f))]
    found = jm.tl.check_correspondence(put(mdata, shuffled), pairs=table, labels="cell_type").iloc[:7]
    assert_allclose(found["value"], found["chance"], atol=0.12)
    assert (found["verdict"] == "no better than chance").all()
    assert (found["truth"][:3] == "held-out pairs").all()


def test_pairs_may_be_a_matrix():
    mdata, table, f = apart()
    put(mdata, f)
    by_table = jm.tl.check_correspondence(mdata, pairs=table[:40])
    by_matrix = jm.tl.check_correspondence(mdata, pairs=sparse.csr_matrix(f * (np.arange(len(f)) < 40)[:, None]))
    pd.testing.assert_frame_equal(by_table, by_matrix)
    assert values(by_table, "n_cells")["recall"] == 40


def test_without_the_prepared_input_there_is_no_foscttm(toy):
    found = jm.tl.check_correspondence(put(toy, noisy(toy), n_pairs=0))
    assert list(found["measure"]) == ["recall", "probability", *ON_NOTHING]


def test_pairs_that_were_given_are_left_out(toy, capsys, warned):
    put(toy, true(toy), n_pairs=10)
    both = toy["rna"].obs_names.intersection(toy["protein"].obs_names)
    jm.pp.correspondence(toy, pairs=pd.DataFrame({"rna": both[:10], "protein": both[:10]}))
    found = jm.tl.check_correspondence(toy)
    assert values(found, "n_cells")["recall"] == 38
    assert values(found, "truth")["recall"] == "held-out pairs"
    assert "10 pairs of 'rna' and 'protein' were known" in capsys.readouterr().err
    toy.obs["known"] = True
    jm.pp.correspondence(toy, known="known")
    found = jm.tl.check_correspondence(toy)
    assert (values(found, "n_cells")["recall"], values(found, "truth")["recall"]) == (48, "in-sample pairs")
    assert warned()


@pytest.mark.parametrize("slot", ["inferred", "match"])
def test_pairs_of_held_out_cells_were_not_given(toy, slot):
    jm.pp.split(toy)
    put(toy, true(toy), key=slot, n_pairs=38)
    found = jm.tl.check_correspondence(toy, slot=slot)
    both = toy["rna"].obs_names.intersection(toy["protein"].obs_names)
    n = int((toy.obs.loc[both, "jamie_split"] == "test").sum())
    assert (values(found, "n_cells")["recall"], values(found, "truth")["recall"]) == (n, "held-out pairs")


def test_nothing_known_is_said_and_the_rest_still_told(warned):
    mdata, _, f = apart()
    found = jm.tl.check_correspondence(put(mdata, f))
    assert list(found["measure"]) == ON_NOTHING
    assert warned()
    jm.tl.check_correspondence(mdata, labels="cell_type")
    assert not warned()


def test_labels_of_the_mudata_or_of_both_modalities():
    mdata, _, f = apart()
    put(mdata, np.roll(f, 7, axis=1))
    own = values(jm.tl.check_correspondence(mdata, labels="cell_type"))[ON_LABELS]
    mdata.obs["type"] = pd.concat([mdata[name].obs["cell_type"].astype(str) for name in mdata.mod])
    assert_allclose(values(jm.tl.check_correspondence(mdata, labels="type"))[ON_LABELS], own)
    assert 0.1 < own["label_agreement"] < 0.6


def test_linked_features_are_compared_with_those_of_the_partners():
    mdata, _, f = apart()
    f = 0.5 * f + 0.5 * np.roll(f, 1, axis=1)
    linked = pd.DataFrame({"gene": ["gene1", "gene7", "gene2"], "of": ["protein2", "protein2", "protein9"]})
    found = jm.tl.check_correspondence(put(mdata, f), linked=linked)
    x, y = mdata["rna"].X.toarray(), f @ mdata["protein"].X
    r = [np.corrcoef(x[:, i], y[:, j])[0, 1] for i, j in ((0, 1), (6, 1), (1, 8))]
    assert_allclose(values(found)["linked_correlation"], np.mean(r), rtol=1e-4)
    assert values(found, "chance")["linked_correlation"] == 0
    assert values(found, "truth")["linked_correlation"] == "linked features"


def test_prepared_linked_features_are_compared_on_the_imputed_scale():
    mdata, _, f = apart()
    jm.pp.prepare(mdata)
    found = jm.tl.check_correspondence(put(mdata, f), linked=pd.DataFrame({"a": ["gene1"], "b": ["protein2"]}))
    x, y = mdata["rna"].X.toarray().astype(float), mdata["protein"].X.astype(float)
    x = np.log1p(x / x.sum(1, keepdims=True) * np.median(x.sum(1)))[:, 0]
    y = (f @ np.log1p(y / np.exp(np.log1p(y).mean(1, keepdims=True))))[:, 1]
    assert_allclose(values(found)["linked_correlation"], np.corrcoef(x, y)[0, 1], rtol=1e-4)


def test_missing_values_do_not_spread_to_the_partners():
    mdata, _, f = apart()
    f = 0.5 * f + 0.5 * np.roll(f, 40, axis=1)
    mdata["protein"].X[:30, 1] = np.nan
    found = jm.tl.check_correspondence(put(mdata, f), linked=pd.DataFrame({"a": ["gene1"], "b": ["protein2"]}))
    y = mdata["protein"].X[:, 1]
    y = f @ np.nan_to_num(y) / (f @ ~np.isnan(y))  # of those that were measured
    expected = np.corrcoef(mdata["rna"].X.toarray()[:, 0], y)[0, 1]
    assert_allclose(values(found)["linked_correlation"], expected, rtol=1e-4)


def test_a_slot_the_other_way_round_is_turned(toy):
    f = noisy(toy)
    there = jm.tl.check_correspondence(put(toy.copy(), f, n_pairs=0), modalities=["protein", "rna"], labels="cell_type")
    back = put(toy.copy(), f.T, a="protein", b="rna", n_pairs=0)
    pd.testing.assert_frame_equal(
        there, jm.tl.check_correspondence(back, modalities=["protein", "rna"], labels="cell_type")
    )
    assert set(there["source"]) == {"protein"}
    turned = jm.tl.check_correspondence(back)
    assert set(turned["source"]) == {"rna"}
    straight = jm.tl.check_correspondence(put(toy, f, n_pairs=0))
    pd.testing.assert_frame_equal(turned, straight)


def test_every_pair_of_modalities_that_has_one():
    toy = jm.datasets.toy()
    third = ad.AnnData(toy["protein"].X[:20].copy(), obs=toy["protein"].obs[:20].copy(), var=toy["protein"].var.copy())
    third.var_names = [f"x{i}" for i in range(12)]
    mdata = MuData({"rna": toy["rna"].copy(), "protein": toy["protein"].copy(), "third": third})
    mdata.obs["cell_type"] = toy.obs["cell_type"]
    put(mdata, true(mdata))
    put(mdata, true(mdata, "rna", "third"), b="third")
    found = jm.tl.check_correspondence(mdata, labels="cell_type")
    assert list(dict.fromkeys(found["target"])) == ["protein", "third"]
    with pytest.raises(ValueError, match=r"two modalities for `pairs` or `linked`.*modalities="):
        jm.tl.check_correspondence(mdata, linked=pd.DataFrame({"a": ["gene1"], "b": ["x1"]}))


def test_the_known_pairs_are_scored_by_labels_but_not_by_themselves(toy):
    found = jm.tl.check_correspondence(toy, slot="known", labels="cell_type")
    assert list(found["measure"]) == [*ON_LABELS, *ON_NOTHING]
    assert_allclose(values(found)[ON_LABELS], 1)
    assert values(found)["source_coverage"] == 48 / 54
    both = toy["rna"].obs_names.intersection(toy["protein"].obs_names)
    table = pd.DataFrame({"rna": both, "protein": both[::-1]})
    assert values(jm.tl.check_correspondence(toy, slot="known", pairs=table))["recall"] < 0.1


def test_some_cells_of_many_by_a_seed():
    mdata, table, f = apart()
    f = np.roll(f, 3, axis=0) + f
    f[:20] = 0  # without a partner
    mdata["rna"].obs.loc[mdata["rna"].obs_names[-20:], "cell_type"] = np.nan
    put(mdata, f)
    arguments = {"pairs": table, "labels": "cell_type", "n_cells": 30}
    found = jm.tl.check_correspondence(mdata, **arguments, rng=1)
    assert (values(found, "n_cells")[[*ON_PAIRS[:2], *ON_LABELS]] == 30).all()
    pd.testing.assert_frame_equal(found, jm.tl.check_correspondence(mdata, **arguments, rng=1))
    assert not found.equals(jm.tl.check_correspondence(mdata, **arguments, rng=2))
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    jm.tl.check_correspondence(mdata, **arguments)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_other_prefix(toy):
    put(toy, noisy(toy), prefix="second", n_pairs=0)
    found = jm.tl.check_correspondence(toy, key_added="second")
    pd.testing.assert_frame_equal(toy.uns["second_correspondence"], found)
    assert "jamie_correspondence" not in toy.uns


def test_the_table_survives_a_file(toy, tmp_path):
    found = jm.tl.check_correspondence(put(toy, noisy(toy)), labels="cell_type")
    toy.write(tmp_path / "toy.h5mu")
    read = mudata.read_h5mu(tmp_path / "toy.h5mu")
    stored = read.uns["jamie_correspondence"].reset_index(drop=True)
    pd.testing.assert_frame_equal(stored, found, check_dtype=False, check_index_type=False)
    pd.testing.assert_frame_equal(found, jm.tl.check_correspondence(read, labels="cell_type"))


def test_many_cells_stay_sparse():
    n, k, rng = 20_000, 5, np.random.default_rng(0)
    cells = pd.DataFrame({"type": np.repeat(["a", "b"], n // 2)}, index=[f"c{i}" for i in range(n)])
    x = ad.AnnData(rng.random((n, 2), dtype=np.float32), obs=cells)
    y = ad.AnnData(x.X.copy(), obs=cells)
    y.var_names = ["y0", "y1"]
    mdata = MuData({"x": x, "y": y})
    partners = (np.arange(n)[:, None] + rng.integers(-50, 50, size=(n, k))) % n
    f = sparse.csr_matrix((np.full(n * k, 1 / k), partners.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))
    mdata.obsp["jamie_inferred_x_y"] = f
    y.obsm["X_jamie_input"] = np.arange(n, dtype=np.float32)[:, None]
    linked = pd.DataFrame({"x": ["0"], "y": ["y0"]})
    found = jm.tl.check_correspondence(mdata, labels="type", linked=linked, n_cells=1_000)
    assert values(found)["label_agreement"] > 0.99
    assert values(found)["foscttm"] < 0.02
    assert (values(found, "n_cells")[["recall", "foscttm", "label_agreement", "linked_correlation"]] == 1_000).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"slot": "infered"}, ValueError, "`slot` to be one of .*did you mean 'inferred'"),
        ({"slot": "match"}, KeyError, r"jamie_match_rna_protein.*jm\.tl\.match\(mdata, source='rna', target='protein'"),
        ({"slot": "match", "key_added": "x"}, KeyError, r"x_match_rna_protein.*\['jamie_inf.*call jm\.tl\.match\(md"),
        ({"labels": "celltype"}, KeyError, "`labels`.*did you mean 'cell_type'"),
        ({"labels": "gaps"}, ValueError, "a label 'gaps' for cells of both 'rna' and 'protein'"),
        ({"modalities": ["rna", "protien"]}, KeyError, "did you mean 'protein'"),
        ({"modalities": ["rna"]}, ValueError, "at least two modalities"),
        ({"pairs": pd.DataFrame({"a": ["cell1"], "b": ["cel1"]})}, ValueError, "names of cells in column 'b'"),
        ({"pairs": sparse.eye(3, format="csr")}, ValueError, r"shape \(54, 54\)"),
        ({"linked": pd.DataFrame({"a": ["gene1"]})}, ValueError, r"`linked` with two columns.*\(1, 1\)"),
        ({"linked": pd.DataFrame({"a": ["gene1"], "b": ["protien1"]})}, KeyError, r"linked\['b'\].*'protein1'"),
        ({"linked": pd.DataFrame({"a": ["flat"], "b": ["protein1"]})}, ValueError, "linked features that vary"),
    ],
)
def test_bad_input_is_refused_and_nothing_written(toy, arguments, error, message):
    names = toy["rna"].var_names.to_list()
    toy["rna"].var_names = [*names[:-1], "flat"]
    x = toy["rna"].X.toarray()
    x[:, -1] = 1
    toy["rna"].X = sparse.csr_matrix(x)
    toy.obs["gaps"] = None
    put(toy, noisy(toy))
    before = set(toy.uns), set(toy.obsp), set(toy.obs)
    with pytest.raises(error, match=message):
        jm.tl.check_correspondence(toy, **arguments)
    assert (set(toy.uns), set(toy.obsp), set(toy.obs)) == before


def test_entries_that_are_no_probabilities_are_refused(toy):
    put(toy, -noisy(toy))
    with pytest.raises(ValueError, match=r"at least 0 in `mdata\.obsp\['jamie_inferred_rna_protein'\]`"):
        jm.tl.check_correspondence(toy)
    with pytest.raises(KeyError, match="found none"):
        jm.tl.check_correspondence(put(toy, 0 * noisy(toy)))
    with pytest.raises(ValueError, match=r"mdata\.copy\(\)"):
        jm.tl.check_correspondence(toy[:10])

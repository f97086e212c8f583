"""Known pairs: every way of giving them ends in the same sparse matrix over the cells of the whole."""

from __future__ import annotations

import mudata as md
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

import jamie as jm

KEY = "jamie_known_rna_protein"


def named(mdata, key=KEY):
    """Pairs of a slot as {(row name, column name): confidence}."""
    coo, names = sparse.coo_matrix(mdata.obsp[key]), mdata.obs_names
    return {(names[i], names[j]): float(c) for i, j, c in zip(coo.row, coo.col, coo.data, strict=True)}


def test_by_default_cells_of_the_same_name(toy):
    jm.pp.correspondence(toy)
    both = toy["rna"].obs_names.intersection(toy["protein"].obs_names)
    assert named(toy) == {(cell, cell): 1 for cell in both}
    f = toy.obsp[KEY]
    assert sparse.issparse(f)
    assert (f.format, f.dtype, f.shape) == ("csr", np.float32, (60, 60))


def test_a_table_in_any_order_with_confidences(toy):
    rna, protein = toy["rna"].obs_names, toy["protein"].obs_names
    table = pd.DataFrame({"a": rna[[40, 3, 3]], "b": protein[[0, 20, 21]], "sure": [1, 0.25, 0.5]})
    jm.pp.correspondence(toy, pairs=table)
    assert named(toy) == {(rna[40], protein[0]): 1, (rna[3], protein[20]): 0.25, (rna[3], protein[21]): 0.5}
    jm.pp.correspondence(toy, pairs=table[["a", "b"]])
    assert set(named(toy).values()) == {1.0}


def test_modalities_give_the_order_of_the_columns(toy):
    rna, protein = toy["rna"].obs_names, toy["protein"].obs_names
    table = pd.DataFrame({"p": protein[:2], "r": rna[5:7]})
    jm.pp.correspondence(toy, modalities=["protein", "rna"], pairs=table)
    assert list(toy.obsp) == ["jamie_known_protein_rna"]
    assert named(toy, "jamie_known_protein_rna") == {(protein[0], rna[5]): 1, (protein[1], rna[6]): 1}


def test_an_obs_column_pairs_equal_values_and_nan_with_none(toy):
    rna, protein = toy["rna"].obs_names, toy["protein"].obs_names
    for name, cells in (("rna", rna[:3]), ("protein", protein[[8, 8 + 1, 8 + 2]])):
        column = pd.Series(np.nan, index=toy[name].obs_names, dtype=object)
        column[cells] = ["x", "y", "y"]
        toy[name].obs["barcode"] = column
    jm.pp.correspondence(toy, on="barcode")
    assert set(named(toy)) == {(rna[0], protein[8])} | {(rna[i], protein[8 + j]) for i in (1, 2) for j in (1, 2)}


def test_a_column_of_numbers_pairs_although_a_gap_made_one_side_float(toy):
    number = {cell: i for i, cell in enumerate(toy.obs_names)}
    toy["rna"].obs["number"] = [number[cell] for cell in toy["rna"].obs_names]
    toy["protein"].obs["number"] = [float(number[cell]) for cell in toy["protein"].obs_names]
    toy["protein"].obs.iloc[0, -1] = np.nan
    jm.pp.correspondence(toy, on="number")
    both = (
        toy["rna"].obs_names.intersection(toy["protein"].obs_names).drop(toy["protein"].obs_names[0], errors="ignore")
    )
    assert set(named(toy)) == {(cell, cell) for cell in both}


def test_a_sparse_matrix_is_taken_as_it_is(toy):
    rna, protein = toy["rna"].obs_names, toy["protein"].obs_names
    given = sparse.coo_array(([0.5, 1.0], ([2, 7], [11, 0])), shape=(len(rna), len(protein)))
    jm.pp.correspondence(toy, pairs=given)
    assert named(toy) == {(rna[2], protein[11]): 0.5, (rna[7], protein[0]): 1}


def test_known_restricts_to_pairs_with_both_ends_in_the_column(toy):
    rna, protein = toy["rna"].obs_names, toy["protein"].obs_names
    only_rna, only_protein = rna.difference(protein)[0], protein.difference(rna)[0]
    both = rna.intersection(protein)
    table = pd.DataFrame({"a": [both[0], both[1], only_rna], "b": [both[0], only_protein, both[2]]})
    toy.obs["sure"] = toy.obs_names.isin([both[0], both[1], both[2]])
    jm.pp.correspondence(toy, pairs=table, known="sure")
    assert set(named(toy)) == {(both[0], both[0])}


def test_known_takes_a_missing_value_for_no(toy):
    both = toy["rna"].obs_names.intersection(toy["protein"].obs_names)
    sure = pd.Series(True, index=toy.obs_names, dtype="boolean")
    sure[both[0]] = pd.NA
    toy.obs["sure"] = sure
    jm.pp.correspondence(toy, known="sure")
    assert named(toy) == {(cell, cell): 1 for cell in both[1:]}


def test_pairs_follow_a_subset_and_a_reordering(toy):
    rna, protein = toy["rna"].obs_names, toy["protein"].obs_names
    table = pd.DataFrame({"a": rna[:6], "b": protein[10:16]})
    jm.pp.correspondence(toy, pairs=table)
    kept = [*rna[[0, 3]], *protein[[13, 11, 10]]]
    subset = toy[toy.obs_names.isin(kept)].copy()
    assert set(named(subset)) == {(rna[0], protein[10]), (rna[3], protein[13])} | {
        pair for pair in zip(rna[:6], protein[10:16], strict=True) if set(pair) <= set(kept)
    }


def test_the_file_keeps_the_pairs(toy, tmp_path):
    jm.pp.correspondence(toy)
    toy.write(tmp_path / "t.h5mu")
    assert named(md.read_h5mu(tmp_path / "t.h5mu")) == named(toy)


def test_a_pair_given_is_a_pair_to_the_joint_latent_and_a_name_no_longer_is(trained):
    mdata, model = trained
    rna, protein = mdata["rna"].obs_names, mdata["protein"].obs_names
    only_rna, only_protein = rna.difference(protein), protein.difference(rna)
    jm.pp.correspondence(mdata, pairs=pd.DataFrame({"a": only_rna[:3], "b": only_protein[:3]}))
    jm.tl.embed(mdata, model)
    joint = pd.DataFrame(mdata.obsm["X_jamie"], index=mdata.obs_names)
    assert_allclose(joint.loc[only_rna[:3]], joint.loc[only_protein[:3]], rtol=1e-5)
    own = pd.DataFrame(mdata["rna"].obsm["X_jamie"], index=rna)
    assert_allclose(joint.loc[only_rna[3:]], own.loc[only_rna[3:]], rtol=1e-5)
    assert (abs(joint.loc[only_rna[:3]] - own.loc[only_rna[:3]]).max(axis=1) > 0.01).all()


def test_a_copy_and_a_prefix(toy):
    copied = jm.pp.correspondence(toy, key_added="mine", copy=True)
    assert list(copied.obsp) == ["mine_known_rna_protein"]
    assert not len(toy.obsp)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"on": "donor"}, KeyError, "column of mdata\\['rna'\\].obs"),
        (
            {"on": "cell_type", "pairs": pd.DataFrame({"a": [], "b": []})},
            ValueError,
            "one of `pairs` and `on`, found both",
        ),
        ({"known": "sure"}, KeyError, "boolean column of mdata.obs"),
        ({"known": "cell_type"}, ValueError, "expected a boolean column"),
        ({"pairs": sparse.eye_array(60)}, ValueError, r"shape \(54, 54\).*found shape \(60, 60\)"),
        ({"pairs": sparse.eye_array(54) * 2}, ValueError, "confidences from 0 to 1.*found"),
        ({"pairs": pd.DataFrame({"a": ["cell1"], "b": ["cell1"], "c": [0.0]})}, ValueError, "confidences above 0"),
        ({"pairs": pd.DataFrame({"a": ["cell1"]})}, ValueError, "two columns of names"),
        (
            {"pairs": pd.DataFrame({"a": [], "b": []}, dtype=str)},
            ValueError,
            "at least one pair.*found none; pass pairs=",
        ),
        ({"pairs": np.eye(54)}, ValueError, "sparse matrix of shape"),
        ({"modalities": ["rna"]}, ValueError, "at least two modalities"),
    ],
)
def test_what_does_not_fit_is_refused(toy, arguments, error, message):
    with pytest.raises(error, match=message):
        jm.pp.correspondence(toy, **arguments)
    assert not len(toy.obsp)


def test_a_class_is_no_cell():
    mdata = jm.datasets.toy(n_cells=300)
    with pytest.raises(ValueError, match=r"to name cells, found 'type .' in .* cells"):
        jm.pp.correspondence(mdata, on="cell_type")

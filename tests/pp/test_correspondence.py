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


@pytest.mark.parametrize(
    "column",
    [
        lambda x: pd.Series(x, dtype=object),
        lambda x: pd.Series(x, dtype=object).replace({None: np.nan}),
        lambda x: pd.Series(x, dtype="boolean"),
        lambda x: pd.Series(x, dtype="category"),
    ],
    ids=["None", "nan", "NA", "category"],
)
def test_known_may_be_true_false_and_missing_in_any_type(toy, column):
    both = toy["rna"].obs_names.intersection(toy["protein"].obs_names)
    values = dict.fromkeys(toy.obs_names, True) | {both[0]: None, both[1]: False}
    toy.obs["sure"] = column(list(values.values())).set_axis(toy.obs_names)
    assert toy.obs["sure"].isna().sum() == 1
    jm.pp.correspondence(toy, known="sure")
    assert named(toy) == {(cell, cell): 1 for cell in both[2:]}


def test_known_restricts_a_matrix_and_a_column_as_well(toy):
    rna, protein = toy["rna"].obs_names, toy["protein"].obs_names
    both = rna.intersection(protein)
    toy.obs["sure"] = toy.obs_names.isin(both[:4])
    place = [names.get_indexer(both[:6]) for names in (rna, protein)]
    jm.pp.correspondence(toy, pairs=sparse.coo_array((np.full(6, 0.5), place), shape=(54, 54)), known="sure")
    assert named(toy) == {(cell, cell): 0.5 for cell in both[:4]}
    for name in ("rna", "protein"):
        toy[name].obs["barcode"] = toy[name].obs_names
    jm.pp.correspondence(toy, on="barcode", known="sure")
    assert named(toy) == {(cell, cell): 1 for cell in both[:4]}


def test_columns_called_as_the_modalities_may_be_in_any_order(toy):
    rna, protein = toy["rna"].obs_names, toy["protein"].obs_names
    table = pd.DataFrame({"protein": protein[:2], "rna": rna[5:7], "sure": [0.5, 1]})
    expected = {(rna[5], protein[0]): 0.5, (rna[6], protein[1]): 1}
    jm.pp.correspondence(toy, pairs=table)
    assert named(toy) == expected
    jm.pp.correspondence(toy, pairs=table[["sure", "rna", "protein"]])
    assert named(toy) == expected
    jm.pp.correspondence(toy, modalities=["protein", "rna"], pairs=table)
    assert named(toy, "jamie_known_protein_rna") == {(b, a): sure for (a, b), sure in expected.items()}


def crowded(toy, route, confidences):
    """The third rna cell with as many protein cells as there are confidences, as a table or a matrix."""
    rna, protein = toy["rna"].obs_names, toy["protein"].obs_names
    n = len(confidences)
    if route == "table":
        return pd.DataFrame({"a": rna[[2] * n], "b": protein[:n], "sure": confidences})
    return sparse.coo_array((confidences, ([2] * n, np.arange(n))), shape=(54, 54))


@pytest.fixture
def warnings_only():
    before = jm.settings.verbosity
    jm.settings.verbosity = "warning"
    yield
    jm.settings.verbosity = before


@pytest.mark.parametrize("route", ["table", "matrix"])
@pytest.mark.usefixtures("warnings_only")
def test_a_cell_that_is_surely_two_cells_is_said_and_kept(toy, route, capsys):
    rna, protein = toy["rna"].obs_names, toy["protein"].obs_names
    jm.pp.correspondence(toy, pairs=crowded(toy, route, [1, 0.5, 0.25, 0.125, 0.0625]))
    assert capsys.readouterr().err == (
        "jamie: expected confidences that sum to at most 1 for each cell, found 1 of 'rna' with more, first "
        f"{rna[2]!r} with {protein[0]!r} (1), {protein[1]!r} (0.5), {protein[2]!r} (0.25) and 2 more; its partners "
        "share it in training (rows that sum to more are scaled to 1); pass confidences that sum to at most 1 per cell "
        "to say the shares yourself\n"
    )
    assert named(toy) == {(rna[2], protein[i]): 0.5**i for i in range(5)}


@pytest.mark.usefixtures("warnings_only")
def test_a_little_more_than_one_is_more(toy, capsys):
    jm.pp.correspondence(toy, pairs=crowded(toy, "table", [0.6, 0.40001]))
    assert "found 1 of 'rna' with more" in capsys.readouterr().err


@pytest.mark.usefixtures("warnings_only")
def test_a_column_of_the_matrix_is_a_cell_too(toy, capsys):
    rna, protein = toy["rna"].obs_names, toy["protein"].obs_names
    jm.pp.correspondence(toy, pairs=crowded(toy, "matrix", [1, 1]).T)
    said = capsys.readouterr().err
    assert f"found 1 of 'protein' with more, first {protein[2]!r} with {rna[0]!r} (1), {rna[1]!r} (1); its part" in said
    rows, columns = [0, 0, 1, 1, 2, 3], [0, 1, 0, 1, 0, 7]
    jm.pp.correspondence(toy, pairs=sparse.coo_array((np.full(6, 0.75), (rows, columns)), shape=(54, 54)))
    said = capsys.readouterr().err
    assert said.count("jamie:") == 1
    assert f"found 2 of 'rna' and 2 of 'protein' with more, first {rna[0]!r} with" in said


@pytest.mark.parametrize("confidences", [[0.5, 0.5], [0.1] * 10, [1 / 3] * 3, [0.02] * 50, [1], [0.6, 0.4000005]])
@pytest.mark.parametrize("route", ["table", "matrix"])
@pytest.mark.usefixtures("warnings_only")
def test_shares_of_one_cell_are_nothing_to_warn_of(toy, route, confidences, capsys):
    jm.pp.correspondence(toy, pairs=crowded(toy, route, confidences))
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("warnings_only")
def test_pairs_that_are_not_known_are_not_warned_of(toy, capsys):
    rna, protein = toy["rna"].obs_names, toy["protein"].obs_names
    toy.obs["sure"] = toy.obs_names.isin([rna[2], protein[0]])
    assert not toy.obs.loc[protein[1], "sure"]
    jm.pp.correspondence(toy, pairs=crowded(toy, "table", [1, 1]), known="sure")
    assert capsys.readouterr().err == ""


def test_a_value_that_cells_share_is_told_but_no_warning(toy, capsys):
    for name, values in (("rna", ["x", "x", "y", "z", "z", "q"]), ("protein", ["x", "y", "y", "y", "w", "q"])):
        toy[name].obs["barcode"] = [*values, *[None] * 48]
    jm.pp.correspondence(toy, on="barcode")
    assert capsys.readouterr().err.splitlines()[1:-1] == [
        "jamie: 2 values of 'barcode' are shared by several cells, the most by 1 of 'rna' and 3 of 'protein'; they are "
        "paired each with each and share in training"
    ]
    jm.settings.verbosity = "warning"
    jm.pp.correspondence(toy, on="barcode")
    jm.settings.verbosity = "info"
    assert capsys.readouterr().err == ""


def test_pairs_one_to_one_are_counted_and_no_more(toy, capsys):
    for name in ("rna", "protein"):
        toy[name].obs["barcode"] = toy[name].obs_names
    for route in ({}, {"on": "barcode"}):
        jm.pp.correspondence(toy, **route)
        assert capsys.readouterr().err.splitlines() == [
            "jamie: 48 known pairs of 'rna' and 'protein'",
            f"jamie: added `mdata.obsp['{KEY}']`",
        ]


def test_pairs_follow_a_subset_and_a_reordering(toy):
    rna, protein = toy["rna"].obs_names, toy["protein"].obs_names
    table = pd.DataFrame({"a": rna[:6], "b": protein[10:16], "sure": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]})
    jm.pp.correspondence(toy, pairs=table)
    kept = list(dict.fromkeys([*rna[[0, 3]], *protein[[13, 11, 10]]]))
    expected = {(a, b): pytest.approx(sure) for a, b, sure in table.itertuples(index=False) if {a, b} <= set(kept)}
    assert {(rna[0], protein[10]), (rna[3], protein[13])} <= set(expected)
    assert named(toy[toy.obs_names.isin(kept)].copy()) == expected
    assert named(toy[kept[::-1]].copy()) == expected
    assert named(toy[toy.obs_names[::-1]].copy()) == named(toy)


def test_the_file_keeps_each_confidence(toy, tmp_path):
    jm.pp.correspondence(toy, pairs=crowded(toy, "table", [0.125, 0.3, 1e-6]))
    toy.write(tmp_path / "t.h5mu")
    read = md.read_h5mu(tmp_path / "t.h5mu")
    assert named(read) == named(toy)
    assert sorted(named(read).values()) == pytest.approx([1e-6, 0.125, 0.3], rel=1e-6)


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
        ({"known": "sure"}, KeyError, "expected `known` to name a column"),
        ({"known": "cell_type"}, ValueError, "expected a boolean column"),
        ({"known": "none"}, ValueError, r"with both cells in `mdata.obs\['none'\]`, found none"),
        ({"known": "never"}, ValueError, r"with both cells in `mdata.obs\['never'\]`, found none"),
        ({"pairs": sparse.eye_array(60)}, ValueError, r"shape \(54, 54\).*found shape \(60, 60\)"),
        (
            {"pairs": sparse.eye_array(54) * 2},
            ValueError,
            r"above 0 and at most 1 in `pairs`, found 54 others, first 2.0 of \('cell1', 'cell60'\)",
        ),
        (
            {"pairs": sparse.coo_matrix(([0.5, 0.5], ([3, 3], [1, 1])), shape=(54, 54))},
            ValueError,
            r"each pair once in `pairs`, found 1 repeated, first \('cell.+', 'cell.+'\)",
        ),
        ({"pairs": sparse.csr_array((54, 53))}, ValueError, r"\(54, 54\).*found shape \(54, 53\)"),
        ({"pairs": pd.DataFrame({"a": [None], "b": ["cell1"]})}, ValueError, "found 1 missing of 1.*dropna"),
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
    toy.obs["none"] = pd.Series(np.nan, index=toy.obs_names, dtype=object)
    toy.obs["never"] = False
    jm.pp.correspondence(toy)
    before, columns = named(toy), list(toy.obs)
    with pytest.raises(error, match=message):
        jm.pp.correspondence(toy, **arguments)
    assert list(toy.obsp) == [KEY]
    assert named(toy) == before
    assert list(toy.obs) == columns


def test_a_class_is_no_cell():
    mdata = jm.datasets.toy(n_cells=300)
    with pytest.raises(ValueError, match=r"to name cells, found 'type .' in .* cells"):
        jm.pp.correspondence(mdata, on="cell_type")

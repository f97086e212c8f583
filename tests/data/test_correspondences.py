"""Stored correspondences, and the pairs that they are scored against, on twelve cells that can be counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import jamie as jm
from jamie.data import Cells, correspondences, open_cells, pairs_to_score, true_pairs, truth
from jamie.data._correspondences import _by_modalities

PAIR = ("x", "y")


@pytest.fixture
def mdata(make_mdata, rng):
    """Cells c0 to c7 in x, c2 to c9 in y: six are in both, of which c2 and c3 are held out."""
    cells = {"x": [f"c{i}" for i in range(8)], "y": [f"c{i}" for i in range(2, 10)]}
    mdata = make_mdata(cells, x=rng.normal(size=(8, 3)), y=rng.normal(size=(8, 3)))
    mdata.obs["jamie_split"] = np.where(mdata.obs_names.isin(["c2", "c3"]), "test", "train")
    return mdata


@pytest.fixture
def _told(monkeypatch):
    """As a model that was trained on these cells remembers of which it knew a partner."""

    def knew_partner(cells, a, b):
        return np.asarray((cells.known_of_training(a, b) > 0).sum(axis=1)).ravel() > 0

    monkeypatch.setattr(Cells, "knew_partner", knew_partner)


def store(mdata, slot, entries):
    """Write a correspondence by names of cells, {(x, y): value}."""
    f = sparse.lil_matrix((mdata.n_obs, mdata.n_obs), dtype=np.float32)
    for (a, b), value in entries.items():
        f[mdata.obs_names.get_loc(a), mdata.obs_names.get_loc(b)] = value
    mdata.obsp[f"jamie_{slot}_x_y"] = f.tocsr()


def named(f, mdata):
    """Entries of a matrix by names of cells."""
    coo = sparse.coo_matrix(f)
    pairs = cells_of(mdata, coo.row, coo.col)
    return {pair: pytest.approx(value) for pair, value in zip(pairs, coo.data, strict=True) if value}


def cells_of(mdata, rows, columns):
    return list(zip(mdata["x"].obs_names[rows], mdata["y"].obs_names[columns], strict=True))


# what is stored


@pytest.mark.parametrize("slot", ["inferred", "match"])
def test_rows_of_a_correspondence_are_probabilities(mdata, slot):
    store(mdata, slot, {("c0", "c2"): 0.5, ("c0", "c3"): 1.5, ("c1", "c9"): 0.2})
    found = correspondences(open_cells(mdata), slot)
    assert list(found) == [PAIR]
    assert named(found[PAIR], mdata) == {("c0", "c2"): 0.25, ("c0", "c3"): 0.75, ("c1", "c9"): 1}


def test_known_pairs_are_those_of_one_name_where_none_are_written(mdata):
    same = {(f"c{i}", f"c{i}"): 1 for i in range(2, 8)}
    assert named(correspondences(open_cells(mdata), "known")[PAIR], mdata) == same
    store(mdata, "known", {("c0", "c9"): 1})
    assert named(correspondences(open_cells(mdata), "known")[PAIR], mdata) == {("c0", "c9"): 1}


def test_what_is_not_there_is_named_with_the_call_that_writes_it(mdata):
    for slot, call in (("match", r"tl\.match\(mdata, source='x', target='y'\)"), ("inferred", r"pp\.infer_corresp")):
        message = rf"entries in `mdata\.obsp\['jamie_{slot}_x_y'\]`, found none; .*call jm\.{call}"
        with pytest.raises(KeyError, match=message):
            correspondences(open_cells(mdata), slot)
        store(mdata, slot, {("c0", "c2"): 0.0})  # is nothing
        with pytest.raises(KeyError, match=message):
            correspondences(open_cells(mdata), slot)
    with pytest.raises(ValueError, match="`slot` to be one of"):
        correspondences(open_cells(mdata), "guessed")


@pytest.mark.parametrize("value", [-0.1, np.inf, np.nan])
def test_entries_that_are_no_probability_are_refused(mdata, value):
    store(mdata, "match", {("c0", "c2"): 1.0, ("c1", "c2"): value})
    with pytest.raises(ValueError, match=r"at least 0 in `mdata\.obsp\['jamie_match_x_y'\]`, found negative or inf"):
        correspondences(open_cells(mdata), "match")


# what is true


def test_true_pairs_are_those_given_as_a_table_or_a_matrix(mdata):
    cells = open_cells(mdata)
    table = pd.DataFrame({"x": ["c0", "c1"], "y": ["c9", "c8"]})
    assert named(truth(cells, PAIR, table), mdata) == {("c0", "c9"): 1, ("c1", "c8"): 1}
    assert named(truth(cells, PAIR, sparse.eye(8, format="csr")), mdata) == {
        (f"c{i}", f"c{i + 2}"): 1 for i in range(8)
    }
    with pytest.raises(ValueError, match=r"\(8, 8\)"):
        truth(cells, PAIR, sparse.eye(5, format="csr"))


def test_without_any_given_they_are_those_written_and_for_other_cells_those_of_one_name(mdata):
    same = {(f"c{i}", f"c{i}"): 1 for i in range(2, 8)}
    assert named(truth(open_cells(mdata), PAIR), mdata) == same
    store(mdata, "known", {("c2", "c9"): 0.5, ("c0", "c5"): 1})
    expected = same | {("c2", "c9"): 0.5, ("c0", "c5"): 1}
    del expected["c2", "c2"]  # what was written of c2 stands
    assert named(truth(open_cells(mdata), PAIR), mdata) == expected


# which of them the correspondence was made without


def test_a_match_is_scored_by_the_pairs_that_were_held_out(mdata, caplog):
    rows, columns, kind = true_pairs(open_cells(mdata), PAIR, "match", None)
    assert (cells_of(mdata, rows, columns), kind) == ([("c2", "c2"), ("c3", "c3")], "held-out pairs")
    assert "4 pairs of 'x' and 'y' were known to the correspondence and are left out" in caplog.text


def test_pairs_that_were_all_known_are_scored_as_such(mdata):
    mdata.obs["jamie_split"] = "train"
    rows, columns, kind = true_pairs(open_cells(mdata), PAIR, "match", None)
    assert (cells_of(mdata, rows, columns), kind) == ([(f"c{i}", f"c{i}") for i in range(2, 8)], "in-sample pairs")


def test_of_pairs_of_which_none_was_known_all_are_scored_without_a_word(mdata, caplog):
    given = pd.DataFrame({"x": ["c0", "c2"], "y": ["c9", "c8"]})
    rows, columns, kind = true_pairs(open_cells(mdata), PAIR, "match", given)
    assert (cells_of(mdata, rows, columns), kind) == ([("c0", "c9"), ("c2", "c8")], "held-out pairs")
    assert not caplog.text


def test_known_pairs_themselves_are_scored_as_if_none_was_given(mdata):
    rows, _, kind = true_pairs(open_cells(mdata), PAIR, "known", None)
    assert (len(rows), kind) == (6, "held-out pairs")


@pytest.mark.parametrize(
    ("about", "written", "n", "kind"),
    [
        ({"n_pairs": 4}, False, 2, "held-out pairs"),
        ({"n_pairs": 0}, True, 6, "held-out pairs"),
        ({"method": "ot"}, True, 2, "held-out pairs"),
        ({"method": "ot"}, False, 6, "held-out pairs"),
        (None, True, 2, "held-out pairs"),
        (None, False, 6, "held-out pairs"),
    ],
)
@pytest.mark.parametrize("key", ["jamie_inferred_x_y", "jamie_inferred_y_x"])
def test_what_was_inferred_was_made_with_as_many_pairs_as_it_says_else_with_those_written(
    mdata, about, written, n, kind, key
):
    if about is not None:
        mdata.uns[key] = about
    if written:
        store(mdata, "known", {(f"c{i}", f"c{i}"): 1 for i in range(2, 8)})
    rows, _, found = true_pairs(open_cells(mdata), PAIR, "inferred", None)
    assert (len(rows), found) == (n, kind)


# where cells and their partners are


def test_a_cell_has_the_partner_by_the_first_source_that_knows_one(make_mdata, rng):
    cells = {"x": ["c0", "c1", "c2"], "y": ["c1", "c0", "c3"], "z": ["z0", "z1", "z2", "z3"]}
    mdata = make_mdata(cells, **{name: rng.normal(size=(len(of), 3)) for name, of in cells.items()})
    for pair, entries in {("x", "z"): [("c0", "z1"), ("c2", "z0")], ("y", "z"): [("c0", "z2"), ("c1", "z3")]}.items():
        jm.pp.correspondence(mdata, modalities=list(pair), pairs=pd.DataFrame(entries, columns=list(pair)))
    opened = open_cells(mdata)
    by_x_first = {"c0": 1, "c1": 3, "c2": 0}  # c0 by x, though y says z2; c1 by y alone
    for sources, expected in ((["x", "y"], by_x_first), (["y", "x"], by_x_first | {"c0": 2})):
        assert_array_equal(opened.partners(sources, "z"), [expected.get(cell, -1) for cell in mdata.obs_names])
    position = opened.positions(["x", "y"])
    for i, name in enumerate(("x", "y")):
        here = [cells[name].index(cell) if cell in cells[name] else -1 for cell in mdata.obs_names]
        assert_array_equal(position[:, i], here)


# which of them are scored


def test_without_any_given_the_cells_own_pairs_are_scored(mdata):
    cells = open_cells(mdata)
    assert pairs_to_score(cells, None) == {PAIR: cells.pairs(*PAIR)}


@pytest.mark.usefixtures("_told")
def test_of_pairs_given_those_are_scored_whose_cells_no_known_pair_has(mdata, caplog):
    """c4 of x and c5 of y have partners that the model was told; c0 has a likelier partner than c8."""
    table = pd.DataFrame(
        {"x": ["c0", "c0", "c4", "c1", "c2"], "y": ["c8", "c9", "c8", "c5", "c3"], "confidence": [0.4, 0.9, 1, 1, 1]}
    )
    found = pairs_to_score(open_cells(mdata), table)
    assert list(found) == [PAIR]
    assert cells_of(mdata, *found[PAIR].test) == [("c0", "c9"), ("c2", "c3")]
    assert_array_equal(found[PAIR].train, open_cells(mdata).pairs(*PAIR).train)
    assert found[PAIR].cells == "unknown pairs"
    assert "2 of the 5 pairs of 'x' and 'y' that were given are scored; 2 were left out" in caplog.text
    assert "and 1, as their cell has a likelier one among them" in caplog.text


@pytest.mark.usefixtures("_told")
@pytest.mark.parametrize(
    ("x", "y", "kind"),
    [
        (["c2", "c3"], ["c3", "c2"], "held-out"),
        (["c2", "c0"], ["c3", "c9"], "unknown pairs"),
        (["c4"], ["c4"], "unknown pairs"),
    ],
)
def test_pairs_that_are_scored_are_called_by_what_the_model_saw_of_them(mdata, x, y, kind):
    found = pairs_to_score(open_cells(mdata), pd.DataFrame({"x": x, "y": y}))[PAIR]
    assert found.cells == kind
    assert len(found.test[0]) == (0 if x == ["c4"] else 2)


# whose they are


@pytest.fixture
def three(make_mdata, rng):
    return open_cells(make_mdata(**{name: rng.normal(size=(5, 2)) for name in "xyz"}))


def test_pairs_are_of_the_modalities_that_are_named(mdata, three):
    table = pd.DataFrame({"z": ["c0"], "x": ["c0"]})
    assert list(_by_modalities(three, table)) == [("x", "z")]
    matrix = sparse.eye(5)
    for pair in (("x", "z"), ("z", "x")):
        assert _by_modalities(three, {pair: matrix}) == {pair: matrix}
    assert _by_modalities(open_cells(mdata), matrix) == {PAIR: matrix}
    unnamed = pd.DataFrame({"a": ["c0"], "b": ["c0"]})
    assert list(_by_modalities(open_cells(mdata), unnamed)) == [PAIR]


def test_pairs_are_refused_where_nobody_knows_of_whom(three, make_mdata, rng):
    for pairs in (
        sparse.eye(5),
        pd.DataFrame({"x": ["c0"], "a": ["c0"]}),
        pd.DataFrame([["c0"] * 3], columns=list("xyz")),
    ):
        with pytest.raises(
            ValueError, match=r"the two modalities of `pairs`, of .*; pass pairs=\{\('x', 'y'\): \.\.\.\}"
        ):
            _by_modalities(three, pairs)
    for wrong in ("xy", ("x", "w"), ("x",), ("x", "x")):
        with pytest.raises(ValueError, match=r"`pairs` by two modalities, .* found .*; pass pairs=\{\('x', 'y'\)"):
            _by_modalities(three, {wrong: sparse.eye(5)})
    alone = open_cells(make_mdata(x=rng.normal(size=(5, 2))))
    with pytest.raises(ValueError, match="expected at least two modalities, found 1"):
        _by_modalities(alone, sparse.eye(5))
    with pytest.raises(ValueError, match="train on two modalities or more"):
        _by_modalities(alone, {PAIR: sparse.eye(5)})


@pytest.mark.usefixtures("_told")
def test_a_transposed_mapping_is_scored_the_same(mdata):
    f = sparse.csr_matrix(([1.0], ([0], [7])), shape=(8, 8))  # c0 of x, c9 of y
    there = pairs_to_score(open_cells(mdata), {PAIR: f})[PAIR]
    back = pairs_to_score(open_cells(mdata), {PAIR[::-1]: f.T.tocsr()})[PAIR[::-1]]
    assert cells_of(mdata, *there.test) == cells_of(mdata, *back.reversed().test) == [("c0", "c9")]
    assert_allclose(there.train[0], back.train[1])

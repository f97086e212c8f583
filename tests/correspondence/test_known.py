from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from jamie.correspondence import cap_rows, from_column, from_mask, from_matrix, from_names, from_table

ROWS, COLUMNS = pd.Index(["c1", "c2", "c3", "c4"]), pd.Index(["c3", "x", "c1", "c4", "y"])


def table(*rows, columns=("rna", "protein", "confidence")):
    return pd.DataFrame(list(rows), columns=list(columns)[: len(rows[0])])


def test_names_pair_equal_names_wherever_they_stand():
    expected = np.equal.outer(ROWS.to_numpy(), COLUMNS.to_numpy()).astype(np.float32)
    f = from_names(ROWS, COLUMNS)
    assert_array_equal(f.toarray(), expected)
    assert (f.format, f.dtype) == ("csr", np.float32)
    assert from_names(ROWS, pd.Index(["other"])).nnz == 0


def test_table_uses_every_pair_and_keeps_each_confidence():
    f = from_table(table(("c1", "x", 1), ("c2", "y", 0.5), ("c3", "c3", 0.25), ("c4", "x", 0.1)), ROWS, COLUMNS)
    assert f.shape == (4, 5)
    assert_allclose(f.toarray()[[0, 1, 2, 3], [1, 4, 0, 1]], [1, 0.5, 0.25, 0.1])
    assert f.nnz == 4


def test_table_of_two_columns_is_sure_and_may_hold_other_types():
    pairs = pd.DataFrame({"a": pd.Categorical(["c1", "c1"]), "b": ["x", "y"]})
    assert_array_equal(from_table(pairs, ROWS, COLUMNS).toarray()[0], [0, 1, 0, 0, 1])
    numbers = pd.Index(["1", "2"])
    assert_array_equal(from_table(table((2, 1)), numbers, numbers).toarray(), [[0, 0], [1, 0]])


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (pd.DataFrame({"a": ["c1"]}), r"two columns of names and at most one of confidences, found \['a'\]"),
        (table(("c1", "x", 1.0)).assign(more=1), r"at most one of confidences, found .*'more'"),
        (
            table(("c1", "x"), ("c9", "x")),
            r"column 'rna' of `pairs`, found 1 unknown of 2, first 'c9'.*look like \['c1'",
        ),
        (table(("c1", "c2")), r"column 'protein' of `pairs`, found 1 unknown of 1, first 'c2'"),
        (table(("c1", "x", 1.0), ("c2", "x", 0.0)), r"above 0 and at most 1, found 1 others.*\['c2', 'x', 0.0\]"),
        (table(("c1", "x", 1.5)), r"above 0 and at most 1, found 1 others.*1.5"),
        (table(("c1", "x", np.nan)), r"above 0 and at most 1, found 1 others.*nan"),
        (table(("c1", "x", 1.0), ("c1", "x", 0.5)), r"each pair once.*found 1 repeated, first \['c1', 'x'\]; drop"),
    ],
)
def test_table_that_cannot_be_meant_is_refused(pairs, message):
    with pytest.raises(ValueError, match=message):
        from_table(pairs, ROWS, COLUMNS)


def test_column_pairs_equal_values_one_to_many_and_missing_with_none():
    rows = pd.Series(["p", "q", None, "r", "q"])
    columns = pd.Series(["q", np.nan, "p", "q"])
    expected = [[r == c and isinstance(r, str) for c in columns] for r in rows]
    f = from_column(rows, columns)
    assert_array_equal(f.toarray(), expected)
    assert f.dtype == np.float32


@pytest.mark.parametrize("dtype", ["category", "string", object])
def test_column_may_be_of_any_text_type(dtype):
    rows, columns = pd.Series(["p", "q", None]), pd.Series(["q", None, "p"])
    assert_array_equal(
        from_column(rows.astype(dtype), columns.astype(dtype)).toarray(), [[0, 0, 1], [1, 0, 0], [0, 0, 0]]
    )


def test_column_of_numbers_pairs_by_value_where_one_side_misses_some():
    rows, columns = pd.Series([1, 2, 3]), pd.Series([3, np.nan, 1])  # int64 and float64
    assert_array_equal(from_column(rows, columns).toarray(), [[0, 0, 1], [0, 0, 0], [1, 0, 0]])


def test_column_of_classes_is_refused():
    few, many = pd.Series(["T"] * 50, name="label"), pd.Series(["B", *["T"] * 51], name="label")
    assert from_column(few, few).nnz == 2500
    with pytest.raises(ValueError, match=r"column 'label' to name cells, found 'T' in 51 cells"):
        from_column(few, many)


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix])
def test_matrix_is_taken_as_it_is(container):
    values = np.array([[0, 0.5, 0], [1, 0, 0.25]])
    given = container(values)
    f = from_matrix(given, (2, 3))
    assert isinstance(f, sparse.csr_matrix)
    assert_array_equal(f.toarray(), values)
    assert_array_equal(given.toarray(), values)


def test_matrix_drops_what_is_stored_as_zero_and_leaves_the_given_one_alone():
    given = sparse.csr_matrix((np.array([1, 0, 0.5], np.float32), ([0, 0, 1], [0, 1, 1])), shape=(2, 2))
    before = given.data.copy(), given.indices.copy(), given.indptr.copy()
    assert from_matrix(given, (2, 2)).nnz == 2
    for now, then in zip((given.data, given.indices, given.indptr), before, strict=True):
        assert_array_equal(now, then)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (sparse.eye(3, format="csr"), r"sparse matrix of shape \(2, 3\), cells × cells, found shape \(3, 3\)"),
        (np.zeros((2, 3)), r"table of names or a sparse matrix.*found ndarray"),
        (sparse.csr_matrix([[0, 2, 0], [0, 0, 1]]), r"confidences from 0 to 1 in `pairs`, found values from 1 to 2"),
        (sparse.csr_matrix([[0, -0.5, 0], [0, 0, 1]]), r"found values from -0.5 to 1"),
        (sparse.csr_matrix([[0, np.nan, 0], [0, 0, 1]]), r"found values from nan to nan"),
    ],
)
def test_matrix_of_other_things_is_refused(pairs, message):
    with pytest.raises(ValueError, match=message):
        from_matrix(pairs, (2, 3))


def test_mask_keeps_pairs_of_which_both_cells_are_known():
    f = sparse.random(6, 5, density=0.6, format="csr", dtype=np.float32, rng=np.random.default_rng(0))
    rows, columns = np.array([1, 1, 0, 1, 0, 1], bool), np.array([1, 0, 1, 1, 1], bool)
    kept = from_mask(f, rows, columns)
    assert_array_equal(kept.toarray(), f.toarray() * np.outer(rows, columns))
    assert np.all(kept.data > 0)
    assert kept.dtype == np.float32


def test_capping_scales_down_but_never_up():
    f = sparse.csr_matrix(np.array([[0, 0, 0], [0.5, 0, 0], [0.2, 0.3, 0], [1, 1, 0], [0.9, 0.9, 0.2]], np.float32))
    expected = [[0, 0, 0], [0.5, 0, 0], [0.2, 0.3, 0], [0.5, 0.5, 0], [0.45, 0.45, 0.1]]
    capped = cap_rows(f)
    assert_allclose(capped.toarray(), expected, rtol=1e-6)
    assert capped.dtype == np.float32
    assert_array_equal(cap_rows(f[:3]).toarray(), f[:3].toarray())

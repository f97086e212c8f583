from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from jamie.correspondence import (
    cap_rows,
    from_column,
    from_mask,
    from_matrix,
    from_names,
    from_table,
    likeliest,
    n_paired,
)
from jamie.correspondence._known import with_known

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


def test_table_names_may_be_categories_whole_numbers_or_floats_and_its_index_says_nothing():
    numbers = pd.Index(["1", "2", "10"])
    pairs = pd.DataFrame({"a": [1.0, 10.0], "b": pd.Categorical([2, 1])}, index=["same", "same"])
    assert_array_equal(from_table(pairs, numbers, numbers).toarray(), [[0, 1, 0], [0, 0, 0], [1, 0, 0]])
    twice = pd.DataFrame([[1, 2, "0.5"], [10, 1, 1]], columns=["cell", "cell", "sure"], index=[7, 7])
    assert_array_equal(from_table(twice, numbers, numbers).toarray(), [[0, 0.5, 0], [0, 0, 0], [1, 0, 0]])


def test_table_whose_columns_are_the_modalities_is_taken_by_name():
    expected = from_table(table(("c1", "x", 0.5), ("c2", "y", 1)), ROWS, COLUMNS).toarray()
    swapped = table(("c1", "x", 0.5), ("c2", "y", 1))[["confidence", "protein", "rna"]]
    assert_array_equal(from_table(swapped, ROWS, COLUMNS, modalities=("rna", "protein")).toarray(), expected)
    other = table(("c1", "x", 0.5), ("c2", "y", 1), columns=("protein", "b", "c"))  # only one is called so
    assert_array_equal(from_table(other, ROWS, COLUMNS, modalities=("rna", "protein")).toarray(), expected)
    assert_array_equal(from_table(other, ROWS, COLUMNS).toarray(), expected)


def test_a_confidence_that_rounding_put_above_one_is_one():
    f = from_table(table(("c1", "x", 1 + 1e-15)), ROWS, COLUMNS)
    assert f.data.tolist() == [1]
    assert from_matrix(sparse.csr_matrix([[1 + 1e-15]]), (1, 1)).data.tolist() == [1]


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
        (table((None, "x"), ("c1", "x")), r"column 'rna' of `pairs`, found 1 missing of 2, first in row 0, .*dropna"),
        (
            table(("c1", "x"), ("c1", np.nan)),
            r"'protein' of `pairs`, found 1 missing of 2, first in row 1, \['c1', nan",
        ),
        (
            table(("c1", "x", 1.0), ("c2", "x", 0.0)),
            r"above 0 and at most 1.*found 1 others, first 0.0 of \('c2', 'x'\)",
        ),
        (
            table(("c1", "x", 1.5), ("c2", "x", 7.0)),
            r"at most 1 in `pairs`, found 2 others, first 1.5 of \('c1', 'x'\)",
        ),
        (table(("c1", "x", 1e300)), r"found 1 others, first 1e\+300 of \('c1', 'x'\)"),
        (
            table(("c1", "x", np.nan)),
            r"found 1 others, first nan of \('c1', 'x'\); drop what is no pair, or divide scores",
        ),
        (table(("c1", "x", 1), ("c2", "y", "high")), r"found 1 others, first 'high' of \('c2', 'y'\)"),
        (
            table(("c1", "x", 1.0)).astype({"confidence": "Float64"}).replace({1.0: pd.NA}),
            r"first <NA> of \('c1', 'x'\)",
        ),
        (
            table(("c1", "y", 1), ("c2", "x", 1), ("c1", "x", 1.0), ("c1", "x", 0.5)),
            r"each pair once in `pairs`, found 1 repeated, first \('c1', 'x'\); drop the duplicates",
        ),
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
        (sparse.eye(3, format="csr"), r"sparse matrix of shape \(2, 3\), cells × cells, found shape \(3, 3\)$"),
        (sparse.csr_matrix((3, 2)), r"found shape \(3, 2\); pass pairs\.T"),
        (
            np.zeros((2, 3)),
            r"table of names or a sparse matrix.*found ndarray; pass scipy\.sparse\.csr_matrix\(pairs\)",
        ),
        ({"a": "b"}, r"table of names or a sparse matrix.*found dict$"),
        (sparse.csr_matrix([[0, 2, 0], [0, 0, 3]]), r"at most 1 in `pairs`, found 2 others, first 2 of \(0, 1\)"),
        (
            sparse.csr_matrix([[0, 1, 0], [0, 0, -0.5]]),
            r"above 0 and at most 1.*found 1 others, first -0.5 of \(1, 2\)",
        ),
        (sparse.csr_array([[0, np.nan, 0], [0, 0, 1]]), r"found 1 others, first nan of \(0, 1\)"),
        (
            sparse.coo_matrix(([0.5, 0.5, 0.25, 0.25], ([0, 1, 1, 1], [0, 2, 2, 2])), shape=(2, 3)),
            r"each pair once in `pairs`, found 2 repeated, first \(1, 2\); drop the duplicates",
        ),
        (
            sparse.csr_matrix((np.array([0.5, 0.5]), np.array([1, 1]), np.array([0, 2, 2])), shape=(2, 3)),
            r"found 1 repeated, first \(0, 1\)",
        ),
    ],
)
def test_matrix_of_other_things_is_refused(pairs, message):
    with pytest.raises(ValueError, match=message):
        from_matrix(pairs, (2, 3))


def test_matrix_names_the_cells_of_what_it_refuses_where_they_are_known():
    for given in (
        [[0, 0, 0, 0, 0]] * 2 + [[0, 0, 0, 0, 1.5]] + [[0] * 5],
        [[0] * 5] * 2 + [[0, 0, 0, 0, -1]] + [[0] * 5],
    ):
        with pytest.raises(ValueError, match=r"of \('c3', 'y'\)"):
            from_matrix(sparse.csr_matrix(given), (4, 5), names=(ROWS, COLUMNS))
    twice = sparse.coo_matrix(([0.5, 0.5], ([1, 1], [0, 0])), shape=(4, 5))
    with pytest.raises(ValueError, match=r"1 repeated, first \('c2', 'c3'\)"):
        from_matrix(twice, (4, 5), names=(ROWS, COLUMNS))


def test_a_stored_zero_beside_a_pair_is_no_repetition():
    given = sparse.coo_matrix(([0.5, 0.0], ([1, 1], [0, 0])), shape=(2, 2))
    assert_array_equal(from_matrix(given, (2, 2)).toarray(), [[0, 0], [0.5, 0]])


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


def test_a_cell_with_many_partners_is_one_paired_cell():
    f = sparse.csr_matrix(np.array([[1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0.5, 0.5]], dtype=np.float32))
    assert n_paired(f) == n_paired(f.T.tocsr()) == 2
    assert n_paired(sparse.csr_matrix((3, 4))) == 0


INFERRED = sparse.csr_matrix(np.array([[0.5, 0.5, 0], [0, 0.25, 0.75], [1, 0, 0], [0.2, 0.2, 0.6]], np.float32))


def csr(rows):
    return sparse.csr_matrix(np.array(rows, np.float32))


def test_what_is_inferred_is_the_share_that_is_not_known():
    known = csr([[0, 0, 1], [0, 0, 0], [0, 0.25, 0], [0.3, 0, 0.3]])
    found = with_known(INFERRED, known)
    expected = [[0, 0, 1], [0, 0.25, 0.75], [0.75, 0.25, 0], [0.38, 0.08, 0.54]]
    assert_allclose(found.toarray(), expected, rtol=1e-6)
    assert (found.format, found.dtype) == ("csr", np.float32)
    assert found[0].nnz == 1  # a sure partner leaves nothing behind


def test_a_cell_with_many_sure_partners_is_shared_among_them():
    known = csr([[1, 1, 0], [0, 0, 0], [1, 0.5, 0.5], [0, 0, 0]])
    found = with_known(INFERRED, known)
    assert_allclose(found.toarray()[[0, 2]], [[0.5, 0.5, 0], [0.5, 0.25, 0.25]])
    assert_allclose(found.sum(1), 1)
    assert known.max() == 1  # what was given stays


def test_without_pairs_nothing_changes():
    found = with_known(INFERRED, csr(np.zeros((4, 3))))
    assert_allclose(found.toarray(), INFERRED.toarray())


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (3, 2)])
def test_where_nothing_is_known_no_cell_has_a_partner(shape):
    rows, partners = likeliest(sparse.csr_matrix(shape, dtype=np.float32))
    assert rows.shape == partners.shape == (0,)


def test_the_likeliest_partner_is_that_of_the_surest_entry():
    f = sparse.csr_matrix(np.array([[0, 0.2, 0.7], [0, 0, 0], [1, 0, 0.5]], dtype=np.float32))
    rows, partners = likeliest(f)
    assert_array_equal(rows, [0, 2])
    assert_array_equal(partners, [2, 0])

"""Known pairs F (section 2): a sparse matrix of confidences in [0, 1]."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from jamie._types import Array

MOST_SHARED = 50


def from_names(rows: pd.Index, columns: pd.Index) -> sparse.csr_matrix:
    """Pair what has the same name, with confidence 1: cells of the same name are the same cell."""
    position = columns.get_indexer(rows)
    (found,) = np.nonzero(position >= 0)
    return _matrix(found, position[found], np.ones(len(found)), (len(rows), len(columns)))


def from_mask(f: sparse.csr_matrix, rows: Array, columns: Array) -> sparse.csr_matrix:
    """Keep the pairs of which both cells are in the boolean masks."""
    keep_rows, keep_columns = (sparse.diags_array(mask.astype(np.float32)).tocsr() for mask in (rows, columns))
    kept = sparse.csr_matrix(keep_rows @ f @ keep_columns)
    kept.eliminate_zeros()
    return kept


def from_table(pairs: pd.DataFrame, rows: pd.Index, columns: pd.Index) -> sparse.csr_matrix:
    """Pair by a table: names of `rows`, names of `columns` and, where there is a third column, a confidence.

    Raises
    ------
    ValueError
        If the table has not two or three columns, names cells that are not there, names a pair twice, or holds a
        confidence outside (0, 1].
    """
    if pairs.shape[1] not in (2, 3):
        msg = f"expected `pairs` with two columns of names and at most one of confidences, found {list(pairs.columns)}"
        raise ValueError(msg)
    ends = []
    for column, names in zip(pairs.columns, (rows, columns), strict=False):
        position = names.get_indexer(pairs[column].astype(str))
        unknown = pairs[column][position < 0]
        if len(unknown):
            msg = (
                f"expected names of cells in column {column!r} of `pairs`, found {len(unknown)} unknown of "
                f"{len(pairs)}, first "
                f"{unknown.iloc[0]!r}; the modality's names look like {list(names[:3])}"
            )
            raise ValueError(msg)
        ends.append(position)
    confidence = pairs.iloc[:, 2].to_numpy(dtype=float) if pairs.shape[1] == 3 else np.ones(len(pairs))
    wrong = ~((confidence > 0) & (confidence <= 1))
    if wrong.any():
        first = [getattr(value, "item", lambda v=value: v)() for value in pairs.iloc[int(np.argmax(wrong))]]
        msg = f"expected confidences above 0 and at most 1, found {int(wrong.sum())} others, first in the row {first}"
        raise ValueError(msg)
    twice = pairs.iloc[:, :2].duplicated()
    if twice.any():
        first = pairs.iloc[int(np.argmax(twice)), :2].tolist()
        msg = (
            f"expected each pair once in `pairs`, found {int(twice.sum())} repeated, first {first}; drop the duplicates"
        )
        raise ValueError(msg)
    return _matrix(ends[0], ends[1], confidence, (len(rows), len(columns)))


def from_column(rows: pd.Series, columns: pd.Series) -> sparse.csr_matrix:
    """Pair cells of the same value, NaN with none; a value shared by many cells pairs each with all of them.

    Raises
    ------
    ValueError
        If a value is shared by more than `MOST_SHARED` cells of either side: that is a class, not a cell.
    """
    rows, columns = rows.convert_dtypes(), columns.convert_dtypes()  # 1.0 beside a gap is 1
    values = pd.Index(pd.concat([rows.astype(object), columns.astype(object)]).dropna().astype(str).unique())
    members = []
    for column in (rows, columns):
        code = np.where(column.isna(), -1, values.get_indexer(column.astype(str)))
        counts = np.bincount(code[code >= 0], minlength=len(values))
        if counts.max(initial=0) > MOST_SHARED:
            msg = (
                f"expected values of the column {column.name!r} to name cells, found {values[counts.argmax()]!r} in "
                f"{counts.max()} cells; a column of classes says nothing about pairs"
            )
            raise ValueError(msg)
        (i,) = np.nonzero(code >= 0)
        members.append(_matrix(i, code[i], np.ones(len(i)), (len(column), len(values))))
    return sparse.csr_matrix(members[0] @ members[1].T)


def from_matrix(pairs: sparse.sparray | sparse.spmatrix, shape: tuple[int, int]) -> sparse.csr_matrix:
    """Take a sparse matrix of confidences as it is.

    Raises
    ------
    ValueError
        If its shape is not cells × cells, or an entry is not a confidence in [0, 1].
    """
    if not sparse.issparse(pairs) or pairs.shape != shape:
        found = f"shape {pairs.shape}" if sparse.issparse(pairs) else type(pairs).__name__
        msg = (
            f"expected `pairs` to be a table of names or a sparse matrix of shape {shape}, cells × cells, found {found}"
        )
        raise ValueError(msg)
    f = sparse.csr_matrix(pairs, dtype=np.float32, copy=True)
    f.sum_duplicates()
    f.eliminate_zeros()
    if f.nnz and not (f.data.min() >= 0 and f.data.max() <= 1):
        msg = f"expected confidences from 0 to 1 in `pairs`, found values from {f.data.min():g} to {f.data.max():g}"
        raise ValueError(msg)
    return f


def cap_rows(f: sparse.csr_matrix) -> sparse.csr_matrix:
    """Scale rows whose sum is above 1 down to 1; smaller sums keep their confidence, empty rows stay empty."""
    total = np.asarray(f.sum(axis=1)).ravel()
    capped = sparse.csr_matrix(sparse.diags_array(1 / total.clip(min=1)).tocsr() @ f)
    return capped if (total > 1).any() else f


def _matrix(rows: Array, columns: Array, values: Array, shape: tuple[int, int]) -> sparse.csr_matrix:
    return sparse.csr_matrix((values.astype(np.float32), (rows, columns)), shape=shape)

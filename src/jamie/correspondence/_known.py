"""Known pairs F (section 2): a sparse matrix of confidences in [0, 1]."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from jamie._errors import InvalidValueError
from jamie._types import Array, Pair

MOST_SHARED = 50


def from_names(rows: pd.Index, columns: pd.Index) -> sparse.csr_matrix:
    """Pair what has the same name, with confidence 1: cells of the same name are the same cell."""
    position = columns.get_indexer(rows)
    (shared,) = np.nonzero(position >= 0)
    return _matrix(shared, position[shared], np.ones(len(shared)), (len(rows), len(columns)))


def from_mask(f: sparse.csr_matrix, rows: Array, columns: Array) -> sparse.csr_matrix:
    """Keep the pairs of which both cells are in the boolean masks."""
    keep_rows, keep_columns = (sparse.diags_array(mask.astype(np.float32)).tocsr() for mask in (rows, columns))
    kept = sparse.csr_matrix(keep_rows @ f @ keep_columns)
    kept.eliminate_zeros()
    return kept


def from_table(
    pairs: pd.DataFrame, rows: pd.Index, columns: pd.Index, *, modalities: Pair | None = None
) -> sparse.csr_matrix:
    """Pair by a table: names of `rows`, names of `columns` and, where there is a third column, a confidence.

    Columns are taken by position, unless two of them are called as `modalities` are. The table's index is ignored.

    Raises
    ------
    ValueError
        If the table has not two or three columns, misses names, names cells that are not there, names a pair twice, or
        holds a confidence outside (0, 1].
    """
    if pairs.shape[1] not in (2, 3):
        msg = f"expected `pairs` with two columns of names and at most one of confidences, found {list(pairs.columns)}"
        raise InvalidValueError(msg)
    if modalities is not None and all(list(pairs.columns).count(name) == 1 for name in modalities):
        pairs = pairs[[*modalities, *pairs.columns.drop(list(modalities))]]
    i, j = (_positions(pairs, place, names) for place, names in enumerate((rows, columns)))
    shape = len(rows), len(columns)
    if pairs.shape[1] == 2:
        return _confident(i, j, np.ones(len(i)), shape, names=(rows, columns))
    given = pairs.iloc[:, 2].astype(object)
    confidence = pd.to_numeric(given, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    return _confident(i, j, confidence, shape, names=(rows, columns), shown=given)


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
            raise InvalidValueError(msg)
        (i,) = np.nonzero(code >= 0)
        members.append(_matrix(i, code[i], np.ones(len(i)), (len(column), len(values))))
    return sparse.csr_matrix(members[0] @ members[1].T)


def from_matrix(
    pairs: sparse.sparray | sparse.spmatrix, shape: tuple[int, int], *, names: tuple[pd.Index, pd.Index] | None = None
) -> sparse.csr_matrix:
    """Take a sparse matrix of confidences as it is; `names` of its cells are for messages.

    Raises
    ------
    ValueError
        If its shape is not cells × cells, an entry is not a confidence in [0, 1], or one is stored twice.
    """
    if not sparse.issparse(pairs) or pairs.shape != shape:
        found = f"shape {pairs.shape}" if sparse.issparse(pairs) else type(pairs).__name__
        remedy = "pass pairs.T" if sparse.issparse(pairs) and pairs.shape == shape[::-1] else ""
        remedy = "pass scipy.sparse.csr_matrix(pairs)" if isinstance(pairs, np.ndarray) else remedy
        msg = (
            f"expected `pairs` to be a table of names or a sparse matrix of shape {shape}, cells × cells, found {found}"
        )
        raise InvalidValueError(msg + (f"; {remedy}" if remedy else ""))
    coo = sparse.coo_matrix(pairs)
    stored = _rounded(coo.data) != 0
    return _confident(coo.row[stored], coo.col[stored], coo.data[stored], shape, names=names)


def n_paired(f: sparse.csr_matrix) -> int:
    """How many cells have a partner, on the side where they are fewer: one cell with ten partners is one."""
    return min(int((np.diff(f.indptr) > 0).sum()), len(np.unique(f.indices)))


def likeliest(f: sparse.csr_matrix) -> tuple[Array, Array]:
    """Rows of the cells that have a partner, and of the likeliest one, (n,) each."""
    if not f.count_nonzero():
        return np.empty(0, dtype=int), np.empty(0, dtype=int)
    (rows,) = np.nonzero(np.asarray(f.sum(axis=1)).ravel() > 0)
    return rows, np.asarray(f.argmax(axis=1)).ravel()[rows]


def cap_rows(f: sparse.csr_matrix) -> sparse.csr_matrix:
    """Scale rows whose sum is above 1 down to 1; smaller sums keep their confidence, empty rows stay empty."""
    total = np.asarray(f.sum(axis=1)).ravel()
    capped = sparse.csr_matrix(sparse.diags_array(1 / total.clip(min=1)).tocsr() @ f)
    return capped if (total > 1).any() else f


def with_known(inferred: sparse.csr_matrix, known: sparse.csr_matrix) -> sparse.csr_matrix:
    """Known partners first, F + (1 − F 1) F̃: what is inferred is only the share that is not known.

    Rows of F that sum to more than 1, of cells with many partners, are scaled down to 1.
    """
    if not known.nnz:
        return inferred
    known = cap_rows(known)
    total = np.asarray(known.sum(axis=1)).ravel().clip(max=1)
    rest = sparse.diags_array((1 - total).astype(np.float32)).tocsr()
    both = sparse.csr_matrix(known + rest @ inferred, dtype=np.float32)
    both.eliminate_zeros()
    return both


def _matrix(rows: Array, columns: Array, values: Array, shape: tuple[int, int]) -> sparse.csr_matrix:
    return sparse.csr_matrix((values.astype(np.float32), (rows, columns)), shape=shape)


def _rounded(confidence: Array) -> Array:
    """Confidences as they are stored: 1 + 1e-15 is 1."""
    with np.errstate(over="ignore"):
        return confidence.astype(np.float32)


def _positions(pairs: pd.DataFrame, place: int, names: pd.Index) -> Array:
    """Where the cells that a column of the table names are among `names`."""
    given, title = pairs.iloc[:, place], pairs.columns[place]
    missing = given.isna().to_numpy()
    if missing.any():
        msg = (
            f"expected names of cells in column {title!r} of `pairs`, found {missing.sum()} missing of {len(pairs)}, "
            f"first in row {int(missing.argmax())}, {pairs.iloc[int(missing.argmax())].tolist()}; call pairs.dropna()"
        )
        raise InvalidValueError(msg)
    position = names.get_indexer(given.convert_dtypes().astype(str))  # 1.0 is cell '1'
    unknown = given[position < 0]
    if len(unknown):
        msg = (
            f"expected names of cells in column {title!r} of `pairs`, found {len(unknown)} unknown of {len(pairs)}, "
            f"first {unknown.iloc[0]!r}; the modality's names look like {list(names[:3])}"
        )
        raise InvalidValueError(msg)
    return position


def _confident(
    i: Array,
    j: Array,
    confidence: Array,
    shape: tuple[int, int],
    *,
    names: tuple[pd.Index, pd.Index] | None,
    shown: pd.Series | None = None,
) -> sparse.csr_matrix:
    """F of these entries; raises, naming the first, if a pair is repeated or a confidence not in (0, 1]."""

    def pair(at: int) -> str:
        ends = (i[at], j[at]) if names is None else (names[0][i[at]], names[1][j[at]])
        return f"({', '.join(str(end) if names is None else repr(str(end)) for end in ends)})"

    rounded = _rounded(confidence)
    wrong = ~((rounded > 0) & (rounded <= 1))
    if wrong.any():
        first = int(wrong.argmax())
        value = str(confidence[first]) if shown is None else repr(shown.iloc[first])
        msg = (
            f"expected confidences above 0 and at most 1 in `pairs`, found {int(wrong.sum())} others, first {value} "
            f"of {pair(first)}; drop what is no pair, or divide scores by the largest of them"
        )
        raise InvalidValueError(msg)
    f = _matrix(i, j, rounded, shape)
    if f.nnz < len(i):
        twice = pd.Series(i.astype(np.int64) * shape[1] + j).duplicated().to_numpy()
        msg = (
            f"expected each pair once in `pairs`, found {int(twice.sum())} repeated, first "
            f"{pair(int(twice.argmax()))}; drop the duplicates"
        )
        raise InvalidValueError(msg)
    return f

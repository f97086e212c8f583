"""Say which cells are the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from jamie._checks import require_name
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import Keys
from jamie._settings import logger
from jamie._slots import in_one_line, write
from jamie._types import Array, Pair
from jamie.correspondence import from_column, from_mask, from_matrix, from_names, from_table, nothing_shared
from jamie.data import Cells, open_cells, require_several, two_modalities, warn_of_names, writable


@in_one_line
@document("mdata", "key_added", "copy")
def correspondence(
    mdata: MuData,
    *,
    modalities: Sequence[str] | None = None,
    pairs: pd.DataFrame | sparse.sparray | sparse.spmatrix | None = None,
    on: str | None = None,
    known: str | None = None,
    key_added: str = "jamie",
    copy: bool = False,
) -> MuData | None:
    """Record which cells of two modalities are the same, F of the paper; by default those of the same name.

    Parameters
    ----------
    {shared}
    modalities
        The two modalities; may be left out where there are only two.
    pairs
        A table with two columns of cell names and optionally one of confidences in (0, 1]; or a sparse matrix of
        confidences, cells of the first × cells of the second. Columns that are called as both modalities are taken by
        name, others by position, in the order of `modalities`.
    on
        Column that is in the `.obs` of both; cells of the same value are paired, NaN with none.
    known
        Boolean column of `mdata.obs`; pairs are known only where it is true for both cells. A missing value is no.

    Returns
    -------
    `None`, or a changed copy if `copy=True`. Sets

    `mdata.obsp['jamie_known_<a>_<b>']` : :class:`~scipy.sparse.csr_matrix` (`n_obs × n_obs`, float32)
        Confidence that the cell of the row, in `a`, is the cell of the column, in `b`.

    Raises
    ------
    KeyError
        If a modality or column is not there.
    ValueError
        If the table or matrix does not fit the cells, repeats a pair, holds a confidence that is not in (0, 1], or no
        pair is left.

    Notes
    -----
    A cell may have several partners; confidences that sum to at most 1 are their shares of it. Where they sum to more,
    that is logged, and the partners share the cell in training: rows that sum to more are scaled to 1.

    Examples
    --------
    >>> import jamie as jm, pandas as pd
    >>> mdata = jm.datasets.toy()
    >>> table = pd.DataFrame({"rna": ["cell7", "cell8"], "protein": ["cell7", "cell8"], "confidence": [1, 0.5]})
    >>> jm.pp.correspondence(mdata, modalities=["rna", "protein"], pairs=table)
    >>> mdata.obsp["jamie_known_rna_protein"].nnz
    2
    """
    mdata = writable(mdata, copy=copy)
    cells = open_cells(mdata, modalities=modalities, keys=Keys(key_added))
    require_several(cells)
    a, b = two_modalities(cells)
    if pairs is not None and on is not None:
        msg = "expected one of `pairs` and `on`, found both; each says by itself which cells are the same"
        raise InvalidValueError(msg)
    rows, columns = cells.cells(a), cells.cells(b)
    if on is not None:
        for name in (a, b):
            require_name(on, list(mdata[name].obs), name="on", hint=f"it names a column of mdata[{name!r}].obs")
        f = from_column(mdata[a].obs[on], mdata[b].obs[on])
    elif isinstance(pairs, pd.DataFrame):
        f = from_table(pairs, rows, columns, modalities=(a, b))
    elif pairs is not None:
        f = from_matrix(pairs, (len(rows), len(columns)), names=(rows, columns))
    else:
        f = from_names(rows, columns)
    if known is not None:
        f = from_mask(f, _mask(cells, known, a), _mask(cells, known, b))
    if not f.nnz:
        left = "" if known is None else f" with both cells in `mdata.obs[{known!r}]`"
        by_name = pairs is None and on is None and not len(rows.intersection(columns))
        why = f": {nothing_shared({a: rows, b: columns}, [(a, b)])}" if by_name else ""
        msg = (
            f"expected at least one pair of {a!r} and {b!r}{left}, found none{why}; pass pairs= (a table of names) or "
            "on= (an obs column)"
        )
        raise InvalidValueError(msg)
    if pairs is None and on is None:
        warn_of_names(rows, columns, (a, b))
    logger.info("%d known pairs of %r and %r", f.nnz, a, b)
    if on is None:
        _warn_of_more_than_one(f, (a, b), (rows, columns))
    else:
        _tell_groups(f, (a, b), on)
    write(mdata, None, "obsp", cells.keys.known(a, b), cells.over_all_cells(f, a, b))
    return mdata if copy else None


def _mask(cells: Cells, column: str, name: str) -> Array:
    """Where a boolean column is true, for the cells of a modality."""
    values = cells.labels(column, name, argument="known")
    if pd.api.types.infer_dtype(values.astype(object), skipna=True) not in ("boolean", "empty"):
        msg = (
            f"expected a boolean column {column!r} of `.obs`, found {values.dtype}; make it one, as in "
            f"mdata.obs[{column!r}] == {values.dropna().iloc[0]!r}"
        )
        raise InvalidValueError(msg)
    return values.astype(object).astype("boolean").to_numpy(dtype=bool, na_value=False)


def _warn_of_more_than_one(f: sparse.csr_matrix, pair: Pair, names: tuple[pd.Index, pd.Index]) -> None:
    """Warn of cells that are more than one cell: the confidences of their partners sum to more than 1."""
    over = [np.flatnonzero(np.asarray(f.sum(axis=axis, dtype=float)).ravel() > 1 + 1e-6) for axis in (1, 0)]
    sides = [side for side, cells in enumerate(over) if len(cells)]
    if not sides:
        return
    side = sides[0]
    part = sparse.csr_matrix(f if side == 0 else f.T)
    partners = part[over[side][0]]
    shown = [f"{names[1 - side][j]!r} ({c:g})" for j, c in zip(partners.indices[:3], partners.data[:3], strict=True)]
    more = f" and {partners.nnz - 3} more" if partners.nnz > 3 else ""
    logger.warning(
        "expected confidences that sum to at most 1 for each cell, found %s with more, first %r with %s%s; its "
        "partners share it in training (rows that sum to more are scaled to 1); pass confidences that sum to at most 1 "
        "per cell to say the shares yourself",
        " and ".join(f"{len(over[side])} of {pair[side]!r}" for side in sides),
        names[side][over[side][0]],
        ", ".join(shown),
        more,
    )


def _tell_groups(f: sparse.csr_matrix, pair: Pair, on: str) -> None:
    """Log how many values pair more than one cell with another, and how many the largest does."""
    coo = f.tocoo()
    rows = np.bincount(coo.col, minlength=f.shape[1])[coo.col]  # of the value of each pair
    columns = np.bincount(coo.row, minlength=f.shape[0])[coo.row]
    size = rows * columns
    if (size > 1).any():
        largest = size.argmax()
        logger.info(
            "%d values of %r are shared by several cells, the most by %d of %r and %d of %r; they are paired each with "
            "each and share in training",
            round((1 / size[size > 1]).sum()), on, rows[largest], pair[0], columns[largest], pair[1],
        )  # fmt: skip

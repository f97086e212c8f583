"""Say which cells are the same."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from mudata import MuData
from scipy import sparse

from jamie._checks import require_choice
from jamie._docs import document
from jamie._keys import Keys
from jamie._settings import logger
from jamie._slots import write
from jamie._types import Array
from jamie.correspondence import from_column, from_mask, from_matrix, from_names, from_table
from jamie.data import modality_names, over_all_cells, writable


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
        A table with two columns of cell names, in the order of `modalities`, and optionally one of confidences in
        (0, 1]; or a sparse matrix of confidences, cells of the first × cells of the second.
    on
        Column that is in the `.obs` of both; cells of the same value are paired, NaN with none.
    known
        Boolean column of `mdata.obs`; pairs are known only where it is true for both cells.

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
        If the table or matrix does not fit the cells, or no pair is left.

    Examples
    --------
    >>> import jamie as jm, pandas as pd
    >>> mdata = jm.datasets.toy()
    >>> table = pd.DataFrame({"rna": ["cell7", "cell8"], "protein": ["cell7", "cell8"], "confidence": [1, 0.5]})
    >>> jm.pp.correspondence(mdata, modalities=["rna", "protein"], pairs=table)
    >>> mdata.obsp["jamie_known_rna_protein"].nnz
    2
    """
    a, b = _two(modality_names(mdata, modalities))
    mdata = writable(mdata, copy=copy)
    if pairs is not None and on is not None:
        msg = "expected one of `pairs` and `on`, found both; each says by itself which cells are the same"
        raise ValueError(msg)
    rows, columns = mdata[a].obs_names, mdata[b].obs_names
    if on is not None:
        for name in (a, b):
            require_choice(on, list(mdata[name].obs), name="on", hint=f"it names a column of mdata[{name!r}].obs")
        f = from_column(mdata[a].obs[on], mdata[b].obs[on])
    elif isinstance(pairs, pd.DataFrame):
        f = from_table(pairs, rows, columns)
    elif pairs is not None:
        f = from_matrix(pairs, (len(rows), len(columns)))
    else:
        f = from_names(rows, columns)
    if known is not None:
        f = from_mask(f, _mask(mdata, known, rows), _mask(mdata, known, columns))
    if not f.nnz:
        msg = (
            f"expected at least one pair of {a!r} and {b!r}, found none; pass pairs= (a table of names) or "
            "on= (an obs column)"
        )
        raise ValueError(msg)
    logger.info("%d known pairs of %r and %r", f.nnz, a, b)
    write(mdata, None, "obsp", Keys(key_added).known(a, b), over_all_cells(f, mdata, a, b))
    return mdata if copy else None


def _two(names: list[str]) -> tuple[str, str]:
    if len(names) != 2:
        msg = f"expected two modalities, found {len(names)}: {names}; pass modalities=({names[0]!r}, {names[1]!r})"
        raise ValueError(msg)
    return names[0], names[1]


def _mask(mdata: MuData, column: str, cells: pd.Index) -> Array:
    require_choice(column, list(mdata.obs), name="known", hint="it names a boolean column of mdata.obs")
    values = mdata.obs[column]
    if not pd.api.types.is_bool_dtype(values):
        msg = f"expected a boolean column `mdata.obs[{column!r}]`, found {values.dtype}"
        raise ValueError(msg)
    return values.reindex(cells).to_numpy(dtype=bool, na_value=False)

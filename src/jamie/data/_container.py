"""What a MuData holds, checked: names, matrices, held-out cells, known pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from mudata import MuData
from scipy import sparse

from jamie._checks import require_name, require_names, require_unique
from jamie._errors import InvalidValueError, WrongTypeError
from jamie._keys import Keys
from jamie._types import Array
from jamie.correspondence import from_names

from ._cell_matrix import CellMatrix


def modality_names(mdata: MuData, modalities: Sequence[str] | None = None) -> list[str]:
    """Names of the modalities to use, checked; all of them if `None`."""
    _require_mudata(mdata)
    names = list(mdata.mod) if modalities is None else require_names(modalities, name="modalities", example=mdata.mod)
    for name in names:
        require_name(name, list(mdata.mod), name="modality")
    if len(set(names)) < 2:
        msg = f"expected at least two modalities, found {len(set(names))}: {names}; the MuData has {list(mdata.mod)}"
        raise InvalidValueError(msg)
    if len(set(names)) < len(names):
        msg = f"expected each modality once, found {names}"
        raise InvalidValueError(msg)
    for name in names:
        require_unique_names(mdata, name)
    return names


def _require_mudata(mdata: MuData) -> None:
    """Raise if `mdata` is something else."""
    if not isinstance(mdata, MuData):
        msg = (
            f"expected a MuData, found {type(mdata).__name__}; make one with mudata.MuData({{'rna': ..., 'atac': ...}})"
        )
        raise WrongTypeError(msg)


def require_unique_names(mdata: MuData, name: str) -> None:
    """Raise if cells or features of a modality share a name."""
    remedy = f"mdata[{name!r}].{{}}_names_make_unique()"
    require_unique(mdata[name].obs_names, where=f"mdata[{name!r}].obs_names", remedy=remedy.format("obs"))
    require_unique(mdata[name].var_names, where=f"mdata[{name!r}].var_names", remedy=remedy.format("var"))


def matrix(mdata: MuData, name: str, *, layer: str | None = None) -> CellMatrix:
    """Matrix of one modality, in memory, backed or dask; none of it is read yet."""
    adata = mdata[name]
    if layer is not None:
        require_name(layer, list(adata.layers), name="layer")
    x = adata.X if layer is None else adata.layers[layer]
    where = f"mdata[{name!r}].X" if layer is None else f"mdata[{name!r}].layers[{layer!r}]"
    if x is None:
        msg = f"expected values in `{where}`, found none; pass layer= to use one of {list(adata.layers)}"
        raise InvalidValueError(msg)
    return CellMatrix(x, where=where, cells=adata.obs_names, features=adata.var_names)


def training_cells(mdata: MuData, name: str, keys: Keys) -> Array:
    """Which cells of a modality `pp.split` left for training; all of them where it was not called."""
    cells = mdata[name].obs_names
    if keys.split not in mdata.obs:
        return np.ones(len(cells), dtype=bool)
    return (mdata.obs[keys.split].reindex(cells) != "test").to_numpy()


def known_pairs(mdata: MuData, a: str, b: str, keys: Keys) -> sparse.csr_matrix:
    """Known pairs F (n_a × n_b): as `pp.correspondence` wrote them, else cells of the same name."""
    written = stored_pairs(mdata, a, b, keys.known)
    return from_names(mdata[a].obs_names, mdata[b].obs_names) if written is None else written


def stored_pairs(mdata: MuData, a: str, b: str, key: Callable[[str, str], str]) -> sparse.csr_matrix | None:
    """Correspondence (n_a × n_b) of the slot `key(a, b)` of `mdata.obsp`, or of its transpose; `None` if neither is."""
    if key(a, b) in mdata.obsp:
        rows, columns = (mdata.obs_names.get_indexer(mdata[name].obs_names) for name in (a, b))
        return sparse.csr_matrix(mdata.obsp[key(a, b)])[rows][:, columns].astype(np.float32)
    transposed = stored_pairs(mdata, b, a, key) if key(b, a) in mdata.obsp else None
    return None if transposed is None else transposed.T.tocsr()


def over_all_cells(f: sparse.csr_matrix, mdata: MuData, a: str, b: str) -> sparse.csr_matrix:
    """The same correspondence over the cells of the whole MuData, where `.obsp` keeps it in step with subsets."""
    coo = f.tocoo()
    rows, columns = (mdata.obs_names.get_indexer(mdata[name].obs_names) for name in (a, b))
    index = rows[coo.row], columns[coo.col]
    return sparse.csr_matrix((coo.data.astype(np.float32), index), shape=(mdata.n_obs, mdata.n_obs))

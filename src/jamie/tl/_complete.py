"""A MuData without holes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from jamie._compat import quiet_mudata
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import Keys
from jamie._settings import logger
from jamie._types import Array, Matrix
from jamie.data import matrix, model_inputs
from jamie.model import JAMIE

from ._embed import joint_latents
from ._store import Rows, identity_of, require_out, stream


@document("mdata", "model", "key_added")
def complete(mdata: MuData, model: JAMIE, *, out: str | Path | None = None, key_added: str = "jamie") -> MuData | None:
    """Fill in the modalities that cells were not measured in; measured values are left as they are.

    A cell is imputed from the joint latent of all that it, or a known partner, was measured in, and from one source as
    :func:`jamie.tl.impute` does it. Imputed rows are in the
    units of the input, so that a matrix never mixes two scales: counts and protein are carried back to what a cell of
    the training median depth would have shown, accessibility is the probability of being open.

    Parameters
    ----------
    {shared}
    out
        File ``….h5mu`` or folder ``….zarr`` to write to, a block of cells at a time, instead of returning what may not
        fit into memory. A call that was cut off goes on where it was when it is made again.

    Returns
    -------
    A new MuData, or `None` if it is written to `out`, in which every cell has every modality of the model, with

    `.mod[m].obs['jamie_imputed']` : bool
        Whether the row was imputed.
    `.obsm['X_jamie']` : :class:`~numpy.ndarray` (`n_obs × n_latent`)
        Joint latents.

    Raises
    ------
    KeyError
        If `mdata` has no modality of the model, or `out` ends otherwise.
    ValueError
        If the features of a modality are not those of the model.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=20)
    >>> whole = jm.tl.complete(mdata, model)
    >>> whole["rna"].n_obs, whole["protein"].n_obs, int(whole["rna"].obs["jamie_imputed"].sum())
    (60, 60, 6)
    """
    keys, path = Keys(key_added), None if out is None else require_out(out, (".h5mu", ".zarr"))
    latents = model.embed(mdata, key_added=key_added)
    for name in latents:
        if not pd.Index(model.preparations_[name].features).equals(mdata[name].var_names):
            msg = (
                f"expected the features of `mdata[{name!r}]` to be those of the model, in its order; take them with "
                f"mdata[{name!r}][:, model.preparations_[{name!r}].features]"
            )
            raise InvalidValueError(msg)
    joint = joint_latents(model.open(mdata, key_added=key_added), model, latents)
    inputs = {name: model_inputs(mdata, name, model.preparations_[name], keys) for name in latents}
    matrices = {name: _matrix(mdata, model, name, joint, inputs) for name in model.preparations_}
    with quiet_mudata():
        whole = MuData({name: _frame(mdata, model, name, keys) for name in matrices})
    for column in mdata.obs:
        whole.obs[column] = mdata.obs[column].reindex(whole.obs_names)
    whole.obsm[keys.latent] = joint[mdata.obs_names.get_indexer(whole.obs_names)]
    for name in matrices:
        logger.info("%d of %d cells of %r are imputed", int(whole[name].obs[keys.imputed].sum()), whole.n_obs, name)
    if path is None:
        for name, matrix in matrices.items():
            whole[name].X = matrix.whole()
        return whole

    identity = identity_of(model, joint, list(mdata.obs_names), *inputs.values())
    write_frame = whole.write_zarr if path.suffix == ".zarr" else whole.write_h5mu
    stream(path, write_frame, {f"mod/{name}/X": matrix for name, matrix in matrices.items()}, identity)
    return None


def _frame(mdata: MuData, model: JAMIE, name: str, keys: Keys) -> ad.AnnData:
    """The modality without its matrix: all cells, and which of them are imputed."""
    cells = mdata.obs_names
    obs = pd.DataFrame({keys.imputed: ~cells.isin(mdata[name].obs_names if name in mdata.mod else [])}, index=cells)
    if name not in mdata.mod:
        return ad.AnnData(obs=obs, var=pd.DataFrame(index=model.preparations_[name].features))
    for column in mdata[name].obs:
        obs[column] = _nullable(mdata[name].obs[column]).reindex(cells)
    return ad.AnnData(obs=obs, var=mdata[name].var.copy())


def _matrix(mdata: MuData, model: JAMIE, name: str, joint: Array, inputs: Mapping[str, Array]) -> Rows:
    """Rows of all cells, measured ones as they are stored."""
    preparation, n = model.preparations_[name], mdata.n_obs
    position = {m: _position(mdata, m) for m in model.preparations_}
    cells = matrix(mdata, name, layer=preparation.layer or None) if name in mdata.mod else None
    dtype = np.dtype(np.float32) if cells is None else cells.dtype

    def imputed(rows: Array) -> Array:
        correction = np.zeros((len(rows), preparation.loadings.shape[1]), dtype=np.float32)
        count = np.zeros((len(rows), 1), dtype=np.float32)
        for source, x in inputs.items():
            (has,) = np.nonzero(position[source][rows] >= 0)
            if source != name and len(has):
                correction[has] += model.correction(x[position[source][rows[has]]], source, name)
                count[has] += 1
        values = model.decode(joint[rows], name, correction=correction / np.maximum(count, 1))
        values = preparation.normaliser.to_input_units(values)
        return np.rint(values) if np.issubdtype(dtype, np.integer) else values

    def read(rows: slice) -> Matrix:
        at = position[name][rows]
        missing = np.arange(rows.start, rows.stop)[at < 0]
        found = [] if cells is None else [cells.stored(at[at >= 0])]
        found += [imputed(missing).astype(dtype)] if len(missing) else []
        order = np.argsort(np.argsort(at < 0, kind="stable"), kind="stable")
        if cells is not None and cells.is_sparse:
            return sparse.csr_matrix(sparse.vstack(found))[order]
        return np.vstack(found)[order]

    return Rows((n, len(preparation.features)), dtype, cells is not None and cells.is_sparse, read)


def _position(mdata: MuData, name: str) -> Array:
    """Row of each cell of `mdata` in a modality; -1 if it is not there."""
    cells = mdata.obs_names
    return mdata[name].obs_names.get_indexer(cells) if name in mdata.mod else np.full(len(cells), -1)


def _nullable(column: pd.Series) -> pd.Series:
    """The column in a type that holds missing values and can be written."""
    return column.astype("boolean") if column.dtype == bool else column

"""A MuData without holes."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from jamie._compat import quiet_mudata
from jamie._docs import document
from jamie._keys import Keys
from jamie._settings import logger
from jamie._types import Array, Matrix
from jamie.data import model_inputs
from jamie.model import JAMIE

from ._embed import joint_latents


@document("mdata", "model", "key_added")
def complete(mdata: MuData, model: JAMIE, *, key_added: str = "jamie") -> MuData:
    """Fill in the modalities that cells were not measured in; measured values are left as they are.

    A cell is imputed from the joint latent of all that it, or a known partner, was measured in, and from one source as
    :func:`jamie.tl.impute` does it. Imputed rows are in the
    units of the input, so that a matrix never mixes two scales: counts and protein are carried back to what a cell of
    the training median depth would have shown, accessibility is the probability of being open.

    Parameters
    ----------
    {shared}

    Returns
    -------
    A new MuData in which every cell has every modality of the model, with

    `.mod[m].obs['jamie_imputed']` : bool
        Whether the row was imputed.
    `.obsm['X_jamie']` : :class:`~numpy.ndarray` (`n_obs × n_latent`)
        Joint latents.

    Raises
    ------
    KeyError
        If `mdata` has no modality of the model.
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
    keys = Keys(key_added)
    latents = model.embed(mdata)
    for name in latents:
        if not pd.Index(model.preparations_[name].features).equals(mdata[name].var_names):
            msg = (
                f"expected the features of `mdata[{name!r}]` to be those of the model, in its order; take them with "
                f"mdata[{name!r}][:, model.preparations_[{name!r}].features]"
            )
            raise ValueError(msg)
    joint = joint_latents(mdata, model, latents, keys)
    with quiet_mudata():
        whole = MuData({name: _completed(mdata, model, name, joint, keys) for name in model.preparations_})
    for column in mdata.obs:
        whole.obs[column] = mdata.obs[column].reindex(whole.obs_names)
    whole.obsm[keys.latent] = joint[mdata.obs_names.get_indexer(whole.obs_names)]
    for name in model.preparations_:
        logger.info("%d of %d cells of %r are imputed", int(whole[name].obs[keys.imputed].sum()), whole.n_obs, name)
    return whole


def _completed(mdata: MuData, model: JAMIE, name: str, joint: Array, keys: Keys) -> ad.AnnData:
    preparation, cells = model.preparations_[name], mdata.obs_names
    position = mdata[name].obs_names.get_indexer(cells) if name in mdata.mod else np.full(len(cells), -1)
    missing = position < 0
    correction = _correction(mdata, model, name, cells[missing])
    imputed = preparation.normaliser.to_input_units(model.decode(joint[missing], name, correction=correction))
    obs = pd.DataFrame({keys.imputed: position < 0}, index=cells)
    if name not in mdata.mod:
        return ad.AnnData(imputed, obs=obs, var=pd.DataFrame(index=preparation.features))
    adata = mdata[name]
    for column in adata.obs:
        obs[column] = _nullable(adata.obs[column]).reindex(cells)
    if np.issubdtype((adata.layers[preparation.layer] if preparation.layer else adata.X).dtype, np.integer):
        imputed = np.rint(imputed)
    values = adata.layers[preparation.layer] if preparation.layer else adata.X
    return ad.AnnData(_interleave(values, imputed, position), obs=obs, var=adata.var.copy())


def _correction(mdata: MuData, model: JAMIE, target: str, cells: pd.Index) -> Array:
    """Mean of the corrections of what the cells were measured in, so that one source gives what `impute` gives."""
    total = np.zeros((len(cells), model.preparations_[target].loadings.shape[1]), dtype=np.float32)
    count = np.zeros((len(cells), 1), dtype=np.float32)
    for source in model.preparations_:
        position = mdata[source].obs_names.get_indexer(cells) if source in mdata.mod else np.full(len(cells), -1)
        (has,) = np.nonzero(position >= 0)
        if source != target and len(has):
            inputs = model_inputs(mdata, source, model.preparations_[source])
            total[has] += model.correction(inputs[position[has]], source, target)
            count[has] += 1
    return total / np.maximum(count, 1)


def _interleave(measured: Matrix, imputed: Array, position: Array) -> Matrix:
    """Rows of `measured` at `position`, rows of `imputed` in turn where it is -1; sparse if `measured` is."""
    stack = sparse.vstack if sparse.issparse(measured) else np.vstack
    rows = np.where(position < 0, measured.shape[0] + np.cumsum(position < 0) - 1, position)
    joined = stack([measured, imputed.astype(measured.dtype)])
    return sparse.csr_matrix(joined)[rows] if sparse.issparse(measured) else joined[rows]


def _nullable(column: pd.Series) -> pd.Series:
    """The column in a type that holds missing values and can be written."""
    return column.astype("boolean") if column.dtype == bool else column

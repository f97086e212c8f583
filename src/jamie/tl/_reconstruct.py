"""Denoise a modality."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from jamie._docs import document
from jamie._keys import Keys
from jamie._slots import in_one_line, write
from jamie.data import FeatureNames, Layers, as_given, open_for_model, writable_one
from jamie.model import JAMIE


@in_one_line
@document("mdata or adata", "model", "feature_names", "key_added", "copy")
def reconstruct(
    mdata: MuData | AnnData,
    model: JAMIE,
    *,
    modality: str,
    layer: Layers = None,
    feature_names: FeatureNames = None,
    key_added: str = "jamie",
    copy: bool = False,
) -> MuData | AnnData | None:
    """Denoise a modality: what its own latents decode to, in imputed units.

    Parameters
    ----------
    {shared}
    modality
        Modality to reconstruct; what an AnnData is.
    layer
        Layer that holds its values, instead of that of the training; ``"X"`` for the matrix itself.

    Returns
    -------
    `None`, or a changed copy if `copy=True`. Sets

    `mdata[modality].layers['jamie_reconstructed']` : :class:`~numpy.ndarray` (`n_obs × n_vars`, float32)
        decode(μ) of every cell; NaN for features that the model does not know.

    Raises
    ------
    KeyError
        If the modality is not in the model and in `mdata`.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.tl.reconstruct(mdata, model, modality="rna")
    >>> mdata["rna"].layers["jamie_reconstructed"].shape
    (54, 40)
    """
    mdata = writable_one(mdata, modality, copy=copy, argument="source")
    cells = open_for_model(mdata, model, layer=layer, feature_names=feature_names, key_added=key_added)
    values = model.reconstruct(cells, modality=modality)
    known = pd.Index(model.preparations_[modality].features)
    if not known.equals(cells.features(modality)):
        position = known.get_indexer(cells.features(modality))
        values = np.where(position >= 0, values[:, position], np.float32(np.nan))
    write(mdata, modality, "layers", Keys(key_added).reconstructed, values)
    return as_given(mdata) if copy else None

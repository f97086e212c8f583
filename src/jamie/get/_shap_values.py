"""SHAP values by cell for shap's own plots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from mudata import MuData
from scipy import sparse

from jamie._docs import document
from jamie.data import require_mudata

from ._importance import values_by_cell

if TYPE_CHECKING:
    from shap import Explanation


@document("mdata", "key_added")
def shap_values(mdata: MuData, *, source: str, target: str, feature: str, key_added: str = "jamie") -> Explanation:
    """SHAP values by cell, as the object that the plots of the shap package take.

    Parameters
    ----------
    {shared}
    source
        Modality whose features explain.
    target
        What was explained: a modality, ``"latent"``, or the column of the labels.
    feature
        Feature of the target, latent dimension or label that was named in `features` of :func:`jamie.tl.explain`.

    Returns
    -------
    Values, measured features and base of the explained cells. Measured features are on the scale of imputed ones where
    :func:`jamie.pp.prepare` was called on `mdata`, as they are in `.X` otherwise.

    Raises
    ------
    KeyError
        If this was not explained, or not kept by cell.
    ValueError
        If features of the source were taken away since, or none of its cells was explained.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.tl.explain(mdata, model, source="rna", target="protein", features=["protein3"])
    >>> values = jm.get.shap_values(mdata, source="rna", target="protein", feature="protein3")
    >>> values.shape
    (54, 40)
    """
    require_mudata(mdata)
    from shap import Explanation

    by_cell = values_by_cell(mdata, source, target, feature, key_added)
    data = by_cell.data.toarray() if sparse.issparse(by_cell.data) else by_cell.data
    return Explanation(
        by_cell.values,
        base_values=np.full(len(by_cell.values), by_cell.base, dtype=np.float32),
        data=np.asarray(data, dtype=np.float32),
        feature_names=list(mdata[source].var_names),
    )

"""SHAP values as a table in long form."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from jamie._docs import document

from ._importance import importance


@document("mdata or adata", "key_added")
def explanation(mdata: MuData | AnnData, *, source: str, target: str, key_added: str = "jamie") -> pd.DataFrame:
    """Mean absolute SHAP values of the source's features, as a table in long form.

    Parameters
    ----------
    {shared}
    source
        Modality whose features explain.
    target
        What was explained: a modality, ``"latent"``, or the column of the labels.

    Returns
    -------
    A row for each feature of the source and each `explained`, with `mean_abs_shap` in units of the latter; the most
    important feature first.

    Raises
    ------
    KeyError
        If this was not explained.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.tl.explain(mdata, model, source="rna", target="protein")
    >>> jm.get.explanation(mdata, source="rna", target="protein").columns.tolist()
    ['feature', 'explained', 'mean_abs_shap']
    """
    means = importance(mdata, source=source, target=target, key_added=key_added).means
    values = means.to_numpy().T  # explained × features
    order = np.argsort(-values, axis=1, kind="stable")
    return pd.DataFrame(
        {
            "feature": means.index.to_numpy()[order.ravel()],
            "explained": np.repeat(means.columns.to_numpy(), len(means)),
            "mean_abs_shap": np.take_along_axis(values, order, axis=1).ravel(),
        }
    )

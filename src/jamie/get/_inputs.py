"""What went into a model, beside what is there now."""

from __future__ import annotations

import numpy as np
import pandas as pd
from mudata import MuData

from jamie._docs import document
from jamie.data import ROLES, FeatureNames, open_for_model
from jamie.model import JAMIE


@document("mdata", "model", "feature_names", "key_added")
def inputs(
    mdata: MuData, model: JAMIE, *, feature_names: FeatureNames = None, key_added: str = "jamie"
) -> pd.DataFrame:
    """Modalities as the model takes them, and what each of their cells is to it.

    Parameters
    ----------
    {shared}

    Returns
    -------
    A row for each modality, by its name: `kind`, the `layer` that is read (``"X"`` for the matrix itself), `features`
    of the model, `components` that the network reads, `cells` that are here, and how many of these are `train`,
    `validation`, `held-out` and `new` to the model.

    Raises
    ------
    ValueError
        If model and MuData share no modality, or values are not of the kind of the training.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> jm.pp.split(mdata)
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.get.inputs(mdata, model)[["kind", "features", "cells"]].values.tolist()[0]
    ['counts', 40, 54]
    """
    cells = open_for_model(mdata, model, feature_names=feature_names, key_added=key_added)
    rows = {}
    for name in cells.names:
        preparation, role = model.preparations_[name], cells.role(name)
        rows[name] = {
            "kind": preparation.kind,
            "layer": cells.layer(name) or "X",
            "features": len(preparation.features),
            "components": preparation.loadings.shape[1],
            "cells": len(role),
            **dict(zip(ROLES, np.bincount(role, minlength=len(ROLES)).tolist(), strict=True)),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("modality")

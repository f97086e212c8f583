"""Measured values and positions of features of a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mudata import MuData

from jamie._checks import require_names
from jamie._types import Array
from jamie.model import JAMIE


def positions(model: JAMIE, name: str, features: Sequence[str] | None) -> Array:
    """Positions of named features among those of the model, each once; of all of them if `None`."""
    if features is not None:
        features = list(dict.fromkeys(require_names(features, name="features")))
    columns = model.columns(name, features)
    return np.arange(len(model.preparations_[name].features))[columns]


def measured_values(mdata: MuData, model: JAMIE, name: str, rows: Array, columns: Array) -> Array:
    """Measured values of some cells and features on the imputed scale, dense; NaN for features that are not there."""
    return model.open(mdata).measured(name, rows, columns)

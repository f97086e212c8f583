"""A target measured, and imputed by the model and the baselines: the same cells and features, on one scale."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
from mudata import MuData
from scipy import sparse

from jamie._types import Array
from jamie.baselines import predict
from jamie.data import matrix, model_inputs
from jamie.get._pairs import CellPairs
from jamie.model import JAMIE


def predictions(
    mdata: MuData,
    model: JAMIE,
    source: str,
    target: str,
    pairs: CellPairs,
    columns: Array,
    baselines: Sequence[str],
    rng: np.random.Generator,
) -> Iterator[tuple[str, Array, float]]:
    """Yield (method, imputed test cells × columns, seconds), the model first."""
    inputs = model_inputs(mdata, source, model.preparations_[source])
    began = time.perf_counter()
    imputed = model.translate(inputs[pairs.test[0]], source, target, columns)
    yield "jamie", imputed, time.perf_counter() - began
    if not baselines:
        return
    outcomes = measured_values(mdata, model, target, pairs.train[1], columns)
    for method in baselines:
        began = time.perf_counter()
        imputed = predict(method, inputs[pairs.train[0]], outcomes, inputs[pairs.test[0]], rng=rng)
        yield method, imputed, time.perf_counter() - began


def positions(model: JAMIE, name: str, features: Sequence[str] | None) -> Array:
    """Positions of named features among those of the model, each once; of all of them if `None`."""
    columns = model.columns(name, None if features is None else list(dict.fromkeys(features)))
    return np.arange(len(model.preparations_[name].features))[columns]


def measured_values(mdata: MuData, model: JAMIE, name: str, rows: Array, columns: Array) -> Array:
    """Measured values of some cells and features on the imputed scale, dense; NaN for features that are not there."""
    preparation = model.preparations_[name]
    position = mdata[name].var_names.get_indexer(preparation.features)
    x = matrix(mdata, name, layer=preparation.layer or None)[rows][:, position[position >= 0]]
    x = preparation.measured(x, np.flatnonzero(position >= 0))[:, np.cumsum(position >= 0)[columns] - 1]
    x = x.toarray() if sparse.issparse(x) else x
    return np.where(position[columns] >= 0, x, np.nan)

"""Scores by method, as `tl.evaluate` stored them: for their figures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from mudata import MuData

from jamie._checks import require_name
from jamie._errors import MissingNameError
from jamie._keys import Keys

from ._evaluation import evaluation
from ._stored import stored


class Scores(NamedTuple):
    """One target imputed from one source, a column for each method, the model first."""

    means: pd.DataFrame  # rows of the evaluation by method
    correlation: pd.DataFrame  # features × methods
    auroc: pd.DataFrame
    js_distance: pd.DataFrame  # features, or features within each label, × methods
    within_labels: bool


def scores(mdata: MuData, *, source: str, target: str, key_added: str = "jamie") -> Scores:
    """Scores of the features of `target` imputed from `source`, NaN where a feature was not scored."""
    keys, remedy = Keys(key_added), "jm.tl.evaluate(mdata, model)"
    means = _means(mdata, source, target, key_added)
    varm, where = mdata[target].varm, f"mdata[{target!r}].varm"
    frame = stored(varm, keys.scores_from(source), where=where, remedy=remedy)
    methods = [method for method in means.index if f"correlation_{method}" in frame]  # aligners impute nothing
    by_label = varm.get(keys.js_distance_from(source))
    return Scores(
        means.loc[methods],
        correlation=_columns(frame, "correlation", methods),
        auroc=_columns(frame, "auroc", methods),
        js_distance=_columns(frame, "js_distance", methods) if by_label is None else _stacked(by_label, methods),
        within_labels=by_label is not None,
    )


def alignments(mdata: MuData, *, source: str, target: str, key_added: str = "jamie") -> pd.DataFrame:
    """FOSCTTM and label transfer accuracy by method, the model first, of all that placed both modalities."""
    means = _means(mdata, source, target, key_added)
    if "lta" not in means:
        msg = (
            "expected label transfer accuracies, found an evaluation without labels; call jm.tl.evaluate(mdata, model, "
        )
        msg += "labels='cell_type', aligners=['cca'])"
        raise MissingNameError(msg)
    return means[means["foscttm"].notna()]


def _means(mdata: MuData, source: str, target: str, key_added: str) -> pd.DataFrame:
    """Rows of the evaluation of one source and target, by method."""
    table = evaluation(mdata, key_added=key_added)
    for name, value in (("source", source), ("target", target)):
        require_name(value, list(mdata.mod), name=name)
    means = table[(table["source"] == source) & (table["target"] == target)].set_index("method")
    if means.empty:
        directions = sorted({f"{a} → {b}" for a, b in zip(table["source"], table["target"], strict=True)})
        msg = (
            f"expected {source} → {target} in `mdata.uns[{Keys(key_added).evaluation!r}]`, found {directions}; call "
            "jm.tl.evaluate(mdata, model)"
        )
        raise MissingNameError(msg)
    return means


def _columns(frame: pd.DataFrame, measure: str, methods: list[str]) -> pd.DataFrame:
    return frame[[f"{measure}_{method}" for method in methods]].set_axis(methods, axis=1)


def _stacked(frame: pd.DataFrame, methods: list[str]) -> pd.DataFrame:
    """All labels of a method under each other."""
    return pd.DataFrame({m: np.ravel(frame.loc[:, frame.columns.str.startswith(f"{m}: ")]) for m in methods})

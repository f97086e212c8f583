"""Scores of each imputed feature, by method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from mudata import MuData

from jamie._checks import require_name
from jamie._docs import document
from jamie._errors import MissingNameError
from jamie._keys import Keys
from jamie.data import require_mudata
from jamie.metrics import FLOOR, MethodComparison, binomial_test

from ._evaluation import method_means
from ._stored import stored

OURS = "jamie"


@dataclass(frozen=True)
class Wins:
    """How many of `n_features` with both scores the model has the higher of, and how likely as uneven a count is."""

    n_wins: int
    n_features: int
    p_value: float


@dataclass(frozen=True)
class FeatureScores:
    """Scores of one target imputed from one source, a column for each method, the model first.

    Attributes
    ----------
    means
        Rows of the evaluation by method.
    correlation, auroc
        Of each feature, features × methods; NaN where a feature was not scored.
    js_distance
        The same, or of each feature within each label, labels under each other, × methods.
    within_labels
        Whether distances are within labels.
    r_max
        Correlation of each feature that a perfect predictor would have; NaN where the target is no counts.
    js_floor
        Distance of two measured samples in place of each of `js_distance`.
    """

    means: pd.DataFrame
    correlation: pd.DataFrame
    auroc: pd.DataFrame
    js_distance: pd.DataFrame
    within_labels: bool
    r_max: pd.Series
    js_floor: pd.Series

    def baseline(self, name: str | None = None) -> str:
        """Name of the baseline with the highest mean correlation, or `name` if there is such a baseline."""
        baselines = self.means.drop(index=OURS)
        if baselines.empty:
            msg = (
                "expected a baseline to compare with, found none in the evaluation; call jm.tl.evaluate(mdata, model, "
                "baselines=['ridge'])"
            )
            raise MissingNameError(msg)
        if name is None:
            return str(baselines["correlation"].fillna(-np.inf).idxmax())
        hint = "name it in `baselines` of jm.tl.evaluate"
        return require_name(name, list(baselines.index), name="against", hint=hint)

    def gain(self, against: str) -> MethodComparison:
        """The model's mean correlation less that of a baseline, by resampling cells."""
        row = self.means.loc[against]
        return MethodComparison(*(float(row.get(name, np.nan)) for name in ("gain", "gain_se", "p_value")))

    def wins(self, measure: Literal["correlation", "auroc"], against: str) -> Wins:
        """How often the model scores higher than a baseline, by feature, as if these did not share cells."""
        table = getattr(self, measure)
        test = binomial_test(table[OURS], table[against])
        return Wins(test.wins, test.wins + test.losses + test.ties, test.p_value)


@document("mdata", "key_added")
def scores(mdata: MuData, *, source: str | Sequence[str], target: str, key_added: str = "jamie") -> FeatureScores:
    """Scores of each feature of `target` imputed from `source`, by method: the numbers of :func:`jamie.pl.metrics`.

    Parameters
    ----------
    {shared}
    source, target
        Modalities, as :func:`jamie.tl.evaluate` scored them; a list of sources in any order.

    Returns
    -------
    Tables with a column for each method, the model first: `means` by measure, `correlation` and `auroc` by feature, and
    `js_distance` by feature, within each label where there were any; beside them `r_max`, what a perfect predictor
    would reach, and `js_floor`, the distance of two measured samples. `wins(measure, against)` counts the features
    that the model imputes better than a baseline, with a p-value.

    Raises
    ------
    KeyError
        If these modalities were not evaluated.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> _ = jm.tl.evaluate(mdata, model, baselines=["mean", "knn"])
    >>> scores = jm.get.scores(mdata, source="rna", target="protein")
    >>> list(scores.correlation), len(scores.correlation)
    (['jamie', 'mean', 'knn'], 12)
    """
    require_mudata(mdata)
    keys, remedy = Keys(key_added), "jm.tl.evaluate(mdata, model)"
    sources, means = method_means(mdata, source, target, key_added)
    varm, where = mdata[target].varm, f"mdata[{target!r}].varm"
    frame = stored(varm, keys.scores_from(*sources), where=where, remedy=remedy)
    methods = [method for method in means.index if f"correlation_{method}" in frame]  # aligners impute nothing
    by_label = varm.get(keys.js_distance_from(*sources))
    return FeatureScores(
        means.loc[methods],
        correlation=_columns(frame, "correlation", methods),
        auroc=_columns(frame, "auroc", methods),
        js_distance=_columns(frame, "js_distance", methods) if by_label is None else _stacked(by_label, methods),
        within_labels=by_label is not None,
        r_max=frame["r_max"],
        js_floor=frame["js_floor"] if by_label is None else _stacked(by_label, [FLOOR])[FLOOR].rename("js_floor"),
    )


def _columns(frame: pd.DataFrame, measure: str, methods: list[str]) -> pd.DataFrame:
    return frame[[f"{measure}_{method}" for method in methods]].set_axis(methods, axis=1)


def _stacked(frame: pd.DataFrame, methods: list[str]) -> pd.DataFrame:
    """All labels of a method under each other."""
    return pd.DataFrame({m: np.ravel(frame.loc[:, frame.columns.str.startswith(f"{m}: ")]) for m in methods})

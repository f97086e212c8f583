"""Whether intervals hold what they say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from mudata import MuData

from jamie._checks import require_name, require_names
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import of_sources
from jamie._spread import spread
from jamie._types import Array
from jamie.data import FeatureNames, Layers, open_for_model
from jamie.metrics import is_within
from jamie.model import JAMIE, require_level

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
MOST_CELLS = 5_000
VALUES = 2**22
"""Imputed at a time."""
ALL = "all"
ROUNDING = 1e-6
"""Spread of a feature, as a share of its largest value, that is none."""
SUMS = ["n", "within", "n_wide", "within_wide", "width", "n_width"]


@document("mdata", "model", "feature_names", "key_added")
def calibration(
    mdata: MuData,
    model: JAMIE,
    *,
    source: str | Sequence[str],
    target: str,
    groupby: str | None = None,
    levels: Sequence[float] | None = None,
    layer: Layers = None,
    feature_names: FeatureNames = None,
    key_added: str = "jamie",
) -> pd.DataFrame:
    """Coverage that is measured at each nominal level, of the intervals of :func:`jamie.tl.impute`.

    Of the pairs that the model has not seen, all of them where it has seen every one, and of at most 5,000.

    Where more measurements than the level are 0, an interval from 0 to 0 holds more of them than it has to: coverage of
    sparse features exceeds the level, whatever is done. `coverage_with_width` leaves such intervals out. Which these
    are is chosen by the prediction alone, so that it is to be equal to the level.

    Parameters
    ----------
    {shared}
    source, target
        Modalities, as given to :func:`jamie.tl.impute`; of several sources the cells that have all of them.
    groupby
        Column of the `.obs` of the modalities, or of `mdata.obs`, such as cell types, to show beside all cells.
    levels
        Nominal levels; 0.1 to 0.9 and 0.95 if `None`, those that the model can give.
    layer
        Layer that holds the values, instead of that of the training; ``"X"`` for the matrix itself.

    Returns
    -------
    A row for each group, first ``"all"``, and level: `coverage`, the share of measured values within their bounds;
    `share_with_width`, of intervals that are wider than 0; `coverage_with_width`, of these; `width`, the mean in
    standard deviations of the feature over these cells; `n_cells`, what the `cells` are to the model, and the `kind`.

    Raises
    ------
    KeyError
        If a modality or column is not there.
    ValueError
        If the imputation is not calibrated, no cell has both modalities, a level cannot be given, or a group is called
        ``"all"``.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy(n_cells=120)
    >>> jm.pp.split(mdata)
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> table = jm.get.calibration(mdata, model, source="rna", target="protein", levels=[0.5, 0.9])
    >>> table[["group", "level"]].to_numpy().tolist()
    [['all', 0.5], ['all', 0.9]]
    """
    cells = open_for_model(mdata, model, layer=layer, feature_names=feature_names, key_added=key_added)
    listed = [source] if isinstance(source, str) else require_names(source, name="source")
    for name, value in [*(("source", each) for each in listed), ("target", target)]:
        require_name(value, list(cells.names), name=name)
    fitted = model.calibration(listed, target)
    asked = [level for level in LEVELS if level <= fitted.highest] if levels is None else list(levels)
    asked = [require_level(level, fitted.highest) for level in asked]
    if not asked:
        msg = "expected a level or more in `levels`, found none; pass e.g. levels=[0.5, 0.9]"
        raise InvalidValueError(msg)
    labels = None if groupby is None else cells.labels(groupby, listed[0], argument="groupby").astype("category")
    joined = cells.joined(listed, target)
    some = {name: of[spread(len(of), MOST_CELLS)] for name, of in joined.test.items()}
    rows, partners = some[listed[0]], some[target]
    if not len(rows):
        shown = " and ".join(map(repr, [*listed, target]))
        msg = f"expected cells measured in all of {shown}, found none; there is nothing to compare"
        raise InvalidValueError(msg)
    chosen: dict[str, Array] = {ALL: np.ones(len(rows), dtype=bool)}
    if labels is not None:
        of_rows = labels.iloc[rows].cat.remove_unused_categories()
        names = list(map(str, of_rows.cat.categories))
        if len({ALL, *names}) <= len(names):
            msg = (
                f"expected groups in {groupby!r} that differ as text from each other and from {ALL!r}, which stands "
                f"for all cells, found {names}; rename them"
            )
            raise InvalidValueError(msg)
        chosen |= {name: (of_rows == of).to_numpy() for name, of in zip(names, of_rows.cat.categories, strict=True)}
    sums = np.zeros((len(chosen), len(asked), len(SUMS)))
    n_features = len(model.preparations_[target].features)
    inputs = {name: cells.inputs(name)[some[name]] for name in listed}
    step = max(1, VALUES // len(rows))
    for start in range(0, n_features, step):
        columns = np.arange(start, min(start + step, n_features))
        imputed = model.translate_jointly(inputs, target, columns)
        measured = cells.measured(target, partners, columns)
        for i, level in enumerate(asked):
            bounds = fitted.interval(imputed, level, columns)
            sums[:, i] += _sums(measured, *bounds, list(chosen.values()))
    table = pd.DataFrame(sums.reshape(-1, len(SUMS)), columns=SUMS)
    found = pd.DataFrame(
        {
            "source": of_sources(listed),
            "target": target,
            "group": np.repeat(list(chosen), len(asked)),
            "level": np.tile(asked, len(chosen)),
            "coverage": table["within"] / table["n"],
            "share_with_width": table["n_wide"] / table["n"],
            "coverage_with_width": table["within_wide"] / table["n_wide"],
            "width": table["width"] / table["n_width"],
            "n_cells": np.repeat([int(of_group.sum()) for of_group in chosen.values()], len(asked)),
            "cells": joined.cells,
        }
    )
    found["kind"] = model.preparations_[target].kind
    return found


def _sums(measured: Array, lower: Array, upper: Array, groups: list[Array]) -> Array:
    """What the shares of each group are made of, (groups, `SUMS`)."""
    within, width = is_within(measured, lower, upper), (upper - lower) / _sd(measured)
    seen, is_wide, has_width = ~np.isnan(within), upper > lower, np.isfinite(width)
    parts = seen, within == 1, is_wide & seen, is_wide & (within == 1), np.where(has_width, width, 0), has_width
    return np.array([[part[group].sum() for part in parts] for group in groups], dtype=float)


def _sd(measured: Array) -> Array:
    """Standard deviation of each feature; NaN where it does not vary, so that it is in no mean."""
    seen = ~np.isnan(measured)
    n = np.maximum(seen.sum(axis=0), 1)
    values = np.where(seen, measured, 0)
    mean = values.sum(axis=0) / n
    variance = np.where(seen, np.square(measured - mean), 0).sum(axis=0) / n
    rounding = np.square(ROUNDING * np.abs(values).max(axis=0, initial=0))
    return np.sqrt(np.where(variance > rounding, variance, np.nan))

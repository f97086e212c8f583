"""What is explained, in which cells, against which others, and what comes of it over cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from jamie._checks import require_name, require_names
from jamie._errors import InvalidValueError
from jamie._types import Array
from jamie.model import JAMIE

from ._contributions import Contribution, Readout, feature_readout

CONSTANT = 1e-5  # sd in units of the mean below which nothing but rounding varies


class Explained(NamedTuple):
    """Values to explain, as a function of the network's outputs."""

    outputs: list[str]  # their names, (t,)
    readout: Readout
    scale: str  # their unit


class Gathered(NamedTuple):
    """Contributions of the features of a modality, (d,), to each output, (t,), over the explained cells."""

    mean_abs: Array  # (d, t)
    by_cell: Array  # (kept outputs, n, d), float32; NaN for cells that were not explained
    base: Array  # (t,): mean of the background
    additivity: float  # largest remainder, in sd of what is explained, or in its mean if it is constant


def explained_features(model: JAMIE, target: str, features: Sequence[str] | None) -> Explained:
    """Imputed features of the target; all of them if `None`."""
    require_name(target, list(model.preparations_), name="target")
    columns, preparation = model.columns(target, features), model.preparations_[target]
    return Explained(list(preparation.features[columns]), feature_readout(model, target, columns), preparation.scale)


def explained_latents(n_latent: int, features: Sequence[str] | None) -> Explained:
    """Latent dimensions, ``"latent0"`` and so on; all of them if `None`."""
    known = [f"latent{i}" for i in range(n_latent)]
    chosen = _chosen(features, known)
    return Explained(
        [known[i] for i in chosen], Readout(None, np.eye(n_latent)[chosen], np.zeros(len(chosen))), "latent"
    )


def explained_labels(
    latents: Array, labels: Array, train: Array, features: Sequence[str] | None, *, source: str
) -> Explained:
    """Logits of labels by a logistic regression on the latents (n, g) of training cells, a mask; all if `None`.

    Labels are NaN where there are none.
    """
    use = train & pd.notna(labels)
    text = labels[use].astype(str)
    n_labels = len(set(text))
    if n_labels < 2:
        msg = f"expected two labels or more among the training cells of {source!r}, found {n_labels}"
        raise InvalidValueError(msg)
    fitted = LogisticRegression(max_iter=1000).fit(latents[use], text)
    matrix, offset = fitted.coef_, fitted.intercept_
    if len(matrix) == 1:
        matrix, offset = np.vstack([-matrix, matrix]), np.concatenate([-offset, offset])
    known = list(fitted.classes_)
    chosen = _chosen(features, known)
    return Explained([known[i] for i in chosen], Readout(None, matrix[chosen], offset[chosen]), "logit")


def chosen_cells(
    groups: Array | None, n: int, *, group: str | None, reference: str | None
) -> tuple[Array, Array | None]:
    """Rows to explain of n cells, and rows that may be background, by the group of each cell, NaN where it has none.

    Where no `reference` is named the background is `None`: the training cells.
    """
    if groups is None:
        if group is not None or reference is not None:
            msg = "expected `groupby`, a column of mdata.obs, beside `group` and `reference`, found none"
            raise InvalidValueError(msg)
        return np.arange(n), None
    has = pd.notna(groups)
    text = np.where(has, groups, "").astype(str)
    known = list(pd.unique(text[has]))
    is_in = {
        name: has & (text == require_name(name, known, name="group or reference"))
        for name in (group, reference)
        if name is not None
    }
    explained = np.arange(n) if group is None else np.flatnonzero(is_in[group])
    return explained, None if reference is None else np.flatnonzero(is_in[reference])


def gathered(
    contributions: Iterable[Contribution],
    shape: tuple[int, int],
    *,
    rows: Array,
    position: Array,
    n_outputs: int,
    n_kept: int,
) -> Gathered:
    """Contributions to means, and to values by cell of the first `n_kept` outputs, of a modality of this shape.

    `rows` are the explained cells, and `position` the explaining features, in the modality; others have no part.
    """
    by_cell = np.full((n_kept, *shape), np.nan, dtype=np.float32)
    total = np.zeros((shape[1], n_outputs))
    explained, remainder = [], []
    for one in contributions:
        total[position] += np.abs(one.values)
        explained.append(one.explained)
        remainder.append(one.values.sum(0) + one.base - one.explained)
        for layer, values in zip(by_cell, one.values.T, strict=False):
            layer[rows[one.cell]] = 0
            layer[rows[one.cell], position] = values
    spread, level = np.std(explained, axis=0), np.abs(explained).mean(axis=0)
    unit = np.where(spread > CONSTANT * level, spread, level)
    unit = np.maximum(unit, max(CONSTANT * unit.max(initial=0), 1e-12))  # of an output that is 0 everywhere
    additivity = float((np.abs(remainder).max(0) / unit).max())
    return Gathered((total / len(rows)).astype(np.float32), by_cell, one.base, additivity)


def _chosen(features: Sequence[str] | None, known: list[str]) -> list[int]:
    names = known if features is None else require_names(features, name="features") or known
    return [known.index(require_name(name, known, name="features")) for name in names]

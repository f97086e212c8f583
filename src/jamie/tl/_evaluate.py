"""How good is it, on cells that were not trained on, beside simple predictors."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from jamie._checks import generator, require_choice
from jamie._docs import document
from jamie._keys import Keys
from jamie._settings import logger
from jamie._slots import write
from jamie._types import Array, Seed
from jamie.data import known_pairs, matrix, model_inputs, training_cells, writable
from jamie.metrics import feature_auroc, feature_correlation, foscttm, js_distance, label_transfer_accuracy
from jamie.metrics._baselines import METHODS, predict
from jamie.model import JAMIE


@document("mdata", "model", "rng", "key_added")
def evaluate(
    mdata: MuData,
    model: JAMIE,
    *,
    labels: str | None = None,
    baselines: Sequence[str] = ("knn", "ridge", "kernel_ridge"),
    n_features: int = 2_000,
    rng: Seed = 0,
    key_added: str = "jamie",
) -> pd.DataFrame:
    """Score imputation and alignment on the held-out cells, beside simple predictors fitted on the same training cells.

    Where :func:`jamie.pp.split` was not called all cells are scored, in-sample, and the table says so. Baselines see
    the same prepared inputs and training pairs as the model, and are tuned by cross-validation on them.

    Parameters
    ----------
    {shared}
    labels
        Column of `mdata.obs` for the label transfer accuracy; left out if `None`.
    baselines
        Of ``"mean"``, ``"knn"``, ``"ridge"``, ``"kernel_ridge"``; empty for none.
    n_features
        Features of a target to score, drawn at random where it has more.

    Returns
    -------
    A data frame with a row for each source, target and method: `cells` (held-out or in-sample), mean `correlation`,
    `auroc` and `js_distance` over features, `n_failed` features without a correlation, `foscttm`, `lta` (accuracy on
    the source of labels learned on the target's latents) and `seconds`. Sets

    `mdata.uns['jamie_evaluation']` : :class:`~pandas.DataFrame`
        The same table.
    `mdata[target].var['jamie_correlation']`, `['jamie_auroc']`, `['jamie_js_distance']` : float
        Measures of each feature, as imputed by the model from the last source that was scored; NaN where not scored.

    Raises
    ------
    KeyError
        If `labels` or a baseline is not there.
    ValueError
        If fewer than three pairs of cells can be scored.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> jm.pp.split(mdata)
    >>> model = jm.tl.train(mdata, max_steps=20)
    >>> table = jm.tl.evaluate(mdata, model, labels="cell_type", baselines=["knn"])
    >>> table[["source", "target", "method", "cells"]].head(2)
      source   target method     cells
    0    rna  protein  jamie  held-out
    1    rna  protein    knn  held-out
    """
    mdata = writable(mdata, copy=False)
    for method in baselines:
        require_choice(method, METHODS, name="baselines")
    if labels is not None:
        require_choice(labels, list(mdata.obs), name="labels", hint="it names a column of mdata.obs")
    rng, keys = generator(rng), Keys(key_added)
    names = [name for name in model.preparations_ if name in mdata.mod]
    latents = model.embed(mdata)
    rows, scores = [], {}
    for a, b in combinations(names, 2):
        pairs = {(a, b): _Pairs(mdata, a, b, keys)}
        pairs[b, a] = pairs[a, b].reversed()
        for source, target in permutations((a, b)):
            pair = pairs[source, target]
            aligned = _alignment(mdata, latents, source, target, pair, labels)
            columns = _some(len(model.preparations_[target].features), n_features, rng)
            for method, imputed, seconds in _predictions(
                mdata, model, latents, source, target, pair, columns, baselines, rng
            ):
                measured = _measured(mdata, model, target, pair.test[1], columns)
                per_feature = _scores(measured, imputed)
                if method == "jamie":
                    scores[target] = (columns, per_feature)
                rows.append(
                    {
                        "source": source,
                        "target": target,
                        "method": method,
                        "cells": pair.cells,
                        **{name: _mean(values) for name, values in per_feature.items()},
                        "n_failed": int(np.isnan(per_feature["correlation"]).sum()),
                        **(aligned if method == "jamie" else {}),
                        "seconds": seconds,
                    }
                )
    table = pd.DataFrame(rows)
    for target, (columns, per_feature) in scores.items():
        position = mdata[target].var_names.get_indexer(model.preparations_[target].features[columns])
        for measure, values in per_feature.items():
            full = np.full(mdata[target].n_vars, np.nan)
            full[position[position >= 0]] = values[position >= 0]
            write(mdata, target, "var", keys.score(measure), full)
    write(mdata, None, "uns", keys.evaluation, table)
    return table


class _Pairs:
    """Rows of paired cells in two modalities: to learn from, and to score."""

    def __init__(self, mdata: MuData, a: str, b: str, keys: Keys) -> None:
        f = known_pairs(mdata, a, b, keys)
        partner = np.asarray(f.argmax(axis=1)).ravel()
        (rows,) = np.nonzero(np.asarray(f.sum(axis=1)).ravel() > 0)
        columns = partner[rows]
        train = training_cells(mdata, a, keys)[rows] & training_cells(mdata, b, keys)[columns]
        self.train = rows[train], columns[train]
        self.cells = "in-sample" if train.all() else "held-out"
        self.test = self.train if train.all() else (rows[~train], columns[~train])
        if train.all():
            logger.warning("no cells were held out by jm.pp.split: the measures of %r and %r are in-sample", a, b)
        if len(self.test[0]) < 3:
            msg = (
                f"expected at least 3 pairs of {a!r} and {b!r} to score, found {len(self.test[0])}; call "
                "jm.pp.split(mdata)"
            )
            raise ValueError(msg)

    def reversed(self) -> _Pairs:
        other = object.__new__(_Pairs)
        other.train, other.test, other.cells = self.train[::-1], self.test[::-1], self.cells
        return other


def _predictions(
    mdata: MuData,
    model: JAMIE,
    latents: dict[str, Array],
    source: str,
    target: str,
    pair: _Pairs,
    columns: Array,
    baselines: Sequence[str],
    rng: np.random.Generator,
) -> Iterator[tuple[str, Array, float]]:
    """Yield (method, imputed test cells × columns, seconds), the model first."""
    began = time.perf_counter()
    yield "jamie", model.decode(latents[source][pair.test[0]], target, columns), time.perf_counter() - began
    if not baselines:
        return
    inputs = model_inputs(mdata, source, model.preparations_[source])
    outcomes = _measured(mdata, model, target, pair.train[1], columns)
    for method in baselines:
        began = time.perf_counter()
        imputed = predict(method, inputs[pair.train[0]], outcomes, inputs[pair.test[0]], rng=rng)
        yield method, imputed, time.perf_counter() - began


def _alignment(
    mdata: MuData, latents: dict[str, Array], source: str, target: str, pair: _Pairs, labels: str | None
) -> dict[str, float]:
    x, y = latents[source][pair.test[0]], latents[target][pair.test[1]]
    found = {"foscttm": foscttm(x, y)}
    if labels is not None:
        of = mdata.obs[labels].astype(object)
        names = [mdata[name].obs_names[rows] for name, rows in zip((source, target), pair.test, strict=True)]
        found["lta"] = label_transfer_accuracy(
            x, y, of.reindex(names[0]).to_numpy(), labels_y=of.reindex(names[1]).to_numpy(), n_neighbors=min(5, len(y))
        )
    return found


def _measured(mdata: MuData, model: JAMIE, name: str, rows: Array, columns: Array) -> Array:
    """Measured values of some cells and features on the imputed scale, dense."""
    preparation = model.preparations_[name]
    position = mdata[name].var_names.get_indexer(preparation.features)
    x = matrix(mdata, name, layer=preparation.layer or None)[rows][:, position[position >= 0]]
    x = preparation.measured(x)[:, np.cumsum(position >= 0)[columns] - 1]
    x = x.toarray() if sparse.issparse(x) else x
    return np.where(position[columns] >= 0, x, np.nan)


def _scores(measured: Array, imputed: Array) -> dict[str, Array]:
    return {
        "correlation": feature_correlation(measured, imputed),
        "auroc": feature_auroc(measured, imputed),
        "js_distance": js_distance(measured, imputed),
    }


def _mean(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def _some(n: int, most: int, rng: np.random.Generator) -> Array:
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))

"""How good is it, on cells that were not trained on, beside simple predictors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from mudata import MuData

from jamie._checks import generator, require_choice
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import Keys
from jamie._settings import logger
from jamie._slots import write
from jamie._types import Array, Pair, Seed
from jamie.baselines import METHODS
from jamie.data import writable
from jamie.get._pairs import CellPairs, cell_pairs
from jamie.metrics import foscttm, label_transfer_accuracy
from jamie.model import JAMIE

from ._placements import placements, require_aligner
from ._predictions import measured_values, predictions
from ._scores import MEASURES, Scores

COLUMNS = (
    "source", "target", "method", "cells", "n_cells", *MEASURES, "n_failed", "foscttm", "lta", "seconds",
)  # fmt: skip
FEWEST = 3  # pairs of cells to score


@document("mdata", "model", "rng", "key_added")
def evaluate(
    mdata: MuData,
    model: JAMIE,
    *,
    labels: str | None = None,
    baselines: Sequence[str] = ("knn", "ridge", "kernel_ridge"),
    aligners: Sequence[str] = (),
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
        Column of `mdata.obs`, such as cell types, for the label transfer accuracy and the JS distances within each
        label; both are left out if `None`.
    baselines
        Of ``"mean"``, ``"knn"``, ``"ridge"``, ``"kernel_ridge"``, ``"pls"``, ``"reduced_rank"``, ``"mlp"``; empty for
        none.
    aligners
        Of ``"cca"``, ``"lma"`` and ``"nlma"`` (canonical correlation, linear and nonlinear manifold alignment), or
        slots of `.obsm` that the modalities have, such as latents of another package: `foscttm` and `lta` of these
        beside those of the model. They see the same prepared inputs and training pairs.
    n_features
        Features of a target to score, drawn at random where it has more.

    Returns
    -------
    A data frame with a row for each source, target and method: `cells` (held-out or in-sample) and `n_cells` of them,
    mean `correlation`, `auroc`, `js_distance` and `sd_ratio` over features, `n_failed` features without a correlation,
    `foscttm`, `lta` (accuracy on the source of labels learned on the target's latents) and `seconds`. Sets

    `mdata.uns['jamie_evaluation']` : :class:`~pandas.DataFrame`
        The same table.
    `mdata[target].varm['jamie_scores_<source>']` : :class:`~pandas.DataFrame`
        Measures of each feature as imputed by each method, in columns ``<measure>_<method>``; NaN where not scored.
    `mdata[target].varm['jamie_js_distance_<source>']` : :class:`~pandas.DataFrame`
        With `labels`, JS distances of each feature within each label, in columns ``<method>: <label>``; NaN where
        fewer than two of the scored cells have the label.
    `mdata[target].var['jamie_correlation']`, `['jamie_auroc']`, `['jamie_js_distance']`, `['jamie_sd_ratio']` : float
        Measures of each feature, as imputed by the model from the last source that was scored.

    Raises
    ------
    KeyError
        If `labels`, a baseline or an aligner is not there.
    ValueError
        If no two modalities have three pairs of cells to score; those that have fewer are left out otherwise.

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
    for method in aligners:
        require_aligner(mdata, method, list(model.preparations_))
    if labels is not None:
        require_choice(labels, list(mdata.obs), name="labels", hint="it names a column of mdata.obs")
    baselines, rng, keys = list(dict.fromkeys(baselines)), generator(rng), Keys(key_added)
    names = [name for name in model.preparations_ if name in mdata.mod]
    latents = model.embed(mdata)
    pairs_of = _pairs_to_score(mdata, names, keys)
    drawn = {name: _some(len(model.preparations_[name].features), n_features, rng) for name in names}
    rows: list[dict[str, object]] = []
    found: dict[tuple[str, str], Scores] = {}
    for (a, b), both in pairs_of.items():
        placed = {"jamie": (latents[a], latents[b], np.nan), **placements(mdata, model, (a, b), both, aligners, rng)}
        for source, target, pairs in ((a, b, both), (b, a, both.reversed())):
            columns = drawn[target]
            labels_of = [
                _labels(mdata, labels, name, at) for name, at in zip((source, target), pairs.test, strict=True)
            ]
            scores = found[source, target] = Scores(model.preparations_[target].features[columns], labels_of[1])
            measured = measured_values(mdata, model, target, pairs.test[1], columns)
            about = {"source": source, "target": target, "cells": pairs.cells, "n_cells": len(pairs.test[0])}
            aligned = {}
            for method, (x, y, seconds) in placed.items():
                x, y = (x, y) if source == a else (y, x)
                aligned[method] = {"seconds": seconds, **_alignment(x[pairs.test[0]], y[pairs.test[1]], *labels_of)}
            for method, imputed, seconds in predictions(mdata, model, source, target, pairs, columns, baselines, rng):
                scored = {**scores.add(method, measured, imputed), **aligned.pop(method, {}), "seconds": seconds}
                rows.append({**about, "method": method, **scored})
            rows.extend({**about, "method": method, **of_aligner} for method, of_aligner in aligned.items())
    table = pd.DataFrame(rows)[[name for name in COLUMNS if any(name in row for row in rows)]]
    for (source, target), scores in found.items():
        _write(mdata, source, target, scores, keys)
    write(mdata, None, "uns", keys.evaluation, table)
    return table


def _pairs_to_score(mdata: MuData, names: Sequence[str], keys: Keys) -> dict[Pair, CellPairs]:
    """Pairs of cells by pair of modalities, of those that share enough."""
    found = {(a, b): cell_pairs(mdata, a, b, keys) for a, b in combinations(names, 2)}
    counts = {pair: len(pairs.test[0]) for pair, pairs in found.items()}
    most = max(counts.values(), default=0)
    if most < FEWEST:
        shown = " or ".join(f"{a!r} and {b!r}" for a, b in found) or f"two modalities of the model, which has {names},"
        msg = (
            f"expected at least {FEWEST} pairs of {shown} to score, found {most}; call jm.pp.split(mdata) with a "
            "larger test_fraction, or name more pairs with jm.pp.correspondence"
        )
        raise InvalidValueError(msg)
    for (a, b), pairs in list(found.items()):
        if counts[a, b] < FEWEST:
            logger.warning("%r and %r have %d pairs of cells to score, and are left out", a, b, counts[a, b])
            del found[a, b]
        elif pairs.cells == "in-sample":
            logger.warning("no cells were held out by jm.pp.split: the measures of %r and %r are in-sample", a, b)
    return found


def _labels(mdata: MuData, labels: str | None, name: str, rows: Array) -> pd.Series | None:
    """Labels of some cells of a modality as text; the categories are those of all cells."""
    if labels is None:
        return None
    of_all = mdata.obs[labels].astype(object).map(str, na_action="ignore").astype("category")
    return of_all.reindex(mdata[name].obs_names[rows])


def _alignment(x: Array, y: Array, labels_x: pd.Series | None, labels_y: pd.Series | None) -> dict[str, float]:
    """How close cells are to their partners, and to cells of their label."""
    found = {"foscttm": foscttm(x, y)}
    if labels_x is not None:
        found["lta"] = label_transfer_accuracy(x, y, labels_x, labels_y=labels_y, n_neighbors=min(5, len(y)))
    return found


def _write(mdata: MuData, source: str, target: str, scores: Scores, keys: Keys) -> None:
    features = mdata[target].var_names
    frame, distances = scores.frame(features), scores.distances(features)
    write(mdata, target, "varm", keys.scores_from(source), frame)
    if distances is not None:
        write(mdata, target, "varm", keys.js_distance_from(source), distances)
    else:  # those of an earlier call are of other imputed values
        mdata[target].varm.pop(keys.js_distance_from(source), None)
    for measure in MEASURES:
        write(mdata, target, "var", keys.score(measure), frame[f"{measure}_jamie"].to_numpy())


def _some(n: int, most: int, rng: np.random.Generator) -> Array:
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))

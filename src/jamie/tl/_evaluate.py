"""How good is it, on cells that were not trained on, beside simple predictors."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from anndata.utils import make_index_unique
from mudata import MuData

from jamie._checks import generator, require_names, require_option
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import of_sources
from jamie._settings import logger
from jamie._slots import in_one_line, safe_name, write
from jamie._types import Array, Pair, Seed
from jamie.baselines import ALIGNERS, METHODS, Components, align, predict_each
from jamie.data import (
    IN_SAMPLE,
    CellPairs,
    Cells,
    FeatureNames,
    JoinedCells,
    Layers,
    Pairs,
    as_text,
    open_for_model,
    pairs_to_score,
    writable,
)
from jamie.metrics import LIMITS, MEASURES, FeatureScores, alignment_scores, known_mean
from jamie.model import JAMIE

from ._made_by import write_model

COLUMNS = (
    "source", "target", "method", "cells", "n_cells", *MEASURES, *LIMITS, "n_failed", "correlation_se", "gain",
    "gain_se", "p_value", "foscttm", "foscttm_within", "lta", "lta_chance", "lta_macro", "lta_macro_chance", "seconds",
)  # fmt: skip
OURS = "jamie"
FEWEST = 3  # pairs of cells to score
Latents = dict[str, tuple[Array, Array, float]]
"""Of a source and a target by method, and the seconds that they took."""
HOLD_OUT = (
    "call jm.pp.split(mdata) with a larger test_fraction before jm.tl.train(mdata), or name more pairs with "
    "jm.pp.correspondence"
)


@in_one_line
@document("mdata", "model", "feature_names", "rng", "key_added")
def evaluate(
    mdata: MuData,
    model: JAMIE,
    *,
    labels: str | None = None,
    pairs: Pairs | Mapping[Pair, Pairs] = None,
    baselines: Sequence[str] = ("knn", "ridge", "supervised_kernel_ridge"),
    aligners: Sequence[str] = (),
    n_features: int = 2_000,
    layer: Layers = None,
    feature_names: FeatureNames = None,
    rng: Seed = 0,
    key_added: str = "jamie",
) -> pd.DataFrame:
    """Score imputation and alignment on the held-out cells, beside simple predictors fitted on the same training cells.

    The model knows by name and values which cells it has seen, whatever `.obs` says today: pairs of which it saw
    neither cell are scored. If it saw all of them, all are scored, and the table says ``in-sample``. Baselines see the
    same prepared inputs, components of the target and training pairs as the model, and are tuned by cross-validation
    on them. To compare two models in one MuData, evaluate each with its own `key_added`; one :func:`jamie.pp.split`
    serves both.

    Parameters
    ----------
    {shared}
    labels
        Column of `mdata.obs` or of the modalities' `.obs`, such as cell types, for the label transfer accuracy, the
        FOSCTTM and the JS distances within each label; all are left out if `None`.
    pairs
        True pairs that the model was not told, as for :func:`jamie.pp.correspondence`: a table of names or a sparse
        matrix, of more than two modalities by pair, ``{("rna", "protein"): table}``, or a table whose columns are
        called as two of them. Only these are scored, and `cells` says ``unknown pairs`` where the model has seen the
        cells. Pairs of cells of which it knew a partner in the training, which it remembers, are left out, and the log
        says how many. If `None`, known pairs of cells that it has not seen.
    baselines
        Of ``"mean"``, ``"knn"``, ``"ridge"``, ``"kernel_ridge"``, ``"supervised_kernel_ridge"`` (with distances along
        the directions by which ridge predicts the target, the best of the simple ones), ``"supervised_knn"``,
        ``"pls"``, ``"reduced_rank"``, ``"extra_trees"``, ``"mlp"``, ``"average"`` (of ridge and reduced rank, kNN and
        both kernels); empty for none.
    aligners
        Of ``"cca"``, ``"lma"`` and ``"nlma"`` (canonical correlation, linear and nonlinear manifold alignment), or
        slots of `.obsm` that the modalities have, such as latents of another package: `foscttm` and `lta` of these
        beside those of the model. They see the same prepared inputs and training pairs.
    n_features
        Features of a target to score, drawn at random where it has more.
    layer
        Layer that holds the values, for all modalities or by modality, instead of that of the training; ``"X"`` for
        the matrix itself.

    Returns
    -------
    A data frame with a row for each source, target and method; of three modalities or more also for each target from
    all others together, `source` ``"rna + ephys"``, in the cells that have all of them, without `pairs`. There the
    model is also scored from each source alone, as ``"jamie from rna"``, and baselines see the inputs of all sources
    side by side:

    =================== =========================================================================================
    column              meaning
    =================== =========================================================================================
    `cells`, `n_cells`  what is scored (held-out, new, in-sample, unknown pairs), and how many
    `correlation`       mean over features, as are `auroc`, `js_distance` and `sd_ratio`
    `r_max`             mean correlation of a perfect predictor, if the target is counts
                        (:func:`jamie.metrics.max_correlation`)
    `js_floor`          mean JS distance of two measured samples of as many cells (:func:`jamie.metrics.js_floor`)
    `n_failed`          features without a correlation
    `correlation_se`    standard error of the mean correlation over cells
    `gain`              the model's mean correlation less that of a baseline, on the same cells, with `gain_se` and
                        `p_value` (:func:`jamie.metrics.compare_methods`)
    `foscttm`           0.5 is chance
    `foscttm_within`    the same among the cells of each label; 0.5 is chance
    `lta`               accuracy on the source of labels learned on the target's latents; `lta_chance` is the share of
                        the commonest label
    `lta_macro`         the mean of that accuracy over labels; `lta_macro_chance` is one over their number
    `seconds`           that the method took
    =================== =========================================================================================

    Sets

    `mdata.uns['jamie_evaluation']` : :class:`~pandas.DataFrame`
        The same table.
    `mdata[target].varm['jamie_scores_<source>']` : :class:`~pandas.DataFrame`
        Measures of each feature as imputed by each method, in columns ``<measure>_<method>``, and `r_max` and
        `js_floor`; NaN where not scored.
    `mdata[target].varm['jamie_js_distance_<source>']` : :class:`~pandas.DataFrame`
        With `labels`, JS distances of each feature within each label, in columns ``<method>: <label>``, and of two
        measured samples of as many cells of the label, ``floor: <label>``; NaN where fewer than two of the scored cells
        have the label.
    `mdata[target].var['jamie_correlation']`, `['jamie_auroc']`, `['jamie_js_distance']`, `['jamie_sd_ratio']` : float
        Measures of each feature, as imputed by the model from the last source that was scored.

    Raises
    ------
    KeyError
        If `labels` is not there.
    ValueError
        If there is no such baseline or aligner, `pairs` do not fit the cells, or no two modalities have three pairs of
        cells to score; those that have fewer are left out otherwise.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> jm.pp.split(mdata)
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> table = jm.tl.evaluate(mdata, model, labels="cell_type", baselines=["knn"])
    >>> table[["source", "target", "method", "cells"]].head(2)
      source   target method     cells
    0    rna  protein  jamie  held-out
    1    rna  protein    knn  held-out
    """
    mdata = writable(mdata, copy=False)
    baselines, aligners = require_names(baselines, name="baselines"), require_names(aligners, name="aligners")
    for method in baselines:
        require_option(method, METHODS, name="baselines")
    cells = open_for_model(mdata, model, layer=layer, feature_names=feature_names, key_added=key_added)
    for method in aligners:
        _require_aligner(cells, method)
    baselines, rng = list(dict.fromkeys(baselines)), generator(rng)
    labels_of = {name: _labels(cells, labels, name) for name in cells.names}
    pairs_of = _enough(pairs_to_score(cells, pairs), are_given=pairs is not None)
    _require_labels(pairs_of, labels_of, labels)
    drawn = {name: _drawn(len(model.preparations_[name].features), n_features, rng) for name in cells.names}
    directions = list(_of_pairs(cells, model, pairs_of, aligners, rng))
    if pairs is None:
        directions += [(sources, target, joined, {}) for sources, target, joined in _several(cells, pairs_of)]
    rng_limits = np.random.default_rng(0)  # the same limits beside every model
    in_use = [name for name in cells.names if any(name == target for _, target, *_ in directions)]
    r_max = {name: cells.max_correlation(name, drawn[name], rng_limits) for name in in_use}
    rows: list[dict[str, object]] = []
    scores: dict[tuple[tuple[str, ...], str], FeatureScores] = {}
    for sources, target, joined, latents in directions:
        direction = _Direction(sources, target, joined, drawn[target], labels_of[target])
        of_features = FeatureScores(model.preparations_[target].features[drawn[target]], direction.test_labels)
        limits = _bounded(cells, direction, of_features, r_max[target], rng_limits)
        aligned = _aligned(direction, latents, labels_of[sources[0]])
        scored = _rows(cells, model, direction, aligned, baselines, of_features, rng)
        rows += [{**row, **limits} if "correlation" in row else row for row in scored]
        scores[sources, target] = of_features
    table = pd.DataFrame(rows)[[name for name in COLUMNS if any(name in row for row in rows)]]
    for (sources, target), of_pair in scores.items():
        _write(cells, sources, target, of_pair)
    write(mdata, None, "uns", cells.keys.evaluation, table)
    write_model(cells, model, cells.keys.evaluation)
    return table


class _Direction(NamedTuple):
    """One target imputed from one source, or from several, in the cells that are scored."""

    sources: tuple[str, ...]
    target: str
    cells: JoinedCells
    columns: Array  # features of the target
    of_target: pd.Series | None  # labels of all its cells

    @property
    def test_labels(self) -> pd.Series | None:
        """Labels of the scored cells."""
        return None if self.of_target is None else self.of_target.iloc[self.cells.test[self.target]]


def _several(cells: Cells, pairs_of: dict[Pair, CellPairs]) -> Iterator[tuple[tuple[str, ...], str, JoinedCells]]:
    """Each target with all other modalities, of three or more, if enough cells have them all."""
    any_unseen = any(pairs.cells != IN_SAMPLE for pairs in pairs_of.values())
    for target in cells.names if len(cells.names) > 2 else ():
        sources = tuple(name for name in cells.names if name != target)
        joined = cells.joined(sources, target)
        if len(joined.test[target]) >= FEWEST and not (any_unseen and joined.cells == IN_SAMPLE):
            yield sources, target, joined
        else:
            logger.info("%s → %r is left out: too few cells to score have them all", of_sources(sources), target)


def _of_pairs(
    cells: Cells, model: JAMIE, pairs_of: dict[Pair, CellPairs], aligners: Sequence[str], rng: np.random.Generator
) -> Iterator[tuple[tuple[str, ...], str, JoinedCells, Latents]]:
    """Each of two modalities from the other, and latents of both by method."""
    for (a, b), both in pairs_of.items():
        latents = {OURS: (model.encode(cells.inputs(a), a), model.encode(cells.inputs(b), b), np.nan)}
        latents |= _aligner_latents(cells, (a, b), both, aligners, rng)
        turned = {method: (y, x, seconds) for method, (x, y, seconds) in latents.items()}
        for source, target, of, placed in ((a, b, both, latents), (b, a, both.reversed(), turned)):
            train, test = (dict(zip((source, target), rows, strict=True)) for rows in (of.train, of.test))
            yield (source,), target, JoinedCells(train, test, of.cells), placed


def _aligned(direction: _Direction, latents: Latents, of_source: pd.Series | None) -> dict[str, dict[str, float]]:
    """Scores of the alignment by method."""
    x_rows, y_rows = (direction.cells.test[name] for name in (direction.sources[0], direction.target))
    labels = (None if of_source is None else of_source.iloc[x_rows]), direction.test_labels
    return {
        method: {"seconds": seconds, **alignment_scores(x[x_rows], y[y_rows], *labels)}
        for method, (x, y, seconds) in latents.items()
    }


def _rows(
    cells: Cells,
    model: JAMIE,
    direction: _Direction,
    aligned: dict[str, dict[str, float]],
    baselines: list[str],
    scores: FeatureScores,
    rng: np.random.Generator,
) -> Iterator[dict[str, object]]:
    """Rows of the table for one direction: the model, the baselines, and aligners, which impute nothing."""
    test = direction.cells.test[direction.target]
    about = {
        "source": of_sources(direction.sources),
        "target": direction.target,
        "cells": direction.cells.cells,
        "n_cells": len(test),
    }
    measured = cells.measured(direction.target, test, direction.columns)
    for method, imputed, seconds in _predictions(cells, model, direction, baselines, rng):
        scored = {**scores.add(method, measured, imputed), **aligned.pop(method, {}), "seconds": seconds}
        yield {**about, "method": method, **scored}
    yield from ({**about, "method": method, **of_aligner} for method, of_aligner in aligned.items())


def _bounded(
    cells: Cells, direction: _Direction, scores: FeatureScores, r_max: Array, rng: np.random.Generator
) -> dict[str, float]:
    """Note how far apart two measured samples are, of the cells that are scored and as many others of each label."""
    test, labels = direction.cells.test[direction.target], direction.of_target
    others = rng.permutation(np.setdiff1d(np.arange(len(cells.cells(direction.target))), test))
    codes = np.zeros(len(test) + len(others), int) if labels is None else labels.cat.codes.to_numpy() + 1
    wanted, of_others = np.bincount(codes[test], minlength=codes.max() + 1), codes[others]
    place = pd.Series(of_others).groupby(of_others).cumcount().to_numpy()  # of each among those of its label
    pool = np.concatenate([test, others[place < wanted[of_others]]])
    measured = cells.measured(direction.target, pool, direction.columns)
    return scores.bound(r_max, measured, None if labels is None else labels.iloc[pool], len(test), rng)


def _predictions(
    cells: Cells, model: JAMIE, direction: _Direction, baselines: list[str], rng: np.random.Generator
) -> Iterator[tuple[str, Array, float]]:
    """Yield (method, imputed test cells × columns, seconds), the model first."""
    sources, target, of, columns = direction[:4]
    inputs = {name: cells.inputs(name)[of.test[name]] for name in sources}
    began = time.perf_counter()
    imputed = model.translate_jointly(inputs, target, columns)
    yield OURS, imputed, time.perf_counter() - began
    for name in sources if len(sources) > 1 else ():
        began = time.perf_counter()
        imputed = model.translate(inputs[name], name, target, columns)
        yield f"{OURS} from {safe_name(name)}", imputed, time.perf_counter() - began
    train = of.train[target]
    if not baselines or len(train) < 2:
        return
    x_train, x_test = (_side_by_side(cells, model, sources, rows) for rows in (of.train, of.test))
    outcomes = cells.measured(target, train, columns)
    origin = known_mean(outcomes, axis=0) if outcomes.dtype == np.float64 else 0  # baselines compute in float32
    components = Components(cells.inputs(target)[train], model.preparations_[target].readout(columns)[0])
    began = time.perf_counter()
    for method, imputed in predict_each(baselines, x_train, outcomes - origin, x_test, components=components, rng=rng):
        yield method, imputed + origin, time.perf_counter() - began
        began = time.perf_counter()


def _side_by_side(cells: Cells, model: JAMIE, sources: Sequence[str], rows: Mapping[str, Array]) -> Array:
    """Inputs of cells; of several sources, divided as the network's, beside each other."""
    if len(sources) == 1:
        return cells.inputs(sources[0])[rows[sources[0]]]
    return np.hstack([cells.inputs(name)[rows[name]] / np.float32(model.divisors_[name]) for name in sources])


def _enough(pairs_of: dict[Pair, CellPairs], *, are_given: bool) -> dict[Pair, CellPairs]:
    """Pairs of cells by pair of modalities, of those that share enough."""
    counts = {pair: len(pairs.test[0]) for pair, pairs in pairs_of.items()}
    most = max(counts.values(), default=0)
    if most < FEWEST:
        shown = " or ".join(f"{a!r} and {b!r}" for a, b in pairs_of) or "two modalities of the model"
        msg = f"expected at least {FEWEST} pairs of {shown} to score, found {most}; " + (
            "pass `pairs` that jm.pp.correspondence did not know before the training" if are_given else HOLD_OUT
        )
        raise InvalidValueError(msg)
    for (a, b), pairs in list(pairs_of.items()):
        if counts[a, b] < FEWEST:
            logger.warning("%r and %r have %d pairs of cells to score, and are left out", a, b, counts[a, b])
            del pairs_of[a, b]
        elif pairs.cells == "in-sample":
            logger.warning(
                "the model has seen all %d pairs of %r and %r: the measures are in-sample; call jm.pp.split(mdata) "
                "before "
                "jm.tl.train(mdata)",
                counts[a, b], a, b,
            )  # fmt: skip
        elif len(pairs.train[0]) < 2:
            logger.info("no pair of %r and %r that the model learned from is here: there are no baselines", a, b)
    return pairs_of


def _labels(cells: Cells, labels: str | None, name: str) -> pd.Series | None:
    """Labels of all cells of a modality as text; the categories are those of all of them."""
    if labels is None:
        return None
    return as_text(cells.labels(labels, name)).astype("category")


def _require_labels(
    pairs_of: dict[Pair, CellPairs], labels_of: dict[str, pd.Series | None], labels: str | None
) -> None:
    """Raise if cells are to be scored by labels that none of them has."""
    for pair, pairs in pairs_of.items():
        for name, rows in zip(pair, pairs.test, strict=True):
            of_cells = labels_of[name]
            if of_cells is not None and of_cells.iloc[rows].isna().all():
                msg = (
                    f"expected labels {labels!r} of the {len(rows)} {pairs.cells} cells of {name!r} that are scored, "
                    "found none; leave `labels` out, or name another column"
                )
                raise InvalidValueError(msg)


def _require_aligner(cells: Cells, method: str) -> None:
    """Raise unless `method` is one of ours or a slot that all modalities have, of as many dimensions."""
    slots = set.intersection(*(set(cells.mdata[name].obsm) for name in cells.names))
    require_option(method, [*ALIGNERS, *sorted(slots)], name="aligners", hint="or it names a slot of every `.obsm`")
    if method not in ALIGNERS:
        widths = {name: np.shape(cells.mdata[name].obsm[method])[1] for name in cells.names}
        if len(set(widths.values())) > 1:
            msg = (
                f"expected as many dimensions of {method!r} in every modality, found {widths}; pass a slot with cells "
                "of all modalities in one space"
            )
            raise InvalidValueError(msg)


def _aligner_latents(
    cells: Cells, names: Pair, pairs: CellPairs, aligners: Sequence[str], rng: np.random.Generator
) -> dict[str, tuple[Array, Array, float]]:
    """Latents of all cells of both modalities by method, and the seconds that they took; NaN where they were there."""
    latents: dict[str, tuple[Array, Array, float]] = {}
    if any(method in ALIGNERS for method in aligners):
        (rng,) = rng.spawn(1)  # baselines draw the same with and without aligners
    for method in aligners:
        if method in ALIGNERS:
            if len(pairs.train[0]) < 2:
                logger.warning("%r is left out: no pair of %r and %r is here to align them by", method, *names)
                continue
            began = time.perf_counter()
            x, y = align(method, cells.inputs(names[0]), cells.inputs(names[1]), pairs.train, rng=rng)
            latents[method] = x, y, time.perf_counter() - began
        else:
            x, y = (np.asarray(cells.mdata[name].obsm[method], dtype=np.float64) for name in names)
            latents[method] = x, y, float("nan")
    return latents


def _write(cells: Cells, sources: tuple[str, ...], target: str, scores: FeatureScores) -> None:
    mdata, keys, features = cells.mdata, cells.keys, cells.features(target)
    frame, distances = scores.frame(features), scores.distances(features)
    frame.index = mdata[target].var_names
    write(mdata, target, "varm", keys.scores_from(*sources), frame)
    if distances is not None:
        distances.index = mdata[target].var_names
        distances.columns = make_index_unique(pd.Index([safe_name(name) for name in distances]))
        write(mdata, target, "varm", keys.js_distance_from(*sources), distances)
    else:  # those of an earlier call are of other imputed values
        mdata[target].varm.pop(keys.js_distance_from(*sources), None)
    for measure in MEASURES:
        write(mdata, target, "var", keys.score(measure), frame[f"{measure}_{OURS}"].to_numpy())


def _drawn(n: int, most: int, rng: np.random.Generator) -> Array:
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))

"""What is lost without a feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata.utils import make_index_unique
from mudata import MuData

from jamie._checks import generator, require_name, require_not_negative, require_option, require_positive
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import SCHEMA
from jamie._slots import in_one_line, safe_name, write
from jamie._types import Array, Seed
from jamie.attribution import (
    LABEL_MEASURES,
    WORSE,
    Groups,
    Judge,
    JudgedCells,
    SourceCells,
    by_correlation,
    by_latents,
    feature_sets,
    knocked_out,
    labelled_cells,
    one_tailed,
    paired_cells,
    random_sets,
)
from jamie.data import Cells, FeatureNames, Layers, as_text, open_for_model, writable
from jamie.metrics import known_mean
from jamie.model import JAMIE


@in_one_line
@document("mdata", "model", "feature_names", "rng", "key_added")
def knockout(
    mdata: MuData,
    model: JAMIE,
    *,
    source: str,
    target: str | None = None,
    measure: str | None = None,
    features: Sequence[str] | None = None,
    labels: str | None = None,
    groups: Groups | None = None,
    n_cells: int = 2_000,
    n_random: int = 20,
    layer: Layers = None,
    feature_names: FeatureNames = None,
    rng: Seed = 0,
    key_added: str = "jamie",
) -> pd.DataFrame:
    """How much worse imputation or integration is without each feature of the source, or without groups of them.

    A feature that is knocked out stands at its background in every cell: its training mean, a region of open
    chromatin closed. All others stay as they were measured; each is knocked out by itself, never on top of others.
    Judged on the cells that :func:`jamie.pp.split` held out, or on all where it was not called.

    Parameters
    ----------
    {shared}
    source
        Modality whose features are knocked out.
    target
        The other modality; the model's only other one if `None`.
    measure
        ``"correlation"`` of measured and imputed features of the target; ``"lta"``, accuracy on the source of `labels`
        learned on the target's latents, or ``"likelihood"``, the mean log-probability of a cell's own label by a
        logistic regression on them, which has no ties where a feature in a thousand changes no label; or
        ``"foscttm"``. If `None`, ``"lta"`` with `labels` and else the correlation.
    features
        Features of the target that the correlation is taken of; all of them if `None`.
    labels
        Column of `mdata.obs` that ``"lta"`` and ``"likelihood"`` are taken of.
    groups
        Features to knock out together: a mapping of names to features, ``"chromosome"``, or a whole number of bases for
        windows along the genome, in which coordinates are as for :func:`jamie.tl.links`; each feature by itself if
        `None`.
    n_cells
        Cells to judge by, at most, drawn at random.
    n_random
        Random sets of the same size to compare each group with; its p-value is at least 1 / (`n_random` + 1).
    layer
        Layer that holds the values, for all modalities or by modality, instead of that of the training; ``"X"`` for
        the matrix itself.

    Returns
    -------
    A data frame with a row for each feature or group, the most important first: `value` of the measure without it,
    `loss` (how much worse that is than with it, at least 0 where it helps), for groups `n_features`, and `random`
    and `random_sd`, the losses without random sets, and `p_value`, one-tailed: the share of all features, or of random
    sets and the group itself, whose loss is at least as large. Sets

    `mdata[source].var['jamie_knockout_<measure>_<target>']` : float
        The measure without each feature; for correlations their mean. NaN for features that the model does not know.
    `mdata[source].varm['jamie_knockout_correlation_<target>']` : :class:`~pandas.DataFrame` (`n_vars × n_features`)
        The correlation of each feature of the target without each of the source.
    `mdata[source].uns['jamie_knockout_<measure>_<target>']` : :class:`dict`
        The measure with all features, `baseline`, and what it was taken of.
    `mdata[source].uns['jamie_knockout_groups_<measure>_<target>']` : :class:`dict`
        With `groups`, nothing is set but this: the same, with the data frame as its `table`.

    Raises
    ------
    KeyError
        If a modality, feature or column is not there, or features have no coordinates to group by.
    ValueError
        If there is no such measure, labels are needed and not given, or there are too few cells, or a group is empty.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> table = jm.tl.knockout(mdata, model, source="rna", labels="cell_type")
    >>> table.shape
    (40, 3)
    >>> sets = dict(first=["gene1", "gene2"], last=["gene40"])
    >>> jm.tl.knockout(mdata, model, source="rna", groups=sets)["n_features"].to_dict()["first"]
    2
    """
    mdata = writable(mdata, copy=False)
    rng = generator(rng)
    cells = open_for_model(mdata, model, layer=layer, feature_names=feature_names, key_added=key_added)
    keys = cells.keys
    require_name(source, cells.names, name="source")
    target = _other_modality(cells, source, target)
    measure = require_option(measure or ("lta" if labels else "correlation"), WORSE, name="measure")
    if (labels is not None) != (measure in LABEL_MEASURES):
        takes = " or ".join(LABEL_MEASURES)
        msg = f"expected `labels` with {takes} and no other measure, found {labels!r} and {measure!r}"
        raise InvalidValueError(msg)
    require_positive(n_cells=n_cells)
    require_not_negative(n_random=n_random)
    columns, names = model.positions(target, features), mdata[source].var_names
    position = cells.matched(source).position
    sets = {} if groups is None else feature_sets(groups, cells.var(source), position, modality=source)
    judged = _judged_cells(cells, source, target, labels=labels, n_cells=n_cells, rng=rng)
    taken = SourceCells.of(cells, source, model.preparations_[source]).take(judged.source)
    judge: Judge[Any]
    if measure == "correlation":
        outputs = list(model.preparations_[target].features[columns])
        measured = cells.measured(target, judged.target, columns)
        judge = by_correlation(model, source, target, taken, columns, measured)
    else:
        outputs = [labels or measure]
        latents = model.encode(cells.inputs(target), target)
        judge = by_latents(model, source, taken, judged, latents[judged.target], measure=measure)
    n_known = len(position)
    if groups is None:
        members = [np.array([i]) for i in range(n_known)]
    else:
        members = [*sets.values(), *random_sets(sets, n_known, n_random=n_random, rng=rng)]
    baseline = judge.measure(np.arange(0), judge.intact[:0])
    changes = knocked_out(model, source, judge.target, judge.cells, members)
    values = np.stack([judge.measure(*changed) for changed in changes])
    about = {
        "schema": SCHEMA,
        "source": source,
        "target": target,
        "measure": measure,
        "labels": labels or "",
        "outputs": outputs,
        "baseline": float(known_mean(baseline)),
        "baselines": baseline,
        "cells": judged.cells,
        "n_cells": len(judge.intact),
        "model": model.fingerprint,
    }
    mean, slot = known_mean(values, axis=1), keys.knockout(measure, target)
    losses = pd.DataFrame({"value": mean, "loss": WORSE[measure] * (mean - about["baseline"])})
    if groups is not None:
        table = _beside_random(losses, sets)
        write(mdata, source, "uns", keys.knockout_groups(measure, target), {**about, "table": table.copy()})
        return table
    table = losses.set_index(names[position])
    write(mdata, source, "var", slot, table["value"].reindex(names).to_numpy())
    if measure == "correlation":
        safe = make_index_unique(pd.Index([safe_name(name) for name in outputs]))
        of_each = pd.DataFrame(values.astype(np.float32), index=table.index, columns=safe)
        write(mdata, source, "varm", slot, of_each.reindex(names).rename_axis(None))
    write(mdata, source, "uns", slot, about)
    table = table.set_axis(cells.features(source)[position].rename("feature"))
    table["p_value"] = one_tailed(table["loss"])
    return table.sort_values("loss", ascending=False, kind="stable")


def _other_modality(cells: Cells, source: str, target: str | None) -> str:
    """The target, or the only modality there is beside the source."""
    others = [name for name in cells.names if name != source]
    if target is None and len(others) == 1:
        return others[0]
    return require_name(target, others, name="target")


def _judged_cells(
    cells: Cells, source: str, target: str, *, labels: str | None, n_cells: int, rng: np.random.Generator
) -> JudgedCells:
    """Read pairs, or labels of the cells of both modalities."""
    names = source, target
    if labels is None:
        pairs = cells.pairs(source, target)
        return paired_cells(pairs.test, cells=pairs.cells, names=names, n_cells=n_cells, rng=rng)
    text = (as_text(cells.labels(labels, name)) for name in names)
    of_source, of_target = (labels_of_cells.to_numpy() for labels_of_cells in text)
    roles = cells.role(source), cells.role(target)
    return labelled_cells((of_source, of_target), roles, names=names, n_cells=n_cells, rng=rng)


def _beside_random(losses: pd.DataFrame, sets: dict[str, Array]) -> pd.DataFrame:
    """The rows of the sets, beside mean and sd of the losses of the random ones after them."""
    n = len(sets)
    random = losses["loss"].to_numpy()[n:].reshape(-1, n)
    table = losses.iloc[:n].set_index(pd.Index(sets, name="group"))
    table.insert(0, "n_features", [len(members) for members in sets.values()])
    table["random"], table["random_sd"] = (random.mean(0), random.std(0)) if len(random) else (np.nan, np.nan)
    as_large = (random >= table["loss"].to_numpy()).sum(0)
    table["p_value"] = np.where(table["loss"].notna(), (1 + as_large) / (1 + len(random)), np.nan)
    return table.sort_values("loss", ascending=False, kind="stable")

"""What is lost without a feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata.utils import make_index_unique
from mudata import MuData

from jamie._checks import generator, require_choice, require_positive
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import SCHEMA, Keys
from jamie._slots import safe_name, write
from jamie._types import Array, Seed
from jamie.attribution import WORSE, AllCells, knocked_out
from jamie.data import writable
from jamie.model import JAMIE

from ._knockout_judge import OF_LABELS, Judged, by_correlation, by_latents
from ._knockout_sets import Groups, feature_sets


@document("mdata", "model", "rng", "key_added")
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
    n_random: int = 10,
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
        Features to knock out together: a mapping of names to features, ``"chromosome"``, or a length in bases for
        windows along the genome; each feature by itself if `None`.
    n_cells
        Cells to judge by, at most, drawn at random.
    n_random
        Random sets of the same size to compare each group with.

    Returns
    -------
    A data frame with a row for each feature or group, the most important first: `value` of the measure without it,
    `loss` (how much worse that is than with it, at least 0 where it helps), and for groups `n_features`, and `random`
    and `random_sd`, the losses without random sets. Sets

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
        If a modality, feature, measure or column is not there, or features have no coordinates to group by.
    ValueError
        If labels are needed and not given, or there are too few cells, or a group is empty.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=20)
    >>> table = jm.tl.knockout(mdata, model, source="rna", labels="cell_type")
    >>> table.shape
    (40, 2)
    >>> sets = dict(first=["gene1", "gene2"], last=["gene40"])
    >>> jm.tl.knockout(mdata, model, source="rna", groups=sets)["n_features"].to_dict()["first"]
    2
    """
    mdata = writable(mdata, copy=False)
    keys, rng = Keys(key_added), generator(rng)
    require_choice(source, [name for name in model.preparations_ if name in mdata.mod], name="source")
    target = other_modality(mdata, model, source, target)
    measure = require_choice(measure or ("lta" if labels else "correlation"), WORSE, name="measure")
    if (labels is not None) != (measure in OF_LABELS):
        msg = f"expected `labels` with {' or '.join(OF_LABELS)} and no other measure, found {labels!r} and {measure!r}"
        raise InvalidValueError(msg)
    require_positive(n_cells=n_cells)
    every = AllCells.of(mdata, model, source)
    position = every.position
    n_known = len(position)
    sets = {} if groups is None else feature_sets(mdata, source, groups, position)
    judged: Judged[Any]
    if measure == "correlation":
        judged = by_correlation(mdata, model, source, target, features, every, n_cells, rng, keys)
    else:
        judged = by_latents(mdata, model, source, target, measure, labels, every, n_cells, rng, keys)
    each = [np.array([i]) for i in range(n_known)] if groups is None else _with_random(sets, n_known, n_random, rng)
    baseline = judged.measure(np.arange(0), judged.intact[:0])
    changes = knocked_out(model, source, judged.through, judged.cells, each)
    values = np.stack([judged.measure(*changed) for changed in changes])
    about = {
        "schema": SCHEMA,
        "source": source,
        "target": target,
        "measure": measure,
        "labels": labels or "",
        "outputs": judged.outputs,
        "baseline": float(_mean(baseline[None])[0]),
        "baselines": baseline,
        "cells": judged.held_out,
        "n_cells": len(judged.intact),
    }
    mean, slot = _mean(values), keys.knockout(measure, target)
    found = pd.DataFrame({"value": mean, "loss": WORSE[measure] * (mean - about["baseline"])})
    if groups is not None:
        table = _beside_random(found, sets)
        write(mdata, source, "uns", keys.knockout_groups(measure, target), {**about, "table": table})
        return table
    names = mdata[source].var_names
    table = found.set_index(names[position].rename("feature"))
    write(mdata, source, "var", slot, table["value"].reindex(names).to_numpy())
    if measure == "correlation":
        columns = make_index_unique(pd.Index([safe_name(name) for name in judged.outputs]))
        of_each = pd.DataFrame(values.astype(np.float32), index=table.index, columns=columns)
        write(mdata, source, "varm", slot, of_each.reindex(names).rename_axis(None))
    write(mdata, source, "uns", slot, about)
    return table.sort_values("loss", ascending=False, kind="stable")


def other_modality(mdata: MuData, model: JAMIE, source: str, target: str | None) -> str:
    """The target, or the only modality there is beside the source."""
    others = [name for name in model.preparations_ if name in mdata.mod and name != source]
    if target is None and len(others) == 1:
        return others[0]
    return require_choice(target, others, name="target")


def _with_random(sets: dict[str, Array], n: int, n_random: int, rng: np.random.Generator) -> list[Array]:
    """The sets, and after them `n_random` times as many random ones of the same sizes."""
    random = [rng.choice(n, len(members), replace=False) for _ in range(n_random) for members in sets.values()]
    return [*sets.values(), *random]


def _beside_random(found: pd.DataFrame, sets: dict[str, Array]) -> pd.DataFrame:
    """The rows of the sets, beside mean and sd of the losses of the random ones after them."""
    n = len(sets)
    random = found["loss"].to_numpy()[n:].reshape(-1, n)
    table = found.iloc[:n].set_index(pd.Index(sets, name="group"))
    table.insert(0, "n_features", [len(members) for members in sets.values()])
    table["random"], table["random_sd"] = (random.mean(0), random.std(0)) if len(random) else (np.nan, np.nan)
    return table.sort_values("loss", ascending=False, kind="stable")


def _mean(values: Array) -> Array:
    """Mean of each row over what is finite; NaN if nothing is."""
    finite = np.isfinite(values)
    n = finite.sum(1)
    return np.where(n > 0, np.where(finite, values, 0).sum(1) / np.maximum(n, 1), np.nan)

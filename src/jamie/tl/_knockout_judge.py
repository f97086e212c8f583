"""By which cells a knock-out is judged, and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from mudata import MuData

from jamie._checks import require_name
from jamie._errors import InvalidValueError
from jamie._keys import Keys
from jamie._types import Array
from jamie.attribution import (
    NEIGHBORS,
    AllCells,
    Cells,
    Correlation,
    Foscttm,
    LabelLikelihood,
    LabelTransfer,
    Measure,
    feature_readout,
    outputs,
)
from jamie.data import training_cells
from jamie.model import JAMIE

from ._predictions import measured_values, positions

OF_LABELS: dict[str, type[LabelTransfer | LabelLikelihood]] = {"lta": LabelTransfer, "likelihood": LabelLikelihood}


M = TypeVar("M", bound=Measure)


class Judged(NamedTuple, Generic[M]):
    """Cells of the source, what the network makes of them, and the measure of that."""

    cells: Cells
    through: str | None  # target whose components are decoded; None: the latents are judged
    intact: Array  # outputs with all features
    measure: M
    outputs: list[str]  # what the measure is of
    held_out: str  # held-out or in-sample


def by_correlation(
    mdata: MuData,
    model: JAMIE,
    source: str,
    target: str,
    features: Sequence[str] | None,
    every: AllCells,
    n_cells: int,
    rng: np.random.Generator,
    keys: Keys,
) -> Judged[Correlation]:
    """Judge by the correlation of measured and imputed features, in at most `n_cells` pairs."""
    rows, partners, held_out = _paired_cells(mdata, model, source, target, n_cells, rng, keys)
    columns = positions(model, target, features)
    cells = every.take(rows)
    intact = outputs(model, source, target, cells.inputs)
    measured = measured_values(mdata, model, target, partners, columns)
    measure = Correlation(feature_readout(model, target, columns), measured, intact)
    return Judged(cells, target, intact, measure, list(model.preparations_[target].features[columns]), held_out)


def by_latents(
    mdata: MuData,
    model: JAMIE,
    source: str,
    target: str,
    measure: str,
    labels: str | None,
    every: AllCells,
    n_cells: int,
    rng: np.random.Generator,
    keys: Keys,
) -> Judged[Measure]:
    """Judge by where cells lie among the target's: by their `labels`, or without them by their partners."""
    latents = model.embed(mdata)[target]
    if labels is None:
        rows, partners, held_out = _paired_cells(mdata, model, source, target, n_cells, rng, keys)
        cells = every.take(rows)
        intact = outputs(model, source, None, cells.inputs)
        return Judged(cells, None, intact, Foscttm(latents[partners], intact), [measure], held_out)
    require_name(labels, list(mdata.obs), name="labels", hint="it names a column of mdata.obs")
    text = mdata.obs[labels].astype(object).map(str, na_action="ignore")
    of = {name: text.reindex(mdata[name].obs_names) for name in (source, target)}
    rows, others, held_out = _labelled_cells(mdata, of, keys)
    rows = np.sort(rng.permutation(rows)[:n_cells])
    cells = every.take(rows)
    intact = outputs(model, source, None, cells.inputs)
    of_target, of_source = of[target].to_numpy()[others], of[source].to_numpy()[rows]
    judge = OF_LABELS[measure](latents[others], of_target, of_source, intact)
    return Judged(cells, None, intact, judge, [labels], held_out)


def _paired_cells(
    mdata: MuData, model: JAMIE, source: str, target: str, most: int, rng: np.random.Generator, keys: Keys
) -> tuple[Array, Array, str]:
    """Held-out pairs, or all of them if none are: rows in either modality."""
    pairs = model.open(mdata, key_added=keys.prefix).pairs(source, target)
    rows, partners = pairs.test
    if len(rows) < 3:
        msg = (
            f"expected at least 3 pairs of {source!r} and {target!r} to judge by, found {len(rows)}; "
            "call jm.pp.correspondence(mdata), or judge by labels with jm.tl.knockout(..., labels=...)"
        )
        raise InvalidValueError(msg)
    kept = np.sort(rng.permutation(len(rows))[:most])
    return rows[kept], partners[kept], pairs.cells


def _labelled_cells(mdata: MuData, labels: dict[str, pd.Series], keys: Keys) -> tuple[Array, Array, str]:
    """Held-out cells with a label, or all such cells if none are held out, paired or not: rows in either modality."""
    train = {name: training_cells(mdata, name, keys) for name in labels}
    is_held_out = not any(use.all() for use in train.values())
    rows = []
    for (name, of), least in zip(labels.items(), (1, NEIGHBORS), strict=True):
        has = of.notna().to_numpy() & (~train[name] if is_held_out else True)
        if has.sum() < least:
            msg = (
                f"expected at least {least} labelled cells of {name!r} to judge by, found {has.sum()}; label more cells"
            )
            raise InvalidValueError(msg)
        rows.append(np.flatnonzero(has))
    return rows[0], rows[1], "held-out" if is_held_out else "in-sample"

"""By which cells a knock-out is judged, and how: rows and labels in, a measure beside its cells out."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from jamie._errors import InvalidValueError
from jamie._types import Array, Pair
from jamie.data import HELD_OUT, IN_SAMPLE, unseen_as
from jamie.model import JAMIE

from ._contributions import PreparedCells, feature_readout, outputs
from ._measures import NEIGHBORS, Correlation, Foscttm, LabelLikelihood, LabelTransfer, Measure

WORSE = {"correlation": -1, "lta": -1, "likelihood": -1, "foscttm": 1}
"""The direction in which each measure gets worse."""
LABEL_MEASURES: dict[str, type[LabelTransfer | LabelLikelihood]] = {"lta": LabelTransfer, "likelihood": LabelLikelihood}
"""Measures that take labels."""
FEWEST_PAIRS = 3


def one_tailed(losses: pd.Series) -> pd.Series:
    """Share of all features, each itself included, that cost at least as much: p-values, at least 1 / n."""
    return losses.rank(ascending=False, method="max") / losses.notna().sum()


M = TypeVar("M", bound=Measure)


class Judge(NamedTuple, Generic[M]):
    """Cells of the source, what the network makes of them, and the measure of that."""

    cells: PreparedCells
    target: str | None  # whose components are decoded; None: the latents are judged
    intact: Array  # outputs with all features, (n, q)
    measure: M


class JudgedCells(NamedTuple):
    """Cells to judge by: of the source, (n,), and of the target, their partners or those that have labels."""

    source: Array  # rows, (n,)
    target: Array  # rows, (r,); partners: r = n
    cells: str  # what they are to the model: held-out, new, both, or in-sample
    source_labels: Array | None = None  # (n,)
    target_labels: Array | None = None  # (r,)


def paired_cells(
    pairs: tuple[Array, Array], *, cells: str, names: Pair, n_cells: int, rng: np.random.Generator
) -> JudgedCells:
    """At most `n_cells` of the pairs, drawn at random; `cells` says whether these are held out.

    Raises
    ------
    ValueError
        If there are fewer than three.
    """
    rows, partners = pairs
    if len(rows) < FEWEST_PAIRS:
        msg = (
            f"expected at least {FEWEST_PAIRS} pairs of {names[0]!r} and {names[1]!r} to judge by, found {len(rows)}; "
            "call jm.pp.correspondence(mdata), or judge by labels with jm.tl.knockout(..., labels=...)"
        )
        raise InvalidValueError(msg)
    kept = np.sort(rng.permutation(len(rows))[:n_cells])
    return JudgedCells(rows[kept], partners[kept], cells)


def labelled_cells(
    labels: tuple[Array, Array],
    roles: tuple[Array, Array],
    *,
    names: Pair,
    n_cells: int,
    rng: np.random.Generator,
) -> JudgedCells:
    """Unseen cells with a label, or all such cells if a modality has none, at most `n_cells` of them of the source.

    `labels` are those of all cells of source and target, NaN where there is none; `roles` what they are to the model.

    Raises
    ------
    ValueError
        If a modality has too few labelled cells, or both have no label in common.
    """
    is_unseen = all((role >= HELD_OUT).any() for role in roles)
    rows = []
    for name, of_cells, role, fewest in zip(names, labels, roles, (1, NEIGHBORS), strict=True):
        has = pd.notna(of_cells) & ((role >= HELD_OUT) if is_unseen else True)
        if has.sum() < fewest:
            msg = (
                f"expected at least {fewest} labelled cells of {name!r} to judge by, found {has.sum()}; "
                "label more cells"
            )
            raise InvalidValueError(msg)
        rows.append(np.flatnonzero(has))
    source, target = np.sort(rng.permutation(rows[0])[:n_cells]), rows[1]
    of_source, of_target = labels[0][source], labels[1][target]
    if not set(of_source) & set(of_target):
        msg = (
            f"expected labels that cells of both {names[0]!r} and {names[1]!r} have, found none, but "
            f"{of_source[0]!r} in the one and {of_target[0]!r} in the other; name them alike, or label more cells"
        )
        raise InvalidValueError(msg)
    which = unseen_as(np.concatenate([roles[0][source], roles[1][target]])) if is_unseen else IN_SAMPLE
    return JudgedCells(source, target, which, of_source, of_target)


def by_correlation(
    model: JAMIE, source: str, target: str, cells: PreparedCells, columns: Array, measured: Array
) -> Judge[Correlation]:
    """Judge by the correlation of imputed features of the target, at `columns`, with `measured` ones, (n, columns)."""
    intact = outputs(model, source, target, cells.inputs)
    return Judge(cells, target, intact, Correlation(feature_readout(model, target, columns), measured, intact))


def by_latents(
    model: JAMIE, source: str, cells: PreparedCells, judged: JudgedCells, latents: Array, *, measure: str
) -> Judge[Measure]:
    """Judge by where the cells lie among those of the target, whose latents these are, (r, g): by label or partner."""
    intact = outputs(model, source, None, cells.inputs)
    if judged.source_labels is None or judged.target_labels is None:
        return Judge(cells, None, intact, Foscttm(latents, intact))
    if measure == "likelihood" and len(set(judged.target_labels)) < 2:
        msg = (
            f"expected two labels or more for a likelihood, found {judged.target_labels[0]!r} alone; pass "
            "measure='lta', or other labels"
        )
        raise InvalidValueError(msg)
    by_labels = LABEL_MEASURES[measure](latents, judged.target_labels, judged.source_labels, intact)
    return Judge(cells, None, intact, by_labels)

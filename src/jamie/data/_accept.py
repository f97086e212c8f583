"""Whether values are of the sort that a preparation was learned from: counts are not log-normalised ones.

A network gives latents for any numbers. Values that were normalised, scaled or stored in another unit since the
training would be embedded without a word, and wrongly; what a modality may hold follows from what it held in training.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from jamie._errors import InvalidValueError
from jamie._settings import logger
from jamie._types import Array, Kind, Matrix

LOOKED_AT = 300
"""Cells of a layer that tell whether it holds whole numbers."""
FAR_SHIFT = 2.0
"""Median over features of |mean z| above which values are of another unit; single types of cells stay below 1.5."""
FAR_SPREAD = 0.1
"""Median over features of sd(z) below which, or above whose inverse, they are."""
FAR_TOTAL = 3.0
"""How far beyond the 1st and 99th percentile of the training totals the median total may lie, as a factor."""
FEWEST = 20
"""Cells whose distribution is compared with that of the training cells."""


class BlockCheck(NamedTuple):
    """What a block of cells shows of its values."""

    n_negative: int
    n_fractions: int
    totals: Array  # (n,) sum of each cell; of regions how many are open
    sum_z: Array  # (d,) of standardised features; of shape (0,) unless continuous
    sum_z2: Array


def check_block(x: Matrix, scaled: Matrix, kind: Kind) -> BlockCheck:
    """Look at the values of some cells and at what they are once standardised."""
    values = x.data if sparse.issparse(x) else x
    if kind == "continuous":
        squares = scaled.multiply(scaled) if sparse.issparse(scaled) else np.square(scaled)
        sums = (np.asarray(part.sum(axis=0), dtype=np.float64).ravel() for part in (scaled, squares))
        return BlockCheck(0, 0, np.empty(0), *sums)
    counted = (x > 0) if kind == "accessibility" else x
    totals = counted.sum(axis=1) if sparse.issparse(x) else np.nansum(counted, axis=1)
    none = np.empty(0)
    return BlockCheck(int((values < 0).sum()), n_fractions(values), np.asarray(totals).ravel(), none, none)


def n_fractions(values: Array) -> int:
    """How many of the values are not whole; missing ones are no values."""
    with np.errstate(invalid="ignore"):
        return int((np.mod(values, 1) > 0).sum())


class Expected(NamedTuple):
    """What training cells of a kind held.

    Attributes
    ----------
    kind
        Kind of the measurement.
    is_whole
        Whether all values were whole numbers.
    totals
        1st, 50th and 99th percentile of the sums of cells (of regions: of how many are open), (3,).
    """

    kind: Kind
    is_whole: bool
    totals: Array


def require_values(
    blocks: Iterable[BlockCheck],
    expected: Expected,
    *,
    where: str,
    adata: AnnData,
    cells: pd.Index,
    offset: Array,
    is_complete: bool,
) -> None:
    """Raise, or warn, where values cannot be, or hardly, what the model was trained on.

    Parameters
    ----------
    blocks
        What all blocks of cells showed.
    expected
        What training cells held.
    where
        What messages call the values.
    adata
        The modality: its layers are looked at for values that would do.
    cells
        Names of the cells.
    offset
        What the mean of standardised features is, where they are not centred, (d,).
    is_complete
        Whether all features of the model are there, so that totals compare.
    """
    checks = list(blocks)
    if expected.kind == "continuous":
        _warn_far(checks, len(cells), offset, where)
        return
    counts = sum(c.n_negative for c in checks), sum(c.n_fractions for c in checks)
    _refuse(*counts, expected.kind, adata, is_whole=expected.is_whole, where=where)
    totals = np.concatenate([c.totals for c in checks])
    empty = totals == 0
    if empty.all() and len(empty):
        msg = f"expected counts in `{where}`, found zeros only in all {len(empty):,} cells; {remedy(adata, where)}"
        raise InvalidValueError(msg)
    if empty.any():
        logger.warning(
            "%d of %d cells of `%s` have no counts at all, first %r: what is said of them says nothing; drop them",
            empty.sum(), len(empty), where, str(cells[empty][0]),
        )  # fmt: skip
    _warn_depth(totals[~empty], expected, where, adata, is_complete=is_complete)


def require_kind(x: Matrix, kind: Kind, *, is_whole: bool, where: str, adata: AnnData) -> None:
    """Raise if some cells have values that a modality of this kind cannot have."""
    if kind == "continuous":
        return
    values = x.data if sparse.issparse(x) else x
    _refuse(int((values < 0).sum()), n_fractions(values), kind, adata, is_whole=is_whole, where=where)


def _refuse(n_negative: int, n_partial: int, kind: Kind, adata: AnnData, *, is_whole: bool, where: str) -> None:
    """Raise if values are below 0, or not whole where the training's were: open regions show all the same."""
    if not n_negative and not (n_partial and is_whole and kind != "accessibility"):
        return
    what = f"{n_negative:,} negative values" if n_negative else f"{n_partial:,} values that are not whole"
    msg = (
        f"expected {'counts' if is_whole else f'values of kind {kind!r}'} in `{where}`, as the model was trained on, "
        f"found "
        f"{what}: they were normalised or scaled since; {remedy(adata, where)}"
    )
    raise InvalidValueError(msg)


def remedy(adata: AnnData, where: str) -> str:
    """Name the layers that hold whole numbers, or say where counts would come from."""
    layers = layers_of_counts(adata, other_than=where)
    if not layers:
        return "give the model the values that it was trained on, or train again with jm.tl.train(mdata)"
    name = layers[0]
    shown = "`.X`" if name == "X" else f"`layers[{name!r}]`"
    return f"{shown} holds whole numbers: pass layer={name!r}"


def layers_of_counts(adata: AnnData, *, other_than: str = "") -> list[str]:
    """Layers, and ``"X"``, whose first cells hold whole numbers from 0 up, and more than zeros."""
    chosen = []
    for name in ("X", *adata.layers.keys()):
        if name is None or (other_than.endswith(".X") if name == "X" else f"layers[{name!r}]" in other_than):
            continue
        x = adata.X if name == "X" else adata.layers[name]
        if x is None or not hasattr(x, "shape") or not x.shape[1]:
            continue
        rows = x[: min(LOOKED_AT, x.shape[0])]
        rows = rows.compute() if hasattr(rows, "dask") else rows
        values = rows.data if sparse.issparse(rows) else np.asarray(rows)
        is_numeric = values.dtype.kind in "buif" and values.size > 0
        if (
            is_numeric
            and np.isfinite(values).all()
            and values.any()
            and not (values < 0).any()
            and not n_fractions(values)
        ):
            chosen.append(name)
    return chosen


def _warn_depth(totals: Array, expected: Expected, where: str, adata: AnnData, *, is_complete: bool) -> None:
    if not is_complete or not len(totals) or not np.any(expected.totals):
        return
    low, middle, high = expected.totals
    median = float(np.median(totals))
    if low / FAR_TOTAL <= median <= high * FAR_TOTAL:
        return
    logger.warning(
        "the median cell of `%s` has %s %.4g, that of the training cells %.4g (1 to 99 %%: %.4g to %.4g): another "
        "depth or "
        "normalisation, and results may be far off; %s",
        where, "open regions:" if expected.kind == "accessibility" else "a total of", median, middle, low, high,
        remedy(adata, where),
    )  # fmt: skip


def _warn_far(checks: list[BlockCheck], n: int, offset: Array, where: str) -> None:
    """Warn where standardised features are far from mean 0 and sd 1."""
    if n < FEWEST or not checks:
        return
    mean = sum(c.sum_z for c in checks) / n
    sd = np.sqrt(np.maximum(sum(c.sum_z2 for c in checks) / n - np.square(mean), 0))
    shift = float(np.median(np.abs(mean - offset)))
    spread = float(np.median(sd))
    if shift <= FAR_SHIFT and FAR_SPREAD <= spread <= 1 / FAR_SPREAD:
        return
    logger.warning(
        "the values of `%s` are far from those the model was trained on (the median feature lies %.2g standard "
        "deviations "
        "off, its spread is %.2g times as large): another unit or normalisation? Results may be far off",
        where, shift, spread,
    )  # fmt: skip

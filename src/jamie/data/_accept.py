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
from jamie._keys import KIND
from jamie._settings import logger
from jamie._types import Array, Kind, Matrix

from ._cell_matrix import at_most_one, sums
from ._container import layer_names

LOOKED_AT = 300
"""Cells of a layer that tell whether it holds whole numbers."""
FAR_MEAN = 2.0
"""Training standard deviations from the training mean beyond which the mean of a feature is of another unit."""
NARROW = 1e-6, 0.02
"""Between them sd(z) of a feature that varies, in another unit; at most one of 29 features in a single cell type."""
MOST_FAR = 0.2
"""Share of features beyond either; at most .13 in single cell types of ten public sets."""
FAR_SIZE = 2.0
"""Median over features of the root mean square of z above which values are of another unit; 1.8 in single types."""
FAR_SPREAD = 0.1
"""90th percentile over features of sd(z) below which they are; .37 in single types."""
FAR_TOTAL = {"counts": 3.0, "protein": 3.0, "accessibility": 3.0, "continuous": 2.0}
"""How far beyond the 1st and 99th percentile of the training totals the median total may lie, as a factor."""
UNLIKE = 0.3
"""Correlation of the mean of features with that of the training below which they are others; .38 in single types of
sparse simulated values, .69 of genes."""
FEWEST = 20
"""Cells whose distribution is compared with that of the training cells."""
FEWEST_FEATURES = 50


class BlockCheck(NamedTuple):
    """What a block of cells shows of its values."""

    n_negative: int
    n_fractions: int
    n_missing: int
    totals: Array  # (n,) sum of each cell; of regions how many are open
    sum_z: Array  # (d,) of standardised features; of shape (0,) where they are not compared
    sum_z2: Array


def check_block(x: Matrix, scaled: Matrix | None, kind: Kind) -> BlockCheck:
    """Look at the values of some cells and, of continuous ones and counts, at what they are once standardised."""
    values, none = x.data if sparse.issparse(x) else x, np.empty(0)
    of_z = none, none
    if scaled is not None and kind in ("continuous", "counts"):
        of_z = sums(scaled, axis=0), _sums_of_squares(scaled)
    n_missing, n_negative = int(np.isnan(values).sum()), int((values < 0).sum())
    counted = x
    if kind == "accessibility":
        counted = at_most_one(x)
    if n_missing:
        counted = sparse.csr_matrix(counted, copy=True)
        counted.data = np.nan_to_num(counted.data)
    totals = sums(counted, axis=1)
    partial = 0 if kind == "continuous" else n_fractions(values)
    return BlockCheck(n_negative, partial, n_missing, totals, *of_z)


def n_fractions(values: Array) -> int:
    """How many of the values are not whole; missing ones are no values."""
    return int(np.count_nonzero(np.trunc(values) != values)) - int(np.count_nonzero(np.isnan(values)))


class Expected(NamedTuple):
    """What training cells of a kind held.

    Attributes
    ----------
    kind
        Kind of the measurement.
    is_whole
        Whether all values were whole numbers.
    is_nonnegative
        Whether no value was below 0.
    totals
        1st, 50th and 99th percentile of the sums of cells (of regions: of how many are open), (3,).
    mean, sd
        Of each normalised feature, (d,); sd is 1 throughout where features were not standardised.
    """

    kind: Kind
    is_whole: bool
    is_nonnegative: bool
    totals: Array
    mean: Array
    sd: Array


def require_values(
    blocks: Iterable[BlockCheck],
    expected: Expected,
    *,
    name: str,
    where: str,
    adata: AnnData,
    cells: pd.Index,
    is_centred: bool,
    is_complete: bool,
) -> None:
    """Raise, or warn, where values cannot be, or hardly, what the model was trained on.

    Parameters
    ----------
    blocks
        What all blocks of cells showed.
    expected
        What training cells held.
    name, where
        The modality, and what messages call its values.
    adata
        The modality: its layers are looked at for values that would do.
    cells
        Names of the cells.
    is_centred
        Whether the mean was taken off standardised features.
    is_complete
        Whether all features of the model are there, so that totals compare.
    """
    checks, n = list(blocks), len(cells)
    totals = np.concatenate([c.totals for c in checks]) if checks else np.empty(0)
    mean, sd = _over_cells(checks, n, expected, is_centred=is_centred)
    n_negative = sum(c.n_negative for c in checks)
    if expected.kind == "continuous":
        if n_negative and expected.is_nonnegative:
            logger.warning(
                "`%s` has %s negative values, the training cells had none: were they scaled since? Results may be far "
                "off; %s",
                where, f"{n_negative:,}", remedy(name, adata, where, counts=False),
            )  # fmt: skip
            return
        if n >= FEWEST and len(mean) and _warn_far(mean, sd, where):
            return
    else:
        n_partial = sum(c.n_fractions for c in checks)
        _refuse(n_negative, n_partial, expected.kind, name, adata, is_whole=expected.is_whole, where=where)
        totals = _require_counts(totals, name, where, adata, cells)
    comparable = is_complete and not any(c.n_missing for c in checks)
    if comparable and _warn_depth(totals, expected, name, where, adata):
        return
    if n >= FEWEST and len(mean) >= FEWEST_FEATURES and expected.is_nonnegative:
        _warn_unlike(mean, expected, where)


def _require_counts(totals: Array, name: str, where: str, adata: AnnData, cells: pd.Index) -> Array:
    """Totals of the cells that have any counts; raise if none has, warn if some have not."""
    empty = totals == 0
    if empty.all() and len(empty):
        raise InvalidValueError(_zeros_only(len(empty), where, remedy(name, adata, where)))
    if empty.any():
        logger.warning(
            "%d of %d cells of `%s` have no counts at all, first %r: what is said of them says nothing; drop them",
            empty.sum(), len(empty), where, str(cells[empty][0]),
        )  # fmt: skip
    return totals[~empty]


def _over_cells(checks: list[BlockCheck], n: int, expected: Expected, *, is_centred: bool) -> tuple[Array, Array]:
    """Mean and sd of z over all cells, (d,) each; empty where they were not looked at or not standardised."""
    if not checks or not n or any(not len(c.sum_z) for c in checks) or np.all(expected.sd == 1):
        return np.empty(0), np.empty(0)
    mean = np.sum([c.sum_z for c in checks], axis=0) / n
    variance = np.maximum(np.sum([c.sum_z2 for c in checks], axis=0) / n - np.square(mean), 0)
    return mean - (0 if is_centred else expected.mean / expected.sd), np.sqrt(variance)


def require_kind(x: Matrix, kind: Kind, *, is_whole: bool, name: str, where: str, adata: AnnData) -> None:
    """Raise if some cells have values that a modality of this kind cannot have."""
    if kind == "continuous":
        return
    check = check_block(x, None, kind)
    _refuse(check.n_negative, check.n_fractions, kind, name, adata, is_whole=is_whole, where=where)
    if len(check.totals) and not check.totals.any():
        raise InvalidValueError(_zeros_only(len(check.totals), where, remedy(name, adata, where)))


def _refuse(
    n_negative: int, n_partial: int, kind: Kind, name: str, adata: AnnData, *, is_whole: bool, where: str
) -> None:
    """Raise if values are below 0, or not whole where the training's were and nothing was imputed."""
    if not n_negative and not (n_partial and is_whole and KIND not in adata.uns):
        return
    what = f"{n_negative:,} negative values" if n_negative else f"{n_partial:,} values that are not whole"
    msg = (
        f"expected {'counts' if is_whole else f'values of kind {kind!r}'} in `{where}`, as the model was trained on, "
        f"found {what}: they were normalised or scaled since; {remedy(name, adata, where)}"
    )
    raise InvalidValueError(msg)


def _zeros_only(n: int, where: str, mend: str) -> str:
    return f"expected counts in `{where}`, found zeros only in all {n:,} cells; {mend}"


def remedy(name: str, adata: AnnData, where: str, *, counts: bool = True) -> str:
    """Name the layers that hold whole numbers, or say where the values of the training would come from."""
    layers = layers_of_counts(adata, other_than=where) if counts else []
    if not layers:
        return "give the model the values that it was trained on, or train again with jm.tl.train(mdata)"
    shown = "`.X`" if layers[0] == "X" else f"`layers[{layers[0]!r}]`"
    return f"{shown} holds whole numbers: pass layer={{{name!r}: {layers[0]!r}}}"


def layers_of_counts(adata: AnnData, *, other_than: str = "", with_missing: bool = False) -> list[str]:
    """Layers, and ``"X"``, whose first cells hold whole numbers from 0 up, more than zeros, and NaN if so asked."""
    chosen = []
    for name in ("X", *layer_names(adata)):
        if other_than.endswith(".X") if name == "X" else f"layers[{name!r}]" in other_than:
            continue
        x = adata.X if name == "X" else adata.layers[name]
        if x is None or not hasattr(x, "shape") or not x.shape[1]:
            continue
        rows = x[: min(LOOKED_AT, x.shape[0])]
        rows = rows.compute() if hasattr(rows, "dask") else rows
        values = rows.data if sparse.issparse(rows) else np.asarray(rows)
        is_numeric = values.dtype.kind in "buif" and values.size > 0
        values = values[~np.isnan(values)] if is_numeric and with_missing else values
        if (
            is_numeric
            and np.isfinite(values).all()
            and values.any()
            and not (values < 0).any()
            and not n_fractions(values)
        ):
            chosen.append(name)
    return chosen


def _warn_depth(totals: Array, expected: Expected, name: str, where: str, adata: AnnData) -> bool:
    if not len(totals) or not np.any(expected.totals):
        return False
    low, middle, high = expected.totals
    median, far = float(np.median(totals)), FAR_TOTAL[expected.kind]
    if low / far <= median <= high * far:
        return False
    logger.warning(
        "the median cell of `%s` has %s %.4g, that of the training cells %.4g (1 to 99 %%: %.4g to %.4g): another "
        "depth or normalisation, and results may be far off; %s",
        where, "open regions:" if expected.kind == "accessibility" else "a total of", median, middle, low, high,
        remedy(name, adata, where, counts=expected.is_whole),
    )  # fmt: skip
    return True


def _warn_unlike(mean: Array, expected: Expected, where: str) -> None:
    """Warn where features that are high in the training cells are not high here: names stand at other values."""
    profile = expected.mean + mean * expected.sd
    if not np.ptp(profile) or not np.ptp(expected.mean):
        return
    correlation = float(np.corrcoef(profile, expected.mean)[0, 1])
    if correlation < UNLIKE:
        logger.warning(
            "the means of the features of `%s` have a correlation of %.2f with those of the training cells: do "
            "`.var_names` name these columns, and is it the same measurement? Results may be far off",
            where, correlation,
        )  # fmt: skip


def _warn_far(mean: Array, sd: Array, where: str) -> bool:
    """Warn where standardised features are far from mean 0 and sd 1."""
    size = float(np.median(np.sqrt(np.square(mean) + np.square(sd))))
    spread = float(np.quantile(sd, 0.9))
    n_far = int(((np.abs(mean) > FAR_MEAN) | ((sd > NARROW[0]) & (sd < NARROW[1]))).sum())
    if n_far < max(2, MOST_FAR * len(mean)) and size <= FAR_SIZE and spread >= FAR_SPREAD:
        return False
    logger.warning(
        "the values of `%s` are far from those the model was trained on (%d of %d features lie more than %g standard "
        "deviations off or hardly vary, the median spread is %.2g times as large): another unit or normalisation? "
        "Results may be far off",
        where, n_far, len(mean), FAR_MEAN, float(np.median(sd)),
    )  # fmt: skip
    return True


def _sums_of_squares(x: Matrix) -> Array:
    if not sparse.issparse(x):
        return np.square(x, dtype=np.float64).sum(axis=0)
    squares = sparse.csr_matrix((np.square(x.data), x.indices, x.indptr), x.shape)
    return sums(squares, axis=0)

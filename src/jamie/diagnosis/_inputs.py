"""Whether values are what they were taken for, and whether features and cells say anything."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from jamie._types import Array, Matrix
from jamie.data import CellMatrix, Cells, Preparation, detect_kind, layers_of_counts, value_stats

from ._finding import Finding

MOST_CELLS = 500
WHOLE_MULTIPLES = 0.98
"""Share of a cell's values that are multiples of its smallest: 1 of normalised counts; 0.01 to 0.1 of what was measured
on a scale, such as the electrophysiology of motor cortex."""
WITH_DEPTH = 0.3
"""Median correlation of a feature with the sum of the others: 0.4 to 0.6 of CITE-seq proteins, about 0 of unrelated
features."""
MOST_CONSTANT, MOST_EMPTY = 0.1, 0.01


def check_inputs(cells: Cells, preparations: dict[str, Preparation], rng: np.random.Generator) -> Iterator[Finding]:
    """Kinds, features that vary and cells without a count, of each modality that model and MuData share."""
    for name in cells.names:
        matrix, preparation = cells.matched(name).cells, preparations[name]
        n = matrix.shape[0]
        rows = np.sort(rng.choice(n, min(n, MOST_CELLS), replace=False))
        yield _kind(cells, name, preparation, matrix[rows])
        yield _features(name, preparation)
        if preparation.kind != "continuous":
            yield _cells(name, matrix[rows])


def _kind(cells: Cells, name: str, preparation: Preparation, x: Matrix) -> Finding:
    """Judge the kind by a sample of cells: its value is the share of values that are whole numbers."""
    stored = x.data if sparse.issparse(x) else np.asarray(x).ravel()
    stored = stored[np.isfinite(stored)]
    share = float(np.mean(stored == np.trunc(stored))) if stored.size else float("nan")
    is_count = preparation.kind != "continuous"
    reference, kind = (1.0 if is_count else float("nan")), preparation.kind
    if is_count and not preparation.is_whole:
        return Finding(
            "kind", name, "", share, reference, "bad",
            f"{name!r} is taken as {kind!r}, but its values are not whole numbers: they are normalised twice",
            f"Pass raw counts by `layer=`, or call jm.pp.prepare(mdata, kinds={{{name!r}: 'continuous'}}), and train "
            "again.",
        )  # fmt: skip
    if is_count:
        return Finding("kind", name, "", share, reference, "good", f"{name!r} is taken as {kind!r}")
    counted = _counted_as(name, x, matrix_like=cells.matrix(name))
    if counted is not None:
        sure, of = counted
        return Finding(
            "kind", name, "", share, reference, "bad" if sure else "doubtful",
            f"{name!r} is taken as 'continuous', but holds whole numbers "
            + ("as counts are" if sure else "that rise with the sum of the cell, as counts do")
            + ": the depth of a cell stays in",
            f"If these are counts, call jm.pp.prepare(mdata, kinds={{{name!r}: {of!r}}}) before jm.tl.train(mdata).",
        )  # fmt: skip
    if _are_multiples(x):
        layers = layers_of_counts(cells.mdata[name])
        mend = (
            f"Pass layer={{{name!r}: {layers[0]!r}}} to jm.pp.prepare(mdata) and train again"
            if layers
            else f"Take the raw counts, if you have them, as .layers['counts'] of {name!r}, and pass "
            f"layer={{{name!r}: 'counts'}} to jm.pp.prepare(mdata)"
        )
        return Finding(
            "kind", name, "", share, reference, "doubtful",
            f"{name!r} is taken as 'continuous', but holds counts that were normalised",
            f"{mend}: counts are modelled better as they are.",
        )  # fmt: skip
    return Finding("kind", name, "", share, reference, "good", f"{name!r} is taken as 'continuous'")


def _counted_as(name: str, x: Matrix, *, matrix_like: CellMatrix) -> tuple[bool, str] | None:
    """What whole numbers are the counts of, and whether that is sure; `None` if they are none."""
    n, d = x.shape
    sample = CellMatrix(x, where=matrix_like.where, cells=matrix_like.cells[:n], features=matrix_like.features[:d])
    stats = value_stats(sample, np.ones(n, dtype=bool))
    if not stats.is_whole:
        return None
    named = detect_kind(name, stats).kind
    if named != "continuous":
        return True, named
    values = np.log1p(np.nan_to_num(x.toarray() if sparse.issparse(x) else np.asarray(x, dtype=float)))
    return (False, "counts") if d >= 5 and np.median(_with_the_rest(values)) > WITH_DEPTH else None


def _with_the_rest(values: Array) -> Array:
    """Correlation of each feature that varies with the sum of the others, (d',); 0 where none varies."""
    values = values[:, values.std(axis=0) > 0]
    if not values.shape[1]:
        return np.zeros(1)
    rest = values.sum(axis=1, keepdims=True) - values
    centred, others = values - values.mean(axis=0), rest - rest.mean(axis=0)
    size = np.sqrt(np.square(centred).sum(axis=0) * np.square(others).sum(axis=0))
    return np.divide((centred * others).sum(axis=0), size, out=np.zeros(values.shape[1]), where=size > 0)


def _are_multiples(x: Matrix) -> bool:
    """Whether each cell's values, or their exponentials less 1, are whole multiples of the smallest of them."""
    shares: tuple[list[float], list[float]] = ([], [])
    for i in range(min(x.shape[0], 100)):
        row = x[[i]]
        values = np.asarray(row.data if sparse.issparse(row) else row, dtype=np.float64).ravel()
        values = values[np.isfinite(values) & (values != 0)]
        if len(values) < 5 or len(np.unique(values)) < 3 or values.min() < 0 or values.max() > 1e7:
            continue
        for scale, of_scale in zip((values, np.expm1(np.minimum(values, 50))), shares, strict=True):
            ratio = scale / scale.min()
            ratio = ratio[(ratio > 1.5) & (ratio < 200)]
            if len(ratio):
                of_scale.append(float(np.mean(np.abs(ratio - np.round(ratio)) < 1e-3 * ratio)))
    return any(len(of_scale) >= 5 and np.median(of_scale) > WHOLE_MULTIPLES for of_scale in shares)


def _features(name: str, preparation: Preparation) -> Finding:
    """How many features vary among the training cells: those without any loading do not."""
    n_varying, n = int((np.abs(preparation.loadings).max(axis=1) > 1e-12).sum()), len(preparation.features)
    few = n - n_varying > MOST_CONSTANT * n
    return Finding(
        "features that vary", name, "", n_varying, n, "doubtful" if few else "good",
        f"{n - n_varying:,} of the {n:,} features of {name!r} are the same in all training cells" if n_varying < n
        else f"all {n:,} features of {name!r} vary",
        f"Leave out what was not detected: subset mdata.mod[{name!r}] to features that vary, and see whether the right "
        "layer was read." if few else "",
    )  # fmt: skip


def _cells(name: str, x: Matrix) -> Finding:
    """How many of the sampled cells have no count at all."""
    totals = np.asarray(np.nansum(x, axis=1) if not sparse.issparse(x) else x.sum(axis=1)).ravel()
    share = float(np.mean(totals <= 0))
    many = share > MOST_EMPTY
    return Finding(
        "cells without counts", name, "", share, 0.0, "doubtful" if many else "good",
        f"{share:.1%} of the cells of {name!r} have no count" if share else f"all cells of {name!r} have counts",
        f"Filter these cells: a cell that was not measured in {name!r} is left out of mdata.mod[{name!r}]."
        if many else "",
    )  # fmt: skip

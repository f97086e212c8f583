"""How well two latents agree: whether the same cells, and the same cell types, are close to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.neighbors import KNeighborsClassifier

from jamie._checks import require_same_shape
from jamie._errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jamie._types import Array

_BLOCK = 1 << 22  # float32 distances held at once: 16 MB, and as much again for their comparisons


def foscttm(x: Array, y: Array) -> float:
    """Fraction of samples closer than the true match: 0 is perfect, 0.5 is chance, 1 is worst.

    For each cell, the share of the other cells of the other modality that are closer (Euclidean) than its own other
    half; the mean of both directions (Liu et al. 2019, MMD-MA). A tie counts one half, so that latents that collapsed
    to a point are at chance: nothing tells their cells apart. Distances are taken in blocks, so memory does not grow
    with the square of the cells.

    Parameters
    ----------
    x, y
        Latents of the same cells in the same order (`n × g` each). Cells with a NaN in either are left out.

    Returns
    -------
    One number, 0 ≤ FOSCTTM ≤ 1; NaN if only one cell is left, which has no other to be confused with.

    Raises
    ------
    ValueError
        If the shapes differ, a value is infinite, or no cell is left.

    Examples
    --------
    >>> import numpy as np
    >>> from jamie.metrics import foscttm
    >>> z = np.random.default_rng(0).normal(size=(100, 8))
    >>> foscttm(z, z)
    0.0
    >>> foscttm(z, np.zeros((100, 8)))
    0.5
    """
    x, y = _latent(x, "x"), _latent(y, "y")
    require_same_shape(x, y, names=("x", "y"))
    kept = ~(np.isnan(x).any(1) | np.isnan(y).any(1))
    if not kept.any():
        msg = f"expected at least one cell measured in both `x` and `y`, found none among {len(x)}"
        raise InvalidValueError(msg)
    n = int(kept.sum())
    if n == 1:
        return float("nan")
    x, y = x[kept], y[kept]
    return (_halves_closer(x, y) + _halves_closer(y, x)) / (4 * n * (n - 1))


def label_transfer_accuracy(
    x: Array, y: Array, labels_x: Any, *, labels_y: Any | None = None, n_neighbors: int = 5
) -> float:
    """Accuracy of labels carried from `y` to `x` by a nearest-neighbour vote in the common latent.

    Parameters
    ----------
    x
        Latents that are classified (`n_x × g`).
    y
        Latents of the classifier's training cells (`n_y × g`).
    labels_x, labels_y
        One label a cell; `None` for the second says that `y` holds the cells of `x`. Cells without a label, or with a
        NaN in their latent, are left out.
    n_neighbors
        How many cells of `y` vote.

    Returns
    -------
    Share of the cells of `x` that get their own label.

    Raises
    ------
    ValueError
        If labels and cells differ in number, no cell of `x` is left, or fewer of `y` than `n_neighbors`.

    Examples
    --------
    >>> import numpy as np
    >>> from jamie.metrics import label_transfer_accuracy
    >>> x = np.array([[0.0], [0.2], [5.0], [5.1]])
    >>> label_transfer_accuracy(x, x + 0.1, ["a", "a", "b", "b"], n_neighbors=1)
    1.0
    """
    x, y = _latent(x, "x"), _latent(y, "y")
    labels_y = _labels(labels_x if labels_y is None else labels_y, len(y), "y")
    labels_x = _labels(labels_x, len(x), "x")
    kept_x, kept_y = ~(pd.isna(labels_x) | np.isnan(x).any(1)), ~(pd.isna(labels_y) | np.isnan(y).any(1))
    if not kept_x.any():
        msg = f"expected at least one labelled cell in `x`, found none among {len(x)}; pass labels that are not missing"
        raise InvalidValueError(msg)
    if not 1 <= n_neighbors <= kept_y.sum():
        msg = f"expected 1 <= `n_neighbors` <= {kept_y.sum()}, the labelled cells of `y`, found {n_neighbors}"
        raise InvalidValueError(msg)
    codes, _ = pd.factorize(np.concatenate([labels_x[kept_x], labels_y[kept_y]]), sort=True)
    truth, known = np.split(codes, [kept_x.sum()])
    classifier = KNeighborsClassifier(n_neighbors).fit(y[kept_y], known)
    return float(np.mean(classifier.predict(x[kept_x]) == truth))


def _latent(latent: Array, name: str) -> Array:
    latent = np.asarray(latent, dtype=np.float64)
    if latent.ndim != 2 or np.isinf(latent).any():
        found = "infinite values" if latent.ndim == 2 else f"shape {latent.shape}"
        msg = f"expected `{name}` as cells × latent dimensions without infinite values, found {found}"
        raise InvalidValueError(msg)
    return latent


def _labels(labels: Any, n: int, name: str) -> Array:
    labels = np.asarray(labels, dtype=object)
    if labels.shape != (n,):
        msg = f"expected one label for each of the {n} cells of `{name}`, found shape {labels.shape}"
        raise InvalidValueError(msg + "; pass `labels_y` where `y` holds other cells than `x`" * (name == "y"))
    return labels


def _halves_closer(x: Array, y: Array) -> int:
    """Count the pairs (i, j ≠ i) with ‖x_i − y_j‖ < ‖x_i − y_i‖ twice, and those with equal distances once.

    Float32 products decide the clear cases; what lies within their rounding error is settled by float64 differences.
    """
    # a copy of the match ties with it, so each distinct cell of y is met once and counts as often as it is there
    y, match, copies = np.unique(y, axis=0, return_inverse=True, return_counts=True)
    limit = np.square(x - y[match]).sum(1)  # (n,)
    left, right, low, high = _single_precision(x, y, match)
    total = int((copies[match] - 1).sum())
    for rows in _slices(len(x), _BLOCK // len(y)):
        partial = left[rows] @ right
        sure = partial < low[rows, None]
        total += 2 * int(np.sum(sure @ copies) if len(y) < len(x) else np.count_nonzero(sure))
        i, j = np.nonzero((partial < high[rows, None]) & ~sure)
        i += rows.start
        i, j = i[match[i] != j], j[match[i] != j]
        for near in _slices(len(i), _BLOCK // (4 * x.shape[1] + 1)):
            cells, others = i[near], j[near]
            distance = np.square(x[cells] - y[others]).sum(1)
            halves = 2 * (distance < limit[cells]) + (distance == limit[cells])
            total += int(copies[others] @ halves)
    return total


def _single_precision(x: Array, y: Array, match: Array) -> tuple[Array, Array, Array, Array]:
    """Factors of ‖x_i − y_j‖² − ‖x_i‖², and for each i what is surely below its match and what may be."""
    centre = y.mean(0)  # of any common origin and scale this one loses least to rounding
    x, y = x - centre, y - centre
    scale = max(np.abs(x).max(), np.abs(y).max()) or 1.0
    x, y = x / scale, y / scale
    norm_x, norm_y = np.square(x).sum(1), np.square(y).sum(1)
    limit = np.square(x - y[match]).sum(1) - norm_x
    slack = 2 * (x.shape[1] + 4) * np.finfo(np.float32).eps * (norm_x + norm_y.max()) + 1e-30
    left, right = np.column_stack([x, np.ones(len(x))]), np.vstack([-2 * y.T, norm_y])
    single = [part.astype(np.float32) for part in (left, right, limit - slack, limit + slack)]
    return single[0], single[1], single[2], single[3]


def _slices(n: int, step: int) -> Iterator[slice]:
    for start in range(0, n, max(step, 1)):
        yield slice(start, min(start + max(step, 1), n))

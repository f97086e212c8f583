"""How well two latents agree: whether the same cells, and the same cell types, are close to each other."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from sklearn.neighbors import KNeighborsClassifier

from jamie._checks import require_option, require_positive, require_same_shape
from jamie._errors import InvalidValueError

from ._numbers import numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jamie._types import Array

_BLOCK = 1 << 22  # float32 distances held at once: 16 MB, and as much again for their comparisons


def foscttm(x: Array, y: Array, *, groups: Any | None = None) -> float:
    """Fraction of samples closer than the true match: 0 is perfect, 0.5 is chance, 1 is worst.

    For each cell, the share of the other cells of the other modality that are closer (Euclidean) than its own other
    half; the mean of both directions (Liu et al. 2019, MMD-MA). A tie counts one half, so that latents that collapsed
    to a point are at chance: nothing tells their cells apart. Distances are taken in blocks, so memory does not grow
    with the square of the cells.

    Parameters
    ----------
    x, y
        Latents of the same cells in the same order (`n × g` each). Cells with a NaN in either are left out.
    groups
        One label a cell, such as its cell type: only other cells of the same label count, the mean is over cells. Most
        of what tells cells apart is their type; this is what is known beyond it, and 0.5 is chance as well. Cells
        without a label, or alone with it, are left out.

    Returns
    -------
    One number, 0 ≤ FOSCTTM ≤ 1; NaN if no cell is left that has another to be confused with.

    Raises
    ------
    ValueError
        If the shapes differ, a value is infinite, `groups` has another length, or no cell is left.

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
    x, y, kept = _known_in_both(x, y)
    if not kept.any():
        msg = f"expected at least one cell measured in both `x` and `y`, found none among {len(kept)}"
        raise InvalidValueError(msg)
    codes = np.zeros(len(x)) if groups is None else pd.factorize(_labels(groups, len(kept), "x")[kept])[0]
    total, n_cells = 0.0, 0
    for code in np.unique(codes[codes >= 0]):
        members = codes == code
        n = int(members.sum())
        if n > 1:
            total += (_halves_closer(x[members], y[members]) + _halves_closer(y[members], x[members])) / (n - 1)
            n_cells += n
    return total / (4 * n_cells) if n_cells else float("nan")


def foscttm_error(x: Array, y: Array) -> float:
    """Standard error of :func:`jamie.metrics.foscttm` over cells: how far it moves with other cells of the same kind.

    A cell counts twice, by the cells that are closer than its match and as one that is closer than others' match:
    FOSCTTM is a U-statistic of order two, of which this is the standard error by its projection, 2 sd / √n (Hoeffding
    1948).

    Parameters
    ----------
    x, y
        Latents of the same cells in the same order (`n × g` each). Cells with a NaN in either are left out.

    Returns
    -------
    One number; NaN for fewer than three cells.

    Raises
    ------
    ValueError
        If the shapes differ or a value is infinite.

    Examples
    --------
    >>> import numpy as np
    >>> from jamie.metrics import foscttm_error
    >>> x, y = np.random.default_rng(0).normal(size=(2, 400, 8))
    >>> 0.005 < foscttm_error(x, y) < 0.02
    True
    """
    x, y, kept = _known_in_both(x, y)
    n = int(kept.sum())
    if n < 3:
        return float("nan")
    share = np.zeros(n)  # of pairs with others in which a cell's match, or the other's, is not the closest
    for a, b in ((x, y), (y, x)):
        for rows in _slices(n, _BLOCK // n):
            distance = cdist(a[rows], b)
            match = np.arange(len(distance)), np.arange(rows.start, rows.stop)
            own = distance[match][:, None]
            closer = (distance < own) + 0.5 * (distance == own)
            closer[match] = 0
            share[rows] += closer.sum(1)
            share += closer.sum(0)
    return float(2 * np.std(share / (4 * (n - 1)), ddof=1) / np.sqrt(n))


def label_transfer_accuracy(
    x: Array,
    y: Array,
    labels_x: Any,
    *,
    labels_y: Any | None = None,
    n_neighbors: int = 5,
    average: Literal["micro", "macro"] = "micro",
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
    average
        ``"micro"``: every cell counts alike, and naming the commonest label each time has its share. ``"macro"``: the
        mean over the labels of `x` of the accuracy among their cells, in which rare labels count as much; one over
        their number is chance.

    Returns
    -------
    Share of the cells of `x` that get their own label.

    Raises
    ------
    ValueError
        If labels and cells differ in number, no cell of `x` is left, fewer of `y` than `n_neighbors`, or `average` is
        neither of the two.

    Examples
    --------
    >>> import numpy as np
    >>> from jamie.metrics import label_transfer_accuracy
    >>> x = np.array([[0.0], [0.2], [5.0], [5.1]])
    >>> label_transfer_accuracy(x, x + 0.1, ["a", "a", "b", "b"], n_neighbors=1)
    1.0
    """
    require_option(average, ("micro", "macro"), name="average")
    truth, is_right = _transferred(x, y, labels_x, labels_x if labels_y is None else labels_y, n_neighbors)
    return _micro(is_right) if average == "micro" else _macro(truth, is_right)


def alignment_scores(x: Array, y: Array, labels_x: Any | None = None, labels_y: Any | None = None) -> dict[str, float]:
    """Measures of alignment of the same cells in two latents, and with labels what they are by chance.

    Chance of `foscttm` and `foscttm_within` is one half. Cells whose labels differ between the two are left out within
    labels.
    """
    scores = {"foscttm": foscttm(x, y)}
    if labels_x is None or labels_y is None:
        return scores
    of_x, of_y = (np.asarray(labels, dtype=object) for labels in (labels_x, labels_y))
    same = np.array([None if pd.isna(a) or a != b else a for a, b in zip(of_x, of_y, strict=True)], dtype=object)
    truth, is_right = _transferred(x, y, of_x, of_y, min(5, int(pd.notna(of_y).sum())))
    _, counts = np.unique(truth, return_counts=True)
    return {
        **scores,
        "foscttm_within": foscttm(x, y, groups=same),
        "lta": _micro(is_right),
        "lta_macro": _macro(truth, is_right),
        "lta_chance": float(counts.max() / counts.sum()),
        "lta_macro_chance": 1 / len(counts),
    }


def _micro(is_right: Array) -> float:
    return float(np.mean(is_right))


def _macro(truth: Array, is_right: Array) -> float:
    """Mean over labels of the share that is right."""
    return float(np.mean([is_right[truth == label].mean() for label in np.unique(truth)]))


def _transferred(x: Array, y: Array, labels_x: Any, labels_y: Any, n_neighbors: int) -> tuple[Array, Array]:
    """Code of the label of each labelled cell of `x`, and whether the vote of its neighbours in `y` is for it."""
    x, y = _latent(x, "x"), _latent(y, "y")
    labels_y = _labels(labels_y, len(y), "y")
    labels_x = _labels(labels_x, len(x), "x")
    kept_x, kept_y = ~(pd.isna(labels_x) | np.isnan(x).any(1)), ~(pd.isna(labels_y) | np.isnan(y).any(1))
    if not kept_x.any():
        msg = f"expected at least one labelled cell in `x`, found none among {len(x)}; pass labels that are not missing"
        raise InvalidValueError(msg)
    require_positive(n_neighbors=n_neighbors)
    if n_neighbors > kept_y.sum():
        msg = f"expected 1 <= `n_neighbors` <= {kept_y.sum()}, the labelled cells of `y`, found {n_neighbors}"
        raise InvalidValueError(msg)
    codes, _ = pd.factorize(np.concatenate([labels_x[kept_x], labels_y[kept_y]]), sort=True)
    truth, known = np.split(codes, [kept_x.sum()])
    with warnings.catch_warnings():  # many labels are labels, too
        warnings.filterwarnings("ignore", message="The number of unique classes", category=UserWarning)
        classifier = KNeighborsClassifier(n_neighbors).fit(y[kept_y], known)
    return truth, classifier.predict(x[kept_x]) == truth


def _known_in_both(x: Array, y: Array) -> tuple[Array, Array, Array]:
    """Latents of the same cells without those that have a NaN in either, and which are kept, (n,)."""
    x, y = _latent(x, "x"), _latent(y, "y")
    require_same_shape(x, y, names=("x", "y"))
    kept = ~(np.isnan(x).any(1) | np.isnan(y).any(1))
    return x[kept], y[kept], kept


def _latent(latent: Array, name: str) -> Array:
    latent = numbers(latent, name=name).astype(np.float64)
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

"""Alignments that a model must beat: canonical correlation, and linear and nonlinear manifold alignment.

Each finds components in which known partners, or neighbours and partners, agree, and says how well they do. Components
are then multiplied by a power of that agreement: without it a noisy one counts as much as the first, and all three
align several times worse. The power is chosen on the known pairs, by five folds of them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.linalg import block_diag, eigh, svd
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.model_selection import KFold
from sklearn.neighbors import kneighbors_graph

from jamie._checks import generator, require_option
from jamie._errors import InvalidValueError
from jamie._types import Array, Matrix, Seed
from jamie.metrics import foscttm

ALIGNERS = ("cca", "lma", "nlma")

_RIDGES = (0.01, 0.1, 1.0)  # of canonical correlation, in units of the mean variance of a feature
_MU = 0.9  # weight of all pairs, in units of the mean weight of the two graphs (Wang & Mahadevan)
_NEIGHBORS = 5
_POWERS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
_TUNED = 10  # known pairs from which settings and power are chosen; fewer take the middle setting and 1
_SCORED = 500  # held-out pairs of a fold that they are chosen on

Pairs = tuple[Array, Array]
Fit = Callable[[Pairs, float], "_Components"]


class _Components(NamedTuple):
    x: Array  # (n_x, g)
    y: Array  # (n_y, g)
    agreement: Array  # (g,) in [0, 1], descending

    def weighted(self, power: float) -> tuple[Array, Array]:
        weight = (self.agreement / (self.agreement[0] or 1.0)) ** power
        return self.x * weight, self.y * weight


def align(
    method: str, x: Array, y: Array, pairs: Pairs, *, n_components: int = 32, rng: Seed = None
) -> tuple[Array, Array]:
    """Place the cells of two modalities in a common latent, by the pairs of cells that are known.

    Parameters
    ----------
    method
        One of `ALIGNERS`: ``"cca"``, canonical correlation of the pairs with ridge; ``"lma"`` and ``"nlma"``, linear
        and nonlinear manifold alignment, which also see the neighbours of cells without a partner.
    x, y
        Prepared inputs of all cells (`n_x × k_x` and `n_y × k_y`), such as principal components.
    pairs
        Rows in `x` and rows in `y` of the known pairs; held-out cells are in `x` and `y` alone.
    n_components
        Latent dimensions at most; fewer where features or cells are fewer.
    rng
        Seed or generator of the pairs that settings are chosen on.

    Returns
    -------
    Latents of all cells (`n_x × g` and `n_y × g`).

    Raises
    ------
    ValueError
        If `method` is unknown, there are fewer than two pairs, or they are no rows of `x` and `y`.

    Examples
    --------
    >>> import numpy as np
    >>> from jamie.metrics import foscttm
    >>> from jamie.baselines import align
    >>> z = np.random.default_rng(0).normal(size=(200, 3))
    >>> known = np.arange(100)
    >>> a, b = align("cca", z, z[:, ::-1] + 1, (known, known), rng=0)
    >>> foscttm(a[100:], b[100:])
    0.0
    """
    require_option(method, ALIGNERS, name="method")
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    pairs = _checked(pairs, len(x), len(y))
    x, y = x - x[pairs[0]].mean(0), y - y[pairs[1]].mean(0)
    rng = generator(rng)
    family, settings = _FAMILIES[method]
    within = None if method == "cca" else sparse.block_diag([_neighbor_graph(x), _neighbor_graph(y)], format="csr")
    start = rng.normal(size=len(x) + len(y))

    def fit(pairs: Pairs, setting: float) -> _Components:
        return family(x, y, within, pairs, n_components, setting, start)

    setting, power = _tune(fit, settings, pairs, int(rng.integers(2**31)))
    return fit(pairs, setting).weighted(power)


def _tune(fit: Fit, settings: tuple[float, ...], pairs: Pairs, seed: int) -> tuple[float, float]:
    """Choose the setting and power that bring held-out pairs closest over five folds, the first of equals."""
    if len(pairs[0]) < _TUNED:
        return settings[len(settings) // 2], 1.0
    error = dict.fromkeys(product(settings, _POWERS), 0.0)
    for known, held_out in KFold(5, shuffle=True, random_state=seed).split(pairs[0]):
        rows, columns = (side[held_out[:_SCORED]] for side in pairs)
        for setting in settings:
            aligned = fit((pairs[0][known], pairs[1][known]), setting)
            for power in _POWERS:
                x, y = aligned.weighted(power)
                error[setting, power] += foscttm(x[rows], y[columns])
    return min(error, key=error.__getitem__)


def _cca(
    x: Array, y: Array, within: Matrix, pairs: Pairs, n_components: int, ridge: float, start: Array
) -> _Components:
    """Canonical correlation: directions of the largest correlation over the pairs, shrunk by the ridge."""
    a, b, n = x[pairs[0]], y[pairs[1]], len(pairs[0])
    to_x, to_y = _whitening(a.T @ a / n, ridge), _whitening(b.T @ b / n, ridge)
    left, correlation, right = svd(to_x.T @ (a.T @ b / n) @ to_y, full_matrices=False)
    g = min(n_components, len(correlation))
    return _Components(x @ to_x @ left[:, :g], y @ to_y @ right[:g].T, correlation[:g].clip(0, 1))


def _lma(x: Array, y: Array, within: Matrix, pairs: Pairs, n_components: int, mu: float, start: Array) -> _Components:
    """Linear manifold alignment: zᵀLz v = λ zᵀDz v, z the block diagonal of x and y; agreement is 1 − λ.

    Half of the solutions set the modalities against each other, so there are as many as the smaller one has features.
    """
    graph = _joint_graph(within, pairs, len(x), mu)
    z, degree = block_diag(x, y), graph.sum(0)
    whiten = _whitening(z.T @ (degree[:, None] * z))
    agreement, vectors = eigh(whiten.T @ (z.T @ (graph @ z)) @ whiten)
    g = min(n_components, x.shape[1], y.shape[1], len(agreement))
    latent = z @ whiten @ vectors[:, ::-1][:, :g] * np.sqrt(degree.sum())
    return _Components(latent[: len(x)], latent[len(x) :], agreement[::-1][:g].clip(0, 1))


def _nlma(x: Array, y: Array, within: Matrix, pairs: Pairs, n_components: int, mu: float, start: Array) -> _Components:
    """Nonlinear manifold alignment: Lv = λDv of the joint graph, without its constant solution; agreement is 1 − λ."""
    graph = _joint_graph(within, pairs, len(x), mu)
    root = np.sqrt(graph.sum(0))
    affinity = sparse.diags_array(1 / root) @ graph @ sparse.diags_array(1 / root)
    constant = root / np.linalg.norm(root)

    def without_constant(v: Array) -> Array:
        return affinity @ v - constant * (constant @ v)

    operator = LinearOperator(affinity.shape, matvec=without_constant, dtype=np.float64)
    g = min(n_components, len(x) - 1, len(y) - 1)
    agreement, vectors = eigsh(operator, g, which="LA", v0=start, tol=1e-8)
    order = np.argsort(-agreement)
    latent = vectors[:, order] / constant[:, None]
    return _Components(latent[: len(x)], latent[len(x) :], agreement[order].clip(0, 1))


def _joint_graph(within: Matrix, pairs: Pairs, n_x: int, mu: float) -> Matrix:
    """Neighbours within each modality, and partners across: (n_x + n_y) squared."""
    rows, columns = pairs[0], n_x + pairs[1]
    weight = np.full(2 * len(rows), mu * within.sum() / (2 * len(rows)))
    ends = np.concatenate([rows, columns]), np.concatenate([columns, rows])
    return sparse.csr_array(within + sparse.coo_array((weight, ends), shape=within.shape))


def _neighbor_graph(x: Array) -> Matrix:
    graph = kneighbors_graph(x, min(_NEIGHBORS, len(x) - 1))
    return sparse.csr_array(graph.maximum(graph.T))


def _whitening(covariance: Array, ridge: float = 0.0) -> Array:
    """Directions of variance 1, the ridge added to it; without those that do not vary."""
    values, vectors = eigh(covariance)
    kept = values > 1e-10 * values[-1]
    return vectors[:, kept] / np.sqrt(values[kept] + ridge * values.mean())


def _checked(pairs: Pairs, n_x: int, n_y: int) -> Pairs:
    rows, columns = (np.asarray(side, dtype=np.intp) for side in pairs)
    if rows.ndim != 1 or rows.shape != columns.shape or len(rows) < 2:
        msg = f"expected `pairs` as two arrays of at least two rows each, found shapes {rows.shape} and {columns.shape}"
        raise InvalidValueError(msg)
    for name, side, n in (("x", rows, n_x), ("y", columns, n_y)):
        if side.min() < 0 or side.max() >= n:
            msg = f"expected rows 0 to {n - 1} of `{name}` in `pairs`, found {side.min()} to {side.max()}"
            raise InvalidValueError(msg)
    return rows, columns


_FAMILIES: dict[str, tuple[Callable[..., _Components], tuple[float, ...]]] = {
    "cca": (_cca, _RIDGES),
    "lma": (_lma, (_MU,)),
    "nlma": (_nlma, (_MU,)),
}

"""Whether known pairs tell who matches whom: pairs left out in turn, beside the same cells paired at random.

Names of cells coincide by chance: barcodes come from one list, and rows are counted from 0 in every table.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy import sparse

from jamie._types import Array

from ._anchors import N_DIMENSIONS, Profile, Side, whitened
from ._manifold import manifold

MOST_PAIRS = 100
MOST_CELLS = 2_000  # per modality: they are enough for a manifold
N_REFERENCES = 100
FEWEST_REFERENCES = 20  # with fewer, two pairs at least are left out together, so that each has the other to be beside
FEWEST_PAIRS = 4  # three can be paired in six ways only
N_ROWS = 200  # of the folds together: few pairs are left out one by one, and many take no longer
N_PERMUTATIONS = 199
SURE = 3.0
"""Standard errors below chance. Of 600 sets each of 10, 12, 20, 30 and 100 unrelated pairs, in clumps or none, 0 to
0.3 % are as far below and beat every permutation; of CITE-seq and of the motor cortex, 20 of 20 sets of 30 right pairs
do."""


@dataclass(frozen=True)
class PairCheck:
    """Known pairs against the same cells paired at random.

    Attributes
    ----------
    objective
        Share of cells that lie closer than the true partner, mean over pairs that were left out in turn and over both
        modalities; NaN where there are fewer than four pairs to leave out.
    chance
        Its mean over the same cells paired at random, and everything fitted anew: about 0.5.
    standard_error
        Its standard deviation over those.
    p_value
        Share of 199 such pairings, and of the pairs themselves, that do as well: at least 0.005.
    n_pairs
        Pairs that are known.
    n_checked
        Pairs that were left out: at most 100, each cell in one of them at most.
    """

    objective: float
    chance: float
    standard_error: float
    p_value: float
    n_pairs: int
    n_checked: int

    @property
    def verified(self) -> bool:
        """Whether the pairs do better than each of the random pairings, by three standard errors."""
        return self._is_below_chance(SURE) and self.p_value <= 1 / (1 + N_PERMUTATIONS)

    @property
    def promising(self) -> bool:
        """Whether they do better than chance by one standard error: worth a try, proof of nothing."""
        return self._is_below_chance(1)

    def _is_below_chance(self, n_errors: float) -> bool:
        return bool(self.objective < self.chance - n_errors * self.standard_error)

    def __str__(self) -> str:
        """Say the figures in words."""
        if np.isnan(self.objective):
            return f"{self.n_checked} of them share no cell, and fewer than {FEWEST_PAIRS} cannot be left out in turn"
        return (
            f"of {self.n_checked} left out in turn, {self.objective:.2f} of the cells lie closer than the partner, "
            f"where chance is {self.chance:.2f} ± {self.standard_error:.2f} (p = {self.p_value:.3f})"
        )

    def to_dict(self) -> dict[str, float | int]:
        """Return the attributes by name, as `.uns` can hold them."""
        return asdict(self)


def check_pairs(x: Array, y: Array, known: sparse.csr_matrix, rng: np.random.Generator) -> PairCheck:
    """Leave pairs out in turn, and count the cells that anchors on the other pairs put closer than the true partner.

    Then the same with partners dealt at random, everything fitted anew: chance, with an uncertainty that holds whatever
    the shape of the data, as that of 12 pairs whose fits share 11 does not follow from a formula.

    Takes about half a second, whatever the number of cells: it draws `MOST_PAIRS` pairs and `MOST_CELLS` cells.

    Parameters
    ----------
    x, y
        Prepared cells, (n_x, k) and (n_y, l).
    known
        Known pairs F, (n_x, n_y). A cell of many partners is drawn with one of them, and its other partners not at all.
    rng
        Generator of the draws and of the random pairings.
    """
    rows, columns, confidence = _independent_pairs(known, rng)
    n_known, n = int(known.nnz), len(rows)
    if n < FEWEST_PAIRS:
        return PairCheck(float("nan"), 0.5, float("nan"), 1.0, n_known, n)
    partners = known.tocsc()[:, columns].indices, known[rows].indices
    cells = [_sample(*side, rng) for side in zip((x, y), (rows, columns), partners, strict=True)]
    n_references = min(N_REFERENCES, *(len(z) - n for z in cells))
    most = n if n_references >= FEWEST_REFERENCES else n // 2
    folds = np.array_split(np.arange(n), int(np.clip(N_ROWS // n, 2, most)))
    a, b = (_left_out(z, folds, n_references, confidence, rng) for z in cells)
    dealt = [(np.arange(len(folds)), np.arange(n)), *(_deal(folds, rng) for _ in range(N_PERMUTATIONS))]
    fold_of, partner = (np.stack(column) for column in zip(*dealt, strict=True))
    objectives = _objectives(a, b, folds, fold_of, partner, confidence)
    value, null = objectives[0], objectives[1:]
    as_good = 1 + np.count_nonzero(null <= value + 1e-9)
    return PairCheck(
        float(value), float(null.mean()), float(null.std(ddof=1)), float(as_good / len(objectives)), n_known, n
    )


@dataclass(frozen=True)
class _Coordinates:
    """Whitened profiles of one modality under the fit of each fold, without the pairs of it."""

    pairs: Array  # (folds, pairs, r)
    references: Array  # (folds, references, r) of cells that are in no pair


def _independent_pairs(known: sparse.csr_matrix, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Rows, columns and confidences of pairs at random, sure ones sooner, of which no two share a cell or a partner."""
    by_row, by_column, pairs = known.tocsr(), known.tocsc(), known.tocoo()
    free = np.ones(known.shape[0], dtype=bool), np.ones(known.shape[1], dtype=bool)
    chosen: list[int] = []
    for at in (np.log(rng.random(pairs.nnz)) / pairs.data).argsort()[::-1]:
        i, j = pairs.row[at], pairs.col[at]
        if len(chosen) < MOST_PAIRS and free[0][i] and free[1][j]:
            chosen.append(at)
            free[0][by_column.indices[by_column.indptr[j] : by_column.indptr[j + 1]]] = False
            free[1][by_row.indices[by_row.indptr[i] : by_row.indptr[i + 1]]] = False
        elif len(chosen) == MOST_PAIRS:
            break
    return pairs.row[chosen], pairs.col[chosen], pairs.data[chosen].astype(float)


def _sample(z: Array, ends: Array, partners: Array, rng: np.random.Generator) -> Array:
    """Cells of one modality: the ends of the pairs, then others at random, none of them a partner of those."""
    others = np.setdiff1d(np.arange(len(z)), partners)  # the ends are partners
    return z[np.concatenate([ends, rng.permutation(others)[: MOST_CELLS - len(ends)]])]


def _left_out(
    z: Array, folds: list[Array], n_references: int, confidence: Array, rng: np.random.Generator
) -> _Coordinates:
    """Profiles whitened on the pairs outside of each fold; which cell is whose partner plays no part in them."""
    n = len(confidence)
    graph, cells = manifold(z, rng), np.arange(n + n_references)
    geodesic = graph.geodesic(graph.nearest[:n, 0])
    profiles = []
    for fold in folds:
        kept = np.setdiff1d(np.arange(n), fold)
        profile = Profile(Side(z, graph, kept), geodesic[:, kept])(cells)
        centre, whitening = whitened(profile[kept], confidence[kept])
        profiles.append((profile - centre) @ whitening)
    width = max(part.shape[1] for part in profiles)
    padded = np.stack([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in profiles])
    return _Coordinates(padded[:, :n], padded[:, n:])


def _deal(folds: list[Array], rng: np.random.Generator) -> tuple[Array, Array]:
    """Partners at random: each fold gets the partners of a fold of its size, in any order, so that no fit is new in y.

    Returns which fold the partners of each fold come from, and which pair the partner of each pair comes from.
    """
    sizes = np.array([len(fold) for fold in folds])
    fold_of, partner = np.arange(len(folds)), np.empty(sizes.sum(), dtype=int)
    for size in np.unique(sizes):
        alike = np.flatnonzero(sizes == size)
        fold_of[alike] = rng.permutation(alike)
    for fold, source in zip(folds, fold_of, strict=True):
        partner[fold] = rng.permutation(folds[source])
    return fold_of, partner


def _objectives(
    x: _Coordinates, y: _Coordinates, folds: list[Array], fold_of: Array, partner: Array, confidence: Array
) -> Array:
    """Objective of each pairing, (pairings,); `fold_of` is (pairings, folds) and `partner` (pairings, pairs)."""
    total = np.zeros(len(partner))
    for k, fold in enumerate(folds):
        kept = np.setdiff1d(np.arange(len(confidence)), fold)
        of_y = fold_of[:, k]
        y_pairs = y.pairs[of_y[:, None], partner]
        weights = np.sqrt(confidence[kept] * confidence[partner[:, kept]]) / confidence[kept].sum()
        cross = x.pairs[k][kept].T @ (weights[:, :, None] * y_pairs[:, kept])
        to_x, to_y = _directions(cross)
        a, b = x.pairs[k][fold] @ to_x, y_pairs[:, fold] @ to_y
        among = _squared_distances(a, b)
        others = _squared_distances(a, y.references[of_y] @ to_y), _squared_distances(b, x.references[k] @ to_x)
        own = np.einsum("bmm->bm", among)[:, :, None]
        closer = -1.0  # the partner itself is as near as itself, in both directions
        for d in (among, among.transpose(0, 2, 1), *others):
            closer = closer + (d < own).sum(axis=2) + (d == own).sum(axis=2) / 2
        total += closer @ confidence[fold] / (2 * (len(fold) - 1 + others[0].shape[2]))
    return total / confidence.sum()


def _directions(cross: Array) -> tuple[Array, Array]:
    """Canonical directions of a stack of whitened cross-covariances, (…, r, d), each scaled by its correlation.

    As singular vectors times singular values, by the eigenvectors of C Cᵀ, which take a third of the time.
    """
    values, vectors = np.linalg.eigh(cross @ cross.transpose(0, 2, 1))
    values, vectors = values[:, ::-1][:, :N_DIMENSIONS], vectors[:, :, ::-1][:, :, :N_DIMENSIONS]
    return vectors * np.sqrt(values.clip(0))[:, None, :], cross.transpose(0, 2, 1) @ vectors


def _squared_distances(a: Array, b: Array) -> Array:
    """(…, m, d) and (…, n, d) to (…, m, n)."""
    squares = np.square(a).sum(-1)[..., :, None] + np.square(b).sum(-1)[..., None, :]
    return squares - 2 * a @ np.swapaxes(b, -1, -2)

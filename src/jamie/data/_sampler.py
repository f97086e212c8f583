"""Which cells are drawn together: those that known pairs connect."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from jamie._types import Array, Pair

from ._views import Problem

MOST_CELLS = 64
"""In a component of known pairs that is drawn as a whole."""
ROUNDS = 16
"""In which surer links go first."""


@dataclass(frozen=True)
class LinkedCells:
    """Groups of cells that are drawn together: connected by known pairs, or a single cell.

    Where pairs connect more than `MOST_CELLS` cells, only the surest links keep cells together: a group then has at
    most one cell of each modality. The other pairs are not lost, but count only where both cells happen to meet in a
    batch.

    Attributes
    ----------
    rows
        By modality, the rows of its training cells, ordered by group.
    starts
        By modality, where each group begins in `rows`, (n_groups + 1,).
    """

    rows: dict[str, Array]
    starts: dict[str, Array]

    @classmethod
    def of(cls, problem: Problem) -> LinkedCells:
        """Find the groups of the training cells: connected components of the known pairs, in O(pairs)."""
        names = list(problem.modalities)
        sizes = [len(problem.modalities[name].cells) for name in names]
        offsets = dict(zip(names, np.cumsum([0, *sizes[:-1]]), strict=True))
        edges = [_training_edges(problem, pair, offsets) for pair in problem.known]
        i, j, confidence = (np.concatenate(part) for part in zip(*edges, strict=True))
        label = _grouped(i, j, confidence, np.repeat(np.arange(len(sizes)), sizes))
        train = np.concatenate([problem.modalities[name].train for name in names])
        label_of_train = np.unique(label[train], return_inverse=True)[1]
        dense = np.full(len(label), -1)
        dense[train] = label_of_train
        rows, starts = {}, {}
        for name, size in zip(names, sizes, strict=True):
            group = dense[offsets[name] : offsets[name] + size]
            order = np.argsort(group, kind="stable")
            order = order[group[order] >= 0]
            rows[name] = order
            starts[name] = np.searchsorted(group[order], np.arange(label_of_train.max() + 2))
        return cls(rows, starts)

    def __len__(self) -> int:
        return len(next(iter(self.starts.values()))) - 1

    @property
    def pattern(self) -> Array:
        """Which modalities each group is measured in, one bit each, (n_groups,)."""
        return np.sum([(np.diff(starts) > 0) << bit for bit, starts in enumerate(self.starts.values())], axis=0)

    @property
    def n_modalities(self) -> Array:
        """How many modalities each group is measured in, (n_groups,)."""
        return np.bitwise_count(self.pattern)

    def cells(self, groups: Array) -> dict[str, Array]:
        """Rows of the cells of the given groups, by modality."""
        rows = {}
        for name, starts in self.starts.items():
            rows[name] = self.rows[name][ranges(starts, groups)]
        return rows

    def per_cell(self, groups: Array, values: Array) -> dict[str, Array]:
        """One value per group, repeated for each of its cells, by modality, in the order of `cells`."""
        return {name: np.repeat(values, starts[groups + 1] - starts[groups]) for name, starts in self.starts.items()}


def ranges(starts: Array, groups: Array) -> Array:
    """Positions from `starts[g]` to `starts[g + 1]` of each group g, one after the other."""
    first, length = starts[groups], starts[groups + 1] - starts[groups]
    if (length == 1).all():
        return first
    return np.repeat(first - np.cumsum(length) + length, length) + np.arange(length.sum())


def _training_edges(problem: Problem, pair: Pair, offsets: dict[str, int]) -> tuple[Array, Array, Array]:
    a, b = (problem.modalities[name] for name in pair)
    f = problem.known[pair].tocoo()
    kept = a.train[f.row] & b.train[f.col] & (f.data > 0)
    return f.row[kept] + offsets[a.name], f.col[kept] + offsets[b.name], f.data[kept]


def _grouped(i: Array, j: Array, confidence: Array, modality: Array) -> Array:
    """Label of each cell: its component, or a part of it where that has more than `MOST_CELLS` cells."""
    graph = sparse.coo_matrix((np.ones(len(i), dtype=bool), (i, j)), shape=(len(modality), len(modality)))
    n_components, label = connected_components(graph, directed=False)
    large = np.bincount(label)[label] > MOST_CELLS
    if not large.any():
        return label
    inside = large[i]
    part = _surest(i[inside], j[inside], confidence[inside], modality)
    return np.where(large, n_components + part, label)


def _surest(i: Array, j: Array, confidence: Array, modality: Array) -> Array:
    """Join cells by their surest links, at most one of each modality; the label of each is one of its cells.

    In each round the groups join that are each other's surest, of those without a modality in common. Equal confidences
    are ordered by chance, always the same: by position a chain of them would take a round for each link. After `ROUNDS`
    rounds the rest, chains of ever surer links, join by chance alone.
    """
    chance = np.random.default_rng(0).permutation(len(i))
    bits = confidence.astype(np.float32).view(np.int32)  # of positive floats are in their order
    rank = (np.iinfo(np.int32).max - bits).astype(np.int64) << 32 | chance
    group, held = np.arange(len(modality)), np.int64(1) << modality
    n_rounds = 0
    while True:
        i, j = group[i], group[j]
        open_ = held[i] & held[j] == 0
        i, j, rank = i[open_], j[open_], rank[open_]
        if not len(i):
            return group
        if n_rounds == ROUNDS:
            rank &= 2**32 - 1  # leaves chance
        first = np.full(len(modality), np.iinfo(np.int64).max)
        for end in (i, j):
            np.minimum.at(first, end, rank)
        join = (first[i] == rank) & (first[j] == rank)
        into = np.arange(len(modality))
        into[j[join]] = i[join]
        held[i[join]] |= held[j[join]]
        group = into[group]
        n_rounds += 1

"""Which cells meet in a batch: paired cells always do, cells of one modality are drawn in proportion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from jamie._types import Array, Pair

from ._views import Problem


@dataclass(frozen=True)
class Units:
    """Groups of cells that are drawn together: connected by known pairs, or a single cell.

    Attributes
    ----------
    rows
        By modality, the rows of its training cells, ordered by unit.
    starts
        By modality, where each unit begins in `rows`, (n_units + 1,).
    """

    rows: dict[str, Array]
    starts: dict[str, Array]

    @classmethod
    def of(cls, problem: Problem) -> Units:
        """Find the units of the training cells: connected components of the known pairs, in O(pairs)."""
        names = list(problem.modalities)
        sizes = [len(problem.modalities[name].cells) for name in names]
        offsets = dict(zip(names, np.cumsum([0, *sizes[:-1]]), strict=True))
        edges = [_training_edges(problem, pair, offsets) for pair in problem.known]
        i, j = (np.concatenate(side) for side in zip(*edges, strict=True))
        graph = sparse.coo_matrix((np.ones(len(i), dtype=bool), (i, j)), shape=(sum(sizes), sum(sizes)))
        _, label = connected_components(graph, directed=False)
        train = np.concatenate([problem.modalities[name].train for name in names])
        label_of_train = np.unique(label[train], return_inverse=True)[1]
        dense = np.full(len(label), -1)
        dense[train] = label_of_train
        rows, starts = {}, {}
        for name, size in zip(names, sizes, strict=True):
            unit = dense[offsets[name] : offsets[name] + size]
            order = np.argsort(unit, kind="stable")
            order = order[unit[order] >= 0]
            rows[name] = order
            starts[name] = np.searchsorted(unit[order], np.arange(label_of_train.max() + 2))
        return cls(rows, starts)

    def __len__(self) -> int:
        return len(next(iter(self.starts.values()))) - 1

    @property
    def n_modalities(self) -> Array:
        """How many modalities each unit is measured in, (n_units,)."""
        return np.sum([np.diff(starts) > 0 for starts in self.starts.values()], axis=0)

    def cells(self, units: Array) -> dict[str, Array]:
        """Rows of the cells of the given units, by modality."""
        found = {}
        for name, starts in self.starts.items():
            length = starts[units + 1] - starts[units]
            first = np.repeat(starts[units] - np.cumsum(length) + length, length)
            found[name] = self.rows[name][first + np.arange(length.sum())]
        return found

    def batches(self, units: Array, *, size: int, rng: np.random.Generator) -> Iterator[dict[str, Array]]:
        """Endless batches of `size` units: one permutation after the other, the incomplete rest of each left out."""
        size = min(size, len(units))
        while True:
            order = rng.permutation(units)
            for start in range(0, len(units) - size + 1, size):
                yield self.cells(order[start : start + size])


def block(f: sparse.csr_matrix, rows: Array, columns: Array) -> Array:
    """Dense F[rows][:, columns] of one batch, in the time of the entries of its rows."""
    position = np.full(f.shape[1], -1)
    position[columns] = np.arange(len(columns))
    length = f.indptr[rows + 1] - f.indptr[rows]
    entry = np.repeat(f.indptr[rows] - np.cumsum(length) + length, length) + np.arange(length.sum())
    j = position[f.indices[entry]]
    dense = np.zeros((len(rows), len(columns)), dtype=np.float32)
    dense[np.repeat(np.arange(len(rows)), length)[j >= 0], j[j >= 0]] = f.data[entry][j >= 0]
    return dense


def _training_edges(problem: Problem, pair: Pair, offsets: dict[str, int]) -> tuple[Array, Array]:
    a, b = (problem.modalities[name] for name in pair)
    f = problem.known[pair].tocoo()
    kept = a.train[f.row] & b.train[f.col] & (f.data > 0)
    return f.row[kept] + offsets[a.name], f.col[kept] + offsets[b.name]

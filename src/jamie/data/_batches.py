"""Which linked cells and partners meet in a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from scipy import sparse

from jamie._types import Array, Pair

from ._sampler import LinkedCells
from ._views import Problem


class Partners(NamedTuple):
    """Two partners a row, drawn independently from F̃: positions in the batch."""

    rows: Array  # (r,) in modality a
    first: Array  # (r,) in modality b
    second: Array  # (r,) in modality b


class Draw(NamedTuple):
    """Cells of one batch, by modality, before they are gathered."""

    cells: dict[str, Array]  # rows (n_m,)
    weights: dict[str, Array] | None  # (n_m,) in the losses of single cells; `None`: all alike
    partners: dict[Pair, Partners]
    blocks: dict[str, Array] | None = None  # (n_m,) which block of a large batch a cell is in; `None`: there is one


def permuted(
    linked: LinkedCells, chosen: Array, *, size: int, n_blocks: int = 1, rng: np.random.Generator
) -> Iterator[Draw]:
    """Endless batches of `size` of the chosen groups: one permutation after the other, the rest of each left out.

    They come in `n_blocks` blocks of as many groups.
    """
    for groups in _stream(chosen, min(size, len(chosen)) // n_blocks, rng, n_blocks):
        yield Draw(linked.cells(groups), None, {}, _blocks(linked, groups, n_blocks))


def stratified(
    linked: LinkedCells,
    chosen: Array,
    *,
    size: int,
    least_paired: float,
    n_blocks: int = 1,
    rng: np.random.Generator,
) -> Iterator[Draw]:
    """Endless batches in which each kind of group has its share, pairs at least `least_paired` of the batch.

    A kind is the set of modalities that a group was measured in. Cells of a kind that is drawn more or less often than
    it is frequent weigh as much less or more, so that the mean over a batch estimates the mean over all cells. Each of
    `n_blocks` blocks has as many groups of a kind as the others.
    """
    pattern = linked.pattern[chosen]
    kinds, counts = np.unique(pattern, return_counts=True)
    size = min(size, len(chosen)) // n_blocks
    drawn = _shares(counts, np.bitwise_count(kinds) > 1, size, least_paired)
    streams = [_stream(chosen[pattern == kind], n, rng, n_blocks) for kind, n in zip(kinds, drawn, strict=True)]
    weight = np.repeat((counts / counts.sum()) / (drawn / drawn.sum()), drawn)
    weights = np.tile(weight, n_blocks)
    while True:
        parts = [next(stream).reshape(n_blocks, -1) for stream in streams]
        groups = np.concatenate(parts, axis=1).ravel()
        weighted = linked.per_cell(groups, weights) if len(kinds) > 1 else None
        yield Draw(linked.cells(groups), weighted, {}, _blocks(linked, groups, n_blocks))


def with_partners(
    draws: Iterator[Draw],
    problem: Problem,
    allowed: Mapping[str, Array],
    *,
    known_too: bool = False,
    rng: np.random.Generator,
) -> Iterator[Draw]:
    """Add two partners, drawn from F̃, for every cell without a known one; extra targets have no weight of their own.

    With `known_too` cells of which something is known have them too, where their row of F̃ says more than that. Only
    `allowed` cells, a mask by modality, are queries or targets. Extra targets come without their own known partners:
    the M of eq. 9 is then their own latent, from which eq. 6 keeps it close.
    """
    rows_of = {
        (a, b): _Rows(f, problem.known_of(a, b), allowed[a], allowed[b], known_too=known_too)
        for (a, b), f in problem.inferred.items()
    }
    for draw in draws:
        cells = dict(draw.cells)
        weights = dict(draw.weights or {name: np.ones(len(rows)) for name, rows in cells.items()})
        blocks = dict(draw.blocks or {name: np.zeros(len(rows), dtype=int) for name, rows in cells.items()})
        partners = {}
        for (a, b), rows in rows_of.items():
            (queries,) = np.nonzero(rows.eligible[cells[a]] & (weights[a] > 0))
            if not len(queries):
                continue
            n = rows.n_targets  # a cell of each block has a number of its own: block · n + row
            targets = rows.sample(np.tile(cells[a][queries], 2), rng) + n * np.tile(blocks[a][queries], 2)
            there = cells[b] + n * blocks[b]
            extra = np.setdiff1d(targets, there)
            cells[b], blocks[b] = np.concatenate([cells[b], extra % n]), np.concatenate([blocks[b], extra // n])
            weights[b] = np.concatenate([weights[b], np.zeros(len(extra))])
            there = np.concatenate([there, extra])
            order = there.argsort(kind="stable")
            place = order[np.searchsorted(there[order], targets)]
            partners[a, b] = Partners(queries, place[: len(queries)], place[len(queries) :])
        yield Draw(cells, weights, partners, blocks if draw.blocks else None)


class _Rows:
    """Rows of F̃ as distributions over the allowed cells of the other modality."""

    def __init__(
        self,
        f: sparse.csr_matrix,
        known: sparse.csr_matrix,
        allowed_a: Array,
        allowed_b: Array,
        *,
        known_too: bool,
    ) -> None:
        values = np.where(allowed_b[f.indices], f.data, 0.0)
        self._indices, self._indptr = f.indices, f.indptr
        self.n_targets = f.shape[1]
        self._until = np.concatenate([[0.0], values.cumsum(dtype=np.float64)])
        mass = np.diff(self._until[f.indptr])
        settled = np.asarray(known.sum(axis=1)).ravel() >= 1e-6
        if known_too:
            settled &= np.asarray(abs(f - known).sum(axis=1)).ravel() < 1e-6
        self.eligible = allowed_a & (mass > 1e-6) & ~settled

    def sample(self, rows: Array, rng: np.random.Generator) -> Array:
        """One column for each row, with the probability of its entry."""
        low, high = self._until[self._indptr[rows]], self._until[self._indptr[rows + 1]]
        entry = np.searchsorted(self._until, low + rng.random(len(rows)) * (high - low), side="right") - 1
        return self._indices[entry.clip(self._indptr[rows], self._indptr[rows + 1] - 1)]


def _stream(items: Array, size: int, rng: np.random.Generator, n_blocks: int = 1) -> Iterator[Array]:
    """Permutations cut into `n_blocks` times `size` items; of too few items each block has a permutation of its own."""
    together = size * n_blocks
    while together <= len(items):
        order = rng.permutation(items)
        for start in range(0, len(items) - together + 1, together):
            yield order[start : start + together]
    while True:
        yield np.concatenate([rng.permutation(items)[:size] for _ in range(n_blocks)])


def _blocks(linked: LinkedCells, groups: Array, n_blocks: int) -> dict[str, Array] | None:
    """Which block the cells of each modality are in, of as many groups in each."""
    return None if n_blocks == 1 else linked.per_cell(groups, np.repeat(np.arange(n_blocks), len(groups) // n_blocks))


def _shares(counts: Array, paired: Array, size: int, least_paired: float) -> Array:
    """How many groups of each kind a batch takes: in proportion, but at least one of each, and enough pairs.

    That is all pairs where there are fewer; more than `size` groups only where there are more kinds.
    """
    share = counts / counts.sum()
    if paired.any() and not paired.all() and share[paired].sum() < least_paired:
        share = np.where(paired, share * least_paired / share[paired].sum(), share)
        share = np.where(paired, share, share * (1 - least_paired) / share[~paired].sum())
    drawn = np.minimum(np.maximum(np.ceil(share * size - 1e-9).astype(int), 1), counts)
    while drawn.sum() > max(size, len(counts)):
        excess = np.where(paired, -size, drawn - share * size)  # singles go first
        drawn[np.where(drawn > 1, excess, -np.inf).argmax()] -= 1
    return drawn

"""Positions of the cells of a batch, as two vectors that a device gets in two copies."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from jamie._types import Array, Pair
from jamie.nn import Compared

from ._batches import Draw
from ._sampler import ranges

Key = TypeVar("Key", str, Pair)
NO_BLOCKS = {"": np.zeros(1, dtype=int)}


class Layout(NamedTuple):
    """What is where in the vectors of a batch; batches of the same layout have tensors of the same shapes."""

    n_networks: int
    n_blocks: int
    cells: tuple[tuple[str, int], ...]  # of each network
    links: tuple[tuple[Pair, int], ...]  # of all networks
    partners: tuple[tuple[Pair, int], ...]  # queries of each network
    own: tuple[tuple[str, int], ...]  # cells of each network that are decoded, where not all are
    crossed: tuple[tuple[Pair, int], ...]  # the same, of the second modality from the first
    weighted: bool
    padded: bool

    @property
    def n_cells(self) -> dict[str, int]:
        """Cells of all networks by modality."""
        return {name: self.n_networks * n for name, n in self.cells}


@dataclass(frozen=True)
class BatchIndex:
    """A batch before its cells are gathered.

    Attributes
    ----------
    layout
        Sizes of what follows.
    positions
        Rows of the cells of each modality; of each pair of modalities the two sides of its links; of each that partners
        are inferred for the queries and their first and second partners; of each modality, and source and target, the
        cells that are decoded. Rows count in the prepared inputs, all others in the batch, on from one network to the
        next.
    numbers
        Where the batch is weighted, the weight of each cell; where it is padded, whether each cell is there (1) or
        fills a block up (0); the confidence of each link; where it is padded, whether each query is there.
    inputs, values
        Of the modalities that the device does not hold, what the cells have, gathered where it is.
    """

    layout: Layout
    positions: Tensor  # int64
    numbers: Tensor  # float32
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    values: Mapping[str, Tensor] = field(default_factory=dict)

    def tensors(self) -> list[Tensor]:
        """All of it but the layout, in the order that `with_tensors` takes."""
        return [self.positions, self.numbers, *self.inputs.values(), *self.values.values()]

    def with_tensors(self, tensors: Sequence[Tensor]) -> BatchIndex:
        """The same batch elsewhere."""
        positions, numbers, *gathered = tensors
        n = len(self.inputs)
        inputs = dict(zip(self.inputs, gathered[:n], strict=True))
        return BatchIndex(self.layout, positions, numbers, inputs, dict(zip(self.values, gathered[n:], strict=True)))


class Parts(NamedTuple):
    """The vectors of a batch, taken apart."""

    rows: dict[str, Tensor]
    links: dict[Pair, tuple[Tensor, Tensor, Tensor]]  # rows, columns, confidence
    partners: dict[Pair, tuple[Tensor, Tensor, Tensor]]  # queries, first, second
    weights: dict[str, Tensor] | None
    present: dict[str, Tensor] | None
    asked: dict[Pair, Tensor] | None  # 1 for queries, 0 for what fills up
    compared: Compared


def taken_apart(index: BatchIndex) -> Parts:
    """Views of the vectors, by name."""
    layout, cells = index.layout, index.layout.n_cells
    positions, numbers = _Cutter(index.positions), _Cutter(index.numbers)
    rows = {name: positions.next(n) for name, n in cells.items()}
    sides = {pair: (positions.next(n), positions.next(n)) for pair, n in layout.links}
    n_queries = {pair: layout.n_networks * n for pair, n in layout.partners}
    partners = {pair: (positions.next(n), positions.next(n), positions.next(n)) for pair, n in n_queries.items()}
    own = {name: positions.next(layout.n_networks * n) for name, n in layout.own}
    crossed = {pair: positions.next(layout.n_networks * n) for pair, n in layout.crossed}
    weights = {name: numbers.next(n) for name, n in cells.items()} if layout.weighted else None
    present = {name: numbers.next(n) for name, n in cells.items()} if layout.padded else None
    links = {pair: (*sides[pair], numbers.next(n)) for pair, n in layout.links}
    asked = {pair: numbers.next(n) for pair, n in n_queries.items()} if layout.padded else None
    return Parts(rows, links, partners, weights, present, asked, Compared(own, crossed))


class _Cutter:
    """Takes one part of a vector after the other."""

    def __init__(self, vector: Tensor) -> None:
        self._vector, self._at = vector, 0

    def next(self, n: int) -> Tensor:
        self._at += n
        return self._vector[self._at - n : self._at]


class _Placed(NamedTuple):
    """Cells of one modality in the blocks of a batch."""

    rows: Array  # (n_networks · n,), 0 where a block is filled up
    n: int  # of each network
    places: list[Array]  # of each network: where its cells are in `rows`
    blocks: list[list[Array]]  # of each network and block: which of its cells are in it


class Indexer:
    """Finds where the cells, links and partners of drawn cells go in a batch.

    Each modality has as many cells in every block and network: those with fewer are filled up. With `steady` sizes they
    never shrink from one batch to the next, so that few layouts serve all batches. A modality with fewer than `least`
    cells is left out.
    """

    def __init__(self, known: Mapping[Pair, sparse.csr_matrix], *, least: int, steady: bool) -> None:
        self._known, self._least, self._steady = known, least, steady
        self._most: dict[Hashable, int] = {}
        self._padded = False
        self._place = {b: np.full(f.shape[1], -1) for (_, b), f in known.items()}  # of the block that is looked at

    def __call__(self, draws: Sequence[Draw]) -> BatchIndex:
        """Place one draw for each network."""
        n_blocks = 1 + max(int(block.max(initial=0)) for draw in draws for block in (draw.blocks or NO_BLOCKS).values())
        placed = {
            name: self._placed(name, draws, n_blocks)
            for name in draws[0].cells
            if self._is_there([len(draw.cells[name]) for draw in draws])
        }
        links = {
            (a, b): self._linked((a, b), draws, placed[a], placed[b])
            for a, b in self._known
            if a in placed and b in placed
        }
        asked = dict.fromkeys(pair for draw in draws for pair in draw.partners)
        partners = {
            (a, b): self._asked((a, b), draws, placed[a], placed[b]) for a, b in asked if a in placed and b in placed
        }
        n_cells = {name: sum(map(len, some.places)) for name, some in placed.items()}
        fills = any(len(some.rows) > n_cells[name] for name, some in placed.items())
        fills |= any(not there.all() for *_, there in partners.values())
        self._padded = padded = fills or (self._steady and self._padded)
        weighted = any(draw.weights is not None for draw in draws) or padded
        weights = {name: _spread(name, draws, some) for name, some in placed.items()} if weighted else {}
        own = self._compared({name: (placed[name], np.nonzero(of)[0]) for name, of in weights.items()}, len(draws))
        sides = {
            direction: (placed[direction[1]], side[confidence > 0])
            for (a, b), (in_a, in_b, confidence) in links.items()
            for direction, side in (((a, b), in_b), ((b, a), in_a))
        }
        crossed = self._compared(sides, len(draws))
        layout = Layout(
            len(draws),
            n_blocks,
            cells=tuple((name, some.n) for name, some in placed.items()),
            links=tuple((pair, len(confidence)) for pair, (*_, confidence) in links.items()),
            partners=tuple((pair, len(there) // len(draws)) for pair, (*_, there) in partners.items()),
            own=tuple((name, len(cells) // len(draws)) for name, cells in own.items()),
            crossed=tuple((pair, len(cells) // len(draws)) for pair, cells in crossed.items()),
            weighted=weighted,
            padded=padded,
        )
        positions = [some.rows for some in placed.values()]
        positions += [side for *sides, _ in links.values() for side in sides]
        positions += [part for *parts, _ in partners.values() for part in parts]
        positions += [*own.values(), *crossed.values()]
        numbers = list(weights.values())
        numbers += [_there(some) for some in placed.values()] if padded else []
        numbers += [confidence for *_, confidence in links.values()]
        numbers += [there for *_, there in partners.values()] if padded else []
        return BatchIndex(layout, _vector(positions, np.int64), _vector(numbers, np.float32))

    def _is_there(self, n_cells: list[int]) -> bool:
        """Whether a modality is in the batch: some network has it, or, where nothing may fill up, each has enough."""
        return max(n_cells) > 0 if self._least == 1 else min(n_cells) >= self._least

    def _placed(self, name: str, draws: Sequence[Draw], n_blocks: int) -> _Placed:
        blocks = [_by_block(draw, name, n_blocks) for draw in draws]
        width = self._size(name, max(len(block) for of_one in blocks for block in of_one))
        n = width * n_blocks
        rows, places = np.zeros(n * len(draws), dtype=np.int64), []
        for i, draw in enumerate(draws):
            place = np.empty(len(draw.cells[name]), dtype=np.int64)
            for k, block in enumerate(blocks[i]):
                place[block] = np.arange(len(block)) + (i * n + k * width)
            rows[place] = draw.cells[name]
            places.append(place)
        return _Placed(rows, n, places, blocks)

    def _linked(self, pair: Pair, draws: Sequence[Draw], a: _Placed, b: _Placed) -> list[Array]:
        """Both sides and the confidence of all links of a batch, each block by itself."""
        found = [
            (a.places[i][in_a[rows]], b.places[i][in_b[columns]], confidence)
            for i, draw in enumerate(draws)
            for in_a, in_b in zip(a.blocks[i], b.blocks[i], strict=True)
            for rows, columns, confidence in [self._entries(pair, draw.cells[pair[0]][in_a], draw.cells[pair[1]][in_b])]
        ]
        sides = [np.concatenate(parts) for parts in zip(*found, strict=True)]
        n = self._size(("links", pair), len(sides[0]))
        return [np.concatenate([side, np.zeros(n - len(side), dtype=side.dtype)]) for side in sides]

    def _entries(self, pair: Pair, rows: Array, columns: Array) -> tuple[Array, Array, Array]:
        """Entries of F[rows][:, columns], in the time of the entries of its rows."""
        f, place = self._known[pair], self._place[pair[1]]
        place[columns] = np.arange(len(columns))
        entry = ranges(f.indptr, rows)
        j = place[f.indices[entry]]
        place[columns] = -1
        i = np.repeat(np.arange(len(rows)), f.indptr[rows + 1] - f.indptr[rows])
        inside = j >= 0
        return i[inside], j[inside], f.data[entry[inside]]

    def _asked(self, pair: Pair, draws: Sequence[Draw], a: _Placed, b: _Placed) -> list[Array]:
        """Queries and both partners of all networks, each with as many, and whether each is there."""
        asked = [draw.partners.get(pair) for draw in draws]
        n = self._size(("partners", pair), max(len(some.rows) for some in asked if some is not None))
        parts = [np.zeros((len(draws), n), dtype=np.int64) for _ in range(3)]
        there = np.zeros((len(draws), n), dtype=np.float32)
        for i, some in enumerate(asked):
            for part, side in zip(parts, (a, b, b), strict=True):
                part[i] = i * side.n
            if some is not None:
                m = len(some.rows)
                there[i, :m] = 1
                for part, side, where in zip(parts, (a, b, b), some, strict=True):
                    part[i, :m] = side.places[i][where]
        return [*(part.ravel() for part in parts), there.ravel()]

    def _compared(self, cells: Mapping[Key, tuple[_Placed, Array]], n_networks: int) -> dict[Key, Array]:
        """Which cells are decoded, as many in each network, of all that are not decoded whole.

        Those that have a weight, or a link; where a network has fewer than another, some that have none.
        """
        found = {}
        for key, (placed, wanted) in cells.items():
            idle = np.ones((n_networks, placed.n), dtype=bool)
            idle.ravel()[wanted] = False
            n = max(self._size(("compared", key), int((~idle).sum(1).max())), self._least)
            if n < placed.n:
                chosen = np.sort(idle.argsort(axis=1, kind="stable")[:, :n], axis=1)
                found[key] = (chosen + placed.n * np.arange(n_networks)[:, None]).ravel()
        return found

    def _size(self, key: Hashable, n: int) -> int:
        """At least `n`, and with steady sizes as many as before; they grow by an eighth at least, to do so seldom."""
        if not self._steady:
            return n
        before = self._most.get(key, 0)
        self._most[key] = before if n <= before else max(n, before + before // 8)
        return self._most[key]


def _by_block(draw: Draw, name: str, n_blocks: int) -> list[Array]:
    """Which of the cells of a modality are in each block."""
    if draw.blocks is None:
        return [np.arange(len(draw.cells[name]))]
    block = draw.blocks[name]
    ends = np.cumsum(np.bincount(block, minlength=n_blocks))[:-1]
    return np.split(np.argsort(block, kind="stable"), ends)


def _spread(name: str, draws: Sequence[Draw], placed: _Placed) -> Array:
    """Weights of the cells, 0 where a block is filled up."""
    weights = np.zeros(len(placed.rows), dtype=np.float32)
    for draw, place in zip(draws, placed.places, strict=True):
        weights[place] = 1 if draw.weights is None else draw.weights[name]
    return weights


def _there(placed: _Placed) -> Array:
    there = np.zeros(len(placed.rows), dtype=np.float32)
    for place in placed.places:
        there[place] = 1
    return there


def _vector(parts: Sequence[Array], dtype: type) -> Tensor:
    return torch.from_numpy(np.concatenate([np.empty(0, dtype), *parts], dtype=dtype, casting="same_kind"))

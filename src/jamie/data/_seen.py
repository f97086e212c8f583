"""Which cells a model has seen: names and values as digests of 4 bytes each, so that it knows them again.

Names alone do not tell: barcodes of two experiments coincide by chance, and samples get prefixes. Values alone do not
either: two cells may have the same few values. A cell is therefore known again by

1. its name and its values; else
2. its values, if a seen cell of these values is not otherwise there: its name was changed; else
3. its name, where features that the model knows are missing, so that values cannot be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from jamie._types import Array, Matrix

ROLES = ("train", "validation", "held-out", "new")
"""Of a cell to a model: learned from, chosen by, left alone though it was there, never met."""
TRAIN, VALIDATION, HELD_OUT, NEW = range(4)
_MISSING = np.uint32(0x7FC00000)  # the one NaN that stands for all of them


@dataclass(frozen=True)
class SeenCells:
    """The cells of one modality that were there when a model was trained, 8 bytes for each.

    Attributes
    ----------
    names, values
        Digests, (n,) uint32: of the name, and of the values of the model's features.
    role
        Position in `ROLES`, (n,) uint8; the most learned from first.
    """

    names: Array
    values: Array
    role: Array

    @classmethod
    def of(cls, names: pd.Index, values: Array, role: Array) -> SeenCells:
        """Note cells by name, digest of values and role."""
        order = np.argsort(role, kind="stable")
        return cls(name_digests(names)[order], values[order], role[order].astype(np.uint8))

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many cells were learned from, chosen by and held out."""
        n_train, n_validation, n_held_out = np.bincount(self.role, minlength=3)
        return int(n_train), int(n_validation), int(n_held_out)

    @classmethod
    def from_counts(cls, names: Array, values: Array, counts: Sequence[int]) -> SeenCells:
        """Read back digests in the order of their roles."""
        return cls(names, values, np.repeat(np.arange(3, dtype=np.uint8), counts))

    def roles(self, names: pd.Index, values: Array, *, comparable: bool = True) -> Array:
        """Role of each cell, (n,) uint8 positions in `ROLES`.

        `comparable`: whether all features of the model are there, so that equal cells have equal digests.
        """
        by_name = name_digests(names)
        found = np.full(len(names), NEW, dtype=np.uint8)
        own, place = _lookup(_joined(self.names, self.values), _joined(by_name, values))
        found[own] = self.role[place[own]]
        unaccounted = np.ones(len(self.names), dtype=bool)
        unaccounted[place[own]] = False
        self._add_renamed(found, own, values, unaccounted)
        if not comparable:
            named, place = _lookup(self.names, by_name)
            doubtful = named & (found == NEW)
            found[doubtful] = self.role[place[doubtful]]
        return found

    def _add_renamed(self, found: Array, own: Array, values: Array, unaccounted: Array) -> None:
        """Give the cells that have the values of a seen cell, which is not there by its name, that cell's role."""
        left = np.flatnonzero(unaccounted)
        if not len(left):
            return
        alike, place = _lookup(self.values[left], values)
        renamed = alike & ~own
        found[renamed] = self.role[left[place[renamed]]]


def name_digests(names: pd.Index) -> Array:
    """Digest of each name, (n,) uint32; the same in every session and on every machine."""
    return (pd.util.hash_array(np.asarray(names, dtype=object), categorize=False) >> np.uint64(32)).astype(np.uint32)


def feature_codes(features: Array) -> Array:
    """One number for each feature by its name, (d,) uint64: digests do not depend on the order of features."""
    return pd.util.hash_array(np.asarray(features, dtype=object), categorize=False).astype(np.uint64)


def value_digests(x: Matrix, codes: Array) -> Array:
    """Digest of each cell's values as float32, (n,) uint32: a sum over features that are not zero.

    Dense and sparse matrices of the same values have the same digests, whatever they are stored in.
    """
    if sparse.issparse(x):
        n, indptr = x.shape[0], x.indptr
        mixed = _mixed(x.data, codes[x.indices])
    else:
        x = np.asarray(x)
        row, column = np.nonzero(x)
        n, indptr = len(x), np.searchsorted(row, np.arange(len(x) + 1))
        mixed = _mixed(x[row, column], codes[column])
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)])  # wraps around, as it may
    total = sums[indptr[1:]] - sums[indptr[:-1]]
    return (_scrambled(total[:n]) >> np.uint64(32)).astype(np.uint32)


def _mixed(values: Array, codes: Array) -> Array:
    """One number for each value of each feature; 0 for zeros."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    bits = np.where(np.isnan(values), _MISSING, bits).astype(np.uint64)
    return np.where(values == 0, np.uint64(0), _scrambled(codes ^ (bits * np.uint64(0x9E3779B97F4A7C15))))


def _scrambled(x: Array) -> Array:
    """Spread the bits of 64-bit numbers (the finaliser of SplitMix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return x ^ (x >> np.uint64(27))


def _joined(names: Array, values: Array) -> Array:
    return names.astype(np.uint64) << np.uint64(32) | values


def _lookup(known: Array, asked: Array) -> tuple[Array, Array]:
    """Which of `asked` are in `known`, and where: the first place, which has the role that was learned from most."""
    order = np.argsort(known, kind="stable")
    place = np.searchsorted(known, asked, sorter=order)
    inside = place < len(known)
    place = order[np.where(inside, place, 0)] if len(known) else np.zeros(len(asked), dtype=int)
    return (inside & (known[place] == asked)) if len(known) else np.zeros(len(asked), dtype=bool), place

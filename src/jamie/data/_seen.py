"""Which cells a model has seen: names and values as digests of 4 bytes each, so that it knows them again.

Names alone do not tell: barcodes of two experiments coincide by chance, and samples get prefixes. Values alone do not
either: two cells may have the same few values. A cell is therefore known again by

1. its name and its values; else
2. its values, if a seen cell of these values is not otherwise there: its name was changed; or where hardly two seen
   cells have the same values: it is a copy; else
3. its name, where features that the model knows are missing, so that values cannot be compared, or where most cells
   whose names are known are known by their values too: those of this one were changed.

Values are rounded to 7 significant bits, so that those that were computed again, on another machine, are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from jamie._types import Array, Matrix

ROLES = ("train", "validation", "held-out", "new")
"""Of a cell to a model: learned from, chosen by, left alone though it was there, never met."""
TRAIN, VALIDATION, HELD_OUT, NEW = range(4)
IN_SAMPLE = "in-sample"
DISTINCT = 0.99
"""Share of seen cells with values of their own from which values alone tell a cell."""
_MISSING = np.uint32(0xFFFF)  # stands for NaN, of which there are many
_ROUNDED, _HALF = np.uint32(17), np.uint32(1 << 16)  # of the 23 bits of the fraction of a float32
AT_ONCE = 2**18  # values
_NOTHING = np.uint32(0)  # digest of a cell that has only zeros


def unseen_as(role: Array) -> str:
    """What cells are that a model did not see: ``"held-out"``, ``"new"``, or both; ``"in-sample"`` if it saw all."""
    return " and ".join(ROLES[kind] for kind in (HELD_OUT, NEW) if (role == kind).any()) or IN_SAMPLE


def role_codes(said: pd.Series) -> Array:
    """Positions in `ROLES` of roles as they are written to `.obs`, (n,); −1 for what is none."""
    return pd.Categorical(said.astype(str), categories=list(ROLES)).codes


def roles_of_pairs(role_a: Array, role_b: Array) -> Array:
    """What pairs are to a model, (n,): as the cell that it saw more of; of two unseen ones a new cell makes it new."""
    is_unseen = (role_a >= HELD_OUT) & (role_b >= HELD_OUT)
    return np.where(is_unseen, np.maximum(role_a, role_b), np.minimum(role_a, role_b))


def unseen_cells(role: Array) -> tuple[Array, str]:
    """Cells, or pairs, that a model did not see, (n,) bool, else all; and what these are."""
    unseen = role >= HELD_OUT
    if not unseen.any():
        return np.ones(len(unseen), dtype=bool), IN_SAMPLE
    return unseen, unseen_as(role[unseen])


def unseen_pairs(role_a: Array, role_b: Array) -> tuple[Array, str]:
    """Pairs of which a model saw neither cell, (n,) bool, else all; and what these are."""
    return unseen_cells(roles_of_pairs(role_a, role_b))


@dataclass(frozen=True)
class SeenCells:
    """The cells of one modality that were there when a model was trained, 8 bytes for each and one per modality.

    Attributes
    ----------
    names, values
        Digests, (n,) uint32: of the name, and of the values of the model's features.
    role
        Position in `ROLES`, (n,) uint8; the most learned from first.
    partners
        Whether the training knew a partner in each modality of the model, in its order, (n, m) uint8.
    """

    names: Array
    values: Array
    role: Array
    partners: Array

    @classmethod
    def of(cls, names: pd.Index, values: Array, role: Array, partners: Array) -> SeenCells:
        """Note cells by name, digest of values, role and where they had partners."""
        order = np.argsort(role, kind="stable")
        partners = partners.astype(np.uint8)
        return cls(name_digests(names)[order], values[order], role[order].astype(np.uint8), partners[order])

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many cells were learned from, chosen by and held out."""
        n_train, n_validation, n_held_out = np.bincount(self.role, minlength=3)
        return int(n_train), int(n_validation), int(n_held_out)

    @classmethod
    def from_counts(cls, names: Array, values: Array, counts: Sequence[int], partners: Array) -> SeenCells:
        """Read back digests in the order of their roles."""
        return cls(names, values, np.repeat(np.arange(3, dtype=np.uint8), counts), partners)

    def and_learned(self, names: pd.Index, values: Array, partners: Array) -> SeenCells:
        """The same, and more cells that were learned from."""
        return SeenCells(
            np.concatenate([name_digests(names), self.names]),
            np.concatenate([values, self.values]),
            np.concatenate([np.full(len(names), TRAIN, np.uint8), self.role]),
            np.concatenate([partners.astype(np.uint8), self.partners]),
        )

    def roles_at(self, places: Array) -> Array:
        """Role of the cells at these places, (n,) uint8 positions in `ROLES`."""
        return np.append(self.role, np.uint8(NEW))[places]

    def had_partner(self, places: Array, i: int) -> Array:
        """Whether the training knew a partner in the i-th modality of the cells at these places, (n,) bool."""
        return np.append(self.partners[:, i], np.uint8(0))[places].astype(bool)

    def places(self, names: pd.Index, values: Array, *, comparable: bool = True) -> Array:
        """Which seen cell each cell is, (n,) positions; −1 for one that was never met.

        `comparable`: whether all features of the model are there, so that equal cells have equal digests.
        """
        by_name = name_digests(names)
        found = np.full(len(names), -1)
        own, place = _lookup(_joined(self.names, self.values), _joined(by_name, values))
        found[own] = place[own]
        candidates = np.flatnonzero(self._known_by_values(place[own]))
        alike, place = _lookup(self.values[candidates], values)
        renamed = alike & ~own
        found[renamed] = candidates[place[renamed]]
        named, place = _lookup(self.names, by_name)
        doubtful = named & ~own & ~renamed
        if not comparable or own.sum() > doubtful.sum():
            found[doubtful] = place[doubtful]
        return found

    def _known_by_values(self, accounted: Array) -> Array:
        """Which seen cells are known by values alone, (n,) bool: those not there by name, or all that are distinct."""
        known = np.ones(len(self.values), dtype=bool)
        known[accounted] = False
        is_single = ~pd.Series(self.values).duplicated(keep=False).to_numpy()
        if is_single.sum() >= DISTINCT * len(self.values):
            known |= is_single & (self.values != _NOTHING)
        return known


def name_digests(names: pd.Index) -> Array:
    """Digest of each name, (n,) uint32; the same in every session and on every machine."""
    return (pd.util.hash_array(np.asarray(names, dtype=object), categorize=False) >> np.uint64(32)).astype(np.uint32)


def feature_codes(features: Array) -> Array:
    """One number for each feature by its name, (d,) uint64: digests do not depend on the order of features."""
    return pd.util.hash_array(np.asarray(features, dtype=object), categorize=False).astype(np.uint64)


def value_digests(x: Matrix, codes: Array) -> Array:
    """Digest of each cell's values, rounded, (n,) uint32: the sum over its features of code times value, scrambled.

    Dense and sparse matrices of the same values have the same digests, whatever they are stored in. Sums of 64 bits of
    whole numbers times codes that are random hardly ever agree, so that no more mixing is needed.
    """
    sums = np.empty(x.shape[0], dtype=np.uint64)
    for rows in _pieces(x):
        piece = x[rows]
        if sparse.issparse(piece):
            piece = sparse.csr_matrix((_rounded(piece.data), piece.indices, piece.indptr), piece.shape)
        else:
            piece = _rounded(piece)
        sums[rows] = piece @ codes  # wraps around, as it may
    return (_scrambled(sums) >> np.uint64(32)).astype(np.uint32)


def _pieces(x: Matrix) -> Iterator[slice]:
    """Cells whose values, as numbers of 64 bits, stay in the cache of a processor."""
    n = x.shape[0]
    step = max(1, AT_ONCE * n // max(x.nnz if sparse.issparse(x) else x.size, 1))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _rounded(values: Array) -> Array:
    """A whole number for each value, uint64: its leading bits, 0 for zeros."""
    values = np.asarray(values, dtype=np.float32) + np.float32(0)  # -0 is 0
    rounded = values.view(np.uint32)
    is_missing = np.isnan(values)
    rounded += _HALF
    rounded >>= _ROUNDED
    rounded[is_missing] = _MISSING
    return rounded.astype(np.uint64)


def _scrambled(x: Array) -> Array:
    """Spread the bits of 64-bit numbers (the finaliser of SplitMix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return x ^ (x >> np.uint64(27))


def _joined(names: Array, values: Array) -> Array:
    return names.astype(np.uint64) << np.uint64(32) | values


def _lookup(known: Array, asked: Array) -> tuple[Array, Array]:
    """Which of `asked` are in `known`, and where: the first place, which has the role that was learned from most."""
    first = np.flatnonzero(~pd.Series(known).duplicated().to_numpy())
    place = pd.Index(known[first].astype(np.uint64)).get_indexer(asked.astype(np.uint64))
    return place >= 0, first[place] if len(first) else np.zeros(len(asked), dtype=int)

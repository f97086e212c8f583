"""Correspondences as they are stored, and the pairs that they are scored against."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TypeAlias

import numpy as np
import pandas as pd
from scipy import sparse

from jamie._checks import require_option
from jamie._errors import InvalidValueError, MissingNameError
from jamie._settings import logger
from jamie._types import Array, Pair, Slot
from jamie.correspondence import from_mask, from_matrix, from_names, from_table, likeliest, normalised

from ._cells import CellPairs, Cells, require_several
from ._seen import IN_SAMPLE, unseen_pairs

Pairs: TypeAlias = pd.DataFrame | sparse.sparray | sparse.spmatrix | None
"""Pairs as users give them: a table of names, or a matrix of one modality's cells × the other's."""
SLOTS: dict[str, str] = {
    "inferred": "jm.pp.infer_correspondence(mdata)",
    "match": "jm.tl.match(mdata, source={!r}, target={!r})",
    "known": "jm.pp.correspondence(mdata, pairs=...)",
}
"""What writes each of them."""
UNKNOWN_PAIRS = "unknown pairs"
"""What those to score are where the model saw the cells, but was not told that they are partners."""


def correspondences(cells: Cells, slot: Slot) -> dict[Pair, sparse.csr_matrix]:
    """Probabilities of partners in the second (columns) for the cells of the first, by pair of modalities."""
    require_option(slot, SLOTS, name="slot")
    require_several(cells)
    by_pair, key = {}, getattr(cells.keys, slot)
    for a, b in combinations(cells.names, 2):
        f = cells.known(a, b) if slot == "known" else cells.stored_pairs(slot, a, b)
        if f is not None and not (np.isfinite(f.data).all() and (f.data >= 0).all()):
            msg = f"expected entries of at least 0 in `mdata.obsp[{key(a, b)!r}]`, found negative or infinite ones"
            raise InvalidValueError(msg)
        if f is not None and f.count_nonzero():
            by_pair[a, b] = normalised(f)
    if not by_pair:
        a, b = cells.names[:2]
        msg = (
            f"expected entries in `mdata.obsp[{key(a, b)!r}]`, found none; `mdata.obsp` has "
            f"{sorted(cells.mdata.obsp)}; call {SLOTS[slot].format(a, b)}"
        )
        raise MissingNameError(msg)
    return by_pair


def truth(cells: Cells, pair: Pair, pairs: Pairs = None) -> sparse.csr_matrix:
    """True pairs: those given, else those written by `pp.correspondence` and, for other cells, those of one name."""
    names = [cells.cells(name) for name in pair]
    if isinstance(pairs, pd.DataFrame):
        return from_table(pairs, *names, modalities=pair)
    if pairs is not None:
        return from_matrix(pairs, (len(names[0]), len(names[1])), names=(names[0], names[1]))
    named, written = from_names(*names), cells.stored_pairs("known", *pair)
    if written is None:
        return named
    unwritten = np.asarray(written.sum(axis=1)).ravel() == 0
    return sparse.csr_matrix(written + from_mask(named, unwritten, np.ones(len(names[1]), dtype=bool)))


def true_pairs(cells: Cells, pair: Pair, slot: Slot, pairs: Pairs) -> tuple[Array, Array, str]:
    """Rows of cells and of their likeliest true partners, and whether the correspondence was made without them."""
    rows, partners = likeliest(truth(cells, pair, pairs))
    given = np.asarray(_given(cells, pair, slot)[rows].sum(axis=1)).ravel() > 0
    if given.all():
        return rows, partners, "in-sample pairs"
    if given.any():
        logger.info("%d pairs of %r and %r were known to the correspondence and are left out", given.sum(), *pair)
    return rows[~given], partners[~given], "held-out pairs"


def pairs_to_score(cells: Cells, pairs: Pairs | Mapping[Pair, Pairs]) -> dict[Pair, CellPairs]:
    """Pairs of cells to learn from and to score, by pair of modalities; of those given, the ones not told to the model.

    The model remembers of which cells it knew a partner, whatever the MuData says of known pairs today. Of a cell with
    a known partner another pair says as much, so that it is left out as well.
    """
    every = list(combinations(cells.names, 2))
    if pairs is None:
        return {pair: cells.pairs(*pair) for pair in every}
    scored = {}
    for pair, of_pair in _by_modalities(cells, pairs).items():
        given = truth(cells, pair, of_pair)
        rows, columns = likeliest(given)
        left_out = cells.knew_partner(*pair)[rows] | cells.knew_partner(*pair[::-1])[columns]
        logger.info(
            "%d of the %d pairs of %r and %r that were given are scored; %d were left out, as the model was told a "
            "partner of a cell of theirs, and %d, as their cell has a likelier one among them",
            (~left_out).sum(), given.count_nonzero(), *pair, left_out.sum(), given.count_nonzero() - len(rows),
        )  # fmt: skip
        rows, columns = rows[~left_out], columns[~left_out]
        roles = [cells.role(name)[of] for name, of in zip(pair, (rows, columns), strict=True)]
        unseen, kind = unseen_pairs(*roles)
        kind = kind if len(rows) and unseen.all() and kind != IN_SAMPLE else UNKNOWN_PAIRS
        scored[pair] = CellPairs(cells.pairs(*pair).train, (rows, columns), kind)
    return scored


def _by_modalities(cells: Cells, pairs: Pairs | Mapping[Pair, Pairs]) -> dict[Pair, Pairs]:
    """Given pairs by pair of modalities: those of a mapping, those that a table's columns name, or the only two."""
    every = list(combinations(cells.names, 2))
    example = f"pass pairs={{{every[0]!r}: ...}}" if every else "train on two modalities or more"
    if isinstance(pairs, Mapping):
        by_pair = {}
        for pair, of_pair in pairs.items():
            if pair not in every and not (isinstance(pair, tuple) and pair[::-1] in every):
                msg = f"expected `pairs` by two modalities, each of {every} once, found {pair!r}; {example}"
                raise InvalidValueError(msg)
            by_pair[pair] = of_pair
        return by_pair
    named = [pair for pair in every if isinstance(pairs, pd.DataFrame) and set(pair) <= set(pairs.columns)]
    if len(every) > 1 and len(named) != 1:
        msg = f"expected to know the two modalities of `pairs`, of {every}; {example}, or name the table's columns so"
        raise InvalidValueError(msg)
    if not every:
        require_several(cells)
    return {(named or every)[0]: pairs}


def _given(cells: Cells, pair: Pair, slot: Slot) -> sparse.csr_matrix:
    """Pairs that the correspondence was made with: those of training cells."""
    uns, key = cells.mdata.uns, cells.keys.inferred
    about = uns.get(key(*pair), uns.get(key(*pair[::-1])))
    none = slot == "known"  # scored itself
    if slot == "inferred":
        recorded = isinstance(about, Mapping) and "n_pairs" in about
        none = int(about["n_pairs"]) == 0 if recorded else cells.stored_pairs("known", *pair) is None
    return cells.known_of_training(*pair) * (not none)

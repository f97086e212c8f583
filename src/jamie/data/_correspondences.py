"""Correspondences as they are stored, and the pairs that they are scored against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TypeAlias

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from jamie._checks import require_choice
from jamie._errors import InvalidValueError, MissingNameError
from jamie._keys import Keys
from jamie._settings import logger
from jamie._types import Array, Pair, Slot
from jamie.correspondence import from_mask, from_matrix, from_names, from_table, normalised

from ._container import known_pairs, modality_names, stored_pairs, training_cells

Pairs: TypeAlias = pd.DataFrame | sparse.sparray | sparse.spmatrix | None
"""Pairs as users give them: a table of names, or a matrix of one modality's cells × the other's."""
SLOTS: dict[str, str] = {
    "inferred": "jm.pp.infer_correspondence(mdata)",
    "match": "jm.tl.match(mdata, source={!r}, target={!r})",
    "known": "jm.pp.correspondence(mdata, pairs=...)",
}
"""What writes each of them."""


def correspondences(
    mdata: MuData, modalities: Sequence[str] | None, slot: Slot, keys: Keys
) -> dict[Pair, sparse.csr_matrix]:
    """Probabilities of partners in the second (columns) for the cells of the first, by pair of modalities."""
    require_choice(slot, SLOTS, name="slot")
    names = modality_names(mdata, modalities)
    by_pair = {}
    for a, b in combinations(names, 2):
        key = getattr(keys, slot)
        f = known_pairs(mdata, a, b, keys) if slot == "known" else stored_pairs(mdata, a, b, key)
        if f is not None and not (np.isfinite(f.data).all() and (f.data >= 0).all()):
            msg = f"expected entries of at least 0 in `mdata.obsp[{key(a, b)!r}]`, found negative or infinite ones"
            raise InvalidValueError(msg)
        if f is not None and f.count_nonzero():
            by_pair[a, b] = normalised(f)
    if not by_pair:
        a, b = names[:2]
        msg = (
            f"expected entries in `mdata.obsp[{getattr(keys, slot)(a, b)!r}]`, found none; `mdata.obsp` has "
            f"{sorted(mdata.obsp)}; call {SLOTS[slot].format(a, b)}"
        )
        raise MissingNameError(msg)
    return by_pair


def truth(mdata: MuData, pair: Pair, keys: Keys, pairs: Pairs = None) -> sparse.csr_matrix:
    """True pairs: those given, else those written by `pp.correspondence` and, for other cells, those of one name."""
    names = [mdata[name].obs_names for name in pair]
    if isinstance(pairs, pd.DataFrame):
        return from_table(pairs, *names, modalities=pair)
    if pairs is not None:
        return from_matrix(pairs, (len(names[0]), len(names[1])), names=(names[0], names[1]))
    named, written = from_names(*names), stored_pairs(mdata, *pair, keys.known)
    if written is None:
        return named
    unwritten = np.asarray(written.sum(axis=1)).ravel() == 0
    return sparse.csr_matrix(written + from_mask(named, unwritten, np.ones(len(names[1]), dtype=bool)))


def true_pairs(mdata: MuData, pair: Pair, slot: Slot, keys: Keys, pairs: Pairs) -> tuple[Array, Array, str]:
    """Rows of cells and of their likeliest true partners, and whether the correspondence was made without them."""
    known = truth(mdata, pair, keys, pairs)
    (cells,) = np.nonzero(np.asarray(known.sum(axis=1)).ravel() > 0)
    partners = np.asarray(known[cells].argmax(axis=1)).ravel() if len(cells) else cells
    given = np.asarray(_given(mdata, pair, slot, keys)[cells].sum(axis=1)).ravel() > 0
    if given.all():
        return cells, partners, "in-sample pairs"
    if given.any():
        logger.info("%d pairs of %r and %r were known to the correspondence and are left out", given.sum(), *pair)
    return cells[~given], partners[~given], "held-out pairs"


def _given(mdata: MuData, pair: Pair, slot: Slot, keys: Keys) -> sparse.csr_matrix:
    """Pairs that the correspondence was made with: those of training cells."""
    about = mdata.uns.get(keys.inferred(*pair), mdata.uns.get(keys.inferred(*pair[::-1])))
    used = known_pairs(mdata, *pair, keys)
    none = slot == "known"  # scored itself
    if slot == "inferred":
        recorded = isinstance(about, Mapping) and "n_pairs" in about
        none = int(about["n_pairs"]) == 0 if recorded else stored_pairs(mdata, *pair, keys.known) is None
    return from_mask(used * (not none), *(training_cells(mdata, name, keys) for name in pair))

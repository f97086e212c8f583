"""Inferred correspondence for a training: as it was written, or from the pairs where they are few."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from mudata import MuData
from scipy import sparse

from jamie._keys import Keys
from jamie._settings import logger
from jamie._types import Array, Pair
from jamie.correspondence import FEWEST_ANCHORS, MatchingProblem, enough, from_mask, infer, n_paired

from ._container import stored_pairs


def inferred_pairs(
    mdata: MuData,
    inputs: Mapping[str, Array],
    known: Mapping[Pair, sparse.csr_matrix],
    train: Mapping[str, Array],
    *,
    keys: Keys,
    infer_below: float,
    seed: int,
) -> dict[Pair, sparse.csr_matrix]:
    """F̃ of each two modalities that `pp.infer_correspondence` was called on, or that share few known pairs.

    Keys are ordered: the cells of the first ask, those of the second result. The modality with more cells to match
    asks, unless it was written otherwise. Few is: a smaller share of the training cells of either than `infer_below`,
    but enough for anchors. Without pairs nothing is inferred here: from geometry alone it can be wrong, and is left for
    the user to ask for. What is inferred here rests on the training cells alone, and is of them alone.
    """
    found = {}
    for (a, b), f in known.items():
        written = [pair for pair in ((a, b), (b, a)) if keys.inferred(*pair) in mdata.obsp]
        for rows, columns in written:
            matrix = stored_pairs(mdata, rows, columns, keys.inferred)
            if matrix is not None and matrix.nnz:
                found[rows, columns] = matrix
        seen = from_mask(f, train[a], train[b])
        paired = {a: np.diff(seen.indptr)[train[a]] > 0, b: np.diff(seen.tocsc().indptr)[train[b]] > 0}
        if written or min(side.mean() for side in paired.values()) >= infer_below:
            continue
        if n_paired(seen) < FEWEST_ANCHORS:
            if seen.nnz:
                logger.warning(
                    "only %d known pairs of %r and %r to join them by; call jm.pp.infer_correspondence(mdata) first to "
                    "train on inferred partners too",
                    seen.nnz,
                    a,
                    b,
                )
            continue
        asks, answers = (a, b) if (~paired[a]).sum() >= (~paired[b]).sum() else (b, a)
        found[asks, answers] = _by_anchors(inputs, train, seen if asks == a else seen.T.tocsr(), (asks, answers), seed)
        logger.info(
            "%d known pairs of %r and %r are few: partners of the other cells are inferred from them, and not written; "
            "call jm.pp.infer_correspondence(mdata) to keep and check them",
            seen.nnz,
            a,
            b,
        )
    return found


def _by_anchors(
    inputs: Mapping[str, Array], train: Mapping[str, Array], known: sparse.csr_matrix, pair: Pair, seed: int
) -> sparse.csr_matrix:
    """F̃ of the training cells of a pair of modalities, rows and columns of the others empty."""
    rows, columns = (np.flatnonzero(train[name]) for name in pair)
    problem = MatchingProblem(
        inputs[pair[0]][rows],
        inputs[pair[1]][columns],
        known=known[rows][:, columns],
        linked=None,
        n_keep=enough(len(columns)),
    )
    among = infer(problem, "anchors", np.random.default_rng(seed)).matrix.tocoo()
    return sparse.csr_matrix((among.data, (rows[among.row], columns[among.col])), shape=known.shape)

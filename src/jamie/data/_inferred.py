"""Inferred correspondence for a training: as it was written, or from the pairs where they are few."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from mudata import MuData
from scipy import sparse

from jamie._keys import Keys
from jamie._settings import logger
from jamie._types import Array, Pair
from jamie.correspondence import FEWEST_ANCHORS, Question, enough, from_mask, infer

from ._container import stored_pairs

N_STARTS = 16


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

    Few is: a smaller share of the training cells of either than `infer_below`, but enough for anchors. Without pairs
    nothing is inferred here: from geometry alone it can be wrong, and is left for the user to ask for. What is inferred
    here rests on the training cells alone, and is of them alone.
    """
    found = {}
    for (a, b), f in known.items():
        written = stored_pairs(mdata, a, b, keys.inferred)
        if written is not None:
            found[a, b] = written
            continue
        seen = from_mask(f, train[a], train[b])
        paired = [np.diff(side.indptr)[cells] > 0 for side, cells in ((seen, train[a]), (seen.T.tocsr(), train[b]))]
        if seen.nnz < FEWEST_ANCHORS or min(side.mean() for side in paired) >= infer_below:
            continue
        if all(side.all() for side in paired[:1]):  # every cell of a has its partner: nobody would ask
            continue
        rows, columns = np.flatnonzero(train[a]), np.flatnonzero(train[b])
        question = Question(
            inputs[a][rows],
            inputs[b][columns],
            known=seen[rows][:, columns],
            linked=None,
            n_keep=enough(len(columns)),
            cap=None,
            n_starts=N_STARTS,
        )
        among = infer(question, "anchors", np.random.default_rng(seed)).matrix.tocoo()
        found[a, b] = sparse.csr_matrix((among.data, (rows[among.row], columns[among.col])), shape=f.shape)
        logger.info(
            "%d known pairs of %r and %r are few: partners of the other cells are inferred from them, and not written; "
            "call jm.pp.infer_correspondence(mdata) to keep and check them",
            seen.nnz,
            a,
            b,
        )
    return found

"""Known pairs of a training, checked where they are few, and what is inferred from them for the other cells."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import sparse

from jamie._settings import logger
from jamie._types import Array, Pair
from jamie.correspondence import (
    FEWEST_ANCHORS,
    MatchingProblem,
    PairCheck,
    check_pairs,
    enough,
    from_mask,
    infer,
    mend_names,
    n_paired,
)

from ._cells import Cells

FEW = 0.5  # of the training cells of the smaller modality


def inferred_pairs(
    cells: Cells,
    inputs: Mapping[str, Array],
    known: Mapping[Pair, sparse.csr_matrix],
    train: Mapping[str, Array],
    *,
    infer_below: float,
    seed: int,
) -> dict[Pair, sparse.csr_matrix]:
    """F̃ of each two modalities that `pp.infer_correspondence` was called on, or that share few known pairs.

    Keys are ordered: rows are cells of the first, columns cells of the second. The first is the modality with more
    cells to match, unless it was written otherwise. Few is: a smaller share of the training cells of either than
    `infer_below`, but enough for anchors, and not refuted by their check. Without pairs nothing is inferred here: from
    geometry alone it can be wrong, and is left for the user to ask for. What is inferred here rests on the training
    cells alone, and is of them alone.
    """
    inferred: dict[Pair, sparse.csr_matrix] = {}
    checks = check_few_pairs(cells, inputs, known, train, few=max(FEW, infer_below), seed=seed)
    for (a, b), f in known.items():
        either_way = {(x, y): cells.written("inferred", x, y) for x, y in ((a, b), (b, a))}
        written = {pair: matrix for pair, matrix in either_way.items() if matrix is not None}
        inferred |= {pair: matrix for pair, matrix in written.items() if matrix.nnz}
        seen = from_mask(f, train[a], train[b])
        paired = _paired(seen, train[a], train[b])
        if written or min(side.mean() for side in paired) >= infer_below:
            continue
        if (a, b) not in checks:
            if seen.nnz:
                logger.warning(
                    "only %d known pairs of %r and %r to join them by, too few to tell whether they are right; call "
                    "jm.pp.infer_correspondence(mdata) first to train on inferred partners too",
                    seen.nnz, a, b,
                )  # fmt: skip
            continue
        if not checks[a, b].promising:
            logger.warning("no partners of the other cells of %r and %r are inferred from pairs like these", a, b)
            continue
        query, target = (a, b) if (~paired[0]).sum() >= (~paired[1]).sum() else (b, a)
        pairs = seen if query == a else seen.T.tocsr()
        inferred[query, target] = _by_anchors(inputs, train, pairs, (query, target), checks[a, b], seed)
        logger.info(
            "%d known pairs of %r and %r are few: partners of the other cells are inferred from them, and not written; "
            "call jm.pp.infer_correspondence(mdata) to keep and check them",
            seen.nnz, a, b,
        )  # fmt: skip
    return inferred


def check_few_pairs(
    cells: Cells,
    inputs: Mapping[str, Array],
    known: Mapping[Pair, sparse.csr_matrix],
    train: Mapping[str, Array],
    *,
    few: float,
    seed: int,
) -> dict[Pair, PairCheck]:
    """Check known pairs of training cells that may be none, log how they do, and warn of those that fail.

    Those are few pairs, and all pairs of cells that are named by their row: names 0, 1, 2, ... are shared whatever the
    cells are. Few is: fewer than this share of the training cells of either modality, but enough for anchors. It takes
    about half a second per two modalities. The pairs are used whatever comes out: the user may know better.
    """
    checks = {}
    for (a, b), pairs in known.items():
        seen = from_mask(pairs, train[a], train[b])
        given = cells.stored_pairs("known", a, b) is not None
        are_numbers = not given and _are_row_numbers(cells.cells(a)) and _are_row_numbers(cells.cells(b))
        if min(side.mean() for side in _paired(seen, train[a], train[b])) >= few and not are_numbers:
            continue
        if seen.nnz and not given:
            warn_of_names(cells.cells(a), cells.cells(b), (a, b))
        if n_paired(seen) >= FEWEST_ANCHORS:
            rows, columns = np.flatnonzero(train[a]), np.flatnonzero(train[b])
            check = check_pairs(
                inputs[a][rows], inputs[b][columns], seen[rows][:, columns], np.random.default_rng(seed)
            )
            checks[a, b] = check
            tell_check(check, (a, b), given=given)
    return checks


def tell_check(check: PairCheck, pair: Pair, *, given: bool) -> None:
    """Log how known pairs did; warn where they fail. `given` pairs were recorded by `pp.correspondence`."""
    source = "that jm.pp.correspondence recorded" if given else "that share a name"
    if check.verified:
        logger.info("the %d pairs of %r and %r %s are verified: %s", check.n_pairs, *pair, source, check)
        return
    remedy = (
        "look whether they are the same cells, and record more of them, of all types"
        if given
        else "names can coincide by chance; record pairs you are sure of with jm.pp.correspondence(mdata, pairs=...)"
    )
    logger.warning(
        "the %d pairs of %r and %r %s are unverified: %s; %s, name features that go together in "
        "jm.pp.infer_correspondence(mdata, linked=...), or compare labels with jm.tl.check_correspondence(mdata, "
        "labels=...)",
        check.n_pairs, *pair, source, check, remedy,
    )  # fmt: skip


def warn_of_names(rows: pd.Index, columns: pd.Index, pair: Pair) -> None:
    """Warn where few cells share a name and more would, were they written alike."""
    change = mend_names(rows, columns, pair)
    if change is not None:
        logger.warning("few cells of %r and %r share a name; %s", *pair, change)


def _are_row_numbers(names: pd.Index) -> bool:
    """Whether names are those that a table without names gets."""
    return bool((names == np.arange(len(names)).astype(str)).all())


def _paired(seen: sparse.csr_matrix, rows: Array, columns: Array) -> tuple[Array, Array]:
    """Which training cells of either side have a partner."""
    return np.diff(seen.indptr)[rows] > 0, np.diff(seen.tocsc().indptr)[columns] > 0


def _by_anchors(
    inputs: Mapping[str, Array],
    train: Mapping[str, Array],
    known: sparse.csr_matrix,
    pair: Pair,
    check: PairCheck,
    seed: int,
) -> sparse.csr_matrix:
    """F̃ of the training cells of a pair of modalities, rows and columns of the others empty."""
    rows, columns = (np.flatnonzero(train[name]) for name in pair)
    problem = MatchingProblem(
        inputs[pair[0]][rows],
        inputs[pair[1]][columns],
        known=known[rows][:, columns],
        linked=None,
        n_keep=enough(len(columns)),
        check=check,
    )
    among = infer(problem, "anchors", np.random.default_rng(seed)).matrix.tocoo()
    return sparse.csr_matrix((among.data, (rows[among.row], columns[among.col])), shape=known.shape)

"""Inferred correspondence F̃ (section 4.6): one question, and the ways to answer it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.model_selection import KFold

from jamie._types import Array

from ._anchors import anchored
from ._blend import with_known
from ._gromov import landmarks, place, solve
from ._known import n_paired
from ._linked import pseudo_pairs
from ._manifold import Manifold, manifold
from ._search import cap_columns, soft_matches
from ._unioncom import unioncom

Method = Literal["auto", "anchors", "gw", "unioncom", "linked"]
METHODS: tuple[str, ...] = get_args(Method)
FEWEST_ANCHORS = 10
FEWEST_CELLS = 3
MOST_DENSE = 5_000
N_DIMENSIONS = 30


@dataclass(frozen=True)
class Question:
    """What is known of two modalities, and how the answer should look.

    Attributes
    ----------
    x, y
        Prepared cells, (n_x, k) and (n_y, l).
    known
        Known pairs F, (n_x, n_y); may be empty.
    linked
        Linked features of both, standardised, (n_x, f) and (n_y, f).
    n_keep
        Entries of F̃ to keep a row.
    cap
        Whether columns are capped as in eq. 8; `None`: where the method takes the composition to be equal anyway.
    n_starts
        Starts of Gromov-Wasserstein and of the dense solver.
    """

    x: Array
    y: Array
    known: sparse.csr_matrix
    linked: tuple[Array, Array] | None
    n_keep: int
    cap: bool | None
    n_starts: int


@dataclass(frozen=True)
class Answer:
    """F̃ and how it was found: plain values that can be written to `.uns`."""

    matrix: sparse.csr_matrix
    report: dict[str, Any]


def enough(n_cells: int) -> int:
    """Partners to keep where nobody says: 50, or a tenth of the cells where they are few, so that there is a choice."""
    return int(np.clip(n_cells // 10, 5, 50))


def choose(question: Question) -> tuple[str, str]:
    """Method for what is known, and why."""
    n = n_paired(question.known)
    if n >= FEWEST_ANCHORS:
        return "anchors", f"{n} pairs are known"
    if question.linked is not None:
        return "linked", f"{n} pairs are known, fewer than {FEWEST_ANCHORS}, but {question.linked[0].shape[1]} features"
    return "gw", f"{n} pairs are known, fewer than {FEWEST_ANCHORS}, and no linked features"


def infer(question: Question, method: str, rng: np.random.Generator) -> Answer:
    """Answer by one of `METHODS` but ``"auto"``; rows of cells whose partner is known hold that partner."""
    fewest = min(len(question.x), len(question.y))
    if fewest < FEWEST_CELLS:
        msg = f"expected at least {FEWEST_CELLS} cells a modality, found {fewest}"
        raise ValueError(msg)
    answer = {"anchors": _by_anchors, "gw": _by_gromov, "unioncom": _dense, "linked": _by_links}[method](question, rng)
    capped = question.cap if question.cap is not None else method in ("gw", "unioncom")
    matrix = cap_columns(answer.matrix) if capped else answer.matrix
    matrix = with_known(matrix, question.known)
    column = np.asarray(matrix.sum(axis=0)).ravel()
    report = {
        "method": method,
        "n_pairs": int(question.known.nnz),
        "n_keep": question.n_keep,
        "capped": bool(capped),
        "largest_column_sum": float(column.max()),
        **answer.report,
    }
    return Answer(matrix, report)


def _by_anchors(question: Question, rng: np.random.Generator) -> Answer:
    if n_paired(question.known) < FEWEST_ANCHORS:
        msg = (
            f"expected at least {FEWEST_ANCHORS} known pairs for method='anchors', found "
            f"{n_paired(question.known)}; get more, or pass method='gw', which uses the few to choose"
        )
        raise ValueError(msg)
    sides = manifold(question.x, rng), manifold(question.y, rng)
    matrix = _anchored_matches(question, sides, question.known, rng)
    return Answer(matrix, {"verified": True, "objective": _cross_validated(question, sides, rng)})


def _by_links(question: Question, rng: np.random.Generator) -> Answer:
    if question.linked is None:
        msg = "expected `linked` features for method='linked', found none; pass linked= (a table of two name columns)"
        raise ValueError(msg)
    sides = manifold(question.x, rng), manifold(question.y, rng)
    found = pseudo_pairs(*question.linked, question.x, question.y, rng)
    if found.nnz < FEWEST_ANCHORS:
        msg = (
            f"expected at least {FEWEST_ANCHORS} mutual neighbours on the linked features, found {found.nnz}; link "
            "more features, or pass method='gw'"
        )
        raise ValueError(msg)
    matrix = _anchored_matches(question, sides, sparse.csr_matrix(found.maximum(question.known)), rng)
    return Answer(matrix, {"verified": False, "n_pseudo_pairs": int(found.nnz)})


def _by_gromov(question: Question, rng: np.random.Generator) -> Answer:
    sides = manifold(question.x, rng), manifold(question.y, rng)
    x, y = landmarks(sides[0], rng), landmarks(sides[1], rng)
    solution = solve(x, y, question.n_starts, rng)
    firsts = [int(np.argmax(solution.optimum == k)) for k in range(solution.optimum.max() + 1)]
    places = [place(x, y, solution.plans[first]) for first in (firsts if question.known.nnz else firsts[:1])]
    chosen = 0
    if question.known.nnz:  # too few pairs for anchors can still tell a mirror image from the original
        pairs = question.known.tocoo()
        ends = [s.nearest[e, 0] for s, e in zip(sides, (pairs.row, pairs.col), strict=True)]
        apart = [
            np.linalg.norm(p.x[ends[0]] - p.y[ends[1]], axis=1).mean() / np.linalg.norm(p.x.std(0)) for p in places
        ]
        chosen = int(np.argmin(apart))
    reduced = _reduced(places[chosen].x, places[chosen].y, sides)
    report = {
        "verified": False,
        "objective": float(solution.objectives[firsts[chosen]]),
        "gap": solution.gap,
        "agreement": solution.agreement,
        "n_starts": question.n_starts,
        "n_optima": len(firsts),
        "chosen_by": "pairs" if question.known.nnz else "objective",
    }
    return Answer(soft_matches(*reduced, question.n_keep, rng), report)


def _dense(question: Question, rng: np.random.Generator) -> Answer:
    most = max(len(question.x), len(question.y))
    if most > MOST_DENSE:
        msg = f"expected at most {MOST_DENSE} cells a modality for method='unioncom', found {most}; pass method='gw'"
        raise ValueError(msg)
    distances = []
    for z in (question.x, question.y):
        graph = manifold(z, rng)
        distances.append(graph.geodesic(np.arange(len(z))))
    solution = unioncom(*(d / d.mean() for d in distances), n_starts=question.n_starts, rng=rng)
    report = {"verified": False, "objective": float(solution.objective), "n_starts": question.n_starts}
    return Answer(_largest(solution.plan, question.n_keep), report)


def _anchored_matches(
    question: Question, sides: tuple[Manifold, Manifold], known: sparse.csr_matrix, rng: np.random.Generator
) -> sparse.csr_matrix:
    return soft_matches(*anchored(question.x, question.y, sides, known, rng), question.n_keep, rng)


def _cross_validated(question: Question, sides: tuple[Manifold, Manifold], rng: np.random.Generator) -> float:
    """Share of cells closer than the true partner, of pairs left out of the anchors in turn; chance is 0.5."""
    pairs = question.known.tocoo()
    some = rng.permutation(pairs.nnz)[:500]
    scores = []
    for fitted, held in KFold(5).split(some):
        kept = some[fitted]
        f = sparse.csr_matrix((pairs.data[kept], (pairs.row[kept], pairs.col[kept])), shape=pairs.shape)
        ends = pairs.row[some[held]], pairs.col[some[held]]
        apart = cdist(*anchored(question.x, question.y, sides, f, rng, rows=ends))
        n = len(held)
        scores.append((apart < apart.diagonal()[:, None]).sum() / (n * (n - 1)))
    return float(np.mean(scores))


def _reduced(x: Array, y: Array, sides: tuple[Manifold, Manifold]) -> tuple[Array, Array]:
    """Principal components of the nodes' common coordinates, interpolated to the cells."""
    pca = PCA(min(N_DIMENSIONS, *np.vstack([x, y]).shape), svd_solver="covariance_eigh").fit(np.vstack([x, y]))
    return tuple(side.at_cells(pca.transform(z)) for side, z in zip(sides, (x, y), strict=True))  # type: ignore


def _largest(plan: Array, n_keep: int) -> sparse.csr_matrix:
    """The `n_keep` largest entries of each row, scaled to sum to 1."""
    n_keep = min(n_keep, plan.shape[1])
    partner = np.argpartition(-plan, n_keep - 1, axis=1)[:, :n_keep]
    values = np.take_along_axis(plan, partner, 1)
    values = (values / values.sum(1, keepdims=True).clip(1e-300)).astype(np.float32)
    starts = np.arange(len(plan) + 1) * n_keep
    return sparse.csr_matrix((values.ravel(), partner.ravel(), starts), shape=plan.shape)

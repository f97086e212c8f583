"""Four ways to infer a correspondence."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.model_selection import KFold

from jamie._errors import InvalidValueError
from jamie._types import Array

from ._anchors import anchored
from ._gromov import landmarks, place, solve
from ._known import n_paired
from ._linked import pseudo_pairs
from ._manifold import Manifold, manifold
from ._problem import MatchingProblem, MatchingResult
from ._search import from_rows, soft_matches
from ._unioncom import unioncom

FEWEST_ANCHORS = 10
MOST_DENSE = 5_000
N_DIMENSIONS = 30


def by_anchors(problem: MatchingProblem, rng: np.random.Generator) -> MatchingResult:
    """Nearness to the known pairs; the objective is measured on pairs left out in turn."""
    if n_paired(problem.known) < FEWEST_ANCHORS:
        msg = (
            f"expected at least {FEWEST_ANCHORS} known pairs for method='anchors', found "
            f"{n_paired(problem.known)}; get more, or pass method='gw', which uses the few to choose"
        )
        raise InvalidValueError(msg)
    sides = manifold(problem.x, rng), manifold(problem.y, rng)
    matrix = _anchored_matches(problem, sides, problem.known, rng)
    return MatchingResult(matrix, {"verified": True, "objective": _cross_validated(problem, sides, rng)})


def by_links(problem: MatchingProblem, rng: np.random.Generator) -> MatchingResult:
    """Mutual neighbours on linked features as pairs, then anchors."""
    if problem.linked is None:
        msg = "expected `linked` features for method='linked', found none; pass linked= (a table of two name columns)"
        raise InvalidValueError(msg)
    sides = manifold(problem.x, rng), manifold(problem.y, rng)
    found = pseudo_pairs(*problem.linked, problem.x, problem.y, rng)
    if found.nnz < FEWEST_ANCHORS:
        msg = (
            f"expected at least {FEWEST_ANCHORS} mutual neighbours on the linked features, found {found.nnz}; link "
            "more features, or pass method='gw'"
        )
        raise InvalidValueError(msg)
    matrix = _anchored_matches(problem, sides, sparse.csr_matrix(found.maximum(problem.known)), rng)
    return MatchingResult(matrix, {"verified": False, "n_pseudo_pairs": int(found.nnz)})


def by_gromov(problem: MatchingProblem, rng: np.random.Generator) -> MatchingResult:
    """Landmarks laid on each other so that distances agree; a few pairs choose among the optima."""
    sides = manifold(problem.x, rng), manifold(problem.y, rng)
    x, y = landmarks(sides[0], rng), landmarks(sides[1], rng)
    solution = solve(x, y, problem.n_starts, rng)
    firsts = [int(np.argmax(solution.optimum == k)) for k in range(solution.optimum.max() + 1)]
    places = [place(x, y, solution.plans[first]) for first in (firsts if problem.known.nnz else firsts[:1])]
    chosen = 0
    if problem.known.nnz:  # too few pairs for anchors can still tell a mirror image from the original
        pairs = problem.known.tocoo()
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
        "n_starts": problem.n_starts,
        "n_optima": len(firsts),
        "chosen_by": "pairs" if problem.known.nnz else "objective",
    }
    return MatchingResult(soft_matches(*reduced, problem.n_keep, rng), report)


def by_equation_8(problem: MatchingProblem, rng: np.random.Generator) -> MatchingResult:
    """Eq. 8 as published, between all cells."""
    most = max(len(problem.x), len(problem.y))
    if most > MOST_DENSE:
        msg = f"expected at most {MOST_DENSE} cells a modality for method='unioncom', found {most}; pass method='gw'"
        raise InvalidValueError(msg)
    distances = []
    for z in (problem.x, problem.y):
        graph = manifold(z, rng)
        distances.append(graph.geodesic(np.arange(len(z))))
    solution = unioncom(*(d / d.mean() for d in distances), n_starts=problem.n_starts, rng=rng)
    report = {"verified": False, "objective": float(solution.objective), "n_starts": problem.n_starts}
    return MatchingResult(_largest(solution.plan, problem.n_keep), report)


def _anchored_matches(
    problem: MatchingProblem, sides: tuple[Manifold, Manifold], known: sparse.csr_matrix, rng: np.random.Generator
) -> sparse.csr_matrix:
    return soft_matches(*anchored(problem.x, problem.y, sides, known, rng), problem.n_keep, rng)


def _cross_validated(problem: MatchingProblem, sides: tuple[Manifold, Manifold], rng: np.random.Generator) -> float:
    """Share of cells closer than the true partner, of pairs left out of the anchors in turn; chance is 0.5."""
    pairs = problem.known.tocoo()
    some = rng.permutation(pairs.nnz)[:500]
    scores = []
    for fitted, held in KFold(5).split(some):
        kept = some[fitted]
        f = sparse.csr_matrix((pairs.data[kept], (pairs.row[kept], pairs.col[kept])), shape=pairs.shape)
        ends = pairs.row[some[held]], pairs.col[some[held]]
        apart = cdist(*anchored(problem.x, problem.y, sides, f, rng, rows=ends))
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
    return from_rows(values, partner, plan.shape[1])

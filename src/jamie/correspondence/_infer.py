"""Inferred correspondence F̃ (section 4.6): what is asked, four ways to find it, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from scipy import sparse
from sklearn.decomposition import PCA

from jamie._errors import InvalidValueError
from jamie._types import Array

from ._anchors import anchored
from ._gromov import landmarks, place, solve
from ._known import n_paired, with_known
from ._linked import pseudo_pairs
from ._manifold import Manifold, manifold
from ._pair_check import PairCheck, check_pairs
from ._search import cap_columns, from_rows, soft_matches
from ._unioncom import unioncom

Method = Literal["auto", "anchors", "gw", "unioncom", "linked"]
METHODS: tuple[str, ...] = get_args(Method)
FEWEST_ANCHORS = 10
FEWEST_CELLS = 3
MOST_DENSE = 5_000
N_DIMENSIONS = 30


@dataclass(frozen=True)
class MatchingProblem:
    """What is known of two modalities, and how the result should look.

    Attributes
    ----------
    x, y
        Prepared cells, (n_x, k) and (n_y, l).
    known
        Known pairs F, (n_x, n_y); may be empty.
    linked
        Linked features of both, standardised, (n_x, f) and (n_y, f).
    n_keep
        Entries of F̃ to keep per row.
    cap
        Whether columns are capped as in eq. 8; `None`: where the method takes the composition to be equal anyway.
    n_starts
        Starts of Gromov-Wasserstein and of the dense solver.
    check
        What :func:`check_pairs` says of the known pairs; `anchors` asks it where this is `None`.
    """

    x: Array
    y: Array
    known: sparse.csr_matrix
    linked: tuple[Array, Array] | None
    n_keep: int
    cap: bool | None = None
    n_starts: int = 16
    check: PairCheck | None = None


@dataclass(frozen=True)
class Evidence:
    """What speaks for an inferred correspondence; `None` where the method has no such figure.

    Attributes
    ----------
    objective
        Of `gw` and `unioncom`, that of eq. 8; that of `anchors` is in `check`.
    check
        Of `anchors`: the known pairs, left out in turn.
    n_pseudo_pairs
        Of `linked`: mutual neighbours on the linked features.
    n_starts, n_optima, gap, agreement, chosen_by
        Of `gw`: starts, the distinct optima they reached, how much worse the second-best is, the share of the starts
        that reached the best, and whether pairs or the objective chose among them. `unioncom` has starts only.
    """

    objective: float | None = None
    check: PairCheck | None = None
    n_pseudo_pairs: int | None = None
    n_starts: int | None = None
    n_optima: int | None = None
    gap: float | None = None
    agreement: float | None = None
    chosen_by: str | None = None

    @property
    def verified(self) -> bool:
        """Whether known pairs confirm the correspondence: geometry and linked features never do."""
        return self.check is not None and self.check.verified


@dataclass(frozen=True)
class MatchingReport:
    """How a correspondence was found.

    Attributes
    ----------
    method
        One of `METHODS` but ``"auto"``.
    n_pairs
        Known pairs.
    n_keep
        Entries that were to be kept per row.
    capped
        Whether columns were capped as in eq. 8.
    largest_column_sum
        Most that cells of x give to one cell of y.
    evidence
        What speaks for it.
    """

    method: str
    n_pairs: int
    n_keep: int
    capped: bool
    largest_column_sum: float
    evidence: Evidence

    @property
    def verified(self) -> bool:
        """Whether known pairs confirm it."""
        return self.evidence.verified

    def to_dict(self) -> dict[str, bool | int | float | str]:
        """Return all figures by name, in one level, as `.uns` can hold them."""
        common, evidence = asdict(self), asdict(self.evidence)
        check = {} if self.evidence.check is None else self.evidence.check.to_dict()
        own = {**evidence, **check}
        del common["evidence"], own["check"]
        return {**{k: v for k, v in own.items() if v is not None}, **common, "verified": self.verified}


@dataclass(frozen=True)
class MatchingResult:
    """F̃ (n_x, n_y), rows of probabilities, and how it was found."""

    matrix: sparse.csr_matrix
    report: MatchingReport


class Choice(NamedTuple):
    """A method, and why that one."""

    method: str
    why: str


def enough(n_cells: int) -> int:
    """Partners to keep where nobody says: 50, or a tenth of the cells where they are few, so that there is a choice."""
    return int(np.clip(n_cells // 10, 5, 50))


def choose(problem: MatchingProblem) -> Choice:
    """Take the first method that has what it needs: pairs that fail their check give way to linked features."""
    n = n_paired(problem.known)
    failed = problem.check is not None and not problem.check.verified
    if n >= FEWEST_ANCHORS and not (failed and problem.linked is not None):
        return Choice("anchors", f"{n} pairs are known")
    short = "which fail their check" if n >= FEWEST_ANCHORS else f"fewer than {FEWEST_ANCHORS}"
    if problem.linked is not None:
        return Choice("linked", f"{n} pairs are known, {short}, but {problem.linked[0].shape[1]} features")
    return Choice("gw", f"{n} pairs are known, {short}, and no linked features")


def infer(problem: MatchingProblem, method: str, rng: np.random.Generator) -> MatchingResult:
    """Find F̃ by one of `METHODS` but ``"auto"``; rows of cells whose partner is known hold that partner."""
    fewest = min(len(problem.x), len(problem.y))
    if fewest < FEWEST_CELLS:
        msg = f"expected at least {FEWEST_CELLS} cells in each modality, found {fewest}"
        raise InvalidValueError(msg)
    matrix, evidence = INFERRED_BY[method](problem, rng)
    capped = problem.cap if problem.cap is not None else method in ("gw", "unioncom")
    matrix = with_known(cap_columns(matrix) if capped else matrix, problem.known)
    column = np.asarray(matrix.sum(axis=0)).ravel()
    report = MatchingReport(method, int(problem.known.nnz), problem.n_keep, bool(capped), float(column.max()), evidence)
    return MatchingResult(matrix, report)


def by_anchors(problem: MatchingProblem, rng: np.random.Generator) -> tuple[sparse.csr_matrix, Evidence]:
    """Nearness to the known pairs, which are left out in turn to check them."""
    if n_paired(problem.known) < FEWEST_ANCHORS:
        msg = (
            f"expected at least {FEWEST_ANCHORS} known pairs for method='anchors', found "
            f"{n_paired(problem.known)}; get more, or pass method='gw', which uses the few to choose"
        )
        raise InvalidValueError(msg)
    sides = manifold(problem.x, rng), manifold(problem.y, rng)
    matrix = _anchored_matches(problem, sides, problem.known, rng)
    return matrix, Evidence(check=problem.check or check_pairs(problem.x, problem.y, problem.known, rng))


def by_links(problem: MatchingProblem, rng: np.random.Generator) -> tuple[sparse.csr_matrix, Evidence]:
    """Mutual neighbours on linked features as pairs, then anchors."""
    if problem.linked is None:
        msg = "expected `linked` features for method='linked', found none; pass linked= (a table of two name columns)"
        raise InvalidValueError(msg)
    sides = manifold(problem.x, rng), manifold(problem.y, rng)
    pseudo = pseudo_pairs(*problem.linked, problem.x, problem.y, rng)
    if pseudo.nnz < FEWEST_ANCHORS:
        msg = (
            f"expected at least {FEWEST_ANCHORS} mutual neighbours on the linked features, found {pseudo.nnz}; link "
            "more features, or pass method='gw'"
        )
        raise InvalidValueError(msg)
    matrix = _anchored_matches(problem, sides, sparse.csr_matrix(pseudo.maximum(problem.known)), rng)
    return matrix, Evidence(n_pseudo_pairs=int(pseudo.nnz))


def by_gromov(problem: MatchingProblem, rng: np.random.Generator) -> tuple[sparse.csr_matrix, Evidence]:
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
    evidence = Evidence(
        objective=float(solution.objectives[firsts[chosen]]),
        n_starts=problem.n_starts,
        n_optima=len(firsts),
        gap=solution.gap,
        agreement=solution.agreement,
        chosen_by="pairs" if problem.known.nnz else "objective",
    )
    return soft_matches(*reduced, problem.n_keep, rng), evidence


def by_equation_8(problem: MatchingProblem, rng: np.random.Generator) -> tuple[sparse.csr_matrix, Evidence]:
    """Eq. 8 as published, between all cells."""
    most = max(len(problem.x), len(problem.y))
    if most > MOST_DENSE:
        msg = (
            f"expected at most {MOST_DENSE} cells in each modality for method='unioncom', found {most}; pass "
            "method='gw'"
        )
        raise InvalidValueError(msg)
    distances = []
    for z in (problem.x, problem.y):
        graph = manifold(z, rng)
        distances.append(graph.geodesic(np.arange(len(z))))
    solution = unioncom(*(d / d.mean() for d in distances), n_starts=problem.n_starts, rng=rng)
    evidence = Evidence(objective=float(solution.objective), n_starts=problem.n_starts)
    return _largest(solution.plan, problem.n_keep), evidence


INFERRED_BY: dict[str, Callable[[MatchingProblem, np.random.Generator], tuple[sparse.csr_matrix, Evidence]]] = {
    "anchors": by_anchors,
    "gw": by_gromov,
    "unioncom": by_equation_8,
    "linked": by_links,
}


def _anchored_matches(
    problem: MatchingProblem, sides: tuple[Manifold, Manifold], known: sparse.csr_matrix, rng: np.random.Generator
) -> sparse.csr_matrix:
    return soft_matches(*anchored(problem.x, problem.y, sides, known, rng), problem.n_keep, rng)


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

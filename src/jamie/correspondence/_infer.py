"""Inferred correspondence F̃ (section 4.6): which method, and its result with what is known put in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from jamie._errors import InvalidValueError

from ._blend import with_known
from ._known import n_paired
from ._methods import FEWEST_ANCHORS, by_anchors, by_equation_8, by_gromov, by_links
from ._problem import MatchingProblem, MatchingResult
from ._search import cap_columns

Method = Literal["auto", "anchors", "gw", "unioncom", "linked"]
METHODS: tuple[str, ...] = get_args(Method)
INFERRED_BY: dict[str, Callable[[MatchingProblem, np.random.Generator], MatchingResult]] = {
    "anchors": by_anchors,
    "gw": by_gromov,
    "unioncom": by_equation_8,
    "linked": by_links,
}
FEWEST_CELLS = 3


def enough(n_cells: int) -> int:
    """Partners to keep where nobody says: 50, or a tenth of the cells where they are few, so that there is a choice."""
    return int(np.clip(n_cells // 10, 5, 50))


def choose(problem: MatchingProblem) -> tuple[str, str]:
    """Method for what is known, and why."""
    n = n_paired(problem.known)
    if n >= FEWEST_ANCHORS:
        return "anchors", f"{n} pairs are known"
    if problem.linked is not None:
        return "linked", f"{n} pairs are known, fewer than {FEWEST_ANCHORS}, but {problem.linked[0].shape[1]} features"
    return "gw", f"{n} pairs are known, fewer than {FEWEST_ANCHORS}, and no linked features"


def infer(problem: MatchingProblem, method: str, rng: np.random.Generator) -> MatchingResult:
    """MatchingResult by one of `METHODS` but ``"auto"``; rows of cells whose partner is known hold that partner."""
    fewest = min(len(problem.x), len(problem.y))
    if fewest < FEWEST_CELLS:
        msg = f"expected at least {FEWEST_CELLS} cells a modality, found {fewest}"
        raise InvalidValueError(msg)
    result = INFERRED_BY[method](problem, rng)
    capped = problem.cap if problem.cap is not None else method in ("gw", "unioncom")
    matrix = cap_columns(result.matrix) if capped else result.matrix
    matrix = with_known(matrix, problem.known)
    column = np.asarray(matrix.sum(axis=0)).ravel()
    report = {
        "method": method,
        "n_pairs": int(problem.known.nnz),
        "n_keep": problem.n_keep,
        "capped": bool(capped),
        "largest_column_sum": float(column.max()),
        **result.report,
    }
    return MatchingResult(matrix, report)

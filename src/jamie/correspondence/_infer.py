"""Inferred correspondence F̃ (section 4.6): which method, and its answer with what is known put in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from ._blend import with_known
from ._known import n_paired
from ._methods import FEWEST_ANCHORS, by_anchors, by_equation_8, by_gromov, by_links
from ._question import Answer, Question
from ._search import cap_columns

Method = Literal["auto", "anchors", "gw", "unioncom", "linked"]
METHODS: tuple[str, ...] = get_args(Method)
ANSWERED_BY: dict[str, Callable[[Question, np.random.Generator], Answer]] = {
    "anchors": by_anchors,
    "gw": by_gromov,
    "unioncom": by_equation_8,
    "linked": by_links,
}
FEWEST_CELLS = 3


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
    answer = ANSWERED_BY[method](question, rng)
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

"""Who matches whom: arrays in, CSR out."""

from __future__ import annotations

from ._infer import FEWEST_ANCHORS, METHODS, Answer, Method, Question, choose, enough, infer
from ._known import cap_rows, from_column, from_mask, from_matrix, from_names, from_table, n_paired

__all__ = [
    "FEWEST_ANCHORS",
    "METHODS",
    "Answer",
    "Method",
    "Question",
    "cap_rows",
    "choose",
    "enough",
    "from_column",
    "from_mask",
    "from_matrix",
    "from_names",
    "from_table",
    "infer",
    "n_paired",
]

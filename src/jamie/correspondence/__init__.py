"""Who matches whom: arrays in, CSR out."""

from __future__ import annotations

from ._infer import METHODS, Method, choose, enough, infer
from ._known import cap_rows, from_column, from_mask, from_matrix, from_names, from_table, n_paired
from ._methods import FEWEST_ANCHORS
from ._problem import MatchingProblem, MatchingResult
from ._score import binned, label_mass, normalised

__all__ = [
    "FEWEST_ANCHORS",
    "METHODS",
    "MatchingProblem",
    "MatchingResult",
    "Method",
    "binned",
    "cap_rows",
    "choose",
    "enough",
    "from_column",
    "from_mask",
    "from_matrix",
    "from_names",
    "from_table",
    "infer",
    "label_mass",
    "n_paired",
    "normalised",
]

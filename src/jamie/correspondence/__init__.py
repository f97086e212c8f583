"""Who matches whom: arrays in, CSR out."""

from __future__ import annotations

from ._infer import (
    FEWEST_ANCHORS,
    METHODS,
    Evidence,
    MatchingProblem,
    MatchingReport,
    MatchingResult,
    Method,
    choose,
    enough,
    infer,
)
from ._known import cap_rows, from_column, from_mask, from_matrix, from_names, from_table, likeliest, n_paired
from ._names import NameChange, mend_names, nothing_shared
from ._nearest import nearest, nearest_partners
from ._pair_check import PairCheck, check_pairs
from ._score import (
    Score,
    binned,
    by_features,
    by_labels,
    by_pairs,
    by_position,
    label_mass,
    normalised,
    without_truth,
)
from ._temperature import probability_of_first, temperature

__all__ = [
    "FEWEST_ANCHORS",
    "METHODS",
    "Evidence",
    "MatchingProblem",
    "MatchingReport",
    "MatchingResult",
    "Method",
    "NameChange",
    "PairCheck",
    "Score",
    "binned",
    "by_features",
    "by_labels",
    "by_pairs",
    "by_position",
    "cap_rows",
    "check_pairs",
    "choose",
    "enough",
    "from_column",
    "from_mask",
    "from_matrix",
    "from_names",
    "from_table",
    "infer",
    "label_mass",
    "likeliest",
    "mend_names",
    "n_paired",
    "nearest",
    "nearest_partners",
    "normalised",
    "nothing_shared",
    "probability_of_first",
    "temperature",
    "without_truth",
]

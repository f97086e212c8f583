"""The estimator that holds what was learned."""

from __future__ import annotations

from ._explain import AllCells, Cells, Head, contributions, feature_head, outputs
from ._jamie import JAMIE
from ._knockout import knocked_out
from ._shap import shap_contributions
from ._summary import announce

__all__ = [
    "JAMIE",
    "AllCells",
    "Cells",
    "Head",
    "announce",
    "contributions",
    "feature_head",
    "knocked_out",
    "outputs",
    "shap_contributions",
]

"""Results from slots: tidy objects, so that nobody parses `.uns`; the numbers behind every figure."""

from __future__ import annotations

from ._agreement import agreement
from ._alignment import alignment
from ._calibration import calibration
from ._comparison import comparison
from ._correspondence import correspondence
from ._diagnosis import diagnosis
from ._embedding import embedding
from ._enrichment import enrichment
from ._evaluation import evaluation
from ._explanation import explanation
from ._history import history
from ._importance import importance
from ._imputed import imputed
from ._imputed_features import imputed_features
from ._inputs import inputs
from ._js_distances import js_distances
from ._knockout import knockout
from ._knockout_by_distance import knockout_by_distance
from ._links import links
from ._provenance import provenance
from ._reliability import reliability
from ._scores import scores
from ._shap_values import shap_values
from ._summary import summary

__all__ = [
    "agreement",
    "alignment",
    "calibration",
    "comparison",
    "correspondence",
    "diagnosis",
    "embedding",
    "enrichment",
    "evaluation",
    "explanation",
    "history",
    "importance",
    "imputed",
    "imputed_features",
    "inputs",
    "js_distances",
    "knockout",
    "knockout_by_distance",
    "links",
    "provenance",
    "reliability",
    "scores",
    "shap_values",
    "summary",
]

"""Plots: read slots, draw, return the Axes or the Figure."""

from __future__ import annotations

from ._alignment import alignment
from ._calibration import calibration
from ._correspondence import correspondence
from ._distributions import distributions
from ._embedding import embedding
from ._history import history
from ._importance import importance
from ._imputation import imputation
from ._js_distances import js_distances
from ._knockout import knockout
from ._knockout_by_distance import knockout_by_distance
from ._links import links
from ._metrics import metrics
from ._reliability import reliability
from ._report import is_report as is_report
from ._report import report

__all__ = [
    "alignment",
    "calibration",
    "correspondence",
    "distributions",
    "embedding",
    "history",
    "importance",
    "imputation",
    "js_distances",
    "knockout",
    "knockout_by_distance",
    "links",
    "metrics",
    "reliability",
    "report",
]

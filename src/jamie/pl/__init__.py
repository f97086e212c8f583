"""Plots: read slots, draw, return the Axes or the Figure."""

from __future__ import annotations

from ._correspondence import correspondence
from ._embedding import embedding
from ._history import history
from ._imputation import imputation
from ._metrics import metrics

__all__ = ["correspondence", "embedding", "history", "imputation", "metrics"]

"""Results from slots: tidy objects, so that nobody parses `.uns`."""

from __future__ import annotations

from ._comparison import comparison
from ._evaluation import evaluation
from ._explanation import explanation, shap_values
from ._history import history
from ._imputed import imputed

__all__ = ["comparison", "evaluation", "explanation", "history", "imputed", "shap_values"]

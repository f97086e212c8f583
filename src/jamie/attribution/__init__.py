"""What a model's predictions rest on: contributions, knock-outs and their measures."""

from __future__ import annotations

from ._contributions import AllCells, Cells, Contribution, Readout, contributions, feature_readout, outputs
from ._knockout import knocked_out
from ._measures import NEIGHBORS, WORSE, Correlation, Foscttm, LabelLikelihood, LabelTransfer, Measure
from ._shap import shap_contributions

__all__ = [
    "NEIGHBORS",
    "WORSE",
    "AllCells",
    "Cells",
    "Contribution",
    "Correlation",
    "Foscttm",
    "LabelLikelihood",
    "LabelTransfer",
    "Measure",
    "Readout",
    "contributions",
    "feature_readout",
    "knocked_out",
    "outputs",
    "shap_contributions",
]

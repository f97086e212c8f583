"""What a model's predictions rest on: contributions, knock-outs, links of regions and genes. Arrays in, arrays out."""

from __future__ import annotations

from ._contributions import Contribution, PreparedCells, Readout, SourceCells, contributions, feature_readout, outputs
from ._explained import (
    Explained,
    Gathered,
    chosen_cells,
    explained_features,
    explained_labels,
    explained_latents,
    gathered,
)
from ._judge import (
    LABEL_MEASURES,
    WORSE,
    Judge,
    JudgedCells,
    by_correlation,
    by_latents,
    labelled_cells,
    one_tailed,
    paired_cells,
)
from ._knockout import Groups, feature_sets, knocked_out, random_sets
from ._links import losses_of_pairs, partial_correlation, shap_of_pairs
from ._measures import Correlation, Foscttm, LabelLikelihood, LabelTransfer, Measure
from ._shap import shap_contributions

__all__ = [
    "LABEL_MEASURES",
    "WORSE",
    "Contribution",
    "Correlation",
    "Explained",
    "Foscttm",
    "Gathered",
    "Groups",
    "Judge",
    "JudgedCells",
    "LabelLikelihood",
    "LabelTransfer",
    "Measure",
    "PreparedCells",
    "Readout",
    "SourceCells",
    "by_correlation",
    "by_latents",
    "chosen_cells",
    "contributions",
    "explained_features",
    "explained_labels",
    "explained_latents",
    "feature_readout",
    "feature_sets",
    "gathered",
    "knocked_out",
    "labelled_cells",
    "losses_of_pairs",
    "one_tailed",
    "outputs",
    "paired_cells",
    "partial_correlation",
    "random_sets",
    "shap_contributions",
    "shap_of_pairs",
]

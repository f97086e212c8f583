"""From MuData to batches: reading, preparation, sampling."""

from __future__ import annotations

from ._kinds import SCALES, detect_kind, measured
from ._loader import Batch, Loader
from ._match import MAX_MISSING, model_inputs
from ._prepare import DEFAULT_COMPS, Preparation
from ._sampler import Units
from ._views import ModalityView, Problem, known_pairs, matrix, modality_names, prepare, read, training_cells, writable

__all__ = [
    "DEFAULT_COMPS",
    "MAX_MISSING",
    "SCALES",
    "Batch",
    "Loader",
    "ModalityView",
    "Preparation",
    "Problem",
    "Units",
    "detect_kind",
    "known_pairs",
    "matrix",
    "measured",
    "modality_names",
    "model_inputs",
    "prepare",
    "read",
    "training_cells",
    "writable",
]

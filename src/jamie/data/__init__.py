"""From MuData to batches: reading, preparation, sampling."""

from __future__ import annotations

from ._batches import Draw, permuted, stratified, with_partners
from ._cell_matrix import CellMatrix
from ._container import (
    known_pairs,
    matrix,
    modality_names,
    over_all_cells,
    require_mudata,
    stored_pairs,
    training_cells,
    writable,
)
from ._detect_kind import detect_kind, note_kind
from ._external_pca import external_pca
from ._genome import coordinates, near, starts
from ._kinds import SCALES, measured
from ._loader import Batch, Loader
from ._match import MAX_MISSING, matched, model_inputs
from ._prepare import DEFAULT_COMPS, DEFAULT_MAX_VALUE, Preparation
from ._sampler import LinkedCells
from ._value_stats import value_stats
from ._views import ModalityView, Problem, fingerprint, prepare, read, read_preparation

__all__ = [
    "DEFAULT_COMPS",
    "DEFAULT_MAX_VALUE",
    "MAX_MISSING",
    "SCALES",
    "Batch",
    "CellMatrix",
    "Draw",
    "LinkedCells",
    "Loader",
    "ModalityView",
    "Preparation",
    "Problem",
    "coordinates",
    "detect_kind",
    "external_pca",
    "fingerprint",
    "known_pairs",
    "matched",
    "matrix",
    "measured",
    "modality_names",
    "model_inputs",
    "near",
    "note_kind",
    "over_all_cells",
    "permuted",
    "prepare",
    "read",
    "read_preparation",
    "require_mudata",
    "starts",
    "stored_pairs",
    "stratified",
    "training_cells",
    "value_stats",
    "with_partners",
    "writable",
]

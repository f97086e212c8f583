"""From MuData to batches: reading, preparation, sampling."""

from __future__ import annotations

from ._batches import Draw, permuted, stratified, with_partners
from ._cells import CellMatrix
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
from ._genome import coordinates, near, starts
from ._given import given_components
from ._kinds import SCALES, detect_kind, measured
from ._loader import Batch, Loader
from ._match import MAX_MISSING, matched, model_inputs
from ._prepare import DEFAULT_COMPS, DEFAULT_MAX_VALUE, Preparation
from ._sampler import Units
from ._survey import survey
from ._views import ModalityView, Problem, fingerprint, prepare, read, read_preparation

__all__ = [
    "DEFAULT_COMPS",
    "DEFAULT_MAX_VALUE",
    "MAX_MISSING",
    "SCALES",
    "Batch",
    "CellMatrix",
    "Draw",
    "Loader",
    "ModalityView",
    "Preparation",
    "Problem",
    "Units",
    "coordinates",
    "detect_kind",
    "fingerprint",
    "given_components",
    "known_pairs",
    "matched",
    "matrix",
    "measured",
    "modality_names",
    "model_inputs",
    "near",
    "over_all_cells",
    "permuted",
    "prepare",
    "read",
    "read_preparation",
    "require_mudata",
    "starts",
    "stored_pairs",
    "stratified",
    "survey",
    "training_cells",
    "with_partners",
    "writable",
]

"""From MuData to batches: reading, preparation, sampling."""

from __future__ import annotations

from ._accept import layers_of_counts, require_kind
from ._batch_index import BatchIndex, Layout
from ._batches import Draw, permuted, stratified, with_partners
from ._cell_matrix import CellMatrix
from ._cells import (
    LEAST_SHARED,
    CellPairs,
    Cells,
    JoinedCells,
    Layers,
    Learned,
    Matched,
    Prepared,
    open_cells,
    open_for_model,
    prepare_cells,
    require_several,
    two_modalities,
)
from ._container import as_given, as_mudata, require_model, require_mudata, writable, writable_one
from ._correspondences import Pairs, correspondences, pairs_to_score, true_pairs, truth
from ._detect_kind import detect_kind, note_kind
from ._effects import EffectColumns, Effects
from ._external_pca import external_pca
from ._feature_names import FeatureNames
from ._genome import NearPairs, coordinates, near, require_bases, require_same_chromosomes, starts
from ._inferred import tell_check, warn_of_names
from ._kinds import SCALES, measured, measured_as
from ._labels import as_text, label_codes, labels
from ._loader import Batch, Loader
from ._prepare import DEFAULT_COMPS, DEFAULT_MAX_VALUE, Preparation
from ._sampler import LinkedCells
from ._seen import (
    HELD_OUT,
    IN_SAMPLE,
    NEW,
    ROLES,
    TRAIN,
    VALIDATION,
    SeenCells,
    name_digests,
    role_codes,
    unseen_as,
    unseen_cells,
    unseen_pairs,
)
from ._stream import claimed, is_signed, sign, stream
from ._unfinished import digest
from ._value_stats import value_stats
from ._views import ModalityView, Problem, fingerprint, prepare, read, read_preparation, stored_inputs
from ._written_blocks import Rows

__all__ = [
    "DEFAULT_COMPS",
    "DEFAULT_MAX_VALUE",
    "HELD_OUT",
    "IN_SAMPLE",
    "LEAST_SHARED",
    "NEW",
    "ROLES",
    "SCALES",
    "TRAIN",
    "VALIDATION",
    "Batch",
    "BatchIndex",
    "CellMatrix",
    "CellPairs",
    "Cells",
    "Draw",
    "EffectColumns",
    "Effects",
    "FeatureNames",
    "JoinedCells",
    "Layers",
    "Layout",
    "Learned",
    "LinkedCells",
    "Loader",
    "Matched",
    "ModalityView",
    "NearPairs",
    "Pairs",
    "Preparation",
    "Prepared",
    "Problem",
    "Rows",
    "SeenCells",
    "as_given",
    "as_mudata",
    "as_text",
    "claimed",
    "coordinates",
    "correspondences",
    "detect_kind",
    "digest",
    "external_pca",
    "fingerprint",
    "is_signed",
    "label_codes",
    "labels",
    "layers_of_counts",
    "measured",
    "measured_as",
    "name_digests",
    "near",
    "note_kind",
    "open_cells",
    "open_for_model",
    "pairs_to_score",
    "permuted",
    "prepare",
    "prepare_cells",
    "read",
    "read_preparation",
    "require_bases",
    "require_kind",
    "require_model",
    "require_mudata",
    "require_same_chromosomes",
    "require_several",
    "role_codes",
    "sign",
    "starts",
    "stored_inputs",
    "stratified",
    "stream",
    "tell_check",
    "true_pairs",
    "truth",
    "two_modalities",
    "unseen_as",
    "unseen_cells",
    "unseen_pairs",
    "value_stats",
    "warn_of_names",
    "with_partners",
    "writable",
    "writable_one",
]

"""Did it work: checks of a trained model on what it did not see, each a measure, what it is beside, and a verdict."""

from __future__ import annotations

from ._alignment import alignment_finding, check_alignment, check_types, swapped, types_finding
from ._batches import batches_finding, check_batches
from ._control import check_control
from ._finding import COLUMNS, Finding, Verdict, as_table
from ._imputation import beyond, check_disguises, check_imputation, check_spread, check_together, imputation_finding
from ._inputs import check_inputs
from ._judged import JudgedDirection, JudgedPairs, judged_direction, judged_pairs, judged_together
from ._latents import check_latents, dimensions_in_use
from ._pairs import UnseenAlignment, check_known_pairs, unseen_alignment
from ._sureness import check_confidence, check_coverage, check_novelty, check_sureness
from ._training import check_training, still_falling

__all__ = [
    "COLUMNS",
    "Finding",
    "JudgedDirection",
    "JudgedPairs",
    "UnseenAlignment",
    "Verdict",
    "alignment_finding",
    "as_table",
    "batches_finding",
    "beyond",
    "check_alignment",
    "check_batches",
    "check_confidence",
    "check_control",
    "check_coverage",
    "check_disguises",
    "check_imputation",
    "check_inputs",
    "check_known_pairs",
    "check_latents",
    "check_novelty",
    "check_spread",
    "check_sureness",
    "check_together",
    "check_training",
    "check_types",
    "dimensions_in_use",
    "imputation_finding",
    "judged_direction",
    "judged_pairs",
    "judged_together",
    "still_falling",
    "swapped",
    "types_finding",
    "unseen_alignment",
]

"""Types shared by all rooms: what crosses a door has a name."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import numpy as np

Array: TypeAlias = np.ndarray
Matrix: TypeAlias = Any
"""Dense array or scipy sparse matrix, cells × features."""
Seed: TypeAlias = int | np.random.Generator | None
Pair: TypeAlias = tuple[str, str]
Sources: TypeAlias = str | tuple[str, ...]
"""A modality, or several in the order of the model, that a target is imputed from."""
Direction: TypeAlias = tuple[Sources, str]
"""Sources and target."""
Slot = Literal["inferred", "match", "known"]
"""Which correspondence of two modalities: who wrote it."""

Kind = Literal["counts", "accessibility", "protein", "continuous"]
KINDS: tuple[str, ...] = get_args(Kind)

Verdict = Literal["bad", "doubtful", "unknown", "good"]
VERDICTS: tuple[str, ...] = get_args(Verdict)
"""What most asks for something first."""

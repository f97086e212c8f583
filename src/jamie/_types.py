"""Types shared by all rooms: what crosses a door has a name."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np
from scipy import sparse

Array: TypeAlias = np.ndarray
Matrix: TypeAlias = np.ndarray | sparse.csr_matrix | sparse.csr_array | sparse.csc_matrix | sparse.csc_array
Seed: TypeAlias = int | np.random.Generator | None
Pair: TypeAlias = tuple[str, str]

Kind = Literal["counts", "accessibility", "protein", "continuous"]
KINDS: tuple[str, ...] = get_args(Kind)

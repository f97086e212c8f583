"""Known and inferred correspondence in one matrix."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from ._known import cap_rows


def with_known(inferred: sparse.csr_matrix, known: sparse.csr_matrix) -> sparse.csr_matrix:
    """Known partners first, F + (1 − F 1) F̃: what is inferred is only the share that is not known.

    Rows of F that sum to more than 1, of cells with many partners, are scaled down to 1.
    """
    if not known.nnz:
        return inferred
    known = cap_rows(known)
    total = np.asarray(known.sum(axis=1)).ravel().clip(max=1)
    rest = sparse.diags_array((1 - total).astype(np.float32)).tocsr()
    both = sparse.csr_matrix(known + rest @ inferred, dtype=np.float32)
    both.eliminate_zeros()
    return both

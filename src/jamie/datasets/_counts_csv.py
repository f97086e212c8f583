"""Tables of counts, features in rows and cells in columns, as spreadsheets and scripts write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

N_ROWS = 500
"""Features read at a time: the table is mostly zeros, and never dense as a whole."""


def read_counts(file: Path) -> AnnData:
    """Cells × features, sparse; the first column has names of features, the first row those of cells."""
    blocks, features, cells = [], [], []
    for block in pd.read_csv(file, index_col=0, chunksize=N_ROWS):
        blocks.append(sparse.csc_matrix(block.to_numpy(np.float32).T))
        features += block.index.astype(str).tolist()
        cells = block.columns.astype(str)
    counts = sparse.hstack(blocks, format="csr")
    return AnnData(counts, obs=pd.DataFrame(index=cells), var=pd.DataFrame(index=features))

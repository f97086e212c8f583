"""Objects of R, as its packages ship them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse


def read_rda(path: Path) -> dict[str, Any]:
    """Read the objects of an `.rda` file, by name.

    R has features in rows and cells in columns: its sparse matrices become an `AnnData`, turned.
    """
    import rdata  # of the extra `data`
    from rdata.conversion import DEFAULT_CLASS_MAP

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Missing constructor for R class", category=UserWarning)  # dates, tibbles
        return rdata.read_rda(path, constructor_dict={**DEFAULT_CLASS_MAP, "dgCMatrix": _turned})


def _turned(_: object, slots: Mapping[str, Any]) -> AnnData:
    values = sparse.csc_matrix((slots["x"], slots["i"], slots["p"]), shape=tuple(slots["Dim"]))
    features, cells = (pd.Index([str(name) for name in names]) for names in slots["Dimnames"])
    return AnnData(values.T.tocsr().astype(np.float32), obs=pd.DataFrame(index=cells), var=pd.DataFrame(index=features))

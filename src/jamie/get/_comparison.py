"""Measured beside imputed values, on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from jamie._checks import require_choice
from jamie._keys import Keys
from jamie.data import matrix, measured

from ._pairs import cell_pairs
from ._stored import stored, stored_record


class Comparison(NamedTuple):
    """The same cells and features, measured and imputed."""

    measured: pd.DataFrame
    imputed: pd.DataFrame
    scale: str
    cells: str  # held-out or in-sample


def comparison(
    mdata: MuData, *, source: str, target: str, features: Sequence[str] | None = None, key_added: str = "jamie"
) -> Comparison:
    """Measured and imputed features of the held-out cells that both modalities have; of all such cells if none are."""
    for name, value in (("source", source), ("target", target)):
        require_choice(value, list(mdata.mod), name=name)
    keys = Keys(key_added)
    slot, remedy = keys.imputed_from_source(target), f"jm.tl.impute(mdata, model, source={source!r}, target={target!r})"
    frame = stored(mdata[source].obsm, slot, where=f"mdata[{source!r}].obsm", remedy=remedy)
    about = stored_record(mdata[source].uns, slot, where=f"mdata[{source!r}].uns", remedy=remedy)
    names = pd.Index(np.asarray(about["features"], dtype=object))
    for feature in features or ():
        require_choice(feature, names, name="features")
    wanted = pd.Index(features) if features else names[names.isin(mdata[target].var_names)]
    pairs = cell_pairs(mdata, source, target, keys)
    at, rows = pairs.test
    if not len(rows):
        msg = f"expected cells measured in both {source!r} and {target!r}, found none; there is nothing to compare"
        raise ValueError(msg)
    index = frame.index[at]
    x = measured(
        matrix(mdata, target, layer=about["layer"] or None)[rows], kind=about["kind"], depth=float(about["depth"])
    )
    x = x[:, mdata[target].var_names.get_indexer(wanted)]
    return Comparison(
        measured=pd.DataFrame(x.toarray() if sparse.issparse(x) else x, index=index, columns=wanted),
        imputed=pd.DataFrame(frame.to_numpy()[at][:, names.get_indexer(wanted)], index=index, columns=wanted),
        scale=about["scale"],
        cells=pairs.cells,
    )

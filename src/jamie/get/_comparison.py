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
from jamie._types import Array
from jamie.data import matrix, measured

from ._stored import stored


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
    about = stored(mdata[source].uns, slot, where=f"mdata[{source!r}].uns", remedy=remedy)
    names = pd.Index(np.asarray(about["features"], dtype=object))
    for feature in features or ():
        require_choice(feature, names, name="features")
    wanted = pd.Index(features) if features else names[names.isin(mdata[target].var_names)]
    cells = frame.index[_comparable(mdata, frame.index, target, keys)]
    rows = mdata[target].obs_names.get_indexer(cells)
    x = measured(
        matrix(mdata, target, layer=about["layer"] or None)[rows], kind=about["kind"], depth=float(about["depth"])
    )
    x = x[:, mdata[target].var_names.get_indexer(wanted)]
    return Comparison(
        measured=pd.DataFrame(x.toarray() if sparse.issparse(x) else x, index=cells, columns=wanted),
        imputed=pd.DataFrame(
            frame.to_numpy()[frame.index.get_indexer(cells)][:, names.get_indexer(wanted)], index=cells, columns=wanted
        ),
        scale=about["scale"],
        cells="held-out" if keys.split in mdata.obs and (mdata.obs[keys.split] == "test").any() else "in-sample",
    )


def _comparable(mdata: MuData, cells: pd.Index, target: str, keys: Keys) -> Array:
    both = cells.isin(mdata[target].obs_names)
    if keys.split not in mdata.obs:
        return both
    test = (mdata.obs[keys.split].reindex(cells) == "test").to_numpy()
    return both & test if (both & test).any() else both

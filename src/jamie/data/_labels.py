"""Labels of the cells of a modality, wherever the MuData keeps them."""

from __future__ import annotations

import pandas as pd
from mudata import MuData

from jamie._checks import require_name


def labels(mdata: MuData, column: str, name: str) -> pd.Series:
    """Labels of the cells of modality `name`, (n_m,), from its own `.obs`, else from the MuData's."""
    places = [mdata[name].obs, mdata.obs, *(mdata[other].obs for other in mdata.mod if other != name)]
    require_name(column, list(dict.fromkeys(c for obs in places for c in obs)), name="labels")
    values = next(obs[column] for obs in places if column in obs)
    return values.reindex(mdata[name].obs_names)

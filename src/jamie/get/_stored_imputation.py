"""Where imputed values, and what is beside them, were written: beside one source, or for all cells if of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from jamie._checks import require_name, require_names
from jamie._keys import Keys, is_beside, of_sources

from ._stored import stored, stored_record


@dataclass(frozen=True)
class StoredImputation:
    """What :func:`jamie.tl.impute` wrote of one target.

    Attributes
    ----------
    sources
        Modalities that it was imputed from, in the order of the model.
    frame
        Imputed values, cells × features: those of the source, or all of the MuData if there are several.
    obs
        Columns of these cells.
    about
        The record of the imputation.
    features
        Names of the features, of which the columns of `frame` may differ.
    beside
        Bounds and draws of the same shape, by the end of their slot, ``"lower"``, ``"upper"``, ``"sample_0"`` …
    role
        What each cell was to the model, as a column name of `obs`.
    where, remedy
        Of `obs`, and the call that writes it, for messages.
    """

    sources: tuple[str, ...]
    frame: pd.DataFrame
    obs: pd.DataFrame
    about: Mapping[str, Any]
    features: pd.Index
    beside: Mapping[str, pd.DataFrame]
    role: str
    where: str
    remedy: str

    @property
    def is_joint(self) -> bool:
        """Whether there are several sources."""
        return len(self.sources) > 1

    @property
    def shown(self) -> str:
        """The sources, as tables and titles have them."""
        return of_sources(self.sources)


def stored_imputation(
    mdata: MuData | AnnData, source: str | Sequence[str], target: str, keys: Keys
) -> StoredImputation:
    """Find what was imputed from a source, or from several in any order.

    Raises
    ------
    MissingNameError
        If a source is not there, or this was not imputed.
    """
    sources: tuple[str, ...]
    listed = [source] if isinstance(source, str) else require_names(source, name="source")
    for name in listed:
        require_name(name, list(mdata.mod), name="source")
    if len(listed) == 1:
        (name,) = listed
        holder, where, sources, remedy = mdata[name], f"mdata[{name!r}]", (name,), repr(name)
        slot, role = keys.imputed_from_source(target), keys.role_for(target)
    else:
        holder, where, remedy = mdata, "mdata", repr(listed)
        orders = list(permutations(listed))
        sources = next((o for o in orders if keys.imputed_from_sources(target, *o) in mdata.obsm), orders[0])
        slot, role = keys.imputed_from_sources(target, *sources), keys.role_for(target, *sources)
    call = f"jm.tl.impute(mdata, model, source={remedy}, target={target!r})"
    frame = stored(holder.obsm, slot, where=f"{where}.obsm", remedy=call)
    about = stored_record(holder.uns, slot, where=f"{where}.uns", remedy=call)
    return StoredImputation(
        sources,
        frame,
        holder.obs,
        about,
        pd.Index(np.asarray(about["features"], dtype=object)),
        {key.removeprefix(f"{slot}_"): holder.obsm[key] for key in holder.obsm if is_beside(key, slot)},
        role,
        f"{where}.obs",
        call,
    )

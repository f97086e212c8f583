"""Imputed values as an AnnData of their own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import anndata as ad
import numpy as np
import pandas as pd
from mudata import MuData

from jamie._checks import require_name, require_names
from jamie._docs import document
from jamie._keys import Keys, is_beside
from jamie.data import as_mudata

from ._stored import stored, stored_record


@document("mdata or adata", "key_added")
def imputed(
    mdata: MuData | ad.AnnData, *, source: str | Sequence[str], target: str, key_added: str = "jamie"
) -> ad.AnnData:
    """Features of `target` imputed for the cells of `source`, as an AnnData that scanpy takes as any other.

    Bounds and draws that were imputed with ``interval=`` and ``n_samples=`` are its layers ``jamie_imputed_lower``,
    ``jamie_imputed_upper``, ``jamie_imputed_sample_0`` and so on.

    Parameters
    ----------
    {shared}
    source, target
        Modalities, as given to :func:`jamie.tl.impute`; a list of sources in any order.

    Returns
    -------
    Cells × features. From several sources the cells are those that have any of them.

    Raises
    ------
    KeyError
        If this was not imputed.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=20)
    >>> jm.tl.impute(mdata, model, source="rna", target="protein")
    >>> jm.get.imputed(mdata, source="rna", target="protein").shape
    (54, 12)
    """
    if not isinstance(source, str):
        listed = require_names(source, name="source")
        if len(listed) > 1:
            return _from_several(mdata, listed, target, Keys(key_added))
        (source,) = listed
    mdata = as_mudata(mdata, source, argument="source")
    require_name(source, list(mdata.mod), name="source")
    frame = stored(
        mdata[source].obsm,
        Keys(key_added).imputed_from_source(target),
        where=f"mdata[{source!r}].obsm",
        remedy=f"jm.tl.impute(mdata, model, source={source!r}, target={target!r})",
    )
    about = stored_record(
        mdata[source].uns,
        Keys(key_added).imputed_from_source(target),
        where=f"mdata[{source!r}].uns",
        remedy=f"jm.tl.impute(mdata, model, source={source!r}, target={target!r})",
    )
    names = np.asarray(about["features"], dtype=object)
    keys = Keys(key_added)
    slot = keys.imputed_from_source(target)
    beside = {
        keys.imputed + key.removeprefix(slot): mdata[source].obsm[key].to_numpy(copy=True)
        for key in mdata[source].obsm
        if is_beside(key, slot)
    }
    return ad.AnnData(
        frame.to_numpy(copy=True), obs=mdata[source].obs.copy(), var=pd.DataFrame(index=names), layers=beside
    )


def _from_several(mdata: MuData | ad.AnnData, sources: list[str], target: str, keys: Keys) -> ad.AnnData:
    """The same of several sources, in the order in which the slot names them."""
    mdata = as_mudata(mdata, None)
    for name in sources:
        require_name(name, list(mdata.mod), name="source")
    slots = [keys.imputed_from_sources(target, *order) for order in permutations(sources)]
    slot = next((slot for slot in slots if slot in mdata.obsm), slots[0])
    remedy = f"jm.tl.impute(mdata, model, source={sources}, target={target!r})"
    frame = stored(mdata.obsm, slot, where="mdata.obsm", remedy=remedy)
    names = np.asarray(stored_record(mdata.uns, slot, remedy=remedy)["features"], dtype=object)
    has = frame.notna().any(axis=1).to_numpy()
    values = frame.to_numpy()[has]
    return ad.AnnData(values, obs=mdata.obs[has].copy(), var=pd.DataFrame(index=names))

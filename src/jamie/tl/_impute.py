"""Predict a modality that was not measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata.utils import make_index_unique
from mudata import MuData

from jamie._docs import document
from jamie._keys import SCHEMA, Keys
from jamie._slots import safe_name, write
from jamie.data import writable
from jamie.model import JAMIE


@document("mdata", "model", "key_added", "copy")
def impute(
    mdata: MuData,
    model: JAMIE,
    *,
    source: str,
    target: str,
    features: Sequence[str] | None = None,
    key_added: str = "jamie",
    copy: bool = False,
) -> MuData | None:
    """Predict features of `target` for every cell measured in `source`, in the target's own units.

    The target's decoder reads the source's latent: decode_target(μ_source); the default recipe mixes in a kernel ridge
    regression fitted on the same pairs. The scale of each kind of target stands in
    :func:`jamie.pp.prepare` and in `mdata[target].uns['jamie_input']['scale']`.

    Parameters
    ----------
    {shared}
    source
        Modality that is measured; `mdata` must have it.
    target
        Modality to predict; `mdata` need not have it.
    features
        Features of the target to predict; all of them if `None`.

    Returns
    -------
    `None`, or a changed copy if `copy=True`. Sets

    `mdata[source].obsm['jamie_<target>']` : :class:`~pandas.DataFrame` (`n_obs × n_features`, float32)
        Imputed features of every cell of the source. In names ``/`` becomes ``_``, as files hold no ``/`` in a key.
    `mdata[source].uns['jamie_<target>']` : :class:`dict`
        Names of the imputed features, and the kind, scale and depth of the target.
    `mdata[target].layers['jamie_imputed']` : :class:`~numpy.ndarray` (`n_obs × n_vars`, float32)
        The same for the cells that the target has too, NaN for its other cells. Only if `mdata` has the target, with
        the model's features, and all of them are imputed.

    Raises
    ------
    KeyError
        If a modality or feature is not there.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=20)
    >>> jm.tl.impute(mdata, model, source="rna", target="protein")
    >>> mdata["rna"].obsm["jamie_protein"].shape
    (54, 12)
    """
    mdata = writable(mdata, copy=copy)
    keys = Keys(key_added)
    values = model.impute(mdata, source=source, target=target, features=features)
    names = model.preparations_[target].features[model.columns(target, features)]
    cells = mdata[source].obs_names
    frame = pd.DataFrame(
        values, index=cells, columns=make_index_unique(pd.Index([safe_name(name) for name in names])), copy=False
    )
    preparation = model.preparations_[target]
    about = {
        "schema": SCHEMA,
        "features": list(names),
        "kind": preparation.kind,
        "scale": preparation.scale,
        "depth": preparation.normaliser.depth,
        "layer": preparation.layer,
    }
    write(mdata, source, "obsm", keys.imputed_from_source(target), frame)
    write(mdata, source, "uns", keys.imputed_from_source(target), about)
    if target in mdata.mod and features is None and pd.Index(names).equals(mdata[target].var_names):
        position = cells.get_indexer(mdata[target].obs_names)
        same = len(position) == len(cells) and bool((position == np.arange(len(cells))).all())
        layer = values if same else np.where((position >= 0)[:, None], values[position], np.float32(np.nan))
        write(mdata, target, "layers", keys.imputed, layer)
    return mdata if copy else None

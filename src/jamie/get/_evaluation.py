"""The table of measures."""

from __future__ import annotations

import pandas as pd
from mudata import MuData

from jamie._docs import document
from jamie._keys import Keys

from ._stored import stored


@document("mdata", "key_added")
def evaluation(mdata: MuData, *, key_added: str = "jamie") -> pd.DataFrame:
    """Table that :func:`jamie.tl.evaluate` wrote: a row for each source, target and method.

    Parameters
    ----------
    {shared}

    Raises
    ------
    KeyError
        If nothing was evaluated.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=20)
    >>> _ = jm.tl.evaluate(mdata, model, baselines=[])
    >>> jm.get.evaluation(mdata)["cells"].unique().tolist()
    ['in-sample']
    """
    return stored(
        mdata.uns, Keys(key_added).evaluation, where="mdata.uns", remedy="jm.tl.evaluate(mdata, model)"
    ).copy()

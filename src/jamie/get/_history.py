"""The losses of the training."""

from __future__ import annotations

import pandas as pd
from mudata import MuData

from jamie._docs import document
from jamie._keys import Keys
from jamie.data import require_mudata

from ._stored import stored_training


@document("mdata", "key_added")
def history(mdata: MuData, *, key_added: str = "jamie") -> pd.DataFrame:
    """Losses by step, each term unweighted, and `score`, by which the best weights were chosen.

    Parameters
    ----------
    {shared}

    Raises
    ------
    KeyError
        If `mdata` was not trained on.
    ValueError
        If another version of jamie wrote the slot.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.get.history(mdata).columns.tolist()[:4]
    ['step', 'total', 'kl', 'combination']
    """
    require_mudata(mdata)
    return stored_training(mdata.uns, Keys(key_added).model)["history"].copy()

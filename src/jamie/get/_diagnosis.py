"""The table of verdicts."""

from __future__ import annotations

import pandas as pd
from mudata import MuData

from jamie._docs import document
from jamie._keys import Keys
from jamie.data import require_mudata

from ._stored import stored


@document("mdata", "key_added")
def diagnosis(mdata: MuData, *, key_added: str = "jamie") -> pd.DataFrame:
    """Table that :func:`jamie.tl.diagnose` wrote: a row for each check, with its verdict and the next step.

    Parameters
    ----------
    {shared}

    Raises
    ------
    KeyError
        If nothing was diagnosed.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> _ = jm.tl.diagnose(mdata, model)
    >>> jm.get.diagnosis(mdata).query("verdict == 'bad'")["measure"].tolist()
    ['training']
    """
    require_mudata(mdata)
    return stored(mdata.uns, Keys(key_added).diagnosis, where="mdata.uns", remedy="jm.tl.diagnose(mdata, model)").copy()

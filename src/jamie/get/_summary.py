"""What the training came to."""

from __future__ import annotations

from mudata import MuData

from jamie._docs import document
from jamie._keys import Keys
from jamie.data import require_mudata
from jamie.model import Summary

from ._stored import stored_training


@document("mdata", "key_added")
def summary(mdata: MuData, *, key_added: str = "jamie") -> Summary:
    """What the training came to: how well the modalities go together, on pairs that it was not trained on.

    Parameters
    ----------
    {shared}

    Returns
    -------
    `best_step`, `n_steps`, `seconds`, the signal by which it was `interrupted`, or nothing, how many steps were
    `rolled_back`, the step at which it `diverged`, or 0, whose pairs were scored, `cells` (``"validation"``, or
    ``"training"`` if none were set aside), and the scores: `table()` has a row for each source, target, measure and
    method, with a standard error over these cells, and `value(measure, source, target)` is one of them.

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
    >>> summary = jm.get.summary(mdata)
    >>> summary.cells, list(summary.table())
    ('training', ['source', 'target', 'measure', 'value', 'standard_error', 'method'])
    """
    require_mudata(mdata)
    return Summary.from_dict(stored_training(mdata.uns, Keys(key_added).model)["summary"])

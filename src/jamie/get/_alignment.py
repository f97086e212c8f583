"""Alignment by method."""

from __future__ import annotations

import pandas as pd
from mudata import MuData

from jamie._docs import document
from jamie._errors import MissingNameError
from jamie.data import require_mudata

from ._evaluation import method_means


@document("mdata", "key_added")
def alignment(mdata: MuData, *, source: str, target: str, key_added: str = "jamie") -> pd.DataFrame:
    """FOSCTTM and label transfer accuracy of all methods that align: the points of :func:`jamie.pl.alignment`.

    Parameters
    ----------
    {shared}
    source, target
        Modalities, as :func:`jamie.tl.evaluate` scored them, with `labels` and, to compare with, `aligners`.

    Returns
    -------
    Rows of the evaluation by method, the model first, with `foscttm` and `foscttm_within` labels (chance 0.5), `lta`,
    its mean over labels `lta_macro` and chance of both, and which `cells` and how many, `n_cells`.

    Raises
    ------
    KeyError
        If these modalities were not evaluated, or without labels.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> _ = jm.tl.evaluate(mdata, model, labels="cell_type", baselines=["knn"], aligners=["cca"])
    >>> jm.get.alignment(mdata, source="rna", target="protein").index.tolist()
    ['jamie', 'cca']
    """
    require_mudata(mdata)
    _, means = method_means(mdata, source, target, key_added)
    if "lta" not in means:
        msg = (
            "expected label transfer accuracies, found an evaluation without labels; call jm.tl.evaluate(mdata, model, "
            "labels='cell_type', aligners=['cca'])"
        )
        raise MissingNameError(msg)
    return means[means["foscttm"].notna()]

"""The table of measures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import pandas as pd
from mudata import MuData

from jamie._checks import require_name, require_names
from jamie._docs import document
from jamie._errors import MissingNameError
from jamie._keys import Keys, of_sources
from jamie.data import require_mudata

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
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> _ = jm.tl.evaluate(mdata, model, baselines=[])
    >>> jm.get.evaluation(mdata)["cells"].unique().tolist()
    ['in-sample']
    """
    require_mudata(mdata)
    return stored(
        mdata.uns, Keys(key_added).evaluation, where="mdata.uns", remedy="jm.tl.evaluate(mdata, model)"
    ).copy()


def method_means(
    mdata: MuData, source: str | Sequence[str], target: str, key_added: str
) -> tuple[tuple[str, ...], pd.DataFrame]:
    """Sources as they were scored, and rows of the evaluation of these and a target, by method, the model first."""
    table = evaluation(mdata, key_added=key_added)
    listed = [source] if isinstance(source, str) else require_names(source, name="source")
    for name, value in [*(("source", each) for each in listed), ("target", target)]:
        require_name(value, list(mdata.mod), name=name)
    is_target, scored = table["target"] == target, set(table["source"])
    sources = next((order for order in permutations(listed) if of_sources(order) in scored), tuple(listed))
    source = of_sources(sources)
    means = table[(table["source"] == source) & is_target].set_index("method")
    if means.empty:
        directions = sorted({f"{a} → {b}" for a, b in zip(table["source"], table["target"], strict=True)})
        msg = (
            f"expected {source} → {target} in `mdata.uns[{Keys(key_added).evaluation!r}]`, found {directions}; call "
            "jm.tl.evaluate(mdata, model)"
        )
        raise MissingNameError(msg)
    return sources, means

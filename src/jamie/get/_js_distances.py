"""Jensen-Shannon distance of each imputed feature within each group of cells."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from mudata import MuData

from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie.metrics import js_distance

from ._agreement import agreement


@dataclass(frozen=True)
class JsDistances:
    """How far distributions of imputed values are from those of measured ones.

    Attributes
    ----------
    table
        Distances, features × groups; NaN where neither side varies or the group has no value.
    n_cells
        Cells of each group.
    cells
        Which cells these are, as :func:`jamie.get.comparison` says it.
    """

    table: pd.DataFrame
    n_cells: pd.Series
    cells: str


@document("mdata", "key_added")
def js_distances(
    mdata: MuData, *, source: str, target: str, groupby: str | None = None, key_added: str = "jamie"
) -> JsDistances:
    """Distance of measured and imputed distributions of all features: the numbers of :func:`jamie.pl.js_distances`.

    They are taken from what :func:`jamie.tl.impute` wrote, over the cells of :func:`jamie.get.comparison`.

    Parameters
    ----------
    {shared}
    source, target
        Modalities, as given to :func:`jamie.tl.impute`.
    groupby
        Column of the `.obs` of the modalities, or of `mdata.obs`, such as cell types; all cells together if `None`.

    Returns
    -------
    The `table` of distances, features × groups, 0 for the same distribution and 1 for values that never meet, `n_cells`
    of each group, and which `cells` these are.

    Raises
    ------
    KeyError
        If this was not imputed, or there is no such column.
    ValueError
        If no cell has both modalities, or none of those that do has a group.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.tl.impute(mdata, model, source="rna", target="protein")
    >>> found = jm.get.js_distances(mdata, source="rna", target="protein", groupby="cell_type")
    >>> found.table.shape
    (12, 3)
    """
    both = agreement(mdata, source=source, target=target, groupby=groupby, key_added=key_added)
    groups = list(both.groups.cat.categories)
    if not groups:
        msg = f"expected cells with a group, found none of {len(both.groups):,} in {groupby!r}; pass another column"
        raise InvalidValueError(msg)
    distances = js_distance(both.measured.to_numpy(), both.imputed.to_numpy(), groups=both.groups)
    table = pd.DataFrame(distances, index=groups, columns=both.measured.columns).T.rename_axis(None)
    return JsDistances(table, both.groups.value_counts().reindex(groups), both.cells)

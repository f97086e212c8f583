"""SHAP values as :func:`jamie.tl.explain` stored them: means by feature, and values by cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from scipy import sparse

from jamie._checks import require_name
from jamie._docs import document
from jamie._errors import InvalidValueError, MissingNameError
from jamie._keys import Keys
from jamie._types import Array, Matrix
from jamie.data import as_mudata, measured_as

from ._stored import stored, stored_record


@dataclass(frozen=True)
class ShapByCell:
    """SHAP values of the explained cells for one explained thing.

    Attributes
    ----------
    values
        Cells × features of the source.
    base
        Mean over the background, from which the values of a cell lead to its own.
    data
        Cells × features as measured, on the imputed scale, dense or sparse as they are stored.
    cells
        Names of the cells, (n,).
    """

    values: Array
    base: float
    data: Matrix
    cells: pd.Index


@dataclass(frozen=True)
class Importance:
    """How much the features of the source drive what was explained.

    Attributes
    ----------
    means
        Mean absolute SHAP values, features × explained, in units of the latter.
    scale
        These units: ``"latent"``, ``"logit"`` for labels, or the scale of the target.
    n_cells
        Cells that the means are over.
    by_cell
        Values by cell, where they were asked for.
    """

    means: pd.DataFrame
    scale: str
    n_cells: int
    by_cell: ShapByCell | None = None

    def shares(self) -> pd.Series:
        """Percentage of each feature in the sum over features, (d,), the mean over what was explained and varies."""
        return 100 * (self.means / self.means.sum()).mean(axis=1).fillna(0)


@document("mdata or adata", "key_added")
def importance(
    mdata: MuData | AnnData,
    *,
    source: str,
    target: str,
    feature: str | None = None,
    by_cell: bool = False,
    key_added: str = "jamie",
) -> Importance:
    """How much each feature of the source drives what was explained: the numbers of :func:`jamie.pl.importance`.

    Parameters
    ----------
    {shared}
    source
        Modality whose features explain.
    target
        What was explained: a modality, ``"latent"``, or the column of the labels.
    feature
        Feature of the target, latent dimension or label; if `None`, all that were explained.
    by_cell
        Whether to give the values of each cell as well, of one `feature` that was named in `features` of
        :func:`jamie.tl.explain`.

    Returns
    -------
    `means`, mean absolute SHAP values (features of the source × explained), their `scale`, the number of cells
    `n_cells`, `shares()` of the features in percent over all that was explained, and `by_cell`: `values`, measured
    `data`, `cells` and `base`, or `None`.

    Raises
    ------
    KeyError
        If this was not explained, or not kept by cell.
    ValueError
        If features of the source were taken away since, or none of its cells was explained.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.tl.explain(mdata, model, source="rna", target="protein", features=["protein3"])
    >>> by_gene = jm.get.importance(mdata, source="rna", target="protein", feature="protein3", by_cell=True)
    >>> by_gene.means.shape, by_gene.by_cell.values.shape
    ((40, 1), (54, 40))
    """
    mdata = as_mudata(mdata, source, argument="source")
    kept = stored_means(mdata, source, target, key_added)
    explained = list(kept.frame.columns)
    if feature is None and by_cell:
        names = [name for name, layer in zip(explained, kept.layers, strict=True) if layer in mdata[source].layers]
        msg = (
            f"expected `feature` for values by cell, one of those that were kept: {names}, found None; call "
            f"{explain_call(mdata, source, target, '...')} to keep others"
        )
        raise MissingNameError(msg)
    if feature is not None:
        hint = f"call {explain_call(mdata, source, target, repr(feature))} to explain another"
        require_name(feature, explained, name="feature", hint=hint)
    return Importance(
        kept.frame if feature is None else kept.frame[[feature]],
        scale=kept.scale,
        n_cells=kept.n_cells,
        by_cell=values_by_cell(mdata, source, target, str(feature), key_added) if by_cell else None,
    )


@dataclass(frozen=True)
class StoredMeans:
    """What `tl.explain` stored beside the values by cell.

    Attributes
    ----------
    frame
        Mean absolute SHAP values, features × explained, by the names that were given.
    base
        Mean of each explained over the background, (k,).
    layers
        Where values of each explained are by cell, if they were kept.
    scale, n_cells, n_features
        Units, cells and features that were explained.
    """

    frame: pd.DataFrame
    base: Array
    layers: list[str]
    scale: str
    n_cells: int
    n_features: int


def stored_means(mdata: MuData, source: str, target: str, key_added: str) -> StoredMeans:
    """Table of the means and what it is about."""
    require_name(source, list(mdata.mod), name="source")
    slot, varm, uns = Keys(key_added).shap(target), mdata[source].varm, mdata[source].uns
    if slot not in varm:
        columns = [*mdata.obs, *(column for adata in mdata.mod.values() for column in adata.obs)]
        require_name(target, list(dict.fromkeys([*mdata.mod, "latent", *columns])), name="target")
    remedy = explain_call(mdata, source, target)
    frame = stored(varm, slot, where=f"mdata[{source!r}].varm", remedy=remedy)
    about = stored_record(uns, slot, where=f"mdata[{source!r}].uns", remedy=remedy)
    names = [str(name) for name in about["outputs"]]
    return StoredMeans(
        frame.set_axis(names, axis=1),
        base=np.asarray(about["base"]),
        layers=[Keys(key_added).shap_by_cell(target, name) for name in frame.columns],
        scale=str(about["scale"]),
        n_cells=int(about["n_cells"]),
        n_features=int(about["n_features"]),
    )


def values_by_cell(mdata: MuData, source: str, target: str, feature: str, key_added: str) -> ShapByCell:
    """Values of the cells that were explained, and what was measured of them; sparse where it is stored sparse."""
    means = stored_means(mdata, source, target, key_added)
    adata, names = mdata[source], list(means.frame.columns)
    remedy = explain_call(mdata, source, target, repr(feature))
    at = names.index(require_name(feature, names, name="feature", hint=f"call {remedy}"))
    if means.n_features != adata.n_vars:
        msg = (
            f"expected the {means.n_features:,} features of {source!r} whose values sum to what is explained, found "
            f"{adata.n_vars:,}; call {remedy} again"
        )
        raise InvalidValueError(msg)
    layer = stored(adata.layers, means.layers[at], where=f"mdata[{source!r}].layers", remedy=remedy)
    rows = np.flatnonzero(~np.isnan(layer).all(axis=1))
    if not len(rows):
        msg = (
            f"expected an explained cell in `mdata[{source!r}].layers[{means.layers[at]!r}]`, found none; call {remedy}"
        )
        raise InvalidValueError(msg)
    return ShapByCell(
        np.asarray(layer)[rows],
        base=float(means.base[at]),
        data=_measured(adata[rows], source, Keys(key_added)),
        cells=adata.obs_names[rows],
    )


def explain_call(mdata: MuData, source: str, target: str, features: str = "") -> str:
    """The call of `tl.explain` that explains this."""
    columns = {column for frame in (mdata.obs, *(adata.obs for adata in mdata.mod.values())) for column in frame}
    is_labels = target in columns and target not in mdata.mod
    what = "" if target == "latent" else f", {'labels' if is_labels else 'target'}={target!r}"
    named = f", features=[{features}]" if features else ""
    return f"jm.tl.explain(mdata, model, source={source!r}{what}{named})"


def _measured(adata: AnnData, name: str, keys: Keys) -> Matrix:
    """As `Preparation.measured`; a few cells may miss a feature altogether, which `data.matrix` would refuse."""
    about: Mapping[str, Any] = {"kind": "continuous", "depth": 1.0, "layer": ""}
    if keys.preparation in adata.uns:
        where = f"mdata[{name!r}].uns"
        about = stored_record(adata.uns, keys.preparation, where=where, remedy="jm.pp.prepare(mdata)")
    x = adata.layers[about["layer"]] if about["layer"] else adata.X
    x = sparse.csr_matrix(x, dtype=np.float32) if sparse.issparse(x) else np.asarray(x, dtype=np.float32)
    return measured_as(x, about)

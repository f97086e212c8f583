"""SHAP values as :func:`jamie.tl.explain` stored them: means in a table, values by cell for shap's own plots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from scipy import sparse

from jamie._checks import require_name
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import Keys
from jamie._slots import safe_name
from jamie._types import Array, Matrix
from jamie.data import measured

from ._stored import stored, stored_record

if TYPE_CHECKING:
    from shap import Explanation


class Means(NamedTuple):
    """Mean absolute SHAP values of the features of the source for all that was explained."""

    frame: pd.DataFrame  # features × explained, by the names that were given
    base: Array  # of each explained
    kept: list[str]  # names of the explained in layers
    scale: str
    n_cells: int
    n_features: int


class ByCell(NamedTuple):
    """SHAP values of the explained cells for one explained thing."""

    values: Array  # cells × features
    base: float
    data: Matrix  # cells × features as measured, on the imputed scale
    cells: pd.Index
    scale: str


@document("mdata", "key_added")
def explanation(mdata: MuData, *, source: str, target: str, key_added: str = "jamie") -> pd.DataFrame:
    """Mean absolute SHAP values of the source's features, as a table in long form.

    Parameters
    ----------
    {shared}
    source
        Modality whose features explain.
    target
        What was explained: a modality, ``"latent"``, or the column of the labels.

    Returns
    -------
    A row for each feature of the source and each `explained`, with `mean_abs_shap` in units of the latter; the most
    important feature first.

    Raises
    ------
    KeyError
        If this was not explained.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=20)
    >>> jm.tl.explain(mdata, model, source="rna", target="protein")
    >>> jm.get.explanation(mdata, source="rna", target="protein").columns.tolist()
    ['feature', 'explained', 'mean_abs_shap']
    """
    frame = mean_values(mdata, source=source, target=target, key_added=key_added).frame
    values = frame.to_numpy().T  # explained × features
    order = np.argsort(-values, axis=1, kind="stable")
    return pd.DataFrame(
        {
            "feature": frame.index.to_numpy()[order.ravel()],
            "explained": np.repeat(frame.columns.to_numpy(), len(frame)),
            "mean_abs_shap": np.take_along_axis(values, order, axis=1).ravel(),
        }
    )


@document("mdata", "key_added")
def shap_values(mdata: MuData, *, source: str, target: str, feature: str, key_added: str = "jamie") -> Explanation:
    """SHAP values by cell, as the object that the plots of the shap package take.

    Parameters
    ----------
    {shared}
    source
        Modality whose features explain.
    target
        What was explained: a modality, ``"latent"``, or the column of the labels.
    feature
        Feature of the target, latent dimension or label that was named in `features` of :func:`jamie.tl.explain`.

    Returns
    -------
    Values, measured features and base of the explained cells. Measured features are on the scale of imputed ones where
    :func:`jamie.pp.prepare` was called on `mdata`, as they are in `.X` otherwise.

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
    >>> model = jm.tl.train(mdata, max_steps=20)
    >>> jm.tl.explain(mdata, model, source="rna", target="protein", features=["protein3"])
    >>> found = jm.get.shap_values(mdata, source="rna", target="protein", feature="protein3")
    >>> found.shape
    (54, 40)
    """
    from shap import Explanation

    found = values_by_cell(mdata, source=source, target=target, feature=feature, key_added=key_added)
    data = found.data.toarray() if sparse.issparse(found.data) else found.data
    return Explanation(
        found.values,
        base_values=np.full(len(found.values), found.base, dtype=np.float32),
        data=np.asarray(data, dtype=np.float32),
        feature_names=list(mdata[source].var_names),
    )


def mean_values(mdata: MuData, *, source: str, target: str, key_added: str = "jamie") -> Means:
    """Table of the means, features × explained, and what it is about."""
    require_name(source, list(mdata.mod), name="source")
    slot, varm, uns = Keys(key_added).shap(safe_name(target)), mdata[source].varm, mdata[source].uns
    if slot not in varm:
        require_name(target, [*mdata.mod, "latent", *mdata.obs.columns], name="target")
    remedy = call(mdata, source, target)
    frame = stored(varm, slot, where=f"mdata[{source!r}].varm", remedy=remedy)
    about = stored_record(uns, slot, where=f"mdata[{source!r}].uns", remedy=remedy)
    names = [str(name) for name in about["outputs"]]
    return Means(
        frame.set_axis(names, axis=1),
        base=np.asarray(about["base"]),
        kept=[Keys(key_added).shap_by_cell(safe_name(target), name) for name in frame.columns],
        scale=str(about["scale"]),
        n_cells=int(about["n_cells"]),
        n_features=int(about["n_features"]),
    )


def values_by_cell(mdata: MuData, *, source: str, target: str, feature: str, key_added: str = "jamie") -> ByCell:
    """Values of the cells that were explained, and what was measured of them; sparse where it is stored sparse."""
    means = mean_values(mdata, source=source, target=target, key_added=key_added)
    adata, names = mdata[source], list(means.frame.columns)
    remedy = call(mdata, source, target, repr(feature))
    at = names.index(require_name(feature, names, name="feature", hint=f"call {remedy}"))
    if means.n_features != adata.n_vars:
        msg = (
            f"expected the {means.n_features:,} features of {source!r} whose values sum to what is explained, found "
            f"{adata.n_vars:,}; call {remedy} again"
        )
        raise InvalidValueError(msg)
    layer = stored(adata.layers, means.kept[at], where=f"mdata[{source!r}].layers", remedy=remedy)
    rows = np.flatnonzero(~np.isnan(layer).all(axis=1))
    if not len(rows):
        msg = f"expected an explained cell in `mdata[{source!r}].layers[{means.kept[at]!r}]`, found none; call {remedy}"
        raise InvalidValueError(msg)
    return ByCell(
        np.asarray(layer)[rows],
        base=float(means.base[at]),
        data=_measured(adata[rows], source, Keys(key_added)),
        cells=adata.obs_names[rows],
        scale=means.scale,
    )


def call(mdata: MuData, source: str, target: str, features: str = "") -> str:
    """The call of `tl.explain` that explains this."""
    is_labels = target in mdata.obs.columns and target not in mdata.mod
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
    return measured(x, kind=about["kind"], depth=float(about["depth"]))

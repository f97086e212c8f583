"""Which features drive what is imputed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.utils import make_index_unique
from mudata import MuData

from jamie._checks import generator, require_name, require_option, require_positive
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import SCHEMA, Keys
from jamie._slots import in_one_line, safe_name, write
from jamie._types import Seed
from jamie.attribution import (
    SourceCells,
    chosen_cells,
    contributions,
    explained_features,
    explained_labels,
    explained_latents,
    gathered,
    shap_contributions,
)
from jamie.data import FeatureNames, Layers, as_given, open_for_model, writable_one
from jamie.model import JAMIE

MOST_VALUES = 500_000_000  # of float32 that are kept by cell: 2 GB
METHODS = ("deeplift", "shap", "kernel")


@in_one_line
@document("mdata or adata", "model", "feature_names", "rng", "key_added", "copy")
def explain(
    mdata: MuData | AnnData,
    model: JAMIE,
    *,
    source: str,
    target: str | None = None,
    features: Sequence[str] | None = None,
    labels: str | None = None,
    groupby: str | None = None,
    group: str | None = None,
    reference: str | None = None,
    n_cells: int | None = None,
    n_background: int = 50,
    method: str = "deeplift",
    by_cell: bool = True,
    layer: Layers = None,
    feature_names: FeatureNames = None,
    rng: Seed = 0,
    key_added: str = "jamie",
    copy: bool = False,
) -> MuData | AnnData | None:
    """SHAP values of the source's features: for imputed features, for latent dimensions, or for the score of a label.

    A cell's imputed value is compared with that of background cells, and the difference is shared out among the
    features of the source without remainder: φ sums to f(cell) − mean f(background). These are DeepLIFT-SHAP values
    of the whole path, normalised features → components → encoder → decoder (and kernel) → units of the target. They
    are taken between components, so that genes by the ten thousand cost little more than a few. Missing values
    count as the training mean, on both sides.

    Parameters
    ----------
    {shared}
    source
        Modality whose features explain; what an AnnData is.
    target
        Modality whose imputed features are explained; without it and without `labels`, the latent dimensions are.
    features
        What to explain: features of the target, latent dimensions such as ``"latent3"``, or labels. All of them if
        `None`, of which only the means are kept.
    labels
        Column of `mdata.obs`: the score of each label is explained, the logit that a logistic regression on the
        latents of the training cells gives it.
    groupby, group
        Column of `mdata.obs`, and the group in it whose cells are explained; all cells of the source if `None`.
    reference
        Group in `groupby` that background cells are drawn from; the training cells if `None`, or all cells
        if the model was trained on none of them.
    n_cells
        Cells to explain, at most, drawn at random; all of them if `None`.
    n_background
        Background cells, at most.
    method
        ``"deeplift"``, between components as above; ``"shap"``, the same values by :class:`shap.DeepExplainer` between
        features, several times slower and for networks of ``recipe="paper"`` only; ``"kernel"``, Shapley values by
        :class:`shap.KernelExplainer`, which knows nothing of the network, for sources of at most 50 features.
    by_cell
        Whether to keep the values of each cell, of features that are named.
    layer
        Layer that holds the values, for all modalities or by modality, instead of that of the training; ``"X"`` for
        the matrix itself.

    Returns
    -------
    `None`, or a changed copy if `copy=True`. Sets, with `<what>` the target, ``latent`` or the labels,

    `mdata[source].varm['jamie_shap_<what>']` : :class:`~pandas.DataFrame` (`n_vars × n_explained`, float32)
        Mean absolute SHAP value of each feature, in units of what is explained.
    `mdata[source].layers['jamie_shap_<what>_<feature>']` : :class:`~numpy.ndarray` (`n_obs × n_vars`, float32)
        SHAP values by cell, NaN for cells that were not explained. Only of `features` that were named, and not if
        `by_cell=False`.
    `mdata[source].uns['jamie_shap_<what>']` : :class:`dict`
        What was explained, `base` (mean over the background) and scale of it, names of the background cells, and
        `additivity`: the largest remainder, in standard deviations of what is explained, or in its mean if it is
        constant.

    Raises
    ------
    KeyError
        If a modality, feature, column or group is not there.
    ValueError
        If there is no such `method`, `target` and `labels` are both given, `groupby` or background is missing, over 2
        GB would be kept by cell, or `method` is not for this network or number of features.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.tl.explain(mdata, model, source="rna", target="protein", features=["protein3"])
    >>> mdata["rna"].varm["jamie_shap_protein"].shape
    (40, 1)
    """
    mdata = writable_one(mdata, source, copy=copy, argument="source")
    rng = generator(rng)
    cells = open_for_model(mdata, model, layer=layer, feature_names=feature_names, key_added=key_added)
    keys = cells.keys
    require_name(source, cells.names, name="source")
    if target is not None and labels is not None:
        msg = f"expected a target or labels, found target={target!r} and labels={labels!r}; call jm.tl.explain for each"
        raise InvalidValueError(msg)
    require_option(method, METHODS, name="method")
    require_positive(n_background=n_background, n_cells=1 if n_cells is None else n_cells)
    adata, preparation = mdata[source], model.preparations_[source]
    what = _require_slot(mdata, model, source, target=target, labels=labels, keys=keys)
    position = cells.matched(source).position
    groups = None if groupby is None else cells.labels(groupby, source).astype(object).to_numpy()
    explained, background = chosen_cells(groups, adata.n_obs, group=group, reference=reference)
    if target is not None:
        subject = explained_features(model, target, features)
    elif labels is None:
        subject = explained_latents(model.network_.n_latent, features)
    else:
        of_cells = cells.labels(labels, source).astype(object).to_numpy()
    train = cells.compared_with(source)
    if background is None:
        background = np.flatnonzero(train)
    source_cells = SourceCells.of(cells, source, preparation)
    if labels is not None:
        latents = model.encode(source_cells.inputs, source)
        subject = explained_labels(latents, of_cells, train, features, source=source)

    background = np.sort(rng.permutation(background)[:n_background])
    if n_cells is not None:
        explained = np.sort(rng.permutation(explained)[:n_cells])
    outputs, readout = subject.outputs, subject.readout
    n_kept = len(outputs) if by_cell and features is not None else 0
    if n_kept * adata.n_obs * adata.n_vars > MOST_VALUES:
        msg = (
            f"expected at most {MOST_VALUES:,} values to keep by cell, found {n_kept} × {adata.n_obs:,} cells × "
            f"{adata.n_vars:,} features of {source!r}; name fewer, or pass by_cell=False to keep means only"
        )
        raise InvalidValueError(msg)
    taken, others = source_cells.take(explained), source_cells.take(background)
    if method == "deeplift":
        each = contributions(model, source, readout, taken, others)
    else:
        each = shap_contributions(model, source, readout, taken, others, method=method, rng=rng)
    result = gathered(each, adata.shape, rows=explained, position=position, n_outputs=len(outputs), n_kept=n_kept)
    about = {
        "schema": SCHEMA,
        "source": source,
        "explains": what,
        "outputs": outputs,
        "scale": subject.scale,
        "base": result.base,
        "background": list(adata.obs_names[background]),
        "method": method,
        "reference": reference or ("training cells" if cells.train(source).any() else "all cells"),
        "n_cells": len(explained),
        "n_features": adata.n_vars,
        "additivity": result.additivity,
        "model": model.fingerprint,
    }
    names = make_index_unique(pd.Index([safe_name(name) for name in outputs]))
    slot = keys.shap(what)
    means = pd.DataFrame(result.mean_abs, index=adata.var_names, columns=names)
    for name in adata.varm.get(slot, ()):  # of an earlier call, whose base may be another
        mdata[source].layers.pop(keys.shap_by_cell(what, name), None)
    write(mdata, source, "varm", slot, means)
    for name, values in zip(names, result.by_cell, strict=False):
        write(mdata, source, "layers", keys.shap_by_cell(what, name), values)
    write(mdata, source, "uns", slot, about)
    return as_given(mdata) if copy else None


def _require_slot(
    mdata: MuData, model: JAMIE, source: str, *, target: str | None, labels: str | None, keys: Keys
) -> str:
    """Return what is explained, by the name that its slots have, unless something else has the same slots."""
    what = target or labels or "latent"
    slot = keys.shap(what)
    remedy = "give the modality another name and train again"
    if labels is not None:
        remedy = f"copy the column, mdata.obs[{labels + '_label'!r}] = mdata.obs[{labels!r}], and pass the copy"
    modalities = [name for name in {**model.preparations_, **mdata.mod} if keys.shap(name) == slot]
    others = [f"the modality {name!r}" for name in modalities if name != target]
    if labels is not None and what == "latent":
        others.append("the latent dimensions")
    earlier = mdata[source].uns.get(slot, {})
    if isinstance(earlier, Mapping) and earlier.get("explains", what) != what:
        others.append(f"what an earlier call explained, {earlier['explains']!r}")
        remedy = "pass another key_added to keep both"
    if others:
        msg = f"expected that `{slot}` is of {what!r} alone, found it taken by {others[0]}; {remedy}"
        raise InvalidValueError(msg)
    return what

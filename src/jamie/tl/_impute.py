"""Predict a modality that was not measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
from anndata.utils import make_index_unique
from mudata import MuData
from scipy import sparse

from jamie._checks import require_name, require_option, require_unique
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import SCHEMA
from jamie._slots import in_one_line, safe_name, write
from jamie._types import Array, Matrix
from jamie.data import Cells, Layers, Rows, claimed, digest, open_for_model, stream, writable
from jamie.model import JAMIE


@in_one_line
@document("mdata", "model", "key_added", "copy")
def impute(
    mdata: MuData,
    model: JAMIE,
    *,
    source: str,
    target: str,
    features: Sequence[str] | None = None,
    out: str | Path | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    threshold: float | None = None,
    layer: Layers = None,
    key_added: str = "jamie",
    copy: bool = False,
) -> MuData | None:
    """Predict features of `target` for every cell measured in `source`, in the target's own units.

    The target's decoder reads the source's latent: decode_target(μ_source); the default recipe mixes in a kernel ridge
    regression fitted on the same pairs. The scale of each kind of target stands in
    :func:`jamie.pp.prepare` and in `mdata[target].uns['jamie_input']['scale']`.

    Parameters
    ----------
    {shared}
    source
        Modality that is measured; `mdata` must have it.
    target
        Modality to predict; `mdata` need not have it.
    features
        Features of the target to predict; all of them if `None`.
    out
        File ``….h5ad`` or folder ``….zarr`` to write to, a block of cells at a time, instead of to `mdata`: for more
        values than fit into memory. A call that was cut off goes on where it was when it is made again. What is there
        under that name is replaced at the end, if it was written by such a call; a link is followed.
    dtype
        Of what is written to `out`.
    threshold
        Write a sparse matrix to `out`, without values that are no further from 0.
    layer
        Layer that holds the values of the source, instead of that of the training; ``"X"`` for the matrix itself.

    Returns
    -------
    `None`, or a changed copy if `copy=True`. Sets

    `mdata[source].obsm['jamie_imputed_<target>']` : :class:`~pandas.DataFrame` (`n_obs × n_features`, float32)
        Imputed features of every cell of the source. In names ``/`` becomes ``_``, as files hold no ``/`` in a key.
    `mdata[source].uns['jamie_imputed_<target>']` : :class:`dict`
        Names of the imputed features, and the kind, scale and depth of the target, and the levels of its features.
    `mdata[target].layers['jamie_imputed']` : :class:`~numpy.ndarray` (`n_obs × n_vars`, float32)
        The same for the cells that the target has too, NaN for its other cells. Only if `mdata` has the target, with
        the model's features, and all of them are imputed.
    `mdata[source].obs['jamie_role']` : categorical (`n_obs`)
        What each cell is to the model, by name and values: ``"train"``, ``"validation"``, ``"held-out"`` or ``"new"``.

    With `out` nothing is set. The file is an AnnData, cells of the source × features of the target, with `.obs` of the
    source, `.var` of the target where `mdata` has it, and
    `.uns['jamie_imputed_<target>']` as above. To read it lazily, take ``anndata.io.sparse_dataset`` or
    ``anndata.experimental.read_elem_lazy`` of its ``X``.

    Raises
    ------
    KeyError
        If a modality or feature is not there.
    ValueError
        If `out` ends otherwise or is something else, or `dtype` or `threshold` are given without it.
    OSError
        If another process writes `out`, or it cannot be written; then nothing is left of it.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=20)
    >>> jm.tl.impute(mdata, model, source="rna", target="protein")
    >>> mdata["rna"].obsm["jamie_imputed_protein"].shape
    (54, 12)
    """
    if out is not None:
        with claimed(out, (".h5ad", ".zarr")) as path:
            cells = open_for_model(mdata, model, layer=layer, key_added=key_added)
            _impute_to(path, cells, model, source, target, features, dtype, threshold)
        return None
    if dtype != "float32" or threshold is not None:
        msg = f"expected `out` with dtype={dtype!r} and threshold={threshold}, found none; pass out='imputed.zarr'"
        raise InvalidValueError(msg)
    mdata = writable(mdata, copy=copy)
    cells = open_for_model(mdata, model, layer=layer, key_added=key_added)
    keys = cells.keys
    values = model.impute(cells, source=source, target=target, features=features)
    names = model.preparations_[target].features[model.columns(target, features)]
    frame = pd.DataFrame(
        values,
        index=mdata[source].obs_names,
        columns=make_index_unique(pd.Index([safe_name(name) for name in names])),
        copy=False,
    )
    about = _about(model, target, names)
    write(mdata, source, "obsm", keys.imputed_from_source(target), frame)
    write(mdata, source, "uns", keys.imputed_from_source(target), about)
    write(mdata, source, "obs", keys.role, cells.role_names(source))
    if target in mdata.mod and features is None and pd.Index(names).equals(cells.features(target)):
        position = cells.cells(source).get_indexer(cells.cells(target))
        same = len(position) == len(values) and bool((position == np.arange(len(values))).all())
        imputed = values if same else np.where((position >= 0)[:, None], values[position], np.float32(np.nan))
        write(mdata, target, "layers", keys.imputed, imputed)
    return mdata if copy else None


def _about(model: JAMIE, target: str, names: Array) -> dict[str, Any]:
    preparation = model.preparations_[target]
    levels = preparation.normaliser.levels
    return {
        "schema": SCHEMA,
        "features": list(names),
        "kind": preparation.kind,
        "scale": preparation.scale,
        "depth": preparation.normaliser.depth,
        "layer": preparation.layer,
        "is_whole": preparation.is_whole,
        "levels": pd.DataFrame({"level": levels}, index=preparation.features[: len(levels)]),
    }


def _impute_to(
    out: Path,
    cells: Cells,
    model: JAMIE,
    source: str,
    target: str,
    features: Sequence[str] | None,
    dtype: str,
    threshold: float | None,
) -> None:
    """Write an AnnData of the source's cells × the target's features, a block of cells at a time."""
    require_option(dtype, ["float32", "float16"], name="dtype")
    require_name(target, list(model.preparations_), name="target")
    require_name(source, list(cells.names), name="source")
    mdata, inputs = cells.mdata, cells.inputs(source)
    columns = model.columns(target, features)
    names = pd.Index(model.preparations_[target].features[columns])
    require_unique(names, where="features", remedy="name each once")

    def read(rows: slice) -> Matrix:
        values = model.translate(inputs[rows], source, target, columns)
        return values if threshold is None else sparse.csr_matrix(np.where(np.abs(values) > threshold, values, 0))

    has_var = target in mdata.mod and names.isin(cells.features(target)).all()
    var = mdata[target].var.loc[names].copy() if has_var else pd.DataFrame(index=names)
    frame = ad.AnnData(obs=mdata[source].obs.copy(), var=var)
    frame.uns[cells.keys.imputed_from_source(target)] = _about(model, target, names.to_numpy())
    matrix = Rows((len(inputs), len(names)), np.dtype(dtype), threshold is not None, read)
    identity = digest(*model.arrays(), inputs, list(frame.obs_names), list(names), dtype, threshold)
    stream(out, frame.write_zarr if out.suffix == ".zarr" else frame.write_h5ad, {"X": matrix}, identity)

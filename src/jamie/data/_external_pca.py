"""Components that the user has already: as scanpy and others write them to `.obsm` and `.varm`."""

from __future__ import annotations

import numpy as np

from jamie._checks import require_name
from jamie._errors import InvalidValueError
from jamie._types import Array

from ._cells import Cells
from ._kinds import Normaliser
from ._moments import combined, moments
from ._prepare import Preparation
from ._rounding import holds_more, is_rounded, may_be_rounded

LOADINGS = {"X_pca": "PCs"}
"""Where loadings stand, if not under the name of the components."""


def external_pca(opened: Cells, name: str, use_rep: str) -> tuple[Preparation, Array]:
    """Preparation and inputs from components of a modality's values as they are, (X − mean) @ loadings.

    Raises
    ------
    KeyError
        If components or loadings are not there.
    ValueError
        If the loadings are not orthonormal, or the components are not those of the values.
    """
    adata, loaded = opened.mdata[name], LOADINGS.get(use_rep, use_rep)
    require_name(use_rep, list(adata.obsm), name="use_rep", hint=f"it names components in mdata[{name!r}].obsm")
    require_name(loaded, list(adata.varm), name="use_rep", hint=f"it needs loadings in mdata[{name!r}].varm")
    loadings = np.ascontiguousarray(adata.varm[loaded], dtype=np.float32)
    scores = np.ascontiguousarray(adata.obsm[use_rep], dtype=np.float32)
    k, products = scores.shape[1], loadings.T @ loadings
    if len(products) != k or not np.allclose(products, np.eye(k), atol=1e-3):
        msg = (
            f"expected orthonormal loadings of {k} components in `mdata[{name!r}].varm[{loaded!r}]`, found "
            f"{len(products)} columns with products of up to {np.abs(products).max():.2g}; "
            "call jm.pp.prepare(mdata) without use_rep"
        )
        raise InvalidValueError(msg)
    train, cells = opened.train(name), opened.matrix(name)
    over = combined(cells.map(moments, description="means"))
    if holds_more(cells) and may_be_rounded(over.mean, np.sqrt(over.variance)).any():
        more = combined(cells.in_double().map(moments, description="means"))
        if is_rounded(more.mean, np.sqrt(more.variance), np.float32).any():
            cells, over = cells.in_double(), more
    mean = np.broadcast_to(over.mean, cells.shape[1])
    preparation = Preparation(
        normaliser=Normaliser("continuous", 1.0, np.empty(0)),
        features=np.asarray(cells.features).astype(str),
        mean=np.ascontiguousarray(mean, dtype=np.float64 if cells.is_double else np.float32),
        sd=np.ones(cells.shape[1], dtype=np.float32),
        loadings=loadings,
        variance=scores[train].var(axis=0, ddof=1),
        openness=np.empty((2, 0), np.float32),
        n_fitted=int(train.sum()),
        layer=opened.layer(name) or "",
    )
    unit = np.sqrt(preparation.variance[0])
    apart = float(np.abs(preparation.transform(cells[:50]) - scores[:50]).max() / unit)
    if not apart < 0.05:
        msg = (
            f"expected `mdata[{name!r}].obsm[{use_rep!r}]` to be the components of `{cells.where}`, found them "
            f"{apart:.2g} standard deviations apart; pass layer= for the values they were made of, or leave out use_rep"
        )
        raise InvalidValueError(msg)
    return preparation, scores

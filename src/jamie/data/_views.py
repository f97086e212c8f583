"""The only reader of MuData: checks once, raises well, and gives frozen arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from jamie._checks import require_choice, require_unique
from jamie._keys import SCHEMA, Keys
from jamie._settings import logger
from jamie._types import KINDS, Array, Kind, Matrix, Pair
from jamie.correspondence import cap_rows, from_names

from ._kinds import detect_kind
from ._prepare import DEFAULT_COMPS, MAX_COMPS, Preparation


@dataclass(frozen=True)
class ModalityView:
    """One modality, prepared: what training may see of it."""

    name: str
    cells: pd.Index
    inputs: Array  # (n, k) float32 components
    preparation: Preparation
    train: Array  # (n,) bool: may be learned from
    values: Array | None  # (n, d) standardised features with NaN, where any value is missing


@dataclass(frozen=True)
class Problem:
    """Prepared modalities by name, and the known pairs F of each two of them."""

    modalities: dict[str, ModalityView]
    known: dict[Pair, sparse.csr_matrix]


def read(
    mdata: MuData,
    *,
    modalities: Sequence[str] | None = None,
    n_comps: int | None = None,
    key_added: str = "jamie",
    seed: int = 0,
) -> Problem:
    """Read a MuData for training; modalities that `pp.prepare` has not prepared are prepared here, unwritten."""
    keys = Keys(key_added)
    names = modality_names(mdata, modalities)
    known = {(a, b): cap_rows(known_pairs(mdata, a, b, keys)) for a, b in combinations(names, 2)}
    for name in names:
        if not any(f.nnz for pair, f in known.items() if name in pair):
            msg = (
                f"expected cells of `mdata[{name!r}]` with a known partner in another modality, found none: no cell name "
                "is shared; call jm.pp.correspondence(mdata, pairs=...) or jm.pp.correspondence(mdata, on=...)"
            )
            raise ValueError(msg)
    views = {}
    for name in names:
        train = training_cells(mdata, name, keys)
        stored = read_preparation(mdata, name, keys, n_train=int(train.sum()))
        preparation = stored or prepare(mdata, name, n_comps=n_comps, key_added=key_added, seed=seed)
        x = matrix(mdata, name, layer=preparation.layer or None)
        inputs = mdata[name].obsm[keys.input] if stored else preparation.transform(x)
        views[name] = ModalityView(
            name=name,
            cells=mdata[name].obs_names,
            inputs=np.asarray(inputs, dtype=np.float32),
            preparation=preparation,
            train=train,
            values=preparation.standardised(x) if has_missing(x) else None,
        )
    return Problem(views, known)


def prepare(
    mdata: MuData,
    name: str,
    *,
    kind: Kind | None = None,
    n_comps: int | None = None,
    layer: str | None = None,
    key_added: str = "jamie",
    seed: int = 0,
) -> Preparation:
    """Fit the preparation of one modality on its training cells."""
    x = matrix(mdata, name, layer=layer)
    found = kind or detect_kind(name, x)
    if n_comps is not None and not 1 <= n_comps <= MAX_COMPS:
        msg = f"expected 1 to {MAX_COMPS} components, found n_comps={n_comps}"
        raise ValueError(msg)
    if kind is None:
        logger.info("`mdata[%r]` is taken as %r; say otherwise with kinds={%r: ...}", name, found, name)
    require_choice(found, KINDS, name=f"kinds[{name!r}]")
    if found != "continuous":
        _require_non_negative(mdata, name, x, found)
    train = training_cells(mdata, name, Keys(key_added))
    return Preparation.fit(
        x if train.all() else x[train],
        np.asarray(mdata[name].var_names),
        kind=found,
        n_comps=DEFAULT_COMPS if n_comps is None else n_comps,
        seed=seed,
        layer=layer or "",
    )


def modality_names(mdata: MuData, modalities: Sequence[str] | None = None) -> list[str]:
    """Names of the modalities to use, checked; all of them if `None`."""
    if not isinstance(mdata, MuData):
        msg = (
            f"expected a MuData, found {type(mdata).__name__}; make one with mudata.MuData({{'rna': ..., 'atac': ...}})"
        )
        raise TypeError(msg)
    names = list(mdata.mod) if modalities is None else list(modalities)
    for name in names:
        require_choice(name, list(mdata.mod), name="modality")
    if len(set(names)) < 2:
        msg = f"expected at least two modalities, found {len(set(names))}: {names}; the MuData has {list(mdata.mod)}"
        raise ValueError(msg)
    for name in names:
        remedy = f"mdata[{name!r}].{{}}_names_make_unique()"
        require_unique(mdata[name].obs_names, where=f"mdata[{name!r}].obs_names", remedy=remedy.format("obs"))
        require_unique(mdata[name].var_names, where=f"mdata[{name!r}].var_names", remedy=remedy.format("var"))
    return names


def writable(mdata: MuData, *, copy: bool) -> MuData:
    """`mdata` or a copy of it; a view is refused, for what is written to its modalities would be lost."""
    if copy:
        return mdata.copy()
    if mdata.is_view:
        msg = "expected a MuData that owns its data, found a view of another; call mdata = mdata.copy() first, or pass copy=True"
        raise ValueError(msg)
    return mdata


def matrix(mdata: MuData, name: str, *, layer: str | None = None) -> Matrix:
    """Matrix of one modality as CSR or dense float32, free of infinities and of cells or features all missing."""
    adata = mdata[name]
    if layer is not None:
        require_choice(layer, list(adata.layers), name="layer")
    x = adata.X if layer is None else adata.layers[layer]
    where = f"mdata[{name!r}].X" if layer is None else f"mdata[{name!r}].layers[{layer!r}]"
    if x is None:
        msg = f"expected values in `{where}`, found none; pass layer= to use one of {list(adata.layers)}"
        raise ValueError(msg)
    x = sparse.csr_matrix(x, dtype=np.float32) if sparse.issparse(x) else np.asarray(x, dtype=np.float32)
    values = x.data if sparse.issparse(x) else x
    if np.isinf(values).any():
        column = x.indices[np.isinf(values)][0] if sparse.issparse(x) else np.argwhere(np.isinf(values))[0, 1]
        msg = (
            f"expected finite values or NaN in `{where}`, found {int(np.isinf(values).sum())} infinite, first in feature "
            f"{adata.var_names[column]!r}; set them to NaN if they are missing"
        )
        raise ValueError(msg)
    missing = (
        np.isnan(x) if not sparse.issparse(x) else sparse.csr_matrix((np.isnan(x.data), x.indices, x.indptr), x.shape)
    )
    if has_missing(x):
        for axis, what, axis_names in ((0, "feature", adata.var_names), (1, "cell", adata.obs_names)):
            empty = np.asarray(missing.sum(axis=axis)).ravel() == x.shape[axis]
            if empty.any():
                msg = (
                    f"expected a measured value in every {what} of `{where}`, found {int(empty.sum())} with NaN only, first "
                    f"{axis_names[empty][0]!r}; drop it: a {what} that was not measured need not be there"
                )
                raise ValueError(msg)
    return x


def has_missing(x: Matrix) -> bool:
    """Whether any value is NaN."""
    return bool(np.isnan(x.data if sparse.issparse(x) else x).any())


def training_cells(mdata: MuData, name: str, keys: Keys) -> Array:
    """Which cells of a modality `pp.split` left for training; all of them where it was not called."""
    cells = mdata[name].obs_names
    if keys.split not in mdata.obs:
        return np.ones(len(cells), dtype=bool)
    return (mdata.obs[keys.split].reindex(cells) != "test").to_numpy()


def known_pairs(mdata: MuData, a: str, b: str, keys: Keys) -> sparse.csr_matrix:
    """Known pairs F (n_a × n_b): as `pp.correspondence` wrote them, else cells of the same name."""
    rows, columns = mdata[a].obs_names, mdata[b].obs_names
    if keys.known(a, b) in mdata.obsp:
        union = mdata.obs_names
        f = sparse.csr_matrix(mdata.obsp[keys.known(a, b)])
        return f[union.get_indexer(rows)][:, union.get_indexer(columns)].astype(np.float32)
    if keys.known(b, a) in mdata.obsp:
        return known_pairs(mdata, b, a, keys).T.tocsr()
    return from_names(rows, columns)


def read_preparation(mdata: MuData, name: str, keys: Keys, *, n_train: int) -> Preparation | None:
    """What `pp.prepare` stored for this modality, checked against the data as it is now; `None` if nothing."""
    adata, remedy = mdata[name], "call jm.pp.prepare(mdata) again"
    if keys.preparation not in adata.uns:
        return None
    stored = adata.uns[keys.preparation]
    where = f"mdata[{name!r}].uns[{keys.preparation!r}]"
    if not isinstance(stored, Mapping) or int(stored.get("schema", -1)) != SCHEMA:
        schema = stored.get("schema", "none") if isinstance(stored, Mapping) else "none"
        msg = f"expected schema {SCHEMA} in `{where}`, found {schema}: another version of jamie wrote it; {remedy}"
        raise ValueError(msg)
    if len(stored["mean"]) != adata.n_vars or keys.loadings not in adata.varm or keys.input not in adata.obsm:
        msg = f"expected `{where}` for {adata.n_vars} features, found {len(stored['mean'])}: the data changed; {remedy}"
        raise ValueError(msg)
    if int(stored["n_fitted"]) != n_train:
        msg = (
            f"expected a preparation fitted on the {n_train} training cells of {name!r}, found one fitted on "
            f"{int(stored['n_fitted'])}: the split changed since; {remedy}"
        )
        raise ValueError(msg)
    return Preparation.from_dict(dict(stored), features=np.asarray(adata.var_names), loadings=adata.varm[keys.loadings])


def _require_non_negative(mdata: MuData, name: str, x: Matrix, kind: Kind) -> None:
    values = x.data if sparse.issparse(x) else x
    if (values < 0).any():
        column = x.indices[values < 0][0] if sparse.issparse(x) else np.argwhere(values < 0)[0, 1]
        msg = (
            f"expected no negative value in `mdata[{name!r}]`, of kind {kind!r}, found {int((values < 0).sum())}, first in "
            f"feature {mdata[name].var_names[column]!r}; pass raw counts by layer=, or kinds={{{name!r}: 'continuous'}}"
        )
        raise ValueError(msg)

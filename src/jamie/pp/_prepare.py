"""Normalise and reduce each modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mudata import MuData

from jamie._checks import generator, require_name
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import Keys
from jamie._slots import in_one_line, write
from jamie._types import Kind, Seed
from jamie.data import (
    DEFAULT_MAX_VALUE,
    EffectColumns,
    external_pca,
    fingerprint,
    open_cells,
    require_several,
    writable,
)
from jamie.data import prepare as fit_preparation


@in_one_line
@document("mdata", "modalities", "rng", "key_added", "copy")
def prepare(
    mdata: MuData,
    *,
    modalities: Sequence[str] | None = None,
    kinds: Mapping[str, Kind] | None = None,
    n_comps: int | Mapping[str, int] | None = None,
    max_value: float | None = DEFAULT_MAX_VALUE,
    layer: str | Mapping[str, str] | None = None,
    use_rep: str | Mapping[str, str] | None = None,
    batch_key: str | None = None,
    covariates: Sequence[str] = (),
    rng: Seed = 0,
    key_added: str = "jamie",
    copy: bool = False,
) -> MuData | None:
    """Normalise, standardise and reduce each modality to the network's input, learning from training cells only.

    Called by :func:`jamie.tl.train` with the defaults where it was not called before. Sparse matrices stay sparse; NaN
    is missing: left out of means and of the loss.

    ============== ============================================ ===========================================
    kind           normalisation                                imputed values
    ============== ============================================ ===========================================
    counts         scaled to the median depth, log1p            log1p of counts per training-median depth
    accessibility  TF-IDF of open / closed                      probability of being open, in [0, 1]
    protein        log1p of counts over the cell's geom. mean   the same centred log-ratio
    continuous     none                                         the input's own units
    ============== ============================================ ===========================================

    Parameters
    ----------
    {shared}
    kinds
        Kind by modality; guessed from name and values, and logged, where not given.
    n_comps
        Principal components, at most 512, for all or by modality; 50 if `None`.
    max_value
        Standard deviations from the mean at which continuous values are clipped, where most of them are not zero, as
        in ``scanpy.pp.scale``; `None`: not clipped. What is imputed is scored against values as measured.
    layer
        Layer to read instead of `.X`, for all or by modality; ``"X"`` for the matrix itself.
    use_rep
        Components in `.obsm` to take instead of new ones, for all or by modality: ``"X_pca"`` of ``scanpy.pp.pca``,
        with its loadings in `.varm`. They must be of `.X`, or the `layer`, as it is, which is then of kind
        ``continuous``: imputed values are on its scale. Whoever made them decided which cells they were learned from.
    batch_key, covariates
        Columns of cells whose effects are taken off before, as in :func:`jamie.tl.train`.

    Returns
    -------
    `None`, or a changed copy if `copy=True`. Sets for each modality `m`

    `mdata[m].obsm['X_jamie_input']` : :class:`~numpy.ndarray` (`n_obs × n_comps`, float32)
        Components of every cell.
    `mdata[m].varm['jamie_loadings']` : :class:`~numpy.ndarray` (`n_vars × n_comps`, float32)
        Orthonormal loadings of the standardised features.
    `mdata[m].uns['jamie_input']` : :class:`dict`
        Kind, scale of imputed values, and what was learned: depth, idf, mean, sd, variance,
        `max_value` (0: not clipped), and the effects of batches and covariates.

    Raises
    ------
    KeyError
        If a modality, layer, `use_rep`, `batch_key` or a covariate is not there.
    ValueError
        If there is no such kind, values are infinite, a feature or cell is all NaN, a modality of counts has negative
        values, `max_value` is negative, components are not those of the values, or a cell has no batch or covariate.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> jm.pp.prepare(mdata, n_comps=5)
    >>> mdata["rna"].obsm["X_jamie_input"].shape
    (54, 5)
    >>> mdata["rna"].uns["jamie_input"]["kind"]
    'counts'
    """
    mdata = writable(mdata, copy=copy)
    cells = open_cells(mdata, modalities=modalities, keys=Keys(key_added), layer=layer)
    require_several(cells)
    for given, argument in ((kinds, "kinds"), (n_comps, "n_comps"), (use_rep, "use_rep")):
        for name in given if isinstance(given, Mapping) else ():
            require_name(name, list(cells.names), name=argument)
    columns = EffectColumns.of(batch_key, covariates)
    if columns and use_rep is not None:
        msg = f"expected no `use_rep` where effects of {columns} are taken off, found {use_rep!r}; leave it out"
        raise InvalidValueError(msg)
    seed, keys = int(generator(rng).integers(2**31)), cells.keys
    fitted, inputs = {}, {}
    for name in cells.names:
        rep = use_rep.get(name) if isinstance(use_rep, Mapping) else use_rep
        if rep is not None:
            fitted[name], inputs[name] = external_pca(cells, name, rep)
            continue
        fitted[name] = fit_preparation(
            cells,
            name,
            kind=(kinds or {}).get(name),
            n_comps=n_comps.get(name) if isinstance(n_comps, Mapping) else n_comps,
            max_value=max_value or 0.0,
            seed=seed,
            columns=columns,
        )
        inputs[name] = fitted[name].inputs(cells.corrected(name, fitted[name]))
    for name in cells.names:
        write(mdata, name, "obsm", keys.input, inputs[name])
        write(mdata, name, "varm", keys.loadings, fitted[name].loadings)
        fitted_on = fingerprint(cells, name, fitted[name])
        write(mdata, name, "uns", keys.preparation, {**fitted[name].to_dict(), "fitted_on": fitted_on})
    return mdata if copy else None

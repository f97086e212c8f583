"""Latents of every cell."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
from anndata import AnnData
from mudata import MuData

from jamie._docs import document
from jamie._settings import logger
from jamie._slots import in_one_line, write
from jamie._types import Array
from jamie.correspondence import cap_rows
from jamie.data import Cells, FeatureNames, Layers, as_given, open_for_model, writable_one
from jamie.model import JAMIE


@in_one_line
@document("mdata or adata", "model", "modality", "feature_names", "key_added", "copy")
def embed(
    mdata: MuData | AnnData,
    model: JAMIE,
    *,
    modality: str | None = None,
    layer: Layers = None,
    feature_names: FeatureNames = None,
    key_added: str = "jamie",
    copy: bool = False,
) -> MuData | AnnData | None:
    """Embed every cell in the joint latent space, on the training data or on new cells.

    The latent of a cell in a modality is the mean μ of its encoder; the joint latent of a cell is the aggregate (eq. 3)
    of those of the modalities that it, or a known partner, was measured in.

    New cells may have their features in another order, other ones beside them, and down to a tenth of those of the
    model: what is missing is expected from the others, and depth is corrected for it. They lie where the training cells
    do, and :func:`jamie.pl.embedding` draws them on these.

    Parameters
    ----------
    {shared}
    layer
        Layer that holds the values, for all modalities or by modality, instead of that of the training; ``"X"`` for
        the matrix itself.

    Returns
    -------
    `None`, or a changed copy if `copy=True`. Sets, in an AnnData the first and the last of

    `mdata[m].obsm['X_jamie']` : :class:`~numpy.ndarray` (`n_obs × n_latent`, float32)
        Latents of the cells of each modality of the model.
    `mdata.obsm['X_jamie']` : :class:`~numpy.ndarray` (`n_obs × n_latent`, float32)
        Joint latents; NaN for cells in no modality of the model.
    `mdata[m].obs['jamie_role']` : categorical (`n_obs`)
        What each cell is to the model, by name and values: ``"train"``, ``"validation"``, ``"held-out"`` or ``"new"``.
    `mdata[m].uns['jamie_placed_by']` : :class:`str`
        Which model placed the cells: latents of two models are not compared.
    `mdata[m].obs['jamie_novelty_<target>']` : float32 (`n_obs`)
        How unlike the training cells each cell is, in what tells another modality, whose imputation is calibrated: its
        mean distance to the 10 nearest of them, in units of what one in twenty known cells exceeds. Above 1 it is of a
        type that was not there, or rare.

    Raises
    ------
    KeyError
        If `mdata` has no modality of the model.
    ValueError
        If too many of the features that the model was trained on are missing, or the values are not of the sort that it
        was trained on, such as normalised ones where it was counts.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> new = jm.datasets.toy(rng=1)
    >>> jm.tl.embed(new, model)
    >>> new.obsm["X_jamie"].shape
    (60, 32)
    >>> query = jm.datasets.toy(rng=2)["rna"]
    >>> jm.tl.embed(query, model, modality="rna")
    >>> query.obsm["X_jamie"].shape
    (54, 32)
    """
    mdata = writable_one(mdata, modality, copy=copy)
    write_latents(open_for_model(mdata, model, layer=layer, feature_names=feature_names, key_added=key_added), model)
    return as_given(mdata) if copy else None


def write_latents(cells: Cells, model: JAMIE) -> None:
    """Write latents and roles of opened cells."""
    latents = model.embed(cells)
    joint, roles = joint_latents(cells, model, latents), {name: cells.role_names(name) for name in cells.names}
    directions = [(source, target) for source, target in model.confidences_ if source in latents]
    novelty = {pair: model.novelty(cells.inputs(pair[0]), *pair) for pair in directions}
    placed_by = model.placement
    for name, latent in latents.items():
        write(cells.mdata, name, "obsm", cells.keys.latent, latent)
        write(cells.mdata, name, "obs", cells.keys.role, roles[name])
        write(cells.mdata, name, "uns", cells.keys.placed_by, placed_by)
    for source, target in permutations(model.preparations_, 2):
        if (source, target) in novelty:
            write(cells.mdata, source, "obs", cells.keys.novelty(target), novelty[source, target])
        elif source in latents and cells.keys.novelty(target) in cells.mdata[source].obs:
            del cells.mdata[source].obs[cells.keys.novelty(target)]  # of another model
    _forget_others(cells, latents)
    write(cells.mdata, None, "obsm", cells.keys.latent, joint)


def _forget_others(cells: Cells, latents: dict[str, Array]) -> None:
    """Take away latents under this prefix that another model wrote: beside those of this one they mean nothing."""
    for name, adata in cells.mdata.mod.items():
        if name not in latents and cells.keys.latent in adata.obsm:
            del adata.obsm[cells.keys.latent]
            adata.uns.pop(cells.keys.placed_by, None)
            adata.obs = adata.obs.drop(columns=cells.keys.role, errors="ignore")
            logger.warning(
                "latents of %r were of a model without those of %s, and are taken away; key_added='second' keeps both",
                name, " and ".join(map(repr, latents)),
            )  # fmt: skip


def joint_latents(cells: Cells, model: JAMIE, latents: dict[str, Array]) -> Array:
    """One latent for each cell of the MuData: the mean of its aggregates, which agree where its pairs are certain."""
    known = {(a, b): cap_rows(cells.known(a, b)) for a, b in combinations(latents, 2)}
    total = np.zeros((cells.n_obs, model.network_.n_latent), dtype=np.float32)
    count = np.zeros((cells.n_obs, 1), dtype=np.float32)
    for name, aggregated in model.aggregate(latents, known).items():
        rows = cells.rows(name)
        total[rows] += aggregated
        count[rows] += 1
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)

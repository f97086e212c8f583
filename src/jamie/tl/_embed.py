"""Latents of every cell."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from mudata import MuData

from jamie._docs import document
from jamie._keys import Keys
from jamie._slots import write
from jamie._types import Array
from jamie.correspondence import cap_rows
from jamie.data import known_pairs, writable
from jamie.model import JAMIE


@document("mdata", "model", "key_added", "copy")
def embed(mdata: MuData, model: JAMIE, *, key_added: str = "jamie", copy: bool = False) -> MuData | None:
    """Embed every cell in the joint latent space, on the training data or on new cells.

    The latent of a cell in a modality is the mean μ of its encoder; the joint latent of a cell is the aggregate (eq. 3)
    of those of the modalities that it, or a known partner, was measured in.

    Parameters
    ----------
    {shared}

    Returns
    -------
    `None`, or a changed copy if `copy=True`. Sets

    `mdata[m].obsm['X_jamie']` : :class:`~numpy.ndarray` (`n_obs × n_latent`, float32)
        Latents of the cells of each modality of the model.
    `mdata.obsm['X_jamie']` : :class:`~numpy.ndarray` (`n_obs × n_latent`, float32)
        Joint latents; NaN for cells in no modality of the model.

    Raises
    ------
    KeyError
        If `mdata` has no modality of the model.
    ValueError
        If too many of the features that the model was trained on are missing.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=20)
    >>> new = jm.datasets.toy(rng=1)
    >>> jm.tl.embed(new, model)
    >>> new.obsm["X_jamie"].shape
    (60, 32)
    """
    mdata = writable(mdata, copy=copy)
    keys = Keys(key_added)
    latents = model.embed(mdata, key_added=key_added)
    joint = joint_latents(mdata, model, latents, keys)
    for name, latent in latents.items():
        write(mdata, name, "obsm", keys.latent, latent)
    write(mdata, None, "obsm", keys.latent, joint)
    return mdata if copy else None


def joint_latents(mdata: MuData, model: JAMIE, latents: dict[str, Array], keys: Keys) -> Array:
    """One latent for each cell of the MuData: the mean of its aggregates, which agree where its pairs are certain."""
    known = {(a, b): cap_rows(known_pairs(mdata, a, b, keys)) for a, b in combinations(latents, 2)}
    total = np.zeros((mdata.n_obs, model.recipe_.n_latent), dtype=np.float32)
    count = np.zeros((mdata.n_obs, 1), dtype=np.float32)
    for name, aggregated in model.aggregate(latents, known).items():
        rows = mdata.obs_names.get_indexer(mdata[name].obs_names)
        total[rows] += aggregated
        count[rows] += 1
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)

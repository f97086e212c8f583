"""Train the joint VAE."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mudata import MuData

from jamie._compat import version
from jamie._docs import document
from jamie._keys import SCHEMA, Keys
from jamie._slots import in_one_line, write
from jamie._types import Seed
from jamie.data import Layers, open_cells, writable
from jamie.model import JAMIE, announce
from jamie.train import Recipe

from ._embed import write_latents
from ._made_by import write_model


@in_one_line
@document("mdata", "modalities", "rng", "key_added")
def train(
    mdata: MuData,
    *,
    modalities: Sequence[str] | None = None,
    recipe: str | Recipe = "default",
    n_latent: int | None = None,
    n_networks: int | None = None,
    dropout: float | None = None,
    batch_size: int | None = None,
    max_steps: int | None = None,
    batch_key: str | None = None,
    covariates: Sequence[str] = (),
    layer: Layers = None,
    device: str | torch.device = "auto",
    checkpoint: str | Path | None = None,
    rng: Seed = 0,
    key_added: str = "jamie",
) -> JAMIE:
    """Train a joint VAE on the modalities and embed every cell.

    Prepares the modalities and pairs cells of the same name where :func:`jamie.pp.prepare` and
    :func:`jamie.pp.correspondence` were not called. Cells held out by :func:`jamie.pp.split` are not learned from;
    cells without a partner train their own modality, and where few partners are known the default recipe infers likely
    ones from those pairs (:func:`jamie.pp.infer_correspondence`, whose result is used where it was called before).
    Ctrl-C, or a SIGTERM for which the caller has no handler, ends training after its step and keeps the best weights so
    far; the summary says so, as `interrupted`. A second one ends the call. A step whose loss or gradient is not finite
    changes nothing, and the log names it; two in a row end the training with the best weights so far, and the summary
    says so, as `diverged`.

    Parameters
    ----------
    {shared}
    recipe
        ``"default"``, stopped early on held-out pairs; ``"integrate"``, which fits exactly these cells and is not to
        impute with; or ``"paper"``, the published model. The method page of the documentation has a table of them.
    n_latent
        Latent dimensions of a network; the recipe's if `None`.
    n_networks
        Networks that are trained side by side; the recipe's if `None`. What is imputed is their mean, which is less a
        matter of the seed than that of one, and a cell has the latents of all of them.
    dropout
        Share of hidden units dropped in training; the recipe's if `None`. The paper has 0.6 to impute and 0 to only
        integrate.
    batch_size
        Pairs, or cells without one, a step; the recipe's if `None`, and never more than there are. Where cells are
        measured in more than two modalities, recipes that count steps take as many fewer, so that a step sees as many
        cells, unless a recipe is given as a value.
    max_steps
        Steps at most, epochs with ``recipe="paper"``; the recipe's if `None`. The default recipe spends them in three
        cycles, each twice as long as the one before, and stops where a cycle was no better.
    batch_key
        Column of cells, such as their batch or donor, whose effect on each feature is taken off before anything else is
        learned; the method page says how. A batch need not have pairs. With it every verb reads the column, of new
        cells too, and imputed values are those of the average training cell.
    covariates
        Columns of numbers whose effects are taken off in the same way.
    layer
        Layer to read instead of `.X`, for all or by modality, where :func:`jamie.pp.prepare` was not called.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or another device of torch that this machine has, as text or
        :class:`torch.device`.
    checkpoint
        Folder that keeps the state of the training, every ten seconds or so, at less than a hundredth of the time. A
        call that was killed or interrupted goes on from there when it is made again, and ends with the bits that it
        would have had. The state of a finished training stays, so that the same call gives its model again at once, and
        another one replaces it. Delete the folder when the model is saved.

    Returns
    -------
    The trained model. Sets what :func:`jamie.tl.embed` sets, and

    `mdata.uns['jamie']` : :class:`dict`
        Versions, seed, device, modalities, recipe, history (a data frame), and the summary as
        :func:`jamie.get.summary` reads it.

    Raises
    ------
    TypeError
        If `mdata` is no MuData.
    KeyError
        If a modality, `batch_key` or a covariate is not there.
    ValueError
        If there is no such recipe, there are fewer than two modalities, neither known nor inferred pairs, repeated
        names, values that the kind forbids, fewer training cells than a batch, slots of another version, or a training
        that diverged before any weights were good; if a cell has no batch or covariate, or all cells of a batch are
        held out. With a `checkpoint` also if it is damaged or of a training on other data or with other settings that
        is not finished, if `rng` is `None`, or under `torchrun`.
    OSError
        If another process trains with the `checkpoint`, or the folder cannot be written: it is read-only, or the disk
        is full. The last state stays.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=20, rng=0)
    >>> mdata["protein"].obsm["X_jamie"].shape
    (54, 32)

    One that goes on after it was killed:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model = jm.tl.train(mdata, max_steps=20, checkpoint=folder)
    """
    mdata = writable(mdata, copy=False)
    model = JAMIE(
        recipe,
        n_latent=n_latent,
        n_networks=n_networks,
        dropout=dropout,
        batch_size=batch_size,
        max_steps=max_steps,
        batch_key=batch_key,
        covariates=covariates,
        device=device,
        rng=rng,
    )
    cells = open_cells(mdata, modalities=modalities, keys=Keys(key_added), layer=layer)
    model.fit(cells, checkpoint=checkpoint)
    announce(model.summary_, model.recipe_)
    write_latents(model.open(cells), model)
    parameters = {
        "schema": SCHEMA,
        "version": version("jamie-tools"),
        "versions": {name: version(name) for name in ("numpy", "scipy", "scikit-learn", "torch")},
        "device": str(model.network_.device),
        **({"seed": int(rng)} if isinstance(rng, int | np.integer) else {}),
        "modalities": list(model.preparations_),
        **({"batch_key": batch_key} if batch_key is not None else {}),
        **({"covariates": list(covariates)} if covariates else {}),
        "recipe": model.recipe_.to_dict(),
        "history": model.history_.copy(),
        "summary": model.summary_.to_dict(),
    }
    write(mdata, None, "uns", Keys(key_added).model, parameters)
    write_model(cells, model, Keys(key_added).model)
    return model

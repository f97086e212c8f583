"""Carry labels from one modality to another, or from a reference to new cells."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from scipy import sparse

from jamie._checks import is_number, require_name, require_option, require_positive, typed
from jamie._docs import document
from jamie._errors import InvalidValueError, JamieError, MissingNameError, WrongTypeError
from jamie._keys import Keys
from jamie._settings import logger
from jamie._slots import in_one_line, write
from jamie._types import Array
from jamie.correspondence import from_mask, likeliest, nearest, probability_of_first, temperature
from jamie.data import (
    VALIDATION,
    Cells,
    FeatureNames,
    Layers,
    as_given,
    as_mudata,
    correspondences,
    open_cells,
    require_model,
    writable_one,
)
from jamie.model import JAMIE

from ._match import FEWEST_UNSEEN, latents, pairs_of_roles, two_names

MOST_CLASSES = 50


@in_one_line
@document("mdata or adata", "feature_names", "key_added", "copy")
def transfer_labels(
    mdata: MuData | AnnData,
    model: JAMIE | None = None,
    *,
    labels: str,
    source: str,
    target: str,
    reference: MuData | AnnData | None = None,
    through: Literal["latent", "inferred"] = "latent",
    n_neighbors: int = 15,
    max_novelty: float | None = None,
    layer: Layers = None,
    feature_names: FeatureNames = None,
    key_added: str = "jamie",
    copy: bool = False,
) -> MuData | AnnData | None:
    """Carry labels of the cells of one modality to those of another, by a vote of their neighbours or partners.

    With a `reference` they are carried from its cells to those of `mdata`, new ones or any others, within one modality
    or from one to another: the `model` places both. The reference is only read.

    Every labelled cell of the source may vote, so also the target cell's own other half. Cells without a label do not.

    Shares of votes through the latent are surer than they are right, for neighbours are like each other. A temperature
    makes them probabilities, the one under which the labels of the validation cells of the training are likeliest,
    without the vote of their own other half. It takes 30 of them whose other half has a label; with fewer, and through
    an inferred correspondence, the confidence is the share of votes. :func:`jamie.get.reliability` compares it with
    how many labels are right.

    Parameters
    ----------
    {shared}
    model
        A trained model, which places the cells. Without it the latents that they have are taken.
    labels
        Column of `mdata[source].obs`, or else of `mdata.obs`, of categories such as the cell type; of the reference
        where there is one.
    source
        Modality that is labelled; what a `reference` that is an AnnData is.
    target
        Modality that gets the labels; what `mdata` is if it is an AnnData.
    reference
        Labelled cells, such as those of the training; those of `mdata` itself if `None`. They are read as the model was
        trained, by its layers and names of features: `layer` and `feature_names` are of `mdata` alone.
    through
        ``"latent"``: the nearest labelled cells of the source vote, one vote each. ``"inferred"``: the partners by
        :func:`jamie.pp.infer_correspondence` vote, each with its probability; no model is needed.
    n_neighbors
        How many cells vote through the latent; all labelled ones where there are fewer.
    max_novelty
        Leave cells without a label that are unlike anything that the model was trained on: those of a larger
        novelty. That is `jamie_novelty_<source>`, as :func:`jamie.tl.train` and :func:`jamie.tl.embed` write it; with a
        model it is computed, and within one modality the smallest of those for the other modalities counts. One in
        twenty cells like those of the training is above 1. If `None`, all cells get a label.
    layer
        Layer of `mdata` that holds the values, for all modalities or by modality, instead of that of the training;
        ``"X"`` for the matrix itself. With a model only, as `feature_names`; not of the reference.

    Returns
    -------
    `None`, or a changed copy if `copy=True`. Sets

    `mdata[target].obs['jamie_label_<labels>']` : categorical (`n_obs`)
        The label with the most votes, the first in order of the categories on a tie; categories are the source's. NaN
        where no labelled cell votes, as through an inferred correspondence a cell may have no partner, and for cells
        beyond `max_novelty`.
    `mdata[target].obs['jamie_confidence_<labels>']` : float32 (`n_obs`)
        Probability of that label, from 0 to 1; NaN where there is none.
    `mdata[target].obs['jamie_seen_<labels>']` : categorical (`n_obs`)
        What each cell is to the model by which this was done, as ``jamie_role``; not where none has placed the cells.

    Raises
    ------
    KeyError
        If a modality, the labels, the latents, the inferred correspondence, the novelty of the cells, or in the
        reference the layer of the training is not there.
    ValueError
        If `through` is neither of the two, the labels are numbers rather than categories, no cell has one, the two
        modalities are one and there is no reference, their latents are not of the same model, `n_neighbors` is below 1,
        there is a reference, a `layer` or `feature_names` and no model, `max_novelty` is not above 0, the model tells
        no novelty, or the reference has too few features by the names of the training.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.tl.transfer_labels(mdata, labels="cell_type", source="rna", target="protein")
    >>> mdata["protein"].obs[["jamie_label_cell_type", "jamie_confidence_cell_type"]].shape
    (54, 2)

    Labels of a reference, for the genes of other cells:

    >>> query = mdata["rna"][:20].copy()
    >>> jm.tl.transfer_labels(query, model, reference=mdata, labels="cell_type", source="protein", target="rna")
    >>> query.obs[["jamie_label_cell_type", "jamie_confidence_cell_type"]].shape
    (20, 2)
    """
    if isinstance(mdata, AnnData) and reference is None:
        msg = (
            "expected a MuData, found AnnData, which has no labelled modality beside it; pass the labelled cells, "
            "reference=mdata, and the model"
        )
        raise WrongTypeError(msg)
    mdata, keys = writable_one(mdata, target, copy=copy, argument="target"), Keys(key_added)
    require_option(through, ["latent", "inferred"], name="through")
    if model is None and reference is None:
        _require_nothing(layer, feature_names)
        cells, query = open_cells(mdata, modalities=two_names(source, target), keys=keys), None
    else:
        placing = _placing(model, through)
        query = open_cells(mdata, model=placing, keys=keys, layer=layer, feature_names=feature_names)
        cells = query if reference is None else _labelled(reference, placing, source, target)
        require_name(target, list(query.names), name="target")
        require_name(source, two_names(source, target) if reference is None else list(cells.names), name="source")
    classes = _classes(cells, labels, source)
    slots = keys.label(labels), keys.confidence(labels)
    labelled = np.flatnonzero(classes.codes >= 0)
    is_new = _is_new(cells if query is None else query, source, target, max_novelty)
    tau = None
    if through == "latent":
        require_positive(n_neighbors=n_neighbors)
        placed = _by_slots(cells, source, target) if query is None else _by_model(cells, source, query, target)
        x, y = placed.labelled, placed.asked
        voters = labelled[nearest(y, x[labelled], n_neighbors)[1]]
        tau = _temperature(placed, classes, n_neighbors)
        partners = _one_vote_each(voters, len(x))
    else:
        cells = open_cells(mdata, modalities=[target, source], keys=keys)
        partners = correspondences(cells, "inferred")[target, source]
    winner, confidence = _decided(_votes(partners, classes), tau, _n_labels(classes))
    if is_new is not None:
        winner, confidence = np.where(is_new, -1, winner), np.where(is_new, np.float32(np.nan), confidence)
        logger.info("%d of %d cells of %r are unlike anything trained on: no label", is_new.sum(), len(is_new), target)
    write(mdata, target, "obs", slots[0], pd.Categorical.from_codes(winner, dtype=classes.dtype))
    write(mdata, target, "obs", slots[1], confidence)
    role = mdata[target].obs.get(keys.role) if query is None else query.role_names(target)
    if role is not None:
        write(mdata, target, "obs", keys.seen(labels), role)
    elif keys.seen(labels) in mdata[target].obs:
        del mdata[target].obs[keys.seen(labels)]  # of labels that were carried over before
    return as_given(mdata) if copy else None


class _Placed(NamedTuple):
    """Latents of the cells that vote and of those that are asked about, and some of which the answer is known."""

    labelled: Array  # (n, g)
    asked: Array  # (m, g)
    validation: Array  # (v, g) of cells that the training did not learn from
    own: Array  # (v,) their other halves among the labelled


def _by_slots(cells: Cells, source: str, target: str) -> _Placed:
    """Latents as they were written."""
    x, y = latents(cells, source, target)
    rows, own = likeliest(pairs_of_roles(cells, target, source, ["validation"]))
    return _Placed(x, y, y[rows], own)


def _by_model(cells: Cells, source: str, query: Cells, target: str) -> _Placed:
    """Latents as the model places the cells, labelled ones of `cells` and others of `query`."""
    model = query.model
    assert isinstance(model, JAMIE)  # they were opened for it
    x, y = model.encode(cells.inputs(source), source), model.encode(query.inputs(target), target)
    is_validation = cells.role(source) == VALIDATION
    own = np.flatnonzero(is_validation)
    if source == target:
        return _Placed(x, y, x[own], own)
    if target not in cells.names:
        return _Placed(x, y, y[:0], own[:0])
    rows, own = likeliest(from_mask(cells.known(target, source), cells.role(target) == VALIDATION, is_validation))
    return _Placed(x, y, model.encode(cells.inputs(target)[rows], target), own)


def _placing(model: JAMIE | None, through: str) -> JAMIE:
    """The model, if it is one and the latent is what labels are carried through."""
    if model is None or through != "latent":
        msg = (
            f"expected a model, and through='latent', with a reference, found model={model!r} and through={through!r}; "
            "call jm.tl.transfer_labels(query, model, reference=mdata, ...)"
        )
        raise InvalidValueError(msg)
    require_model(model)
    return model


def _require_nothing(layer: Layers, feature_names: FeatureNames) -> None:
    """Raise if it is said how values are read where none are."""
    given = {"layer": layer, "feature_names": feature_names}
    for name, value in given.items():
        if value is not None:
            msg = (
                f"expected a model with `{name}`, found none: the latents that the cells have are taken as they are; "
                f"pass the model, or leave `{name}` out"
            )
            raise InvalidValueError(msg)


def _labelled(reference: MuData | AnnData, model: JAMIE, source: str, target: str) -> Cells:
    """The cells of the reference, read as the model was trained: what is said of the query does not hold for them."""
    cells = open_cells(as_mudata(reference, source, argument="source"), model=model)
    try:
        for name in dict.fromkeys((source, target)):
            if name in cells.names:
                cells.inputs(name)
    except JamieError as error:
        what = str(error).partition("; ")[0].replace("mdata[", "reference[")
        msg = (
            f"{what}; the reference is read as the model was trained, and `layer` and `feature_names` are of the query "
            "alone: give the reference that layer, or these names of features"
        )
        raise type(error)(msg) from None
    return cells


def _is_new(cells: Cells, source: str, target: str, most: float | None) -> Array | None:
    """Which cells of the target are unlike those of the training, in what tells the source; `None` if not asked for."""
    if most is None:
        return None
    if not is_number(most) or not most > 0:
        msg = f"expected `max_novelty` as a number above 0, found {typed(most)}; pass max_novelty=1"
        raise InvalidValueError(msg)
    if isinstance(cells.model, JAMIE):
        return _novelty(cells, cells.model, source, target) > most
    key, obs = cells.keys.novelty(source), cells.mdata[target].obs
    if key not in obs:
        msg = (
            f"expected the novelty of the cells in `mdata[{target!r}].obs[{key!r}]`, found none; call "
            "jm.tl.embed(mdata, model) with a model whose imputation is calibrated, or leave out `max_novelty`"
        )
        raise MissingNameError(msg)
    return ~(obs[key].to_numpy(dtype=float) <= most)  # also where nothing is known, of cells that came later


def _novelty(cells: Cells, model: JAMIE, source: str, target: str) -> Array:
    """How unlike the training cells those of the target are; within a modality, in what they are the least so."""
    others = [b for a, b in model.confidences_ if a == target and source in (target, b)]
    if not others:
        remedy = "train on more pairs" if model.recipe_.kernel_mix else "train with recipe='default'"
        msg = (
            f"expected a model that tells how new cells of {target!r} are, found one whose imputation from {target!r} "
            f"is not calibrated; {remedy}, or leave out `max_novelty`"
        )
        raise InvalidValueError(msg)
    return np.min([model.novelty(cells.inputs(target), target, other) for other in others], axis=0)


def _temperature(placed: _Placed, classes: pd.Categorical, n_neighbors: int) -> float | None:
    """Temperature of the votes, by validation cells whose other half has a label but no vote; `None` if few do."""
    known = classes.codes[placed.own] >= 0
    asked, own = placed.validation[known], placed.own[known]
    if len(own) < FEWEST_UNSEEN:
        return None
    labelled = np.flatnonzero(classes.codes >= 0)
    voters = labelled[nearest(asked, placed.labelled[labelled], n_neighbors + 1)[1]]
    others = np.argsort(voters == own[:, None], axis=1, kind="stable")[:, : max(voters.shape[1] - 1, 1)]
    votes = _votes(_one_vote_each(np.take_along_axis(voters, others, 1), len(placed.labelled)), classes)
    return temperature(votes, classes.codes[own], _n_labels(classes))


def _one_vote_each(voters: Array, n_source: int) -> sparse.csr_matrix:
    first = np.arange(len(voters) + 1) * voters.shape[1]
    return sparse.csr_matrix((np.ones(voters.size), voters.ravel(), first), shape=(len(voters), n_source))


def _classes(cells: Cells, labels: str, source: str) -> pd.Categorical:
    """Labels of the cells of the source, checked to be categories."""
    column = cells.labels(labels, source)
    own = labels in cells.mdata[source].obs
    where = f"mdata[{source!r}].obs[{labels!r}]" if own else f"mdata.obs[{labels!r}]"
    values = column.dropna()
    if not len(values):
        msg = f"expected labels of cells of {source!r} in `{where}`, found none; all {len(column)} are missing"
        raise InvalidValueError(msg)
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        n = values.nunique()
        if n > MOST_CLASSES or (values != values.round()).any():
            msg = (
                f"expected categories in `{where}`, found {column.dtype} with {n} values; cut it into classes with "
                "pd.cut, or make it .astype('category') if the numbers name classes"
            )
            raise InvalidValueError(msg)
    return pd.Categorical(column)


def _n_labels(classes: pd.Categorical) -> int:
    """Classes that cells have."""
    return len(np.unique(classes.codes[classes.codes >= 0]))


def _votes(partners: sparse.csr_matrix, classes: pd.Categorical) -> sparse.csr_matrix:
    """Votes for each class, (n, classes); the weights of cells without a label are left out."""
    codes = classes.codes
    (labelled,) = np.nonzero(codes >= 0)
    shape = len(codes), len(classes.categories)
    one_hot = sparse.csr_matrix((np.ones(len(labelled)), (labelled, codes[labelled])), shape=shape)
    return sparse.csr_matrix(partners.astype(np.float64) @ one_hot)


def _decided(votes: sparse.csr_matrix, tau: float | None, n_labels: int) -> tuple[Array, Array]:
    """Class with the most votes, −1 for none, and its probability; without a temperature its share of the votes."""
    total = np.asarray(votes.sum(axis=1)).ravel()
    if tau is None:
        most = votes.max(axis=1).toarray().ravel()
        confidence = np.divide(most, total, out=np.full(len(total), np.nan), where=total > 0)
    else:
        confidence = np.where(total > 0, probability_of_first(votes, tau, n_labels), np.nan)
    return np.where(total > 0, np.asarray(votes.argmax(axis=1)).ravel(), -1), confidence.astype(np.float32)

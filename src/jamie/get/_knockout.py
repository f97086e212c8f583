"""Knock-outs of features and groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from mudata import MuData

from jamie._checks import require_name, require_option
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import Keys
from jamie.attribution import WORSE, one_tailed
from jamie.data import require_mudata

from ._stored import stored, stored_record


@dataclass(frozen=True)
class Knockouts:
    """A measure without each of some features or groups.

    Attributes
    ----------
    table
        `value`, `loss` and one-tailed `p_value` by feature or group, of groups also `n_features`, `random` and
        `random_sd`; the most important first.
    baseline
        The measure with all features.
    worse
        Direction in which the measure gets worse, 1 or −1.
    mean, sd
        Of `value`, over all features: what to expect without any one of them.
    measure
        ``"correlation"``, ``"lta"``, ``"likelihood"`` or ``"foscttm"``.
    outputs
        Features of the target that a correlation is the mean over.
    labels
        Column of the labels that were judged by; empty if none.
    n_cells, cells
        How many cells the measure is over, and which.
    """

    table: pd.DataFrame
    baseline: float
    worse: int
    mean: float
    sd: float
    measure: str
    outputs: tuple[str, ...]
    labels: str
    n_cells: int
    cells: str


@document("mdata", "key_added")
def knockout(
    mdata: MuData,
    *,
    source: str,
    target: str,
    measure: str = "correlation",
    feature: str | None = None,
    groups: bool = False,
    key_added: str = "jamie",
) -> Knockouts:
    """What a measure is without each feature or group of the source: the numbers of :func:`jamie.pl.knockout`.

    Parameters
    ----------
    {shared}
    source, target
        Modalities, as :func:`jamie.tl.knockout` had them.
    measure
        ``"correlation"``, ``"lta"``, ``"likelihood"`` or ``"foscttm"``.
    feature
        Feature of the target whose correlation is asked for; the mean over features if `None`.
    groups
        Whether what was found of groups is asked for instead of single features.

    Returns
    -------
    A `table` of the `value` without each feature or group, the `loss` by it and its `p_value`: the share of features,
    or of random sets and the group itself, whose loss is at least as large; the most important first. And the
    `baseline` with all features, `mean` and `sd` of the values, and which `cells` they are over.

    Raises
    ------
    KeyError
        If the measure or feature was not computed.
    ValueError
        If `feature` is not of a correlation or with groups.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> _ = jm.tl.knockout(mdata, model, source="rna")
    >>> without = jm.get.knockout(mdata, source="rna", target="protein")
    >>> without.table.shape, without.cells
    ((40, 3), 'in-sample')
    """
    require_mudata(mdata)
    for name, value in (("source", source), ("target", target)):
        require_name(value, list(mdata.mod), name=name)
    require_option(measure, WORSE, name="measure")
    if feature is not None and (groups or measure != "correlation"):
        given = "groups" if groups else f"measure={measure!r}"
        msg = f"expected `feature` with the correlation and without groups, found it with {given}; leave out `feature`"
        raise InvalidValueError(msg)
    keys, adata = Keys(key_added), mdata[source]
    slot = keys.knockout_groups(measure, target) if groups else keys.knockout(measure, target)
    options = f", measure={measure!r}" + (", labels=..." if measure in ("lta", "likelihood") else "")
    options += ", groups=..." if groups else ""
    remedy = f"jm.tl.knockout(mdata, model, source={source!r}, target={target!r}{options})"
    about = stored_record(adata.uns, slot, where=f"mdata[{source!r}].uns", remedy=remedy)
    if groups:
        return _knockouts(about["table"], float(about["baseline"]), about)
    where = f"mdata[{source!r}]."
    if feature is None:
        values, baseline = stored(adata.var, slot, where=f"{where}var", remedy=remedy), float(about["baseline"])
    else:
        outputs = list(map(str, about["outputs"]))
        at = outputs.index(require_name(feature, outputs, name="feature", hint=f"or call {remedy}"))
        values = stored(adata.varm, slot, where=f"{where}varm", remedy=remedy).iloc[:, at]
        baseline = float(about["baselines"][at])
    table = pd.DataFrame({"value": values, "loss": WORSE[measure] * (values - baseline)}).dropna()
    table["p_value"] = one_tailed(table["loss"])
    return _knockouts(table.sort_values("loss", ascending=False, kind="stable"), baseline, about)


def _knockouts(table: pd.DataFrame, baseline: float, about: Mapping[str, Any]) -> Knockouts:
    measure = str(about["measure"])
    return Knockouts(
        table,
        baseline,
        worse=WORSE[measure],
        mean=float(table["value"].mean()),
        sd=float(table["value"].std(ddof=0)),
        measure=measure,
        outputs=tuple(map(str, about.get("outputs", ()))),
        labels=str(about.get("labels", "")),
        n_cells=int(about["n_cells"]),
        cells=str(about["cells"]),
    )

"""Knock-outs and links of regions and genes, as they were stored: for their figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from mudata import MuData

from jamie._checks import require_name, require_option
from jamie._errors import InvalidValueError
from jamie._keys import Keys
from jamie.attribution import WORSE

from ._stored import stored, stored_record


class Knockouts(NamedTuple):
    """A measure without each of some features or groups."""

    table: pd.DataFrame  # value and loss, of groups also n_features, random and random_sd; the most important first
    baseline: float  # the measure with all features
    worse: int  # direction in which the measure gets worse
    about: Mapping[str, Any]


def knockouts(
    mdata: MuData,
    *,
    source: str,
    target: str,
    measure: str,
    feature: str | None = None,
    groups: bool = False,
    key_added: str = "jamie",
) -> Knockouts:
    """What `tl.knockout` found of single features, of one `feature` of the target, or of groups."""
    for name, value in (("source", source), ("target", target)):
        require_name(value, list(mdata.mod), name=name)
    require_option(measure, WORSE, name="measure")
    if feature is not None and (groups or measure != "correlation"):
        found = "groups" if groups else f"measure={measure!r}"
        msg = f"expected `feature` with the correlation and without groups, found it with {found}; leave out `feature`"
        raise InvalidValueError(msg)
    keys = Keys(key_added)
    slot = keys.knockout_groups(measure, target) if groups else keys.knockout(measure, target)
    given = f", measure={measure!r}" + (", labels=..." if measure in ("lta", "likelihood") else "")
    given += ", groups=..." if groups else ""
    remedy = f"jm.tl.knockout(mdata, model, source={source!r}, target={target!r}{given})"
    adata, where = mdata[source], f"mdata[{source!r}]."
    about = stored_record(adata.uns, slot, where=f"{where}uns", remedy=remedy)
    if groups:
        return Knockouts(about["table"], float(about["baseline"]), WORSE[measure], about)
    if feature is None:
        values, baseline = stored(adata.var, slot, where=f"{where}var", remedy=remedy), float(about["baseline"])
    else:
        outputs = list(map(str, about["outputs"]))
        at = outputs.index(require_name(feature, outputs, name="feature", hint=f"or call {remedy}"))
        values = stored(adata.varm, slot, where=f"{where}varm", remedy=remedy).iloc[:, at]
        baseline = float(about["baselines"][at])
    loss = WORSE[measure] * (values - baseline)
    table = pd.DataFrame({"value": values, "loss": loss}).dropna()
    return Knockouts(table.sort_values("loss", ascending=False, kind="stable"), baseline, WORSE[measure], about)


def links(mdata: MuData, *, key_added: str = "jamie") -> pd.DataFrame:
    """The table of `tl.links`, the highest `abs_shap` first."""
    remedy = "jm.tl.links(mdata, model, genes=..., regions=...)"
    found: pd.DataFrame = stored(mdata.uns, Keys(key_added).links, where="mdata.uns", remedy=remedy)
    return found


def knockout_by_distance(mdata: MuData, *, key_added: str = "jamie") -> tuple[pd.DataFrame, pd.Series]:
    """Correlations as `tl.knockout_by_distance` found them, genes × sets, and the median number of regions of a set."""
    remedy = "jm.tl.knockout_by_distance(mdata, model, genes=..., regions=...)"
    table = stored(mdata.uns, Keys(key_added).knockout_by_distance, where="mdata.uns", remedy=remedy)
    table = table.assign(gene=np.asarray(table["gene"], dtype=str), set=np.asarray(table["set"], dtype=str))
    return table.pivot(index="gene", columns="set", values="correlation"), table.groupby("set")["n_regions"].median()

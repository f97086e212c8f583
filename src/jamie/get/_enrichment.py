"""Known features among those that drive a prediction most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from mudata import MuData
from scipy.stats import hypergeom

from jamie._checks import is_whole, require_name, require_names, require_option, require_positive, typed
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._settings import logger

from ._importance import importance
from ._knockout import knockout


@document("mdata", "key_added")
def enrichment(
    mdata: MuData,
    *,
    source: str,
    target: str,
    markers: Sequence[str] | Mapping[str, Sequence[str]],
    by: Literal["shap", "knockout"] = "shap",
    measure: str = "correlation",
    feature: str | None = None,
    n_top: int | Sequence[int] = 20,
    key_added: str = "jamie",
) -> pd.DataFrame:
    """How many known markers are among the features that matter most, and how many would be by chance.

    Features of the source are ranked by the mean absolute SHAP values of :func:`jamie.tl.explain`, or by the losses of
    :func:`jamie.tl.knockout`. By chance the top k of n features hold k K / n of K markers; the p-value is that of the
    hypergeometric distribution, one-tailed. It takes features for independent, which genes of one programme are not:
    compare it with that of other sets of the same size and expression before anything is made of it.

    Parameters
    ----------
    {shared}
    source
        Modality whose features were ranked.
    target
        As in :func:`jamie.tl.explain`, a modality, ``"latent"`` or the column of the labels; or in
        :func:`jamie.tl.knockout`, a modality.
    markers
        Names of features that are known to matter, or several such sets by name. Those that were not ranked, for the
        modality or the model does not have them, are left out, and the log says how many.
    by
        ``"shap"``, or ``"knockout"``.
    measure
        Measure of the knock-outs.
    feature
        Feature, latent dimension or label of the target; if `None`, the mean over all.
    n_top
        How many features to look among: one number or several.

    Returns
    -------
    A data frame with a row for each set of `markers` and each `n_top`: `n_features` that were ranked, `n_markers`
    among them, how many were `found` in the top, how many are `expected` by chance, and the `p_value` of as many or
    more. Features that are equal at the last place are not told apart: `n_top` is smaller then, and leaves them out.

    Raises
    ------
    KeyError
        If features were not ranked in this way, or none of a set is among them.
    ValueError
        If there are no markers, `n_top` is less than 1 or more than there are features, or `by` is neither of the two.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.tl.explain(mdata, model, source="rna", target="protein")
    >>> sets = dict(first=["gene1", "gene2"], last=["gene39", "gene40"])
    >>> table = jm.get.enrichment(mdata, source="rna", target="protein", markers=sets, n_top=10)
    >>> table[["markers", "n_top", "n_markers", "expected"]].values.tolist()
    [['first', 10, 2, 0.5], ['last', 10, 2, 0.5]]
    """
    if require_option(by, ("shap", "knockout"), name="by") == "shap":
        shap = importance(mdata, source=source, target=target, feature=feature, key_added=key_added)
        weight = shap.shares() if feature is None else shap.means[feature]
    else:
        without = knockout(mdata, source=source, target=target, measure=measure, feature=feature, key_added=key_added)
        weight = without.table["loss"]
    ranked = weight.dropna().sort_values(ascending=False, kind="stable")
    tops = [_untied(ranked.to_numpy(), k) for k in _depths(n_top, len(ranked))]
    rows = []
    for name, members in _sets(markers).items():
        is_marker = ranked.index.isin(_ranked(members, name, ranked.index))
        n_markers = int(is_marker.sum())
        for k in tops:
            n_found = int(is_marker[:k].sum())
            rows.append(
                {
                    "markers": name,
                    "n_top": k,
                    "n_features": len(ranked),
                    "n_markers": n_markers,
                    "found": n_found,
                    "expected": k * n_markers / len(ranked),
                    "p_value": float(hypergeom.sf(n_found - 1, len(ranked), n_markers, k)),
                }
            )
    return pd.DataFrame(rows)


def _depths(n_top: int | Sequence[int], n: int) -> list[int]:
    """Check how many features to look among."""
    depths = list(n_top) if isinstance(n_top, Iterable) and not isinstance(n_top, str) else [n_top]
    if not depths or not all(map(is_whole, depths)):
        msg = f"expected `n_top` as a whole number or several, found {typed(n_top)}; pass e.g. n_top=[20, 50]"
        raise InvalidValueError(msg)
    for k in depths:
        require_positive(n_top=k)
        if k > n:
            msg = f"expected n_top of at most {n}, as many as there are ranked features, found {k}; pass n_top={n}"
            raise InvalidValueError(msg)
    return depths


def _untied(values: np.ndarray, k: int) -> int:
    """At most k, without those at the end that are equal to the next one."""
    return k if k == len(values) else int((values > values[k]).sum()) if values[k - 1] == values[k] else k


def _sets(markers: Sequence[str] | Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    if not isinstance(markers, Mapping):
        return {"markers": require_names(markers, name="markers")}
    if not markers:
        msg = "expected sets of markers, found none; pass e.g. markers={'ion channels': ['Kcna1', 'Scn1a']}"
        raise InvalidValueError(msg)
    return {str(name): require_names(names, name=f"markers[{name!r}]") for name, names in markers.items()}


def _ranked(members: list[str], name: str, features: pd.Index) -> list[str]:
    """Those of a set that were ranked."""
    there = [member for member in dict.fromkeys(members) if member in features]
    if not there:
        require_name(members[0] if members else "", features, name=f"markers[{name!r}]")
    n_missing = len(set(members)) - len(there)
    if n_missing:
        logger.info("%d of the %d features of %r were not ranked", n_missing, len(there) + n_missing, name)
    return there

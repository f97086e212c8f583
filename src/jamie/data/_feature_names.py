"""Names by which a modality's features are compared with the model's, and what mends names of another sort."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from anndata import AnnData

from jamie._errors import InvalidValueError, MissingNameError, WrongTypeError
from jamie._types import Array

FeatureNames: TypeAlias = str | Mapping[str, str] | pd.Series | None
"""Column of `.var`, or by feature the name that the model has for it; `None` for `.var_names`."""
_ENSEMBL = re.compile(r"ENS[A-Z]*[GTP]\d{6,}(\.\d+)?")
_LOOKED_AT = 200


def require_feature_names(given: FeatureNames, modalities: Mapping[str, AnnData]) -> None:
    """Raise if they are neither a column of `.var` of a modality nor a mapping of names of some of its features."""
    if given is None:
        return
    if isinstance(given, Mapping | pd.Series):
        _require_some_renamed(_as_mapping(given), modalities)
        return
    if not isinstance(given, str):
        msg = (
            f"expected `feature_names` as a column of `.var` or a mapping of names, found {type(given).__name__}; pass "
            "feature_names='gene_symbols' or feature_names={'ENSG00000010610': 'CD4'}"
        )
        raise WrongTypeError(msg)
    columns = list(dict.fromkeys(str(column) for adata in modalities.values() for column in adata.var))
    if given not in columns:
        close = get_close_matches(given, columns, n=1)
        mend = f"did you mean {close[0]!r}?" if close else "pass a mapping of names: feature_names={'from': 'to'}"
        msg = f"expected `feature_names` as a column of `.var`, one of {columns}, found {given!r}; {mend}"
        raise MissingNameError(msg)


def _require_some_renamed(mapping: dict[Any, Any], modalities: Mapping[str, AnnData]) -> None:
    """Raise if no feature is among the keys: the mapping was made for another panel, or the other way round."""
    own = set().union(*(adata.var_names.astype(str) for adata in modalities.values()))
    if not mapping or not own or not own.isdisjoint(mapping):
        return
    are_values = not own.isdisjoint(map(str, mapping.values()))
    mend = (
        "its values are features: leave `feature_names` out if these are the model's names, else turn it round, "
        "feature_names={b: a for a, b in mapping.items()}"
        if are_values
        else "pass the name that each feature has in the model, feature_names={'ENSG00000010610': 'CD4'}"
    )
    msg = (
        f"expected `feature_names` as a mapping from features of {' or '.join(map(repr, modalities))}, such as "
        f"{min(own)!r}, found {len(mapping):,} names, first {next(iter(mapping))!r}, none of which is a feature; {mend}"
    )
    raise MissingNameError(msg)


def _as_mapping(given: Mapping[str, str] | pd.Series) -> dict[Any, Any]:
    """Names by feature; a table may say the same of one more than once."""
    if not isinstance(given, pd.Series):
        return dict(given)
    said = given.reset_index().drop_duplicates().set_axis(["feature", "name"], axis=1)
    again = said["feature"][said["feature"].duplicated()]
    if len(again):
        msg = (
            f"expected one name for each feature in `feature_names`, found more for {len(again.unique())}, first "
            f"{again.iloc[0]!r}; keep one of each, names = names[~names.index.duplicated()]"
        )
        raise InvalidValueError(msg)
    return dict(zip(said["feature"], said["name"], strict=True))


def names_by(given: FeatureNames, adata: AnnData, own: pd.Index) -> pd.Index:
    """Names of the features as the model has them, (d,); empty where there is none.

    A modality that lacks the column, and a feature that the mapping leaves out, keep their own names.
    """
    if given is None or (isinstance(given, str) and given not in adata.var):
        return own
    if isinstance(given, str):
        names = adata.var[given]
    else:
        mapping = _as_mapping(given)
        names = [mapping.get(name, name) for name in own]
    values = pd.Series(np.asarray(names, dtype=object))
    return pd.Index(values.where(values.notna(), "").astype(str).to_numpy(dtype=object))


def positions(wanted: pd.Index, names: pd.Index, *, where: str) -> Array:
    """Where each wanted feature stands among `names`, (d,); −1 if nowhere.

    Raises
    ------
    InvalidValueError
        If one of them is there more than once.
    """
    (known,) = np.nonzero(names.isin(wanted))
    among = names[known]
    if not among.is_unique:
        again = among[among.duplicated()]
        msg = (
            f"expected each feature once in {where}, found {len(again.unique())} of the model's more than once, first "
            f"{again[0]!r}; keep one of each, adata = adata[:, keep], or leave the others out of the mapping"
        )
        raise InvalidValueError(msg)
    at = among.get_indexer(wanted)
    return np.where(at >= 0, known[at] if len(known) else -1, -1)


def mend_names(name: str, adata: AnnData, wanted: pd.Index) -> str:
    """How the features of a modality would be found by the model: the call that gives most of them."""
    own = pd.Index(np.asarray(adata.var_names, dtype=object).astype(str))
    found = {None: int(wanted.isin(own).sum())}
    for column in adata.var:
        if not pd.api.types.is_numeric_dtype(adata.var[column]):
            found[column] = int(wanted.isin(adata.var[column].dropna().astype(str)).sum())
    best = max(found, key=lambda column: found[column])
    if best is not None:
        return (
            f"`mdata[{name!r}].var[{best!r}]` has {found[best]:,} of them: pass feature_names={best!r}, or rename "
            f"adata.var_names = adata.var[{best!r}]"
        )
    for call, change in _CHANGES.items():
        if wanted.isin([change(feature) for feature in own]).sum() > found[None]:
            return f"they are the model's by another spelling: rename adata.var_names = {call}"
    ensembl = "Ensembl ids", "symbols"
    here, there = (ensembl if _are_ensembl(names) else ensembl[::-1] for names in (own, wanted))
    if here != there:
        return (
            f"these are {here[0]} and the model has {there[0]}: pass feature_names=, a mapping from {here[0]} to "
            f"{there[0]} or the column of `.var` that holds {there[0]}"
        )
    return "match the names with feature_names=, or train on these features with jm.tl.train(mdata)"


_CHANGES: dict[str, Any] = {
    "adata.var_names.str.upper()": str.upper,
    "adata.var_names.str.lower()": str.lower,
    "adata.var_names.str.capitalize()": str.capitalize,
    "adata.var_names.str.split('.').str[0]": lambda name: name.split(".")[0],
    "adata.var_names.str.replace('_', '-')": lambda name: name.replace("_", "-"),
}


def _are_ensembl(names: Iterable[str]) -> bool:
    some = list(names)[:_LOOKED_AT]
    return sum(bool(_ENSEMBL.fullmatch(name)) for name in some) > len(some) / 2

"""Which features are knocked out together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from mudata import MuData

from jamie._checks import require_name, require_names, require_option, require_positive
from jamie._errors import InvalidValueError
from jamie._types import Array
from jamie.data import coordinates

Groups = Mapping[str, Sequence[str]] | str | int


def feature_sets(mdata: MuData, name: str, groups: Groups, position: Array) -> dict[str, Array]:
    """Sets of features by name, as indices into `position`, the features of the modality that the model knows.

    Raises
    ------
    KeyError
        If a set names a feature that the modality does not have.
    ValueError
        If `groups` is other text than "chromosome", there are no sets, or none of a set's features is known to the
        model.
    """
    if isinstance(groups, Mapping):
        columns = mdata[name].var_names
        sets = {str(group): _members(columns, group, features) for group, features in groups.items()}
    else:
        sets = _by_place(coordinates(mdata, name), groups)
    known = pd.Index(position)
    found = {group: known.get_indexer(np.unique(members)) for group, members in sets.items()}
    found = {group: members[members >= 0] for group, members in found.items()}
    empty = [group for group, members in found.items() if not len(members)]
    if empty or not found:
        msg = (
            f"expected groups of features of {name!r} that the model was trained on, found "
            f"{f'none of {empty[0]!r}' if empty else 'no group'}; pass e.g. groups={{'a name': ['a feature']}}"
        )
        raise InvalidValueError(msg)
    return found


def _members(columns: pd.Index, group: str, features: Sequence[str]) -> Array:
    """Positions of the features of one group."""
    name = f"groups[{group!r}]"
    names = require_names(features, name=name)
    return np.array([columns.get_loc(require_name(feature, columns, name=name)) for feature in names])


def _by_place(at: pd.DataFrame, groups: str | int) -> dict[str, Array]:
    """Features by chromosome, or by windows of so many bases."""
    at = at.reset_index(drop=True).dropna()
    if isinstance(groups, str):
        require_option(groups, ["chromosome"], name="groups")
        return {str(chrom): rows.index.to_numpy() for chrom, rows in at.groupby("chrom", sort=False)}
    require_positive(groups=groups)
    window = (((at["start"] + at["end"]) / 2) // groups * groups).astype(int)
    return {
        f"{chrom}:{start}-{start + groups}": rows.index.to_numpy()
        for (chrom, start), rows in at.groupby([at["chrom"], window])
    }

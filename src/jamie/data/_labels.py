"""A column of `.obs` for the cells of a modality, wherever in the MuData it stands: classes, groups, colours."""

from __future__ import annotations

from difflib import get_close_matches

import numpy as np
import pandas as pd
from mudata import MuData

from jamie._checks import require_name, require_unique
from jamie._errors import InvalidValueError, MissingNameError, WrongTypeError
from jamie._settings import logger
from jamie._types import Array, Pair

MOST_SHOWN = 10


def labels(mdata: MuData, column: str, name: str | None = None, *, argument: str = "labels") -> pd.Series:
    """Values of a column for the cells of a modality, or for all cells; missing ones are NaN, categories are kept.

    The modality's own `.obs` comes first: where it has the column, a cell without a value there has none. Otherwise
    cells are looked up in `mdata.obs`, and those that have no value there in the `.obs` of the other modalities that
    have the column, in their order. Two places that say different things are told in a warning.

    Parameters
    ----------
    mdata
        Where to look.
    column
        Name of the column.
    name
        Modality whose cells are asked for; if `None`, the cells of the MuData, for which `mdata.obs` comes first.
    argument
        What messages call the column: the parameter that named it.

    Returns
    -------
    A series over the cells, (n,), all NaN if they are not among those of the places that have the column.

    Raises
    ------
    MissingNameError
        If no place has the column.
    InvalidValueError
        If cells are looked up by names that are repeated, or that `mdata.obs` lacks.
    """
    if not isinstance(column, str):
        msg = f"expected `{argument}` as text, the name of a column of cells, found {column!r}"
        raise WrongTypeError(msg)
    if name is not None:
        require_name(name, list(mdata.mod), name="modality")
    places = {place: frame[column] for place, frame in _frames(mdata).items() if column in frame}
    if not places:
        raise MissingNameError(_not_there(mdata, column, argument))
    if name is not None and name in places:
        if None in places:
            _warn_different(places[name], places[None], column, name)
        return places[name].copy()
    cells = mdata.obs_names if name is None else mdata[name].obs_names
    values = pd.Series(float("nan"), index=cells, dtype=object)
    for place, of_place in places.items():
        missing = values.isna()
        if missing.any() and len(cells):
            more = _looked_up(of_place, cells, place)
            values = more if missing.all() else _filled(values, more)
    return values.rename(column)


def as_text(values: pd.Series) -> pd.Series:
    """Labels as text, by which two columns are compared, `None` for none.

    The same number is the same label however a column holds it: a column of whole numbers that misses one is of floats.
    """
    is_missing = values.isna().to_numpy()
    said = [None if missing else _said(value) for missing, value in zip(is_missing, values.astype(object), strict=True)]
    return pd.Series(said, index=values.index, name=values.name, dtype=object)


def label_codes(mdata: MuData, pair: Pair, column: str, *, argument: str = "labels") -> tuple[Array, Array, list[str]]:
    """Codes of the labels of two modalities, −1 for none, (n_a,) and (n_b,), and the labels in order.

    Labels stand in the order of the categories, others after them by name.
    """
    columns = [labels(mdata, column, name, argument=argument) for name in pair]
    ordered = [map(_said, of.cat.categories) for of in columns if isinstance(of.dtype, pd.CategoricalDtype)]
    values = [as_text(values) for values in columns]
    for name, of_modality in zip(pair, values, strict=True):
        if of_modality.isna().all():
            msg = (
                f"expected a label {column!r} for cells of both {pair[0]!r} and {pair[1]!r}, found none for {name!r}; "
                f"the column is in {' and '.join(_places_of(mdata, column))}"
            )
            raise InvalidValueError(msg)
    present = pd.unique(pd.concat(values).dropna())
    first = {value: place for place, value in enumerate(dict.fromkeys(v for part in ordered for v in part))}
    order = sorted(present, key=lambda value: (first.get(value, len(first)), str(value)))
    index = pd.Index(order, dtype=object)
    rows, of_columns = (index.get_indexer(pd.Index(of_modality, dtype=object)) for of_modality in values)
    return rows, of_columns, [str(value) for value in order]


def _said(label: object) -> str:
    is_whole = isinstance(label, float | np.floating) and float(label).is_integer()
    return str(int(label)) if is_whole else str(label)  # type: ignore[call-overload]


def _frames(mdata: MuData) -> dict[str | None, pd.DataFrame]:
    """Where columns can be, by modality, that of the MuData first, which is `None`."""
    return {None: mdata.obs, **{name: adata.obs for name, adata in mdata.mod.items()}}


def _place(name: str | None) -> str:
    return "mdata.obs" if name is None else f"mdata[{name!r}].obs"


def _places_of(mdata: MuData, column: str) -> list[str]:
    return [f"`{_place(name)}`" for name, frame in _frames(mdata).items() if column in frame]


def _looked_up(column: pd.Series, cells: pd.Index, place: str | None) -> pd.Series:
    """Values by the names of the cells."""
    remedy = "mdata.obs_names_make_unique()" if place is None else f"mdata[{place!r}].obs_names_make_unique()"
    require_unique(column.index, where=f"{_place(place)}_names", remedy=remedy)
    unknown = ~cells.isin(column.index)
    if place is None and unknown.any():
        msg = (
            f"expected all cells of the modalities in `mdata.obs_names`, found {unknown.sum()} that are not there, "
            f"first {cells[unknown][0]!r}; call mdata.update()"
        )
        raise InvalidValueError(msg)
    return column.reindex(cells)


def _filled(values: pd.Series, more: pd.Series) -> pd.Series:
    """Values, and for cells that have none those of `more`; categories of both, those of the first before others."""
    if isinstance(values.dtype, pd.CategoricalDtype) and isinstance(more.dtype, pd.CategoricalDtype):
        categories = values.cat.categories.append(more.cat.categories.difference(values.cat.categories, sort=False))
        values, more = (part.cat.set_categories(categories) for part in (values, more))
    if values.dtype != more.dtype:
        values, more = values.astype(object), more.astype(object)
    return values.where(values.notna(), more).infer_objects()


def _warn_different(own: pd.Series, joint: pd.Series, column: str, name: str) -> None:
    """Say so where a modality and the MuData have a column of the same name that is not the same."""
    both = own.index.intersection(joint.index) if own.index.is_unique and joint.index.is_unique else own.index[:0]
    ours, theirs = own.reindex(both).astype(object), joint.reindex(both).astype(object)
    different = int(((ours != theirs) & ours.notna() & theirs.notna()).sum())
    if different:
        logger.warning(
            "%r is another in `mdata[%r].obs` than in `mdata.obs` for %d of %d cells; that of the modality is taken",
            column, name, different, len(both),
        )  # fmt: skip


def _not_there(mdata: MuData, column: str, argument: str) -> str:
    """Message that says where it was looked for, what is there, and what is close."""
    frames = _frames(mdata)
    shown = []
    for name, frame in frames.items():
        names = [repr(str(known)) for known in frame][:MOST_SHOWN]
        more = f" and {frame.shape[1] - MOST_SHOWN} more" if frame.shape[1] > MOST_SHOWN else ""
        shown.append(f"`{_place(name)}` has [{', '.join(names)}{more}]")
    known = list(dict.fromkeys(str(known) for frame in frames.values() for known in frame))
    close = [f"{name!r} of {' and '.join(_places_of(mdata, name))}" for name in get_close_matches(column, known, n=3)]
    msg = f"expected `{argument}` to name a column of `mdata.obs` or of the `.obs` of a modality, found {column!r} in"
    return f"{msg} none: {', '.join(shown)}" + (f"; did you mean {' or '.join(close)}?" if close else "")

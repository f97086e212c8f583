"""What a MuData and a model must be before anything is read from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anndata import AnnData
from mudata import MuData

from jamie._checks import require_unique
from jamie._compat import quiet_mudata
from jamie._errors import InvalidValueError, WrongTypeError
from jamie._keys import Keys, is_file_name
from jamie._slots import OneModality
from jamie._types import Pair

ANEW = "mdata = mudata.MuData(dict(mdata.mod))"
"""The call that makes a MuData that could not be updated."""


def require_mudata(mdata: Any) -> None:
    """Raise if `mdata` is no MuData, or one whose modalities are not cells × features side by side."""
    if hasattr(mdata, "preparations_"):
        msg = "expected a MuData first and the model second, found the model first; exchange them: f(mdata, model)"
        raise WrongTypeError(msg)
    if isinstance(mdata, AnnData):
        msg = (
            "expected a MuData, found AnnData; say which modality it is: mdata = mudata.MuData({'rna': adata}), with "
            "every other modality that was measured beside it"
        )
        raise WrongTypeError(msg)
    if not isinstance(mdata, MuData):
        msg = (
            f"expected a MuData, found {type(mdata).__name__}; make one with "
            f"mudata.MuData({{'rna': ..., 'atac': ...}}), or read one with mudata.read_h5mu(path)"
        )
        raise WrongTypeError(msg)
    if mdata.axis != 0:
        msg = (
            f"expected a MuData that joins modalities by cells (axis=0), found axis={mdata.axis}; make it anew with "
            "mudata.MuData(dict(mdata.mod), axis=0), with a cell of two modalities called alike in both"
        )
        raise InvalidValueError(msg)
    nested = [name for name, part in mdata.mod.items() if not isinstance(part, AnnData)]
    if nested:
        msg = (
            f"expected modalities that are AnnData, found a {type(mdata.mod[nested[0]]).__name__} in "
            f"`mdata.mod[{nested[0]!r}]`; make it flat: mudata.MuData({{..., **mdata.mod[{nested[0]!r}].mod}})"
        )
        raise InvalidValueError(msg)


def require_model(model: Any) -> None:
    """Raise if `model` is no trained model."""
    if hasattr(model, "preparations_") and hasattr(model, "seen_"):
        return
    if hasattr(model, "reconstruct"):  # the class, or one of it
        msg = "expected a trained model, found one that was not fitted; call jm.tl.train(mdata) or model.fit(mdata)"
        raise InvalidValueError(msg)
    msg = (
        f"expected a model of jm.tl.train or jm.JAMIE.load, found {type(model).__name__}; the MuData comes first, "
        "the model second"
    )
    raise WrongTypeError(msg)


def as_mudata(data: Any, modality: str | None, *, argument: str = "modality") -> MuData:
    """`data`, or, of an AnnData, a MuData around it, in which it is the named modality and is written to.

    `argument` is that of the verb that says which modality an AnnData is.
    """
    if not isinstance(data, AnnData):
        require_mudata(data)
        if modality is not None and argument == "modality":
            msg = (
                f"expected `modality` with an AnnData only, found it with a MuData of {list(data.mod)}; leave it out, "
                f"or pass mdata[{modality!r}]"
            )
            raise InvalidValueError(msg)
        return data
    if modality is None:
        msg = (
            f"expected a MuData, found AnnData; say which modality it is: pass {argument}='rna', or make a MuData, "
            "mdata = mudata.MuData({'rna': adata})"
        )
        raise WrongTypeError(msg)
    if not isinstance(modality, str):
        msg = f"expected `{argument}` as the name of a modality, found {modality!r}; pass {argument}='rna'"
        raise WrongTypeError(msg)
    with quiet_mudata():
        return OneModality({modality: data})


def writable_one(data: Any, modality: str | None, *, copy: bool, argument: str = "modality") -> MuData:
    """The same as `writable`, also of an AnnData."""
    if isinstance(data, AnnData):
        return as_mudata(data.copy() if copy and modality is not None else data, modality, argument=argument)
    return writable(as_mudata(data, modality, argument=argument), copy=copy)


def as_given(mdata: MuData) -> MuData | AnnData:
    """The MuData, or the AnnData that it was made around."""
    return next(iter(mdata.mod.values())) if isinstance(mdata, OneModality) else mdata


def writable(mdata: MuData, *, copy: bool) -> MuData:
    """`mdata` or a copy of it; a view is refused, for what is written to its modalities would be lost."""
    require_mudata(mdata)
    if copy:
        return mdata.copy()
    if mdata.is_view:
        msg = (
            "expected a MuData that owns its data, found a view of another; call mdata = mdata.copy() "
            "first, or pass copy=True"
        )
        raise InvalidValueError(msg)
    return mdata


def require_modality(mdata: MuData, name: str, *, is_used: bool) -> None:
    """Raise if a modality has a name that no file holds, repeated names of cells or, if it is used, of features."""
    if not is_file_name(name):
        msg = (
            f"expected names of modalities that a file can hold, found {name!r}; rename it: "
            f"mudata.MuData({{'rna': mdata.mod[{name!r}], ...}})"
        )
        raise InvalidValueError(msg)
    remedy = f"mdata[{name!r}].{{}}_names_make_unique(), then {ANEW}"
    for axis in ("obs", "var") if is_used else ("obs",):
        names = getattr(mdata[name], f"{axis}_names")
        if names.hasnans:
            msg = (
                f"expected a name for each row of `mdata[{name!r}].{axis}`, found {int(names.isna().sum())} missing; "
                f"name them, then {ANEW}"
            )
            raise InvalidValueError(msg)
        if not names.is_unique:
            require_unique(names, where=f"mdata[{name!r}].{axis}_names", remedy=remedy.format(axis))


def require_distinct_slots(keys: Keys, names: Sequence[str]) -> None:
    """Raise if two pairs of modalities would be written to one slot."""
    taken: dict[str, Pair] = {}
    for pair in ((a, b) for a in names for b in names if a != b):
        key = keys.known(*pair)
        if taken.setdefault(key, pair) != pair:
            msg = (
                f"expected names of modalities that slots can tell apart, found {taken[key]} and {pair}, both {key!r}; "
                "rename one of them"
            )
            raise InvalidValueError(msg)


def layer_names(adata: AnnData) -> list[str]:
    """Layers of a modality by name; anndata from 0.13 on has `None` among them, which stands for `.X`."""
    return sorted(name for name in adata.layers if name is not None)

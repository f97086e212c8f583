"""Look up a slot, or say what writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jamie._errors import InvalidValueError, MissingNameError
from jamie._keys import SCHEMA


def stored(slot: Mapping[str, Any], key: str, *, where: str, remedy: str) -> Any:
    """Value of `key`, or an error that names the call that writes it."""
    if key not in slot:
        msg = f"expected `{where}[{key!r}]`, found {sorted(map(str, slot))}; call {remedy}"
        raise MissingNameError(msg)
    return slot[key]


def stored_training(uns: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """What `tl.train` wrote to `.uns`, of a schema this version reads."""
    return stored_record(uns, key, remedy="jm.tl.train(mdata)")


def stored_record(uns: Mapping[str, Any], key: str, *, remedy: str, where: str = "mdata.uns") -> Mapping[str, Any]:
    """A dict of `.uns`, of a schema this version reads."""
    record = stored(uns, key, where=where, remedy=remedy)
    schema = record.get("schema", "none") if isinstance(record, Mapping) else "none"
    if schema != SCHEMA:
        msg = (
            f"expected schema {SCHEMA} in `{where}[{key!r}]`, found {schema}: another version of jamie "
            f"wrote it; call {remedy}"
        )
        raise InvalidValueError(msg)
    return record

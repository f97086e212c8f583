"""A digest of what a data set says, whatever file, and version of a package, it went through."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

if TYPE_CHECKING:
    from mudata import MuData

    from jamie._types import Matrix


def digest(mdata: MuData, name: str) -> str:
    """SHA-256 of name, values, names and columns; slots that an analysis adds elsewhere do not change it."""
    sha = hashlib.sha256(_text([name]))
    for part in _parts(mdata):
        sha.update(part)
    return sha.hexdigest()


def _parts(mdata: MuData) -> Iterator[bytes]:
    yield from _table(mdata.obs, leave_out=[f"{name}:" for name in mdata.mod])  # mudata 0.3 adds them, 0.4 does not
    for name, adata in mdata.mod.items():
        yield _text([name])
        yield from _table(adata.var)
        yield from _table(adata.obs)
        yield from _values(adata.X)


def _table(table: pd.DataFrame, leave_out: Iterable[str] = ()) -> Iterator[bytes]:
    yield _text(table.index)
    for column in sorted(column for column in table if not column.startswith(tuple(leave_out))):
        yield _text([column])
        yield _text(table[column])


def _values(x: Matrix) -> Iterator[bytes]:
    if sparse.issparse(x):
        yield np.asarray(x.indptr, dtype="<i8").tobytes()
        yield np.asarray(x.indices, dtype="<i8").tobytes()
        x = x.data
    yield np.ascontiguousarray(x, dtype="<f4").tobytes()


def _text(values: Iterable[object]) -> bytes:
    return "\x1f".join(map(str, values)).encode() + b"\x1e"

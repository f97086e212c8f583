"""Writing results and saying where they are: one line per call."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from mudata import MuData

from jamie._settings import logger

P = ParamSpec("P")
T = TypeVar("T")

_written: ContextVar[list[str] | None] = ContextVar("slots written by the call that is running", default=None)


class OneModality(MuData):
    """A MuData around an AnnData that a verb was given: what is written to its modality is written to that."""


def in_one_line(verb: Callable[P, T]) -> Callable[P, T]:
    """Log all slots that a verb writes in one line at its end, each with the expression that reads it."""

    @functools.wraps(verb)
    def logged(*args: P.args, **kwargs: P.kwargs) -> T:
        slots: list[str] = []
        token = _written.set(slots)
        try:
            result = verb(*args, **kwargs)
        finally:
            _written.reset(token)
        if slots:
            logger.info("added %s", ", ".join(f"`{slot}`" for slot in dict.fromkeys(slots)))
        return result

    return logged


def write(mdata: Any, modality: str | None, slot: str, key: str, value: Any) -> None:
    """Set ``mdata[modality].<slot>[key]``, without a modality ``mdata.<slot>[key]``, which an AnnData does not have."""
    is_alone = isinstance(mdata, OneModality)
    if is_alone and modality is None:
        return
    container = mdata if modality is None else mdata[modality]
    with warnings.catch_warnings():  # a modality that is a view of another AnnData becomes its own, as it should
        warnings.filterwarnings("ignore", message="(Setting element|Trying to modify)")
        getattr(container, slot)[key] = value
    holder = "adata" if is_alone else "mdata" if modality is None else f"mdata[{modality!r}]"
    where, slots = f"{holder}.{slot}[{key!r}]", _written.get()
    if slots is None:
        logger.info("added `%s`", where)
    else:
        slots.append(where)


def safe_name(name: str) -> str:
    """Name that HDF5 and zarr can hold as a key: they read ``/`` as a folder."""
    return name.replace("/", "_")

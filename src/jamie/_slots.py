"""Writing a result and saying where it is."""

from __future__ import annotations

import warnings
from typing import Any

from jamie._settings import logger


def write(mdata: Any, modality: str | None, slot: str, key: str, value: Any) -> None:
    """Set ``mdata[modality].<slot>[key]``, without a modality ``mdata.<slot>[key]``, and log how to read it."""
    container = mdata if modality is None else mdata[modality]
    with warnings.catch_warnings():  # a modality that is a view of another AnnData becomes its own, as it should
        warnings.filterwarnings("ignore", message="(Setting element|Trying to modify)")
        getattr(container, slot)[key] = value
    logger.info("added `mdata%s.%s[%r]`", "" if modality is None else f"[{modality!r}]", slot, key)


def safe_name(name: str) -> str:
    """Name that HDF5 and zarr can hold as a key: they read ``/`` as a folder."""
    return name.replace("/", "_")

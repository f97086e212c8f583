"""One file of arrays and JSON, with the digest of its own bytes: safetensors, no pickle."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save as serialised

from jamie._errors import InvalidValueError
from jamie._types import Array

BLANK = "0" * 64
"""Stands for the digest while the digest is computed; the header has it as `sha256`."""
LARGEST_HEADER = 2**25
"""Bytes: names of a million features. What Python makes of JSON may take twenty times its bytes."""
UNREADABLE = (SafetensorError, OSError, RecursionError, LookupError, TypeError, ValueError)
"""What reading a file raises that is truncated, changed or something else."""


def sealed(header: dict[str, Any], arrays: dict[str, Array]) -> bytes:
    """The file, with the digest of all of it in the place that was blank."""
    in_order = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    raw = bytearray(serialised(in_order, metadata={"jamie": json.dumps(header)}))
    if (length := int.from_bytes(raw[:8], "little")) > LARGEST_HEADER:
        msg = f"expected names of features that take less than {LARGEST_HEADER >> 20} MB, found {length >> 20}"
        raise InvalidValueError(msg)
    place = raw.index(BLANK.encode())
    raw[place : place + len(BLANK)] = sha256(raw).hexdigest().encode()
    return bytes(raw)


def opened(path: Path) -> tuple[dict[str, Any], bytes]:
    """The header, and the whole file; not more than its first bytes if it is no model."""
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or not 2 <= length <= LARGEST_HEADER:
            msg = "it begins with no header"
            raise ValueError(msg)
        head = file.read(length)
        header = json.loads(json.loads(head)["__metadata__"]["jamie"])
        return header, start + head + file.read()


def is_sealed(path: Path) -> bool:
    """Whether a file begins as ours do."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or not 2 <= length <= LARGEST_HEADER:
                return False
            return "jamie" in json.loads(file.read(length))["__metadata__"]
    except UNREADABLE:
        return False


def require_unchanged(header: dict[str, Any], raw: bytes) -> None:
    """Raise unless the file has the digest that was noted in it."""
    noted = header["sha256"]
    place = raw.find(noted.encode(), 8) if isinstance(noted, str) and len(noted) == len(BLANK) else -1
    digest = sha256(raw[:place] + BLANK.encode() + raw[place + len(BLANK) :]).hexdigest()
    if place < 0 or digest != noted:
        msg = "its bytes are not those that were written"
        raise ValueError(msg)

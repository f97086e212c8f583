"""What a run that was killed has left of an output, and whether that is as it was written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from jamie._settings import logger

from ._written_blocks import Rows, opened, writer_of


class There(NamedTuple):
    """What of an output is written for good."""

    frame: str  # digest of all but the matrices
    rows: dict[str, int]  # of each matrix
    digests: dict[str, str]  # of these rows, one block after the other


def left_of(part: Path, log: Path, identity: str, matrices: Mapping[str, Rows]) -> There | None:
    """What an earlier run of the same has written; `None` if there was none, or it is not as it was written."""
    try:
        noted = json.loads(log.read_text())
        if noted["identity"] != identity or noted["there"] is None:
            return None
        there = There(**noted["there"])
    except (OSError, KeyError, TypeError, ValueError):
        return None
    try:
        with opened(part) as file:
            is_whole = frame_digest(file, matrices) == there.frame and all(
                _digest_of(file, path, matrices[path], n) == there.digests[path] for path, n in there.rows.items()
            )
    except Exception:  # noqa: BLE001 - whatever a library says of what was damaged
        is_whole = False
    if is_whole:
        return there
    logger.warning("what an earlier run left of `%s` is not what it wrote: it is written anew", part)
    return None


def _digest_of(file: Any, path: str, rows: Rows, n_written: int) -> str:
    """Digest of the rows of a matrix that are there."""
    writer, found = writer_of(file, path, rows, n_written), ""
    for start in range(0, n_written, rows.step):
        found = digest(found, *writer.read(slice(start, min(start + rows.step, n_written))))
    return found


def frame_digest(file: Any, matrices: Mapping[str, Rows]) -> str:
    """Digest of all that is in a file besides some matrices: values and attributes, by name."""
    items = {"": file, **dict(_items(file))}
    others = [name for name in sorted(items) if not any(f"{name}/".startswith(f"{path}/") for path in matrices)]
    return digest(*(part for name in others for part in (name, *_content(items[name]))))


def _items(file: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(file, h5py.File):
        yield from file.members(max_depth=None)
        return
    names: list[str] = []
    file.visit(names.append)
    yield from ((name, file[name]) for name in names)


def _content(item: Any) -> tuple[Any, ...]:
    """Attributes and values of an array or group."""
    attributes = sorted((name, np.asarray(value).tolist()) for name, value in dict(item.attrs).items())
    if not hasattr(item, "shape"):
        return (attributes,)
    values = np.asarray(item[()])
    return attributes, str(values.dtype), values.tolist() if values.dtype.hasobject else values


def note(log: Path, noted: dict[str, Any]) -> None:
    temporary = log.with_name(f"{log.name}.new")
    temporary.write_text(json.dumps(noted))
    temporary.replace(log)


def digest(*parts: Any) -> str:
    """What the values to write depend on, arrays or settings, as one text."""
    sha = sha256()
    for part in parts:
        sha.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return sha.hexdigest()

"""What a run that was killed has left of an output, and whether that is as it was written."""

from __future__ import annotations

import errno
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from jamie._settings import logger

from ._written_blocks import Rows, opened, writer_of

TRIES = 100
"""To remove a folder in which files come and go."""


class There(NamedTuple):
    """What of the matrices of an output is written for good."""

    rows: dict[str, int]  # of each matrix
    digests: dict[str, str]  # of these rows, one block after the other


def left_of(
    part: Path, log: Path, identity: str, write_frame: Callable[[Path], None], matrices: Mapping[str, Rows]
) -> There | None:
    """What an earlier run of the same has written; `None` if there was none, or what is there is not of this one.

    Blocks that were computed are compared with the digest of what was written, all else with what is written now.
    """
    again = part.with_name(f"{part.name}.frame")
    remove(again)  # of a run that was killed while it compared
    try:
        noted = json.loads(log.read_text())
        if noted["identity"] != identity or noted["there"] is None:
            return None
        there = There(**noted["there"])
    except (OSError, KeyError, TypeError, ValueError, RecursionError):
        return None
    try:
        write_frame(again)
        with opened(again) as new, opened(part) as file:
            is_whole = frame_digest(new, matrices) == frame_digest(file, matrices) and all(
                _is_written(file, path, matrices[path], n, there.digests[path]) for path, n in there.rows.items()
            )
    except Exception:  # noqa: BLE001 - whatever a library says of what was damaged
        is_whole = False
    finally:
        remove(again)
    if is_whole:
        return there
    logger.warning("what an earlier run left of `%s` is damaged, or of other tables: it is written anew", part)
    return None


def _is_written(file: Any, path: str, rows: Rows, n_written: int, expected: str) -> bool:
    """Whether the rows of a matrix that are there are those that were written, and that are to be written."""
    writer, found, now, n = writer_of(file, path, rows, n_written), "", "", 0
    for start in range(0, n_written, rows.step):
        block = slice(start, min(start + rows.step, n_written))
        found = digest(found, *writer.read(block))
        if rows.is_stored:
            parts = writer.parts(rows.read(block), n)
            now, n = digest(now, *parts), n + len(parts[0])
    return found == expected and (not rows.is_stored or now == expected)


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


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there.

    Where one of its threads met a full disk, zarr raises while others still make and remove files in the folder.
    """
    for left in reversed(range(TRIES)):
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            return
        except OSError as error:
            if not left or error.errno not in {errno.ENOENT, errno.ENOTEMPTY}:
                raise
            time.sleep(0.01)


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

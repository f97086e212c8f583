"""A file that is whole or not there, whatever happens while it is written."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STALE = 3_600
"""Seconds after which what a killed process left is nobody's any more."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to, and move it there at the end; after an error nothing is left of it.

    The name is new each time, so that two processes that write the same file do not meet: the last one is kept.
    """
    for left in path.parent.glob(f".{path.stem}.????????.part{path.suffix}"):
        if time.time() - left.stat().st_mtime > STALE:
            left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

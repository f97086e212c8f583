"""Write a MuData so that a pipeline never sees half a file."""

from __future__ import annotations

from pathlib import Path

from mudata import MuData

from jamie._compat import quiet_mudata
from jamie._settings import is_first, logger


def write_mudata(mdata: MuData, path: Path) -> None:
    """Write beside `path` first, then move: the file is there whole or not at all."""
    if not is_first():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.part.h5mu")
    try:
        with quiet_mudata():
            mdata.write(temporary, compression="gzip")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    logger.info("wrote %s", path)

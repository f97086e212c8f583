"""Write a MuData so that a pipeline never sees half a file."""

from __future__ import annotations

from pathlib import Path

from mudata import MuData

from jamie._atomic import whole
from jamie._compat import quiet_mudata
from jamie._settings import is_first, logger
from jamie.data import sign


def write_mudata(mdata: MuData, path: Path) -> None:
    """Write beside `path` first, then move: the file is there whole or not at all."""
    if not is_first():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as temporary, quiet_mudata():
        mdata.write(temporary, compression="gzip")
        sign(temporary)
    logger.info("wrote %s", path)

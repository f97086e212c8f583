"""Matrices that are written a block of cells at a time, to a file that a killed run goes on with.

Everything goes to ``<out>.part``, beside which ``<out>.part.json`` says how many cells of each matrix are there for
good, and the digest of what they are; at the end it is renamed. A run that goes on reads what is there against its
digest, and begins anew where that was damaged. Block limits depend on the matrix alone, so that what is written does
not depend on where a run was cut. One process writes at a time, which its lock says, so that what it has written so far
is nobody else's to take away.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
import numpy as np
import zarr
from scipy import sparse

from jamie._atomic import as_path, refusal, require_ours, writing
from jamie._checks import require_option
from jamie._compat import quiet_mudata, version
from jamie._errors import WriteError
from jamie._progress import progress
from jamie._settings import is_first, logger
from jamie._types import Matrix

from ._unfinished import There, digest, left_of, note, remove
from ._written_blocks import Rows, opened, writer_of

SPARE = 2**24
"""Bytes that a disk keeps free, for what surrounds the values."""
FOLDER = ".zarr"
SIGNATURE = "jamie-tools"
"""Attribute of what was written here, with the version: nothing else is ever replaced."""


def stream(out: Path, write_frame: Callable[[Path], None], matrices: Mapping[str, Rows], identity: str) -> None:
    """Write what `write_frame` writes, and the matrices into it by path, to an `out` that `claimed` gave.

    `identity` tells runs apart. A run that is killed or interrupted leaves what it has to the next; after an error
    nothing is left, for what a full disk holds is not to be trusted, and should not fill it.
    """
    if not is_first():
        return
    part, log = out.with_name(f"{out.name}.part"), out.with_name(f"{out.name}.part.json")
    try:
        _write(part, log, out.name, write_frame, matrices, identity)
    except Exception as error:
        with suppress(OSError):  # what was wrong first is what to tell
            remove(part)
            log.unlink(missing_ok=True)
        if (refused := refusal(error, out)) is None:
            raise
        raise refused from error
    _put(part, out)
    log.unlink(missing_ok=True)
    logger.info("wrote `%s`", out)


def _write(
    part: Path,
    log: Path,
    name: str,
    write_frame: Callable[[Path], None],
    matrices: Mapping[str, Rows],
    identity: str,
) -> None:
    def write_signed(path: Path) -> None:
        with quiet_mudata():
            write_frame(path)
        sign(path)

    there = left_of(part, log, identity, write_signed, matrices)
    _require_room(part, matrices)
    if there is None:
        note(log, {"identity": identity, "there": None})
        remove(part)
        write_signed(part)
        there = There({}, {})
    written = there.rows
    if sum(written.values()):
        logger.info("going on with `%s`, of which %d rows are there", part, sum(written.values()))
    n_rows = sum(rows.shape[0] for rows in matrices.values())
    with opened(part) as file, progress(n_rows, description=f"writing {name}", unit="cells") as bar:
        bar.update(sum(written.values()))
        writers = {path: writer_of(file, path, rows, written.get(path, 0)) for path, rows in matrices.items()}
        for path, block in _in_order(matrices):
            if block.start < written.get(path, 0):
                continue
            values = matrices[path].read(block)
            _require_free(part, _n_bytes(values))
            there.digests[path] = digest(there.digests.get(path, ""), *writers[path].write(block, values))
            if isinstance(file, h5py.File):
                file.flush()
            written[path] = block.stop
            note(log, {"identity": identity, "there": there._asdict()})
            bar.update(block.stop - block.start)
    if part.is_dir():
        zarr.consolidate_metadata(part)


def _in_order(matrices: Mapping[str, Rows]) -> Iterator[tuple[str, slice]]:
    """Blocks to write: of matrices of one shape the same cells one after the other, which can be computed together."""
    for shape in dict.fromkeys(rows.shape for rows in matrices.values()):
        alike = {path: rows for path, rows in matrices.items() if rows.shape == shape}
        step = next(iter(alike.values())).step
        for start in range(0, shape[0], step):
            for path in alike:
                yield path, slice(start, min(start + step, shape[0]))


def _require_room(part: Path, matrices: Mapping[str, Rows]) -> None:
    """Raise before anything is computed if it cannot fit: dense matrices in HDF5, which are as large as they are."""
    size = sum(np.prod(rows.shape) * np.dtype(rows.dtype).itemsize for rows in matrices.values() if not rows.is_sparse)
    there = part.stat().st_size if part.is_file() else 0
    _require_free(part, 0 if part.name.endswith(f"{FOLDER}.part") else max(int(size) - there, 0))


def _require_free(part: Path, n_bytes: int) -> None:
    """Raise if the disk has not so much left, and some: HDF5 may end the process where it runs full."""
    free = shutil.disk_usage(part.parent).free
    if free < n_bytes + SPARE:
        msg = (
            f"expected {(n_bytes + SPARE) / 1e6:.0f} MB of room in `{part.parent}`, found {free / 1e6:.0f}; "
            "make room, or pass another `out=`"
        )
        raise WriteError(msg)


def _n_bytes(values: Matrix) -> int:
    return values.data.nbytes + values.indices.nbytes if sparse.issparse(values) else values.nbytes


@contextmanager
def claimed(out: str | Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Path to write to, in one of the formats, for as long as it is written: nobody else writes there.

    What is there already is replaced at the end if it was written here, or is empty; a link is followed.

    Raises
    ------
    InvalidValueError
        If it ends otherwise, or something else is there.
    WriteError
        If another process writes it, or nothing can be written there.
    """
    out = as_path(out, name="out")
    require_option(out.suffix, list(suffixes), name="out", hint="its ending is the format")
    if not is_first():
        yield out
        return
    with writing(out, folder=out.suffix == FOLDER) as target:
        _require_ours(target, out)
        part, log = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.json")
        if not log.exists():
            _require_ours(part, part)
        yield target


def _require_ours(path: Path, named: Path) -> None:
    """Raise if something is there that was not written here."""
    require_ours(path, named, is_signed, argument="out")


def is_signed(path: Path) -> bool:
    """Whether a file or store was written here."""
    try:
        if not path.is_dir():
            with h5py.File(path) as file:
                return SIGNATURE in file.attrs
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what zarr says of files that are not its own
            return SIGNATURE in zarr.open_group(path, mode="r", use_consolidated=False).attrs
    except Exception:  # noqa: BLE001 - whatever a library says of what is not its own
        return False


def sign(part: Path) -> None:
    """Note in a new file that it was written here."""
    with opened(part) as file:
        file.attrs[SIGNATURE] = version("jamie-tools")


def _put(part: Path, out: Path) -> None:
    """Move what is finished to its place; who reads a file there goes on with the old one."""
    _require_ours(out, out)  # who knows what came there meanwhile
    if not part.is_dir():
        part.replace(out)
        return
    old = out.with_name(f".{out.name}.old")  # no system call puts one folder in the place of another
    remove(old)
    if out.exists():
        out.rename(old)
    part.rename(out)
    remove(old)

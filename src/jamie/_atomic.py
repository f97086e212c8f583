"""Files that are whole or not there, and that one process writes at a time.

Who writes a path holds a lock of the operating system on a file beside it: it ends with its process, however that ends,
and no clock decides whose a file is. It is `flock`, which Linux carries to the server of an NFS too, and which a thread
holds against the others of its process. Where a file system has no locks (some mounts of Lustre), the file itself is
the lock: it names who writes, and is taken over from a process of this machine that is no more.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TypeAlias

from jamie._checks import typed
from jamie._errors import InvalidValueError, JamieError, MissingFileError, WriteError, WrongTypeError
from jamie._settings import logger

POLL = 0.2
"""Seconds between two looks at a lock that is waited for."""
IsOurs: TypeAlias = Callable[[Path], bool]
_UNSUPPORTED = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK}
_LOST = {errno.ENOSPC, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)}
_mine: ContextVar[frozenset[Path]] = ContextVar("paths that this thread writes", default=frozenset())


@contextmanager
def whole(path: Path, *, is_ours: IsOurs | None = None, argument: str = "path") -> Iterator[Path]:
    """Give a path beside `path` to write to, and move it there at the end; after an error nothing is left of it.

    Who reads `path` meanwhile has the old file to its end. A link is followed: what it names is replaced.

    Parameters
    ----------
    path
        What will be written.
    is_ours
        Says whether a file was written by such a call; if given, no other one is replaced.
    argument
        Name of the user's argument.

    Raises
    ------
    WriteError
        If another process writes the same path, a folder is there, or the disk is full.
    InvalidValueError
        If something else is there.
    """
    with writing(path) as target:
        if is_ours is not None:
            require_ours(target, path, is_ours, argument=argument)
        temporary = _temporary(target)
        try:
            temporary.unlink(missing_ok=True)  # of a writer that was killed
            yield temporary
            _kept(temporary)
            temporary.replace(target)
            _kept(target.parent)
        except (OSError, RuntimeError) as error:
            if (refused := refusal(error, path)) is None:
                raise
            raise refused from error
        finally:
            temporary.unlink(missing_ok=True)


def require_ours(path: Path, named: Path, is_ours: IsOurs, *, argument: str) -> None:
    """Raise if something is there that was not written here, nor is empty: it would be lost."""
    if not path.exists() or _is_empty(path) or is_ours(path):
        return
    what = "folder" if path.is_dir() else "file"
    msg = (
        f"expected nothing at `{named}`, or what jamie wrote there before, found another {what}, which would be lost; "
        f"move it, or pass another `{argument}`"
    )
    raise InvalidValueError(msg)


def _is_empty(path: Path) -> bool:
    return not any(path.iterdir()) if path.is_dir() else not path.stat().st_size


def remove_leftover(target: Path) -> None:
    """Remove what a writer that was killed left of a path that this thread is `writing`."""
    with suppress(OSError):
        _temporary(target).unlink(missing_ok=True)


def _temporary(target: Path) -> Path:
    return target.with_name(f".{target.stem}.part{target.suffix}")


def refusal(error: Exception, path: Path) -> WriteError | None:
    """What to raise for an error of the system, such as a full disk.

    HDF5 has some of them as `RuntimeError`, and may fail again, in other words, when it closes a file that it could not
    write.
    """
    if isinstance(error, JamieError):
        return None
    first: BaseException | None = error
    while first is not None and not (isinstance(first, OSError) or "errno = " in str(first)):
        first = first.__context__ if isinstance(first, RuntimeError) else None
    if first is None:
        return None
    short = " ".join(str(first).split())[:200]
    return WriteError(f"could not write `{path}`: {short}. Nothing was kept; make room, or pass another path")


@contextmanager
def writing(path: Path, *, waits: bool = False, folder: bool = False) -> Iterator[Path]:
    """Be the only one who writes `path`, and give what it is when links are followed.

    Nothing is written, so that an output can be checked, and kept from others, before what goes there is computed.

    Parameters
    ----------
    path
        What will be written.
    waits
        Whether to wait for another who writes it, instead of raising.
    folder
        Whether what will be written is a folder.
    """
    target = require_place(path, folder=folder)
    if target in _mine.get():
        yield target
        return
    lock = target.with_name(f".{target.name}.lock")
    descriptor = _locked(lock, path, waits=waits)
    token = _mine.set(_mine.get() | {target})
    try:
        yield target
    finally:
        _mine.reset(token)
        _unlock(lock, descriptor)


def as_path(path: str | Path, *, name: str) -> Path:
    """A path as users give it, if a file system can have it."""
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        msg = f"expected `{name}` as text or a Path, found {typed(path)}; pass {name}='...'"
        raise WrongTypeError(msg)
    try:
        Path(path).stat()  # an error of the name is one of any use of it
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or error.errno in (errno.ENAMETOOLONG, errno.EINVAL):
            shown = os.fspath(path)
            shown = shown if len(shown) < 60 else f"{shown[:50]}…"
            msg = f"expected `{name}` as a path that files can have, found {shown!r} ({error}); pass a shorter one"
            raise InvalidValueError(msg) from error
    if not os.fspath(path):
        msg = f"expected `{name}` as a path, found empty text; leave it out, or pass {name}='...'"
        raise InvalidValueError(msg)
    return Path(path)


def require_place(path: Path, *, folder: bool = False) -> Path:
    """What `path` is when links are followed, if something can be written there: its folder is there, no other is."""
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        msg = f"expected a folder to write to, found none at `{target.parent}`; make it first"
        raise MissingFileError(msg)
    if target.is_dir() and not folder:
        msg = f"expected a file to write at `{path}`, found a folder; pass another path"
        raise WriteError(msg)
    return target


def _locked(lock: Path, path: Path, *, waits: bool) -> int:
    """A descriptor that has the lock."""
    told = False
    while (found := _try(lock, path)) is None or isinstance(found, str):
        if isinstance(found, str):
            if not waits:
                msg = (
                    f"another process writes `{path}` ({found}, says `{lock.name}`); wait for its end, or pass another "
                    "path"
                )
                raise WriteError(msg)
            if not told:
                logger.info("waiting for %s, which writes `%s`", found, path)
                told = True
            time.sleep(POLL)
    return found


def _try(lock: Path, path: Path) -> int | str | None:
    """A descriptor with the lock, or who has it; nothing if the file was taken away meanwhile."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        msg = f"expected to write `{path}`, found that the folder does not take files ({error.strerror}); pass another"
        raise WriteError(msg) from error
    has = False
    try:
        holder = os.read(descriptor, 200).decode(errors="replace").strip()
        free = _lock(descriptor)
        if free is None:  # no locks here
            free = not holder or _is_gone(holder)
        if not free:
            return holder or "just begun"
        if not _is_at(descriptor, lock):
            return None
        _sign(descriptor, lock, path)
        has = True
        return descriptor
    finally:
        if not has:
            os.close(descriptor)


def _sign(descriptor: int, lock: Path, path: Path) -> None:
    """Write into a lock whose it is."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.truncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
    except OSError as error:
        with suppress(OSError):
            lock.unlink()
        msg = f"expected to write `{path}`, found that its folder takes nothing ({error.strerror}); make room"
        raise WriteError(msg) from error


def _unlock(lock: Path, descriptor: int) -> None:
    if sys.platform == "win32":  # which takes no open file away
        os.close(descriptor)
        with suppress(OSError):
            lock.unlink()
        return
    with suppress(OSError):  # before it is free: who opened it and waits sees that it is gone, and makes another
        if _is_at(descriptor, lock):
            lock.unlink()
    os.close(descriptor)


def _is_at(descriptor: int, lock: Path) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    except FileNotFoundError:
        return False


def _is_gone(holder: str) -> bool:
    """Whether it is a process of this machine that has ended."""
    found = re.fullmatch(r"process (\d+) on (.*)", holder)
    if found is None or found[2] != socket.gethostname():
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool | None:
        """Lock a byte that nobody reads or writes."""
        os.lseek(descriptor, 2**30, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(descriptor: int) -> bool | None:
        """Whether the lock is had; nothing where the file system has none."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return None if error.errno in _UNSUPPORTED else False
        return True


def _kept(path: Path) -> None:
    """Have the disk hold what was written, a file or the names in a folder, where it can be asked to.

    Some file systems, such as an NFS with a quota, say only here that they have no room: what was written is lost then.
    """
    try:
        descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _LOST:
            raise

"""Files of public repositories: fetched from a fixed commit, and taken only if they are the very bytes."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

from jamie._errors import FetchError, InvalidValueError
from jamie._progress import progress

if TYPE_CHECKING:
    from tqdm.std import tqdm

HOST = "https://raw.githubusercontent.com"
MIRROR = "JAMIE_MIRROR"
TIMEOUT = 30
"""Seconds without a byte after which a connection is given up."""
RETRIES = 1
"""Further tries after a failed one; pooch waits a second before."""
CHUNK = 1 << 16


@dataclass(frozen=True)
class RawFile:
    """A file as a public repository has it at one commit."""

    repository: str
    """Owner and name, as on GitHub."""
    commit: str
    path: str
    sha256: str
    size: int
    """Bytes."""

    @property
    def name(self) -> str:
        """Its name without folders."""
        return self.path.rpartition("/")[2]

    @property
    def page(self) -> str:
        """Where a reader sees it."""
        return f"https://github.com/{self.repository}/blob/{self.commit}/{quote(self.path)}"

    @property
    def address(self) -> str:
        """Where it is fetched: on the host of the repository, or in place of it on that named by `JAMIE_MIRROR`."""
        return f"{_host()}/{self.repository}/{self.commit}/{quote(self.path)}"


def fetch(files: Sequence[RawFile], folder: Path, *, remedy: str) -> dict[str, Path]:
    """Fetch `files` into `folder`, by name; every one has the SHA-256 that was published, or none is returned.

    Raises
    ------
    FetchError
        If a file cannot be had or is another one; `remedy` ends the message.
    """
    import pooch  # here, for it and what it imports take as long as half of the package

    _host()
    store = pooch.create(
        path=folder,
        base_url="",
        registry={file.name: f"sha256:{file.sha256}" for file in files},
        urls={file.name: file.address for file in files},
        retry_if_failed=RETRIES,
    )
    with _quiet(pooch.get_logger()):
        return {file.name: _fetched(store, file, remedy) for file in files}


def _fetched(store: Any, file: RawFile, remedy: str) -> Path:
    try:
        with progress(file.size, description=file.name, unit="B", prefixes=True) as bar:
            return Path(store.fetch(file.name, downloader=_Downloader(bar)))
    except ValueError as error:  # pooch: another SHA-256
        msg = (
            f"expected {file.name!r} with SHA-256 {file.sha256[:12]}…, found another at {file.address}: it was "
            f"changed, or damaged on its way. Nothing of it was kept; call again, and if that does not help, {remedy}"
        )
        raise FetchError(msg) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            msg = f"no space is left in {str(store.path)!r} for {file.name!r}; make room, or set TMPDIR to another"
        else:
            msg = f"could not fetch {file.address}: {_reason(error)}. Nothing was kept; {remedy}"
        raise FetchError(msg) from None  # the chain below a broken connection is a hundred lines


class _Downloader:
    """What pooch calls: over http by itself, from a folder by a copy."""

    def __init__(self, bar: tqdm) -> None:
        self.bar = bar

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        from pooch import HTTPDownloader

        if url.startswith("file:"):
            shutil.copyfile(url2pathname(urlsplit(url).path), output_file)
        else:
            HTTPDownloader(progressbar=self.bar, chunk_size=CHUNK, timeout=TIMEOUT)(url, output_file, pooch)


def _host() -> str:
    mirror = os.environ.get(MIRROR)
    if not mirror:
        return HOST
    if not mirror.startswith(("https://", "http://", "file://")):
        msg = (
            f"expected {MIRROR} to begin with https://, http:// or file://, found {mirror!r}; for a folder set "
            f"{MIRROR}={Path(mirror).absolute().as_uri()}"
        )
        raise InvalidValueError(msg)
    return mirror.rstrip("/")


def _reason(error: OSError) -> str:
    """Say in a few words what went wrong; what requests says of it is long."""
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, exceptions.Timeout):
        return f"no answer within {TIMEOUT} seconds"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, exceptions.ConnectionError):
        return f"no connection ({_root(error)})"
    return str(error)


def _root(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keep pooch's lines to ourselves: we say where the finished file is."""
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)

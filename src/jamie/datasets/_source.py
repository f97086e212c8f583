"""Files of public repositories: fetched from a fixed commit, and taken only if they are the very bytes."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import url2pathname

from jamie._errors import FetchError, InvalidValueError
from jamie._progress import progress

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

    def address(self, host: str) -> str:
        """Where it is fetched from."""
        return f"{host}/{self.repository}/{self.commit}/{quote(self.path)}"


def fetch(files: Sequence[RawFile], folder: Path, *, remedy: str) -> dict[str, Path]:
    """Fetch `files` into `folder`, by name; every one has the SHA-256 that was published, or none is returned.

    They come from the host of the repositories, or from what `JAMIE_MIRROR` names in place of it.

    Raises
    ------
    FetchError
        If a file cannot be had or is another one; `remedy` ends the message.
    """
    import pooch  # here, for it and what it imports take as long as half of the package

    host = source_host()
    store = pooch.create(
        path=folder,
        base_url="",
        registry={file.name: f"sha256:{file.sha256}" for file in files},
        urls={file.name: file.address(host) for file in files},
        retry_if_failed=RETRIES,
    )
    with _quiet(pooch.get_logger()):
        return {file.name: _fetched(store, file, remedy) for file in files}


def source_host() -> str:
    """Address before `/OWNER/REPOSITORY/COMMIT/PATH`, checked."""
    mirror = os.environ.get(MIRROR, "").strip().rstrip("/")
    if not mirror:
        return HOST
    parts = urlsplit(mirror)
    remote = parts.scheme in ("http", "https") and parts.netloc
    local = parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path
    if (remote or local) and not parts.query and not parts.fragment:
        return mirror
    folder = f"; for that folder set {MIRROR}={Path(mirror).absolute().as_uri()}" if Path(mirror).is_dir() else ""
    msg = (
        f"expected {MIRROR} to be an address such as https://host/path, or file:///folder with # and ? as %23 and %3F, "
        f"found {_public(mirror)!r}{folder or '; correct it, or unset it to fetch from the public source'}"
    )
    raise InvalidValueError(msg)


def _fetched(store: Any, file: RawFile, remedy: str) -> Path:
    from requests import RequestException

    where = f"{file.name!r} from {_public(store.urls[file.name])}"
    try:
        with progress(file.size, description=file.name, unit="B", prefixes=True) as bar:
            return Path(store.fetch(file.name, downloader=_Download(file, bar.update)))
    except RequestException as error:
        msg = f"could not fetch {where}: {_reason(error)}. Nothing was kept; {remedy}"
    except ValueError as error:  # pooch, of another SHA-256, or `_Download`, of another size
        found = str(error) if isinstance(error, _OtherSizeError) else "other bytes"
        msg = (
            f"expected {where} with SHA-256 {file.sha256[:12]}…, found {found}: it was changed, damaged on its way, or "
            f"is the page of a proxy. Nothing was kept; call again, and if that does not help, {remedy}"
        )
    except OSError as error:
        msg = f"could not fetch {where}: {error.strerror or error}. Nothing was kept; {remedy}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            msg = f"could not keep {file.name!r} in {str(store.path)!r}: {error.strerror}; make room, or set TMPDIR"
    raise FetchError(msg) from None  # the chain below a broken connection is a hundred lines


class _OtherSizeError(ValueError):
    """A file of another size than the published one."""


class _Download:
    """What pooch calls to have a file: over http, or from a folder."""

    def __init__(self, file: RawFile, update: Callable[[int], object]) -> None:
        self.file, self.update = file, update

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        n = 0
        with Path(output_file).open("wb") as out:
            for chunk in _from_folder(url) if url.startswith("file:") else _over_http(url):
                n += len(chunk)
                if n > self.file.size:
                    msg = f"more than its {self.file.size:,} bytes"
                    raise _OtherSizeError(msg)
                out.write(chunk)
                self.update(len(chunk))
        if n < self.file.size:
            msg = f"{n:,} instead of {self.file.size:,} bytes"
            raise _OtherSizeError(msg)


def _over_http(url: str) -> Iterator[bytes]:
    import requests

    with requests.get(url, stream=True, timeout=TIMEOUT) as response:
        response.raise_for_status()
        yield from response.iter_content(CHUNK)


def _from_folder(url: str) -> Iterator[bytes]:
    with Path(url2pathname(urlsplit(url).path)).open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _reason(error: Exception) -> str:
    """Say in a few words what went wrong; what requests says of it is long."""
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, exceptions.Timeout):
        return f"no answer within {TIMEOUT} seconds"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "the connection broke off"
    root: BaseException = error
    while (cause := root.__cause__ or root.__context__) is not None:
        root = cause
    short = " ".join(str(root).split())[:200].rstrip(".")
    if isinstance(error, exceptions.ConnectionError):
        return f"no connection ({short})"
    return f"{short} ({type(error).__name__})"


def _public(url: str) -> str:
    """The address without a name and password that it may hold."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keep pooch's lines to ourselves: we say where the finished file is."""
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)

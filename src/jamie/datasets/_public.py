"""A public data set: what it is, whom to cite, and how its published files become a `MuData`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mudata import MuData

from ._source import RawFile


@dataclass(frozen=True)
class PublicSet:
    """One public data set."""

    name: str
    description: str
    n_cells: int
    modalities: tuple[str, ...]
    files: tuple[RawFile, ...]
    build: Callable[[Mapping[str, Path]], MuData]
    """From the files, by name, to the cells and features as published, without `.uns`."""
    publication: str
    doi: str
    licence: str
    """As the repositories of the files state it; it may cover code rather than data."""
    note: str = ""
    needs: tuple[str, ...] = ()
    """Packages that read its files, of the extra `data`."""

    @property
    def size(self) -> int:
        """Bytes to fetch."""
        return sum(file.size for file in self.files)

    def about(self) -> dict[str, str]:
        """Where the data come from and whom to cite, as `mdata.uns` has it."""
        told = {
            "source": "\n".join(file.page for file in self.files),
            "publication": self.publication,
            "doi": self.doi,
            "licence": self.licence,
            "note": self.note,
        }
        return {key: text for key, text in told.items() if text}

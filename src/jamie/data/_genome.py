"""Where features lie in the genome, and which of two modalities lie near each other."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from mudata import MuData

from jamie._errors import MissingNameError
from jamie._types import Array

COLUMNS = ("chrom", "start", "end")
INTERVAL = re.compile(r"^(?P<chrom>.+)[:_-](?P<start>\d+)[_-](?P<end>\d+)$")


def coordinates(mdata: MuData, name: str) -> pd.DataFrame:
    """Coordinates of each feature of a modality, with columns chrom, start and end; NaN where there are none.

    They are columns of `.var`, or parsed from its column `interval`, or from the names, such as ``chr1:100-200``.

    Raises
    ------
    KeyError
        If no feature has coordinates.
    """
    var = mdata[name].var
    if all(column in var for column in COLUMNS):
        found = pd.DataFrame({"chrom": var["chrom"].astype(object), "start": var["start"], "end": var["end"]})
    else:
        text = var["interval"].astype(str) if "interval" in var else var.index.to_series().astype(str)
        found = text.str.extract(INTERVAL)
    found = found.assign(start=pd.to_numeric(found["start"]), end=pd.to_numeric(found["end"]))
    if not found.notna().all(axis=1).any():
        msg = (
            f"expected coordinates of {name!r}: columns 'chrom', 'start' and 'end' in `mdata[{name!r}].var`, or names "
            f"such as 'chr1:100-200', found columns {list(var)} and names such as {str(var.index[0])!r}; add columns"
        )
        raise MissingNameError(msg)
    return found.where(found.notna().all(axis=1))


def starts(mdata: MuData, name: str) -> pd.DataFrame:
    """Chromosome, transcription start site and strand (1, −1) of each gene; without `strand` in `.var`, all are 1."""
    at = coordinates(mdata, name)
    var = mdata[name].var
    strand = np.where(var["strand"].astype(str) == "-", -1, 1) if "strand" in var else np.ones(len(at), dtype=int)
    return pd.DataFrame({"chrom": at["chrom"], "tss": np.where(strand > 0, at["start"], at["end"]), "strand": strand})


def near(regions: pd.DataFrame, genes: pd.DataFrame, window: float) -> tuple[Array, Array, Array]:
    """Pairs within a window on the same chromosome: positions of region and gene, and distance.

    The distance is that of a region's middle from the transcription start site; negative is upstream.
    """
    middle = ((regions["start"] + regions["end"]) / 2).to_numpy()
    chrom_r, chrom_g = regions["chrom"].to_numpy(), genes["chrom"].to_numpy()
    tss = genes["tss"].to_numpy()
    found: list[tuple[Array, Array]] = [(np.empty(0, dtype=int), np.empty(0, dtype=int))]
    for chrom in pd.unique(genes["chrom"].dropna()):
        of_genes = np.flatnonzero(chrom_g == chrom)
        of_regions = np.flatnonzero(chrom_r == chrom)
        of_regions = of_regions[np.argsort(middle[of_regions])]
        low = np.searchsorted(middle[of_regions], tss[of_genes] - window, side="left")
        high = np.searchsorted(middle[of_regions], tss[of_genes] + window, side="right")
        region = np.concatenate([of_regions[a:b] for a, b in zip(low, high, strict=True)])
        found.append((region, np.repeat(of_genes, high - low)))
    region, gene = (np.concatenate(part) for part in zip(*found, strict=True))
    return region, gene, (middle[region] - tss[gene]) * genes["strand"].to_numpy()[gene]

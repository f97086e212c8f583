"""Where features lie in the genome, and which of two modalities lie near each other: frames of features in."""

from __future__ import annotations

import re
from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jamie._errors import InvalidValueError, MissingNameError
from jamie._settings import logger
from jamie._types import Array, Pair

COLUMNS = ["chrom", "start", "end"]
NUMBER = r"[0-9](?:[0-9,]*[0-9])?"
INTERVALS = (  # after a colon, a number that make_unique added may follow; else it could not be told from the end
    re.compile(rf"^\s*(?P<chrom>\S*[^\s:_-]):(?P<start>{NUMBER})(?:[-_–]|\.\.)(?P<end>{NUMBER})(?:-[0-9]+)?\s*$"),
    re.compile(rf"^\s*(?P<chrom>\S*[^\s:_-])[:_-](?P<start>{NUMBER})[:_-](?P<end>{NUMBER})\s*$"),
)
MISSING = ("", ".", "*", "?", "nan", "na", "n/a", "none", "null", "<na>")
STRANDS = {
    **dict.fromkeys(["-", "-1", "minus", "neg", "negative", "reverse", "rev"], -1),
    **dict.fromkeys(["+", "1", "+1", "plus", "pos", "positive", "forward", "fwd"], 1),
    **dict.fromkeys([*MISSING, "0", "unknown"], 0),
}
MINUS_SIGNS = str.maketrans("−–‐", "---")
BASES = {
    "": 1,
    "b": 1,
    "bp": 1,
    "base": 1,
    "bases": 1,
    "k": 1_000,
    "kb": 1_000,
    "kbp": 1_000,
    "mb": 10**6,
    "mbp": 10**6,
}
GENOME_BUILD = re.compile(r"^(?:grc[a-z]\d+|hg\d+|mm\d+)_+")
CHROMOSOME = re.compile(r"^(?:chromosome|chrom|chr)[_ ]*(?=.)")
MISNAMED = 0.5  # share of genes on chromosomes that the regions name otherwise, from which on a table would mislead


class NearPairs(NamedTuple):
    """Pairs of a region and a gene, (p,) each."""

    region: Array  # position among the regions
    gene: Array  # position among the genes
    distance: Array  # of the region's middle from the start site, in bases; negative is upstream


def coordinates(var: pd.DataFrame, *, modality: str, names: Array | pd.Index | None = None) -> pd.DataFrame:
    """Chromosome, start and end of features, a row for each of `names`; NaN where there are none, which is logged.

    They are the columns `chrom`, `start` and `end` of `var`, or parsed from its column `interval`, or from its names,
    such as ``chr1:100-200``.

    Raises
    ------
    KeyError
        If no feature has coordinates.
    ValueError
        If a start or end is no number, or a start comes after its end.
    """
    ways: list[Callable[[], pd.DataFrame]] = []
    if set(COLUMNS) <= set(var):
        ways.append(lambda: _of_columns(var, modality))
    if "interval" in var:
        ways.append(lambda: _parsed(var["interval"], modality))
    ways.append(lambda: _parsed(var.index.to_series(), modality))
    places = next((places for way in ways if (places := way())["chrom"].notna().any()), None)
    if places is None:
        first = f" and names such as {str(var.index[0])!r}" if len(var) else ""
        msg = (
            f"expected coordinates of {modality!r}: columns 'chrom', 'start' and 'end' in `mdata[{modality!r}].var`, "
            f"or names such as 'chr1:100-200', found columns {list(var)}{first}; add columns"
        )
        raise MissingNameError(msg)
    _require_order(places, modality)
    if names is not None:
        places = places.reindex(names)
    n_lost = int(places["chrom"].isna().sum())
    if n_lost:
        logger.warning("%d of %d features of %r have no coordinates: they are left out", n_lost, len(places), modality)
    return places


def starts(var: pd.DataFrame, *, modality: str, names: Array | pd.Index | None = None) -> pd.DataFrame:
    """Chromosome, transcription start site and strand (1, −1) of each gene of `names`; NaN without coordinates.

    Genes of an unknown strand, and all genes where `var` has no column `strand`, count as on the plus strand; how many
    these are is logged.

    Raises
    ------
    KeyError
        If no gene has coordinates.
    ValueError
        If coordinates or a strand cannot be read.
    """
    places = coordinates(var, modality=modality, names=names)
    strand = _strands(var.loc[var.index.isin(places.index[places["chrom"].notna()])], modality)
    strand = strand.reindex(places.index, fill_value=1).to_numpy()
    tss = np.where(strand > 0, places["start"], places["end"])
    return pd.DataFrame({"chrom": places["chrom"], "tss": tss, "strand": strand}, index=places.index)


def near(regions: pd.DataFrame, genes: pd.DataFrame, window: float) -> NearPairs:
    """Pairs within a window on the same chromosome, genes by chromosome and regions along it."""
    middle = ((regions["start"] + regions["end"]) / 2).to_numpy()
    chrom_r, chrom_g = regions["chrom"].to_numpy(), genes["chrom"].to_numpy()
    tss = genes["tss"].to_numpy()
    pairs: list[tuple[Array, Array]] = [(np.empty(0, dtype=int), np.empty(0, dtype=int))]
    for chrom in pd.unique(genes["chrom"].dropna()):
        of_genes = np.flatnonzero(chrom_g == chrom)
        of_regions = np.flatnonzero(chrom_r == chrom)
        of_regions = of_regions[np.argsort(middle[of_regions], kind="stable")]  # ties are the same on any processor
        low = np.searchsorted(middle[of_regions], tss[of_genes] - window, side="left")
        high = np.searchsorted(middle[of_regions], tss[of_genes] + window, side="right")
        region = np.concatenate([of_regions[a:b] for a, b in zip(low, high, strict=True)])
        pairs.append((region, np.repeat(of_genes, high - low)))
    region, gene = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return NearPairs(region, gene, (middle[region] - tss[gene]) * genes["strand"].to_numpy()[gene])


def require_same_chromosomes(regions: pd.DataFrame, genes: pd.DataFrame, *, modalities: Pair) -> None:
    """Raise, or warn where few genes are concerned, if regions and genes name the same chromosomes differently.

    Such pairs are never near each other, whatever the window.
    """
    of_regions, counts = set(regions["chrom"].dropna()), genes["chrom"].value_counts()
    if counts.empty:
        return
    canonical = {_canonical(name): name for name in sorted(of_regions - set(counts.index))}
    renamed = {
        name: canonical[_canonical(name)]
        for name in counts.index
        if name not in of_regions and _canonical(name) in canonical
    }
    if renamed:
        _say_renamed(renamed, int(counts[list(renamed)].sum()), int(counts.sum()), modalities)
    elif not of_regions & set(counts.index):
        msg = (
            f"expected regions of {modalities[0]!r} on chromosomes of genes of {modalities[1]!r}, found regions on "
            f"{_first(sorted(of_regions))} and genes on {_first(sorted(counts.index))}; name them alike in the "
            "columns 'chrom' of both"
        )
        raise InvalidValueError(msg)


def _say_renamed(renamed: dict[str, str], n_misnamed: int, n_genes: int, modalities: Pair) -> None:
    """Say which chromosomes, by the name that genes give them, have another name in the regions, and what mends it."""
    column = f"mdata[{modalities[1]!r}].var['chrom']"
    if all(region == f"chr{gene}" for gene, region in renamed.items()):
        remedy = f"{column} = 'chr' + {column}.astype(str)"
    elif all(gene == f"chr{region}" for gene, region in renamed.items()):
        remedy = f"{column} = {column}.astype(str).str.removeprefix('chr')"
    else:
        remedy = f"{column} = {column}.astype(str).replace({dict(list(renamed.items())[:3])})"
    remedy += ", beside columns 'start' and 'end'"
    gene, region = next(iter(renamed.items()))
    problem = (
        f"{n_misnamed} of {n_genes} genes of {modalities[1]!r} on chromosomes that {modalities[0]!r} names otherwise, "
        f"such as {gene!r} in place of {region!r}"
    )
    if n_misnamed > MISNAMED * n_genes:
        msg = f"expected the same names of chromosomes in both modalities, found {problem}; set {remedy}"
        raise InvalidValueError(msg)
    logger.warning("found %s: no region is near them; set %s", problem, remedy)


def require_bases(value: Any, *, name: str) -> int:
    """Return a number of bases as an integer if it is a whole number of at least 1.

    Raises
    ------
    ValueError
        If it is another number, or text such as ``"10kb"``, whose number the message gives.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    if is_number and np.isfinite(value) and value >= 1 and value == int(value):
        return int(value)
    shown = str(value) if isinstance(value, str) else value
    msg = f"expected `{name}` as a number of bases, whole and at least 1, found {shown!r}; pass {name}={_meant(value)}"
    raise InvalidValueError(msg)


def _of_columns(var: pd.DataFrame, modality: str) -> pd.DataFrame:
    return _complete(
        pd.DataFrame(
            {
                "chrom": _mapped(var["chrom"], _chromosome),
                "start": _numbers(var["start"], modality),
                "end": _numbers(var["end"], modality),
            }
        )
    )


def _parsed(text: pd.Series, modality: str) -> pd.DataFrame:
    text = text.astype(object).map(_text)
    parts = [text.str.extract(interval) for interval in INTERVALS]
    parsed = parts[0].where(parts[0]["chrom"].notna(), parts[1])
    return _complete(parsed.assign(start=_numbers(parsed["start"], modality), end=_numbers(parsed["end"], modality)))


def _complete(places: pd.DataFrame) -> pd.DataFrame:
    """NaN in all columns of a feature that has not all, or negative ones, as stand for features without a place."""
    is_complete = places.notna().all(axis=1) & (places["start"] >= 0) & (places["end"] >= 0)
    return places.where(is_complete)


def _require_order(places: pd.DataFrame, modality: str) -> None:
    turned = places.index[places["start"] > places["end"]]
    if len(turned):
        chrom, start, end = places.loc[places.index == turned[0]].iloc[0]
        msg = (
            f"expected a start before the end of every feature of {modality!r}, found {len(turned)} the other way "
            f"round, first {str(turned[0])!r}, from {start:.0f} to {end:.0f} of {chrom!r}; exchange them, and say the "
            f"strand of genes in a column 'strand' of mdata[{modality!r}].var"
        )
        raise InvalidValueError(msg)


def _strands(var: pd.DataFrame, modality: str) -> pd.Series:
    """1 or −1 by gene; what is not known is 1 and logged."""
    if "strand" not in var:
        similar = [str(column) for column in var if "strand" in str(column).lower()]
        remedy = f"rename the column {similar[0]!r} to 'strand'" if similar else "add one"
        logger.warning(
            "no column 'strand' in `mdata[%r].var`: all genes are taken as on the plus strand, so the start site of "
            "minus genes is at the wrong end; %s",
            modality,
            remedy,
        )
        return pd.Series(1, index=var.index)
    read = _mapped(var["strand"], lambda value: STRANDS.get(_text(value).translate(MINUS_SIGNS).lower()))
    if read.isna().any():
        value = var["strand"].to_numpy(dtype=object)[read.isna().to_numpy()][0]
        msg = (
            f"expected '+', '-', 1, -1, or '.' where it is not known in `mdata[{modality!r}].var['strand']`, found "
            f"{_text(value)!r} in {int(read.isna().sum())} of {len(read)} genes; write them so"
        )
        raise InvalidValueError(msg)
    is_unknown = read == 0
    if is_unknown.any():
        values = {_text(value) or "nothing" for value in pd.unique(var["strand"].astype(object)[is_unknown])}
        logger.warning(
            "the strand of %d of %d genes of %r is not known (%s): they are taken as on the plus strand",
            int(is_unknown.sum()),
            len(read),
            modality,
            ", ".join(sorted(values)[:3]),
        )
    return read.where(~is_unknown, 1).astype(int)


def _numbers(column: pd.Series, modality: str) -> pd.Series:
    """Positions as float, NaN where there are none."""
    if pd.api.types.is_numeric_dtype(column):
        numbers = column.to_numpy(dtype=float, na_value=np.nan)
    else:
        text = column.astype(object).map(_text)
        numbers = pd.to_numeric(text.str.replace(",", ""), errors="coerce").to_numpy(dtype=float)
        is_wrong = np.isnan(numbers) & ~text.str.lower().isin(MISSING).to_numpy()
        if is_wrong.any():
            msg = (
                f"expected numbers as start and end of the features of {modality!r}, found {text[is_wrong].iloc[0]!r} "
                f"for {str(column.index[is_wrong][0])!r}; write bases as numbers in mdata[{modality!r}].var"
            )
            raise InvalidValueError(msg)
    return pd.Series(np.where(np.isfinite(numbers), numbers, np.nan), index=column.index)


def _mapped(column: pd.Series, function: Callable[[Any], Any]) -> pd.Series:
    """`function` of each value, called once for equal ones; missing values are passed on as ``""``."""
    codes, values = pd.factorize(column.astype(object))
    results = np.array([*(function(value) for value in values), function("")], dtype=object)
    return pd.Series(results[codes], index=column.index)


def _text(value: Any) -> str:
    """Value as text, whole numbers without a fraction; ``""`` if it is missing."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, Real) and np.isnan(float(value))):
        return ""
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, float | np.floating) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    return text.removesuffix(".0") if re.fullmatch(r"[+−-]?[0-9]+\.0", text) else text


def _chromosome(value: Any) -> Any:
    text = _text(value)
    return np.nan if text.lower() in MISSING else text


def _canonical(chromosome: str) -> str:
    """Name of a chromosome as it is the same whatever the convention: ``chr01``, ``hg38_chr1``, ``1`` → ``1``."""
    name = CHROMOSOME.sub("", GENOME_BUILD.sub("", chromosome.lower()))
    return {"mt": "m", "mito": "m"}.get(name, name.lstrip("0") or name)


def _meant(value: Any) -> str:
    """Number of bases that was probably meant, as it would be written."""
    parts = re.fullmatch(r"\s*([0-9][0-9_,]*(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", value) if isinstance(value, str) else None
    if parts and parts[2].lower() in BASES:
        bases = float(re.sub("[_,]", "", parts[1])) * BASES[parts[2].lower()]
        if bases >= 1 and bases == int(bases):
            return f"{int(bases):_}"
    return "10_000"


def _first(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:3]))
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown or "none"

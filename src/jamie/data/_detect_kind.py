"""Which kind a modality is taken for, and why: from its name, its values, and what was noted of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple, get_args

from anndata import AnnData

from jamie._keys import KIND
from jamie._types import Kind

from ._accept import layers_of_counts
from ._value_stats import ValueStats

WORDS: tuple[tuple[Kind, str], ...] = (
    (
        "protein",
        r"prot|protein\w*|proteom\w*|adts?\d*|adt(counts|umis?)|antibod\w+|abseq|htos?|hashtags?",
    ),
    (
        "accessibility",
        r"(sc|sn|bulk|multi)?atac(s?|\d*|seq|counts|peaks?)|peaks?\d*|accessib\w*|chromatin|dnase\w*|dhs",
    ),
    (
        "counts",
        r"[a-z]{0,5}rna(s?|\d*|seq|counts|expr\w*)|gex\d*|genes?\d*|gene(counts|expr\w*|activit\w+)|transcript\w*|"
        r"m?transcripts?|(non)?coding|activit\w+|umis?",
    ),
)
"""What says the kind. Of more than one the last counts, as in English: an `rna_protein` is a protein."""
WEAK_WORDS: tuple[tuple[Kind, str], ...] = (("protein", r"cite\w{0,4}|surface"),)
WEAKEST_WORDS: tuple[tuple[Kind, str], ...] = (("counts", r"expression|expr"),)
"""What says it where nothing before does."""
ASIDE = r"_(?:of|from|for|by|near|in|with|at|to|without|and)_"
"""What follows one of these is not the thing itself."""
MOSTLY = 0.5


class DetectedKind(NamedTuple):
    """A kind, and a clause that says why it was taken."""

    kind: Kind
    reason: str


def detect_kind(name: str, stats: ValueStats, noted: Kind | None = None) -> DetectedKind:
    """Guess the kind from the modality's name and its values; anything but whole counts is continuous.

    Integers of a modality whose name says nothing are counts if most of them are zero. Regions that are mostly
    open cannot be single-cell accessibility (topic scores, say) and are continuous. Values that were completed are no
    whole numbers any more: what `tl.complete` `noted` of them goes first.
    """
    if noted is not None:
        return DetectedKind(noted, f"completed values, of which .uns[{KIND!r}] says so")
    named, filled = kind_of_name(name), stats.filled
    gaps = f", but for {stats.share_missing:.0%} that are NaN and left out" if stats.missing.any() else ""
    if not stats.is_whole:
        if stats.negative.any():
            return DetectedKind("continuous", "there are negative values" + _if_counts(named, "scaled already?"))
        if not stats.sums.any() and not stats.opened.any():
            return DetectedKind("continuous", "no value differs from 0")
        return DetectedKind("continuous", "values are not whole numbers" + _if_counts(named, "normalised already?"))
    if named in ("protein", "counts"):
        return DetectedKind(named, f"its name says so, and values are whole numbers{gaps}")
    if named is None and filled < MOSTLY:
        return DetectedKind("counts", f"values are whole numbers, {1 - filled:.0%} of them 0{gaps}")
    if named is None:
        return DetectedKind("continuous", f"its name tells no kind, and {filled:.0%} of the values are not 0{gaps}")
    if filled < MOSTLY:
        return DetectedKind("accessibility", f"its name says so, and {1 - filled:.0%} of the values are 0{gaps}")
    return DetectedKind("continuous", f"{filled:.0%} of the values are not 0: too many for open regions{gaps}")


def note_kind(adata: AnnData, kind: Kind, layer: str) -> None:
    """Keep the kind of `.X`, and of the `layer` if any, for a later `detect_kind`."""
    adata.uns[KIND] = {"kind": kind, "layer": layer}


def noted_kind(adata: AnnData, layer: str | None) -> Kind | None:
    """Return what `note_kind` kept of `.X` or a layer; `None` if nothing."""
    note = adata.uns.get(KIND)
    if not isinstance(note, Mapping) or layer not in (None, note.get("layer")):
        return None
    return next((kind for kind in get_args(Kind) if kind == note.get("kind")), None)


def kind_of_name(name: str) -> Kind | None:
    """Return what the name says: the kind of the last word that says one, before any ``of`` or ``near``."""
    split = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z]{3})(?=[a-z]{4})|[^0-9A-Za-z]+", "_", name).lower()
    for words in (WORDS, WEAK_WORDS, WEAKEST_WORDS):
        for part in re.split(ASIDE, split):
            kinds = [kind for word in part.split("_") for kind, pattern in words if re.fullmatch(pattern, word)]
            if kinds:
                return kinds[-1]
    return None


def not_read(adata: AnnData, kind: Kind, layer: str | None) -> str:
    """Clauses on what is in the modality and may be meant, but is not read; empty if nothing is."""
    clauses = ""
    is_asked = kind == "continuous" and layer is None
    counts = layers_of_counts(adata, other_than=".X", with_missing=True) if is_asked else []
    if counts:
        name = repr(counts[0])
        clauses += f"; .layers[{name}] holds whole numbers: pass layer={name} to jm.pp.prepare to take them"
    if "highly_variable" in adata.var:
        chosen = int((adata.var["highly_variable"] == True).sum())  # noqa: E712 - NaN is not
        if 0 < chosen < adata.n_vars:
            clauses += (
                f"; all {adata.n_vars} features are read, not only the {chosen} in .var['highly_variable']: subset it "
                "if you mean those"
            )
    return clauses


def _if_counts(named: Kind | None, question: str) -> str:
    """Go on to doubt it where the name says that there are counts."""
    return "" if named is None else f" though its name says {named!r}: {question}"

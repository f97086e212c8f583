"""Whether held-out partners lie together, within types as well, and whether types lie where they belong."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.neighbors import NearestNeighbors

from jamie._types import Array
from jamie.data import Cells
from jamie.metrics import foscttm, foscttm_error
from jamie.model import JAMIE

from ._finding import Finding, Verdict
from ._judged import MOST_PAIRS, JudgedPairs, labels_of
from ._pairs import MEND, UnseenAlignment

FAIR = 0.25
TYPES_ONLY = (
    "Take types, not single cells, from it: jm.tl.transfer_labels(mdata, labels=..., ...) is the honest result."
)
WITHIN = 0.45
FEWEST_OF_A_LABEL = 10
MOST_NEIGHBOURS = 15
TOLD = 0.7
"""Share of a label's cells that its own modality tells, from which another label in its place is no mere confusion."""
MOSTLY = 0.5
"""Share of a label's cells that lie among those of another, from which it is in its place."""
MOST_REFERENCES = 5_000


def check_alignment(judged: JudgedPairs) -> Iterator[Finding]:
    """FOSCTTM of held-out pairs, over all cells and within labels."""
    value, error = foscttm(*judged.latents), foscttm_error(*judged.latents)
    n = len(judged.rows[0])
    over_all = alignment_finding(judged.pair, value, error, f"{n:,} {judged.cells} pairs")
    yield over_all
    same = judged.same_label
    within = float("nan") if same is None else foscttm(*judged.latents, groups=same)
    if np.isfinite(within):
        weak, joined = within > WITHIN, over_all.verdict != "bad"
        verdict: Verdict = "good" if not weak else "doubtful" if joined else "bad"
        yield Finding(
            "alignment within labels", *judged.pair, within, 0.5, verdict,
            f"within a label {within:.2f} of the cells lie closer than the partner, where chance is 0.5"
            + (": types were found, cells within them were not" if weak and joined else ""),
            "" if not weak else TYPES_ONLY if joined else MEND,
        )  # fmt: skip


def alignment_finding(pair: tuple[str, str], value: float, error: float, of_what: str) -> Finding:
    """Judge a FOSCTTM with its standard error."""
    shown = f"{value:.3f} ± {error:.3f} of the cells lie closer than the partner, of {of_what}; chance is 0.5"
    if not UnseenAlignment(value, error).is_clear:
        return Finding("alignment", *pair, value, 0.5, "bad", f"{shown}: the modalities were not joined", MEND)
    if value > FAIR:
        return Finding(
            "alignment", *pair, value, 0.5, "doubtful", f"{shown}: they were joined loosely",
            "See jm.pl.history(mdata) and the row 'training'; with few pairs jm.pp.infer_correspondence(mdata) adds "
            "likely ones.",
        )  # fmt: skip
    return Finding("alignment", *pair, value, 0.5, "good", shown)


def check_types(
    cells: Cells, model: JAMIE, pair: tuple[str, str], column: str, rng: np.random.Generator
) -> Iterator[Finding]:
    """Where the cells of each label lie among the labelled cells of the other modality, both ways.

    Cells that the model has not learned from are asked, all cells where there are none.
    """
    labels = {name: labels_of(cells, column, name) for name in pair}
    for source, target in (pair, pair[::-1]):
        own, of_target = labels[source], labels[target]
        assert own is not None
        assert of_target is not None  # a column was named
        asked = _drawn(np.flatnonzero(_has(own) & ~cells.train(source)), MOST_PAIRS, rng)
        if not _frequent(own[asked]):
            asked = _drawn(np.flatnonzero(_has(own)), MOST_PAIRS, rng)
        among = {name: _drawn(np.flatnonzero(_has(of)), MOST_REFERENCES, rng) for name, of in labels.items()}
        if not _frequent(own[asked]) or min(map(len, among.values())) < FEWEST_OF_A_LABEL:
            continue
        x = model.encode(cells.inputs(source)[asked], source)
        y = model.encode(cells.inputs(target)[among[target]], target)
        found = _voted(x, y, of_target[among[target]])
        inputs, others = cells.inputs(source), np.setdiff1d(among[source], asked)
        others = others if len(others) >= FEWEST_OF_A_LABEL else among[source]
        told = _voted(inputs[asked], inputs[others], own[others])
        yield types_finding((source, target), own[asked], found, told)


def types_finding(pair: tuple[str, str], own: Array, found: Array, told: Array) -> Finding:
    """Judge where labels went.

    Parameters
    ----------
    pair
        Source, whose cells were asked, and target.
    own
        Label of each cell, (n,).
    found
        Label among its neighbours in the other modality, (n,).
    told
        Label among its neighbours in its own modality, before anything was aligned, (n,).
    """
    names = _frequent(own)
    share = {name: float(np.mean(found[own == name] == name)) for name in names}
    most = {name: _commonest(found[own == name]) for name in names}
    moved = {name: to for name, to in most.items() if np.mean(found[own == name] == to) >= MOSTLY}
    reference = {name: float(np.mean(told[own == name] == name)) for name in names}
    value, of_own = float(np.mean(list(share.values()))), float(np.mean(list(reference.values())))
    circles = swapped(moved)
    lost = [name for name in names if most[name] != name and reference[name] >= TOLD]
    verdict, what = _judged_types(circles, lost, most, value, len(names))
    mend = {
        "bad": "Check the pairs of these types, of which jm.pl.correspondence(mdata, slot='known', labels=...) shows "
        "the blocks; record the right ones with jm.pp.correspondence(mdata, pairs=...) and train again.",
        "doubtful": "Look at them in jm.pl.embedding(mdata, color=...); pairs of cells of all types help.",
    }
    shown = what or f"on average {value:.0%} of a label's cells lie among cells of their own label"
    return Finding("types", *pair, value, of_own, verdict, shown, mend.get(verdict, ""))


def _judged_types(
    circles: list[tuple[str, ...]], lost: list[str], most: dict[str, str], value: float, n: int
) -> tuple[Verdict, str]:
    if circles:
        shown = "; ".join(" → ".join(map(repr, (*circle, circle[0]))) for circle in circles)
        return "bad", f"labels lie in each other's place: {shown}"
    if n > 1 and value < 1 / n + 0.1:
        return "bad", f"on average {value:.0%} of a label's cells lie among cells of their own label, as good as chance"
    if lost:
        shown = ", ".join(f"{name!r} among {most[name]!r}" for name in lost[:5])
        return "doubtful", f"labels that their own modality tells apart lie among others: {shown}"
    return "good", ""


def swapped(most: dict[str, str]) -> list[tuple[str, ...]]:
    """Labels that lie in each other's place, in circles: a where b is and b where a is, or longer."""
    circles = []
    for start in most:
        circle, at = [start], most[start]
        while at in most and at not in circle:
            circle.append(at)
            at = most[at]
        if at == start and len(circle) > 1 and start == min(circle, key=str):
            circles.append(tuple(circle))
    return circles


def _frequent(labels: Array) -> list[str]:
    """Labels of enough cells to tell where they lie."""
    return [name for name in dict.fromkeys(labels) if (labels == name).sum() >= FEWEST_OF_A_LABEL]


def _voted(x: Array, y: Array, labels: Array) -> Array:
    """Commonest label of the nearest cells of y to each cell of x, where labels count alike, (n,)."""
    n_neighbors = min(MOST_NEIGHBOURS, len(y))
    nearest = NearestNeighbors(n_neighbors=n_neighbors).fit(y).kneighbors(x, return_distance=False)
    return np.array([_commonest(labels[of_cell]) for of_cell in nearest], dtype=object)


def _commonest(labels: Array) -> str:
    names, counts = np.unique(labels.astype(str), return_counts=True)
    return str(names[counts.argmax()])


def _has(labels: Array | None) -> Array:
    """Which cells have a label; there are labels where a column was named."""
    assert labels is not None
    return np.array([label is not None for label in labels], dtype=bool)


def _drawn(rows: Array, most: int, rng: np.random.Generator) -> Array:
    return np.sort(rng.choice(rows, min(len(rows), most), replace=False)) if len(rows) else rows

"""Whether known pairs are pairs of anything: left out in turn, beside pairs dealt at random."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jamie._types import Pair
from jamie.correspondence import FEWEST_ANCHORS, PairCheck, check_pairs, n_paired
from jamie.data import Cells
from jamie.metrics import foscttm, foscttm_error
from jamie.model import Summary

from ._finding import SURE, Finding, Verdict
from ._judged import JudgedPairs

NEAR_CHANCE = 0.4
"""FOSCTTM beyond which modalities were not joined: at most 0.2 on the public data sets, 0.42 to 0.55 with permuted
pairs."""
MEND = (
    "Look whether cells of the same name are the same cell; record pairs you are sure of with "
    "jm.pp.correspondence(mdata, pairs=...), or let jm.pp.infer_correspondence(mdata) find them."
)


class UnseenAlignment(NamedTuple):
    """FOSCTTM of pairs that were not learned from, with its standard error."""

    value: float
    error: float

    @property
    def is_clear(self) -> bool:
        """Whether they lie closer than chance by far."""
        return bool(self.value < NEAR_CHANCE and self.value < 0.5 - SURE * np.nan_to_num(self.error))


def unseen_alignment(judged: JudgedPairs | None, summary: Summary, pair: Pair) -> UnseenAlignment | None:
    """Alignment of the held-out pairs, else of the validation pairs of the training; `None` if it had none."""
    if judged is not None:
        return UnseenAlignment(foscttm(*judged.latents), foscttm_error(*judged.latents))
    if summary.cells == "validation":
        for score in summary.scores:
            if score.measure == "foscttm" and {score.source, score.target} == set(pair):
                return UnseenAlignment(score.value, score.standard_error)
    return None


def check_known_pairs(cells: Cells, pair: Pair, unseen: UnseenAlignment | None, rng: np.random.Generator) -> Finding:
    """Known pairs of the training: good where they beat all random pairings, or where unseen ones align.

    The pairs are judged by geometry alone, without the model, so that its failure is not theirs; unseen ones decide
    where that leaves a doubt.
    """
    a, b = pair
    known = cells.known_of_training(a, b)
    if n_paired(known) < FEWEST_ANCHORS:
        return Finding(
            "pairs", a, b, float("nan"), 0.5, "unknown",
            f"{n_paired(known)} known pairs of {a!r} and {b!r} are too few to tell whether they are right",
            "Record more pairs with jm.pp.correspondence(mdata, pairs=...), or compare what is known with "
            "jm.tl.check_correspondence(mdata, labels=...).",
        )  # fmt: skip
    rows, columns = np.flatnonzero(cells.train(a)), np.flatnonzero(cells.train(b))
    check = check_pairs(cells.inputs(a)[rows], cells.inputs(b)[columns], known[rows][:, columns], rng)
    if check.verified or (unseen is not None and unseen.is_clear):
        how = str(check) if check.verified else "pairs that were not learned from lie together in the latent"
        return Finding("pairs", a, b, check.objective, check.chance, "good", f"{check.n_pairs:,} known pairs: {how}")
    return _unverified(check, pair, is_refuted=unseen is not None)


def _unverified(check: PairCheck, pair: Pair, *, is_refuted: bool) -> Finding:
    """Judge pairs that do not beat all random ones; refuted: unseen ones do not align either."""
    what = f"{check.n_pairs:,} known pairs look like pairs dealt at random: {check}"
    verdict: Verdict = "doubtful" if check.promising and not is_refuted else "bad"
    return Finding("pairs", *pair, check.objective, check.chance, verdict, what, MEND)

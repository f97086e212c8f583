"""What a trained model is worth, said without labels: on pairs it was not trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from itertools import combinations, permutations
from typing import Any, Protocol

import numpy as np
import pandas as pd

from jamie._errors import InvalidValueError, MissingNameError
from jamie._settings import logger
from jamie._types import Array, Matrix
from jamie.data import Cells, Preparation, Problem, SeenCells
from jamie.metrics import MeanCorrelation, foscttm, foscttm_error
from jamie.nn import Ensemble
from jamie.train import Recipe

from ._kernel_mixes import surest_pairs

MOST_CELLS = 1_000
NEAR_CHANCE = 0.4
VALUES = 2**24  # imputed at a time


@dataclass(frozen=True)
class PairScore:
    """How well one modality goes with another, on the pairs of cells that the summary is of.

    Attributes
    ----------
    source, target
        Modalities; FOSCTTM is the same both ways and stands there once.
    measure
        ``"foscttm"``, or ``"correlation"``: the mean over the features of the target, imputed from the source.
    value
        The score.
    standard_error
        Of the score, over cells: how far it would move with other cells of the same kind.
    method
        ``"jamie"``, or ``"kernel_ridge"``: the regression beside the networks, by itself.
    """

    source: str
    target: str
    measure: str
    value: float
    standard_error: float
    method: str = "jamie"


COLUMNS = tuple(field.name for field in fields(PairScore))


@dataclass(frozen=True)
class Summary:
    """What a training came to.

    Attributes
    ----------
    cells
        Whose pairs were scored: ``"validation"``, set aside in the training, or ``"training"``, if none were.
    best_step
        Step whose weights were kept.
    seconds
        That the training took.
    n_steps
        Steps that were taken.
    interrupted
        Signal that ended the training early, ``"SIGINT"`` (Ctrl-C) or ``"SIGTERM"``; empty if none did.
    rolled_back
        Steps that changed nothing, for their loss or gradient was not finite.
    diverged
        Step at which numbers that are not finite ended the training early; 0 if none did.
    scores
        Of each two modalities; empty where no pairs are known.
    """

    cells: str
    best_step: int
    seconds: float
    n_steps: int
    interrupted: str = ""
    rolled_back: int = 0
    diverged: int = 0
    scores: tuple[PairScore, ...] = ()

    def table(self) -> pd.DataFrame:
        """A row for each score: source, target, measure, value, standard_error, method."""
        return pd.DataFrame([asdict(score) for score in self.scores], columns=list(COLUMNS))

    def value(self, measure: str, source: str, target: str, *, method: str = "jamie") -> float:
        """One of the scores; FOSCTTM whichever way the modalities are named."""
        asked = {(source, target), (target, source)} if measure == "foscttm" else {(source, target)}
        for score in self.scores:
            if (score.source, score.target) in asked and (score.measure, score.method) == (measure, method):
                return score.value
        known = [f"{s.measure} of {s.source!r} → {s.target!r} by {s.method}" for s in self.scores]
        msg = f"expected one of {known}, found {measure} of {source!r} → {target!r} by {method}"
        raise MissingNameError(msg)

    def to_dict(self) -> dict[str, Any]:
        """Numbers, text, and lists of them, for JSON and `.uns`; scores by column."""
        by_column = {name: [getattr(score, name) for score in self.scores] for name in COLUMNS}
        about = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**about, "scores": by_column}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Summary:
        """Read back what `to_dict` gave, also from a file, which keeps lists as arrays."""
        missing = {field.name for field in fields(cls)} - set(stored)
        columns = (
            {} if missing else {name: list(stored["scores"][name]) for name in COLUMNS if name in stored["scores"]}
        )
        if missing or len(columns) < len(COLUMNS) or len(set(map(len, columns.values()))) > 1:
            msg = (
                f"expected the summary of a training with 'scores' of the same number of {list(COLUMNS)}, found "
                f"{sorted(map(str, stored))}; call jm.tl.train(mdata) again"
            )
            raise InvalidValueError(msg)
        scores = tuple(
            PairScore(str(source), str(target), str(measure), float(value), float(error), str(method))
            for source, target, measure, value, error, method in zip(*columns.values(), strict=True)
        )
        return cls(
            cells=str(stored["cells"]),
            best_step=int(stored["best_step"]),
            seconds=float(stored["seconds"]),
            n_steps=int(stored["n_steps"]),
            interrupted=str(stored["interrupted"]),
            rolled_back=int(stored["rolled_back"]),
            diverged=int(stored["diverged"]),
            scores=scores,
        )


class Predictor(Protocol):
    """What is asked of a model to score or describe it."""

    network_: Ensemble

    def encode(self, inputs: Array, name: str) -> Array:
        """Latents."""

    def translate(self, inputs: Array, source: str, target: str, columns: Array | slice) -> Array:
        """Imputed features."""

    def regressed(self, inputs: Array, source: str, target: str, columns: Array | slice) -> Array:
        """Features by kernel ridge regression alone."""


def pair_scores(model: Predictor, opened: Cells, problem: Problem, cells: Mapping[str, Array]) -> tuple[PairScore, ...]:
    """FOSCTTM and mean correlation of features imputed both ways, on the pairs of the given cells, rows by modality.

    Beside each correlation stands that of kernel ridge regression alone, where there is one.
    """
    scores = []
    for a, b in combinations(problem.modalities, 2):
        rows, columns = (side[:MOST_CELLS] for side in surest_pairs(problem.known[a, b], cells[a], cells[b]))
        if len(rows) < 3:
            continue
        index = {a: rows, b: columns}
        inputs = {name: problem.modalities[name].inputs[index[name]] for name in (a, b)}
        latents = [model.encode(inputs[name], name) for name in (a, b)]
        scores.append(PairScore(a, b, "foscttm", foscttm(*latents), foscttm_error(*latents)))
        for source, target in permutations((a, b)):
            preparation = problem.modalities[target].preparation
            measured = preparation.measured(opened.corrected(target, preparation)[index[target]])
            methods: dict[str, Callable[..., Array]] = {"jamie": model.translate}
            if model.network_.kernel_mix(source, target):
                methods["kernel_ridge"] = model.regressed
            for method, impute in methods.items():
                mean = _mean_correlation(measured, partial(impute, inputs[source], source, target))
                scores.append(PairScore(source, target, "correlation", mean.value, mean.standard_error, method))
    return tuple(scores)


def announce(summary: Summary, recipe: Recipe) -> None:
    """Log the summary in one line, scores with their standard errors, and warn where the alignment is near chance."""
    was_last = summary.cells == "validation" and summary.best_step == recipe.max_steps and not _ended_early(summary)
    was_improving = recipe.cycles and was_last
    alone = {(s.measure, s.source, s.target): s.value for s in summary.scores if s.method == "kernel_ridge"}
    shown = []
    for score in summary.scores:
        if score.method == "jamie":
            beside = alone.get((score.measure, score.source, score.target))
            added = "" if beside is None else f" (kernel ridge alone {beside:.3f})"
            shown.append(f"{_shown(score)}{added}")
    logger.info(
        "trained in %.1f s, best step %d%s%s; %s",
        summary.seconds,
        summary.best_step,
        f", the last (max_steps={2 * recipe.max_steps} may find a better one)" if was_improving else "",
        "".join(f", {what}" for what in (_ended_early(summary), _rolled_back(summary)) if what),
        f"on {summary.cells} pairs: {', '.join(shown)}" if shown else "no pairs are known to score it by",
    )
    for score in summary.scores:
        if score.measure == "foscttm" and score.value > NEAR_CHANCE:
            logger.warning(
                "%s is %.2f on %s pairs, near chance (0.5): the modalities were not joined; check that cells of "
                "the same name are the same cell, and the kinds given to jm.pp.prepare",
                _named(score),
                score.value,
                summary.cells,
            )


def _shown(score: PairScore) -> str:
    error = f" ± {score.standard_error:.3f}" if np.isfinite(score.standard_error) else ""
    return f"{_named(score)} {score.value:.3f}{error}"


def _ended_early(summary: Summary) -> str:
    """What ended the training before its time, if anything did."""
    if summary.diverged:
        return f"diverged at step {summary.diverged}"
    return f"interrupted after step {summary.n_steps} ({summary.interrupted})" if summary.interrupted else ""


def _rolled_back(summary: Summary) -> str:
    """How many steps changed nothing, if any did."""
    n = summary.rolled_back
    return f"{n} step{'s' * (n != 1)} rolled back" if n else ""


def _in_ascii(text: str) -> str:
    return text.replace("→", "->").replace("±", "+-")


def _named(score: PairScore) -> str:
    return f"{score.measure} {score.source} → {score.target}"


def _mean_correlation(measured: Matrix, impute: Callable[[slice], Array]) -> MeanCorrelation:
    """Mean over the features that vary, of which a part is imputed at a time."""
    n, d = measured.shape
    step = max(1, VALUES // n)
    mean = MeanCorrelation()
    for start in range(0, d, step):
        features = slice(start, min(start + step, d))
        mean.add(measured[:, features], impute(features))
    return mean


def described(
    summary: Summary,
    recipe: Recipe,
    device: str,
    preparations: Mapping[str, Preparation],
    seen: Mapping[str, SeenCells],
) -> str:
    """What a trained model is, in a few lines; in ASCII, for it is printed where there may be no more."""
    networks = f"{recipe.n_networks} networks of " if recipe.n_networks > 1 else ""
    lines = [f"JAMIE, recipe {recipe.name!r}, {networks}{recipe.n_latent} latent dimensions, on {device}"]
    for name, preparation in preparations.items():
        n_train, n_validation, n_held_out = seen[name].counts
        cells = f"{n_train + n_validation:,} training cells" + (f", {n_held_out:,} held out" if n_held_out else "")
        lines.append(f"    {name}: {preparation.kind}, {len(preparation.features):,} features, {cells}")
    ended = ", ".join(what for what in (_ended_early(summary), _rolled_back(summary)) if what)
    if ended:
        lines.append(f"    {ended}, with the weights of step {summary.best_step}")
    shown = [_in_ascii(_shown(score)) for score in summary.scores if score.method == "jamie"]
    lines.append(f"    on {summary.cells} pairs: {', '.join(shown)}" if shown else "    no pairs to score it by")
    return "\n".join(lines)

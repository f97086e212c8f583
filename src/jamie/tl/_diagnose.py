"""Did it work: one table of checks, each with a verdict and the next step."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd
from mudata import MuData

from jamie._checks import generator
from jamie._docs import document
from jamie._settings import logger
from jamie._slots import in_one_line, write
from jamie._types import VERDICTS, Pair, Seed
from jamie.data import Cells, FeatureNames, Layers, open_for_model, require_several, writable
from jamie.diagnosis import (
    Finding,
    JudgedPairs,
    alignment_finding,
    as_table,
    check_alignment,
    check_batches,
    check_control,
    check_disguises,
    check_imputation,
    check_inputs,
    check_known_pairs,
    check_latents,
    check_spread,
    check_sureness,
    check_together,
    check_training,
    check_types,
    imputation_finding,
    judged_direction,
    judged_pairs,
    judged_together,
    unseen_alignment,
)
from jamie.model import JAMIE

from ._made_by import write_model


@in_one_line
@document("mdata", "model", "feature_names", "rng", "key_added")
def diagnose(
    mdata: MuData,
    model: JAMIE,
    *,
    labels: str | None = None,
    batch_key: str | None = None,
    negative_control: bool = False,
    layer: Layers = None,
    feature_names: FeatureNames = None,
    rng: Seed = 0,
    key_added: str = "jamie",
) -> pd.DataFrame:
    """Tell whether an integration worked: checks of inputs, pairs, latents and imputed values, each with a verdict.

    Rests on pairs of cells that the model has not seen, at most 1,000; where there are none, on what the training said
    of its validation pairs. What could not be measured is called ``"unknown"``, with the call that makes it possible.
    The page *How to see that an integration failed* explains each row.

    Parameters
    ----------
    {shared}
    labels
        Column of `mdata.obs` or of the modalities' `.obs`, such as cell types: adds alignment within labels, whether
        labels lie where they belong, whether batches that were taken off can be told from them, and has depth and batch
        judged within labels.
    batch_key
        Column of batches: adds what is left of the imputation beyond them.
    negative_control
        Whether to train once more, for 300 steps, with the training pairs permuted: what the pairs made possible must
        collapse. Takes up to half as long as the training.
    layer
        Layer that holds the values, for all modalities or by modality, instead of that of the training; ``"X"`` for
        the matrix itself.

    Returns
    -------
    A data frame with a row for each check and modality, or two of them; of three modalities or more also for each
    target from all others, `source` ``"rna + ephys"``, in the held-out cells that have them all:

    =================== =========================================================================================
    column              meaning
    =================== =========================================================================================
    `measure`           the check
    `source`, `target`  modalities; empty where the check is of one, or of the training
    `value`             of the measure; NaN where it could not be taken
    `reference`         chance, a simple method or the most there could be; NaN where there is none
    `verdict`           ``"good"``, ``"doubtful"``, ``"bad"`` or ``"unknown"``
    `finding`           what was found, in a sentence
    `next_step`         what to do, with the call; empty where the verdict is good
    =================== =========================================================================================

    Sets

    `mdata.uns['jamie_diagnosis']` : :class:`~pandas.DataFrame`
        The same table, which :func:`jamie.get.diagnosis` reads and :func:`jamie.pl.report` shows.

    Raises
    ------
    KeyError
        If `labels` or `batch_key` is not there.
    ValueError
        If the model and the MuData share fewer than two modalities, or values are not those of the training.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> jm.pp.split(mdata, test_fraction=0.3)
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> table = jm.tl.diagnose(mdata, model, labels="cell_type")
    >>> table.set_index("measure")["verdict"]["training"]
    'bad'
    """
    mdata = writable(mdata, copy=False)
    cells = open_for_model(mdata, model, layer=layer, feature_names=feature_names, key_added=key_added)
    require_several(cells)
    for column, argument in ((labels, "labels"), (batch_key, "batch_key")):
        if column is not None:
            cells.labels(column, cells.names[0], argument=argument)
    rng = generator(rng)
    findings = list(check_inputs(cells, model.preparations_, rng))
    findings += check_batches(cells, model.preparations_, labels)
    judged: dict[Pair, JudgedPairs] = {}
    for pair in combinations(cells.names, 2):
        of_pair = judged_pairs(cells, model, pair, labels, rng)
        if of_pair is not None:
            judged[pair] = of_pair
        unseen = unseen_alignment(of_pair, model.summary_, pair)
        findings.append(check_known_pairs(cells, pair, unseen, rng))
    findings.append(check_training(model.summary_, model.recipe_, model.history_))
    findings += check_latents(cells, model, rng)
    for pair in combinations(cells.names, 2):
        if pair in judged:
            findings += _held_out(cells, model, judged[pair], labels, batch_key, rng)
        else:
            findings += _of_summary(model, pair)
        if labels is not None:
            findings += check_types(cells, model, pair, labels, rng)
    for target in cells.names if len(cells.names) > 2 else ():
        findings += _together(cells, model, target, rng)
    if negative_control:
        findings += check_control(cells, model, judged, rng)
    table = as_table(findings)
    _tell(table)
    write(mdata, None, "uns", cells.keys.diagnosis, table)
    write_model(cells, model, cells.keys.diagnosis)
    return table


def _held_out(
    cells: Cells,
    model: JAMIE,
    judged: JudgedPairs,
    labels: str | None,
    batch_key: str | None,
    rng: np.random.Generator,
) -> Iterator[Finding]:
    """Alignment, and imputation both ways, on held-out pairs."""
    yield from check_alignment(judged)
    for source in judged.pair:
        direction = judged_direction(cells, model, judged, source)
        yield check_imputation(direction, rng)
        yield check_spread(direction)
        yield from check_sureness(model, direction, {source: cells.inputs(source)[direction.rows[0]]})
        yield from check_disguises(cells, direction, column=labels, batch_key=batch_key)


def _together(cells: Cells, model: JAMIE, target: str, rng: np.random.Generator) -> Iterator[Finding]:
    """Imputation from all other modalities, in held-out cells that have them all; nothing where these are too few."""
    found = judged_together(cells, model, target, rng)
    if found is None:
        return
    judged, inputs = found
    alone = {name: model.translate(x, name, target, judged.columns) for name, x in inputs.items()}
    yield check_together(judged, alone, rng)
    yield from check_sureness(model, judged, inputs)


def _of_summary(model: JAMIE, pair: Pair) -> Iterator[Finding]:
    """What the training said of its validation pairs, where no pairs are held out; unknown where there were none."""
    summary = model.summary_
    scores = {(s.measure, s.source, s.target, s.method): s for s in summary.scores if {s.source, s.target} == set(pair)}
    if summary.cells != "validation" or not scores:
        yield Finding(
            "held-out pairs", *pair, 0, float("nan"), "unknown",
            "the model has seen all pairs: how well they are aligned and imputed says nothing",
            "Call jm.pp.split(mdata) before jm.tl.train(mdata), with a larger test_fraction where cells are few.",
        )  # fmt: skip
        return
    for (measure, source, target, method), score in scores.items():
        if measure == "foscttm":
            yield alignment_finding((source, target), score.value, score.standard_error, "validation pairs")
        elif method == "jamie":
            kernel = scores.get((measure, source, target, "kernel_ridge"))
            beside = float("nan") if kernel is None else kernel.value
            error = float("nan") if kernel is None else kernel.standard_error
            yield imputation_finding((source, target), score.value, score.standard_error, beside, error)


def _tell(table: pd.DataFrame) -> None:
    """Log how many checks came out how, and each that was not good."""
    counts = table["verdict"].value_counts()
    logger.info("diagnosis: %s", ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if verdict in counts))
    for row in table.itertuples():
        if row.verdict in ("bad", "doubtful"):
            where = " → ".join(repr(name) for name in (row.source, row.target) if name)
            level = logger.warning if row.verdict == "bad" else logger.info
            level(
                "%s, %s%s: %s. %s",
                row.verdict,
                row.measure,
                f" of {where}" if where else "",
                row.finding,
                row.next_step,
            )

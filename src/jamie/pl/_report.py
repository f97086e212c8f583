"""One page to hand on: what went in, whether it worked, how good it is, and with what it was made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import combinations, permutations
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mudata import MuData

from jamie import get
from jamie._atomic import as_path, require_ours, require_place, whole
from jamie._checks import require_name
from jamie._docs import document
from jamie._errors import InvalidValueError, MissingNameError
from jamie._keys import Keys, of_sources
from jamie._settings import logger
from jamie._types import VERDICTS, Pair, Slot, Sources

from ._correspondence import correspondence
from ._embedding import BASES, embedding
from ._history import history
from ._importance import importance
from ._imputation import imputation
from ._knockout import knockout
from ._metrics import metrics
from ._page import SIGNATURE, Block, Note, Part, Section, Table, page, picture
from ._style import with_plain_names

if TYPE_CHECKING:
    from jamie.data import FeatureNames
    from jamie.model import JAMIE

JOINED = "\N{NO-BREAK SPACE}"
N_SHOWN = 5
"""Best and worst features in a table."""
MOST_DIRECTIONS = 9
"""That have figures: all of three modalities, alone and together; more would make the page too large to send."""
MOST_CELLS = 5_000
HEAD = 200
"""Characters that hold the signature of a page."""
CITATION = (
    "Cohen Kalafut N, Huang X, Wang D. Joint variational autoencoders for multimodal imputation and embedding. Nature "
    "Machine Intelligence 5, 631–642 (2023). doi:10.1038/s42256-023-00663-z"
)
PARTNERS: tuple[tuple[Slot, str], ...] = (("inferred", "Inferred partners"), ("match", "Partners by the latent"))
SCORES = {
    "correlation": "correlation", "gain": "gain of jamie", "auroc": "AUROC", "js_distance": "JS distance",
    "sd_ratio": "sd ratio", "foscttm": "FOSCTTM", "foscttm_within": "within labels", "lta": "label transfer",
}  # fmt: skip


@with_plain_names
@document("mdata", "model", "feature_names", "key_added")
def report(
    mdata: MuData,
    model: JAMIE,
    path: str | Path,
    *,
    labels: str | None = None,
    basis: Literal["umap", "pca"] = "umap",
    title: str | None = None,
    feature_names: FeatureNames = None,
    key_added: str = "jamie",
) -> Path:
    """Write one page that says what went in, whether it worked, how good it is, and with what it was made.

    The page is a single HTML file with its figures in it: it needs no network, opens from disk, and prints. It shows
    what was computed before and computes nothing but coordinates for the eye: in place of what is missing, or was
    computed with another model, stands the call that makes it. Nothing is written to `mdata`.

    Parameters
    ----------
    {shared}
    path
        File to write, such as ``"report.html"``; a report that is there is replaced, in one piece, and nothing else.
    labels
        Column of the `.obs` of the modalities, or of `mdata.obs`, by which cells are coloured and correspondences
        grouped.
    basis
        ``"umap"`` or ``"pca"``, in which the latents are drawn.
    title
        Heading of the page; the modalities if `None`.

    Returns
    -------
    The path.

    Raises
    ------
    KeyError
        If the labels are not there.
    ValueError
        If model and MuData do not go together, or another file is at the path.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> _ = jm.tl.diagnose(mdata, model)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = jm.pl.report(mdata, model, Path(folder) / "report.html", basis="pca")
    ...     "jamie_" in path.read_text(), "too few to learn anything" in path.read_text()
    (False, True)
    """
    path = as_path(path, name="path")
    require_ours(require_place(path), path, is_report, argument="path")
    inputs = get.inputs(mdata, model, feature_names=feature_names, key_added=key_added)
    names = list(inputs.index)
    if labels is not None:
        frames = [mdata.obs, *(mdata[name].obs for name in mdata.mod)]
        require_name(labels, list(dict.fromkeys(column for frame in frames for column in frame)), name="labels")
    directions: list[tuple[Sources, str]] = list(permutations(names, 2))
    directions += [(tuple(other for other in names if other != name), name) for name in names if len(names) > 2]
    fingerprint = model.fingerprint
    others = _of_other_models(mdata, fingerprint, model.placement, Keys(key_added))
    sections = [
        Section("Did it work", tuple(_diagnosis(mdata, key_added, others))),
        Section("What went in", tuple(_inputs(inputs))),
        Section("Scores", tuple(_scores(mdata, directions, key_added, others))),
        Section("Embedding", tuple(_embedding(mdata, labels, basis, key_added, others))),
        Section("Imputed features", tuple(_features(mdata, directions, key_added, fingerprint))),
        Section("Correspondence", tuple(_correspondence(mdata, list(combinations(names, 2)), labels, key_added))),
        Section("What drives it", tuple(_drivers(mdata, list(permutations(names, 2)), key_added, fingerprint))),
        Section("How it was made", tuple(_made(mdata, key_added, others))),
        Section("Cite", (Note(CITATION),)),
    ]
    now = datetime.now(tz=UTC)
    text = page(title or f"jamie: {' and '.join(names)}", f"Written by jamie on {now.day} {now:%B %Y}.", sections)
    with whole(path, is_ours=is_report) as temporary:
        temporary.write_text(text, encoding="utf-8")
    logger.info("wrote %s (%.1f MB)", path, len(text) / 1e6)
    return path


def is_report(path: Path) -> bool:
    """Whether a file is a page that was written here: it says so in its head."""
    try:
        with path.open(encoding="utf-8") as file:
            return SIGNATURE in file.read(HEAD)
    except (OSError, UnicodeDecodeError):
        return False


def _of_other_models(mdata: MuData, fingerprint: str, placement: str, keys: Keys) -> frozenset[str]:
    """Slots that say which model they are of, and name another than this one."""
    others = {slot for slot, of in mdata.uns.get(keys.models, {}).items() if of != fingerprint}
    if any(mdata[name].uns.get(keys.placed_by, placement) != placement for name in mdata.mod):
        others.add(keys.latent)
    return frozenset(others)


def _diagnosis(mdata: MuData, key_added: str, others: frozenset[str]) -> Iterator[Block]:
    if Keys(key_added).diagnosis in others:
        yield Note("Another model was diagnosed; for verdicts on this one call", "jm.tl.diagnose(mdata, model)")
        return
    try:
        table = get.diagnosis(mdata, key_added=key_added)
    except MissingNameError:
        yield Note("This was not diagnosed; for verdicts call", "jm.tl.diagnose(mdata, model)")
        return
    counts = table["verdict"].value_counts()
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if verdict in counts)
    order = table["verdict"].map(VERDICTS.index).to_numpy().argsort(kind="stable")
    rows, verdicts = [], []
    for row in table.iloc[order].itertuples():
        beside = "" if np.isnan(row.reference) else _number(row.reference)
        what = " ".join(part for part in (f"{_sentence(row.finding)}", str(row.next_step)) if part)
        rows.append(
            (str(row.verdict), str(row.measure), _arrow(row.source, row.target), _number(row.value), beside, what)
        )
        verdicts.append(str(row.verdict))
    yield Table(
        f"{len(table)} checks: {said}. Those that ask for something stand first.",
        ("verdict", "check", "of", "value", "beside", "found, and what to do"),
        tuple(rows),
        tuple(verdicts),
    )


def _inputs(inputs: pd.DataFrame) -> Iterator[Block]:
    yield _table("Modalities as the model takes them, and what their cells are to it.", inputs)


def _scores(
    mdata: MuData, directions: list[tuple[Sources, str]], key_added: str, others: frozenset[str]
) -> Iterator[Block]:
    if Keys(key_added).evaluation in others:
        yield Note("Another model was scored; for scores of this one call", "jm.tl.evaluate(mdata, model)")
        return
    try:
        table = get.evaluation(mdata, key_added=key_added)
    except MissingNameError:
        yield Note("Nothing was scored; for scores beside simple methods call", "jm.tl.evaluate(mdata, model)")
        return
    drawn = 0
    for source, target in directions:
        shown_source = of_sources(source)
        rows = table[(table["source"] == shown_source) & (table["target"] == target)]
        if rows.empty:
            continue
        first = rows.iloc[0]
        limits = [
            f"{shown} {first[name]:.2f}"
            for name, shown in (("r_max", "a perfect predictor reaches a correlation of"), ("js_floor", "two measured "
                                "samples have a JS distance of"))
            if name in first and np.isfinite(first[name])
        ]  # fmt: skip
        blocks: list[Block] = [
            Table(
                f"{first['n_cells']:,} {first['cells']} cells; ± is a standard error over cells."
                + "".join(f" {_sentence(limit)}" for limit in limits),
                ("method", *(shown for name, shown in SCORES.items() if name in rows)),
                tuple(_scores_of(row, rows) for _, row in rows.iterrows()),
            )
        ]
        if len(rows) > 1 and drawn < MOST_DIRECTIONS:
            drawn += 1
            blocks += _optional(
                partial(metrics, mdata, source=source, target=target, key_added=key_added),
                alt=f"Each feature of {target} imputed from {shown_source}: correlation and AUROC of jamie against the "
                "best baseline, and the distribution of JS distances by method.",
                caption="Features above the line are imputed better by jamie than by the baseline.",
            )
        yield Part(f"{shown_source} → {target}", tuple(blocks))


def _scores_of(row: pd.Series, rows: pd.DataFrame) -> tuple[str, ...]:
    """One method's scores as text, with standard errors where there are any."""
    cells = [str(row["method"]).replace("_", " ")]
    for name in SCORES:
        if name in rows:
            error = row.get(f"{name}_se", np.nan)
            cells.append(f"{row[name]:.3f}{JOINED}±{JOINED}{error:.3f}" if np.isfinite(error) else _number(row[name]))
    return tuple(cells)


def _embedding(
    mdata: MuData, labels: str | None, basis: Literal["umap", "pca"], key_added: str, others: frozenset[str]
) -> Iterator[Block]:
    slot = Keys(key_added).latent
    if slot in others:
        yield Note("The latents are of another model; for those of this one call", "jm.tl.embed(mdata, model)")
        return
    shown = [name for name in mdata.mod if slot in mdata[name].obsm]
    if not shown:
        yield Note("No cells were embedded; call", "jm.tl.embed(mdata, model)")
        return
    by = f", and of each modality by {labels}" if labels else ""
    yield picture(
        embedding(mdata, color=labels, basis=basis, n_cells=MOST_CELLS, key_added=key_added),
        alt=f"{BASES[basis]} of the joint latents of {' and '.join(shown)}: cells coloured by modality{by}.",
        caption="Well integrated modalities cover the same ground. Training cells are among these: see the verdicts.",
    )
    if labels is None:
        yield Note("Cells are not coloured by type; pass", "jm.pl.report(..., labels='cell_type')")


def _features(
    mdata: MuData, directions: list[tuple[Sources, str]], key_added: str, fingerprint: str
) -> Iterator[Block]:
    keys = Keys(key_added)
    imputed = [(a, b) for a, b in directions if _is_imputed(mdata, a, b, keys)]
    if not imputed:
        source, target = directions[0] if directions else ("rna", "protein")
        call = f"jm.tl.impute(mdata, model, source={source!r}, target={target!r})"
        yield Note("Nothing was imputed; for features and their accuracy call", call)
    for i, (source, target) in enumerate(imputed):
        call = f"jm.tl.impute(mdata, model, source={_argument(source)}, target={target!r}, interval=0.9)"
        if _model_of(mdata, source, target, keys) not in (fingerprint, None):
            of_another = Note("These were imputed by another model; for what this one imputes call", call)
            yield Part(f"{of_sources(source)} → {target}", (of_another,))
            continue
        try:
            table = get.imputed_features(mdata, source=source, target=target, key_added=key_added)
        except InvalidValueError as error:
            yield Part(f"{of_sources(source)} → {target}", (Note(_sentence(str(error))),))
            continue
        ranked = table[table["correlation"].notna()]
        worst = ranked.iloc[max(N_SHOWN, len(ranked) - N_SHOWN) :]
        blocks: list[Block] = [
            _table(f"The {min(N_SHOWN, len(ranked))} best of {len(table):,} features.", ranked.head(N_SHOWN))
        ]
        if len(worst):
            blocks.append(_table(f"The {len(worst)} worst.", worst))
        if "coverage" not in table:
            blocks.append(Note("These have no intervals; for them call", call))
        blocks += _sureness(mdata, source, target, keys)
        if i < MOST_DIRECTIONS and len(ranked):
            blocks.append(
                picture(
                    imputation(mdata, source=source, target=target, key_added=key_added),
                    alt=f"Imputed against measured values of features of {target}, from the best, with a "
                    f"correlation of {ranked['correlation'].iloc[0]:.2f}, to the worst, with "
                    f"{ranked['correlation'].iloc[-1]:.2f}; and all {len(table):,} correlations by rank.",
                    caption="The line is identity.",
                )
            )
        yield Part(f"{of_sources(source)} → {target}", tuple(blocks))


def _is_imputed(mdata: MuData, source: Sources, target: str, keys: Keys) -> bool:
    if isinstance(source, str):
        return keys.imputed_from_source(target) in mdata[source].obsm
    return keys.imputed_from_sources(target, *source) in mdata.obsm


def _argument(source: Sources) -> str:
    return repr(source if isinstance(source, str) else list(source))


def _model_of(mdata: MuData, source: Sources, target: str, keys: Keys) -> str | None:
    """Fingerprint of the model by which this was imputed."""
    if isinstance(source, str):
        return mdata[source].uns.get(keys.imputed_from_source(target), {}).get("model")
    return mdata.uns.get(keys.imputed_from_sources(target, *source), {}).get("model")


def _sureness(mdata: MuData, source: Sources, target: str, keys: Keys) -> list[Block]:
    """How sure cells are and how many are new, by what they are to the model; nothing where it was not said."""
    several = () if isinstance(source, str) else source
    columns = {
        "confidence": keys.imputation_confidence(target, *several),
        "novelty": keys.novelty(target, *several),
        "cells": keys.role_for(target, *several),
    }
    obs = mdata[source].obs if isinstance(source, str) else mdata.obs
    if not set(columns.values()) <= set(obs):
        return []
    cells = pd.DataFrame({name: obs[column].to_numpy() for name, column in columns.items()})
    by_role = cells.groupby("cells", observed=True)
    table = pd.DataFrame({
        "number": by_role.size(),
        "median confidence": by_role["confidence"].median(),
        "confidence below 0.1": by_role["confidence"].agg(lambda of: f"{(of < 0.1).mean():.0%}"),
        "novelty above 1": by_role["novelty"].agg(lambda of: f"{(of > 1).mean():.0%}"),
    })  # fmt: skip
    caption = "How sure cells are: like those of the training, a tenth is below 0.1, and one in twenty is above 1."
    return [_table(caption, table)]


def _correspondence(mdata: MuData, pairs: list[Pair], labels: str | None, key_added: str) -> Iterator[Block]:
    any_drawn = False
    for a, b in pairs:
        for slot, what in PARTNERS:
            blocks = _optional(
                partial(correspondence, mdata, modalities=[a, b], slot=slot, labels=labels, key_added=key_added),
                alt=f"{what} of the cells of {a} and {b} as a heat map"
                + (f", cells grouped by {labels}: mass belongs into the outlined blocks." if labels else "."),
                caption=f"{what}: a right correspondence is a diagonal.",
            )
            any_drawn = any_drawn or bool(blocks)
            yield from blocks
    if not any_drawn:
        a, b = pairs[0] if pairs else ("rna", "protein")
        yield Note(
            "No partners were inferred or matched: known pairs join the modalities. For likely partners call",
            f"jm.tl.match(mdata, source={a!r}, target={b!r})",
        )


def _drivers(mdata: MuData, directions: list[Pair], key_added: str, fingerprint: str) -> Iterator[Block]:
    keys, any_drawn = Keys(key_added), False
    for source, target in directions[:MOST_DIRECTIONS]:
        blocks: list[Block] = []
        for draw, slot, call, alt, caption in (
            (
                importance,
                keys.shap(target),
                f"jm.tl.explain(mdata, model, source={source!r}, target={target!r})",
                f"Features of {source} with the largest SHAP values for {target}, as bars.",
                "Mean absolute SHAP values.",
            ),
            (
                knockout,
                keys.knockout("correlation", target),
                f"jm.tl.knockout(mdata, model, source={source!r}, target={target!r})",
                f"Features of {source} without which {target} is imputed worst, as bars from the score with all.",
                "What is lost without each feature.",
            ),
        ):
            if mdata[source].uns.get(slot, {}).get("model", fingerprint) != fingerprint:
                blocks.append(Note("This is of another model; for this one call", call))
                continue
            drawn = partial(draw, mdata, source=source, target=target, key_added=key_added)
            blocks += _optional(drawn, alt=alt, caption=caption)
        if blocks:
            any_drawn = True
            yield Part(f"{source} → {target}", tuple(blocks))
    if not any_drawn:
        source, target = directions[0] if directions else ("rna", "protein")
        yield Note(
            "Features were neither explained nor knocked out; call",
            f"jm.tl.explain(mdata, model, source={source!r}, target={target!r})",
        )


def _made(mdata: MuData, key_added: str, others: frozenset[str]) -> Iterator[Block]:
    elsewhere = Note(
        "The training was of another MuData, so that its history is not here; it is written by", "jm.tl.train(mdata)"
    )
    if Keys(key_added).model in others:
        yield elsewhere
        return
    try:
        made = get.provenance(mdata, key_added=key_added)
        summary = get.summary(mdata, key_added=key_added)
    except MissingNameError:
        yield elsewhere
        return
    seed = "a generator" if made.seed is None else str(made.seed)
    about = {"jamie": made.version, **made.versions, "device": made.device, "seed": seed}
    about |= {"best step": f"{summary.best_step} of {summary.n_steps}", "seconds": f"{summary.seconds:.1f}"}
    yield Table("Versions, seed and training.", ("what", "value"), tuple((k, v) for k, v in about.items()))
    settings = tuple((name, _shown(value)) for name, value in made.recipe.items())
    yield Table("Settings of the recipe.", ("setting", "value"), settings)
    yield picture(
        history(mdata, key_added=key_added),
        alt=f"Terms of the loss by step; the weights of step {summary.best_step} of {summary.n_steps} were kept.",
        caption="Losses of training cells, and, dashed, the error on held-out pairs.",
    )


def _optional(draw: Callable[[], Axes | Figure], *, alt: str, caption: str) -> list[Block]:
    """What is drawn, or nothing where it was not computed."""
    try:
        return [picture(draw(), alt=alt, caption=caption)]
    except MissingNameError:
        return []


def _table(caption: str, frame: pd.DataFrame) -> Table:
    rows = tuple((str(name), *map(_shown, row)) for name, row in zip(frame.index, frame.to_numpy(object), strict=True))
    return Table(caption, (str(frame.index.name), *map(str, frame.columns)), rows)


def _shown(value: object) -> str:
    if isinstance(value, float | np.floating):
        return _number(value)
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return f"{value:,}" if is_whole else str(value)


def _number(value: float | np.floating) -> str:
    number = float(value)
    if not np.isfinite(number):
        return "–" if np.isnan(number) else "∞"
    return f"{int(number):,}" if number.is_integer() and abs(number) >= 2 else f"{number:.3g}".replace("-", "−")


def _arrow(source: str, target: str) -> str:
    return " → ".join(name for name in (source, target) if name)


def _sentence(text: str) -> str:
    """With a capital and a full stop, unless it opens with a name in quotes."""
    return (text if text.startswith("'") else text[:1].upper() + text[1:]) + ("" if text.endswith(".") else ".")

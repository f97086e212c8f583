"""Intervals and draws on held-out cells: do they hold what they say, how wide are they, do draws vary as cells do.

Both ways, of the cells that the model has not seen. Coverage is the share of measured values within their bounds: of
all values, of dense features (fewer zeros than the level), of intervals that have a width, and of each type with more
than 50 held-out cells. The rival has one width for each feature, chosen on the held-out cells themselves so that it
covers as many of them: no method could know it. Draws and means are compared with what was measured within types by
the Jensen-Shannon distance, beside that of two measured samples of as many cells.

    python benchmarks/intervals.py patchseq_motor_cortex citeseq_pbmc10k --page docs/benchmark/intervals.md
"""

from __future__ import annotations

import argparse
import json
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import jamie as jm

LABELS = "cell_type"
LEVELS = (0.5, 0.9)
FEWEST = 50  # held-out cells of a type
MOST_FEATURES = 1_000
NEAR = 0.05  # of the level, for a feature
SHOWN = {
    "patchseq_motor_cortex": "motor cortex",
    "citeseq_pbmc_mosaic": "mosaic",
    "citeseq_pbmc10k": "CITE-seq 10k",
    "snareseq_mouse_cortex": "SNARE-seq cortex",
}


def constant_width(measured: np.ndarray, imputed: np.ndarray, covered: np.ndarray, *, is_positive: bool) -> np.ndarray:
    """Mean width of each feature, (d,), if it were the same in all cells and covered as many of them."""
    off = np.abs(measured - imputed)
    width = np.array([np.quantile(off[:, j], share) for j, share in enumerate(covered)])
    lower = np.maximum(imputed - width, 0) if is_positive else imputed - width
    return (imputed + width - lower).mean(axis=0)


def coverage_of(mdata, model: jm.JAMIE, source: str, target: str, level: float, columns: list[str]) -> dict[str, Any]:
    """Coverage and width of one level."""
    table = jm.get.calibration(mdata, model, source=source, target=target, groupby=LABELS, levels=[level])
    whole, types = table.iloc[0], table.iloc[1:].query(f"n_cells > {FEWEST}")
    jm.tl.impute(mdata, model, source=source, target=target, features=columns, interval=level)
    pair = jm.get.comparison(mdata, source=source, target=target)
    measured, imputed = pair.measured.to_numpy(), pair.imputed.to_numpy()
    lower, upper = (pair.beside[side].to_numpy() for side in ("lower", "upper"))
    kept = measured.std(axis=0) > 1e-6
    measured, imputed, lower, upper = (values[:, kept] for values in (measured, imputed, lower, upper))
    covered = ((measured >= lower) & (measured <= upper)).mean(axis=0)
    dense = (measured == 0).mean(axis=0) < level
    is_positive = str(whole["kind"]) != "continuous"
    widths = (upper - lower).mean(axis=0), constant_width(measured, imputed, covered, is_positive=is_positive)
    own, constant = (width[dense] / measured.std(axis=0)[dense] for width in widths)
    return {
        "level": level,
        "n_cells": len(measured),
        "coverage": whole["coverage"],
        "share_with_width": whole["share_with_width"],
        "coverage_with_width": whole["coverage_with_width"],
        "dense": covered[dense].mean() if dense.any() else np.nan,
        "types": [types["coverage"].min(), types["coverage"].max()] if len(types) else None,
        "features": (np.abs(covered - level) <= NEAR)[dense].mean() if dense.any() else np.nan,
        "width": own.mean() / constant.mean() if dense.any() else np.nan,
    }


def spread_of(mdata, model: jm.JAMIE, source: str, target: str, columns: list[str]) -> dict[str, float]:
    """Distances of means and draws to what was measured within types, and of two measured samples."""
    jm.tl.impute(mdata, model, source=source, target=target, features=columns, n_samples=1, rng=0)
    pair = jm.get.comparison(mdata, source=source, target=target)
    labels = mdata.obs[LABELS].reindex(pair.measured.index).astype(str)
    found: dict[str, list[float]] = {"floor": [], "mean": [], "draws": []}
    for _, cells in labels.groupby(labels):
        if len(cells) <= FEWEST:
            continue
        measured = pair.measured.loc[cells.index].to_numpy()
        floor = jm.metrics.js_floor(measured, len(cells), rng=0)
        for name, values in (("mean", pair.imputed), ("draws", pair.beside["sample_0"])):
            found[name].append(np.nanmean(jm.metrics.js_distance(measured, values.loc[cells.index].to_numpy())))
        found["floor"].append(np.nanmean(floor))
    return {name: float(np.mean(values)) if values else np.nan for name, values in found.items()}


def records(name: str, split: int, max_steps: int | None) -> list[dict[str, Any]]:
    """What is found in one split, both ways."""
    mdata = getattr(jm.datasets, name)()
    jm.pp.split(mdata, rng=split)
    model = jm.tl.train(mdata, rng=0, max_steps=max_steps)
    found = []
    for source, target in permutations(mdata.mod, 2):
        names = mdata[target].var_names
        chosen = np.random.default_rng(0).choice(len(names), min(MOST_FEATURES, len(names)), replace=False)
        columns = list(names[np.sort(chosen)])
        about = {"set": name, "split": split, "source": source, "target": target}
        rows = [coverage_of(mdata, model, source, target, level, columns) for level in LEVELS]
        is_open = model.preparations_[target].kind == "accessibility"
        spread = {} if is_open else spread_of(mdata, model, source, target, columns)  # open or closed is no histogram
        found += [about | row | spread for row in rows]
        print(found[-1], flush=True)
    return found


def page(found: list[dict[str, Any]]) -> str:
    """The table of the documentation."""
    lines = [
        "| splits in turn | level | coverage | of dense features | of intervals with a width | types | "
        "dense features within .05 | width, of a constant one |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    table = pd.DataFrame(found)

    def of(rows: pd.DataFrame, column: str) -> str:
        if rows[column].isna().all():
            return "–"
        return ", ".join("–" if pd.isna(value) else f"{value:.2f}" for value in rows[column])

    grouped = table.groupby(["set", "source", "target", "level"], sort=False)
    for (name, source, target, level), rows in grouped:
        types = [value for pair in rows["types"] if pair for value in pair]
        said = f"{min(types):.2f} to {max(types):.2f}" if types else "–"
        columns = ("coverage", "dense", "coverage_with_width")
        cells = [
            f"{SHOWN.get(name, name)}, {source} → {target}",
            f"{level:.0%}".replace("%", " %"),
            *(of(rows, column) for column in columns),
        ]
        lines.append(" | ".join(["", *cells, said, of(rows, "features"), of(rows, "width"), ""]).strip())
    lines += ["", "| JS distance within types | of two measured samples | of means | of draws | draws, of the first |"]
    lines.append("| --- | --- | --- | --- | --- |")
    once = table[table["level"] == LEVELS[-1]]
    for (name, source, target), rows in once.groupby(["set", "source", "target"], sort=False):
        if rows["floor"].isna().all():
            continue
        ratio = ", ".join(f"{value:.2f}" for value in rows["draws"] / rows["floor"])
        cells = [
            f"{SHOWN.get(name, name)}, {source} → {target}",
            *(of(rows, column) for column in ("floor", "mean", "draws")),
            ratio,
        ]
        lines.append(" | ".join(["", *cells, ""]).strip())
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("sets", nargs="+", help="functions of jm.datasets of two modalities, with cell types")
    parser.add_argument("--splits", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--max-steps", type=int, help="fewer steps, to try it")
    parser.add_argument("--out", type=Path, help="where to write the records as JSON")
    parser.add_argument("--page", type=Path, help="where to write the table in Markdown")
    given = parser.parse_args()
    torch.set_num_threads(1)
    jm.settings.verbosity = "error"
    found = [
        record for name in given.sets for split in given.splits for record in records(name, split, given.max_steps)
    ]
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1, default=float))
    if given.page is not None:
        given.page.write_text(page(found))
    print(page(found))


if __name__ == "__main__":
    main()

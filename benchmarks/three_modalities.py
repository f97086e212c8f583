"""Three modalities of Patch-seq: morphology from genes, from electrophysiology and from both, and what a third costs.

Whole mice are held out. A model of three modalities imputes each of them from each of the others and from both; ridge
regression and the kernel regression along supervised directions get the same inputs, those of both side by side. The
correlation of imputed with measured values is the mean over features, within inhibitory and within excitatory neurons,
where a feature was measured in 15 held-out neurons or more. The CPU time of a training on three modalities stands
beside that on genes and electrophysiology alone, in turn on each split.

    python benchmarks/three_modalities.py --page docs/benchmark/three_modalities.md
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import jamie as jm
from jamie.baselines import Components, predict_each
from jamie.metrics import feature_correlation, is_within

EXCITATORY = ("IT", "CT", "ET", "NP")
BASELINES = ("ridge", "supervised_kernel_ridge")
FEWEST = 15
SHOWN = {"rna": "genes", "ephys": "electrophysiology", "morph": "morphology"}


def by_class(measured: np.ndarray, imputed: np.ndarray, is_excitatory: np.ndarray) -> dict[str, float]:
    """Mean correlation over the features that enough neurons of a class were measured in."""
    found = {}
    for name, chosen in {"inhibitory": ~is_excitatory, "excitatory": is_excitatory}.items():
        columns = np.isfinite(measured[chosen]).sum(0) >= FEWEST
        found[name] = float(np.nanmean(feature_correlation(measured[chosen][:, columns], imputed[chosen][:, columns])))
    return found


def records(mdata: Any, split: int) -> list[dict[str, Any]]:
    """Scores of the model and the baselines on one split, and seconds of a step, beside those of two modalities."""
    jm.pp.split(mdata, group="mouse", rng=split)
    seconds = {}
    for names in (["rna", "ephys"], ["rna", "ephys", "morph"]):
        began = time.process_time()
        model = jm.JAMIE(rng=split).fit(mdata, modalities=names)
        seconds[len(names)] = (time.process_time() - began) / model.summary_.n_steps  # each stops when it is best
    cells = model.open(mdata)
    rows: list[dict[str, Any]] = []
    for target in cells.names:
        first, second = (name for name in cells.names if name != target)
        for sources in ((first,), (second,), (first, second)):
            rows += of_sources(mdata, model, cells, sources, target, split)
    return [row | {"split": split, "seconds": seconds[3], "seconds of two": seconds[2]} for row in rows]


def coverage(model: jm.JAMIE, sources: tuple, target: str, measured: np.ndarray, imputed: np.ndarray) -> float:
    """Share of the measured values within their 90 % intervals, of those that have a width."""
    lower, upper = model.calibration(sources, target).interval(imputed, 0.9)
    within = is_within(measured, lower, upper)
    return float(np.nanmean(np.where(upper > lower, within, np.nan)))


def of_sources(
    mdata: Any, model: jm.JAMIE, cells: Any, sources: tuple, target: str, split: int
) -> list[dict[str, Any]]:
    """Scores of one target from some sources, on the neurons that were measured in all three."""
    common = mdata.obs_names
    for name in cells.names:
        common = common[common.isin(mdata[name].obs_names)]
    at = {name: cells.cells(name).get_indexer(common) for name in cells.names}
    is_train = (mdata.obs.loc[common, "jamie_split"] == "train").to_numpy()
    is_excitatory = mdata.obs.loc[common, "cell_type"].isin(EXCITATORY).to_numpy()[~is_train]
    columns = np.arange(len(model.preparations_[target].features))
    measured = cells.measured(target, at[target], columns)
    inputs = {name: cells.inputs(name)[at[name]] for name in sources}
    about = {"target": target, "sources": " and ".join(sources)}
    imputed = model.translate_jointly({name: x[~is_train] for name, x in inputs.items()}, target)
    rows = [about | {"method": "jamie"} | by_class(measured[~is_train], imputed, is_excitatory)]
    rows[0]["coverage"] = coverage(model, sources, target, measured[~is_train], imputed)
    x = np.concatenate([inputs[name] / model.divisors_[name] for name in sources], axis=1)
    if len(sources) == 1:  # all neurons that have both, as the model had
        rows_of, partners = cells.likeliest(sources[0], target)
        learned = cells.train(sources[0])[rows_of] & cells.train(target)[partners]
        x_train = cells.inputs(sources[0])[rows_of[learned]] / model.divisors_[sources[0]]
        of_target = partners[learned]
    else:
        x_train, of_target = x[is_train], at[target][is_train]
    outcomes = cells.measured(target, of_target, columns)
    components = Components(cells.inputs(target)[of_target], model.preparations_[target].readout()[0])
    rng = np.random.default_rng(split)
    for method, imputed in predict_each(BASELINES, x_train, outcomes, x[~is_train], components=components, rng=rng):
        rows.append(about | {"method": method} | by_class(measured[~is_train], imputed, is_excitatory))
    return rows


def page(table: pd.DataFrame) -> str:
    """Means over splits: a row per target and sources, a column per method and class."""
    classes, methods = ["inhibitory", "excitatory"], ["jamie", *BASELINES]
    means = table.groupby(["target", "sources", "method"], sort=False)[classes].mean()
    covered = table.groupby(["target", "sources"], sort=False)["coverage"].mean()
    head = [f"{method.replace('_', ' ')}, {name}" for method in methods for name in classes] + ["coverage"]
    lines = ["| target | from | " + " | ".join(head) + " |", "| --- | --- |" + " --- |" * len(head)]
    for target, sources in means.index.droplevel("method").unique():
        values = [float(means.loc[(target, sources, method), name]) for method in methods for name in classes]
        values.append(float(covered[target, sources]))
        shown = " and ".join(SHOWN[name] for name in sources.split(" and "))
        lines.append(f"| {SHOWN[target]} | {shown} | " + " | ".join(f"{v:.3f}" for v in values) + " |")
    ratio = (table["seconds"] / table["seconds of two"]).groupby(table["split"]).first()
    lines += [
        "",
        f"Means of {table['split'].nunique()} splits; coverage is that of the 90 % intervals. A training "
        f"took {ratio.median():.2f} times the CPU time, per step, of one on genes and electrophysiology alone "
        f"({ratio.min():.2f} to {ratio.max():.2f}).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write all records here, as JSON")
    parser.add_argument("--page", type=Path, help="write the table here, as Markdown")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    jm.settings.n_threads, jm.settings.verbosity = given.threads, "error"
    warnings.simplefilter("ignore")
    mdata = jm.datasets.load("patchseq_motor_trio")
    results: list[dict[str, Any]] = []
    for split in given.splits:
        results += records(mdata, split)
        if given.out:
            given.out.write_text(json.dumps(results, indent=1))
    text = page(pd.DataFrame(results))
    print(text)
    if given.page:
        given.page.write_text(text)


if __name__ == "__main__":
    main()

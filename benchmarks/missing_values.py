"""Missing values: whether imputed values shrink where training cells miss a part of the target.

Values of a third of the electrophysiology features of motor cortex Patch-seq are hidden from the training cells, at
random. On held-out cells, whose values are all measured, each of these features is regressed on what is imputed from
genes: a slope above that without hiding says that imputed values shrank. Beside it stand the mean correlation of these
features, and the share of the kernel regression in what the model imputes.

    python benchmarks/missing_values.py --page docs/benchmark/missing_values.md
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import jamie as jm
from jamie.baselines import METHODS, predict
from jamie.metrics import feature_correlation

SOURCE, TARGET = "rna", "ephys"


def hidden(mdata, share: float, seed: int):
    """A copy with values hidden in training cells, whose features these are, and which cells are held out."""
    mdata = mdata.copy()
    jm.pp.split(mdata, rng=seed)
    test = (mdata.obs["jamie_split"].reindex(mdata[TARGET].obs_names) == "test").to_numpy()
    rng = np.random.default_rng(seed)
    values = np.array(mdata[TARGET].X, dtype=np.float32)
    features = np.sort(rng.choice(values.shape[1], round(values.shape[1] / 3), replace=False))
    holes = np.zeros(values.shape, dtype=bool)
    holes[:, features] = rng.random((len(values), len(features))) < share
    values[holes & ~test[:, None]] = np.nan
    mdata[TARGET].X = values
    return mdata, features, test


def scores(measured: np.ndarray, imputed: np.ndarray) -> dict[str, float]:
    """Mean slope of measured on imputed, and mean correlation, over the features."""
    centred = imputed - imputed.mean(0)
    slopes = (centred * measured).sum(0) / np.square(centred).sum(0)
    return {"slope": float(slopes.mean()), "correlation": float(np.nanmean(feature_correlation(measured, imputed)))}


def records(mdata, share: float, seed: int, baselines: list[str]) -> list[dict[str, Any]]:
    """Scores of the model and the baselines on one split."""
    mdata, features, test = hidden(mdata, share, seed)
    began = time.process_time()
    model = jm.JAMIE(rng=seed).fit(mdata)
    seconds = time.process_time() - began
    case = {"missing": share, "split": seed}
    measured = np.asarray(mdata[TARGET].X)
    inputs = model.open(mdata).inputs(SOURCE)
    weight = float(model.network_.kernel_mix(SOURCE, TARGET).mix_weight)
    imputed = model.translate(inputs[test], SOURCE, TARGET, features)
    alone = model.regressed(inputs[test], SOURCE, TARGET, features)
    results = [
        case | {"method": "jamie", "weight": weight, "seconds": seconds} | scores(measured[test][:, features], imputed),
        case | {"method": "jamie, its kernel alone"} | scores(measured[test][:, features], alone),
    ]
    for method in baselines:
        began = time.process_time()
        imputed = predict(method, inputs[~test], measured[~test], inputs[test], rng=seed)[:, features]
        seconds = time.process_time() - began
        results.append(case | {"method": method, "seconds": seconds} | scores(measured[test][:, features], imputed))
    return results


def page(table: pd.DataFrame) -> str:
    """Means over splits: a row per method, a column per measure and share missing."""
    order, shares = list(dict.fromkeys(table["method"])), sorted(table["missing"].unique())
    means = table.groupby(["method", "missing"])[["slope", "correlation", "weight"]].mean()
    columns = list(product(("slope", "correlation", "weight"), shares))
    lines = [
        "| | " + " | ".join(f"{measure}, {share:.0%}" for measure, share in columns) + " |",
        "| --- |" + " --- |" * len(columns),
    ]
    for method in order:
        values = [float(means.loc[(method, share), measure]) for measure, share in columns]
        shown = [
            "" if np.isnan(v) else f"{v:.{2 if m == 'slope' else 3}f}"
            for v, (m, _) in zip(values, columns, strict=True)
        ]
        lines.append(f"| {method} | " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--missing", type=float, nargs="+", default=[0.0, 0.3, 0.6], help="shares hidden")
    parser.add_argument("--baselines", nargs="*", choices=METHODS, default=[m for m in METHODS if m != "mean"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write all records here, as JSON")
    parser.add_argument("--page", type=Path, help="write the table here, as Markdown")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    jm.settings.n_threads, jm.settings.verbosity = given.threads, "error"
    warnings.simplefilter("ignore")
    mdata = jm.datasets.load("patchseq_motor_cortex")
    results: list[dict[str, Any]] = []
    for seed, share in product(given.splits, given.missing):
        results += records(mdata, share, seed, given.baselines)
        if given.out:
            given.out.write_text(json.dumps(results, indent=1))
    text = page(pd.DataFrame(results))
    print(text)
    if given.page:
        given.page.write_text(text)


if __name__ == "__main__":
    main()

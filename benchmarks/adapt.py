"""A batch that comes later: what some of its cells teach a model by `JAMIE.adapt`, and what moves of the reference.

The PBMC mosaic without one of its two batches with genes and proteins. Its cells are drawn in two halves: the model
adapts to some of the one, and imputes the other. Scores are correlations of imputed with measured values, means over
the features.

with pairs
    The model gets pairs of the new batch. What is imputed for the reference moves: the root mean squared change, over
    the standard deviation of what was imputed, in the direction where it is larger.
without pairs
    A model that was trained with `batch_key` gets cells without partners of `p4_0`, as it is or with each gene and
    protein times a log-normal factor of sd 0.7; without any cells they are taken for cells of `p3_0`. The values that
    they are compared with are those without the factors.

Latents of the reference, and without pairs also what is imputed for it, have to stay bit for bit: it is an error if
they do not.

    python benchmarks/adapt.py --page docs/benchmark/adapt.md
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from batches import SD, times
from mudata import MuData
from scipy import sparse

import jamie as jm
from jamie.metrics import feature_correlation

BATCHES = ("p3_0", "p4_0")
DIRECTIONS = (("rna", "protein"), ("protein", "rna"))
N_PAIRS = (0, 20, 50, 100)
N_CELLS = (0, 50, 200)


def of_batch(mdata: MuData, batch: str, *, is_in: bool) -> MuData:
    """Cells of a batch, or all others."""
    return mdata[(mdata.obs["batch"].astype(str) == batch).to_numpy() == is_in].copy()


def scores(model: jm.JAMIE, cells: MuData, truth: MuData) -> dict[str, float]:
    """Correlation of imputed values with those of `truth`, which has the same cells, in both directions."""
    found = {}
    for source, target in DIRECTIONS:
        preparation = model.preparations_[target]
        values = preparation.measured(truth[target][cells.obs_names, list(preparation.features)].X)
        imputed = model.impute(cells, source=source, target=target)
        values = values.toarray() if sparse.issparse(values) else np.asarray(values)
        found[f"{source} → {target}"] = float(np.nanmean(feature_correlation(values, imputed)))
    return found


def moves(model: jm.JAMIE, adapted: jm.JAMIE, reference: MuData) -> float:
    """How far imputed values of the reference move, in standard deviations; the latents must not."""
    before, after = model.embed(reference), adapted.embed(reference)
    if not all(np.array_equal(before[name], after[name]) for name in before):
        msg = "latents of the reference moved"
        raise AssertionError(msg)
    by = []
    for source, target in DIRECTIONS:
        was, now = (one.impute(reference, source=source, target=target) for one in (model, adapted))
        by.append(np.sqrt(np.square(now - was).mean() / was.var(0).mean()))
    return float(max(by))


def with_pairs(mdata: MuData, seed: int) -> list[dict[str, Any]]:
    """Each of the paired batches comes later."""
    rows = []
    for batch in BATCHES:
        reference, new = of_batch(mdata, batch, is_in=False), of_batch(mdata, batch, is_in=True)
        model = jm.tl.train(reference, rng=seed)
        order = np.random.default_rng(seed).permutation(new.n_obs)
        taught, asked = (new[np.sort(part)].copy() for part in np.array_split(order, 2))
        for n in N_PAIRS:
            adapted = model.adapt(taught[:n].copy()) if n else model
            row = scores(adapted, asked, new) | {"moves": moves(model, adapted, reference)}
            rows.append(row | {"batch": batch, "n": n, "seed": seed})
    return rows


def without_pairs(mdata: MuData, seed: int) -> list[dict[str, Any]]:
    """The last batch comes later, with an effect and without."""
    new, beside = BATCHES[1], BATCHES[0]
    reference, truth = of_batch(mdata, new, is_in=False), of_batch(mdata, new, is_in=True)
    model = jm.tl.train(reference, batch_key="batch", rng=seed)
    rows, rng = [], np.random.default_rng(seed)
    effect = {name: np.exp(rng.normal(0, SD, adata.n_vars)) for name, adata in truth.mod.items()}
    order = rng.permutation(truth.n_obs)
    for has_effect in (False, True):
        cells = MuData(
            {
                name: times(adata, np.full(adata.n_obs, new), {new: effect[name]}, rng) if has_effect else adata.copy()
                for name, adata in truth.mod.items()
            }
        )
        cells.obs["batch"] = new
        taught, asked = (cells[np.sort(part)].copy() for part in np.array_split(order, 2))
        for n in N_CELLS:
            if n:
                mods = {name: adata[:n].copy() for name, adata in taught.mod.items()}
                for name, adata in mods.items():  # so that nobody is a partner
                    adata.obs_names = adata.obs_names + name
                alone = MuData(mods)
                alone.obs["batch"] = new
                adapted = model.adapt(alone)
            else:
                adapted = model
                asked.obs["batch"] = beside
            row = scores(adapted, asked, truth) | {"moves": moves(model, adapted, reference)}
            if row["moves"]:
                msg = "imputed values of the reference moved"
                raise AssertionError(msg)
            asked.obs["batch"] = new
            rows.append(row | {"batch": "effect" if has_effect else "as it is", "n": n, "seed": seed})
    return rows


def page(paired: pd.DataFrame, alone: pd.DataFrame) -> str:
    """Two tables: means over seeds."""
    columns = [f"{source} → {target}" for source, target in DIRECTIONS]
    lines = ["| new batch | pairs | " + " | ".join(columns) + " | reference moves by, sd |"]
    lines.append("| --- |" + " --- |" * (len(columns) + 2))
    for (batch, n), row in paired.groupby(["batch", "n"], sort=False)[[*columns, "moves"]].mean().iterrows():
        lines.append(f"| `{batch}` | {n} | " + " | ".join(f"{value:.3f}" for value in row) + " |")
    lines += ["", "| `p4_0` | cells without partners | " + " | ".join(columns) + " |"]
    lines.append("| --- |" + " --- |" * (len(columns) + 1))
    for (batch, n), row in alone.groupby(["batch", "n"], sort=False)[columns].mean().iterrows():
        lines.append(f"| {batch} | {n} | " + " | ".join(f"{value:.3f}" for value in row) + " |")
    return "\n".join(lines) + f"\n\nMeans of {paired['seed'].nunique()} seeds.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write all records here, as JSON")
    parser.add_argument("--page", type=Path, help="write the tables here, as Markdown")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    jm.settings.n_threads, jm.settings.verbosity = given.threads, "error"
    warnings.simplefilter("ignore")
    mdata = jm.datasets.load("citeseq_pbmc_mosaic")
    paired = [row for seed in given.seeds for row in with_pairs(mdata, seed)]
    alone = [row for seed in given.seeds for row in without_pairs(mdata, seed)]
    text = page(pd.DataFrame(paired), pd.DataFrame(alone))
    print(text)
    if given.out:
        given.out.write_text(json.dumps({"with pairs": paired, "without": alone}, indent=1))
    if given.page:
        given.page.write_text(text)


if __name__ == "__main__":
    main()

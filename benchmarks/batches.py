"""Batches with a simulated effect: what `batch_key` takes off, beside no effect and beside no key.

Each gene and protein of a batch is multiplied by a log-normal factor of sd 0.7, in two settings.

mosaic
    The four batches of the PBMC mosaic, of which one has no proteins, one no genes, and the proteins of a third,
    `p4_0`, are kept aside: half of the batches have both modalities at most in part. Proteins of `p4_0` are imputed as
    in `p3_0`, the batch that is left with both, and compared with those kept aside times the factors of `p3_0`.
halves
    2,500 cells of CITE-seq 10k in two halves, one with genes and proteins, one with genes alone, whose proteins are
    compared; and the same with halves of other composition, the first without 80 % of its monocytes, the second
    without 80 % of its CD8 T and NK cells.

Scores of the cells whose proteins were kept aside, and of held-out cells of the batch that has them: the correlation of
imputed with measured values, a mean over proteins, and how far the mean of a protein is off, in log units, at most and
on average. Of the latents of genes: iLISI, the inverse Simpson index of batches among the 30 nearest cells over that of
complete mixing; the share of the 15 nearest cells from another batch over that among all; silhouette of the cell types.
Of the mosaic also the labels that proteins of `p2_0` give to genes of `p1_0`.

    python benchmarks/batches.py --page docs/benchmark/batches.md
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
from anndata import AnnData
from mudata import MuData
from scipy import sparse
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

import jamie as jm
from jamie.metrics import feature_correlation, label_transfer_accuracy

SD = 0.7
UNCLEAR = ["other", "ambiguous"]
SETTINGS = ("mosaic", "halves", "halves of other composition")
SHOWN = {
    "r": "r of the proteins kept aside",
    "r beside": "r of held-out cells",
    "largest offset": "largest offset",
    "mean offset": "mean offset",
    "iLISI": "iLISI",
    "mixing": "mixing",
    "silhouette": "silhouette",
    "labels": "labels that are right",
}


def times(adata: AnnData, batch: np.ndarray, factors: dict[str, np.ndarray], rng: np.random.Generator) -> AnnData:
    """Counts times the factors of their batch, rounded up or down so that they are right on average."""
    counts = sparse.coo_array(adata.X)
    row, column = counts.coords
    by_batch = np.stack(list(factors.values()))[np.searchsorted(list(factors), batch)[row], column]
    exact = counts.data * by_batch
    changed = np.floor(exact + rng.random(len(exact))).astype(np.float32)
    new = adata.copy()
    new.X = sparse.csr_matrix((changed, (row, column)), shape=counts.shape)
    new.X.eliminate_zeros()
    return new


def on_imputed_scale(proteins: AnnData, columns: pd.Index) -> np.ndarray:
    """Logarithms beside the mean of the cell, over the proteins that the model knows."""
    counts = proteins[:, columns].to_df().to_numpy()
    return np.log1p(counts / np.exp(np.log1p(counts).mean(1, keepdims=True)))


class Case:
    """One draw of a setting: cells, what of them is kept aside, and the factors of each batch."""

    def __init__(self, setting: str, seed: int, n_cells: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.is_mosaic = setting == "mosaic"
        load = jm.datasets.citeseq_pbmc_mosaic if self.is_mosaic else jm.datasets.citeseq_pbmc10k
        self.whole = load()
        names = self.whole.obs_names
        if self.is_mosaic:
            self.batch = self.whole.obs["batch"].astype(str)
            self.aside, self.beside = "p4_0", "p3_0"
        else:
            names = names[self.rng.permutation(len(names))[:n_cells]]
            self.batch = pd.Series(np.where(self.rng.random(len(names)) < 0.5, "A", "B"), names)
            self.aside, self.beside = "B", "A"
        self.types = self.whole.obs["cell_type"].astype(str)
        if setting.endswith("composition"):
            gone = {"A": ["Mono CD14"], "B": ["CD8 T", "NK"]}
            lost = [self.types[name] in gone[self.batch[name]] and self.rng.random() < 0.8 for name in names]
            self.batch = self.batch[~np.array(lost)]
        levels = sorted(self.batch.unique())
        self.factors = {
            name: {level: np.exp(self.rng.normal(0, SD, adata.n_vars)) for level in levels}
            for name, adata in self.whole.mod.items()
        }

    def cells(self, *, has_effect: bool) -> MuData:
        """Without the proteins that are kept aside, a fifth of the pairs held out."""
        mods = {}
        for name, adata in self.whole.mod.items():
            kept = adata.obs_names[adata.obs_names.isin(self.batch.index)]
            if name == "protein":
                kept = kept[(self.batch[kept] != self.aside).to_numpy()]
            one = adata[kept].copy()
            mods[name] = times(one, self.batch[kept].to_numpy(), self.factors[name], self.rng) if has_effect else one
        mdata = MuData(mods)
        mdata.obs["batch"] = self.batch[mdata.obs_names]
        mdata.obs["cell_type"] = self.types[mdata.obs_names]
        jm.pp.split(mdata, rng=self.rng)
        return mdata

    def proteins(self, names: pd.Index, *, has_effect: bool) -> AnnData:
        """What was measured of cells, as in the batch that has both modalities."""
        measured = self.whole["protein"][names]
        like = np.full(len(names), self.beside)
        return times(measured, like, self.factors["protein"], self.rng) if has_effect else measured


def record(case: Case, *, has_effect: bool, batch_key: str | None, seed: int) -> dict[str, Any]:
    """Train once, and score."""
    mdata = case.cells(has_effect=has_effect)
    model = jm.tl.train(mdata, batch_key=batch_key, rng=seed)
    # proteins are measured in one batch only of the halves: there is nothing to choose
    as_in = {"batch": case.beside} if batch_key and case.is_mosaic else {}
    jm.tl.impute(mdata, model, source="rna", target="protein", **as_in)
    imputed = jm.get.imputed(mdata, source="rna", target="protein").to_df()
    batch = mdata.obs["batch"]
    aside = batch.index[batch == case.aside].intersection(mdata["rna"].obs_names)
    is_test = mdata.obs["jamie_split"] == "test"
    beside = batch.index[is_test & (batch == case.beside)].intersection(mdata["rna"].obs_names)
    found = {}
    for key, names in {"r": aside, "r beside": beside}.items():
        measured = on_imputed_scale(case.proteins(names, has_effect=has_effect), imputed.columns)
        guessed = imputed.loc[names].to_numpy()
        found[key] = np.nanmean(feature_correlation(measured, guessed))
        if key == "r":
            off = np.abs(guessed.mean(0) - measured.mean(0))
            found |= {"largest offset": off.max(), "mean offset": off.mean()}
    return found | latents_of(mdata, case)


def latents_of(mdata: MuData, case: Case) -> dict[str, float]:
    """How batches mix and types part in the latents of genes."""
    latents, names = mdata["rna"].obsm["X_jamie"], mdata["rna"].obs_names
    batch, types = mdata.obs.loc[names, "batch"].to_numpy(), mdata.obs.loc[names, "cell_type"].to_numpy()
    levels, code = np.unique(batch, return_inverse=True)
    share = np.bincount(code) / len(code)
    near = NearestNeighbors(n_neighbors=31).fit(latents).kneighbors(latents, return_distance=False)[:, 1:]
    of_batch = np.stack([(code[near] == i).mean(1) for i in range(len(levels))], axis=1)
    clear = ~np.isin(types, UNCLEAR)
    found = {
        "iLISI": ((1 / np.square(of_batch).sum(1)).mean() - 1) / (1 / np.square(share).sum() - 1),
        "mixing": (code[near[:, :15]] != code[:, None]).mean() / (1 - share[code]).mean(),
        "silhouette": silhouette_score(latents[clear], types[clear]),
    }
    if case.is_mosaic:
        proteins = mdata["protein"].obsm["X_jamie"]
        of = mdata.obs.loc[mdata["protein"].obs_names]
        is_from, is_to = (of["batch"] == "p2_0").to_numpy(), batch == "p1_0"
        found["labels"] = label_transfer_accuracy(
            latents[is_to], proteins[is_from], types[is_to], labels_y=of["cell_type"].to_numpy()[is_from]
        )
    return found


def page(records: pd.DataFrame) -> str:
    """A table a setting: means over the seeds, and the range where there are several."""
    text = []
    for setting, rows in records.groupby("setting", sort=False):
        columns = [name for name in SHOWN if name in rows and rows[name].notna().all()]
        text += [f"\n### {setting.capitalize()}\n"] if text else [f"### {setting.capitalize()}\n"]
        text += ["| | " + " | ".join(SHOWN[name] for name in columns) + " |", "| --- |" + " --- |" * len(columns)]
        for (has_effect, has_key), some in rows.groupby(["effect", "batch_key"], sort=False):
            title = f"{'effect' if has_effect else 'no effect'}, {'with' if has_key else 'without'} `batch_key`"
            text.append(f"| {title} | " + " | ".join(shown(some[name]) for name in columns) + " |")
        seeds = ", ".join(map(str, sorted(rows["seed"].unique())))
        text.append(f"\nMean of the seeds {seeds}, which draw factors, cells and networks; least and most in brackets.")
    return "\n".join(text) + "\n"


def shown(values: pd.Series) -> str:
    return f"{values.mean():.3f}" + (f" ({values.min():.3f}–{values.max():.3f})" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=SETTINGS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cells", type=int, default=2500, help="of CITE-seq 10k")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write all records here, as JSON")
    parser.add_argument("--page", type=Path, help="write the tables here, as Markdown")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    jm.settings.n_threads, jm.settings.verbosity = given.threads, "error"
    warnings.simplefilter("ignore")
    records: list[dict[str, Any]] = []
    for setting in given.settings:
        for seed in given.seeds:
            for has_effect in (False, True):
                for batch_key in (None, "batch"):
                    case = Case(setting, seed, given.cells)  # the same draw each time
                    about = {"setting": setting, "seed": seed, "effect": has_effect, "batch_key": bool(batch_key)}
                    records.append(about | record(case, has_effect=has_effect, batch_key=batch_key, seed=seed))
                    print(json.dumps(records[-1], default=float), flush=True)
                    if given.out:
                        given.out.write_text(json.dumps(records, indent=1, default=float))
    text = page(pd.DataFrame(records))
    print(text)
    if given.page:
        given.page.write_text(text)


if __name__ == "__main__":
    main()

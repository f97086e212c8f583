"""New cells on a model: how imputation and labels fare with fewer genes, another order, less depth and other names.

CITE-seq 10k is drawn in two halves; one is the reference, which a model is trained on, the other the query, in which
genes are left out, put into another order, thinned to half the counts and renamed. Of the query: the mean correlation
of imputed with measured proteins, and how far their means are off; FOSCTTM of its genes and proteins; accuracy of the
labels that the reference's genes, or its proteins, give to the query's genes.

The genes of PBMC 5k, another experiment, get the labels of CITE-seq 10k. They are judged by marker genes of their own:
the score of a class is the mean z of its markers (log1p of counts per median depth), and a cell has the class of the
highest score if it is 0.5 above the next. T cells are CD4 or CD8 T if one of CD4 and CD8A/CD8B was counted and not the
other.

    python benchmarks/query.py --page docs/benchmark/query.md
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
from mudata import MuData

import jamie as jm
from jamie.metrics import feature_correlation, foscttm

MARKERS = {
    "T": ["CD3D", "CD3G", "TRAC"],
    "B": ["MS4A1", "CD79A", "CD79B"],
    "NK": ["KLRF1", "GNLY", "NKG7"],
    "Mono CD14": ["CD14", "S100A8", "S100A9"],
    "Mono CD16": ["FCGR3A", "MS4A7", "CDKN1C"],
}
CLEAR = 0.5
CASES: dict[str, dict[str, Any]] = {
    "all genes": {},
    "90 % of the genes": {"share": 0.9},
    "60 %": {"share": 0.6},
    "20 %": {"share": 0.2},
    "another order": {"reverse": True},
    "half the depth": {"depth": 0.5},
    "names by a column": {"rename": True},
    "60 %, order, depth and names": {"share": 0.6, "reverse": True, "depth": 0.5, "rename": True},
}


def changed(rna: Any, rng: np.random.Generator, *, share=1.0, reverse=False, depth=1.0, rename=False) -> Any:
    """The cells as another laboratory could have measured them."""
    new = rna[:, np.sort(rng.choice(rna.n_vars, round(share * rna.n_vars), replace=False))].copy()
    new = new[:, ::-1].copy() if reverse else new
    if depth < 1:
        new.X.data = rng.binomial(new.X.data.astype(int), depth).astype(np.float32)
    if rename:
        new.var["symbol"] = new.var_names.to_numpy()
        new.var_names = [f"ENSG{i:011}" for i in range(new.n_vars)]
    return new


def halves(split: int) -> list[dict[str, Any]]:
    """Scores of each case on one drawing of halves."""
    mdata, rng = jm.datasets.load("citeseq_pbmc10k"), np.random.default_rng(split)
    order = rng.permutation(mdata.n_obs)
    reference, query = (mdata[np.sort(part)].copy() for part in np.array_split(order, 2))
    model = jm.tl.train(reference, rng=split)
    protein = model.open(MuData({"protein": query["protein"]}))
    latents, columns = model.encode(protein.inputs("protein"), "protein"), np.arange(query["protein"].n_vars)
    measured = protein.measured("protein", np.arange(query.n_obs), columns)
    truth = query.obs["cell_type"].astype(str).to_numpy()
    rows = []
    for name, how in CASES.items():
        new = changed(query["rna"], np.random.default_rng(split), **how)
        given = {"feature_names": "symbol"} if "rename" in how else {}
        jm.tl.embed(new, model, modality="rna", **given)
        jm.tl.impute(new, model, source="rna", target="protein", **given)
        imputed = new.obsm["jamie_imputed_protein"].to_numpy()
        row = {
            "case": name,
            "correlation": float(feature_correlation(measured, imputed).mean()),
            "offset": float(np.abs((imputed - measured).mean(0)).mean()),
            "foscttm": float(foscttm(new.obsm["X_jamie"], latents)),
        }
        for source in ("rna", "protein"):
            jm.tl.transfer_labels(
                new, model, reference=reference, labels="cell_type", source=source, target="rna", **given
            )
            row[f"labels from {source}"] = float((new.obs["jamie_label_cell_type"].astype(str) == truth).mean())
        rows.append(row | {"split": split})
    return rows


def by_markers(rna: Any) -> np.ndarray:
    """Class of each cell by its marker genes; empty where it is not clear."""
    x = rna.X.toarray()
    total = x.sum(1, keepdims=True)
    z = np.log1p(x / total * np.median(total))
    z = (z - z.mean(0)) / np.where(z.std(0) > 0, z.std(0), 1)
    scores = np.column_stack([z[:, rna.var_names.get_indexer(genes)].mean(1) for genes in MARKERS.values()])
    ranked = np.sort(scores, axis=1)
    called = np.array(list(MARKERS), dtype=object)[scores.argmax(1)]
    called[ranked[:, -1] - ranked[:, -2] < CLEAR] = ""
    count = {name: x[:, rna.var_names.get_indexer([name])].ravel() for name in ("CD4", "CD8A", "CD8B")}
    is_cd4, is_cd8 = count["CD4"] > 0, (count["CD8A"] + count["CD8B"]) > 0
    is_t = called == "T"
    called[is_t & is_cd4 & ~is_cd8], called[is_t & is_cd8 & ~is_cd4] = "CD4 T", "CD8 T"
    return called


def another_experiment(seed: int) -> list[dict[str, Any]]:
    """Labels of the genes of PBMC 5k by the model and by their own markers, a row for each class of the latter."""
    reference = jm.datasets.load("citeseq_pbmc10k")
    new = jm.datasets.load("citeseq_pbmc5k_rna")["rna"].copy()
    model = jm.tl.train(reference, rng=seed)
    markers, rows = by_markers(new), []
    jm.tl.embed(new, model, modality="rna")  # writes the novelty
    is_unlike = new.obs["jamie_novelty_protein"].to_numpy() > 1
    for source in ("rna", "protein"):
        jm.tl.transfer_labels(new, model, reference=reference, labels="cell_type", source=source, target="rna")
        label = new.obs["jamie_label_cell_type"].astype(str).to_numpy()
        for name in ("B", "NK", "Mono CD14", "Mono CD16", "T", "CD4 T", "CD8 T"):
            chosen = np.isin(markers, ["T", "CD4 T", "CD8 T"]) if name == "T" else markers == name
            right = np.isin(label, ["CD4 T", "CD8 T", "T other"]) if name == "T" else label == name
            rows.append({"class": name, "source": source, "n": int(chosen.sum()), "agree": float(right[chosen].mean())})
            rows[-1]["unlike"] = float(is_unlike[chosen].mean())
        unclear = float((new.obs["jamie_confidence_cell_type"] < 0.5).mean())
        rows.append({"class": "confidence below 0.5", "source": source, "n": len(new), "agree": unclear})
        rows[-1]["unlike"] = float(is_unlike.mean())
    return rows


def page(scores: pd.DataFrame, other: pd.DataFrame) -> str:
    """Two tables."""
    columns = ["correlation", "offset", "foscttm", "labels from rna", "labels from protein"]
    means = scores.groupby("case", sort=False)[columns].mean()
    lines = ["| query | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for case, row in means.iterrows():
        lines.append(f"| {case} | " + " | ".join(f"{value:.3f}" for value in row) + " |")
    lines += ["", f"Means of {scores['split'].nunique()} drawings of the halves.", ""]
    lines += [
        "| PBMC 5k, class by markers | cells | labels from rna | labels from protein | novelty above 1 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, rows in other.groupby("class", sort=False):
        agree = rows.set_index("source")["agree"]
        shown = (agree["rna"], agree["protein"], rows["unlike"].iloc[0])
        lines.append(f"| {name} | {rows['n'].iloc[0]:,} | {' | '.join(f'{value:.3f}' for value in shown)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write all records here, as JSON")
    parser.add_argument("--page", type=Path, help="write the tables here, as Markdown")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    jm.settings.n_threads, jm.settings.verbosity = given.threads, "error"
    warnings.simplefilter("ignore")
    other, scores = another_experiment(given.splits[0]), []
    for split in given.splits:
        scores += halves(split)
        if given.out:
            given.out.write_text(json.dumps({"halves": scores, "another experiment": other}, indent=1))
    text = page(pd.DataFrame(scores), pd.DataFrame(other))
    print(text)
    if given.page:
        given.page.write_text(text)


if __name__ == "__main__":
    main()

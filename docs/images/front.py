"""The picture of the front page: `python docs/images/front.py` writes front.png beside itself.

Patch-seq neurons of mouse motor cortex; a fifth of the cells is held out, and panels on imputation show these alone.
"""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import matplotlib as mpl
import numpy as np
import scanpy as sc

import jamie as jm

mpl.use("Agg")
from matplotlib import pyplot as plt

FEATURES = ["AP width (ms)", "Max number of APs"]
TITLES = ["genes alone", "recordings alone", "together, every cell twice"]


def umap(x: np.ndarray) -> np.ndarray:
    adata = ad.AnnData(x)
    sc.pp.neighbors(adata, use_rep="X")
    sc.tl.umap(adata)
    return adata.obsm["X_umap"]


mdata = jm.datasets.load("patchseq_motor_cortex")
jm.pp.split(mdata, stratify="cell_type", rng=0)
jm.pp.prepare(mdata)
model = jm.tl.train(mdata, rng=0)
jm.tl.impute(mdata, model, source="rna", target="ephys")
genes, recordings = mdata["rna"], mdata["ephys"]
latents = np.concatenate([genes.obsm["X_jamie"], recordings.obsm["X_jamie"]])
planes = [umap(genes.obsm["X_jamie_input"]), umap(recordings.obsm["X_jamie_input"]), umap(latents)]
codes = mdata.obs["cell_type"].astype("category").cat.codes.to_numpy()
palette = np.array(sc.pl.palettes.default_20)

figure, axes = plt.subplots(1, 5, figsize=(12.5, 2.9), layout="constrained", width_ratios=[1, 1, 1.2, 1, 1])
for ax, xy, title in zip(axes, planes, TITLES, strict=False):
    order = np.random.default_rng(0).permutation(len(xy))
    ax.scatter(*xy[order].T, s=4, lw=0, c=palette[np.tile(codes, 2)[: len(xy)][order]])
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=9)
    ax.spines[:].set_color("0.8")
held_out = (mdata.obs["jamie_split"] == "test").to_numpy()
for ax, feature in zip(axes[3:], FEATURES, strict=True):
    measured, imputed = (recordings.to_df(layer)[feature].to_numpy()[held_out] for layer in (None, "jamie_imputed"))
    ax.scatter(measured, imputed, s=9, lw=0, c=palette[codes[held_out]])
    low, high = min(measured.min(), imputed.min()), max(measured.max(), imputed.max())
    low, high = low - 0.04 * (high - low), high + 0.04 * (high - low)
    ax.axline((low, low), slope=1, color="0.4", lw=0.8)
    ax.set(xlim=(low, high), ylim=(low, high), xlabel="measured", ylabel="imputed from genes")
    ax.tick_params(labelsize=8)
    ax.set_title(f"{feature}, held-out cells\nr = {np.corrcoef(measured, imputed)[0, 1]:.2f}", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
names = mdata.obs["cell_type"].astype("category").cat.categories
handles = [plt.Line2D([], [], marker="o", ls="none", ms=5, color=palette[i], label=n) for i, n in enumerate(names)]
figure.legend(handles=handles, loc="outside lower center", ncols=len(names), frameon=False, fontsize=9, handletextpad=0)
figure.savefig(Path(__file__).with_suffix(".png"), dpi=130)

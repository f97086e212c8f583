"""Peers of the field on the cells that `accuracy.py` holds out, each with its documented defaults.

    pip install scvi-tools==1.4.2 mofapy2 scglue absl-py pykeops tenacity tensorboard
    pip install unioncom==0.4.0 lsmmdma==0.1.11 --no-deps
    python -W ignore benchmarks/peers.py --data citeseq_pbmc10k --peers totalvi mofa --out FILE.json

One record for each data set, direction, peer and seed; a peer that does not run is a record with its `error`. Records
already in FILE.json are kept or replaced, so peers that cannot be installed together can be run one environment at a
time. A peer trains once for both directions, on a mosaic: the training cells as they are, and each held-out cell
twice, as a cell of the one modality and as a cell of the other. So, unlike our model, peers see the sources of the
held-out cells when they train. UnionCom and MMD-MA, which only align, get all cells and no pairs.

Imputed values are carried to the scale of the measured ones: genes as shares of the cell and proteins as counts are
normalised as the data are; accessibility is a probability (MULTIVI) or TF-IDF (MOFA), compared with open or closed.
The columns of large targets are drawn as `jm.tl.evaluate` draws them, first direction first, without baselines. Of the
regions, peers get those open in 1 % of the cells, as MULTIVI's tutorial does, and all that are scored. One thread.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import resource
import sys
import time
import types
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import permutations, product
from multiprocessing import get_context
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse
from sklearn.preprocessing import normalize

import jamie as jm
from jamie.data import Preparation, detect_kind, open_cells, value_stats
from jamie.metrics import feature_auroc, feature_correlation, foscttm, label_transfer_accuracy

N_FEATURES = 2_000
KEY = ["data", "source", "target", "method", "seed"]


class Task:
    """A data set with held-out cells, as every peer gets it."""

    def __init__(self, name: str, seed: int, max_epochs: int | None) -> None:
        self.mdata, self.name, self.seed, self.max_epochs = jm.datasets.load(name), name, seed, max_epochs
        jm.pp.split(self.mdata, rng=seed)
        self.names, rng = list(self.mdata.mod), np.random.default_rng(seed)
        self.test = self.mdata.obs_names[self.mdata.obs["jamie_split"] == "test"]
        self.x, self.preparations, self.columns = {}, {}, {}
        opened = open_cells(self.mdata)
        for m in self.names[::-1]:
            cells, train = opened.matrix(m), ~self.mdata[m].obs_names.isin(self.test)
            stats = value_stats(cells, train)
            kind, every = detect_kind(m, stats), np.arange(cells.shape[1])
            some = every if len(every) <= N_FEATURES else np.sort(rng.choice(every, N_FEATURES, replace=False))
            if kind == "accessibility":
                every = np.union1d(some, np.flatnonzero(np.asarray((cells[:] > 0).mean(axis=0)).ravel() >= 0.01))
            cells = cells.select(every)
            self.x[m], self.columns[m] = cells[:], np.searchsorted(every, some)
            self.preparations[m] = Preparation.fit(
                cells, train, value_stats(cells, train), kind=kind, n_comps=2, seed=seed
            )

    def require(self, **kinds: str) -> None:
        """Raise unless the modalities are of these kinds."""
        found = {m: self.preparations[m].kind for m in self.names}
        if found != kinds:
            msg = f"not supported: needs {kinds}, found {found}"
            raise NotImplementedError(msg)

    def mosaic(self) -> pd.DataFrame:
        """A row for each cell to train on: its name, and for each modality whether it is seen there."""
        train = self.mdata.obs_names.difference(self.test, sort=False)
        parts = [pd.DataFrame({m: train.isin(self.mdata[m].obs_names) for m in self.names}).assign(cell=train)]
        parts += [pd.DataFrame({m: m == only for m in self.names} | {"cell": self.test}) for only in self.names]
        rows = pd.concat(parts, keys=["train", *self.names])
        return rows.set_index(rows["cell"] + " " + rows.index.get_level_values(0))

    def held_out(self, m: str, rows: pd.DataFrame) -> np.ndarray:
        """Positions of the held-out cells that are seen in modality `m`, in the order of `test`."""
        return np.flatnonzero(rows["cell"].isin(self.test) & rows[m])

    def padded(self, m: str, rows: pd.DataFrame, missing: float, *, standardised: bool = False):
        """Values of modality `m` for these rows, `missing` where a cell is not seen in it."""
        x = self.preparations[m].standardised(self.x[m]) if standardised else self.x[m]
        index = np.where(rows[m], self.mdata[m].obs_names.get_indexer(rows["cell"]), x.shape[0])
        blank = np.full((1, x.shape[1]), missing, dtype=x.dtype)
        return sparse.vstack([x, blank]).tocsr()[index] if sparse.issparse(x) else np.vstack([x, blank])[index]


@dataclass
class Found:
    """Held-out cells as imputed, and their latents by the modality they are from."""

    imputed: dict[str, np.ndarray]
    latents: dict[str, np.ndarray]
    epochs: int | None
    unsupported: str = ""


def totalvi(task: Task) -> Found:
    """Held-out cells are a batch without proteins, imputed as if of the other batch, as in its tutorial."""
    import scvi

    task.require(rna="counts", protein="protein")
    rows = task.mosaic().query("rna")
    adata = ad.AnnData(task.padded("rna", rows, 0), obs=rows[["protein"]].astype(str))
    adata.obsm["protein"] = pd.DataFrame(task.padded("protein", rows, 0).toarray(), adata.obs_names)
    scvi.settings.seed = task.seed
    scvi.model.TOTALVI.setup_anndata(adata, batch_key="protein", protein_expression_obsm_key="protein")
    model = scvi.model.TOTALVI(adata)
    epochs = train(model, task)
    _, proteins = model.get_normalized_expression(
        indices=task.held_out("rna", rows), transform_batch="True", n_samples=25, include_protein_background=True
    )
    imputed = task.preparations["protein"].measured(proteins.to_numpy())
    return Found({"protein": imputed}, {}, epochs, "it imputes proteins from genes only")


def multivi(task: Task) -> Found:
    """Cells of one modality beside paired ones, as in its tutorial; what is missing is padded with zeros."""
    import scvi

    task.require(rna="counts", atac="accessibility")
    rows = task.mosaic()
    var = {m: pd.DataFrame(index=task.preparations[m].features) for m in task.names}
    mdata = MuData({m: ad.AnnData(task.padded(m, rows, 0), rows[[]], var[m]) for m in task.names})
    mdata.obs["seen"] = np.select([rows["rna"] & rows["atac"], rows["rna"]], ["both", "rna"], "atac")
    scvi.settings.seed = task.seed
    scvi.model.MULTIVI.setup_mudata(mdata, batch_key="seen", modalities={"rna_layer": "rna", "atac_layer": "atac"})
    model = scvi.model.MULTIVI(mdata)
    epochs = train(model, task)
    seen = {m: task.held_out(m, rows) for m in task.names}
    shares = model.get_normalized_expression(indices=seen["atac"], transform_batch="both", return_numpy=True)
    opened = model.get_normalized_accessibility(indices=seen["rna"], transform_batch="both", return_numpy=True)
    latents = {m: model.get_latent_representation(indices=seen[m]) for m in task.names}
    return Found({"rna": task.preparations["rna"].measured(shares), "atac": opened}, latents, epochs)


def train(model, task: Task) -> int:
    """Train a model of scvi-tools; how many epochs it ran."""
    model.train(enable_progress_bar=False, **({"max_epochs": task.max_epochs} if task.max_epochs else {}))
    return len(model.history["elbo_train"])


def mofa(task: Task) -> Found:
    """Gaussian factors of the normalised, standardised features; a modality that a cell was not seen in is NaN."""
    from mofapy2.run.entry_point import entry_point

    rows, model = task.mosaic(), entry_point()
    model.set_data_options(use_float32=True)
    data = [[task.padded(m, rows, np.nan, standardised=True)] for m in task.names]
    model.set_data_matrix(data, likelihoods=["gaussian"] * len(data), views_names=task.names)
    model.set_model_options()
    model.set_train_options(seed=task.seed, quiet=True)
    model.build()
    model.run()
    found, imputed = model.model.getExpectations(), {}
    latents = {m: np.asarray(found["Z"]["E"])[task.held_out(m, rows)] for m in task.names}
    for w, to, source in zip(found["W"], task.names, task.names[::-1], strict=True):
        imputed[to] = latents[source] @ np.asarray(w["E"]).T * task.preparations[to].sd + task.preparations[to].mean
    return Found(imputed, latents, len(model.model.getTrainingStats()["elbo"]))


def unioncom(task: Task) -> Found:
    """Embeddings of all cells without any pair; features as `correspondence.py` gives them to ours."""
    np.int = int  # noqa: NPY001, it asks for this alias, which is gone, and for a package that it does not use
    sys.modules.setdefault("torchvision", types.SimpleNamespace(models=None))
    from unioncom import UnionCom

    cells = task.mdata[task.names[0]].obs_names.intersection(task.mdata[task.names[1]].obs_names, sort=False)
    if len(cells) > 2_000:
        msg = f"not supported: its steps cost the cube of the cells, here {len(cells)}"
        raise NotImplementedError(msg)
    x = [np.asarray(task.mdata[m][cells].X, dtype=float) for m in task.names]
    x = [normalize(v) for v in x] if task.name == "snareseq_cellline" else x
    embedded = UnionCom.UnionCom(manual_seed=task.seed).fit_transform(dataset=x)
    task.test = cells
    return Found({}, dict(zip(task.names, embedded, strict=True)), None, "it only aligns")


def mmdma(task: Task) -> Found:
    """MMD-MA in the large-scale version, with the defaults of its command line, of all cells without any pair."""
    import torch
    from lsmmdma import train as lsmmdma

    cells = task.mdata[task.names[0]].obs_names.intersection(task.mdata[task.names[1]].obs_names, sort=False)
    if len(cells) > 2_000:
        msg = f"not supported: its steps cost the square of the cells, here {len(cells)}"
        raise NotImplementedError(msg)
    torch.set_num_threads(1)
    kernels = []
    for m in task.names:
        x = task.preparations[m].standardised(task.x[m][task.mdata[m].obs_names.get_indexer(cells)])
        x = np.asarray(x.toarray() if sparse.issparse(x) else x, dtype=np.float32)
        kernel = torch.from_numpy(x @ x.T)
        kernels.append(kernel / kernel.diagonal().mean())
    n_steps = task.max_epochs or 5_001
    settings = lsmmdma.ModelGetterConfig(
        seed=task.seed, learning_rate=1e-5, lambda1=1e-4, lambda2=1e-4, init="uniform,0.,0.1", window_size=0,
        n_iter=n_steps, n_record=0, n_eval=0,
    )  # fmt: skip
    model = lsmmdma.train_and_evaluate(settings, *kernels, None, "", torch.device("cpu"))[1]
    with torch.no_grad():
        embedded = [(k @ w).numpy() for k, w in zip(kernels, model.parameters(), strict=True)]
    task.test = cells
    return Found({}, dict(zip(task.names, embedded, strict=True)), n_steps, "it only aligns")


def scglue(task: Task) -> Found:
    """Its guidance graph links genes to regions by where they lie in the genome."""
    task.require(rna="counts", atac="accessibility")
    msg = "not supported: its guidance graph needs coordinates of the genes in the genome, which the data do not have"
    raise NotImplementedError(msg)


PEERS = {  # what to run, import and install
    "totalvi": (totalvi, "scvi", "scvi-tools==1.4.2"),
    "multivi": (multivi, "scvi", "scvi-tools==1.4.2"),
    "mofa": (mofa, "mofapy2.run.entry_point", "mofapy2"),
    "unioncom": (unioncom, "unioncom", "unioncom==0.4.0 --no-deps"),
    "mmdma": (mmdma, "lsmmdma", "lsmmdma==0.1.11 --no-deps; pip install absl-py pykeops tenacity tensorboard"),
    "scglue": (scglue, "scglue", "scglue"),
}


def records(name: str, method: str, seed: int, max_epochs: int | None) -> list[dict]:
    """One training of one peer, in a process of its own so that its peak memory is its own."""
    task, (run, module, package) = Task(name, seed, max_epochs), PEERS[method]
    base = [dict(zip(KEY, (name, a, b, method, seed), strict=True)) for a, b in permutations(task.names)]
    try:
        importlib.import_module(module)
        began, cpu = time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            found = run(task)
    except Exception as error:  # noqa: BLE001
        hint = f"; pip install {package}" if isinstance(error, ModuleNotFoundError) else ""
        return [row | {"error": f"{type(error).__name__}: {str(error).split(os.linesep)[0]}{hint}"} for row in base]
    cost = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
    cost["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    cost |= {"epochs": found.epochs, "capped": max_epochs is not None and found.epochs == max_epochs}
    return [row | score(task, found, row["source"], row["target"]) | cost for row in base]


def score(task: Task, found: Found, source: str, target: str) -> dict:
    scores = {"note": found.unsupported} if found.unsupported else {}
    if target in found.imputed:
        columns, rows = task.columns[target], task.mdata[target].obs_names.get_indexer(task.test)
        sides = task.preparations[target].measured(task.x[target][rows])[:, columns], found.imputed[target][:, columns]
        correlation = feature_correlation(*sides)
        scores |= {"correlation": float(np.nanmean(correlation)), "auroc": float(np.nanmean(feature_auroc(*sides)))}
        scores |= {"n_features": len(correlation), "n_failed": int(np.isnan(correlation).sum())}
    elif not found.latents:
        return {"error": f"not supported: {found.unsupported}"}
    if found.latents:
        labels = task.mdata.obs["cell_type"].astype(object).reindex(task.test).to_numpy()
        x, y = found.latents[source], found.latents[target]
        scores |= {"foscttm": foscttm(x, y), "lta": label_transfer_accuracy(x, y, labels)}
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["citeseq_pbmc10k", "snareseq_mouse_cortex"], metavar="NAME")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--max-epochs", type=int, help="cap on the epochs of totalVI and MULTIVI; theirs if left out")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    rows = json.loads(given.out.read_text()) if given.out and given.out.exists() else []
    for task in product(given.data, given.peers, given.seeds):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            new = pool.submit(records, *task, given.max_epochs).result()
        print(pd.DataFrame(new).round(4).to_csv(index=False), flush=True)
        replaced = [[row[k] for k in KEY] for row in new]
        rows = [row for row in rows if [row[k] for k in KEY] not in replaced] + new
        if given.out:
            given.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

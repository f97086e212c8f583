"""What lies on disk gives what is in memory, and a run that was killed goes on: SNARE-seq cortex.

    python benchmarks/streaming.py --out streaming.json

Every part runs in a process of its own. `train` compares held-out correlations of cells in memory, backed, and backed
with little memory. `impute` writes all regions for all cells to zarr, killed half-way and made again, and compares
every byte with the file of a run that was not.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mudata
import torch
from mudata import MuData

import jamie as jm

NAME = "snareseq_mouse_cortex"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=Path("streaming_data"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    jm.settings.n_threads, jm.settings.verbosity = given.threads, "error"
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.part:
        print(json.dumps(globals()[given.part.split()[0]](given.folder, *given.part.split()[1:])))
        return
    results: dict[str, Any] = {"train": [run(given, f"train {how}") for how in ("memory 4", "backed 4", "backed 0.02")]}
    results["load"] = run(given, "load")
    results["impute"] = run(given, "impute whole.zarr")
    results["killed"] = killed(given)
    results["gone on"] = run(given, "impute cut.zarr")
    whole, cut = (content(given.folder / name) for name in ("whole.zarr", "cut.zarr"))
    results["same bytes"] = whole == cut
    results["gb above the input"] = round(results["impute"]["peak_rss_gb"] - results["load"]["peak_rss_gb"], 2)
    given.out.write_text(json.dumps(results, indent=1))
    print(json.dumps(results, indent=1))


def run(given: argparse.Namespace, part: str) -> dict[str, Any]:
    found = subprocess.run(command(given, part), check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(found.stdout.splitlines()[-1])


def command(given: argparse.Namespace, part: str) -> list[str]:
    return [sys.executable, __file__, *sys.argv[1:], "--part", part]


def read(folder: Path, how: str) -> MuData:
    mdata = jm.datasets.load(NAME, folder=folder)
    if how == "backed":
        mdata = mudata.read_h5mu(folder / f"{NAME}.h5mu", backed="r")
    jm.pp.split(mdata, rng=0)
    return mdata


def train(folder: Path, how: str, gb: str) -> dict[str, Any]:
    mdata, jm.settings.memory_gb = read(folder, how), float(gb)
    began = time.perf_counter()
    jm.pp.prepare(mdata)
    prepared = time.perf_counter()
    model = jm.tl.train(mdata, rng=0)
    trained = time.perf_counter()
    model.save(folder / "model.jamie")
    table = jm.tl.evaluate(mdata, model, baselines=(), rng=0)
    return {
        "matrices": how,
        "memory_gb": float(gb),
        **{f"r {row.source} to {row.target}": round(row.correlation, 6) for row in table.itertuples()},
        "prepare_seconds": round(prepared - began, 1),
        "train_seconds": round(trained - prepared, 1),
        "peak_rss_gb": peak_rss_gb(),
    }


def load(folder: Path) -> dict[str, Any]:
    """Memory of the model and the data alone."""
    mdata, model = read(folder, "memory"), jm.JAMIE.load(folder / "model.jamie")
    return {
        "cells": mdata["rna"].n_obs,
        "peaks": len(model.preparations_["atac"].features),
        "peak_rss_gb": peak_rss_gb(),
    }


def impute(folder: Path, out: str) -> dict[str, Any]:
    mdata, model = read(folder, "memory"), jm.JAMIE.load(folder / "model.jamie")
    began = time.perf_counter()
    jm.tl.impute(mdata, model, source="rna", target="atac", out=folder / out)
    return {"seconds": round(time.perf_counter() - began, 1), "peak_rss_gb": peak_rss_gb()}


def killed(given: argparse.Namespace) -> dict[str, Any]:
    """Start, and kill when half of the cells are there."""
    log = given.folder / "cut.zarr.part.json"
    process = subprocess.Popen(command(given, "impute cut.zarr"), stdout=subprocess.DEVNULL)
    written = 0
    while written < 5_000 and process.poll() is None:
        time.sleep(0.05)
        if log.exists():
            written = json.loads(log.read_text())["written"].get("X", 0)
    process.send_signal(signal.SIGKILL)
    return {"exit": process.wait(), "cells written": written}


def content(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def peak_rss_gb() -> float:
    """Largest resident memory of this process; Linux."""
    status = Path("/proc/self/status").read_text()
    return round(int(status.split("VmHWM:")[1].split()[0]) / 1024**2, 2)


if __name__ == "__main__":
    main()

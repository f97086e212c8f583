"""Seconds and peak memory of each stage on one data set: read, train, embed, impute some features.

python benchmarks/stages.py --data snareseq_mouse_cortex --impute rna:atac --features 1000
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import jamie as jm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="snareseq_mouse_cortex", metavar="NAME")
    parser.add_argument("--impute", default="rna:atac", metavar="SOURCE:TARGET")
    parser.add_argument("--features", type=int, default=1_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    jm.settings.verbosity = "warning"
    source, target = given.impute.split(":")
    stages: list[dict[str, Any]] = []

    def stage(name: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        stages.append({"stage": name, "seconds": round(time.perf_counter() - began, 2), "peak_rss_gb": round(peak, 2)})
        print(stages[-1], flush=True)
        return result

    mdata = stage("read", lambda: jm.datasets.load(given.data))
    model = stage("prepare and train", lambda: jm.tl.train(mdata, rng=0))
    stage("embed", lambda: jm.tl.embed(mdata, model))
    features = list(mdata[target].var_names[: given.features])
    stage("impute", lambda: jm.tl.impute(mdata, model, source=source, target=target, features=features))
    print("imputed", mdata[source].obsm[f"jamie_{target}"].shape)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(stages, indent=1))


if __name__ == "__main__":
    main()

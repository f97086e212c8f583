"""Processes that train together: as one, to the bit between them."""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent

import numpy as np
import pytest
import torch

PREPARED = """
    import sys
    import numpy as np, torch
    from torch import distributed as dist
    from jamie.data import Batch
    from jamie.nn import JointVAE, average_gradients, join, own_noise
    from jamie.train import RECIPES, Target, objective

    torch.set_num_threads(1)
    n = join(torch.device("cpu"))
    rank = dist.get_rank() if n > 1 else 0
    torch.manual_seed(0)
    network = JointVAE({"x": 12, "y": 7}, n_latent=5, hidden={"x": (16, 16), "y": (16, 16)}, norm="layer", dropout=0.3)
    rng = np.random.default_rng(0)
    x, y = (torch.from_numpy(rng.normal(size=shape).astype(np.float32)) for shape in ((23, 12), (20, 7)))
    known = torch.zeros(23, 20)
    known[torch.arange(3, 18), torch.randperm(20, generator=torch.Generator().manual_seed(0))[:15]] = 1
    batch = Batch({"x": x, "y": y}, {}, {("x", "y"): known}, {"x": torch.ones(23), "y": torch.rand(20)})
    targets = {"x": Target(1.0, None), "y": Target(1.0, None)}

    def step():
        outputs = network(batch.inputs, batch.known, crossed=True)
        network.zero_grad()
        objective(outputs, batch, targets, RECIPES["default"], 0.7).total.backward()
        average_gradients(network)
        return torch.cat([p.grad.flatten() for p in network.parameters()])

    network.eval()  # without chance: the same sum
    found = {"gradient": step().numpy()}
    network.train()
    own_noise()
    optimiser = torch.optim.AdamW(network.parameters(), fused=True)
    for _ in range(20):
        step()
        optimiser.step()
    found["weights"] = torch.cat([p.detach().flatten() for p in network.parameters()]).numpy()
    np.savez(f"{sys.argv[1]}_{n}_{rank}.npz", noise=torch.rand(3), **found)
"""

TRAINED = """
    import sys
    import jamie as jm
    mdata = jm.datasets.toy()
    model = jm.tl.train(mdata, max_steps=30)
    model.save(sys.argv[1])
    jm.tl.impute(mdata, model, source="rna", target="protein", out=sys.argv[1] + ".zarr")
    if len(sys.argv) > 2:
        jm.tl.train(mdata, recipe="paper", max_steps=1, batch_size=20)
"""


def run(n, code, *arguments, check=True):
    """Run code in `n` processes."""
    start = [sys.executable, *(("-m", "torch.distributed.run", f"--nproc-per-node={n}") if n > 1 else ())]
    path = arguments[0].parent / "script.py"
    path.write_text(dedent(code))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*start, path, *arguments], check=check, capture_output=True, text=True, env=environment, timeout=300
    )


def test_two_processes_are_one(tmp_path):
    for n in (1, 2):
        run(n, PREPARED, tmp_path / "found")
    one, first, second = (np.load(tmp_path / f"found_{name}.npz") for name in ("1_0", "2_0", "2_1"))
    assert np.abs(one["gradient"]).max() > 1e-2
    np.testing.assert_allclose(first["gradient"], one["gradient"], atol=1e-6)
    np.testing.assert_array_equal(first["gradient"], second["gradient"])
    np.testing.assert_array_equal(first["weights"], second["weights"])
    assert not np.array_equal(first["noise"], second["noise"])  # each drops out units of its own cells


def test_one_of_the_processes_speaks_and_writes(tmp_path):
    found = run(2, TRAINED, tmp_path / "model.jamie", "paper", check=False)
    lines = [line for line in found.stderr.splitlines() if line.startswith("jamie:")]
    assert len([line for line in lines if "trained in" in line]) == 1
    assert (
        "expected one process for recipe 'paper', whose batch norm needs all cells of a batch, found 2" in found.stderr
    )
    assert {path.name for path in tmp_path.iterdir()} == {"script.py", "model.jamie", "model.jamie.zarr"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_and_the_cpu_agree():
    import jamie as jm

    found = {}
    for device in ("cpu", "cuda"):
        mdata = jm.datasets.toy()
        found[device] = jm.tl.train(mdata, max_steps=200, device=device).summary_
    for score in found["cpu"].scores:
        if score.method == "jamie":
            assert abs(found["cuda"].value(score.measure, score.source, score.target) - score.value) < 0.05

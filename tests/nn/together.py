"""What processes do that train together: one model, and the same network as one process has, step by step.

Run by test_ranks.py under ``torchrun``, with a folder; ``compute`` is also called there by itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import distributed as dist

import jamie as jm
from jamie.data import Batch
from jamie.nn import JointVAE, Links, average_over_ranks, joined, own_noise
from jamie.train import RECIPES, Target, objective


def compute(n: int) -> dict[str, np.ndarray]:
    """Return the gradient of a step without chance, and the weights after five with it."""
    torch.manual_seed(0)
    widths = {"x": (16, 16), "y": (16, 16)}
    network = JointVAE({"x": 12, "y": 7}, n_latent=5, hidden=widths, norm="layer", dropout=0.3)
    rng = np.random.default_rng(0)
    x, y = (torch.from_numpy(rng.normal(size=shape).astype(np.float32)) for shape in ((23, 12), (20, 7)))
    known = torch.zeros(23, 20)
    known[torch.arange(3, 18), torch.randperm(20, generator=torch.Generator().manual_seed(0))[:15]] = 1
    batch = Batch({"x": x, "y": y}, {}, {("x", "y"): Links.of(known)}, {"x": torch.ones(23), "y": torch.rand(20)})
    targets = {"x": Target(1.0, None), "y": Target(1.0, None)}

    def step() -> torch.Tensor:
        outputs = network(batch.inputs, batch.known, crossed=True)
        network.zero_grad()
        objective(outputs, batch, targets, RECIPES["default"], 0.7).total.backward()
        gradient = torch.cat([p.grad.flatten() for p in network.parameters()])
        average_over_ranks(gradient)
        for p, mean in zip(
            network.parameters(), gradient.split([p.numel() for p in network.parameters()]), strict=True
        ):
            p.grad.copy_(mean.view_as(p))
        return gradient

    network.eval()  # without chance: the same sum
    results = {"gradient": step().numpy()}
    network.train()
    own_noise()
    optimiser = torch.optim.AdamW(network.parameters(), fused=True)
    for _ in range(5):
        step()
        optimiser.step()
    results["weights"] = torch.cat([p.detach().flatten() for p in network.parameters()]).numpy()
    return {"noise": torch.rand(3).numpy(), **results}


def train(path: Path) -> None:
    """Train, save and impute to a file; a recipe that cannot be trained together is refused."""
    mdata = jm.datasets.toy()
    model = jm.tl.train(mdata, max_steps=5)
    model.save(path)
    assert not dist.is_initialized()
    jm.tl.impute(mdata, model, source="rna", target="protein", out=f"{path}.zarr")
    try:
        jm.tl.train(mdata, recipe="paper", max_steps=1, batch_size=20)
    except ValueError as error:
        print(error, file=sys.stderr)
    assert not dist.is_initialized()


def main(folder: Path) -> None:
    """Join a group for each of these, once more in the same job, and in one of the caller."""
    torch.set_num_threads(1)
    train(folder / "model.jamie")
    for _ in range(2):
        with joined(torch.device("cpu")) as n:
            found, rank = compute(n), dist.get_rank()
        assert not dist.is_initialized()
    dist.init_process_group("gloo")
    with joined(torch.device("cpu")) as n_of_ours:
        assert n_of_ours == n
    assert dist.is_initialized()  # by the caller, who ends it
    dist.destroy_process_group()
    np.savez(folder.with_name(f"found_{rank}.npz"), **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

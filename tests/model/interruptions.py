"""Kills trainings, fills the disk and damages checkpoints, and counts what comes of it.

Run by test_checkpoint.py, and by hand: ``python tests/model/interruptions.py --kills 100 --full 20 --damaged 200``.
Children are forked here, in a process of one thread, so that each takes what a training takes and no import.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import resource
import shutil
import tempfile
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from attacks import Child, damaged_bytes

import jamie as jm
from jamie import _atomic
from jamie.model import _checkpoint

RECIPE = replace(jm.recipes["default"], hidden=(16,), n_latent=4, n_comps=8, batch_size=40, max_steps=40)


def digest(model: jm.JAMIE) -> str:
    """Of all that a training leaves, but the seconds it took."""
    sha = sha256()
    for array in model.arrays():
        sha.update(np.ascontiguousarray(array).tobytes())
    about = {**model.summary_.to_dict(), "seconds": 0}
    sha.update(repr(about).encode() + model.history_.to_csv().encode())
    return sha.hexdigest()


def trained(folder: Path | None) -> str:
    """Train with a checkpoint after each step, unless said otherwise."""
    return digest(jm.tl.train(jm.datasets.toy(n_cells=100), recipe=RECIPE, checkpoint=folder, device="cpu"))


def training(folder: Path | None, prepare=lambda: None) -> Child:
    """A training in a process of its own."""

    def call() -> str:
        prepare()
        return trained(folder)

    return Child(call)


def left(folder: Path) -> list[str]:
    """What is in a folder besides the checkpoint."""
    return sorted(path.name for path in folder.iterdir() if path.name != _checkpoint.FILE)


def slow_rename() -> None:
    """Wait between the write of a file and its move, where kills are most likely to hit then."""
    kept = _atomic._kept

    def slowly(path: Path) -> None:
        kept(path)
        time.sleep(0.02)

    _atomic._kept = slowly


def kills(n: int, folder: Path, expected: str, rng: np.random.Generator) -> dict[str, int]:
    """Kill trainings with SIGKILL, each once to three times, and let them end."""
    found = {"kills": 0, "identical": 0, "other": 0, "left behind": 0}
    began = time.monotonic()
    training(folder, slow_rename).said()
    takes = time.monotonic() - began
    while found["kills"] < n:
        shutil.rmtree(folder)
        for _ in range(rng.integers(1, 4)):
            prepare = slow_rename if rng.random() < 0.5 else lambda: None
            found["kills"] += training(folder, prepare).killed_after(rng.uniform(0.05, 1) * takes)
        said = training(folder).said()
        found["identical"] += said == expected
        found["other"] += said != expected
        found["left behind"] += bool(left(folder))
    return found


def fails_at(step: int, how: str, size: int):
    """Let the disk be full from the given checkpoint on."""

    def prepare() -> None:
        keep, write_bytes = _checkpoint.Checkpoint.keep, Path.write_bytes

        def full(self: Path, data: bytes) -> int:
            write_bytes(self, data[:size])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def and_fill(self, state) -> None:
            if state.step == step and how == "limit":
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            elif state.step == step:
                Path.write_bytes = full
            keep(self, state)

        _checkpoint.Checkpoint.keep = and_fill

    return prepare


def full(n: int, folder: Path, expected: str, rng: np.random.Generator) -> dict[str, int]:
    """Let the disk run full in the middle of a checkpoint, by a limit or an error, and make room again."""
    found = {"full disks": 0, "refused by our error": 0, "identical afterwards": 0, "other": 0, "left behind": 0}
    for i in range(n):
        shutil.rmtree(folder, ignore_errors=True)
        prepare = fails_at(int(rng.integers(1, 30)), ("limit", "error")[i % 2], int(rng.integers(0, 20_000)))
        said = training(folder, prepare).said()
        found["full disks"] += 1
        ours = said.startswith("ours: WriteError: could not keep the training")
        found["left behind"] += folder.is_dir() and bool(left(folder))
        again = training(folder).said()
        found["refused by our error"] += ours
        found["identical afterwards"] += again == expected
        found["other"] += not ours or again != expected
    return found


def change_a_field(header: dict, rng: np.random.Generator) -> None:
    """Give a field of the state a value that it cannot have."""
    name = str(rng.choice(list(header["state"])))
    header["state"][name] = ["x", {"a": "b"}, float("inf")][rng.integers(3)]


def damaged(n: int, folder: Path, expected: str, rng: np.random.Generator) -> dict[str, int]:
    """Damage the checkpoint of a killed training in many ways, and make the same call."""
    found = {"damaged checkpoints": 0, "refused by our error": 0, "identical": 0, "other": 0, "changed": 0}
    shutil.rmtree(folder, ignore_errors=True)
    training(folder, fails_at(25, "error", 0)).said()
    file = folder / _checkpoint.FILE
    whole = file.read_bytes()
    for _ in range(n):
        broken = damaged_bytes(whole, change_a_field, rng)
        file.write_bytes(broken)
        said = training(folder).said()
        found["damaged checkpoints"] += 1
        ours = said.startswith("ours: InvalidValueError: expected the checkpoint")
        found["refused by our error"] += ours
        found["identical"] += said == expected
        found["other"] += not ours and said != expected
        if not ours and said != expected:
            print(said)
        found["changed"] += ours and file.read_bytes() != broken
    return found


def main() -> None:
    """Print a JSON object of counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("kills", "full", "damaged"):
        parser.add_argument(f"--{name}", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    jm.settings.verbosity = "error"
    _checkpoint.LEAST = _checkpoint.PATIENCE = 0  # a state after each step
    rng = np.random.default_rng(0)
    counts = {}
    with tempfile.TemporaryDirectory() as parent:
        expected = training(None).said()
        for name, measure in (("kills", kills), ("full", full), ("damaged", damaged)):
            if n := getattr(given, name):
                counts[name] = measure(n, Path(parent, name), expected, rng)
    print(json.dumps(counts))


if __name__ == "__main__":
    main()

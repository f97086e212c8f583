"""Kills writers of files, fills the disk, lets two write at once and damages models, and counts what comes of it.

Run by test_attacked_files.py, and by hand:
``python tests/model/attacked_files.py --kills 50 --full 20 --writers 50 --damaged 500``.
Children are forked here, in a process of one thread, so that each takes what a call takes and no import.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path

import anndata as ad
import mudata as md
import numpy as np
import torch
from attacks import Child, damaged_bytes
from scipy import sparse

import jamie as jm
from jamie.data import _stream

STEP = 100
"""Cells in a block of what is written."""
LIMIT = 1 << 30
"""Bytes that reading a damaged model may take beyond what is there."""


def digest(*arrays) -> str:
    """Of values."""
    sha = sha256()
    for array in arrays:
        values = array.toarray() if sparse.issparse(array) else array
        sha.update(np.ascontiguousarray(values).tobytes())
    return sha.hexdigest()


def of_anndata(adata: ad.AnnData) -> str:
    """Digest of what `tl.impute` writes."""
    return digest(adata.X, *(adata.layers[name] for name in sorted(adata.layers)), adata.obs_names.to_numpy(dtype="S"))


READ: dict[str, Callable[[Path], str]] = {
    ".jamie": lambda path: digest(*jm.JAMIE.load(path, device="cpu").arrays()),
    ".h5ad": lambda path: of_anndata(ad.read_h5ad(path)),
    ".zarr": lambda path: of_anndata(ad.read_zarr(path)),
    ".h5mu": lambda path: digest(*(adata.X for adata in md.read_h5mu(path).mod.values())),
}


class Setting:
    """Two models of the same cells, and what each of them writes, by the end of the name."""

    def __init__(self) -> None:
        rna, protein = jm.datasets.toy(n_cells=600, share_paired=1.0).mod.values()
        self.cells = md.MuData({"rna": rna, "protein": protein[:300].copy()})
        self.models = [jm.tl.train(self.cells, max_steps=5, rng=seed, device="cpu") for seed in (0, 1)]

    def write(self, i: int, path: Path) -> None:
        """What the i-th model writes; a block of cells at a time, where it streams."""
        model, cells = self.models[i], self.cells.copy()
        if path.suffix == ".jamie":
            model.save(path)
        elif path.suffix == ".h5mu":
            jm.tl.complete(cells, model, out=path)
        else:
            jm.tl.impute(cells, model, source="rna", target="protein", interval=0.9, out=path)


def kills(n: int, folder: Path, setting: Setting, rng: np.random.Generator) -> Counter:
    """Kill streamed output with SIGKILL, each once to three times, and let it end."""
    found = Counter(kills=0, identical=0, other=0, lost=0, left_behind=0)
    while found["kills"] < n:
        for suffix in (".h5ad", ".zarr", ".h5mu"):
            path = folder / f"x{suffix}"
            began = time.monotonic()
            Child(partial(setting.write, 0, path)).said()
            takes, expected = time.monotonic() - began, READ[suffix](path)
            _removed(path)
            older = None
            if rng.random() < 0.5:
                setting.write(1, path)
                older = READ[suffix](path)
            for _ in range(rng.integers(1, 4)):
                child = Child(partial(setting.write, 0, path))
                found["kills"] += child.killed_after(rng.uniform(0.05, 1) * takes)
                if older is not None:
                    found["lost"] += not path.exists() or READ[suffix](path) not in {older, expected}
            Child(partial(setting.write, 0, path)).said()
            is_same = READ[suffix](path) == expected
            found["identical" if is_same else "other"] += 1
            found["left_behind"] += len(list(folder.iterdir())) > 1
            _removed(path)
    return found


def full(n: int, folder: Path, setting: Setting, rng: np.random.Generator) -> Counter:
    """Let the disk run full in the middle of a file, and make room again."""
    found = Counter(full_disks=0, refused_by_our_error=0, identical_afterwards=0, other=0, left_behind=0)
    while found["full_disks"] < n:
        for suffix in READ:
            path = folder / f"x{suffix}"
            setting.write(0, path)
            size, expected = max(_sizes(path)), READ[suffix](path)
            _removed(path)
            said = Child(partial(_limited, int(rng.integers(1, size)), partial(setting.write, 0, path))).said()
            found["full_disks"] += 1
            is_whole = said == "None" and READ[suffix](path) == expected
            ours = said.startswith("ours: WriteError") and not path.exists()
            found["refused_by_our_error"] += ours
            again = Child(partial(setting.write, 0, path)).said()
            same = again == "None" and READ[suffix](path) == expected
            found["identical_afterwards"] += same
            if not (ours or is_whole) or not same:
                found["other"] += 1
                print(suffix, said, again, file=sys.stderr)
            found["left_behind"] += len(list(folder.iterdir())) > 1
            _removed(path)
    return found


def _limited(size: int, call: Callable[[], None]) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    call()


def _sizes(path: Path) -> list[int]:
    return [p.stat().st_size for p in ([path] if path.is_file() else path.rglob("*"))]


def _removed(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def writers(n: int, folder: Path, setting: Setting, rng: np.random.Generator) -> Counter:
    """Let two write the same path at once, each its own, while a third reads it, in `n` rounds for each kind of file.

    A reader of a folder that is replaced may find it gone; whatever it reads whole is of one of the two.
    """
    found = Counter(rounds=0, second_was_told=0, lost=0, wrong=0, readers_dead=0, left_behind=0)
    for suffix, read in READ.items():
        path = folder / f"x{suffix}"
        contents = []
        for i in (0, 1):
            setting.write(i, path)
            contents.append(read(path))
        for _ in range(n):
            start = time.monotonic() + 0.05
            both = [
                Child(partial(_at, start + late, partial(setting.write, i, path)))
                for i, late in enumerate(rng.uniform(0, 0.05, 2))
            ]
            reader = Child(partial(_reads, read, path, start + 0.4, contents))
            said = [child.said() for child in both]
            seen = reader.said()
            wrote = [content for one, content in zip(said, contents, strict=True) if one == "None"]
            told = sum("another process writes" in one for one in said)
            found["rounds"] += 1
            found["second_was_told"] += told
            found["lost"] += not wrote or read(path) not in wrote
            found["wrong"] += len(wrote) + told < 2 or seen == "wrong"
            found["readers_dead"] += seen not in {"right", "wrong"}
            found["left_behind"] += len(list(folder.iterdir())) > 1
            if len(wrote) + told < 2 or seen not in {"right", "wrong"}:
                print(suffix, said, seen, file=sys.stderr)
        _removed(path)
    return found


def _at(moment: float, call: Callable[[], None]) -> None:
    time.sleep(max(moment - time.monotonic(), 0))
    call()


def _reads(read: Callable[[Path], str], path: Path, until: float, contents: list[str]) -> str:
    n_read = 0
    while time.monotonic() < until or not n_read:
        try:
            seen = read(path)
        except Exception:
            if path.suffix != ".zarr":
                raise
            continue
        if seen not in contents:
            return "wrong"
        n_read += 1
    return "right"


def damaged(n: int, folder: Path, setting: Setting, rng: np.random.Generator) -> Counter:
    """Damage a model in many ways, and read it: refused by our error, or it imputes the same values."""
    found = Counter(damaged_models=0, refused_by_our_error=0, identical=0, other=0, too_large=0)
    path = folder / "x.jamie"
    setting.models[0].save(path)
    whole = path.read_bytes()

    def imputed() -> str:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            model = jm.JAMIE.load(path, device="cpu")
            return digest(model.impute(setting.cells, source="rna", target="protein"))
        finally:
            if (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 > LIMIT:
                os._exit(7)

    expected = Child(imputed).said()
    assert not expected.startswith(("ours", "foreign")), expected
    while found["damaged_models"] < n:
        path.write_bytes(damaged_bytes(whole, _change_a_field, rng))
        said = Child(imputed).said()
        found["damaged_models"] += 1
        found["too_large"] += said == ""
        outcome = "refused_by_our_error" if said.startswith("ours: ") else "identical" if said == expected else "other"
        found[outcome] += 1
        if outcome == "other":
            print(said, file=sys.stderr)
    path.unlink()
    return found


def _change_a_field(header: dict, rng: np.random.Generator) -> None:
    """Give a field, wherever it is, a value that it cannot have."""
    while True:
        name = str(rng.choice(list(header)))
        if not isinstance(header[name], dict) or not header[name] or rng.random() < 0.3:
            break
        header = header[name]
    header[name] = ({"a": []}, [[[]]], float("inf"))[rng.integers(3)]


def main() -> None:
    """Print a JSON object of counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measures = {"kills": kills, "full": full, "writers": writers, "damaged": damaged}
    for name in measures:
        parser.add_argument(f"--{name}", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of mudata
    jm.settings.verbosity = "error"
    _stream.Rows.step = property(lambda _: STEP)
    setting, rng, counts = Setting(), np.random.default_rng(0), {}
    with tempfile.TemporaryDirectory() as parent:
        for name, measure in measures.items():
            if n := getattr(given, name):
                folder = Path(parent, name)
                folder.mkdir()
                counts[name] = measure(n, folder, setting, rng)
    print(json.dumps(counts))


if __name__ == "__main__":
    main()

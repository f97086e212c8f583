"""One file, no pickle: the same numbers in another process, and every broken file named."""

from __future__ import annotations

import json
import os
import pickletools
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from safetensors import safe_open
from safetensors.torch import save_file

import jamie as jm


@pytest.fixture
def saved(trained, tmp_path):
    mdata, model = trained
    path = tmp_path / "model.jamie"
    model.save(path)
    return mdata, model, path


def rewrite(path, change):
    """Change the JSON in the header of a saved model."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["jamie"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(header)
    save_file(tensors, path, metadata={"jamie": json.dumps(header)})


def test_the_same_numbers_bit_for_bit(saved):
    mdata, model, path = saved
    loaded = jm.JAMIE.load(str(path))
    for source, target in (("rna", "protein"), ("protein", "rna"), ("rna", "rna")):
        expected = model.impute(mdata, source=source, target=target)
        assert_array_equal(loaded.impute(mdata, source=source, target=target), expected)
    for name, latent in model.embed(mdata).items():
        assert_array_equal(loaded.embed(mdata)[name], latent)
    assert loaded.recipe_ == model.recipe_
    assert loaded.summary_ == model.summary_
    pd.testing.assert_frame_equal(loaded.history_, model.history_)
    assert not loaded.network_.training
    assert loaded.preparations_["rna"].n_fitted == model.preparations_["rna"].n_fitted


@pytest.mark.parametrize("kind", ["accessibility", "continuous"])
def test_every_kind_comes_back(toy, tmp_path, kind):
    jm.pp.prepare(toy, kinds={"rna": kind})
    model = jm.tl.train(toy, max_steps=2, recipe="paper")
    model.save(tmp_path / "m")
    loaded = jm.JAMIE.load(tmp_path / "m")
    for source, target in (("rna", "protein"), ("protein", "rna")):
        expected = model.impute(toy, source=source, target=target)
        assert_array_equal(loaded.impute(toy, source=source, target=target), expected)


def test_a_new_process_imputes_the_same(saved, tmp_path):
    mdata, model, path = saved
    assert model.network_.kernel_mix("rna", "protein").mix_weight > 0
    mdata.write(tmp_path / "cells.h5mu")
    script = (
        "import sys, torch, numpy as np, mudata as md, jamie as jm\n"
        "torch.set_num_threads(1)\n"
        "model, mdata = jm.JAMIE.load(sys.argv[1]), md.read_h5mu(sys.argv[2])\n"
        "jm.tl.impute(mdata, model, source='rna', target='protein')\n"
        "np.save(sys.argv[3], mdata['rna'].obsm['jamie_imputed_protein'].to_numpy())\n"
    )
    out = tmp_path / "imputed.npy"
    command = [sys.executable, "-c", script, str(path), str(tmp_path / "cells.h5mu"), str(out)]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True)
    assert_array_equal(np.load(out), model.impute(mdata, source="rna", target="protein"))


def test_the_file_holds_tensors_and_json_alone(saved):
    _, _, path = saved
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    about = json.loads(header.pop("__metadata__")["jamie"])
    assert about["schema"] == 4
    assert about["version"] == jm.__version__
    assert all(set(entry) == {"dtype", "shape", "data_offsets"} for entry in header.values())
    assert len(raw) == 8 + length + max(entry["data_offsets"][1] for entry in header.values())
    with pytest.raises(Exception):  # noqa: B017, PT011
        list(pickletools.genops(raw))
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208


def test_saving_again_replaces_the_file(saved):
    _, model, path = saved
    path.write_text("something else")
    model.save(path)
    assert jm.JAMIE.load(path).recipe_ == model.recipe_


def test_who_may_read_new_files_may_read_the_model(saved, tmp_path):
    _, model, _ = saved
    model.save(tmp_path / "model.jamie")
    (tmp_path / "other").write_text("")
    assert (tmp_path / "model.jamie").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("share", [0, 0.00001, 0.5, 0.999])
def test_a_truncated_file_is_named(saved, share):
    _, _, path = saved
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(ValueError, match=r"model written by model\.save in `.*model\.jamie`, found .*truncated"):
        jm.JAMIE.load(path)


def test_what_is_no_model_is_named(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("dear diary\n" * 50)
    tensors = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(3)}, tensors)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(3)}, foreign, metadata={"jamie": "{"})
    empty = tmp_path / "empty.safetensors"
    save_file({"a": torch.zeros(3)}, empty, metadata={"jamie": "{}"})
    for path in (text, tensors, foreign, empty):
        with pytest.raises(ValueError, match=rf"model written by model\.save in `.*{path.name}`, found"):
            jm.JAMIE.load(path)


def test_a_newer_schema_asks_to_upgrade(saved):
    _, _, path = saved
    rewrite(path, lambda header: header.update(schema=5, version="9.9", recipe={"unknown": 1}))
    with pytest.raises(ValueError, match=r"schema 4 in .*found schema 5, written by jamie-tools 9\.9; upgrade"):
        jm.JAMIE.load(path)


def test_no_file_and_no_folder_are_named(trained, tmp_path):
    for path in (tmp_path / "none.jamie", tmp_path):
        with pytest.raises(FileNotFoundError, match=r"expected a model file at .*model\.save\(path\)"):
            jm.JAMIE.load(path)
    with pytest.raises(OSError, match="nowhere"):
        trained[1].save(tmp_path / "nowhere" / "model.jamie")


def test_an_unfitted_model_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match=r"not fitted; call jm\.tl\.train\(mdata\) or model\.fit\(mdata\)"):
        jm.JAMIE().save(tmp_path / "model.jamie")
    assert not list(tmp_path.iterdir())


def test_an_older_schema_asks_to_train_again(saved):
    path = saved[-1]
    rewrite(path, lambda header: header.update(schema=1, version="0.0.1"))
    with pytest.raises(ValueError, match=r"schema 4 in .*found schema 1, written by jamie-tools 0\.0\.1; train again"):
        jm.JAMIE.load(path)

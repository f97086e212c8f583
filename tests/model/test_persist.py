"""One file, no pickle: the same numbers in another process, and every broken file named."""

from __future__ import annotations

import json
import os
import pickletools
import subprocess
import sys
import time
import tracemalloc
from copy import deepcopy
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from safetensors import safe_open
from safetensors.torch import save as serialised
from safetensors.torch import save_file

import jamie as jm
from jamie._errors import InvalidValueError


@pytest.fixture(scope="module")
def small():
    """A model of all that models have, in narrow layers: it is read some thousand times here."""
    mdata = jm.datasets.toy(n_cells=200)
    jm.pp.split(mdata)
    return mdata, jm.tl.train(mdata, recipe=replace(jm.recipes["default"], hidden=(16, 16)), max_steps=60)


@pytest.fixture
def saved(small, tmp_path):
    mdata, model = small
    path = tmp_path / "model.jamie"
    model.save(path)
    return mdata, model, path


def opened(path):
    """Header and tensors of a saved model."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["jamie"])
        # copies, for the file is written again while these are used
        return header, {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118


def sealed(path, header, tensors):
    """Write a file whose digest is right, as somebody would who means it."""
    blank = "0" * 64
    raw = serialised(tensors, metadata={"jamie": json.dumps({**header, "sha256": blank})})
    path.write_bytes(raw.replace(blank.encode(), sha256(raw).hexdigest().encode(), 1))


def rewrite(path, change):
    """Change the JSON in the header of a saved model."""
    header, tensors = opened(path)
    change(header)
    sealed(path, header, tensors)


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
    assert about["schema"] == 8
    assert about["version"] == jm.__version__
    assert all(set(entry) == {"dtype", "shape", "data_offsets"} for entry in header.values())
    assert len(raw) == 8 + length + max(entry["data_offsets"][1] for entry in header.values())
    with pytest.raises(Exception):  # noqa: B017, PT011
        list(pickletools.genops(raw))
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208


FOREIGN = {
    "text": b"something else",
    "one byte": b"0",
    "an archive": b"PK\x03\x04" + bytes(200),
    "tensors of others": serialised({"a": torch.zeros(3)}, metadata={"format": "pt"}),
    "tensors without metadata": serialised({"a": torch.zeros(3)}),
    "no JSON": (20).to_bytes(8, "little") + b"x" * 40,
    "JSON of others": (8).to_bytes(8, "little") + b"[1,2,3] ",
}


@pytest.mark.parametrize("raw", FOREIGN.values(), ids=FOREIGN)
def test_a_file_that_is_no_model_is_not_replaced(saved, raw):
    _, model, path = saved
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"expected nothing at `.*model\.jamie`.*another file.*pass another `path`"):
        model.save(path)
    assert path.read_bytes() == raw


@pytest.mark.parametrize("change", ["none", "empty", "older", "cut short"])
def test_saving_again_replaces_a_model_and_nothing(saved, change):
    _, model, path = saved
    raw = path.read_bytes()
    path.write_bytes(
        {"none": raw, "empty": b"", "older": raw.replace(b"schema", b"SCHEMA"), "cut short": raw[:-9]}[change]
    )
    model.save(path)
    assert jm.JAMIE.load(path).recipe_ == model.recipe_


def test_a_link_to_something_else_is_followed_and_refused(saved, tmp_path):
    _, model, _ = saved
    (tmp_path / "notes").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "notes")
    with pytest.raises(ValueError, match="another file"):
        model.save(tmp_path / "link")
    assert (tmp_path / "notes").read_text() == "mine"


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
    rewrite(path, lambda header: header.update(schema=9, version="9.9", recipe={"unknown": 1}))
    with pytest.raises(ValueError, match=r"schema 8 in .*found schema 9, written by jamie-tools 9\.9; upgrade"):
        jm.JAMIE.load(path)


def test_no_file_and_no_folder_are_named(small, tmp_path):
    for path in (tmp_path / "none.jamie", tmp_path):
        with pytest.raises(FileNotFoundError, match=r"expected a model file at .*model\.save\(path\)"):
            jm.JAMIE.load(path)
    with pytest.raises(OSError, match="nowhere"):
        small[1].save(tmp_path / "nowhere" / "model.jamie")


def test_an_unfitted_model_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match=r"not fitted; call jm\.tl\.train\(mdata\) or model\.fit\(mdata\)"):
        jm.JAMIE().save(tmp_path / "model.jamie")
    assert not list(tmp_path.iterdir())


def test_an_older_schema_asks_to_train_again(saved):
    path = saved[-1]
    rewrite(path, lambda header: header.update(schema=1, version="0.0.1"))
    with pytest.raises(ValueError, match=r"schema 8 in .*found schema 1, written by jamie-tools 0\.0\.1; train again"):
        jm.JAMIE.load(path)


def outcome(path, before):
    """How loading ends: refused by our error, identical, or otherwise."""
    try:
        model = jm.JAMIE.load(path)
    except InvalidValueError as error:
        return "refused" if "expected a model" in str(error) else "misleading"
    same = all(np.array_equal(x, y, equal_nan=True) for x, y in zip(model.arrays(), before.arrays(), strict=True))
    return "identical" if same and repr(model) == repr(before) else "other"


def test_a_changed_byte_is_refused_wherever_it_is(saved):
    _, model, path = saved
    raw, rng = path.read_bytes(), np.random.default_rng(0)
    length = 8 + int.from_bytes(raw[:8], "little")
    places = [*range(8), *rng.integers(8, length, 40), *rng.integers(length, len(raw), 40), len(raw) - 1]
    for place in places:
        changed = bytearray(raw)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        assert outcome(path, model) == "refused", place
    for longer in (b"x", bytes(100)):
        path.write_bytes(raw + longer)
        assert outcome(path, model) == "refused"
    path.write_bytes(raw)
    assert outcome(path, model) == "identical"


NUMBERS = [True, -1, 0.5, 10**18, 10**400, 1e308, float("nan"), float("inf")]
VALUES = [*NUMBERS, None, "x", "\ud800", [], {}, [[]], ["a"] * 3]


@pytest.mark.parametrize(
    "at",
    [
        *(("recipe", name) for name in ("n_latent", "hidden", "norm", "n_networks", "dropout", "max_steps", "name")),
        *(("modalities", "rna", name) for name in ("kind", "depth", "features", "divisor", "seen", "layer")),
        *(("summary", name) for name in ("cells", "best_step", "seconds", "scores")),
        ("parameters", "recipe"),
        ("parameters", "rng"),
        ("history", "total"),
        *((name,) for name in ("schema", "recipe", "modalities", "summary", "history", "parameters", "sha256")),
    ],
    ids=".".join,
)
def test_a_header_of_other_values_is_refused_or_changes_no_answer(saved, at):
    """The digest is right, so that it is the schema that sees it."""
    _, model, path = saved
    header, tensors = opened(path)
    for value in VALUES:
        changed = deepcopy(header)
        parent = changed
        for name in at[:-1]:
            parent = parent[name]
        parent[at[-1]] = value
        sealed(path, changed, tensors)
        found = outcome(path, model)
        free = at[-1] in {"dropout", "max_steps", "name", "layer", "rng", "divisor", "depth", "seconds"}
        assert found in (("refused", "identical", "other") if free or at[0] == "summary" else ("refused", "identical"))
        del parent[at[-1]]
        sealed(path, changed, tensors)
        assert outcome(path, model) in ("refused", "identical")


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, name: tensors.pop(name),
        lambda tensors, name: tensors.update({f"{name}x": tensors.pop(name)}),
        lambda tensors, name: tensors.update({"network/networks.0.more": tensors[name].clone()}),
        lambda tensors, name: tensors.update({name: tensors[name].unsqueeze(0)}),
        lambda tensors, name: tensors.update({name: tensors[name].to(torch.float16)}),
        lambda tensors, name: tensors.update({name: tensors[name].new_zeros(3, 0)}),
        lambda tensors, name: tensors[name].view(-1).__setitem__(0, float("nan")),
        lambda tensors, name: tensors[name].view(-1).__setitem__(-1, -float("inf")),
    ],
    ids=["missing", "renamed", "more", "reshaped", "half", "empty", "nan", "infinite"],
)
@pytest.mark.parametrize(
    "name",
    [
        "network/networks.0.encoders.0.trunk.0.weight",
        "network/networks.0.log_weights",
        "network/kernel_mixes.0-1.coefficients",
        "network/kernel_mixes.0-1.rate",
        "preparation/1/sd",
        "preparation/0/loadings",
        "calibrations/0-1/quantiles",
        "confidences/0-1/weights",
        "confidences/1-0/threshold",
    ],
)
def test_arrays_that_are_not_those_of_the_model_are_refused(saved, change, name):
    _, model, path = saved
    header, tensors = opened(path)
    change(tensors, name)
    sealed(path, header, tensors)
    assert outcome(path, model) == "refused"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("preparation/0/sd", 0),
        ("preparation/0/variance", -1),
        ("network/kernel_mixes.0-1.mix_weight", 1.5),
        ("confidences/0-1/spread", 0),
        ("confidences/0-1/threshold", 0),
    ],
)
def test_a_scale_that_cannot_be_is_refused(saved, name, value):
    _, _, path = saved
    header, tensors = opened(path)
    tensors[name].view(-1)[0] = value
    sealed(path, header, tensors)
    with pytest.raises(ValueError, match=rf"expected a model .* found one in which {name} is from .*, not finite num"):
        jm.JAMIE.load(path)


@pytest.mark.parametrize(
    ("at", "value", "says"),
    [
        (("modalities", "rna", "depth"), 0.0, "above 0"),
        (("modalities", "rna", "divisor"), -1.0, "above 0"),
        (("modalities", "rna", "max_value"), -1.0, "of at least 0;"),
        (("summary", "seconds"), -1.0, "of at least 0;"),
        (("parameters", "dropout"), 2.0, "of at least 0 and of at most 1;"),
    ],
    ids=lambda part: part[-1] if isinstance(part, tuple) else None,
)
def test_a_number_out_of_its_range_is_refused(saved, at, value, says):
    _, _, path = saved
    header, tensors = opened(path)
    parent = header
    for name in at[:-1]:
        parent = parent[name]
    parent[at[-1]] = value
    sealed(path, header, tensors)
    with pytest.raises(ValueError, match=rf"expected a model .*{at[-1]} is {value} of type float, not .*{says}"):
        jm.JAMIE.load(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("n_latent", 10**6), ("hidden", [1] * 20_000), ("hidden", [10**9, 10**9]), ("n_networks", 10**9)],
)
def test_a_header_gets_no_more_memory_or_time_than_its_file_is_large(saved, field, value):
    _, _, path = saved
    rewrite(path, lambda header: header["recipe"].update({field: value}))
    began = time.process_time()
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"found one in which the recipe is one of .* layers of up to"):
        jm.JAMIE.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * path.stat().st_size + 2**25
    assert time.process_time() - began < 5


def test_seen_cells_are_counted_before_they_are_laid_out(saved):
    _, _, path = saved
    rewrite(path, lambda header: header["modalities"]["rna"].update(seen=[10**12, 0, 0]))
    with pytest.raises(ValueError, match=r"preparation/0/seen_names is \d+ of int32, not 1000000000000 of int32"):
        jm.JAMIE.load(path)


@pytest.mark.parametrize("inner", ["[" * 100_000, "1" * 5_000, "[]", "null", '"x"'])
def test_json_that_is_no_header_is_refused(tmp_path, inner):
    path = tmp_path / "model.jamie"
    save_file({"a": torch.zeros(3)}, path, metadata={"jamie": inner})
    with pytest.raises(ValueError, match=r"model written by model\.save in `.*`, found a file that is truncated"):
        jm.JAMIE.load(path)


def test_a_large_file_of_another_kind_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "model.jamie"
    save_file({"a": torch.zeros(2**18)}, path)
    monkeypatch.setattr(jm.model._persist, "require_unchanged", lambda *_: pytest.fail("it was read"))
    tracemalloc.start()
    with pytest.raises(ValueError, match="or something else"):
        jm.JAMIE.load(path)
    assert tracemalloc.get_traced_memory()[1] < 2**19
    tracemalloc.stop()


def test_a_model_that_could_not_be_read_again_is_not_written(small, tmp_path):
    model = deepcopy(small[1])
    with torch.no_grad():
        model.network_.members[0].log_weights[0] = float("nan")
    with pytest.raises(ValueError, match=r"expected a model that can be read again, found one in which network/.*"):
        model.save(tmp_path / "model.jamie")
    assert not list(tmp_path.iterdir())


def test_a_file_that_may_not_be_read_is_named(saved, monkeypatch):
    _, _, path = saved
    monkeypatch.setattr(type(path), "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(ValueError, match=r"expected a model .*Permission denied"):
        jm.JAMIE.load(path)


def test_loading_draws_no_number(saved):
    _, _, path = saved
    before = torch.get_rng_state()
    jm.JAMIE.load(path)
    assert torch.equal(torch.get_rng_state(), before)

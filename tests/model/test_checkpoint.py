"""A training that was cut anywhere ends with the bits of one that was not; nothing else is ever gone on from."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

import jamie as jm
from jamie._atomic import writing
from jamie.model import _checkpoint
from jamie.train import _trainer

SMALL = replace(jm.recipes["default"], hidden=(16,), n_latent=4, n_comps=8, batch_size=40, max_steps=35)
RECIPES = {
    "held-out pairs": SMALL,
    "three networks": replace(SMALL, n_networks=3, max_steps=21),
    "paper": replace(jm.recipes["paper"], n_comps=8, n_latent=4, batch_size=40, max_steps=18, min_steps=4),
    "one cycle": replace(SMALL, validation=0.0, cycles=1, max_steps=30),
    "weights as they are": replace(SMALL, averaging=0.0, cycles=0, min_steps=5),
}


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def mdata():
    return jm.datasets.toy(n_cells=100)


@pytest.fixture
def often(monkeypatch):
    """A state is kept after each step."""
    monkeypatch.setattr(_checkpoint, "LEAST", 0.0)
    monkeypatch.setattr(_checkpoint, "PATIENCE", 0)


def fitted(mdata, folder=None, recipe=SMALL, rng=0, **columns):
    return jm.JAMIE(recipe, device="cpu", rng=rng, **columns).fit(mdata, checkpoint=folder)


def killed_after(step, *arguments, **options):
    """The same training, cut when the state after a step was kept."""
    keep = _checkpoint.Checkpoint.keep

    def and_die(self, state):
        keep(self, state)
        if state.step == step:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_checkpoint.Checkpoint, "keep", and_die)
        with pytest.raises(Killed):
            fitted(*arguments, **options)


def assert_same(model, other):
    for a, b in zip(model.arrays(), other.arrays(), strict=True):
        assert_array_equal(a, b)
    assert replace(model.summary_, seconds=0) == replace(other.summary_, seconds=0)
    assert model.history_.equals(other.history_)
    for name, seen in model.seen_.items():
        assert_array_equal(seen.role, other.seen_[name].role)


@pytest.fixture(scope="module")
def whole(mdata):
    """Function that gives the model of a training that was not cut, trained once."""
    return cache(lambda name: fitted(mdata, recipe=RECIPES[name]))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("after", [(1,), (7, 17)])
def test_a_training_that_was_killed_ends_with_the_same_bits(mdata, whole, tmp_path, often, name, after):
    for step in after:
        killed_after(step, mdata, tmp_path, RECIPES[name])
    assert_same(fitted(mdata, tmp_path, RECIPES[name]), whole(name))
    assert [path.name for path in tmp_path.iterdir()] == [_checkpoint.FILE]


def test_inferred_partners_are_drawn_on_and_a_generator_ends_where_it_would(mdata, tmp_path, often):
    few = mdata.copy()
    few["protein"].obs_names = [
        name if i % 3 else f"other{i}" for i, name in enumerate(few["protein"].obs_names)
    ]  # a third has no partner
    few = type(mdata)({name: few[name] for name in few.mod})
    killed_after(8, few, tmp_path, rng=np.random.default_rng(5))
    cut, whole = np.random.default_rng(5), np.random.default_rng(5)
    assert_same(fitted(few, tmp_path, rng=cut), fitted(few, rng=whole))
    assert cut.random() == whole.random()


def test_a_saved_model_is_the_same_but_for_the_seconds(mdata, tmp_path, often):
    killed_after(9, mdata, tmp_path / "checkpoint")
    for name, folder in (("cut", tmp_path / "checkpoint"), ("whole", None)):
        model = fitted(mdata, folder)
        model.summary_ = replace(model.summary_, seconds=1.0)
        model.save(tmp_path / name)
    assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_finished_training_is_there_again_at_once_and_gives_way_to_another(mdata, tmp_path, monkeypatch):
    model = fitted(mdata, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(_trainer._Run, "step", lambda *_: pytest.fail("it trains"))
        again = fitted(mdata, tmp_path)
    assert_same(again, model)
    assert again.summary_.seconds < 2 * model.summary_.seconds + 1
    assert_same(fitted(mdata, tmp_path, rng=1), fitted(mdata, rng=1))


@pytest.mark.skipif(sys.platform == "win32", reason="signals are of POSIX")
def test_a_training_that_a_signal_ended_goes_on(mdata, tmp_path, monkeypatch, capsys):
    step = _trainer._Run.step

    def and_signal(run, draws):
        step(run, draws)
        if run.done == 12:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(_trainer._Run, "step", and_signal)
        before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
        model = fitted(mdata, tmp_path)
        signal.signal(signal.SIGTERM, before)
    assert (model.summary_.interrupted, model.summary_.n_steps) == ("SIGTERM", 12)
    assert "the same call goes on with it" in capsys.readouterr().err
    assert_same(fitted(mdata, tmp_path), fitted(mdata))
    assert "going on after step 12 of 35" in capsys.readouterr().err


OTHER = {
    "rng": (lambda m: fitted(m[0], m[1], rng=1), "rng 1 and not 0"),
    "generator": (lambda m: fitted(m[0], m[1], rng=np.random.default_rng(0)), "rng a generator in state"),
    "recipe": (lambda m: fitted(m[0], m[1], replace(SMALL, dropout=0.25)), r"recipe\.dropout 0\.25 and not 0\.5"),
    "steps": (lambda m: fitted(m[0], m[1], replace(SMALL, max_steps=70)), r"recipe\.max_steps 70 and not 35"),
    "values": (lambda m: fitted(changed(m[0]), m[1]), "other values of 'rna'"),
    "names": (lambda m: fitted(renamed(m[0]), m[1]), "other cells of 'rna'; other cells of 'protein'"),
    "pairs": (lambda m: fitted(unpaired(m[0]), m[1]), "other pairs of 'rna' and 'protein'"),
    "modalities": (lambda m: fitted(m[0][:, :][:90].copy(), m[1]), "other cells"),
}


def changed(mdata):
    other = mdata.copy()
    other["rna"].X = other["rna"].X.copy()
    other["rna"].X[3, 5] += 7
    return other


def renamed(mdata):
    other = mdata.copy()
    for name in other.mod:
        other[name].obs_names = [f"b-{cell}" for cell in other[name].obs_names]
    return type(mdata)(dict(other.mod))


def unpaired(mdata):
    other = mdata.copy()
    n = min(other[name].n_obs for name in other.mod)
    pairs = [(other["rna"].obs_names[i], other["protein"].obs_names[i]) for i in range(n // 2)]
    jm.pp.correspondence(other, pairs=pd.DataFrame(pairs, columns=["rna", "protein"]))
    return other


@pytest.mark.parametrize(("call", "says"), OTHER.values(), ids=OTHER)
def test_another_training_is_refused_and_the_state_left_as_it_was(mdata, tmp_path, often, call, says):
    killed_after(5, mdata, tmp_path)
    before = (tmp_path / _checkpoint.FILE).read_bytes()
    remedy = "Make the call with which it was begun, pass another folder, or delete the file"
    with pytest.raises(ValueError, match=rf"after step 5 which is not finished; this one has .*{says}.*{remedy}"):
        call((mdata, tmp_path))
    assert (tmp_path / _checkpoint.FILE).read_bytes() == before


@pytest.fixture
def batched(mdata):
    other = mdata.copy()
    other.obs["batch"] = np.where(np.arange(other.n_obs) % 2, "a", "b")
    other.obs["plate"] = np.where(np.arange(other.n_obs) % 3, "c", "d")
    other.obs["depth"] = np.linspace(0, 1, other.n_obs)
    return other


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "batch_key None and not 'batch'"),
        ({"batch_key": "plate"}, "batch_key 'plate' and not 'batch'"),
        ({"batch_key": "batch", "covariates": ["depth"]}, r"covariates \['depth'\] and not \[\]"),
    ],
)
def test_other_columns_of_batches_and_covariates_are_named(batched, tmp_path, often, options, says):
    killed_after(5, batched, tmp_path, batch_key="batch")
    with pytest.raises(ValueError, match=rf"after step 5 which is not finished; this one has .*{says}"):
        fitted(batched, tmp_path, **options)


def test_other_batches_are_named(batched, tmp_path, often):
    killed_after(5, batched, tmp_path, batch_key="batch")
    batched.obs["batch"] = np.roll(batched.obs["batch"], 1)
    with pytest.raises(ValueError, match="this one has other batches or covariates of 'rna'"):
        fitted(batched, tmp_path, batch_key="batch")


@pytest.mark.parametrize("changes", [{"n_latent": 5}, {"hidden": (7,)}, {"n_networks": 2}], ids=str)
def test_a_training_of_another_shape_is_told_by_its_settings_and_takes_the_place_of_a_finished_one(
    mdata, tmp_path, often, changes
):
    """Its arrays do not fit those of this one, which is no damage."""
    other, (name,) = replace(SMALL, **changes), changes
    killed_after(5, mdata, tmp_path)
    with pytest.raises(ValueError, match=rf"after step 5 which is not finished; this one has .*recipe\.{name} "):
        fitted(mdata, tmp_path, other)
    fitted(mdata, tmp_path)
    assert_same(fitted(mdata, tmp_path, other), fitted(mdata, recipe=other))


def test_another_version_is_refused(mdata, tmp_path, often, monkeypatch):
    killed_after(5, mdata, tmp_path)
    version = _checkpoint.version
    monkeypatch.setattr(_checkpoint, "version", lambda name: "9.9" if name == "torch" else version(name))
    with pytest.raises(ValueError, match=r"this one has torch 9\.9 and not"):
        fitted(mdata, tmp_path)


def rounded_otherwise(monkeypatch, by):
    """As on another processor, whose components differ."""
    of = _checkpoint.Origin.of

    def otherwise(*arguments):
        origin = of(*arguments)
        return replace(origin, exact="0", sample={name: x + np.float32(by) for name, x in origin.sample.items()})

    monkeypatch.setattr(_checkpoint.Origin, "of", otherwise)


def test_another_processor_goes_on_and_says_what_that_costs(mdata, tmp_path, often, monkeypatch, capsys):
    killed_after(30, mdata, tmp_path)
    rounded_otherwise(monkeypatch, 1e-5)
    fitted(mdata, tmp_path)
    said = capsys.readouterr().err
    assert "not what it was to the last bit (another processor" in said
    assert "going on after step 30" in said


def test_other_components_are_refused(mdata, tmp_path, often, monkeypatch):
    """As when components of nearly the same variance come out turned: weights would not fit them."""
    killed_after(30, mdata, tmp_path)
    rounded_otherwise(monkeypatch, 0.3)
    with pytest.raises(ValueError, match="other components of the same values"):
        fitted(mdata, tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"",
        lambda raw: raw[:-1],
        lambda raw: raw[:1000],
        lambda raw: raw[:-200] + bytes([raw[-200] ^ 1]) + raw[-199:],
        lambda raw: raw.replace(b"stale", b"Stale", 1),
        lambda raw: b"something else",
        lambda raw: raw.replace(b'schema\\": 1', b'schema\\": 2', 1),
    ],
    ids=["empty", "one byte less", "the start", "one bit", "a name", "something else", "another schema"],
)
def test_a_damaged_checkpoint_is_refused(mdata, tmp_path, often, damage):
    killed_after(5, mdata, tmp_path)
    file = tmp_path / _checkpoint.FILE
    broken = damage(file.read_bytes())
    assert broken != file.read_bytes()
    file.write_bytes(broken)
    with pytest.raises(ValueError, match=r"truncated, changed or something else .* delete it to train from the start"):
        fitted(mdata, tmp_path)
    assert file.read_bytes() == broken


def test_a_full_disk_leaves_the_last_state_and_nothing_else(mdata, tmp_path, often, monkeypatch):
    keep = _checkpoint.Checkpoint.keep

    def full(self, state):
        if state.step == 9:
            monkeypatch.setattr(Path, "write_bytes", no_room)
        keep(self, state)

    def no_room(self, data, write=Path.write_bytes):
        write(self, data[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(_checkpoint.Checkpoint, "keep", full)
        message = (
            r"after step 9 in .*No space left.*that of step 8 is there as it was: make room, and make the same call"
        )
        with pytest.raises(OSError, match=message):
            fitted(mdata, tmp_path)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == [_checkpoint.FILE]
    assert_same(fitted(mdata, tmp_path), fitted(mdata))


def test_a_disk_that_is_full_at_once_leaves_no_folder(mdata, tmp_path, often, monkeypatch):
    def no_room(self, data):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(Path, "write_bytes", no_room)
    with pytest.raises(jm.JamieError, match=r"after step 1 in .*quota exceeded.*none was kept before"):
        fitted(mdata, tmp_path / "new" / "folder")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_writer_left_is_removed(mdata, tmp_path, often):
    killed_after(5, mdata, tmp_path)
    leftover = tmp_path / ".training.part.checkpoint"
    leftover.write_bytes(b"half")
    with pytest.raises(ValueError, match="not finished"):
        fitted(mdata, tmp_path, rng=1)
    assert not leftover.exists()


def test_a_second_training_is_told(mdata, tmp_path):
    """Of another thread, which locks hold apart as they do another process."""
    held, done = threading.Event(), threading.Event()

    def other():
        with writing(tmp_path / _checkpoint.FILE):
            held.set()
            done.wait()

    thread = threading.Thread(target=other)
    thread.start()
    held.wait()
    try:
        with pytest.raises(OSError, match=r"another process writes .*training\.checkpoint.*wait for its end"):
            fitted(mdata, tmp_path)
    finally:
        done.set()
        thread.join()


def test_a_folder_that_cannot_be_is_named_before_anything_is_read(mdata, tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "folder"):
        with pytest.raises(OSError, match=r"expected a folder for checkpoints, found that .*; pass another"):
            fitted(None, path)


def test_a_read_only_folder_is_named(mdata, tmp_path, monkeypatch):
    """As root can write anywhere, the system's answer is played."""

    def refuses(path, flags, *arguments, opened=os.open):
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system")
        return opened(path, flags, *arguments)

    monkeypatch.setattr("jamie._atomic.os.open", refuses)
    with pytest.raises(OSError, match=r"does not take files .Read-only file system"):
        fitted(mdata, tmp_path)


def test_no_seed_and_several_processes_are_refused(mdata, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"a seed beside `checkpoint`, found rng=None.*pass rng=0"):
        fitted(mdata, tmp_path, rng=None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="expected one process beside `checkpoint`, found 2"):
        fitted(mdata, tmp_path)


def test_a_training_that_diverges_leaves_no_checkpoint(mdata, tmp_path):
    """So that the call with a lower rate, which the error asks for, is not refused."""
    with pytest.raises(ValueError, match="finite losses"):
        fitted(mdata, tmp_path, replace(SMALL, learning_rate=1e6))
    fitted(mdata, tmp_path)


def test_states_are_kept_as_often_as_they_cost_little(tmp_path):
    now = [0.0]
    checkpoint = _checkpoint.Checkpoint(tmp_path / "c", clock=lambda: now[0])

    def due(seconds, *, at_end=False):
        now[0] = seconds
        return checkpoint.is_due(at_end=at_end)

    assert not due(9.9)
    assert due(10)
    assert due(0.1, at_end=True)
    checkpoint._kept, checkpoint._took = 10, 0.3
    assert not due(39)
    assert due(41)
    assert not due(39, at_end=True)


def test_it_is_kept_at_the_end_of_each_cycle(mdata, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(_checkpoint.Checkpoint, "keep", lambda self, state: kept.append(state.step))
    fitted(mdata, tmp_path)
    assert kept[:2] == [5, 15]
    assert len(kept) <= 3


def test_the_file_is_no_pickle_and_small(mdata, tmp_path, often):
    killed_after(20, mdata, tmp_path)
    raw = (tmp_path / _checkpoint.FILE).read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert set(header) >= {"__metadata__", "state/chance", "state/optimiser/first"}
    n = sum(parameter.numel() for parameter in fitted(mdata).network_.networks.parameters())
    assert len(raw) < 5 * 4 * n + 60_000  # weights, their average and best, two means of the gradient


def interruptions(*arguments):
    script = Path(__file__).with_name("interruptions.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(script), *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def assert_none_lost(counts):
    for found in counts.values():
        assert not any(found[name] for name in ("other", "left behind", "changed") if name in found), counts


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_killed_processes():
    counts = interruptions("--kills", 2)
    assert counts["kills"]["kills"] >= 2
    assert_none_lost(counts)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_a_hundred_kills_twenty_full_disks_and_two_hundred_damaged_files():
    counts = interruptions("--kills", 100, "--full", 20, "--damaged", 200)
    assert counts["kills"]["kills"] >= 100
    assert counts["full"]["refused by our error"] == counts["full"]["identical afterwards"] == 20
    assert counts["damaged"]["refused by our error"] + counts["damaged"]["identical"] == 200
    assert_none_lost(counts)

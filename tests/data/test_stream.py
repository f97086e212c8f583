"""What is written to disk block by block: the same as in memory, whenever it was cut off."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import anndata as ad
import h5py
import mudata
import numpy as np
import pandas as pd
import pytest
import zarr
from anndata.experimental import read_elem_lazy
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import jamie as jm
from jamie._atomic import writing
from jamie.data import _stream, _unfinished
from jamie.tl import _impute

STEP = 14


@pytest.fixture(scope="module")
def trained():
    mdata = jm.datasets.toy()
    model = jm.tl.train(mdata, max_steps=20)
    jm.tl.impute(mdata, model, source="rna", target="protein")
    return mdata, model


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(_stream.Rows, "step", property(lambda _: STEP))


def impute(trained, out, **how):
    mdata, model = trained
    assert jm.tl.impute(mdata, model, source="rna", target="protein", out=out, **how) is None
    return ad.read_h5ad(out) if out.suffix == ".h5ad" else ad.read_zarr(out)


@pytest.fixture(scope="module")
def whole(trained, tmp_path_factory):
    """Function that gives the content of a file that no run was cut off of, written once."""
    found, (mdata, model) = {}, trained

    def of(suffix, how):
        key = suffix, *how
        if key not in found:
            out = tmp_path_factory.mktemp("whole") / f"x.{suffix}"
            jm.tl.impute(mdata, model, source="rna", target="protein", out=out, **how)
            found[key] = content(out)
        return found[key]

    return of


def content(path):
    """Every byte of a zarr folder by name, lists of it by their items; every array of an HDF5 file by path."""
    if path.is_dir():
        return {
            str(p.relative_to(path)): json.loads(p.read_text()) if p.name == ".zmetadata" else p.read_bytes()
            for p in sorted(path.rglob("*"))
            if p.is_file()
        }
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, x: found.update({name: np.asarray(x).tolist()}) if isinstance(x, h5py.Dataset) else None
        )
    return found


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_a_file_holds_what_the_slots_hold(trained, tmp_path, suffix):
    mdata, _ = trained
    before = str(mdata)
    found = impute(trained, tmp_path / f"x.{suffix}")
    expected = mdata["rna"].obsm["jamie_imputed_protein"]
    assert_allclose(found.X, expected, atol=1e-6)
    assert list(found.var_names) == list(mdata["protein"].var_names)
    of_another = "jamie_novelty_protein"  # may be that of another model, which placed the cells
    assert found.obs.equals(mdata["rna"].obs.drop(columns=of_another))
    assert found.uns["jamie_imputed_protein"]["scale"] == mdata["rna"].uns["jamie_imputed_protein"]["scale"]
    assert str(mdata) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"x.{suffix}"]
    some = impute(trained, tmp_path / f"some.{suffix}", features=["protein5", "protein2"])
    assert_allclose(some.X, expected[["protein5", "protein2"]], atol=1e-6)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_half_precision_and_sparse_files(trained, tmp_path, suffix):
    expected = trained[0]["rna"].obsm["jamie_imputed_protein"].to_numpy()
    half = impute(trained, tmp_path / f"half.{suffix}", dtype="float16").X
    assert half.dtype == np.float16
    assert_allclose(half, expected, atol=2e-3)
    few = impute(trained, tmp_path / f"few.{suffix}", threshold=0.5).X
    assert sparse.issparse(few)
    assert_allclose(few.toarray(), np.where(np.abs(expected) > 0.5, expected, 0), atol=1e-6)
    assert 0 < few.nnz < expected.size


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_bounds_and_draws_are_written_in_the_same_pass(trained, tmp_path, monkeypatch, suffix):
    mdata, model = trained
    expected = jm.tl.impute(mdata, model, source="rna", target="protein", interval=0.9, n_samples=2, copy=True)
    translate, calls = type(model).translate, []
    monkeypatch.setattr(type(model), "translate", lambda *given: calls.append(given) or translate(*given))
    found = impute(trained, tmp_path / f"x.{suffix}", interval=0.9, n_samples=2)
    assert len(calls) == -(-54 // STEP)
    layers = jm.get.imputed(expected, source="rna", target="protein").layers
    assert sorted(filter(None, found.layers)) == sorted(filter(None, layers))
    for key, values in layers.items():
        assert_allclose(found.layers[key], values, atol=1e-6)
    few = impute(trained, tmp_path / f"few.{suffix}", interval=0.9, threshold=0.5).layers
    for key, no_narrower in (("jamie_imputed_lower", np.greater_equal), ("jamie_imputed_upper", np.less_equal)):
        bound = layers[key]
        small = (np.abs(bound) <= 0.5) & no_narrower(bound, 0)
        assert_allclose(few[key].toarray(), np.where(small, 0, bound), atol=1e-6)


def test_a_file_can_be_read_lazily(trained, tmp_path):
    found = impute(trained, tmp_path / "x.zarr")
    lazy = read_elem_lazy(zarr.open_group(tmp_path / "x.zarr", mode="r")["X"])
    assert lazy.chunksize[0] == STEP
    assert_array_equal(lazy[10:20].compute(), found.X[10:20])


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize("how", [{}, {"threshold": 0.5}], ids=["dense", "sparse"])
@pytest.mark.parametrize("cut", [0, 3, "in a block"])
def test_a_run_that_was_cut_off_goes_on_to_the_same_content(
    trained, whole, tmp_path, monkeypatch, suffix, how, cut, capsys
):
    expected, out = whole(suffix, how), tmp_path / f"x.{suffix}"
    translate, calls = type(trained[1]).translate, []

    def until_cut(*given):
        calls.append(given)
        if cut != "in a block" and len(calls) > cut:
            raise KeyboardInterrupt
        return translate(*given)

    def until_noted(log, noted):
        if len(calls) > 2:  # the block is written, but not yet said to be
            raise KeyboardInterrupt
        note(log, noted)

    note = _stream.note
    with monkeypatch.context() as patched:
        patched.setattr(type(trained[1]), "translate", until_cut)
        if cut == "in a block":
            patched.setattr(_stream, "note", until_noted)
        with pytest.raises(KeyboardInterrupt):
            impute(trained, out, **how)
    assert not out.exists()
    done, calls[:] = len(calls) - 1, []
    monkeypatch.setattr(type(trained[1]), "translate", lambda *given: calls.append(given) or translate(*given))
    jm.settings.verbosity = "info"
    impute(trained, out, **how)
    assert len(calls) == -(-54 // STEP) - done
    assert ("going on with" in capsys.readouterr().err) == (done > 0)
    assert content(out) == expected


def test_a_run_with_other_settings_starts_afresh(trained, tmp_path, monkeypatch):
    out = tmp_path / "x.zarr"
    with monkeypatch.context() as patched:
        patched.setattr(_stream, "note", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            impute(trained, out, dtype="float16")
    (tmp_path / "x.zarr.part.json").write_text(
        json.dumps({"identity": "another", "there": {"rows": {"X": 7}, "digests": {}}})
    )
    assert impute(trained, out).X.dtype == np.float32


def test_a_damaged_part_is_written_again(trained, tmp_path):
    out = tmp_path / "x.h5ad"
    expected = content_of = impute(trained, out).X
    out.with_name("x.h5ad.part").write_bytes(b"no file")
    out.with_name("x.h5ad.part.json").write_text("{")
    assert_array_equal(impute(trained, out).X, content_of)
    assert_array_equal(ad.read_h5ad(out).X, expected)


@pytest.mark.parametrize("suffix", ["h5mu", "zarr"])
def test_a_completed_file_is_what_complete_returns(trained, tmp_path, suffix):
    mdata, model = trained
    mdata["protein"].X = np.asarray(mdata["protein"].X)
    expected, out = jm.tl.complete(mdata, model), tmp_path / f"x.{suffix}"
    assert jm.tl.complete(mdata, model, out=out) is None
    found = mudata.read_h5mu(out) if suffix == "h5mu" else mudata.read_zarr(out)
    assert_array_equal(found.obsm["X_jamie"], expected.obsm["X_jamie"])
    for name, adata in expected.mod.items():
        assert type(found[name].X) is type(adata.X)
        assert found[name].X.dtype == adata.X.dtype
        assert abs(found[name].X - adata.X).max() == 0
        assert found[name].obs["jamie_imputed"].equals(adata.obs["jamie_imputed"])


def test_what_cannot_be_written_is_said_before_anything_is(trained, tmp_path):
    mdata, model = trained
    how = {"source": "rna", "target": "protein"}
    with pytest.raises(ValueError, match=r"`out` to be one of .*h5ad.*zarr.*found '.csv'"):
        jm.tl.impute(mdata, model, **how, out=tmp_path / "x.csv")
    with pytest.raises(FileNotFoundError, match="expected a folder to write to"):
        jm.tl.impute(mdata, model, **how, out=tmp_path / "none" / "x.zarr")
    with pytest.raises(ValueError, match="`dtype`"):
        jm.tl.impute(mdata, model, **how, out=tmp_path / "x.zarr", dtype="int8")
    for threshold in (-0.1, "0.1", float("nan")):
        with pytest.raises(ValueError, match=r"`threshold` as a number of at least 0, found .*; pass"):
            jm.tl.impute(mdata, model, **how, out=tmp_path / "x.zarr", threshold=threshold)
    with pytest.raises(ValueError, match=r"expected `out` with dtype='float16'.*pass out="):
        jm.tl.impute(mdata, model, **how, dtype="float16")
    with pytest.raises(ValueError, match=r"h5mu.*zarr"):
        jm.tl.complete(mdata, model, out=tmp_path / "x.h5ad")
    assert not list(tmp_path.iterdir())


OTHERS = {
    "a folder": lambda path: (path.with_suffix(".zarr") / "mine").mkdir(parents=True),
    "a file": lambda path: path.with_suffix(".h5ad").write_text("mine"),
    "an AnnData": lambda path: jm.datasets.toy()["rna"].write_h5ad(path.with_suffix(".h5ad")),
    "a store": lambda path: zarr.open_group(path.with_suffix(".zarr"), mode="w").create_array("x", data=np.ones(3)),
}


@pytest.mark.parametrize("write", OTHERS.values(), ids=OTHERS)
def test_what_was_not_written_here_is_never_replaced(trained, tmp_path, write, monkeypatch):
    write(tmp_path / "x")
    (out,) = tmp_path.iterdir()
    before = content(out) if out.is_dir() else out.read_bytes()
    monkeypatch.setattr(_impute, "open_for_model", lambda *_, **__: pytest.fail("computed before it was checked"))
    with pytest.raises(ValueError, match=r"expected nothing at .*, or what jamie wrote there before, found another"):
        impute(trained, out)
    assert (content(out) if out.is_dir() else out.read_bytes()) == before
    part = out.with_name(f"x{'.zarr' if out.suffix == '.h5ad' else '.h5ad'}.part")
    out.rename(part)  # nor where the unfinished would be
    with pytest.raises(ValueError, match=r"expected nothing at .*\.part`"):
        impute(trained, part.with_suffix(""))
    assert [path.name for path in tmp_path.iterdir()] == [part.name]


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize("how", ["again", "empty", "link"])
def test_what_was_written_here_is_replaced_and_links_are_followed(trained, tmp_path, suffix, how):
    out = real = tmp_path / f"x.{suffix}"
    if how == "link":
        real = tmp_path / f"real.{suffix}"
        impute(trained, real, dtype="float16")
        out.symlink_to(real)
    elif how == "empty":
        out.mkdir() if suffix == "zarr" else out.touch()
    else:
        impute(trained, out, dtype="float16")
    assert impute(trained, out).X.dtype == np.float32
    assert out.is_symlink() == (how == "link")
    assert {path.name for path in tmp_path.iterdir()} == {out.name, real.name}


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize("error", [OSError("No space left on device"), ValueError("not a number")])
def test_an_error_leaves_nothing_and_the_old_file(trained, tmp_path, monkeypatch, suffix, error):
    out = tmp_path / f"x.{suffix}"
    before = impute(trained, out, dtype="float16").X
    translate, calls = type(trained[1]).translate, []

    def fail(*given):
        calls.append(given)
        if len(calls) > 3:
            raise error
        return translate(*given)

    monkeypatch.setattr(type(trained[1]), "translate", fail)
    with pytest.raises(type(error), match=r"could not write .*No space left.*Nothing was kept; make room|not a number"):
        impute(trained, out)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    found = ad.read_h5ad(out) if suffix == "h5ad" else ad.read_zarr(out)
    assert_array_equal(found.X, before)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize("fails_at", [1, 3])
def test_a_disk_is_not_filled_to_its_end(trained, tmp_path, monkeypatch, suffix, fails_at):
    """HDF5 may end the process on a full disk: none is left to it."""
    usage, calls = shutil.disk_usage, []

    def almost_full(folder):
        calls.append(folder)
        return usage(folder)._replace(free=1_000 if len(calls) >= fails_at else 10**12)

    monkeypatch.setattr(shutil, "disk_usage", almost_full)
    with pytest.raises(OSError, match=r"expected 17 MB of room in .*, found 0; make room, or pass another `out=`"):
        impute(trained, tmp_path / f"x.{suffix}")
    assert not list(tmp_path.iterdir())


def test_a_dense_file_that_cannot_fit_is_refused_before_it_is_computed(trained, tmp_path, monkeypatch):
    usage, almost = shutil.disk_usage, _stream.SPARE + 54 * 12 * 4 - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(folder)._replace(free=almost))
    monkeypatch.setattr(type(trained[1]), "translate", lambda *_: pytest.fail("computed before it was checked"))
    with pytest.raises(OSError, match="MB of room in"):
        impute(trained, tmp_path / "x.h5ad")


def test_a_zarr_file_which_is_compressed_may_fit_where_its_values_would_not(trained, tmp_path, monkeypatch):
    usage, almost = shutil.disk_usage, _stream.SPARE + 54 * 12 * 4 - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(folder)._replace(free=almost))
    assert impute(trained, tmp_path / "x.zarr").n_obs == 54


def test_the_digest_tells_values_and_settings_apart():
    x = np.arange(3_000, dtype=np.float32)  # of so many, numpy shows the first and last
    other = np.where(x == 1_500, -1, x)
    found = [_stream.digest(*parts) for parts in ((x,), (other,), (x, "a"), (x, "b"), (x, None), ("a", x))]
    assert len(set(found)) == len(found)
    assert _stream.digest(x.copy(), "a") == found[2]


def test_a_sparse_block_takes_its_values_and_their_places():
    x = sparse.random(20, 9, 0.3, "csr", dtype=np.float32, rng=np.random.default_rng(0))
    assert _stream._n_bytes(x) == 8 * x.nnz
    assert _stream._n_bytes(x.toarray()) == 4 * 20 * 9


@pytest.mark.parametrize("error", [errno.ENOENT, errno.ENOTEMPTY, errno.EACCES])
@pytest.mark.parametrize("often", [2, 10**6])
def test_a_folder_in_which_threads_of_zarr_still_write_is_removed(tmp_path, monkeypatch, error, often):
    """They are not waited for where one of them met a full disk."""
    rmtree, failed = shutil.rmtree, []

    def fails(path):
        failed.append(path)
        if len(failed) <= often:
            raise OSError(error, "of another thread")
        rmtree(path)

    folder = tmp_path / "x.zarr.part"
    folder.mkdir()
    monkeypatch.setattr(shutil, "rmtree", fails)
    monkeypatch.setattr(_unfinished, "TRIES", 5)
    is_waited_for = error != errno.EACCES and often == 2
    with contextlib.nullcontext() if is_waited_for else pytest.raises(OSError, match="of another thread"):
        _unfinished.remove(folder)
    assert folder.exists() != is_waited_for
    assert len(failed) == (3 if is_waited_for else 1 if error == errno.EACCES else 5)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_the_second_of_two_writers_is_told_before_it_computes(trained, tmp_path, monkeypatch, suffix):
    out = tmp_path / f"x.{suffix}"
    with ThreadPoolExecutor(1) as other, writing(out, folder=True):
        monkeypatch.setattr(_impute, "open_for_model", lambda *_, **__: pytest.fail("computed before it was told"))
        with pytest.raises(OSError, match=r"another process writes .*; wait for its end, or pass another path"):
            other.submit(impute, trained, out).result()
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())


def test_a_run_that_was_cut_off_before_its_first_block_starts_afresh(trained, tmp_path, monkeypatch):
    out = tmp_path / "x.h5ad"
    with monkeypatch.context() as patched:
        patched.setattr(_stream, "sign", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            impute(trained, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.h5ad.part", "x.h5ad.part.json"]
    impute(trained, out)
    assert [path.name for path in tmp_path.iterdir()] == ["x.h5ad"]


@pytest.mark.parametrize(("suffix", "limit"), [*(("h5ad", limit) for limit in range(6)), ("zarr", 3)])
@pytest.mark.parametrize("at", ["read", "note"])
def test_matrices_are_there_wherever_writing_them_was_cut(tmp_path, monkeypatch, suffix, limit, at):
    """Cut before a block is computed, or once it is written and before that is noted; none is computed for nothing."""
    rng, n, note = np.random.default_rng(0), 2 * STEP - 3, _stream.note
    sources = {"X": sparse.random(n, 4, 0.4, "csr", rng=rng), "layers/dense": rng.normal(size=(n, 4))}
    frame = ad.AnnData(obs=pd.DataFrame(index=list(map(str, range(n)))), var=pd.DataFrame(index=list("abcd")))
    out, calls, reads, cuts = tmp_path / f"x.{suffix}", [], [], [limit]

    def count(what):
        calls.append(what)
        if calls.count(at) > cuts[-1]:
            raise KeyboardInterrupt

    def read(path, rows):
        count("read")
        reads.append((path, rows.start))
        return sources[path][rows]

    monkeypatch.setattr(_stream, "note", lambda log, noted: (count("note"), note(log, noted)))
    matrices = {
        path: _stream.Rows(x.shape, x.dtype, sparse.issparse(x), partial(read, path)) for path, x in sources.items()
    }
    given = out, frame.write_h5ad if suffix == "h5ad" else frame.write_zarr, matrices, "these"
    is_cut = limit < (4 if at == "read" else 5)  # one note more: that there is nothing yet
    if is_cut:
        with pytest.raises(KeyboardInterrupt):
            _stream.stream(*given)
        assert not out.exists()
    cuts.append(100)
    _stream.stream(*given)
    found = ad.read_h5ad(out) if suffix == "h5ad" else ad.read_zarr(out)
    assert_array_equal(found.X.toarray(), sources["X"].toarray())
    assert_array_equal(found.layers["dense"], sources["layers/dense"])
    assert len(reads) == 4 + (is_cut and at == "note" and limit > 0)
    assert list(dict.fromkeys(reads)) == [(path, start) for start in (0, STEP) for path in sources]  # cells together
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


class Cut:
    """Matrices whose writing is cut after some blocks, and what it leaves, in a folder of its own."""

    def __init__(self, folder, suffix):
        rng, n = np.random.default_rng(0), 3 * STEP - 3
        self.sources = {"X": sparse.random(n, 4, 0.4, "csr", rng=rng), "layers/dense": rng.normal(size=(n, 4))}
        names = [f"cell{i}" for i in range(n)]
        obs = pd.DataFrame({"kind": pd.Categorical(["a", "b", "c"] * (n // 3)), "size": np.arange(n)}, index=names)
        frame = ad.AnnData(obs=obs, var=pd.DataFrame(index=list("abcd")))
        self.write_frame = frame.write_h5ad if suffix == "h5ad" else frame.write_zarr
        self.out, self.left = folder / f"x.{suffix}", 4
        with pytest.raises(KeyboardInterrupt):
            self.write()
        self.left = 100
        self.files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def write(self):
        rows = {
            path: _stream.Rows(x.shape, x.dtype, sparse.issparse(x), partial(self._read, path))
            for path, x in self.sources.items()
        }
        _stream.stream(self.out, self.write_frame, rows, "these")

    def _read(self, path, rows):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.sources[path][rows]

    def with_damage(self, folder, file, raw):
        """As it was left, but for one file."""
        shutil.rmtree(folder)
        for path, content in self.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw if path == file else content)
        self.left = 100
        self.write()
        found = ad.read_h5ad(self.out) if self.out.suffix == ".h5ad" else ad.read_zarr(self.out)
        assert_array_equal(found.X.toarray(), self.sources["X"].toarray())
        assert_array_equal(found.layers["dense"], self.sources["layers/dense"])
        assert list(found.obs["kind"]) == ["a", "b", "c"] * (len(found) // 3)
        assert list(found.obs["size"]) == list(range(len(found)))
        assert [found.obs_names[0], found.obs_names[-1]] == ["cell0", f"cell{len(found) - 1}"]
        return 100 - self.left


@pytest.mark.parametrize(
    ("suffix", "n"),
    [
        ("h5ad", 20),
        ("zarr", 8),
        pytest.param("h5ad", 200, marks=pytest.mark.slow),
        pytest.param("zarr", 60, marks=pytest.mark.slow),
    ],
)
def test_what_a_cut_run_left_is_not_gone_on_with_if_it_was_damaged(tmp_path, suffix, n):
    """Whole as it was, two blocks are missing; after any other change of a byte the file is right all the same."""
    folder = tmp_path / "out"
    folder.mkdir()
    cut, rng = Cut(folder, suffix), np.random.default_rng(0)
    assert cut.with_damage(folder, None, b"") == 2
    n_anew = 0
    for _ in range(n):
        file = list(cut.files)[rng.integers(len(cut.files))]
        raw = bytearray(cut.files[file])
        at = int(rng.integers(max(len(raw), 1)))
        raw[at : at + 8] = rng.bytes(len(raw[at : at + 8]))
        n_anew += cut.with_damage(folder, file, bytes(raw[:at] if rng.random() < 0.2 else raw)) == 6
    assert n_anew > n / 10


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize("what", ["X/data", "X/indices", "X/indptr", "layers/dense", "obs/size", "obs/_index"])
def test_a_changed_value_of_what_a_cut_run_left_is_noticed(tmp_path, caplog, suffix, what):
    folder = tmp_path / "out"
    folder.mkdir()
    cut = Cut(folder, suffix)
    part = folder / f"x.{suffix}.part"
    with (
        h5py.File(part, "r+")
        if suffix == "h5ad"
        else contextlib.nullcontext(zarr.open_group(part, mode="a", use_consolidated=False)) as file
    ):
        array = file[what] if hasattr(file[what], "shape") else file[f"{what}/values"]  # names that may be missing
        array[1:2] = np.array(["other"], dtype=object) if what == "obs/_index" else array[1:2] + 1
    cut.left = 100
    cut.write()
    assert 100 - cut.left == 6
    assert "is damaged, or of other tables: it is written anew" in caplog.text
    found = ad.read_h5ad(cut.out) if suffix == "h5ad" else ad.read_zarr(cut.out)
    assert_array_equal(found.X.toarray(), cut.sources["X"].toarray())
    assert list(found.obs["size"]) == list(range(len(found)))


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_a_cut_run_is_not_gone_on_with_for_other_tables(tmp_path, suffix):
    cut = Cut(tmp_path, suffix)
    names = [f"cell{i}" for i in range(cut.sources["X"].shape[0])]
    frame = ad.AnnData(obs=pd.DataFrame({"note": "corrected"}, index=names), var=pd.DataFrame(index=list("abcd")))
    cut.write_frame = frame.write_h5ad if suffix == "h5ad" else frame.write_zarr
    cut.write()
    found = ad.read_h5ad(cut.out) if suffix == "h5ad" else ad.read_zarr(cut.out)
    assert list(found.obs["note"]) == ["corrected"] * len(found)
    assert_array_equal(found.X.toarray(), cut.sources["X"].toarray())


@pytest.mark.parametrize("suffix", ["h5mu", "zarr"])
def test_a_completed_file_is_of_the_values_of_the_call_that_ends_it(tmp_path, monkeypatch, suffix):
    """What is copied as it stands is no result of the model, and is looked at again."""
    rna, protein = (adata.copy() for adata in jm.datasets.toy().mod.values())
    for adata in (rna, protein):
        adata.layers["counts"] = adata.X.copy()
    mdata = mudata.MuData({"rna": rna, "protein": protein[protein.obs_names.isin(rna.obs_names)].copy()})
    model = jm.tl.train(mdata, max_steps=2, layer="counts")
    out, note, calls = tmp_path / f"x.{suffix}", _stream.note, []

    def until_cut(log, noted):
        note(log, noted)
        calls.append(noted)
        if len(calls) == 4:
            raise KeyboardInterrupt

    mdata["rna"].X = np.full(mdata["rna"].shape, 1, np.float32)
    with monkeypatch.context() as patched:
        patched.setattr(_stream, "note", until_cut)
        with pytest.raises(KeyboardInterrupt):
            jm.tl.complete(mdata, model, out=out)
    mdata["rna"].X = np.full(mdata["rna"].shape, 2, np.float32)
    jm.tl.complete(mdata, model, out=out)
    found = mudata.read_h5mu(out) if suffix == "h5mu" else mudata.read_zarr(out)
    assert set(np.unique(np.asarray(found["rna"].X))) == {2}


def test_a_nullable_text_column_is_written(trained, tmp_path):
    mdata, model = trained[0].copy(), trained[1]
    text = pd.array([f"x{i}" for i in range(mdata["rna"].n_obs)], dtype="string")
    text[3] = pd.NA
    mdata["rna"].obs["text"] = text
    found = impute((mdata, model), tmp_path / "x.h5ad")
    assert list(found.obs["text"].astype(object)[:3]) == ["x0", "x1", "x2"]
    assert found.obs["text"].isna().sum() == 1


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize("is_same", [True, False])
def test_what_a_run_left_that_was_killed_while_it_compared_goes(tmp_path, suffix, is_same):
    cut = Cut(tmp_path, suffix)
    (tmp_path / f"x.{suffix}.part.frame").write_bytes(b"half of a table")
    if not is_same:
        (tmp_path / f"x.{suffix}.part.json").write_text("{}")
    cut.write()
    assert [path.name for path in tmp_path.iterdir()] == [cut.out.name]

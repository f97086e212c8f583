"""Finished data sets in a folder: made once, read from then on, and never served broken."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import threading
import warnings
from dataclasses import replace

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import pooch
import pytest
from numpy.testing import assert_array_equal

from jamie import JamieError
from jamie.datasets import _cache, _source, toy
from jamie.datasets._assemble import assemble
from jamie.datasets._cache import obtain
from jamie.datasets._public import PublicSet
from jamie.datasets._source import RawFile

REPOSITORY, COMMIT = "owner/name", "c0ffee"
TABLES = {"a b.csv": "1,2\n3,4\n5,6\n", "more/c.csv": "7\n8\n9\n"}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(_source, "RETRIES", 0)
    monkeypatch.delenv("JAMIE_DATA_DIR", raising=False)


@pytest.fixture
def source(tmp_path_factory):
    """Folder with the files of `public`, laid out as a mirror is."""
    folder = tmp_path_factory.mktemp("source")
    for path, text in TABLES.items():
        file = folder / REPOSITORY / COMMIT / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def build(files):
    modalities = {}
    for name, file in (("x", "a b.csv"), ("y", "c.csv")):
        values = np.loadtxt(files[file], delimiter=",", ndmin=2, dtype=np.float32)
        modalities[name] = ad.AnnData(values, obs=pd.DataFrame(index=["i", "j", "k"]))
        modalities[name].var_names = [f"{name}{j}" for j in range(values.shape[1])]
    return assemble(modalities, cells=pd.DataFrame({"cell_type": pd.Categorical(list("uvu"))}, index=["i", "j", "k"]))


@pytest.fixture
def public():
    files = [
        RawFile(REPOSITORY, COMMIT, path, hashlib.sha256(text.encode()).hexdigest(), len(text))
        for path, text in TABLES.items()
    ]
    return PublicSet(
        name="mini",
        description="two tables",
        n_cells=3,
        modalities=("x", "y"),
        files=tuple(files),
        build=build,
        publication="Somebody 2020",
        doi="10.1/2",
        licence="none stated",
        note="mind this",
    )


def test_a_set_is_fetched_built_and_kept_and_then_read_without_a_network(serve, source, public, tmp_path):
    server = serve(source)
    first = obtain(public, tmp_path / "new" / "folder")
    assert len(server.asked) == len(TABLES)
    server.shutdown()
    second = obtain(public, str(tmp_path / "new" / "folder"))
    for mdata in (first, second):
        assert_array_equal(mdata["x"].X, [[1, 2], [3, 4], [5, 6]])
        assert_array_equal(mdata["y"].X, [[7], [8], [9]])
        assert list(mdata.obs["cell_type"]) == ["u", "v", "u"]
        assert mdata.uns["licence"] == "none stated"
        assert mdata.uns["publication"] == "Somebody 2020"
        assert mdata.uns["doi"] == "10.1/2"
        assert mdata.uns["note"] == "mind this"
        assert mdata.uns["source"].splitlines() == [
            "https://github.com/owner/name/blob/c0ffee/a%20b.csv",
            "https://github.com/owner/name/blob/c0ffee/more/c.csv",
        ]
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["mini.h5mu"]


def test_one_line_says_what_was_fetched_and_where_it_is(serve, source, public, tmp_path, capsys):
    serve(source)
    obtain(public, tmp_path)
    assert capsys.readouterr().err.splitlines() == [f"jamie: fetched mini (0.0 MB) and kept it as {tmp_path}/mini.h5mu"]
    obtain(public, tmp_path)
    assert capsys.readouterr().err == ""


def test_a_folder_can_stand_in_for_the_source(source, public, tmp_path, monkeypatch):
    monkeypatch.setenv("JAMIE_MIRROR", f"{source.as_uri()}/")
    assert obtain(public, tmp_path).n_obs == 3


def test_the_source_is_github_unless_a_mirror_is_named(public, monkeypatch):
    monkeypatch.delenv("JAMIE_MIRROR", raising=False)
    addresses = [file.address(_source.source_host()) for file in public.files]
    assert addresses[0] == "https://raw.githubusercontent.com/owner/name/c0ffee/a%20b.csv"


@pytest.mark.parametrize(
    "mirror",
    [
        "ftp://host",
        "mirror.org",
        "http://",
        "http:///x",
        "https://host/x?token=1",
        "file://host/raw",
        "file:///a#b",
        "file:",
    ],
)
def test_a_mirror_of_another_kind_is_refused(mirror, public, tmp_path, monkeypatch):
    monkeypatch.setenv("JAMIE_MIRROR", mirror)
    with pytest.raises(ValueError, match=r"JAMIE_MIRROR to be an address such as https://.*found .*correct it, or"):
        obtain(public, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_address_of_a_folder_is_told(source, public, tmp_path, monkeypatch):
    monkeypatch.setenv("JAMIE_MIRROR", str(source))
    with pytest.raises(ValueError, match=rf"for that folder set JAMIE_MIRROR={source.as_uri()}"):
        obtain(public, tmp_path)


@pytest.mark.parametrize("scheme", ["HTTP", "http"])
def test_a_password_is_not_told(scheme, serve, source, public, tmp_path, monkeypatch):
    server = serve(source)
    server.mode = "broken"
    monkeypatch.setenv("JAMIE_MIRROR", f" {scheme}://me:secret@127.0.0.1:{server.server_port}/ ")
    with pytest.raises(OSError, match="the server answered 503") as caught:
        obtain(public, tmp_path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("flipped", r"expected 'a b.csv' from http.* with SHA-256 [0-9a-f]{12}…, found other bytes: it was changed"),
        ("page", r"expected 'a b.csv' from http.*found 4 instead of 12 bytes: .*the page of a proxy"),
        ("endless", r"expected 'a b.csv' from http.*found more than its 12 bytes"),
        ("half", r"could not fetch 'a b.csv' from http.*: the connection broke off"),
        ("broken", r"could not fetch 'a b.csv' from http.*: the server answered 503"),
    ],
)
def test_what_is_not_the_published_file_is_refused_and_nothing_is_kept(mode, message, serve, source, public, tmp_path):
    server = serve(source)
    server.mode = mode
    with pytest.raises(OSError, match=message) as caught:
        obtain(public, tmp_path)
    assert isinstance(caught.value, JamieError)
    assert "correct JAMIE_MIRROR or unset it" in str(caught.value)
    assert f"put a finished mini.h5mu into {str(tmp_path)!r}" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    server.mode = "whole"
    assert obtain(public, tmp_path).n_obs == 3


def test_a_connection_that_breaks_once_is_tried_again(serve, source, public, tmp_path, monkeypatch):
    monkeypatch.setattr(_source, "RETRIES", 1)
    server = serve(source)
    server.mode = "half"
    monkeypatch.setattr("time.sleep", lambda _: setattr(server, "mode", "whole"))
    assert obtain(public, tmp_path).n_obs == 3


def test_no_network(serve, source, public, tmp_path):
    server = serve(source)
    server.shutdown()
    server.server_close()
    with pytest.raises(OSError, match=r"could not fetch 'a b.csv' from http.*: no connection \(.*refused\). Nothing"):
        obtain(public, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there(serve, tmp_path_factory, public, tmp_path):
    serve(tmp_path_factory.mktemp("empty"))
    with pytest.raises(OSError, match="the server answered 404"):
        obtain(public, tmp_path)


def test_a_folder_that_lacks_the_file(public, tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("JAMIE_MIRROR", tmp_path_factory.mktemp("empty").as_uri())
    with pytest.raises(OSError, match=r"could not fetch 'a b.csv' from file://.*: No such file or directory. Nothing"):
        obtain(public, tmp_path)


def test_a_proxy_that_cannot_be_is_no_other_file(public, tmp_path, monkeypatch):
    monkeypatch.setenv("JAMIE_MIRROR", "http://nowhere.invalid")
    monkeypatch.setenv("http_proxy", "garbage://x")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(OSError, match=r"could not fetch 'a b.csv' from http://nowhere.invalid"):
        obtain(public, tmp_path)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_fetched(
    serve, source, public, tmp_path, monkeypatch
):
    server = serve(source)

    def refused(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(_cache.tempfile, "TemporaryFile", refused)
    with pytest.raises(OSError, match=r"'mini.h5mu' in .*, or a folder that it can be written to, found neither"):
        obtain(public, tmp_path)
    assert server.asked == []


FOLDERS = {
    "a file": (lambda tmp_path: tmp_path / "file", ValueError, "found a file at"),
    "no text": (lambda _: "", ValueError, "found none in ''"),
    "too long": (lambda tmp_path: tmp_path / ("x" * 300), ValueError, "name too long"),
    "nobody's home": (lambda _: "~nobody at all/x", ValueError, "home directory"),
    "a null": (lambda _: "a\0b", ValueError, "null"),
    "a number": (lambda _: 3, TypeError, "expected `folder` to be text or a Path, found 3"),
    "no": (lambda _: False, TypeError, "found False"),
    "bytes": (lambda _: b"data", TypeError, "found b'data'"),
}


@pytest.mark.parametrize(("folder", "kind", "message"), FOLDERS.values(), ids=FOLDERS)
def test_what_is_no_folder_is_refused(folder, kind, message, public, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(kind, match=f"(?i){message}") as caught:
        obtain(public, folder(tmp_path))
    assert isinstance(caught.value, JamieError)


def test_a_folder_in_the_place_of_the_file_is_refused(serve, source, public, tmp_path):
    server = serve(source)
    (tmp_path / "mini.h5mu").mkdir()
    with pytest.raises(ValueError, match=r"expected no folder at .*mini.h5mu"):
        obtain(public, tmp_path)
    assert server.asked == []


def test_a_disk_without_room_is_refused_before_anything_is_fetched(serve, source, public, tmp_path, monkeypatch):
    server = serve(source)
    usage = type("Usage", (), {"free": _cache.ROOM * public.size - 1})
    monkeypatch.setattr(_cache.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"expected 0 MB of room for mini in .*make room, or pass another `folder=`"):
        obtain(public, tmp_path)
    assert server.asked == []


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("Disable slist\n on")]
)
def test_a_disk_that_fills_up_leaves_nothing(failure, serve, source, public, tmp_path, monkeypatch):
    serve(source)

    def write(_, path, **__):
        path.write_bytes(b"half a file")
        raise failure

    monkeypatch.setattr(mudata.MuData, "write", write)
    with pytest.raises(OSError, match=r"could not write .*mini.h5mu.*(No space left|Disable slist).*make room"):
        obtain(public, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_folder_for_temporary_files_is_named(source, public, tmp_path, monkeypatch):
    monkeypatch.setenv("JAMIE_MIRROR", source.as_uri())

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_source, "_from_folder", full)
    with pytest.raises(OSError, match=r"could not keep 'a b.csv' in .*No space left on device; make room, or set"):
        obtain(public, tmp_path)


def test_what_a_killed_process_left_is_cleaned_away(serve, source, public, tmp_path):
    serve(source)
    for name in (".mini.part.h5mu", ".mini.h5mu.lock"):
        (tmp_path / name).write_bytes(b"half")
    obtain(public, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mini.h5mu"]


def test_two_that_want_a_set_make_it_once(serve, source, public, tmp_path, monkeypatch):
    """As two threads here; the lock does not tell them from two processes."""
    server, make, begun = serve(source), _cache._make, threading.Event()

    def slowly(*given):
        begun.set()
        waiting.wait(10)
        make(*given)

    waiting = threading.Event()
    monkeypatch.setattr(_cache, "_make", slowly)
    monkeypatch.setattr("time.sleep", lambda _: waiting.set())
    found = []
    first = threading.Thread(target=lambda: found.append(obtain(public, tmp_path)))
    first.start()
    begun.wait(10)
    found.append(obtain(public, tmp_path))
    first.join()
    assert len(server.asked) == len(public.files)
    assert_array_equal(found[0]["x"].X, found[1]["x"].X)
    assert [path.name for path in tmp_path.iterdir()] == ["mini.h5mu"]


def test_a_missing_package_is_named_before_anything_is_fetched(serve, source, public, tmp_path, monkeypatch):
    server = serve(source)
    monkeypatch.setattr(_cache, "find_spec", lambda _: None)
    object.__setattr__(public, "needs", ("rdata", "xlrd"))
    with pytest.raises(
        ImportError, match=r"rdata and xlrd to read the files of mini.*pip install 'jamie-tools\[data\]'"
    ):
        obtain(public, tmp_path)
    assert server.asked == []


@pytest.mark.parametrize("damage", [lambda file: file[: len(file) // 2], lambda _: b"", lambda _: b"no HDF5 at all"])
def test_a_damaged_file_is_made_again(damage, serve, source, public, tmp_path, capsys):
    serve(source)
    whole = obtain(public, tmp_path)
    path = tmp_path / "mini.h5mu"
    path.write_bytes(damage(path.read_bytes()))
    capsys.readouterr()
    assert_array_equal(obtain(public, tmp_path)["x"].X, whole["x"].X)
    assert "mini.h5mu was damaged" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_kept_until_there_is_a_better_one(serve, source, public, tmp_path):
    server = serve(source)
    obtain(public, tmp_path)
    path = tmp_path / "mini.h5mu"
    path.write_bytes(b"damaged")
    server.mode = "broken"
    with pytest.raises(OSError, match="the server answered 503"):
        obtain(public, tmp_path)
    assert path.read_bytes() == b"damaged"


OTHERS = {
    "an AnnData": lambda path: ad.AnnData(np.ones((3, 2))).write_h5ad(path),
    "cells of one name": lambda path: _write_twice(path),
}


def _write_twice(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = ad.AnnData(np.ones((2, 2), dtype=np.float32), obs=pd.DataFrame(index=["i", "i"]))
        mudata.MuData({"x": adata}).write(path)


@pytest.mark.parametrize("write", OTHERS.values(), ids=OTHERS)
def test_a_file_of_somebody_else_is_never_taken_away(write, serve, source, public, tmp_path):
    serve(source)
    path = tmp_path / "mini.h5mu"
    write(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"to be mini as a MuData, found another file \(.*move it, or pass another"):
        obtain(public, tmp_path)
    assert path.read_bytes() == before


def test_an_error_of_the_system_says_nothing_of_the_file(public, tmp_path, monkeypatch):
    path = tmp_path / "mini.h5mu"
    path.write_bytes(b"whole")

    def fail(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(mudata, "read_h5mu", fail)
    with pytest.raises(OSError, match=r"could not read .*mini.h5mu.*Input/output error"):
        obtain(public, tmp_path)
    assert path.read_bytes() == b"whole"


def test_warnings_as_errors_are_no_damage(public, tmp_path):
    shared = {name: ad.AnnData(np.ones((3, 2), dtype=np.float32)) for name in "xy"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mudata.MuData(shared).write(tmp_path / "mini.h5mu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert obtain(public, tmp_path).shape == (3, 4)


def rewritten(path, change):
    mdata = mudata.read_h5mu(path)
    change(mdata)
    mdata.write(path)


CHANGES = {
    "a value": lambda mdata: mdata["x"].X.__setitem__((0, 0), 9),
    "a name of a cell": lambda mdata: setattr(mdata.mod["y"], "obs_names", ["z", *mdata["y"].obs_names[1:]]),
    "a label": lambda mdata: mdata.obs["cell_type"].values.__setitem__(0, "v"),
    "a column of features": lambda mdata: mdata.mod["x"].var.insert(0, "gene", "a"),
    "no digest": lambda mdata: mdata.uns.update(sha256=np.zeros(3)),
    "a feature": lambda mdata: setattr(mdata.mod["x"], "var_names", ["z", *mdata["x"].var_names[1:]]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_file_is_kept_aside_and_made_again(change, serve, source, public, tmp_path, capsys):
    serve(source)
    whole = obtain(public, tmp_path)
    rewritten(tmp_path / "mini.h5mu", change)
    capsys.readouterr()
    again = obtain(public, tmp_path)
    assert_array_equal(again["x"].X, whole["x"].X)
    assert list(again["x"].var_names) == ["x0", "x1"]
    assert list(again.obs["cell_type"]) == ["u", "v", "u"]
    assert "mini.h5mu was not as it was written: it is kept as mini.changed.h5mu" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mini.changed.h5mu", "mini.h5mu"]


def test_no_changed_file_takes_the_place_of_another(serve, source, public, tmp_path):
    serve(source)
    obtain(public, tmp_path)
    for value in (7, 8):
        rewritten(tmp_path / "mini.h5mu", lambda mdata, value=value: mdata["x"].X.__setitem__((0, 0), value))
        obtain(public, tmp_path)
    kept = [mudata.read_h5mu(tmp_path / f"mini.changed{end}.h5mu")["x"].X[0, 0] for end in ("", "-2")]
    assert kept == [7, 8]


def test_a_changed_file_that_cannot_be_made_again_is_named_with_the_call_that_reads_it(serve, source, public, tmp_path):
    server = serve(source)
    obtain(public, tmp_path)
    rewritten(tmp_path / "mini.h5mu", CHANGES["a value"])
    server.mode = "broken"
    with pytest.raises(OSError, match=r"or read the changed one that is there, mudata.read_h5mu\('.*mini.h5mu'\)"):
        obtain(public, tmp_path)
    assert mudata.read_h5mu(tmp_path / "mini.h5mu")["x"].X[0, 0] == 9


def test_a_file_of_another_set_is_no_finished_one(serve, source, public, tmp_path, capsys):
    serve(source)
    obtain(public, tmp_path)
    (tmp_path / "mini.h5mu").rename(tmp_path / "maxi.h5mu")
    obtain(replace(public, name="maxi"), tmp_path)
    assert "maxi.h5mu was not as it was written" in capsys.readouterr().err


def test_results_beside_the_data_change_nothing(serve, source, public, tmp_path):
    server = serve(source)
    obtain(public, tmp_path)
    rewritten(tmp_path / "mini.h5mu", lambda mdata: mdata["x"].obsm.update(X_pca=np.zeros((3, 2))))
    server.shutdown()
    assert "X_pca" in obtain(public, tmp_path)["x"].obsm


def test_a_finished_file_of_somebody_else_is_read_as_it_is(public, tmp_path):
    toy().write(tmp_path / "mini.h5mu")
    assert obtain(public, tmp_path).shape == (60, 52)


def test_folder_comes_before_the_environment_and_that_before_the_cache(public, tmp_path, monkeypatch):
    for name in ("given", "set", "cache/jamie"):
        (tmp_path / name).mkdir(parents=True)
        toy(n_cells=60 + len(name)).write(tmp_path / name / "mini.h5mu")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setenv("JAMIE_DATA_DIR", "")
    assert obtain(public).n_obs == 60 + len("cache/jamie")
    monkeypatch.setenv("JAMIE_DATA_DIR", str(tmp_path / "set"))
    assert obtain(public).n_obs == 63
    assert obtain(public, tmp_path / "given").n_obs == 65


def test_threads_that_fetch_at_once_all_get_it(serve, source, public, tmp_path):
    serve(source)
    found = []
    threads = [threading.Thread(target=lambda: found.append(obtain(public, tmp_path).n_obs)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [3] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["mini.h5mu"]


@pytest.mark.real
def test_processes_that_fetch_at_once_all_get_it(serve, raw_dir, tmp_path):
    serve(raw_dir)
    code = "import jamie as jm; print(jm.datasets.scgem().shape)"
    environment = {**os.environ, "JAMIE_DATA_DIR": str(tmp_path)}
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, text=True, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [process.communicate(timeout=120)[0] for process in processes] == ["(177, 61)\n"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["scgem.h5mu"]

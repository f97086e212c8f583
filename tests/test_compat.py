"""What other packages need of the machine."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from jamie import _compat
from jamie._compat import let_numba_cache, version


def test_a_version_is_that_of_the_installed_package():
    for _ in range(2):  # the second time from memory
        assert version("numpy") == np.__version__
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        version("no such package")


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """Neither installation nor home take files: they are files themselves, for root writes to any folder."""
    (tmp_path / "file").touch()
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path / "file")])
    monkeypatch.setattr(_compat, "find_spec", lambda _: spec)
    yield tmp_path
    os.environ.pop("NUMBA_CACHE_DIR", None)


def test_numba_gets_a_folder_where_it_has_none(nowhere):
    let_numba_cache()
    folder = os.environ["NUMBA_CACHE_DIR"]
    assert os.listdir(folder) == []  # noqa: PTH208
    let_numba_cache()
    assert os.environ["NUMBA_CACHE_DIR"] == folder


@pytest.mark.parametrize("where", ["installation", "home", "named"])
def test_numba_is_left_alone_where_it_has_one(nowhere, monkeypatch, where):
    if where == "installation":
        monkeypatch.setattr(_compat, "find_spec", lambda _: SimpleNamespace(submodule_search_locations=[str(nowhere)]))
    elif where == "home":
        monkeypatch.setenv("XDG_CACHE_HOME", str(nowhere))
    else:
        monkeypatch.setenv("NUMBA_CACHE_DIR", "mine")
    let_numba_cache()
    assert os.environ.get("NUMBA_CACHE_DIR", "none") == ("mine" if where == "named" else "none")


@pytest.mark.slow
def test_a_user_without_a_home_draws_in_a_read_only_installation(tmp_path):
    """By a file in the place of the home, and of what Python compiles: root may write to all else."""
    (tmp_path / "file").touch()
    code = (
        "import os, jamie as jm\n"
        "from jamie import _compat\n"
        "from types import SimpleNamespace\n"
        "_compat.find_spec = lambda _: SimpleNamespace(submodule_search_locations=[os.environ['HOME']])\n"
        "mdata = jm.datasets.toy()\n"
        "jm.tl.train(mdata, max_steps=2)\n"
        "jm.pl.embedding(mdata)\n"
        "print(os.environ['NUMBA_CACHE_DIR'])\n"
    )
    home = str(tmp_path / "file")
    environment = {**os.environ, "HOME": home, "XDG_CACHE_HOME": home, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert "jamie-numba-" in done.stdout
    assert not os.path.exists(done.stdout.strip())  # noqa: PTH110

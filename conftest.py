"""Fixtures from the package's own public data, in small steps that depend on each other."""

from __future__ import annotations

import os
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import matplotlib as mpl
import mudata as md
import pytest
import torch

mpl.use("agg")

import jamie as jm

torch.set_num_threads(1)


def pytest_configure(config):
    """Hide GPUs from all tests but those that ask for one: what they compare was computed on a CPU."""
    if "gpu" not in (config.getoption("markexpr") or ""):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    mpl.pyplot.close("all")


@pytest.fixture
def without_pull():
    """Context in which a MuData pulls no columns from its modalities: mudata 0.4 never does."""
    return partial(md.set_options, pull_on_update=False) if hasattr(md, "set_options") else nullcontext


@pytest.fixture
def toy():
    """60 cells, rna and protein, four fifths of them in both."""
    return jm.datasets.toy()


@pytest.fixture(scope="session")
def trained_session():
    mdata = jm.datasets.toy(n_cells=200)
    jm.pp.split(mdata)
    model = jm.tl.train(mdata, max_steps=60)
    return mdata, model


@pytest.fixture
def trained(trained_session):
    """A MuData of its own for each test, and the model that was trained on it, once."""
    mdata, model = trained_session
    return mdata.copy(), model


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the public data sets; tests that ask for it are skipped where there is none."""
    return _folder("JAMIE_DATA_DIR", "data", "no public data sets: set JAMIE_DATA_DIR to the folder that holds them")


@pytest.fixture(scope="session")
def raw_dir() -> Path:
    """Folder of the files that public data sets are built from, at OWNER/REPOSITORY/COMMIT/PATH."""
    return _folder("JAMIE_RAW_DIR", "raw", "no files of public repositories: set JAMIE_RAW_DIR to a folder of them")


def _folder(variable: str, beside: str, reason: str) -> Path:
    named = os.environ.get(variable)
    folder = Path(named) if named else Path(__file__).parents[1] / "shared" / beside
    if not folder.is_dir():
        pytest.skip(reason)
    return folder

"""Three knobs, and a logger that speaks where the user listens."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

import jamie as jm
from jamie._errors import InvalidValueError, WrongTypeError
from jamie._settings import Settings


@pytest.fixture(autouse=True)
def _restored():
    before = jm.settings.verbosity
    yield
    jm.settings.verbosity = before


def test_defaults():
    assert Settings() == Settings(device="auto", n_threads=None)
    assert jm.settings.verbosity == "info"


@pytest.mark.parametrize(("level", "shown"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_verbosity_is_the_least_level_that_is_logged(level, shown, capsys):
    jm.settings.verbosity = level
    assert jm.settings.verbosity == level
    logger = logging.getLogger("jamie")
    for name in ("debug", "info", "warning", "error"):
        getattr(logger, name)("said as %s", name)
    output = capsys.readouterr()
    assert output.err.splitlines() == [
        f"jamie: said as {name}" for name in ("debug", "info", "warning", "error")[-shown:]
    ]
    assert not output.out


@pytest.mark.parametrize("level", ["quiet", "INFO", "warn", "", 10, None, True])
def test_another_level_is_refused_and_nothing_changes(level):
    with pytest.raises(ValueError, match=r"`settings\.verbosity` to be one of .*found"):
        jm.settings.verbosity = level
    assert jm.settings.verbosity == "info"


def test_slots_are_announced_unless_told_otherwise(toy, capsys):
    jm.pp.split(toy)
    assert capsys.readouterr().err == "jamie: added `mdata.obs['jamie_split']`\n"
    jm.settings.verbosity = "warning"
    jm.pp.split(toy)
    assert capsys.readouterr().err == ""


def test_training_takes_device_and_threads_from_the_settings(toy, monkeypatch):
    from jamie.model import _jamie

    seen, fit = [], _jamie.fit

    def watched(*arguments, **options):
        seen.append((torch.get_num_threads(), arguments[0].log_weights.device.type))
        return fit(*arguments, **options)

    monkeypatch.setattr(_jamie, "fit", watched)
    before = torch.get_num_threads()
    monkeypatch.setattr(jm.settings, "n_threads", before + 1)
    monkeypatch.setattr(jm.settings, "device", "cpu")
    jm.tl.train(toy, max_steps=1)
    assert seen == [(before + 1, "cpu")]
    assert torch.get_num_threads() == before


@pytest.fixture
def alone():
    """Settings of its own, with those of the session as they were."""
    return Settings()


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("memory", "memory_gb"),
        ("memory_GB", "memory_gb"),
        ("threads", "n_threads"),
        ("n_thread", "n_threads"),
        ("verbose", "verbosity"),
        ("Device", "device"),
        ("figsize", ""),
    ],
)
def test_a_misspelt_setting_is_refused_with_the_closest(name, close):
    with pytest.raises(InvalidValueError) as caught:
        setattr(jm.settings, name, 3)
    expected = "one of ['device', 'n_threads', 'memory_gb', 'compile', 'verbosity'], found"
    assert expected in str(caught.value)
    assert str(caught.value).endswith(f"{name!r}; did you mean {close!r}?" if close else f"{name!r}")
    assert not hasattr(jm.settings, name)


@pytest.mark.parametrize("value", [1, 4.5, np.int64(2), np.float32(0.5), 1e-7])
def test_memory_is_a_number_of_gigabytes(alone, value):
    alone.memory_gb = value
    assert alone.memory_gb == value
    assert type(alone.memory_gb) is float


@pytest.mark.parametrize(
    ("value", "error"),
    [
        *((value, InvalidValueError) for value in (0, -1, float("nan"), float("inf"), np.float64(-2))),
        *((value, WrongTypeError) for value in ("4", "4 GB", None, True, [4], 4j)),
    ],
)
def test_memory_that_cannot_be_is_refused(alone, value, error):
    with pytest.raises(error, match=r"`settings\.memory_gb`.*found .*; pass e\.g\. 4\.0"):
        alone.memory_gb = value
    assert alone.memory_gb == 4.0


@pytest.mark.parametrize("value", [None, 1, 64, np.int64(2)])
def test_threads_are_a_number_or_as_jamie_chooses(alone, value):
    alone.n_threads = value
    assert alone.n_threads == value
    assert type(alone.n_threads) in (int, type(None))


@pytest.mark.parametrize(
    ("value", "error"),
    [
        *((value, InvalidValueError) for value in (0, -1, np.int64(-4))),
        *((value, WrongTypeError) for value in (2.0, "4", "all", True, [2], float("nan"))),
    ],
)
def test_threads_that_cannot_be_are_refused(alone, value, error):
    with pytest.raises(error, match=r"`settings\.n_threads`.*found"):
        alone.n_threads = value
    assert alone.n_threads is None


@pytest.mark.parametrize("value", ["cpu", "cpu:0", torch.device("cpu")])
def test_a_device_is_text_or_a_device_of_torch(alone, value):
    alone.device = value
    assert alone.device == "cpu"
    alone.device = "auto"
    assert alone.device == "auto"


@pytest.mark.parametrize(
    ("value", "error"),
    [
        *((value, InvalidValueError) for value in ("nonsense", "meta", "gpu", "cpu:3", "", torch.device("meta"))),
        *((value, WrongTypeError) for value in (None, 0, -1, ["cpu"], True, torch.float32)),
    ],
)
def test_a_device_that_is_not_there_is_refused_when_it_is_set(alone, value, error):
    with pytest.raises(error, match=r"`settings\.device` to be .*found .*; pass settings\.device="):
        alone.device = value
    assert alone.device == "auto"


def test_settings_are_checked_when_they_are_made_too():
    with pytest.raises(InvalidValueError, match="memory_gb"):
        Settings(memory_gb=0)
    with pytest.raises(TypeError):
        Settings(memory=4)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_compile_is_a_switch(alone, value):
    with pytest.raises(WrongTypeError, match=r"`settings\.compile` to be True or False, found"):
        alone.compile = value
    assert alone.compile is False
    alone.compile = True
    assert alone.compile is True

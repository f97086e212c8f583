"""Three knobs, and a logger that speaks where the user listens."""

from __future__ import annotations

import logging

import pytest
import torch

import jamie as jm
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


@pytest.mark.parametrize("level", ["quiet", "INFO", 10, None])
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
    monkeypatch.setattr(jm.settings, "device", "nonsense")
    with pytest.raises(ValueError, match=r"found '(auto|nonsense)'"):
        jm.tl.train(toy, max_steps=1)

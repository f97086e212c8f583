"""With what a training was made."""

from __future__ import annotations

import pytest

import jamie as jm


def test_provenance_says_with_what_it_was_made(trained):
    mdata, model = trained
    made = jm.get.provenance(mdata)
    assert (made.seed, made.modalities, made.version) == (0, ("rna", "protein"), jm.__version__)
    assert made.recipe["max_steps"] == model.recipe_.max_steps
    assert set(made.versions) == {"numpy", "scipy", "scikit-learn", "torch"}


def test_it_names_the_call_that_writes_it(toy):
    with pytest.raises(KeyError, match=r"call jm\.tl\.train\(mdata\)"):
        jm.get.provenance(toy)

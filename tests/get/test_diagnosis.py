"""The stored verdicts."""

from __future__ import annotations

import pytest

import jamie as jm


def test_it_names_the_call_that_writes_it(toy):
    with pytest.raises(KeyError, match=r"call jm\.tl\.diagnose\(mdata, model\)"):
        jm.get.diagnosis(toy)

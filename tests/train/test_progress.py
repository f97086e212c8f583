from __future__ import annotations

import sys

import pytest

from jamie.train._progress import progress


def run(total=3):
    bar = progress(total, description="jamie")
    for _ in range(total):
        bar.update()
    bar.close()
    return bar


def test_nothing_is_drawn_where_stderr_is_no_terminal(capsys):
    assert run().disable
    out, err = capsys.readouterr()
    assert out + err == ""


def test_a_bar_is_drawn_in_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = run()
    assert not bar.disable
    assert "jamie: " in capsys.readouterr().err


@pytest.mark.parametrize("total", [0, 1])
def test_short_runs_are_fine(total):
    assert run(total).total == total

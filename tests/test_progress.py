from __future__ import annotations

import sys

import jamie as jm
from jamie._progress import progress


def run(total=3):
    bar = progress(total, description="jamie")
    for _ in range(total):
        bar.update()
    bar.close()


def test_nothing_is_drawn_where_stderr_is_no_terminal(capsys):
    run()
    assert capsys.readouterr() == ("", "")


def test_a_bar_is_drawn_in_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run()
    out, err = capsys.readouterr()
    assert out == ""
    assert "jamie: " in err
    assert "/3 " in err


def test_nothing_is_drawn_where_information_is_not_logged(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(jm.settings, "verbosity", "warning")
    run()
    assert capsys.readouterr() == ("", "")

from __future__ import annotations

import pytest

from jamie.train import History, Losses


def test_history_is_a_table_of_plain_numbers():
    history = History()
    for step in (20, 40):
        history.add(step, Losses(*(float(step + i) for i in range(7)))._asdict(), score=0.5)
    frame = history.frame()
    terms = ["total", "kl", "combination", "reconstruction", "cross", "contrastive", "alignment"]
    assert frame.columns.tolist() == ["step", *terms, "score"]
    assert frame["step"].tolist() == [20, 40]
    assert frame.loc[1, terms].tolist() == [40, 41, 42, 43, 44, 45, 46]
    assert {type(value) for value in history.rows[0].values()} == {int, float}


def test_nothing_happened_is_an_empty_table():
    assert History().frame().empty


def test_what_is_read_back_from_columns_is_the_history():
    history = History()
    assert history.columns() == {}
    assert History.of({}) == history
    for step in (20, 40, 60):
        history.add(step, {"total": step / 7, "kl": 0.5}, score=1 / step)
    assert list(history.columns()) == ["step", "total", "kl", "score"]
    assert history.columns()["step"] == [20, 40, 60]
    assert History.of(history.columns()) == history


def test_columns_that_lost_a_row_are_no_history():
    with pytest.raises(ValueError, match="shorter"):
        History.of({"step": [20, 40], "total": [1.0]})

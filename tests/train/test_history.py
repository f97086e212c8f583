from __future__ import annotations

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
